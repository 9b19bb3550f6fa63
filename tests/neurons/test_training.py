"""Numbers over training: counts of bigrams, losses by kind of text, probes of single neurons, kept results."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of, small_model, zeros_of

V = 40


def padded(left: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    real = np.arange(9) < np.array([[9], [4], [6], [9]])
    real = real[:, ::-1] if left else real
    return np.where(real, rng.integers(1, V, (4, 9)), 0), real


def test_bigrams_are_absolute_discounting() -> None:
    """As the definition says, pair by pair; each row is a distribution, also behind tokens that never come."""
    tokens, real = padded(False)
    found = ji.corpus.bigrams(ji.corpus.as_corpus(tokens, mask=real), V)
    pairs = [
        (a, b) for row, m in zip(tokens, real, strict=True) for a, b in zip(row[m], row[m][1:], strict=False)
    ]
    assert found.pairs == len(pairs)

    def discounted(counts: np.ndarray, lower: np.ndarray) -> np.ndarray:
        once, twice = (all_counts == 1).sum(), (all_counts == 2).sum()
        d = once / (once + 2 * twice) if once and twice else 0.5
        left = d * (counts > 0).sum()
        return (np.maximum(counts - d, 0) + left * lower) / counts.sum() if counts.sum() else lower

    all_counts = np.bincount(tokens[real], minlength=V)
    unigram = discounted(all_counts, np.full(V, 1 / V))
    np.testing.assert_allclose(found.unigram, unigram, rtol=1e-12)
    table = np.zeros((V, V))
    np.add.at(table, tuple(np.array(pairs).T), 1)
    all_counts = table.ravel()
    rows = found.rows(np.arange(V))
    np.testing.assert_allclose(rows, [discounted(row, unigram) for row in table], atol=1e-7)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    for call, error, words in [
        (lambda: ji.corpus.bigrams([[1], [2]], V), ValueError, "two tokens"),
        (lambda: ji.corpus.bigrams([[1, V]], V), IndexError, "vocabulary|0..39"),
        (lambda: found.rows([V]), IndexError, "0..39"),
        (lambda: found.rows([0.5]), ValueError, "token ids"),
    ]:
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize("family", ["gpt2", pytest.param("neox", marks=pytest.mark.slow), "llama"])
def test_losses_are_those_of_all_logits(family: str) -> None:
    """Every measure from the whole table of probabilities, in float64, padded left and right."""
    model = model_of(family)
    counted = ji.corpus.bigrams(np.random.default_rng(0).integers(0, V, (30, 12)), V)
    for left in (False, True):
        tokens, real = padded(left)
        found = ji.neurons.class_losses(
            model, {"x": (tokens, real)}, bigrams=counted, skip=1, batch_size=3, progress=False
        )
        sums, many = np.zeros(6), 0
        for row, mask in zip(tokens, real, strict=True):
            ids = row[mask]
            logits, _ = ji.run(model, np.pad(ids, (0, 9 - len(ids))))
            logp = np.asarray(jax.nn.log_softmax(logits, -1), np.float64)[: len(ids)]
            for t in range(1, len(ids)):
                p, both = np.exp(logp[t - 1]), (counted.unigram, counted.rows(ids[t - 1 : t])[0])
                kl = [
                    x
                    for q in both
                    for x in ((p * (logp[t - 1] - np.log(q))).sum(), (q * (np.log(q) - logp[t - 1])).sum())
                ]
                sums += [-logp[t - 1, ids[t]], -(p * logp[t - 1]).sum(), *kl]
                many += 1
        assert found.tokens.tolist() == [many] and found.documents.tolist() == [4]
        mean = [getattr(found, each)[0] for each in found.measures]
        np.testing.assert_allclose(mean, sums / many, atol=2e-5)
    assert len(found.records()) == 6 and "to_bigram" in found.figure().html


def test_a_model_of_bigrams_has_no_distance() -> None:
    """Blocks write nothing and logits are log rows of counts: the KL to the bigram is 0 both ways."""
    counted = ji.corpus.bigrams(np.random.default_rng(0).integers(0, V, (30, 12)), V)
    config = ji.models.GPT2Config(
        vocab=V, ctx=12, d=V, layers=1, heads=1, ff=4, act="relu", norm=False, tied=False
    )
    where = lambda m: (m.w_embed, m.w_unembed)
    table = np.log(counted.rows(np.arange(V))).astype(np.float32)
    model = eqx.tree_at(where, zeros_of(config), (jnp.eye(V, dtype=jnp.float32), jnp.asarray(table)))
    tokens = np.random.default_rng(1).integers(0, V, (6, 12))
    found = ji.neurons.class_losses(
        model, {"a": tokens[:3], "b": tokens[3:]}, bigrams=counted, progress=False
    )
    np.testing.assert_allclose([found.to_bigram, found.from_bigram], 0, atol=1e-5)
    assert (found.to_unigram > 0.01).all() and found.names == ("a", "b")
    base = ji.neurons.ablation(model, {"a": tokens[:3], "b": tokens[3:]}, [], progress=False).base
    np.testing.assert_allclose(found.loss, base, rtol=1e-6)
    assert (found.low[0] <= found.loss).all() and (found.loss <= found.high[0]).all()


def test_probes_of_planted_neurons() -> None:
    """A neuron that is 1 in one class alone separates it, and each F1 is that of its own probe."""
    planted = ji.toy.planted_context_ngram()
    rng = np.random.default_rng(0)
    rows = rng.integers(3, 24, (20, 12))
    classes = {
        "in": np.concatenate([np.ones((20, 1), int), rows], 1),
        "out": np.concatenate([np.zeros((20, 1), int), rows], 1),
    }
    found = ji.neurons.class_probes(planted.model, classes, "in", tokens=100, skip=2, progress=False)
    assert found.f1[planted.context] == found.mcc[planted.context] == 1 and found.best == planted.context
    assert found.active[planted.context] == 1 and found.inactive[planted.context] == 0
    assert found.tokens.tolist() == [[80, 80], [20, 20]] and len(found.records()) == found.f1.size
    one = ji.neurons.class_probes(
        planted.model, classes, "in", neurons=[(1, 0), planted.context], skip=2, progress=False
    )
    assert np.isfinite(one.f1).sum() == 2 and one.best == planted.context and "F1 1" in one.figure().html


class Counted:
    """The mean of a leaf, and how often it was asked."""

    def __init__(self, scale: float) -> None:
        self.scale, self.calls = scale, 0

    def function(self) -> Any:
        scale = self.scale

        def mean(model: Any) -> Any:
            self.calls += 1
            return {"mean": scale * model.w_embed.mean(), "parts": (model.w_pos[0], [model.w_embed.sum()])}

        return mean


def test_a_killed_map_goes_on(tmp_path: Path) -> None:
    """What is in the file is not asked again, also when the series grows; other functions and files are refused."""
    models = [small_model(seed) for seed in (0, 1, 2)]
    path, first = tmp_path / "kept.npz", Counted(2.0)
    ji.neurons.checkpoints(models[:2]).map(eqx.filter_jit(first.function()), checkpoint=path, progress=False)
    plain = [Counted(2.0) for _ in range(3)]
    series = ji.neurons.checkpoints([models[2], models[0], models[1]])
    want = series.map(plain[0].function(), progress=False)
    whole = tmp_path / "whole.npz"
    for counted, calls in zip(plain[1:], (3, 0), strict=True):
        found = series.map(counted.function(), checkpoint=whole, progress=False)
        assert counted.calls == calls
        for a, b in zip(jax.tree.leaves(found.values), jax.tree.leaves(want.values), strict=True):
            np.testing.assert_array_equal(a, b)
        assert jax.tree.structure(found.values) == jax.tree.structure(want.values)
    with pytest.raises(ValueError, match="another function, or other texts"):
        series.map(Counted(3.0).function(), checkpoint=whole, progress=False)
    two = [lambda model: {"sum": model.w_embed.sum()}, lambda model: {"sum": model.w_pos.sum()}]
    series.map(two[0], checkpoint=tmp_path / "first.npz", progress=False)
    with pytest.raises(ValueError, match="another function"):  # of the same name
        series.map(two[1], checkpoint=tmp_path / "first.npz", progress=False)
    whole.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged"):
        series.map(plain[1].function(), checkpoint=whole, progress=False)
    with pytest.raises(ValueError, match="dicts, lists or tuples"):
        series.map(lambda model: model.blocks, checkpoint=tmp_path / "other.npz", progress=False)


def test_bad_input(model: Any, classes: dict[str, Any]) -> None:
    counted = ji.corpus.bigrams([[1, 2, 3]], 7)
    for call, words in [
        (lambda: ji.neurons.class_losses(model, classes, bigrams=counted), "counts are of 7 tokens"),
        (lambda: ji.neurons.class_losses(model, classes, skip=20), "skip"),
        (lambda: ji.neurons.class_probes(model, {"a": classes["a"]}, "a"), "no other one"),
        (lambda: ji.neurons.class_probes(model, classes["a"][0], "German"), "no labels"),
        (lambda: ji.neurons.class_probes(model, classes, "c", skip=0), "is no class"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.slow
def test_curves_are_the_functions_of_each_model(tmp_path: Path) -> None:
    """The planted circuit, and the same without its context neuron: the cost is all of the indirect path, or nothing."""
    planted = ji.toy.planted_context_ngram()
    where = lambda m: m.blocks.mlp.w_out
    before = eqx.tree_at(where, planted.model, where(planted.model).at[planted.context].set(0))
    rows = np.random.default_rng(0).integers(3, 24, (8, 20))
    rows[:, [3, 4, 5]] = [4, 5, 6]
    of = lambda mark: np.concatenate([np.full((8, 1), mark), rows], 1)
    classes, chosen = {"in": of(1), "out": of(0)}, {"in": planted.context}
    settings = ji.neurons.TrainingSettings(
        tokens=40, skip=1, prompts=2, ngrams=ji.neurons.NgramSettings(least=1.0, prompts=0)
    )
    counted = ji.corpus.bigrams(of(1), 24)
    series = ji.neurons.checkpoints([before, planted.model], labels=["step5", "step10"])
    call = lambda: ji.neurons.training_curves(
        series,
        classes,
        chosen,
        bigrams=counted,
        settings=settings,
        checkpoint=tmp_path / "curves.npz",
        progress=False,
    )
    found = call()
    v = found.values
    assert found.steps.tolist() == [5, 10] and found.neurons == ("0.0",) and found.classes == ("in", "out")
    np.testing.assert_array_equal(v["f1"][:, 0], 1)
    np.testing.assert_allclose(v["costs"][0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(v["costs"][1, 0], [v["costs"][1, 0, 0]] * 2 + [0], atol=1e-5)
    assert v["costs"][1, 0, 0] > 0.05 and v["ngrams"][:, 0].tolist() == [0, 1]
    np.testing.assert_allclose(v["ablation"][:, 0, 1], 0, atol=1e-6)
    np.testing.assert_allclose(v["ablation"][:, 0, 0], v["costs"][:, 0, 0], atol=1e-5)
    without = ji.intervene(planted.model, [ji.replace("mlp_out", 0.0, layer=1)])
    losses = [
        ji.neurons.class_losses(m, classes, skip=1, progress=False).loss for m in (without, planted.model)
    ]
    np.testing.assert_allclose(v["without_mlp"][1, 1], losses[0] - losses[1], atol=1e-5)
    np.testing.assert_allclose(found.mean("loss"), v["loss"].mean(1), rtol=1e-6)
    figure, row = found.figure(), found.records()[1]
    assert figure.svg and figure.svg.count("<svg") == 8 and "KL from the model" in figure.svg
    assert row["ablation.in.out"] == 0 or abs(row["ablation.in.out"]) < 1e-6
    assert {"loss.in", "f1.in", "costs.in.direct path", "without_mlp.1.out", "best.in.0", "induction"} <= set(
        row
    )
    again = call()
    assert all(np.array_equal(again.values[name], x, equal_nan=True) for name, x in v.items())


def test_curves_of_given_numbers_and_bad_input() -> None:
    """Records and panels name what each number is of; classes and neurons are checked before anything runs."""
    classes, rng = ("in", "out"), np.random.default_rng(0)
    of = {
        "loss": (2,),
        "loss_low": (2,),
        "loss_high": (2,),
        "tokens": (2,),
        "f1": (1,),
        "best_f1": (1,),
        "best": (1, 2),
    }
    of |= {
        "ablation": (1, 2),
        "ablation_low": (1, 2),
        "ablation_high": (1, 2),
        "without_mlp": (3, 2),
        "induction": (),
    }
    of |= {"costs": (1, 3), "costs_low": (1, 3), "costs_high": (1, 3), "previous": ()}
    values = {name: rng.random((4, *shape)) for name, shape in of.items()}
    for name in ("loss", "ablation", "costs"):
        values[f"{name}_low"], values[f"{name}_high"] = values[name] - 1, values[name] + 1
    found = ji.neurons.TrainingCurves(tuple("abcd"), np.arange(4), classes, ("in",), ("0.0",), values)
    rows = found.records()
    assert len(rows) == 4 and rows[2]["ablation.in.out"] == values["ablation"][2, 0, 1]
    assert (
        rows[1]["without_mlp.2.out"] == values["without_mlp"][1, 2, 1]
        and rows[1]["best.in.1"] == values["best"][1, 0, 1]
    )
    assert (
        rows[3]["costs.in.direct path"] == values["costs"][3, 0, 2]
        and rows[3]["induction"] == values["induction"][3]
    )
    figure = found.figure()
    assert figure.svg and figure.svg.count("<svg") == 7 and "layer 2" in figure.svg
    planted = ji.toy.planted_context_ngram()
    texts = np.random.default_rng(0).integers(3, 24, (4, 16))
    classes, series = {"in": texts, "out": texts}, [planted.model, planted.model]
    settings = ji.neurons.TrainingSettings(skip=1)
    for wrong, error, words in [
        ({"German": (0, 0)}, ValueError, "is no class"),
        ({"in": [(0, 0), (0, 1)]}, ValueError, "one context neuron"),
        ({"in": (0, 99)}, IndexError, "is none of them"),
    ]:
        with pytest.raises(error, match=words):
            ji.neurons.training_curves(series, classes, wrong, settings=settings, progress=False)


def test_models_of_other_tokenizers_are_refused(tmp_path: Path) -> None:
    """Checkpoints from folders are read with their tokenizers, and must share one."""
    from tokenizers import Tokenizer, models

    for name, words in (("a", "x y z"), ("b", "x y z"), ("c", "x z y")):
        tokenizer = Tokenizer(
            models.WordLevel({word: i for i, word in enumerate(words.split())}, unk_token="x")
        )
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        ours = ji.hub.Tokenizer.from_file(tmp_path / "tokenizer.json")
        ji.hub.export(tmp_path / name, small_model(), tokenizer=ours)
    folders = [tmp_path / name for name in "abc"]
    alike = ji.neurons.checkpoints(folders[:2])
    assert len(list(alike)) == 2 and alike.tokenizer is not None
    with pytest.raises(ValueError, match="tokenizer of 'c' is another one"):
        list(ji.neurons.checkpoints(folders))


def test_panels() -> None:
    series = {"a": [1.0, 2.0], "b": [0.5, np.nan]}
    figure = ji.viz.line_panels(
        {"one <b>": series, "two": series}, bands={"two": {"a": ([0, 1], [2, 3])}}, columns=1
    )
    assert figure.svg and figure.svg.count("<svg") == 3 and "one &lt;b&gt;" in figure.svg
    for bad, words in [({}, "there is none"), ({"one": {"a": [1.0], "b": [1.0, 2.0]}}, "one length")]:
        with pytest.raises(ValueError, match=words):
            ji.viz.line_panels(bad)
    with pytest.raises(ValueError, match="'three' is none"):
        ji.viz.line_panels({"one": series}, y_axes={"three": "nats"})
