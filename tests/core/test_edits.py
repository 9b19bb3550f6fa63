"""Each edit is its equation; selectors choose exactly what they say; edits are pytrees."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, sampled


def captured(model: Any, tokens: Any, edits: Any, site: str) -> jax.Array:
    return ji.run(model, tokens, edits=edits, capture=[site], logits=False)[1][site]


@pytest.mark.quick
def test_equations(neox: Any, tokens: jax.Array) -> None:
    x = captured(neox, tokens, [], "resid_post[1]")
    v = jnp.linspace(-1.0, 1.0, x.shape[-1])
    wide = jnp.broadcast_to(v.astype(x.dtype), x.shape)
    cases = {
        "add": (ji.add("resid_post", v, layer=1), x + wide),
        "scale": (ji.scale("resid_post", v, layer=1), x * wide),
        "replace": (ji.replace("resid_post", v, layer=1), wide),
        "zero": (ji.zero("resid_post", layer=1), jnp.zeros_like(x)),
        "map": (
            ji.map("resid_post", lambda x, p: jnp.sin(x) * p, jnp.asarray(2.0, x.dtype), layer=1),
            2 * jnp.sin(x),
        ),
    }
    for edit, want in cases.values():
        np.testing.assert_allclose(captured(neox, tokens, [edit], "resid_post[1]"), want, rtol=1e-6)
    gone = captured(neox, tokens, [ji.project_out("resid_post", v, layer=1)], "resid_post[1]")
    np.testing.assert_allclose(jnp.einsum("bpd,d->bp", gone, v.astype(x.dtype)), 0, atol=1e-5)
    twice = [ji.project_out("resid_post", v, layer=1)] * 2
    np.testing.assert_allclose(captured(neox, tokens, twice, "resid_post[1]"), gone, atol=1e-6)


def without(x: Any, directions: Any) -> np.ndarray:
    """One QR projection in float64."""
    q, r = np.linalg.qr(np.asarray(directions, np.float64).T)
    q = q[:, np.abs(np.diag(r)) > 1e-5]
    return np.asarray(x, np.float64) - np.asarray(x, np.float64) @ q @ q.T


@pytest.mark.slow
def test_several_directions_are_the_subspace_they_span(gpt2: Any, tokens: jax.Array) -> None:
    _, acts = ji.run(gpt2, tokens, capture=["resid_post[0]", "z[1]"])
    x, z = acts["resid_post[0]"], acts["z[1]"]
    v = np.random.default_rng(0).normal(size=(5, 2, 8)).astype(np.float32)
    v[:, 1] += 3 * v[:, 0]

    def left(x: jax.Array, directions: Any) -> np.ndarray:
        edit: Any = ji.project_out("resid_post", directions)
        return np.asarray(jax.jit(edit.fn)(x, jnp.asarray(edit.value)))

    # As many directions as positions, layers or examples: the span all the same.
    for count in (2, 3, 5):
        set_ = v.reshape(10, 8)[:count]
        np.testing.assert_allclose(left(x, set_), without(x, set_), atol=1e-4)
    pair = v[0]
    again = np.stack([pair[0], pair[0], 0 * pair[0], pair[1], pair[0] - 2 * pair[1]])
    np.testing.assert_allclose(left(x, again), without(x, pair), atol=1e-4)
    for size in (1e-30, 1e25):
        np.testing.assert_allclose(left(x, np.float32(size) * pair), without(x, pair), atol=1e-4)
    assert np.isnan(left(x, np.stack([pair[0], np.nan * pair[0]]))).all()
    per_position = np.stack([without(x[:, p], v[p]) for p in range(5)], 1)
    np.testing.assert_allclose(left(x, v), per_position, atol=1e-4)
    per_head = np.stack([without(z[:, :, h], v[h, :1, :4]) for h in range(2)], 2)
    np.testing.assert_allclose(left(z, v[:2, :1, :4]), per_head, atol=1e-4)
    # Sets per layer, and one set at a site of heads.
    edits = [ji.project_out("resid_post", v[:3, None, None]), ji.project_out("z", v[0, :, :4])]
    first, other = (ji.run(gpt2, tokens, edits=[e], capture=["resid_post[0]", "z[1]"])[1] for e in edits)
    np.testing.assert_allclose(first["resid_post[0]"], without(x, v[0]), atol=1e-4)
    np.testing.assert_allclose(jnp.einsum("...k,nk->...n", other["z[1]"], v[0, :, :4]), 0, atol=1e-4)


def test_subspaces_are_swept_and_differentiated(gpt2: Any, tokens: jax.Array) -> None:
    sets = jax.random.normal(jax.random.key(0), (3, 2, 8), jnp.float32)
    edit: Any = ji.project_out("resid_post", sets, layer=1)
    patched = jax.vmap(lambda edit: ji.run(gpt2, tokens, edits=[edit], logits=-1)[0])(edit)
    one, _ = ji.run(gpt2, tokens, edits=[ji.project_out("resid_post", sets[2], layer=1)], logits=-1)
    np.testing.assert_allclose(patched[2], one, atol=1e-4)

    x = captured(gpt2, tokens, [], "resid_post[1]")
    loss = jax.jit(lambda v: jnp.sin(edit.fn(x, v)).sum())
    grad = jax.jit(jax.grad(lambda v: jnp.sin(edit.fn(x, v)).sum()))
    slope, along, step = grad(sets[0]), sets[1], np.float32(1e-2)
    finite = (loss(sets[0] + step * along) - loss(sets[0] - step * along)) / (2 * step)
    np.testing.assert_allclose((slope * along).sum(), finite, rtol=2e-2, atol=1e-2)
    # The span does not change when one of its vectors moves within it, or grows.
    for moved in (jnp.stack([sets[0, 1], 0 * sets[0, 1]]), sets[0]):
        np.testing.assert_allclose((slope * moved).sum(), 0, atol=1e-3)
    twice = jnp.stack([sets[0, 0], sets[0, 0]])
    assert bool(jnp.isfinite(grad(twice)).all())


def test_subspaces_of_bfloat16_accumulate_in_float32(tokens: jax.Array) -> None:
    x, v = (jax.random.normal(jax.random.key(i), (3, 64), jnp.bfloat16) for i in range(2))
    edit: Any = ji.project_out("resid_post", v)
    want = without(x.astype(jnp.float32), v.astype(jnp.float32))
    np.testing.assert_allclose(edit.fn(x, v), want, atol=1e-5)


def test_axes_of_a_value_are_matched_from_the_last(gpt2: Any) -> None:
    # Three positions, three layers, three examples: sizes decide nothing, the number of axes does.
    tokens = np.asarray([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    value = jnp.arange(24, dtype=jnp.float32).reshape(3, 8) / 8
    # One per position, one per example, one per layer.
    for wide in (value, value[:, None], value[:, None, None]):
        got = captured(gpt2, tokens, [ji.replace("resid_post", wide)], "resid_post")
        np.testing.assert_array_equal(got, jnp.broadcast_to(wide, got.shape))


@pytest.mark.quick
def test_edits_apply_in_order(gpt2: Any, tokens: jax.Array) -> None:
    one, two = ji.add("z", 1.0, layer=0), ji.scale("z", 2.0, layer=0)
    x = captured(gpt2, tokens, [], "z[0]")
    np.testing.assert_allclose(captured(gpt2, tokens, [one, two], "z[0]"), 2 * (x + 1), rtol=1e-6)
    np.testing.assert_allclose(captured(gpt2, tokens, [two, one], "z[0]"), 2 * x + 1, rtol=1e-6)


SELECTIONS: list[tuple[str, dict[str, Any], Any]] = [
    ("z", {"head": 1}, np.s_[:, :, :, 1]),
    ("z", {"head": [0, 1], "pos": -1}, np.s_[:, :, -1]),
    ("z", {"pos": np.array([True, False, True, False, False]), "unit": 2}, np.s_[:, :, [0, 2], :, 2]),
    ("resid_post", {"layer": [0, 2], "pos": [1, 3]}, np.s_[[[0], [2]], :, [1, 3]]),
    ("resid_post", {"layer": range(1, 3)}, np.s_[1:]),
    ("resid_post", {"layer": slice(None, None, 2)}, np.s_[::2]),
    ("resid_post", {"layer": np.array([True, False, True])}, np.s_[::2]),
    ("resid_post", {"layer": jnp.array([-1, 0])}, np.s_[[0, 2]]),
    ("resid_post", {"layer": jnp.array([True, False, True])}, np.s_[::2]),
    ("pattern", {"query": 4, "key": 0, "head": 0}, np.s_[:, :, 0, 4, 0]),
    ("mlp_post", {"layer": -1, "unit": -1}, np.s_[2, :, :, -1]),
]


@pytest.mark.parametrize(("site", "where", "index"), SELECTIONS)
def test_selectors_choose_exactly(
    gpt2: Any, tokens: jax.Array, site: str, where: dict[str, Any], index: Any
) -> None:
    # A value no activation takes marks what was replaced, at the first layer that is touched.
    got = np.asarray(captured(gpt2, tokens, [ji.replace(site, 7.5, **where)], site))
    want = np.zeros(got.shape, bool)
    if site == "resid_post" and "pos" in where:
        want[np.ix_([0, 2], [0, 1], [1, 3])] = True
    else:
        want[index] = True
    np.testing.assert_array_equal(got == 7.5, want)


@pytest.mark.quick
def test_per_example_positions(gpt2: Any, tokens: jax.Array) -> None:
    for pos in (np.array([[1], [3]]), np.eye(5, dtype=bool)[[1, 3]]):
        for site in ("resid_post", "pattern"):
            where = {"pos": pos} if site == "resid_post" else {"query": pos}
            got = captured(gpt2, tokens, [ji.replace(site, 7.5, layer=1, **where)], f"{site}[1]")
            hit = np.asarray(got == 7.5).all(-1)
            hit = hit if site == "resid_post" else hit.all(1)
            np.testing.assert_array_equal(hit, np.eye(5, dtype=bool)[[1, 3]])


@pytest.mark.parametrize("model", families("llama"), indirect=True)
def test_vmap_over_an_edit_is_a_loop_of_runs(model: Any, tokens: jax.Array) -> None:
    layers, heads = jnp.arange(3), jnp.asarray([1, 0, 1])
    values = jnp.linspace(-1.0, 1.0, 3)

    def patched(edit: ji.Edit) -> jax.Array:
        return ji.run(model, tokens, edits=[edit], logits=-1)[0]

    sweep = jax.vmap(patched)(ji.replace("z", values, layer=layers, head=heads, pos=layers))
    for i in range(3):
        one = ji.replace("z", float(values[i]), layer=i, head=int(heads[i]), pos=i)
        np.testing.assert_allclose(sweep[i], patched(one), atol=1e-5)


def test_vmap_with_a_static_layer(gpt2: Any, tokens: jax.Array) -> None:
    edits = ji.zero("z", layer=1, head=jnp.arange(2))
    swept = jax.vmap(lambda e: ji.run(gpt2, tokens, edits=[e])[0])(edits)
    for head in range(2):
        one, _ = ji.run(gpt2, tokens, edits=[ji.zero("z", layer=1, head=head)])
        np.testing.assert_allclose(swept[head], one, atol=1e-5)


@pytest.mark.slow
def test_vmap_over_models(gpt2: Any, tokens: jax.Array) -> None:
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), gpt2)
    both = eqx.filter_vmap(lambda model: ji.run(model, tokens)[0])(pair)
    np.testing.assert_allclose(both[0], ji.run(gpt2, tokens)[0], atol=1e-5)


def test_one_compilation_serves_all_values(neox: Any, tokens: jax.Array) -> None:
    from jaxinterp.core._run import _run

    def entries() -> int:
        return _run._cached._cache_size()

    def go(value: float, layer: int, head: int, pos: int) -> None:
        ji.run(neox, tokens, edits=[ji.replace("z", value, layer=jnp.asarray(layer), head=head, pos=pos)])

    go(0.0, 0, 0, 0)
    before = entries()
    for i in range(3):
        go(float(i), i, i % 2, i)
    assert entries() == before


def test_gradients_through_edits(gpt2: Any, tokens: jax.Array) -> None:
    def loss(t: jax.Array) -> jax.Array:
        return ji.run(gpt2, tokens, edits=[ji.scale("z", t, layer=1)])[0][..., 3].sum()

    slope = jax.grad(loss)(jnp.asarray(1.0))
    step = 1e-2
    finite = (loss(jnp.asarray(1.0 + step)) - loss(jnp.asarray(1.0 - step))) / (2 * step)
    np.testing.assert_allclose(slope, finite, rtol=1e-2)


class Basis(eqx.Module):
    """A dictionary that loses something: it keeps half of the directions of a rotation."""

    w: jax.Array

    def encode(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(jnp.einsum("...d,df->...f", x, self.w))

    def decode(self, feature: jax.Array) -> jax.Array:
        return jnp.einsum("...f,df->...d", feature, self.w)


@pytest.mark.parametrize("layer", sampled(1, slow=[None, jnp.asarray(1)]))
def test_splice(gpt2: Any, tokens: jax.Array, layer: Any) -> None:
    basis = Basis(jax.random.normal(jax.random.key(0), (8, 12), jnp.float32) / 4)
    plain, acts = ji.run(gpt2, tokens, capture=["resid_post[1]"])
    kept, _ = ji.run(gpt2, tokens, edits=[ji.splice("resid_post", basis, layer=layer, error=True)])
    np.testing.assert_array_equal(kept, plain)
    lossy = [ji.splice("resid_post", basis, layer=layer)]
    spliced, found = ji.run(gpt2, tokens, edits=lossy, capture=["resid_post.sae.feature", "resid_post"])
    assert float(jnp.abs(spliced - plain).max()) > 1e-3
    if layer is not None:
        feature = found["resid_post.sae.feature"][0 if isinstance(layer, int) else 1]
        np.testing.assert_allclose(feature, basis.encode(acts["resid_post[1]"]), atol=1e-5)
        np.testing.assert_allclose(found["resid_post"][1], basis.decode(feature), atol=1e-5)
    off = [*lossy, ji.zero("resid_post.sae.feature", unit=3)]
    assert float(jnp.abs(ji.run(gpt2, tokens, edits=off)[0] - spliced).max()) > 0


def test_transformer_lens_names(gpt2: Any, tokens: jax.Array) -> None:
    name = "blocks.1.attn.hook_z"
    _, acts = ji.run(gpt2, tokens, capture=[name, "z[1]"])
    np.testing.assert_array_equal(acts[name], acts["z[1]"])
    theirs, _ = ji.run(gpt2, tokens, edits=[ji.zero(name, head=0)])
    ours, _ = ji.run(gpt2, tokens, edits=[ji.zero("z", layer=1, head=0)])
    np.testing.assert_array_equal(theirs, ours)


def test_edits_print_as_the_call_that_makes_them() -> None:
    assert repr(ji.zero("z", layer=1, head=3)) == "zero('z', layer=1, head=3)"
    assert repr(ji.add("resid_post", np.ones(4, np.float32))) == "add('resid_post')"
