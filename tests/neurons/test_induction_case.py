"""Neurons on tokens that come again: everything equals plain runs with plain edits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, model_of

NEURONS, HEADS = [(2, 3), (1, 4)], [(0, 1), (2, 0)]


@pytest.mark.parametrize("name", families("gpt2"))
def test_equals_plain_runs(name: str) -> None:
    model, key = model_of(name), jax.random.key(0)
    how: Any = {"block": 7, "batch_size": 5, "bos": 1}
    # Room for the logits of a few prompts only, so that there are several batches.
    found = ji.neurons.induction_case(
        model, NEURONS, key=key, heads=HEADS, max_bytes=30_000, progress=False, **how
    )
    tokens = ji.heads.repeated_tokens(model.config, key=key, **how)
    second = jnp.arange(15) >= 8
    assert (found.second == np.asarray(second)).all()
    logits, acts = ji.run(model, tokens, capture=["mlp_post"])
    plain = [np.asarray(acts["mlp_post"][layer, :, :, unit]) for layer, unit in NEURONS]

    def curves(logits: Any) -> tuple[np.ndarray, np.ndarray]:
        log = np.asarray(jax.nn.log_softmax(logits), np.float64)
        loss = -np.take_along_axis(log[:, :-1], np.asarray(tokens)[:, 1:, None], -1)[..., 0]
        return -(np.exp(log) * log).sum(-1), loss

    entropy, loss = curves(logits)
    np.testing.assert_allclose(found.entropy, entropy.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.loss[:-1], loss.mean(0), rtol=1e-4)
    assert np.isnan(found.loss[-1])
    for i, (layer, unit) in enumerate(NEURONS):
        np.testing.assert_allclose(found.activation[i], plain[i].mean(0), rtol=1e-3, atol=1e-5)
        value = plain[i][:, 1:8].mean()
        np.testing.assert_allclose(found.values[i], value, rtol=1e-3, atol=1e-5)
        edit = ji.replace("mlp_post", float(value), layer=layer, unit=unit, pos=second)
        new, new_loss = curves(ji.run(model, tokens, edits=[edit])[0])
        np.testing.assert_allclose(found.clamped_entropy[i], new.mean(0), rtol=1e-3)
        np.testing.assert_allclose(found.clamped_loss[i, :-1], new_loss.mean(0), rtol=1e-3)
        np.testing.assert_allclose(found.entropy_change[i], (new - entropy)[:, 8:-1].mean(), atol=1e-4)
        assert found.low["loss_change"][i] <= found.loss_change[i] <= found.high["loss_change"][i]
        np.testing.assert_allclose(found.clamped_entropy[i, :8], found.entropy[:8], rtol=1e-5)  # not yet set
    first = jnp.zeros(15).at[0].set(1)
    for h, (layer, head) in enumerate(HEADS):
        edit = ji.replace("pattern", first, layer=layer, head=head)
        _, acts = ji.run(model, tokens, edits=[edit], capture=["mlp_post"], logits=False)
        for i, (own, unit) in enumerate(NEURONS):
            change = (np.asarray(acts["mlp_post"][own, :, :, unit]) - plain[i])[:, 8:].mean()
            if layer > own:
                assert np.isnan(found.head_change[h, i])
            else:
                np.testing.assert_allclose(found.head_change[h, i], change, rtol=1e-3, atol=1e-5)
    row = found.records()[0]
    assert row["neuron"] == "2.3" and row["head"] in ("0.1", "2.0") and "second" in found.figure().html


def test_bad_input_is_taught() -> None:
    model, how = model_of("gpt2"), {"key": jax.random.key(0), "progress": False}
    with pytest.raises(ValueError, match="needs at least one neuron"):
        ji.neurons.induction_case(model, [], **how)
    with pytest.raises(ValueError, match=r"heads are pairs \(layer, head\)"):
        ji.neurons.induction_case(model, NEURONS, heads=[1, 2], **how)
    with pytest.raises(IndexError, match="3 layers of 2 heads"):
        ji.neurons.induction_case(model, NEURONS, heads=[(0, 2)], **how)
    with pytest.raises(ValueError, match="has no MLP"):
        ji.neurons.induction_case(model_of("toy"), NEURONS, **how)


@pytest.mark.slow
def test_one_prompt_without_heads() -> None:
    model, how = model_of("gpt2"), {"key": jax.random.key(0), "progress": False}
    alone = ji.neurons.induction_case(model, NEURONS[:1], heads=[], batch_size=1, **how)
    assert alone.head_change.shape == (0, 1) and np.isnan(alone.low["entropy_change"]).all()
    assert len(alone.second) == 16  # as many as fit the context
