"""Entropy neurons: planted ones come out exactly, and effects are those of plain runs with plain edits."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.corpus import _fold
from jaxinterp.neurons import _clamp_sums
from jaxinterp.neurons._null_space import vocabulary_moments
from jaxinterp.neurons._unembedding import written
from tests.models import model_of

QUIET: Any = {"progress": False}
NO_INTERVALS = ji.neurons.ClampSettings(resamples=0)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, (4, 9))


def plain(model: Any, tokens: Any, real: Any, edits: list[Any], frozen: Any = None) -> tuple[Any, Any]:
    """Losses `(row, pos - 1)` of next tokens, and the last stream; with the scale of another stream."""
    how: Any = {"mask": real, "edits": edits, "capture": ["resid_post[-1]"], "logits": False}
    x = np.asarray(ji.run(model, tokens, **how)[1]["resid_post[-1]"], np.float64)
    norm, held = model.ln_final, x if frozen is None else frozen
    centre = (lambda x: x - x.mean(-1, keepdims=True)) if norm.centres else (lambda x: x)
    scale = np.sqrt(np.square(centre(held)).mean(-1, keepdims=True) + norm.eps)
    read = centre(x) / scale * np.asarray(norm.weight, np.float64)
    if norm.bias is not None:
        read = read + np.asarray(norm.bias, np.float64)
    unembed = np.asarray(model.w_embed).T if model.w_unembed is None else np.asarray(model.w_unembed)
    logits = (read @ unembed.astype(np.float64))[:, :-1]
    return np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0], x


@pytest.mark.wide
@pytest.mark.finite
@pytest.mark.parametrize("norm", ["layer", pytest.param("rms", marks=pytest.mark.slow)])
def test_planted_neurons_come_out_exactly(norm: Any) -> None:
    planted = ji.toy.planted_unembed(key=jax.random.key(0), norm=norm)
    prompts = np.random.default_rng(0).integers(0, 96, (8, 24))
    found = ji.neurons.entropy_neurons(planted.model, prompts, settings=NO_INTERVALS, **QUIET)
    assert found.null.rule == "gap" and found.null.rank == planted.null_space.shape[1] + (norm == "layer")
    np.testing.assert_allclose(found.null.share(planted.null_space.T), 1, atol=1e-6)
    mine, other = list(planted.neurons["entropy"]), list(planted.neurons["other"])
    assert set(found.top(2)) == set(mine)
    np.testing.assert_allclose(found.rho[mine], 1, atol=1e-6)
    assert (found.logit_var[mine] < 1e-12).all() and (found.logit_var[other] > 0.01).all()
    assert (found.direct[mine] < 1e-6).all() and (found.total[mine] > 0.1).all()
    np.testing.assert_allclose(found.mediated[mine], 1, atol=1e-5)
    assert np.median(found.mediated[other]) < 0.2
    assert (found.rank[mine] == 0).all()  # a scale changes no order
    for kind in ("frequency", "prediction", "suppression", "partition"):
        assert (found.rho[list(planted.neurons[kind])] < 1e-6).all()
    assert found.tokens == 8 * 20 and found.documents == 8


SLOW: Any = pytest.mark.slow
CASES: Any = [("gpt2", -1, "left"), ("llama", 1, "right"), pytest.param("neox", -1, "right", marks=SLOW)]
CASES += [
    pytest.param(*case, marks=SLOW)
    for case in [("gpt2", 1, "left"), ("llama", -1, "left"), ("neox", 0, "left")]
]


@pytest.mark.parametrize(("name", "layer", "side"), CASES)
def test_effects_are_those_of_plain_edits(name: str, layer: int, side: str, tokens: np.ndarray) -> None:
    """Of rows of different lengths, padded."""
    model, real = model_of(name), np.ones(tokens.shape, bool)
    number, units = layer % 3, [3, -2]
    real[3, slice(0, 3) if side == "left" else slice(6, 9)] = False
    corpus = (np.where(real, tokens, 0), real)
    found = ji.neurons.entropy_neurons(model, corpus, layer, neurons=units, settings=NO_INTERVALS, **QUIET)
    _, acts = ji.run(model, corpus[0], mask=real, capture=[f"mlp_post[{number}]"], logits=False)
    counted = real & (real.cumsum(1) > 3) & (real.sum(1, keepdims=True) > real.cumsum(1))
    means = np.asarray(acts[f"mlp_post[{number}]"], np.float64)[counted].mean(0)
    assert found.layer == number and found.tokens == counted.sum() == 3 * 5 + 2
    assert (found.neurons == np.array([3, len(means) - 2])).all()
    np.testing.assert_allclose(found.mean, means[units], rtol=1e-4, atol=1e-6)
    base, stream = plain(model, *corpus, [])
    for i, unit in enumerate(found.neurons):
        edit = ji.replace("mlp_post", jnp.float32(means[unit]), layer=number, unit=jnp.int32(unit))
        change, direct = (plain(model, *corpus, [edit], x)[0] - base for x in (None, stream))
        change, direct = change[counted[:, :-1]], direct[counted[:, :-1]]
        np.testing.assert_allclose(found.total[i], np.abs(change).mean(), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.direct[i], np.abs(direct).mean(), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.loss[i], change.mean(), rtol=1e-3, atol=1e-5)


def test_folding_changes_no_weights_as_they_are_read() -> None:
    model = model_of("gpt2")
    folded = ji.weights.process(model)
    mine, theirs = (ji.neurons.null_space(each, rank=3) for each in (model, folded))
    np.testing.assert_allclose(theirs.singular_values, mine.singular_values, rtol=1e-4, atol=1e-5)
    out = [written(each, 2) for each in (model, folded)]
    np.testing.assert_allclose(out[1], out[0], atol=1e-6)
    np.testing.assert_allclose(theirs.share(out[1]), mine.share(out[0]), rtol=1e-3)
    var = [vocabulary_moments(each).logit_var(x) for each, x in zip((model, folded), out, strict=True)]
    np.testing.assert_allclose(var[1], var[0], rtol=1e-4)
    logits = np.asarray(model.w_embed, np.float64) * np.asarray(model.ln_final.weight)
    logits = logits - logits.mean(1, keepdims=True)
    logits = logits - logits.mean(0)
    cosines = out[0] @ logits.T / np.linalg.norm(logits, axis=1) / np.linalg.norm(out[0], axis=1)[:, None]
    np.testing.assert_allclose(var[0], cosines.var(1, ddof=1), rtol=1e-9)


@pytest.mark.slow
def test_folding_changes_no_effects(tokens: np.ndarray) -> None:
    model, settings = model_of("gpt2"), ji.neurons.ClampSettings(resamples=50, batch_size=2)
    found, folded = (
        ji.neurons.entropy_neurons(each, tokens, settings=settings, **QUIET)
        for each in (model, ji.weights.process(model))
    )
    for column in ("total", "direct", "mediated", "entropy", "mean"):
        within = 1e-3 if column == "mediated" else 2e-5
        np.testing.assert_allclose(getattr(folded, column), getattr(found, column), rtol=2e-3, atol=within)


def test_what_does_not_move_has_no_effect(tokens: np.ndarray) -> None:
    model = eqx.tree_at(
        lambda m: m.blocks.mlp.w_out, model_of("gpt2"), replace_fn=lambda w: w.at[-1, 5].set(0)
    )
    settings = ji.neurons.ClampSettings(resamples=0, batch_size=2)
    found = ji.neurons.entropy_neurons(model, tokens, neurons=[5, 6, 7], settings=settings, **QUIET)
    assert found.total[0] == 0 and found.direct[0] == 0 and np.isnan(found.mediated[0])
    assert found.total[1] > 0 and found.rho[0] == 0 and found.norm[0] == 0
    assert found.records()[-1]["neuron"] == "2.5" and len(found.records()) == 3
    assert "others" in found.figure("total", "direct", top=1).html and found.null.figure().svg
    assert np.isnan(found.low["total"]).all()


def test_an_interrupted_call_goes_on_and_compiles_nothing(
    tokens: np.ndarray, tmp_path: Any, monkeypatch: Any
) -> None:
    model, settings = model_of("gpt2"), ji.neurons.ClampSettings(resamples=20, batch_size=2)
    how: Any = {"settings": settings, "neurons": [1, 2, 3], **QUIET}
    whole = ji.neurons.entropy_neurons(model, tokens, **how)
    size = _fold._read._cached._cache_size()
    add, seen = _clamp_sums.Adding.__call__, []

    def stop(self: Any, state: Any, batch: Any, found: Any) -> Any:
        seen.append(int(batch.number))
        if seen == [0, 1]:
            raise KeyboardInterrupt
        return add(self, state, batch, found)

    monkeypatch.setattr(_clamp_sums.Adding, "__call__", stop)
    how["checkpoint"] = ji.corpus.Checkpoint(tmp_path / "state.npz", every=1)
    with pytest.raises(KeyboardInterrupt):
        ji.neurons.entropy_neurons(model, tokens, **how)
    again = ji.neurons.entropy_neurons(model, tokens, **how)
    assert seen == [0, 1, 1]
    for column in ("total", "direct", "entropy"):
        assert (getattr(again, column) == getattr(whole, column)).all()
        assert (again.low[column] == whole.low[column]).all()
        assert (whole.low[column] <= getattr(whole, column)).all()
        assert (getattr(whole, column) <= whole.high[column]).all()
    ji.neurons.entropy_neurons(model, tokens, **{**how, "neurons": [4, 5, 6], "checkpoint": None})
    assert _fold._read._cached._cache_size() == size
    with pytest.raises(ValueError, match="was written by a fold"):
        ji.neurons.entropy_neurons(model, tokens, **{**how, "neurons": [4, 5, 6]})


def test_the_rank_of_the_null_space() -> None:
    model = model_of("gpt2")
    given = ji.neurons.null_space(model, rank=3)
    assert given.rule == "given" and given.basis.shape == (8, 3) and len(given.records()) == 8
    np.testing.assert_allclose(given.basis.T @ given.basis, np.eye(3), atol=1e-9)
    default = ji.neurons.null_space(model)
    # The norm removes the all-ones vector: its singular value is 0.
    assert default.singular_values[-1] < 1e-6 < default.singular_values[-2]
    assert default.rule in ("gap", "default") and default.rank >= 2  # one that a neuron can use
    assert (default.with_rank(3).basis == given.basis).all() and default.with_rank(3).rule == "given"
    for call in (lambda: ji.neurons.null_space(model, rank=9), lambda: default.with_rank(9)):
        with pytest.raises(ValueError, match="rank is a number of directions, 1 to d=8; got 9"):
            call()


def test_bad_input_is_taught(tokens: np.ndarray) -> None:
    find, model = ji.neurons.entropy_neurons, model_of("gpt2")
    with pytest.raises(ValueError, match="has no MLP"):
        find(model_of("toy"), tokens)
    with pytest.raises(ValueError, match=r"no norm .* every effect is direct"):
        find(model_of("relu"), tokens)
    with pytest.raises(ValueError, match="Give it the model inside"):
        find(ji.intervene(model, [ji.zero("z", layer=0)]), tokens)
    with pytest.raises(IndexError, match="layer 3 is out of range"):
        find(model, tokens, 3)
    with pytest.raises(IndexError, match="neuron 32 is out of range"):
        find(model, tokens, neurons=[32])
    with pytest.raises(ValueError, match=r"neurons=\[3, 17\]; got the shape"):
        find(model, tokens, neurons=[])
    with pytest.raises(ValueError, match=r"contexts of skip \+ 2 tokens or more"):
        find(model, tokens[:, :4])
    with pytest.raises(ValueError, match="skip"):
        ji.neurons.ClampSettings(skip=-1)
    with pytest.raises(ValueError, match="level"):
        ji.neurons.ClampSettings(level=1.5)
    with pytest.raises(ValueError, match="batch_size"):
        ji.neurons.ClampSettings(batch_size=0)
    with pytest.raises(ValueError, match="max_bytes"):
        ji.neurons.ClampSettings(max_bytes="1GB")
    with pytest.raises(ValueError, match="d=8, null=4"):
        ji.toy.planted_unembed(key=jax.random.key(0), d=8)
