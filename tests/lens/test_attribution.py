"""Direct logit attribution sums back; the attention lens reads what heads write."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.lens import attention_lens, direct_attribution, logit_lens

from .conftest import model_of


@pytest.mark.parametrize(
    ("name", "by"),
    [pytest.param("gpt2", "layer", marks=pytest.mark.slow), ("llama", "head"), ("gpt2", "neuron")],
)
def test_shares_sum_to_the_logit(name: str, by: str, tokens: Any) -> None:
    model = model_of(name)
    logits = np.asarray(ji.run(model, tokens, logits=-1)[0])
    parts = direct_attribution(model, tokens, 4, by=by)
    assert parts.values.shape[1:] == (2,)
    assert np.allclose(parts.total(), logits[:, 4], atol=1e-4)
    # A pair per example: read along a direction of its own each.
    more, less = np.asarray([4, 5]), np.asarray([6, 0])
    pairs = direct_attribution(model, tokens, (more, less), by=by)
    expected = logits[[0, 1], more] - logits[[0, 1], less]
    assert np.allclose(pairs.total(), expected, atol=1e-4)
    if by == "head":
        assert parts.heads.shape == (3, model.config.heads, 2)
        # Example 0 of the pairs, alone.
        alone = direct_attribution(model, tokens[0], (4, 6), by=by)
        assert np.allclose(np.asarray(pairs.values)[:, 0], alone.values, atol=1e-5)
        shown = [str(each.figure()._repr_html_()) for each in (alone, pairs)]
        assert [("mlp_out[0]" in text) for text in shown] == [
            False,
            True,
        ]  # heads by layer; a list for examples
        label, value = alone.top(1)[0]
        assert value == pytest.approx(float(alone[label])) and abs(value) == abs(alone.values).max()
    if by == "neuron":
        assert parts.neurons.shape == (3, model.config.ff, 2) and parts.attn.shape == (3, 2)
        with pytest.raises(ValueError, match="no such components"):
            parts.heads  # noqa: B018
    if by == "layer":
        assert parts.attn.shape == parts.mlp.shape == (3, 2)


@pytest.mark.slow
def test_vectors_positions_and_edits(neox: Any, tokens: Any) -> None:
    rng = np.random.default_rng(0)
    vector = rng.normal(size=16).astype(np.float32)
    edits = [ji.zero("z", layer=1, head=0)]
    _, acts = ji.run(neox, tokens, edits=edits, capture="ln_final_out")
    read = np.asarray(acts["ln_final_out"]) @ vector
    parts = direct_attribution(neox, tokens, vector, by="head", pos=[1, 4], edits=edits)
    assert "edits" in parts.labels and abs(np.asarray(parts["edits"])).max() < 1e-4
    assert np.allclose(parts.total(), read[:, [1, 4]], atol=1e-4)
    assert (np.asarray(parts["L1H0"]) == 0).all()
    own = rng.normal(size=(2, 16)).astype(np.float32)
    each = direct_attribution(neox, tokens, own, pos=[[1, 4], [2, 3]], edits=edits)
    expected = np.einsum("bpd,bd->bp", np.asarray(acts["ln_final_out"])[[[0], [1]], [[1, 4], [2, 3]]], own)
    assert np.allclose(each.total(), expected, atol=1e-4)


def test_bad_directions_are_explained(neox: Any, tokens: Any) -> None:
    with pytest.raises(ValueError, match="by is one of layer, head, neuron"):
        direct_attribution(neox, tokens, 1, by="token")
    with pytest.raises(IndexError, match=r"Token ids lie in 0\.\.39; the target has 40"):
        direct_attribution(neox, tokens, (3, 40))
    with pytest.raises(ValueError, match=r"write a tuple"):
        direct_attribution(neox, tokens, [1, 2, 3])
    with pytest.raises(ValueError, match=r"A target that is a vector has the shape \(16,\) or \(2, 16\)"):
        direct_attribution(neox, tokens, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="attention only"):
        direct_attribution(model_of("bare"), tokens, 1, by="neuron")


def test_attention_lens_is_the_heads_logits(tokens: Any) -> None:
    model = model_of("llama")
    read = jax.tree.map(np.asarray, attention_lens(model, tokens, pos=3, top=40))
    heads = np.asarray(logit_lens(model, tokens, site="head_out", pos=3))
    back = np.take_along_axis(heads, read.ids, -1)
    assert np.allclose(read.logits, back, atol=1e-5)
    assert np.allclose(read.logits, -np.sort(-heads, -1), atol=1e-5)
    assert np.allclose(read.low_logits, np.sort(heads, -1), atol=1e-5)
    assert read.pattern.shape == (3, 2, 4, 6)
    # Source by source: every token's share, summed over sources, is the head's.
    parts = jax.tree.map(np.asarray, attention_lens(model, tokens, pos=3, top=40, sources=True))
    assert parts.ids.shape == (3, 2, 4, 6, 40)
    spread = np.zeros((3, 2, 4, 6, 40), np.float32)
    np.put_along_axis(spread, parts.ids, parts.logits, -1)
    assert np.allclose(spread.sum(-2), heads, atol=1e-4)
    assert np.allclose(spread[..., 4:, :], 0, atol=1e-6)  # nothing comes from later positions


@pytest.mark.slow
def test_attention_lens_without_norm(tokens: Any) -> None:
    model = model_of("bare")
    read = attention_lens(model, tokens[0])
    heads = np.asarray(logit_lens(model, tokens[0], site="head_out", pos=-1))
    assert np.allclose(read.logits[..., 0], heads.max(-1), atol=1e-5)
    with pytest.raises(ValueError, match=r"top is an int of 1 or more"):
        attention_lens(model, tokens, top=0)
    with pytest.raises(IndexError, match="pos 6 is out of range"):
        attention_lens(model, tokens, pos=6)
