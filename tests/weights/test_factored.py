"""Factored matrices are their products; QK, OV and composition are the paper's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import weights
from jaxinterp.weights import Factored


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    f = Factored(normal(2, 3, 7, 2), normal(2, 3, 2, 5))
    g = Factored(normal(2, 3, 5, 4), normal(2, 3, 4, 6))
    return f, g


def close(a, b, atol=1e-5):
    np.testing.assert_allclose(a, b, atol=atol)


def test_algebra(pair):
    f, g = pair
    product = f @ g
    assert (f.shape, product.shape, product.rank) == ((2, 3, 7, 5), (2, 3, 7, 6), 2)
    close(product.full(), f.full() @ g.full())
    close((g.T @ f.T).full(), jnp.swapaxes(product.full(), -1, -2))
    close(f.T.full(), jnp.swapaxes(f.full(), -1, -2))
    v, w = jnp.arange(5.0), jnp.ones((5, 3))
    close(f @ v, f.full() @ v)
    close((f @ w).full(), jnp.einsum("lhmn,np->lhmp", f.full(), w))
    close(jnp.arange(7.0) @ f, jnp.einsum("m,lhmn->lhn", jnp.arange(7.0), f.full()))
    close(np.arange(7.0) @ f, jnp.arange(7.0) @ f)
    close(
        (np.ones((4, 7), np.float32) @ f).full(),
        jnp.einsum("pm,lhmn->lhpn", jnp.ones((4, 7)), f.full()),
    )
    assert "rank 2" in repr(f)


def test_leading_axes(pair):
    f, g = pair
    close(f[1, 2].full(), f.full()[1, 2])
    close(f[:, 1].full(), f.full()[:, 1])
    every = f[:, :, None, None] @ g[None, None]
    assert every.shape == (2, 3, 2, 3, 7, 6)
    close(every[1, 2, 0, 1].full(), f[1, 2].full() @ g[0, 1].full())
    with pytest.raises(IndexError, match=r"leading axes \(2, 3\).*factored.full\(\)"):
        f[0, 1, 2]


def test_norm_svd_eigenvalues(pair):
    f, g = pair
    close(f.norm(), jnp.linalg.norm(f.full(), axis=(-2, -1)))
    for one in (f, g, Factored(g.left, jnp.ones((2, 3, 4, 3)))):
        u, s, vt = one.svd()
        close(jnp.einsum("...ms,...s,...sn->...mn", u, s, vt), one.full())
        close(s, jnp.linalg.svd(one.full(), compute_uv=False)[..., : s.shape[-1]])
    square = Factored(f.left, jnp.swapaxes(f.left, -1, -2) + 0.5)
    by_size = lambda values: np.sort(np.abs(values))
    close(
        by_size(square.eigenvalues()[0, 1]),
        by_size(np.linalg.eigvals(square.full()[0, 1]))[-2:],
        1e-4,
    )
    with pytest.raises(ValueError, match="Only square matrices have eigenvalues"):
        f.eigenvalues()


@pytest.mark.slow
def test_under_transformations(pair):
    f, _ = pair
    close(jax.vmap(jax.vmap(lambda one: one.norm()))(f), f.norm())
    slope = jax.grad(lambda f: f.norm().sum())(f)
    direct = jax.grad(lambda f: jnp.linalg.norm(f.full(), axis=(-2, -1)).sum())(f)
    close(slope.left, direct.left, 1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama", "llama with biases"])
def test_circuits(name, models):
    model = models[name]
    attn, group = model.blocks.attn, 4 // model.config.kv_heads
    qk, ov = weights.qk(model), weights.ov(model)
    assert qk.shape == ov.shape == (2, 4, 8, 8)
    for layer, head in [(0, 0), (1, 3)]:
        g = head // group
        close(qk[layer, head].full(), attn.w_q[layer, head] @ attn.w_k[layer, g].T)
        close(ov[layer, head].full(), attn.w_v[layer, g] @ attn.w_o[layer, head])
    unembed = model.w_embed.T if model.w_unembed is None else model.w_unembed
    close(weights.full_ov(model, layer=1, head=2).full(), model.w_embed @ ov.full()[1, 2] @ unembed)
    assert weights.full_ov(model, head=2).shape == (2, 13, 13)
    full = weights.full_qk(model)
    close(full.full()[0, 1], model.w_embed @ qk.full()[0, 1] @ model.w_embed.T)
    values = weights.full_ov(model, layer=0, head=0)
    assert values.eigenvalues().shape == (2,)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_composition(name, models):
    model = models[name]
    qk, ov = weights.qk(model).full(), weights.ov(model).full()
    reader = {"q": qk[1, 2], "k": qk[1, 2].T, "v": ov[1, 2]}
    for kind, w in reader.items():
        scores = weights.composition(model, kind)
        assert scores.shape == (2, 4, 2, 4)
        norm = jnp.linalg.norm
        expected = norm(ov[0, 3] @ w) / (norm(ov[0, 3]) * norm(w))
        close(scores[0, 3, 1, 2], expected)
        assert not scores[1].any() and not scores[:, :, 0].any(), "writers come first"
        assert (scores >= 0).all() and (scores <= 1).all()


def test_composition_scale_baseline_and_zero(models):
    model = models["gpt2"]
    scores = weights.composition(model, "v")
    louder = weights._leaves.put(model, {"blocks.attn.w_o": 3 * model.blocks.attn.w_o})
    close(weights.composition(louder, "v"), scores)
    silent = weights._leaves.put(model, {"blocks.attn.w_o": 0 * model.blocks.attn.w_o})
    assert not weights.composition(silent, "v").any(), "and no NaN"
    above = weights.composition(model, "v", key=jax.random.key(0), samples=512)
    removed = (scores - above)[0, :, 1]
    close(removed, jnp.full_like(removed, removed[0, 0]))
    assert 0.2 < removed[0, 0] < 0.5, "random heads of width 2 in 8 dimensions, about 1/sqrt(8)"
    assert not above[1].any()
    with pytest.raises(ValueError, match=r"kind is one of 'q', 'k', 'v'; got 'Q'"):
        weights.composition(model, "Q")
