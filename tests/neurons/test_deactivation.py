"""Neurons that switch heads: by weights as by autodiff, and by cutting one path."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.neurons._deactivation import bos_readers
from tests.models import families, model_of

BOS, PLACE, LAYER, HEAD = 1, 4, 2, 1


@pytest.mark.parametrize("family", families("gpt2", "llama"))
def test_scores_are_the_derivative_before_the_softmax(family: str) -> None:
    model = model_of(family)
    tokens = jnp.asarray([BOS, 7, 3, 22, 9, 4], jnp.int32)
    _, acts = ji.run(model, tokens, capture=[f"resid_pre[{LAYER}]", f"ln1_scale[{LAYER}]"], logits=False)
    x = np.asarray(acts[f"resid_pre[{LAYER}]"], np.float64)[PLACE]
    w = np.random.default_rng(0).normal(size=x.shape)
    if family != "llama":  # a LayerNorm removes the mean
        x, w = x - x.mean(), w - w.mean()
    w = jnp.asarray(w - x * (x @ w) / (x @ x), jnp.float32)  # then the norm's scale stays what it is

    def score(amount: Any) -> Any:
        edit = ji.add("q_in", amount * w, layer=LAYER, head=HEAD, pos=PLACE)
        _, acts = ji.run(model, tokens, edits=[edit], capture=[f"scores[{LAYER}]"], logits=False)
        return acts[f"scores[{LAYER}]"][HEAD, PLACE, 0]

    _, slope = jax.jvp(score, (jnp.float32(0),), (jnp.float32(1),))
    wanted = np.asarray(bos_readers(model, BOS, distance=PLACE)[LAYER, HEAD]) @ np.asarray(w)
    scale = float(np.ravel(acts[f"ln1_scale[{LAYER}]"])[PLACE])
    assert abs(wanted) > 1e-3
    np.testing.assert_allclose(float(slope) * scale, wanted, rtol=2e-3)


def switched(model: Any, unit: int) -> Any:
    """The same model, whose neuron of this number in layer 0 writes along what head 2.1 reads of BOS."""
    reader = np.asarray(bos_readers(model, BOS)[LAYER, HEAD])
    out = np.array(model.blocks.mlp.w_out)
    out[0, unit] = 8 * reader / np.linalg.norm(reader)
    return eqx.tree_at(lambda m: m.blocks.mlp.w_out, model, jnp.asarray(out))


@pytest.mark.slow
def test_a_planted_switch_is_found_and_raises_attention_to_bos() -> None:
    rng = np.random.default_rng(0)
    length = np.array([12, 7, 9, 12])
    real = np.arange(12)[None] < length[:, None]
    tokens = np.where(np.arange(12)[None] == 0, BOS, rng.integers(2, 40, (4, 12)))
    _, acts = ji.run(model_of("gpt2"), tokens, capture=["mlp_post[0]"], logits=False)
    unit = int(np.asarray(acts["mlp_post[0]"]).mean((0, 1)).argmax())
    model = switched(model_of("gpt2"), unit)
    found = ji.neurons.head_deactivation(model, BOS)
    assert found.top(1)[0] | {"score": 0} == {
        "neuron": f"0.{unit}",
        "head": "2.1",
        "score": 0,
        "switches": "off",
    }
    assert np.isnan(found.scores[1, :, 1]).all() and np.isfinite(found.scores[0, :, 1:]).all()
    assert len(found.records()) == 100
    right = ji.neurons.path_ablation(
        model, ji.corpus.as_corpus(tokens, mask=real), f"0.{unit}", (LAYER, HEAD), batch_size=3
    )
    turned = np.stack([np.roll(row, 12 - n) for row, n in zip(tokens, length, strict=True)])
    left = ji.neurons.path_ablation(
        model, ji.corpus.as_corpus(turned, mask=real[:, ::-1]), (0, unit), (LAYER, HEAD), batch_size=3
    )
    assert len(right.activation) == (length - 3).sum()  # a quarter of the longest row does not count
    for one in ("activation", "bos", "norm"):
        np.testing.assert_allclose(getattr(left, one), getattr(right, one), atol=2e-5)
    fires = right.activation > 0.5
    assert fires.sum() > 10 and right.change[fires].mean() > 0
    (row,) = right.records()
    assert row["bos"] > row["bos_without"] and row["pearson"] > 0.3 and row["spearman"] > 0.3
    # By hand, at one token.
    _, acts = ji.run(model, tokens[0], capture=["mlp_post[0]", "pattern[2]"], logits=False)
    a = acts["mlp_post[0]"][8, unit]
    edit = ji.add("q_in", -a * model.blocks.mlp.w_out[0, unit], layer=LAYER, head=HEAD, pos=8)
    _, cut = ji.run(model, tokens[0], edits=[edit], capture=["pattern[2]"], logits=False)
    np.testing.assert_allclose(right.bos[0, 5], acts["pattern[2]"][HEAD, 8, 0], atol=1e-5)
    np.testing.assert_allclose(right.bos[1, 5], cut["pattern[2]"][HEAD, 8, 0], atol=1e-5)


def test_a_neuron_that_writes_nothing_changes_nothing() -> None:
    model = model_of("gpt2")
    silent = eqx.tree_at(lambda m: m.blocks.mlp.w_out, model, model.blocks.mlp.w_out.at[0, 3].set(0))
    tokens = np.random.default_rng(0).integers(1, 40, (4, 12))
    found = ji.neurons.path_ablation(silent, tokens, (0, 3), (LAYER, HEAD), batch_size=3)
    assert not found.change.any()
    np.testing.assert_array_equal(found.norm[0], found.norm[1])


def test_bad_input_is_told() -> None:
    model, tokens = model_of("gpt2"), np.ones((2, 6), np.int32)
    with pytest.raises(IndexError, match="bos_id"):
        ji.neurons.head_deactivation(model, 40)
    with pytest.raises(ValueError, match="no MLP"):
        ji.neurons.head_deactivation(model_of("toy"), BOS)
    with pytest.raises(ValueError, match="later layer"):
        ji.neurons.path_ablation(model, tokens, (1, 0), (1, 0))
    with pytest.raises(ValueError, match="No token is left"):
        ji.neurons.path_ablation(model, tokens, (0, 0), (1, 0), skip=6)
    with pytest.raises(IndexError, match="path_ablation"):
        ji.neurons.path_ablation(model, tokens, (0, 0), (1, 7))
    with pytest.raises(ValueError, match="one neuron and one head"):
        ji.neurons.path_ablation(model, tokens, [(0, 0), (0, 1)], (1, 0))
    with pytest.raises(ValueError, match="later layer"):
        ji.neurons.path_ablation(model, tokens, (2, 0), (-1, 0))


def test_one_layer_has_no_pair() -> None:
    scores = np.full((1, 4, 1, 2), np.nan)
    assert ji.neurons.HeadDeactivation(scores, 0, 1).records() == []
