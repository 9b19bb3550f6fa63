"""Each edit is its equation; selectors choose exactly what they say; edits are pytrees."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji


def captured(model: Any, tokens: Any, edits: Any, site: str) -> jax.Array:
    return ji.run(model, tokens, edits=edits, capture=[site])[1][site]


def test_equations(neox: Any, tokens: jax.Array) -> None:
    x = captured(neox, tokens, [], "resid_post[1]")
    v = jnp.linspace(-1.0, 1.0, x.shape[-1])
    wide = jnp.broadcast_to(v, x.shape)
    cases = {
        "add": (ji.add("resid_post", v, layer=1), x + wide),
        "scale": (ji.scale("resid_post", v, layer=1), x * wide),
        "replace": (ji.replace("resid_post", v, layer=1), wide),
        "zero": (ji.zero("resid_post", layer=1), jnp.zeros_like(x)),
        "map": (ji.map("resid_post", lambda x, p: jnp.sin(x) * p, jnp.asarray(2.0), layer=1),
                2 * jnp.sin(x)),
    }  # fmt: skip
    for edit, want in cases.values():
        np.testing.assert_allclose(captured(neox, tokens, [edit], "resid_post[1]"), want, rtol=1e-6)
    gone = captured(neox, tokens, [ji.project_out("resid_post", v, layer=1)], "resid_post[1]")
    np.testing.assert_allclose(jnp.einsum("bpd,d->bp", gone, v), 0, atol=1e-5)
    twice = [ji.project_out("resid_post", v, layer=1)] * 2
    np.testing.assert_allclose(captured(neox, tokens, twice, "resid_post[1]"), gone, atol=1e-6)


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
]  # fmt: skip


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


def test_per_example_positions(gpt2: Any, tokens: jax.Array) -> None:
    for pos in (np.array([[1], [3]]), np.eye(5, dtype=bool)[[1, 3]]):
        for site in ("resid_post", "pattern"):
            where = {"pos": pos} if site == "resid_post" else {"query": pos}
            got = captured(gpt2, tokens, [ji.replace(site, 7.5, layer=1, **where)], f"{site}[1]")
            hit = np.asarray(got == 7.5).all(-1)
            hit = hit if site == "resid_post" else hit.all(1)
            np.testing.assert_array_equal(hit, np.eye(5, dtype=bool)[[1, 3]])


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


def test_vmap_over_models(gpt2: Any, tokens: jax.Array) -> None:
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), gpt2)
    both = eqx.filter_vmap(lambda model: ji.run(model, tokens)[0])(pair)
    np.testing.assert_allclose(both[0], ji.run(gpt2, tokens)[0], atol=1e-5)


def test_one_compilation_serves_all_values(neox: Any, tokens: jax.Array) -> None:
    from jaxinterp._run import _run

    def entries() -> int:
        return _run._cached._cache_size()

    def go(value: float, layer: int, head: int, pos: int) -> None:
        ji.run(neox, tokens, edits=[ji.replace("z", value, layer=jnp.asarray(layer), head=head, pos=pos)])  # fmt: skip

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


@pytest.mark.parametrize("layer", [None, 1, jnp.asarray(1)])
def test_splice(gpt2: Any, tokens: jax.Array, layer: Any) -> None:
    basis = Basis(jax.random.normal(jax.random.key(0), (8, 12)) / 4)
    plain, acts = ji.run(gpt2, tokens, capture=["resid_post[1]"])
    kept, _ = ji.run(gpt2, tokens, edits=[ji.splice("resid_post", basis, layer=layer, error=True)])  # fmt: skip
    np.testing.assert_array_equal(kept, plain)
    lossy = [ji.splice("resid_post", basis, layer=layer)]
    spliced, found = ji.run(gpt2, tokens, edits=lossy, capture=["resid_post.sae.feature", "resid_post"])  # fmt: skip
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
