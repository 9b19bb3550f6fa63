"""What a lens depends on: planted directions, agreement with the model, its bias in the mean."""

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, model_of

KEY = jax.random.key(0)
IDS = np.random.default_rng(0).integers(0, 40, (3, 6))


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("family", families("gpt2"))
def test_the_mean_prediction_of_each_row(family: str) -> None:
    model = model_of(family)
    p = softmax(np.asarray(ji.lens.logit_lens(model, IDS), np.float64))
    means = p.mean((1, 2))
    expected = (means[-1] * np.log(means[-1] / means)).sum(-1)
    found = np.asarray(ji.lens.marginal_bias(model, IDS))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found <= np.asarray(ji.lens.summary(model, IDS).mean("kl")) + 1e-5).all()
    for side in (0, 2):
        wide = np.pad(IDS, ((0, 0), (side, 2 - side)))
        mask = np.pad(np.ones(IDS.shape, bool), ((0, 0), (side, 2 - side)))
        np.testing.assert_allclose(ji.lens.marginal_bias(model, wide, mask=mask), found, atol=1e-4)


def test_bits_per_byte() -> None:
    assert float(ji.lens.bits_per_byte(2 * np.log(2), tokens=3, size=12)) == pytest.approx(0.5)
    np.testing.assert_allclose(ji.lens.bits_per_byte([np.log(2), 0.0], 5, 5), [1, 0], atol=1e-6)
    with pytest.raises(ValueError, match="1 or more"):
        ji.lens.bits_per_byte(1.0, 5, 0)


def test_the_direction_that_is_read_is_found() -> None:
    """A model without norms reads one direction alone: nothing else can change the lens."""
    model = model_of("toy")
    rng = np.random.default_rng(1)
    read = rng.normal(size=8)
    w = np.outer(read, rng.normal(size=40)).astype(np.float32)
    import equinox as eqx

    model = eqx.tree_at(lambda m: m.w_unembed, model, jax.numpy.asarray(w / 10))
    found = ji.lens.causal_basis(model, IDS, row=2, key=KEY, top=2, steps=40)
    cosine = abs(found.directions[0] @ read) / np.linalg.norm(read)
    # Removing any direction that overlaps removes a part; the whole is gone once the two span it.
    assert found.energy[0] > found.random[0] and found.energy[1] >= found.energy[0] - 1e-3 and cosine > 0.6
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(2), atol=1e-5)
    assert found.row == 2 and len(found.records()) == 2 and found.figure().html
    mask = np.pad(np.ones(IDS.shape, bool), ((0, 0), (2, 0)))
    same = ji.lens.causal_basis(
        model, np.pad(IDS, ((0, 0), (2, 0))), row=2, key=KEY, top=1, mask=mask, steps=40
    )
    np.testing.assert_allclose(same.energy, found.energy[:1], rtol=0.05)
    with pytest.raises(ValueError, match="at most 8"):
        ji.lens.causal_basis(model, IDS, row=2, key=KEY, top=9)
    with pytest.raises(ValueError, match="translates the rows"):
        ji.lens.causal_basis(model, IDS, row=7, key=KEY)


def test_a_lens_and_a_model_that_agree() -> None:
    model = model_of("gpt2")
    import equinox as eqx

    leaves = lambda m: (m.blocks.attn.w_o, m.blocks.attn.b_o, m.blocks.mlp.w_out, m.blocks.mlp.b_out)
    idle = eqx.tree_at(leaves, model, [leaf.at[2].set(0) for leaf in leaves(model)])
    directions = np.random.default_rng(0).normal(size=(2, 8))
    found = ji.lens.stimulus_response(idle, IDS, directions, row=2)
    np.testing.assert_allclose(found.similarity, 1, atol=1e-4)
    np.testing.assert_allclose(found.stimulus, found.response, rtol=1e-4)
    other = ji.lens.stimulus_response(model, IDS, directions, row=0)
    assert (other.similarity < 0.99).all() and len(other.records()) == 2
    for side in (0, 2):
        wide = np.pad(IDS, ((0, 0), (side, 2 - side)))
        mask = np.pad(np.ones(IDS.shape, bool), ((0, 0), (side, 2 - side)))
        same = ji.lens.stimulus_response(model, wide, directions, row=0, mask=mask)
        np.testing.assert_allclose(same.similarity, other.similarity, atol=1e-4)
    a, b, w = np.random.default_rng(2).normal(size=(3, 7))
    w = softmax(w)
    centred = (w * (a - (w * a).sum()) * (b - (w * b).sum())).sum()
    np.testing.assert_allclose(ji.lens.aitchison(a + 3, b, w), centred, atol=1e-5)
    with pytest.raises(ValueError, match="none of length 0"):
        ji.lens.stimulus_response(model, IDS, np.zeros((1, 8)), row=0)
