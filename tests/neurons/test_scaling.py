"""Models by size: planted neurons give the k that is planted, whatever the tokenizer."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.toy._hand import HandWeights
from tests.models import families, model_of

CODES = 3
WORDS = 2**CODES
"""Words 0..7; word 7 is the one whose code has every bit."""


VOCAB = WORDS + 3
"""BOS, the words, and two words "x0" and "x1" that no neuron knows."""


class Words:
    """A token for each word, at `order` in the vocabulary; with `spelled` one more for the first letter of each."""

    bos_id = 0

    def __init__(self, order: np.ndarray, spelled: bool = False) -> None:
        self.order, self.spelled = order, spelled

    def with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        ids, offsets, start = [], [], 0
        for word in text.split(" "):
            number = int(word[1:])
            if self.spelled:
                ids.append(VOCAB - 1)
                offsets.append((start, start + 1))
            ids.append(1 + (int(self.order[number]) if word[0] == "w" else WORDS + number))
            offsets.append((start + self.spelled, start + len(word)))
            start += len(word) + 1
        return ids, offsets


def planted(neurons: np.ndarray, order: np.ndarray) -> Any:
    """A model whose neurons are `(word, neuron)` at a word, and 0 elsewhere."""
    draft = HandWeights(
        {"token": range(VOCAB)}, vocab=VOCAB, ctx=12, layers=1, k=2, ff=neurons.shape[1], out=2
    )
    draft.embed[np.arange(VOCAB), draft["token"]] = 1
    draft.reads[0, 1 + order[np.arange(WORDS)]] = neurons
    return draft.model()


BITS = (np.arange(WORDS)[:, None] >> np.arange(CODES) & 1).astype(np.float32)
TARGET = (np.arange(WORDS)[:, None] == WORDS - 1).astype(np.float32)
COARSE = (np.arange(WORDS)[:, None] >= WORDS - 2).astype(np.float32)
IDLE = np.zeros_like(TARGET)
SAME, OTHER = np.arange(WORDS), np.arange(WORDS)[::-1].copy()
FEATURES = {
    "target": "w7",
    "coarse": ("w6", "w7"),
    "token": lambda text: [(0, 2)] if text.startswith("w7") else [],
}
SETTINGS = ji.neurons.ScalingSettings(ks=(1, 2, 3), resamples=0, reduces=("max",), tokens=240)
MODELS = {
    "shared": (planted(np.concatenate([BITS, IDLE], 1), SAME), Words(SAME)),
    "own": (planted(np.concatenate([BITS, TARGET], 1), SAME), Words(SAME)),
    "joined": (planted(np.concatenate([COARSE, BITS[:, :2], IDLE], 1), SAME), Words(SAME)),
    "other words": (planted(np.concatenate([BITS, IDLE], 1), OTHER), Words(OTHER, spelled=True)),
}


def texts(each: int = 12) -> list[ji.data.Document]:
    """Documents of one word each; words of no neuron make each another text, for equal texts are never parted."""
    ends = ["".join(f" x{i >> bit & 1}" for bit in range(4)) for i in range(each)]
    return [ji.data.Document(f"w{word}{end}", f"w{word}") for end in ends for word in range(WORDS)]


def run(models: Any, features: Any = FEATURES, corpus: Any = None, **options: Any) -> Any:
    options = {"key": jax.random.key(0), "settings": SETTINGS, "progress": False} | options
    return ji.neurons.scaling(models, texts() if corpus is None else corpus, features, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory: Any) -> Path:
    return tmp_path_factory.mktemp("scaling")


@pytest.fixture(scope="module")
def found(place: Path) -> Any:
    return run(MODELS, out=place)


def test_planted_neurons_need_the_planted_k(found: Any) -> None:
    of = {(row["model"], row["feature"]): row for row in found.records()}
    assert of["shared", "target"]["needed"] == CODES and not of["shared", "target"]["dedicated"]
    # Word 7 alone has all bits: with k of them one word in 2 ** (3 - k) is positive.
    np.testing.assert_allclose(of["shared", "target"]["f1_by_k"], [0.4, 2 / 3, 1], atol=1e-6)
    assert of["own", "target"]["needed"] == 1 and of["own", "target"]["neuron"] == "0.3"
    assert of["shared", "coarse"]["needed"] == 2 and of["joined", "coarse"]["needed"] == 1
    assert of["own", "token"]["needed"] == 1 < of["shared", "token"]["needed"]
    sizes = {(row["model"], row["reduce"]): row for row in found.sizes()}
    assert sizes["own", "max"]["dedicated"] == 0.5 and sizes["shared", "max"]["dedicated"] == 0
    assert sizes["own", "token"]["dedicated"] == 1 and sizes["own", "token"]["needed"] == 1
    assert of["own", "target"]["layers_with_one"] == 1 and of["own", "target"]["dense_f1"] == 1


def test_each_model_reads_with_its_own_tokenizer(found: Any) -> None:
    pick = lambda model: [
        {k: v for k, v in row.items() if k != "model"}
        for row in found.records()
        if row["model"] == model and row["reduce"] == "max"
    ]
    assert pick("shared") == pick("other words")
    assert not found.skipped and found.models[0]["parameters"] == found.models[2]["parameters"]


def test_a_neuron_splits_where_the_finer_feature_has_its_own(found: Any) -> None:
    of = {row["model"]: row for row in found.splits}
    assert {(row["coarse"], row["fine"]) for row in found.splits} == {("coarse", "target")}
    assert (
        of["own"]["own_auc"] == 1
        and not of["own"]["same"]
        and of["own"]["n_test"] == 2 * of["own"]["positives"]
    )
    assert of["joined"]["own_auc"] == of["joined"]["coarse_auc"] == 0.5 and of["joined"]["same"]


def test_the_same_call_goes_on_and_another_one_is_refused(found: Any, place: Path) -> None:
    files = sorted(place.rglob("*.jsonl"))
    assert len(files) == 2 * len(MODELS)
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])  # killed while a line was written
    before = files[1].stat().st_mtime_ns
    again = run({"shared": MODELS["shared"]}, out=place)
    assert again.records() == [row for row in found.records() if row["model"] == "shared"]
    assert files[1].stat().st_mtime_ns == before and len(files[0].read_bytes()) > len(whole) // 2
    with pytest.raises(ji.probes.BadRecords, match="key"):
        run({"shared": MODELS["shared"]}, out=place, key=jax.random.key(1))
    with pytest.raises(ValueError, match="another"):
        run({"shared": MODELS["own"]}, out=place)


def test_tables_and_figures_show_all_models(found: Any) -> None:
    assert found.table(title="sizes").row_count == 2 * len(MODELS)
    assert "shared" in found._repr_html_() and "mean F1" in found.figure()._repr_html_()
    assert "token" in found.figure(reduce="token")._repr_html_()
    with pytest.raises(ValueError, match="reduce='mean'"):
        found.figure(reduce="mean")
    # These models have no biases, and their weights say so.
    assert all(np.isnan(row["curve"]) and row["reason"] for row in found.weights)
    with pytest.raises(ValueError, match="biases"):
        found.depth_figure()


def test_the_example_keeps_what_is_defined(found: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Models without biases have no curve by depth, and unreadable features none of F1: the rest is written."""
    path = Path(__file__).resolve().parents[2] / "examples" / "scaling.py"
    spec = importlib.util.spec_from_file_location("scaling_example", path)
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    unread = [row | {"readable": False} if row["reduce"] == "token" else row for row in found.features]
    for name, features, drawn in [
        ("all", found.features, {"scaling.svg", "scaling_token.svg"}),
        ("documents", unread, {"scaling.svg"}),
        ("none", [row | {"readable": False} for row in unread], set()),
    ]:
        partly = dataclasses.replace(found, features=features)
        monkeypatch.setattr(ji.neurons, "scaling", lambda *_, partly=partly, **__: partly)
        (tmp_path / name).mkdir()
        example.main(["--models", "one", "--out", str(tmp_path / name)])
        written = {each.name for each in (tmp_path / name).iterdir()}
        assert written == drawn | {"scaling.html", "scaling.json"}
        assert json.loads((tmp_path / name / "scaling.json").read_text())["features"] == features
        said = capsys.readouterr().out
        assert "no model has biases" in said and said.count("no feature is readable") == 2 - len(drawn)
    biased = [row | {"reason": "", "curve": -1.0} for row in found.weights]
    assert "depth" in example.figures_of(dataclasses.replace(found, weights=biased))[0]


def test_bad_input_is_told() -> None:
    model, tokenizer = MODELS["own"]
    one = {"own": (model, tokenizer)}
    for models, message in [
        (model, "by name or in a list"),
        ({}, "no model"),
        ([model], "its own tokenizer"),
        ([(model, None)], "its own tokenizer"),
        (["folder/a", "other/a"], "names of their own"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(models)
    for corpus, message in [
        (np.zeros((4, 3), int), "texts with labels"),
        (ji.corpus.as_corpus(np.ones((4, 3), int)), "texts with labels"),
        (texts()[:3], "documents to learn"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(one, corpus=corpus)
    with pytest.raises(ValueError, match="labels"):
        run(one, None, corpus=[d.text for d in texts()])
    with pytest.raises(ValueError, match="No document has the label 'w9'"):
        run(one, {"x": ("w1", "w9")})
    with pytest.raises(ValueError, match="nothing to tell it from"):
        run(one, {"x": [f"w{i}" for i in range(WORDS)]})
    with pytest.raises(ValueError, match="Document 0 has 5 tokens"):
        run(one, settings=ji.neurons.ScalingSettings(skip=5))
    with pytest.raises(ValueError, match="no MLP"):
        run({"toy": (model_of("toy"), tokenizer)})
    for wrong, message in [
        ({"ks": (2, 4)}, "begins with 1"),
        ({"ks": ()}, "begins with 1"),
        ({"reduces": "mean"}, "reduces"),
        ({"reduces": ("median",)}, "reduces"),
        ({"share": 0}, "share"),
        ({"layers": 0}, "layers"),
        ({"resamples": -1}, "resamples"),
    ]:
        with pytest.raises(ValueError, match=message):
            ji.neurons.ScalingSettings(**wrong)


def test_numpy_integers_are_numbers_of_settings() -> None:
    two = np.int64(2)
    assert (
        ji.neurons.ScalingSettings(ctx=two, layers=two, tokens=np.int32(8), ks=np.array([1, 2])).layers == 2
    )


@pytest.mark.parametrize("family", families())
def test_models_of_every_family_and_features_with_too_few_tokens(family: str) -> None:
    settings = ji.neurons.ScalingSettings(
        ks=np.array([1, 2, 500]), exact=(), resamples=20, reduces=("mean",), layers=np.int64(2), tokens=8
    )
    rare = {"target": "w7", "rare": lambda text: [], "token": FEATURES["token"]}
    found = run({family: (model_of(family), MODELS["own"][1])}, rare, settings=settings)
    assert found.models[0]["read"] == [0, 2] and len(found.weights) == 3
    assert [row["feature"] for row in found.skipped] == ["rare"]
    row = found.records()[0]
    assert row["low"] <= row["f1"] <= row["high"] and row["ks"] == [1, 2] and 0 <= row["dense_f1"] <= 1
    assert all(np.isfinite(each["curve"]) == (family != "llama") for each in found.weights)
    if family != "llama":
        assert "relative depth" in found.depth_figure()._repr_html_()
