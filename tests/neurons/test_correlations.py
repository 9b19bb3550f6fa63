"""Correlations of a stream are those of all activations at once, whatever the batches, blocks and padding."""

import os
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.corpus import _batches, _fold
from jaxinterp.neurons._pair_reading import as_pair
from jaxinterp.neurons._row_blocks import block_rows
from tests.models import families, model_of, small_model
from tests.processes import run

TOKENS, UNITS, OTHERS = 157, 9, 11
SIZES = (157, 64, 13)


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Units with large offsets and drift, some of them copies, one constant on each side."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TOKENS, UNITS)) * rng.uniform(0.1, 3, UNITS) + rng.normal(size=UNITS) * 50
    y = rng.normal(size=(TOKENS, OTHERS)) + np.linspace(0, 20, TOKENS)[:, None] * rng.normal(size=OTHERS)
    y[:, :3] = -2 * x[:, [4, 2, 0]] + rng.normal(size=(TOKENS, 3)) * 0.5
    y[:, 5] = np.round(y[:, 5])  # ties
    x[:, 3], y[:, 6] = 0.1, 7.3
    return x.astype(np.float32), y.astype(np.float32)


def pearson(x: Any, y: Any) -> np.ndarray:
    """`np.corrcoef` in float64, 0 where a column is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(np.asarray(x, np.float64).T, np.asarray(y, np.float64).T)[: x.shape[1], x.shape[1] :]
    return np.where((np.ptp(x, 0) > 0)[:, None] & (np.ptp(y, 0) > 0)[None], r, 0)


def ranked(x: np.ndarray) -> np.ndarray:
    """Ranks with ties at their mean."""
    below = (x[None] < x[:, None]).sum(1)
    return below + ((x[None] == x[:, None]).sum(1) + 1) / 2


def wanted(measure: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x.astype(np.float64), y.astype(np.float64)
    if measure == "pearson":
        return pearson(x, y)
    if measure == "spearman":
        return pearson(ranked(x), ranked(y))
    if measure == "cosine":
        return (x.T @ y) / (np.linalg.norm(x, axis=0)[:, None] * np.linalg.norm(y, axis=0)[None])
    active = lambda v: (v > np.sort(v, 0)[int(np.ceil(0.8 * len(v))) - 1]).astype(float)
    a, b = active(x), active(y)
    union = a.sum(0)[:, None] + b.sum(0)[None] - a.T @ b
    return np.where(union > 0, a.T @ b / np.maximum(union, 1), 0)


@pytest.mark.parametrize("measure", ["pearson", "spearman", "cosine", "jaccard"])
def test_a_stream_gives_what_all_tokens_give(arrays: Any, measure: str) -> None:
    x, y = arrays
    matrix = wanted(measure, x, y)
    how = ji.neurons.Measure(measure, share=0.2)
    for size in SIZES if measure == "pearson" else SIZES[1:2]:
        found = ji.neurons.correlations(x, y, measure=how, batch_size=size)
        np.testing.assert_allclose(found.matrix, matrix, atol=1e-5)
    assert found.tokens == TOKENS and found.rank_error == 0
    values, partners = found.top(3)
    np.testing.assert_array_equal(values, np.take_along_axis(found.matrix, partners, 1))
    assert (np.diff(values) <= 0).all() and (values[:, :1] >= found.matrix).all()
    np.testing.assert_array_equal(found.top(OTHERS).values, -np.sort(-found.matrix, 1))
    if measure == "pearson":
        assert not found.matrix[3].any() and not found.matrix[:, 6].any()
        assert found.records()[0]["unit"] == "0.0" and "share" in found.figure()._repr_html_()


def test_digits_beyond_float32_are_not_lost(arrays: Any) -> None:
    x, y = (each.astype(np.float64) for each in arrays)
    found = ji.neurons.correlations(x + 1e9, y, batch_size=64)
    np.testing.assert_allclose(found.matrix, pearson(x, y), atol=1e-5)


@pytest.mark.parametrize("measure", ["pearson", "spearman", "cosine", "jaccard"])
def test_no_unit_of_measurement_changes_anything(arrays: Any, measure: str) -> None:
    """Float32 cannot hold the squares of 1e-25, nor the ranks of exp(40 x); the measures are those of float64."""
    x, y = arrays
    how: dict[str, Any] = {"measure": ji.neurons.Measure(measure, share=0.2), "batch_size": 64}
    want = wanted(measure, x, y)
    sizes = np.logspace(-180, 180, UNITS)
    for a in (x * np.float32(1e-25), x * np.float32(1e25), x.astype(np.float64) * sizes):
        np.testing.assert_allclose(ji.neurons.correlations(a, y, **how).matrix, want, atol=1e-5)
    if measure in ("spearman", "jaccard"):
        steep = np.exp((x - x.mean(0)).astype(np.float64) * 8)
        np.testing.assert_allclose(ji.neurons.correlations(steep, y, **how).matrix, want, atol=1e-5)
    else:
        rotated: dict[str, Any] = how | {"baseline": "rotation", "key": jax.random.key(1)}
        plain, tiny = (ji.neurons.correlations(x, b, **rotated) for b in (y, y.astype(np.float64) * 1e-60))
        np.testing.assert_allclose(tiny.excess, plain.excess, atol=1e-5)


@pytest.mark.parametrize("measure", ["pearson", "spearman"])
def test_activations_that_are_not_finite_are_told(arrays: Any, measure: str) -> None:
    x, y = arrays
    for value in (np.nan, np.inf):
        wrong = x.copy()
        wrong[9, 4] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            ji.neurons.correlations(
                wrong, y, measure=ji.neurons.Measure(measure, share=0.2), batch_size=SIZES[1]
            )


def test_the_last_layer_has_its_own_number() -> None:
    model, corpus = small_model(), corpus_of(False)
    last = ji.neurons.UnitStream(model, "mlp_post[-1]")
    assert as_pair(last, last, corpus).read.sides[0].table[0].tolist() == [1, 0]


@pytest.mark.parametrize("measure", ["pearson", "spearman", "cosine", "jaccard"])
def test_blocks_of_rows_keep_the_best_of_each(arrays: Any, measure: str) -> None:
    x, y = arrays
    how: Any = ji.neurons.Measure(measure, share=0.2, sample=TOKENS)
    whole = ji.neurons.correlations(x, y, measure=how, batch_size=64)
    rows, blocks = block_rows(UNITS, OTHERS, 300, 1)
    assert rows == 2 and blocks == 5 and block_rows(9, 11, 10**6, 4) == (12, 1)
    found = ji.neurons.correlations(x, y, measure=how, batch_size=64, max_bytes=300)
    np.testing.assert_allclose(found.top(2).values, whole.top(2).values, atol=1e-6)
    np.testing.assert_array_equal(found.top(2).partners, whole.top(2).partners)
    with pytest.raises(ValueError, match="max_bytes=396"):
        _ = found.matrix


def test_a_sample_stands_for_all_tokens_within_its_error() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1200, 3)).astype(np.float32)
    y = (x + rng.normal(size=x.shape)).astype(np.float32)
    found = ji.neurons.correlations(x, y, measure=ji.neurons.Measure("spearman", sample=300))
    assert 0 < found.rank_error < 0.08
    assert np.abs(found.matrix - wanted("spearman", x, y)).max() < found.rank_error


@pytest.mark.parametrize("baseline", ["rotation", "permutation", "gaussian"])
def test_excess_is_over_what_chance_gives(arrays: Any, baseline: str) -> None:
    x, y = arrays
    key = jax.random.key(3)
    found = ji.neurons.correlations(x, y, batch_size=64, baseline=baseline, key=key)
    np.testing.assert_allclose(found.matrix, pearson(x, y), atol=1e-5)
    np.testing.assert_allclose(found.excess, found.matrix.max(1) - found.baseline, atol=1e-6)
    if baseline == "rotation":
        rows = np.asarray(jax.random.normal(jax.random.split(key, 1)[0], (OTHERS, OTHERS)), np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(found.baseline, pearson(x, y @ rows.T).max(1), atol=1e-4)
    else:
        assert np.abs(found.baseline).max() < 0.45  # independent, or other tokens of a drifting stream
    other = ji.neurons.correlations(x, y, batch_size=64, baseline=baseline, key=jax.random.key(4))
    assert np.abs(other.baseline - found.baseline).max() > 1e-4


def corpus_of(left: bool) -> Any:
    """Rows of different lengths, padded on one side."""
    rng = np.random.default_rng(5)
    length = np.array([10, 4, 7, 9, 3])
    real = np.arange(10)[None] < length[:, None]
    real = real[:, ::-1] if left else real
    return ji.corpus.as_corpus(rng.integers(1, 40, (5, 10)), mask=real)


def alone(model: Any, corpus: Any, site: str) -> np.ndarray:
    """Units `(token, unit)`, each row run without its padding."""
    parts = []
    for row, real in zip(corpus.tokens, corpus.mask, strict=True):
        _, acts = ji.run(model, row[real], capture=[site], logits=False)
        x = np.asarray(acts[site])
        parts.append(np.moveaxis(x, -2, 0).reshape(real.sum(), -1))
    return np.concatenate(parts)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("family", families("gpt2"))
def test_two_models_over_a_padded_corpus(family: str, left: bool) -> None:
    model, corpus = model_of(family), corpus_of(left)
    other = jax.tree.map(
        lambda x: x + 0.02 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), model
    )
    found = ji.neurons.correlations(model, other, corpus, batch_size=2)
    want = pearson(alone(model, corpus, "mlp_post"), alone(other, corpus, "mlp_post"))
    np.testing.assert_allclose(found.matrix, want, atol=2e-4)
    assert found.units.tolist()[-1] == [2, model.config.ff - 1] and found.tokens == corpus.mask.sum()


@pytest.mark.slow
def test_one_model_at_two_sites_and_a_dictionary() -> None:
    model, corpus = small_model(), corpus_of(False)
    decoder = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    kind = ji.sae.Standard(d=8, features=12)
    sae = ji.sae.from_arrays(kind, encoder=decoder.T, encoder_bias=0, decoder=decoder, bias=0)
    features = ji.neurons.UnitStream(model, "resid_post[1]", dictionary=sae)
    found = ji.neurons.correlations(
        features, ji.neurons.UnitStream(model, "mlp_post[0]"), corpus, batch_size=2
    )
    f = np.asarray(sae.encode(jnp.asarray(alone(model, corpus, "resid_post[1]"))))
    np.testing.assert_allclose(found.matrix, pearson(f, alone(model, corpus, "mlp_post[0]")), atol=2e-4)
    assert found.units[0].tolist() == [1, 0] and found.others[0].tolist() == [0, 0]


def test_an_interrupted_call_goes_on(arrays: Any, tmp_path: Any, monkeypatch: Any) -> None:
    x, y = arrays
    how: dict[str, Any] = {"batch_size": 40, "max_bytes": 900}
    want = ji.neurons.correlations(x, y, **how)
    read, numbers = _batches.CorpusBatches.__getitem__, []

    def stop_once(self: Any, number: int) -> Any:
        numbers.append(number)
        if len(numbers) == 7:
            raise KeyboardInterrupt
        return read(self, number)

    monkeypatch.setattr(_batches.CorpusBatches, "__getitem__", stop_once)
    kept = ji.corpus.Checkpoint(tmp_path / "sums.npz", every=1)
    with pytest.raises(KeyboardInterrupt):
        ji.neurons.correlations(x, y, checkpoint=kept, **how)
    found = ji.neurons.correlations(x, y, checkpoint=kept, **how)
    assert numbers == [0, 1, 2, 3, 0, 1, 2, 2, 3, 0, 1, 2, 3]
    np.testing.assert_array_equal(found.values, want.values)
    assert sorted(os.listdir(tmp_path)) == ["sums.npz.1", "sums.npz.2", "sums.npz.3"]
    with pytest.raises(ValueError, match="written by a fold with"):
        ji.neurons.correlations(x, y, measure="cosine", checkpoint=kept, **how)
    for seed in (0, 0, 1):  # a key is a part of what a fold is
        chance = {"baseline": "rotation", "key": jax.random.key(seed), "checkpoint": tmp_path / "chance.npz"}
        with pytest.raises(ValueError, match="with arrays=") if seed else nullcontext():
            ji.neurons.correlations(x, y, batch_size=64, **chance)


def test_a_second_call_traces_nothing_and_x64_changes_nothing(arrays: Any) -> None:
    x, y = arrays
    found = ji.neurons.correlations(x, y, batch_size=64)
    size = _fold._advance.__wrapped__._cached._cache_size()
    ji.neurons.correlations(x[::-1], y, batch_size=64)
    assert _fold._advance.__wrapped__._cached._cache_size() == size
    with enable_x64(True):
        wide = ji.neurons.correlations(x, y.astype(np.float64), batch_size=64)
    np.testing.assert_allclose(wide.matrix, found.matrix, atol=1e-6)


def test_bad_input_is_told() -> None:
    model, x = small_model(), np.zeros((5, 3), np.float32)
    other = model_of("gpt2")
    small = ji.models.GPT2.init(
        ji.models.GPT2Config(vocab=30, ctx=16, layers=1, d=8, heads=2), key=jax.random.key(0)
    )
    tokens = np.ones((2, 5), np.int32)
    find = ji.neurons.correlations
    for call, words in (
        (lambda: find(model, other), "over one corpus"),
        (lambda: find(model, small, tokens), "vocabularies of 40 and 30"),
        (lambda: find(model, x, tokens), "one of each"),
        (lambda: find(x, x, tokens), "need no corpus"),
        (lambda: find(x, x[:4]), "same tokens"),
        (lambda: find(x[:1], x[:1]), "two tokens"),
        (lambda: find(model, other, tokens[:1, :1]), "two tokens"),
        (lambda: find((model, None), (other, None), tokens), "give its first part"),
        (lambda: find(x.astype(str), x), "numbers or bools"),
        (lambda: ji.neurons.Measure("jaccard", share="half"), "share"),  # pyright: ignore[reportArgumentType]
        (lambda: find(model, other, tokens[:0]), "no sequence"),
        (lambda: find(ji.neurons.UnitStream(model, "pattern"), other, tokens), "row"),
        (lambda: find(x, x, measure="kendall"), "measure is one of"),
        (lambda: find(x, x, baseline="shuffle"), "baseline is one of"),
        (lambda: find(x, x, baseline="rotation", key=3), "key"),
        (lambda: find(x, x, max_bytes=0), "max_bytes"),
        (lambda: find(x, x).top(0), "k, the number"),
        (lambda: find(x + np.nan, x), "NaN"),
        (lambda: find(x, x).excess, "needs a baseline"),
        (lambda: find(x, x).top(4), "3 units"),
        (lambda: ji.neurons.Measure("jaccard", share=1.0), "share"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


SHARDED = """
import jax, numpy as np
import jaxinterp as ji
from tests.models import small_model

assert len(jax.devices()) == 4
mesh = jax.make_mesh((4,), ("data",))
tokens = np.random.default_rng(1).integers(1, 40, (7, 6), dtype=np.int32)
a, b = small_model(0), small_model(1)
key = jax.random.key(0)
how = dict(batch_size=4, baseline="rotation", key=key)
want = ji.neurons.correlations(a, b, tokens, **how)
for most in ("auto", 40_000):
    found = ji.neurons.correlations(a, b, tokens, mesh=mesh, max_bytes=most, **how)
    np.testing.assert_allclose(found.values, want.values, atol=1e-5)
    np.testing.assert_allclose(found.baseline, want.baseline, atol=1e-5)
from jaxinterp.neurons import _row_blocks
placed = []
alike = _row_blocks.alike
_row_blocks.alike = lambda state, *rest: placed.append(state.products[0].sharding) or alike(state, *rest)
ji.neurons.correlations(a, b, tokens, mesh=mesh, **how)
assert placed[0].spec[0] == "data", placed
print("equal")
"""


@pytest.mark.slow
def test_rows_over_a_mesh_equal_one_device() -> None:
    assert "equal" in run(SHARDED, devices=4)
