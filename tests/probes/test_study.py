"""A study is its fits, whatever happens while it runs; records are whole or absent."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import data, probes, stats
from jaxinterp.probes.study import _feature_records as _cell
from jaxinterp.probes.study import _records, _rows, _study
from tests.data.conftest import random_model

N = 60
KEY = jax.random.key(0)
OPTIONS: dict[str, Any] = {"methods": ["single", "mean_diff"], "ks": [1, 2], "progress": False}


def texts() -> tuple[Any, np.ndarray, np.ndarray]:
    """Tokens of two kinds, two contexts to a document."""
    rng = np.random.default_rng(0)
    kind = np.repeat(rng.random(N // 2) < 0.4, 2)
    low = rng.integers(1, 26, (N, 6))
    tokens = np.where(kind[:, None], low + 14, low).astype(np.int32)
    return tokens, np.where(kind, "b", "a"), np.repeat(np.arange(N // 2), 2)


TOKENS, LABELS, GROUPS = texts()


def asked(more: Any) -> dict[str, Any]:
    """Options of a study: settings, and what stands beside them."""
    beside = {"key", "groups", "parts", "out", "store", "progress"}
    own = {name: value for name, value in more.items() if name in beside}
    settings = {name: value for name, value in more.items() if name not in beside}
    return {"key": jax.random.key(0), "settings": probes.StudySettings(**settings), **own}


def study(model: Any, **more: Any) -> list[Any]:
    return probes.study(model, TOKENS, LABELS, **asked({"groups": GROUPS, **OPTIONS, **more}))


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model()


@pytest.fixture(scope="module")
def whole(model: Any, tmp_path_factory: Any) -> Any:
    out = tmp_path_factory.mktemp("study") / "whole.jsonl"
    return study(model, out=out), out


def timeless(records: Any) -> list[Any]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records]


def test_records_are_the_fits_they_name(model: Any, whole: Any) -> None:
    records, out = whole
    cells = [(r["layer"], r["feature"], r["method"], r["k"]) for r in records]
    assert len(cells) == len(set(cells)) == 2 * 2 * 3
    assert probes.read_records(out) == json.loads(json.dumps(records))
    x = data.activations(model, TOKENS, "mlp_post", reduce="mean")
    for r in records:
        y = np.equal(LABELS, r["feature"])
        train, test = data.split(GROUPS, key=jax.random.key(0), labels=y)
        assert not set(GROUPS[train]) & set(GROUPS[test])
        scale = _cell.deviations(x[r["layer"]][train])
        probe = probes.fit(x[r["layer"]][train] / scale, y[train], r["support"])
        found = probes.metrics(y[test], probe.decision(x[r["layer"]][test] / scale))
        assert {name: r[name] for name in found} == pytest.approx(found, abs=1e-9)
        np.testing.assert_allclose(r["weights"], probe.weights / scale[r["support"]], rtol=1e-5)
        assert r["f1_low"] <= r["f1"] <= r["f1_high"] and r["status"] == "converged"
        assert r["n_train"] == len(train) and r["positive_share"] == y[test].mean()
        assert r["model_hash"] == data.model_hash(model) and r["jax"] == jax.__version__
        json.dumps(r, allow_nan=False)
    best = probes.best_neurons(records)
    assert [r["feature"] for r in best] == ["a", "b"]
    singles = probes.select(records, method="single", feature="a")
    assert best[0]["train_f1"] == max(r["train_f1"] for r in singles)


def test_the_test_rows_decide_nothing(model: Any) -> None:
    x = data.activations(model, TOKENS, "mlp_post[1]", reduce="mean")
    y = LABELS == "a"
    train, test = data.split(GROUPS, key=jax.random.key(0), labels=y)
    other = x.copy()
    other[test] = 1e3 * np.random.default_rng(0).normal(size=other[test].shape)
    names = ("support", "weights", "bias", "train_f1", "objective")
    for method in ("single", "mean_diff"):
        (one,), (two,) = (
            list(probes.probe_records(z, y, train, test, method, ks=[1], key=KEY)) for z in (x, other)
        )
        assert [one[n] for n in names] == [two[n] for n in names] and one["f1"] != two["f1"]


@pytest.mark.slow
def test_every_method_of_one_cell() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(150) < 0.3
    x = rng.normal(size=(150, 12)) * np.geomspace(1e-3, 1e3, 12)
    x[:, [2, 7]] += 2.5 * x[:, [2, 7]].std(0) * y[:, None]
    train, test = data.split(np.arange(150), key=jax.random.key(42), labels=y)
    methods = {"single": None, "adaptive": None, "elastic": [2], "best_subset": [1, 2], "dense": None}
    found = list(probes.probe_records(x, y, train, test, methods, ks=[1, 2, 12], key=KEY))
    cells = [(r["method"], r["k"]) for r in found]
    assert cells == [
        ("single", 1),
        ("adaptive", 1),
        ("adaptive", 2),
        ("adaptive", 12),
        ("elastic", 2),
        ("best_subset", 1),
        ("best_subset", 2),
        ("dense", 12),
    ]
    of = dict(zip(cells, found, strict=True))
    for cell in [("adaptive", 2), ("elastic", 2), ("best_subset", 2)]:
        assert of[cell]["support"] == [2, 7], cell
        # The published penalty on two features is for thousands of rows: here it shrinks all away.
        assert of[cell]["f1"] > 0.75 or cell[0] == "elastic", cell
    assert of["best_subset", 2]["status"] == "optimal" and of["best_subset", 2]["gap"] <= 1e-6
    assert set(of["single", 1]["support"]) <= {2, 7}


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("stage", [0, 1, 5])
def test_interrupted_and_resumed(
    stage: int, model: Any, whole: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    out, left = tmp_path / "r.jsonl", [stage]
    append = _records.Writer.append

    def broken(self: Any, records: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            self._file.write(b'{"model": "half a li')
            raise Stopped
        append(self, records)

    monkeypatch.setattr(_records.Writer, "append", broken)
    with pytest.raises(Stopped):
        study(model, out=out)
    monkeypatch.undo()
    before = probes.read_records(out)
    assert timeless(before) == timeless(whole[0])[: len(before)]
    assert timeless(study(model, out=out)) == timeless(whole[0])
    after = probes.read_records(out)
    assert after[: len(before)] == before and timeless(after) == timeless(whole[0])


def test_done_is_not_done_again(model: Any, whole: Any, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(whole[1].read_bytes())
    again = out.stat().st_mtime_ns
    monkeypatch.setattr(_rows, "activations", lambda *a, **k: pytest.fail("the model was run"))
    monkeypatch.setattr(_study, "probe_records", lambda *a, **k: pytest.fail("a probe was fitted"))
    assert timeless(study(model, out=out)) == timeless(whole[0])
    assert study(model, out=out, layers=[1], methods="single")[0]["layer"] == 1
    assert out.stat().st_mtime_ns == again


@pytest.mark.slow
def test_a_process_killed_for_good(model: Any, whole: Any, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from jaxinterp.probes.study import _records
from tests.probes import test_study as t
append, left = _records.Writer.append, [4]
def fatal(self, records):
    left[0] -= 1
    if not left[0]:
        os.write(self._file.fileno(), _records._line(records[0]).encode()[:200])
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, records)
_records.Writer.append = fatal
t.study(t.random_model(), out={str(out)!r}, store={str(tmp_path / "acts")!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=False
    )
    assert done.returncode == -9
    raw = out.read_bytes()
    assert raw and not raw.endswith(b"\n")
    before = probes.read_records(out)
    assert timeless(before) == timeless(whole[0])[: len(before)] and len(before) == 4
    assert timeless(study(model, out=out, store=tmp_path / "acts")) == timeless(whole[0])
    assert probes.read_records(out)[:4] == before and out.read_bytes().startswith(raw[:-200])


@pytest.mark.slow
def test_another_study_is_not_gone_on_with(model: Any, whole: Any, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(whole[1].read_bytes())

    def wrong(match: str, changed: Any = model, **more: Any) -> None:
        with pytest.raises(probes.BadRecords, match=match):
            study(changed, out=out, **more)
        assert out.read_bytes() == whole[1].read_bytes()

    wrong("another model", random_model(1))
    wrong(r"another key: \[0, 0\], and this call has \[0, 1\]", key=jax.random.key(1))
    wrong("another resamples", resamples=7)
    wrong("another normalise: True", normalise=False)
    wrong(r"another ks \(grid\) for the method 'mean_diff': \[1, 2\]", ks=[1, 3])
    wrong("another gamma", gamma=2.0)
    wrong("another reduce", reduce="max")
    with pytest.raises(probes.BadRecords, match="another data"):
        probes.study(model, TOKENS % 30 + 1, LABELS, **asked({"groups": GROUPS, "out": out, **OPTIONS}))
    labels = LABELS.copy()
    labels[:2] = "b" if LABELS[0] == "a" else "a"
    with pytest.raises(probes.BadRecords, match="labels or split of the feature"):
        probes.study(model, TOKENS, labels, **asked({"groups": GROUPS, "out": out, **OPTIONS}))
    old = [{**r, "jax": "0.0.1"} for r in probes.read_records(out)]
    probes.write_records(out, old)
    assert len(study(model, out=out)) == len(old)  # nothing is missing
    with pytest.raises(probes.BadRecords, match=r"begun with jax 0\.0\.1"):
        study(model, out=out, methods=["single", "dense"])
    probes.write_records(out, [{"feature": "a", "f1": 1.0}])
    with pytest.raises(probes.BadRecords, match="something else"):
        study(model, out=out)


@pytest.mark.slow
def test_other_layers_and_methods_are_added(model: Any, whole: Any, tmp_path: Path) -> None:
    out, acts = tmp_path / "r.jsonl", tmp_path / "acts"
    study(model, out=out, store=acts, layers=[1], methods=["mean_diff"])
    study(model, out=out, store=acts, layers=[1], methods=["single"])
    found = study(model, out=out, store=tmp_path / "all")
    assert len(probes.read_records(out)) == len(found) == len(whole[0])
    for one, other in zip(found, whole[0], strict=True):
        # A layer read alone is another program than all layers: equal but for rounding.
        assert {k: one[k] for k in ("layer", "feature", "method", "k", "support")}.items() <= other.items()
        np.testing.assert_allclose(one["weights"], other["weights"], rtol=1e-3)
    proofs = probes.prove_best(
        model,
        TOKENS,
        {k: np.equal(LABELS, k) for k in "ab"},
        whole[0],
        key=KEY,
        ks=[1],
        settings=probes.StudySettings(time_limit=20),
        groups=GROUPS,
        out=out,
        store=tmp_path / "all",
        progress=False,
    )
    assert [p["feature"] for p in proofs] and all(p["status"] == "optimal" for p in proofs)
    page = probes.study_page(whole[0] + proofs)
    assert "proven" in page and "Best neurons" in page and page.count("<svg") >= 2


def test_a_leak_is_refused(model: Any) -> None:
    rows = np.arange(N)
    with pytest.raises(data.Leak, match="are in train and in test"):
        study(model, parts=(rows[::2], rows[1::2]))
    found = study(model, parts=(rows[: N // 2], rows[N // 2 :]), layers=[0], methods="single")
    assert found[0]["n_train"] == N // 2 and found[0]["test_share"] is None


@pytest.mark.slow
def test_tokens_and_stores(model: Any, tmp_path: Path) -> None:
    marked = TOKENS > 20
    feature = data.sample(marked, ~marked, n=100, key=jax.random.key(0), name="high")
    options = {**OPTIONS, "layers": [1], "methods": "single"}
    of_tokens = np.repeat(GROUPS, TOKENS.shape[1])[np.unique(feature.index)]
    (one,) = probes.study(
        model, TOKENS, {"high": feature}, **asked({"reduce": None, "groups": of_tokens, **options})
    )
    assert one["reduce"] is None and one["n_train"] + one["n_test"] == 100
    store = data.save_activations(
        tmp_path / "a", model, TOKENS, "mlp_post", index=np.unique(feature.index), progress=False
    )
    (two,) = probes.study(None, store, {"high": feature}, **asked({"groups": of_tokens, **options}))
    assert {k: two[k] for k in ("f1", "support", "weights")} == {
        k: one[k] for k in ("f1", "support", "weights")
    }
    assert two["model_hash"] == one["model_hash"] and two["parameters"] is None
    with pytest.raises(ValueError, match="labels are samples of tokens"):
        study(model, reduce=None)
    with pytest.raises(ValueError, match="holds"):
        probes.study(None, store, {"high": feature}, **asked({"groups": of_tokens, "site": "z"}))


@pytest.mark.parametrize(
    "error, match, more",
    [
        (ValueError, "methods are some of", {"methods": ["best"]}),
        (ValueError, "ks= names at least one", {"ks": []}),
        (ValueError, "k is the number of features", {"ks": [0]}),
        (ValueError, r"1..32 \(d=32\); got 33", {"ks": [33]}),
        (IndexError, r"layers 0..1; got layers=\[2\]", {"layers": [2]}),
        (ValueError, "goes over layers, and 'embed' has none", {"site": "embed"}),
        (ValueError, "groups= is the group of each row", {"groups": None}),
        (ValueError, "groups has one entry", {"groups": GROUPS[1:]}),
        (FileNotFoundError, "no folder", {"out": "/nowhere/at/all.jsonl"}),
    ],
)
def test_what_cannot_be_studied(model: Any, error: Any, match: str, more: Any) -> None:
    with pytest.raises(error, match=match):
        study(model, **more)


def test_labels_that_tell_nothing_apart(model: Any) -> None:
    options = asked({"groups": GROUPS, **OPTIONS})
    with pytest.raises(ValueError, match="each row has the label 'a'"):
        probes.study(model, TOKENS, ["a"] * N, **options)
    with pytest.raises(ValueError, match="each row has the label 'a'"):  # None is no class
        probes.study(model, TOKENS, ["a"] * (N - 9) + [None] * 9, **options)
    some = np.array(LABELS, object)
    some[GROUPS % 5 == 0] = None
    told = probes.study(model, TOKENS, some, **asked({"groups": GROUPS, **OPTIONS, "layers": [1]}))
    assert {r["feature"] for r in told} == {"a", "b"}
    assert all(r["n_train"] + r["n_test"] == sum(each is not None for each in some) for r in told)
    with pytest.raises(ValueError, match="one label per row"):
        probes.study(model, TOKENS, LABELS[1:], **options)
    with pytest.raises(ValueError, match="only for a corpus"):
        probes.study(model, TOKENS, **options)
    with pytest.raises(ValueError, match="The feature 'few'"):
        probes.study(model, TOKENS, {"few": np.arange(N) == 0}, **options)


def test_a_file_of_records(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    probes.append_records(path, [{"a": 1, "f1": np.float32(0.5), "s": np.array([1, 2])}])
    probes.append_records(path, [{"a": 2, "f1": float("nan"), "s": None}])
    want = [{"a": 1, "f1": 0.5, "s": [1, 2]}, {"a": 2, "f1": None, "s": None}]
    assert probes.read_records(path) == want
    whole = path.read_bytes()
    for cut in range(len(whole)):  # killed after any byte
        path.write_bytes(whole[:cut])
        kept = probes.read_records(path)
        assert kept == want[: len(kept)] and len(kept) >= whole[:cut].count(b"\n")
        probes.append_records(path, [{"a": 3}])
        assert probes.read_records(path) == [*kept, {"a": 3}]
        assert path.read_bytes().endswith(b'}\n{"a": 3}\n' if kept else b'{"a": 3}\n')
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": 2}\n')
    with pytest.raises(probes.BadRecords, match="line 2 is no record"):
        probes.read_records(path)
    with pytest.raises(ValueError, match=r"A record is flat.*'b' holds a dict"):
        probes.append_records(path, [{"b": {"c": 1}}])
    with pytest.raises(FileNotFoundError, match=r"probes\.study"):
        probes.read_records(tmp_path / "none.jsonl")
    with pytest.raises(probes.BadRecords, match="is a folder"):
        probes.append_records(tmp_path, want)
    with (
        _records.Writer(tmp_path / "held.jsonl"),
        pytest.raises(probes.BadRecords, match="Another process"),
    ):
        probes.append_records(tmp_path / "held.jsonl", want)


def test_selecting_and_showing(monkeypatch: Any) -> None:
    from rich.console import Console

    records = [
        {"feature": f, "layer": layer, "f1": s, "f1_low": s - 0.1, "f1_high": min(s + 0.1, 1.0)}
        for f, layer, s in [("[de]", 0, 0.5), ("[de]", 1, 0.75), ("fr", 0, 0.625)]
    ]
    assert probes.select(records, layer=[1, 2]) == [records[1]]
    assert probes.best(records) == [records[1], records[2]]
    with pytest.raises(ValueError, match="No record has 'lay'"):
        probes.select(records, lay=1)
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(probes.records_table(records, ["feature", "layer", "f1"]))
    assert "[de]" in (text := console.export_text()) and "0.75 (0.65 to 0.85)" in text
    console.file.close()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        probes.to_pandas(records)

    class Frames:
        class DataFrame:
            @staticmethod
            def from_records(rows: Any) -> Any:
                return rows

    monkeypatch.setitem(sys.modules, "pandas", Frames)
    assert probes.to_pandas(records) == records


def test_intervals_are_those_of_resampling() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.3
    score = rng.normal(size=200) + 1.5 * y - 0.5
    found = probes.metrics(y, score, resamples=1500, key=jax.random.key(0))
    ours = stats.table_intervals(found, key=jax.random.key(1), resamples=20000)
    for name, ends in ours.items():
        np.testing.assert_allclose(ends, found["intervals"][name], atol=0.02, err_msg=name)


def made(model: str, parameters: int, scores: dict[int, list[float]]) -> list[Any]:
    return [
        {
            "model": model,
            "parameters": parameters,
            "feature": "German",
            "layer": layer,
            "k": k,
            "method": "adaptive",
            "f1": s,
            "f1_low": s - 0.01,
            "f1_high": s,
        }
        for k, of_layers in scores.items()
        for layer, s in enumerate(of_layers)
    ]


@pytest.mark.slow
def test_scaling_takes_the_best_layer_and_the_least_k() -> None:
    large = made("large", 2000, {1: [0.2, 0.96], 2: [0.9, 0.97], 8: [0.98, 1.0]})
    small = made("small", 100, {1: [0.3, 0.2], 2: [0.7, 0.4], 8: [0.8, 0.75]})
    found = probes.scaling(large + small)
    assert [(s.model, s.needed) for s in found] == [("small", 8), ("large", 1)]
    assert found[0].score == (0.3, 0.7, 0.8) and found[0].layer == (0, 0, 0)
    assert found[1].score == (0.96, 0.97, 1.0) and found[1].layer == (1, 1, 1)
    assert found[1].low == (0.95, 0.96, 0.99) and found[1].ks == (1, 2, 8)
    assert probes.scaling(large + small, share=0.8)[0].needed == 2
    assert probes.scaling_table(found).row_count == 2
    with pytest.raises(ValueError, match="No record is of the method 'dense'"):
        probes.scaling(large, method="dense")
    with pytest.raises(ValueError, match="they are of different studies"):
        probes.scaling([*large, {**large[0], "f1": 0.5}])
    with pytest.raises(ValueError, match="share is of"):
        probes.scaling(large, share=0)


def test_files_of_earlier_versions_are_gone_on_with(model: Any, whole: Any, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    names = {"key": "seed", "resamples": "bootstrap"}
    old = [{names.get(k, k): v for k, v in {**r, "key": 0}.items()} for r in probes.read_records(whole[1])]
    probes.write_records(out, old)
    assert timeless(study(model, out=out)) == timeless(whole[0])


def test_old_options_of_a_study_are_refused(model: Any) -> None:
    with pytest.raises(TypeError, match=r"Write settings=ji.probes.StudySettings\(site='mlp_post'\)"):
        probes.study(model, TOKENS, LABELS, site="mlp_post", key=KEY)  # pyright: ignore
    with pytest.raises(ValueError, match=r"study\(..., key=jax.random.key\(3\)\)"):
        probes.study(model, TOKENS, LABELS, key=3)
