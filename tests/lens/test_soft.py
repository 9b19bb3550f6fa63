"""Soft tokens: planted objects are found where they are, and taken away (methods 3.14)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.lens import localise, logit_lens, project_away, soft_prompt, text_vector

CAT, DOG, CAR = 3, 7, 9


@pytest.fixture(scope="module")
def planted() -> tuple[Any, jax.Array]:
    """Attention that does next to nothing; patch 2 is a cat, patch 5 a dog, the others noise."""
    config = ji.models.GPT2Config(vocab=12, ctx=16, d=16, layers=2, heads=2, ff=0, tied=False)
    rng = np.random.default_rng(0)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    w_unembed = np.linalg.qr(rng.normal(size=(16, 16)))[0][:, :12]
    model = eqx.tree_at(
        lambda m: (m.w_unembed, m.w_pos),
        model,
        (jnp.asarray(4 * w_unembed, jnp.float32), jnp.zeros((16, 16))),
    )
    patches = rng.normal(0, 0.05, (8, 16))
    patches += 0.5 * w_unembed[:, [CAR]].T  # what is everywhere
    patches[2] += 3 * w_unembed[:, CAT]
    patches[5] += 3 * w_unembed[:, DOG]
    return model, jnp.asarray(patches, jnp.float32)


def test_objects_are_found_where_they_are(planted: Any) -> None:
    model, patches = planted
    soft = soft_prompt(model, patches, jnp.asarray([1, 4], jnp.int32))
    assert soft.shape == (10, 16) and (soft[8:] == model.w_embed[jnp.asarray([1, 4])]).all()
    found = localise(model, soft, [CAT, [1, DOG]], pos=range(8))
    assert found.probs.shape == (2, 8)
    assert np.asarray(found.probs).argmax(-1).tolist() == [2, 5]
    assert (np.asarray(found.confidence) > 0.9).all()
    assert found.grid(2, 4).shape == (2, 2, 4)
    absent = np.delete(np.asarray(found.probs[0]), 2)
    assert absent.max() < 0.5
    # Equal to the largest probability that the logit lens gives.
    probs = np.asarray(jax.nn.softmax(logit_lens(model, soft)))[:, :8]
    expected = [probs[..., [CAT]].max((0, 2)), probs[..., [1, DOG]].max((0, 2))]
    assert np.allclose(found.probs, expected, atol=1e-6)


def test_project_away_removes_what_is_there(planted: Any) -> None:
    model, patches = planted
    cat = model.w_unembed[:, CAT]
    image = np.arange(8)
    edit = project_away(cat, layer=0, pos=image)
    _, before = ji.run(model, patches, capture=["resid_post[0]"])
    _, after = ji.run(model, patches, edits=[edit], capture=["resid_post[0]"])
    x, y = (np.asarray(acts["resid_post[0]"]) for acts in (before, after))
    there = x @ np.asarray(cat) > 0
    assert there[2] and not there.all()
    assert np.allclose((y @ np.asarray(cat))[there], 0, atol=1e-5)
    assert (y[~there] == x[~there]).all()
    everywhere = [project_away(cat), project_away(cat, site="embed")]
    found = localise(model, patches, [CAT, DOG], edits=everywhere)
    assert found.confidence[0] < 0.2 and found.confidence[1] > 0.9
    for size in (1e-30, 1e25):
        small = project_away(size * cat, layer=0, pos=image)
        _, found = ji.run(model, patches, edits=[small], capture=["resid_post[0]"])
        assert np.allclose(found["resid_post[0]"], y, atol=1e-5)
    # A larger alpha goes past; other values and directions are leaves of the same edit.
    past = project_away(cat, 3.0, layer=0, pos=image)
    _, far = ji.run(model, patches, edits=[past], capture=["resid_post[0]"])
    z = np.asarray(far["resid_post[0]"]) @ np.asarray(cat)
    assert np.allclose(z[2], -2 * (x @ np.asarray(cat))[2], atol=1e-4)
    assert jax.tree.structure(edit) == jax.tree.structure(past)


@pytest.mark.slow
def test_the_order_of_directions_that_are_not_orthogonal_matters(planted: Any) -> None:
    model, patches = planted
    cat = np.asarray(model.w_unembed[:, CAT])
    both = 0.6 * cat + 0.8 * np.asarray(model.w_unembed[:, DOG])
    first, second = project_away(cat, layer=0), project_away(both, layer=0)

    def left(edits: Any) -> np.ndarray:
        _, acts = ji.run(model, patches, edits=edits, capture=["resid_post[0]"])
        return np.asarray(acts["resid_post[0]"])

    one, other = left([first, second]), left([second, first])
    assert not np.allclose(one, other, atol=1e-3)
    assert (one @ both).max() < 1e-4 and (other @ cat).max() < 1e-4  # the last one is exact


@pytest.mark.slow
def test_text_vectors_and_errors(planted: Any) -> None:
    model, patches = planted
    phrases = jnp.asarray([[3, 7, 0], [1, 2, 9]], jnp.int32)
    mask = jnp.asarray([[True, True, False], [True, True, True]])
    vector = text_vector(model, phrases, layer=1, mask=mask)
    _, acts = ji.run(model, phrases, mask=mask, capture=["resid_post[1]"])
    expected = np.asarray(acts["resid_post[1]"])[[0, 1], [1, 2]]
    assert (np.asarray(vector) == expected).all()
    with pytest.raises(ValueError, match=r"words are lists of token ids in 0\.\.11"):
        localise(model, patches, [12])
    with pytest.raises(ValueError, match="A grid of 3 by 3 has 9 positions; there are 8"):
        localise(model, patches, [CAT]).grid(3, 3)
    with pytest.raises(ValueError, match=r"\(\*batch, n, d\) with d=16"):
        soft_prompt(model, patches[:, :4], phrases)
    with pytest.raises(ValueError, match=r"the batch of the prefix"):
        soft_prompt(model, patches, jnp.asarray([[1], [2]]))
    with pytest.raises(IndexError, match=r"0\.\.11.*got 12"):
        soft_prompt(model, patches, [1, 12])
    with pytest.raises(ValueError, match=r"A direction has the axis \(d,\); got a number"):
        project_away(1.0)
