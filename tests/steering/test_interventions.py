"""Edits along a direction: laws, on every family and on padded prompts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import steering
from jaxinterp._jax_versions import enable_x64
from tests.models import FAMILIES, model_of, sampled

TOKENS = np.array([[3, 1, 4, 1, 5, 0], [9, 2, 6, 12, 0, 7], [8, 8, 2, 1, 30, 4]])
LEFT = np.array([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)
MASKS = (None, LEFT, LEFT[:, ::-1].copy())


def direction_of(model, seed=0, n=None):
    shape = (model.config.d,) if n is None else (n, model.config.d)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_orthogonalised_weights_are_the_ablation(name):
    model = model_of(name)
    for n in (2, None):
        direction = direction_of(model, n=n)
        changed = ji.weights.orthogonalise(model, direction)
        for mask in MASKS[1:] if n is None else (None,):
            wanted, acts = ji.run(
                model, TOKENS, edits=steering.ablate(direction), mask=mask, capture=["resid_post"]
            )
            found, own = ji.run(changed, TOKENS, mask=mask, capture=["resid_post"])
            real = np.ones(TOKENS.shape, bool) if mask is None else mask
            np.testing.assert_allclose(found[real], wanted[real], atol=1e-4)
            size = float(jnp.abs(own["resid_post"]).max())
            for stream in (acts["resid_post"], own["resid_post"]):
                inner = jnp.einsum("...d,nd->...n", stream[:, real], jnp.atleast_2d(direction))
                assert float(jnp.abs(inner).max()) < 1e-4 * size
        before, _ = ji.run(model, TOKENS)
        assert float(jnp.abs(before - ji.run(changed, TOKENS)[0]).max()) > 1e-2, "it does something"
    twice = ji.weights.orthogonalise(changed, direction)
    for a, b in zip(jax.tree.leaves(twice), jax.tree.leaves(changed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_orthogonalised_in_float64():
    with enable_x64(True):
        model = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model_of("gpt2"))
        direction = np.random.default_rng(0).normal(size=model.config.d)
        wanted, _ = ji.run(model, TOKENS[0], edits=steering.ablate(direction))
        found, _ = ji.run(ji.weights.orthogonalise(model, direction), TOKENS[0])
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_orthogonalise_refuses():
    model = model_of("gpt2")
    for wrong, words in (
        (np.zeros(8), "zeros name no direction"),
        (np.ones(9), "d=8"),
        (np.full(8, np.nan), "finite"),
        (np.arange(8), "floats"),
    ):
        with pytest.raises(ValueError, match=words):
            ji.weights.orthogonalise(model, wrong)
    with pytest.raises(ValueError, match="intervene"):
        ji.weights.orthogonalise(ji.intervene(model, steering.ablate(np.ones(8))), np.ones(8))


def test_ablate_refuses():
    with pytest.raises(ValueError, match="not zero"):
        steering.ablate(np.zeros(8))
    with pytest.raises(ValueError, match="got none"):
        steering.ablate(np.ones(8), sites=())
    edits = steering.ablate(np.ones(8), sites=("resid_pre", "attn_out"))
    assert ji.run(model_of("toy"), TOKENS[0], edits=edits)[0].shape == (6, 40)


@pytest.mark.parametrize("mask", sampled(LEFT, slow=[None]))
def test_clamp_and_affine(mask):
    model = model_of("llama")
    direction, origin = direction_of(model), direction_of(model, 1)
    axis = direction / jnp.linalg.norm(direction)
    real = np.ones(TOKENS.shape, bool) if mask is None else mask

    def stream(*edits):
        return ji.run(model, TOKENS, edits=edits, mask=mask, capture=["resid_pre[1]"])[1]["resid_pre[1]"][
            real
        ]

    plain = stream()
    inner = np.asarray(plain @ axis)
    off = lambda x: np.asarray(x - (x @ axis)[:, None] * axis[None])
    low, high = np.quantile(inner, [0.3, 0.6]).astype(np.float32)
    for edit, wanted in (
        (steering.clamp("resid_pre", direction, low, high, layer=1), np.clip(inner, low, high)),
        (steering.clamp("resid_pre", direction, 2.5, layer=1), 2.5 + 0 * inner),
        (
            steering.affine("resid_pre", direction, origin=origin, strength=0.5, layer=1),
            0 * inner + float(origin @ axis) + 0.5 * float(jnp.linalg.norm(direction)),
        ),
    ):
        found = stream(edit)
        np.testing.assert_allclose(found @ axis, wanted, atol=1e-4)
        np.testing.assert_allclose(off(found), off(plain), atol=1e-4)
        np.testing.assert_allclose(stream(edit, edit), found, atol=1e-4)
    removed = stream(ji.project_out("resid_pre", direction, layer=1))
    for same in (
        steering.clamp("resid_pre", direction, 0.0, layer=1),
        steering.affine("resid_pre", direction, layer=1),
    ):
        np.testing.assert_allclose(stream(same), removed, atol=1e-5)


def test_clamp_is_a_sweep_and_has_a_gradient():
    model = model_of("gpt2")
    direction = direction_of(model)

    def value(low, direction):
        edit = steering.clamp("resid_post", direction, low, layer=1)
        return ji.run(model, TOKENS[0], edits=[edit])[0][-1, 3]

    found = jax.jit(jax.vmap(value, (0, None)))(jnp.arange(3.0), direction)
    for low, one in zip(range(3), found, strict=True):
        np.testing.assert_allclose(value(float(low), direction), one, atol=1e-4)
    grad = jax.grad(value, 1)(1.0, direction)
    step = 1e-2 * direction_of(model, 5)
    numeric = (value(1.0, direction + step) - value(1.0, direction - step)) / 2
    np.testing.assert_allclose(grad @ step, numeric, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("name", sampled("llama", slow=["gpt2", "neox"]))
def test_when_acts_where_the_probe_fires(name):
    model = model_of(name)
    weights, added = direction_of(model, 2), direction_of(model, 3)
    read = lambda *edits: ji.run(model, TOKENS, edits=edits, mask=LEFT, capture=["resid_pre[1]"])[1][
        "resid_pre[1]"
    ]
    plain = read()
    bias = -float(jnp.median(plain[LEFT] @ weights))
    edit = ji.add("resid_pre", added, layer=1)
    found = read(*steering.when(edit, weights, bias))
    fires = (plain @ weights + bias > 0)[..., None]
    assert 0 < int(fires[LEFT].sum()) < LEFT.sum()
    wanted = jnp.where(fires, plain + added[None, None], plain)
    np.testing.assert_allclose(found[LEFT], wanted[LEFT], atol=1e-5)
    for limit, same in ((jnp.inf, read(edit)), (-jnp.inf, plain)):
        np.testing.assert_array_equal(read(*steering.when(edit, weights, limit)), same)
    out = ji.generate(model, TOKENS, 3, mask=LEFT, edits=steering.when(edit, weights, bias))
    assert out.shape == (3, 9)


def test_when_refuses():
    edit = ji.add("resid_pre", 1.0, layer=1)
    with pytest.raises(ValueError, match="An edit is made by"):
        steering.when([1.0], np.ones(8))
    with pytest.raises(ValueError, match="zeros have no unit vector"):
        steering.when(edit, np.zeros(8))
    with pytest.raises(ValueError, match="The probe reads 9"):
        ji.run(model_of("gpt2"), TOKENS[0], edits=steering.when(edit, np.ones(9)))
    with pytest.raises(ValueError, match="low is at most high"):
        steering.clamp("resid_pre", np.ones(8), 1.0, 0.0)
    with pytest.raises(ValueError, match="all zero"):
        steering.affine("resid_pre", np.zeros(8))


def test_log_odds():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 10)) * 8, jnp.float32)
    probs = np.exp(np.asarray(jax.nn.log_softmax(logits), np.float64))[:, -1]
    inside = np.array([1, 4])
    p = probs[:, inside].sum(-1)
    found = ji.metrics.log_odds(inside)(logits)
    np.testing.assert_allclose(found, np.log(p + 1e-8) - np.log(1 - p + 1e-8), rtol=1e-4)
    rest = np.setdiff1d(np.arange(10), inside)
    np.testing.assert_allclose(ji.metrics.log_odds(rest)(logits), -found, atol=1e-5)
    np.testing.assert_allclose(ji.metrics.log_odds([4, 1, 1, -1])(logits), found, atol=1e-6)
    np.testing.assert_allclose(ji.metrics.log_odds(np.isin(np.arange(10), inside))(logits), found, atol=1e-6)
    half = jnp.zeros((2, 1, 10))
    np.testing.assert_allclose(ji.metrics.log_odds(np.arange(5))(half), 0, atol=1e-6)
    with pytest.raises(IndexError, match="token ids lie in"):
        ji.metrics.log_odds(10)(logits)
