"""Captures, reductions, the plan of execution, resuming, and gradients at sites."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.core._captures import as_requests
from jaxinterp.core._engine import plan
from tests.models import families


@pytest.mark.quick
def test_written_captures(gpt2: Any, tokens: jax.Array) -> None:
    names = ["z", "z[1]", "z[-1]", "z[1:3]", "z[::2]", "z[::-1]", "embed", "logits"]
    logits, acts = ji.run(gpt2, tokens, capture=names)
    assert list(acts) == names
    for name in names[1:6]:
        index = eval(f"np.s_{name[1:]}")
        np.testing.assert_array_equal(acts[name], acts["z"][index])
    np.testing.assert_array_equal(acts["logits"], logits)
    assert len(jax.tree.leaves(acts)) == len(names)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, acts)
    np.testing.assert_array_equal(doubled["z"], 2 * acts["z"])
    assert "'z[1]': float32[2, 5, 2, 4]" in repr(acts)


@pytest.mark.quick
def test_reductions_at_the_site(gpt2: Any, tokens: jax.Array) -> None:
    _, acts = ji.run(gpt2, tokens, capture=["mlp_post"])
    full = acts["mlp_post"]
    mask = np.array([[True, False, True, True, False], [False, True, True, False, False]])
    where = jnp.broadcast_to(jnp.asarray(mask)[None, ..., None], full.shape)
    cases = {
        "last": (ji.at("mlp_post", pos=-1), full[:, :, -1]),
        "some": (ji.at("mlp_post", pos=[0, 3]), full[:, :, [0, 3]]),
        "each": (
            ji.at("mlp_post", pos=np.array([[1], [2]])),
            jnp.stack([full[:, 0, [1]], full[:, 1, [2]]], 1),
        ),
        "mean": (ji.at("mlp_post", pos=mask, reduce="mean"), full.mean(2, where=where)),
        "max": (ji.at("mlp_post", pos=mask, reduce="max"), full.max(2, where=where, initial=-9.0)),
        "sum": (ji.at("mlp_post", reduce="sum"), full.sum(2)),
        "end": (ji.at("mlp_post", pos=mask, reduce="last"), jnp.stack([full[:, 0, 3], full[:, 1, 2]], 1)),
        "one": (ji.at("mlp_post", layer=1, pos=2), full[1, :, 2]),
    }
    asked = [ji.At(a.pos, a.site, a.layers, a.reduce, n) for n, (a, _) in cases.items()]
    _, acts = ji.run(gpt2, tokens, capture=asked)
    for name, (_, want) in cases.items():
        np.testing.assert_allclose(acts[name], want, atol=1e-6, err_msg=name)


def test_mean_leaves_padding_out(gpt2: Any) -> None:
    tokens = jnp.asarray([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    mask = jnp.asarray([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    asked = [ji.at("resid_post", reduce="mean", name="mean"), ji.at("resid_post", reduce="last")]
    _, acts = ji.run(gpt2, tokens, capture=asked, mask=mask)
    _, alone = ji.run(gpt2, tokens[0, :3], capture=["resid_post"])
    np.testing.assert_allclose(acts["mean"][:, 0], alone["resid_post"].mean(1), atol=1e-5)
    np.testing.assert_allclose(acts["resid_post"][:, 0], alone["resid_post"][:, 2], atol=1e-5)


def test_plan_keeps_untouched_layers_together() -> None:
    edits = (ji.zero("z", layer=2).resolve(8), ji.add("q", 0.0))
    stretches = plan(0, 8, edits, as_requests(["z[4:6]", "embed"]), 8)
    assert [(s.start, s.stop) for s in stretches] == [(0, 2), (2, 3), (3, 4), (4, 6), (6, 8)]
    assert [s.edits for s in stretches] == [(1,), (0, 1), (1,), (1,), (1,)]


def primitives(jaxpr: Any) -> list[str]:
    found = []
    for equation in jaxpr.eqns:
        found.append(equation.primitive.name)
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr"),
        ):
            if hasattr(inner, "jaxpr"):
                inner = inner.jaxpr
            if hasattr(inner, "eqns"):
                found += primitives(inner)
    return found


def matmuls(model: Any, tokens: Any, **request: Any) -> int:
    jaxpr = jax.make_jaxpr(lambda t: ji.run(model, t, **request))(tokens)
    return primitives(jaxpr.jaxpr).count("dot_general")


def test_runs_stop_early_and_materialise_nothing_unnamed(gpt2: Any, tokens: jax.Array) -> None:
    plain = matmuls(gpt2, tokens)
    # Captured patterns are computed beside the one pass.
    assert matmuls(gpt2, tokens, capture=["pattern"]) == plain + 1
    assert matmuls(gpt2, tokens, capture=["head_out"]) == plain + 1
    assert matmuls(gpt2, tokens, capture=["embed"], logits=False) == 0
    # One block visited alone: q k v, scores, mix, out, two of the MLP; no unembedding.
    assert matmuls(gpt2, tokens, capture=["resid_post[0]"], logits=False) == 8


@pytest.mark.parametrize("model", families("neox"), indirect=True)
def test_logits_at_chosen_positions(model: Any, tokens: jax.Array) -> None:
    full, _ = ji.run(model, tokens)
    for pos, want in [
        (-1, full[:, -1]),
        ([0, 2], full[:, [0, 2]]),
        (np.array([[1], [4]]), jnp.stack([full[0, [1]], full[1, [4]]])),
    ]:
        got, acts = ji.run(model, tokens, logits=pos, capture=["ln_final_out"])
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert acts["ln_final_out"].shape[1] == 5
        np.testing.assert_allclose(ji.run(model, tokens, logits=pos)[0], want, atol=1e-5)
    assert ji.run(model, tokens, logits=False)[0] is None


def test_embeddings_in_place_of_tokens(model: Any, tokens: jax.Array) -> None:
    logits, acts = ji.run(model, tokens, capture=["embed"])
    soft, _ = ji.run(model, acts["embed"])
    np.testing.assert_array_equal(soft, logits)


@pytest.mark.quick
def test_resume_with_edits_and_captures(neox: Any, tokens: jax.Array) -> None:
    edits = [ji.zero("z", layer=2, head=1), ji.scale("mlp_out", 0.5)]
    want, acts = ji.run(neox, tokens, edits=edits, capture=["resid_pre", "z"])
    for layer in (1, jnp.asarray(1), jnp.asarray(-2)):
        got, found = ji.resume(neox, acts["resid_pre"][1], layer, edits=edits, capture=["z[1:]"])
        np.testing.assert_allclose(got, want, atol=1e-5)
        np.testing.assert_allclose(found["z[1:]"], acts["z"][1:], atol=1e-5)
    _, found = ji.resume(neox, acts["resid_pre"][1], jnp.asarray(1), edits=edits, capture=["z"])
    assert bool(jnp.isnan(found["z"][0]).all()) and not bool(jnp.isnan(found["z"][1:]).any())
    swept = jax.vmap(lambda layer, x: ji.resume(neox, x, layer, edits=edits)[0])(
        jnp.arange(3), acts["resid_pre"]
    )
    np.testing.assert_allclose(swept, jnp.broadcast_to(want, swept.shape), atol=1e-5)


def test_intervened_models_compose(gpt2: Any, tokens: jax.Array) -> None:
    a, b, c = ji.zero("z", layer=0, head=0), ji.scale("mlp_out", 0.5), ji.add("embed", 0.1)
    want, _ = ji.run(gpt2, tokens, edits=[c, a, b])
    steered = ji.intervene(ji.intervene(gpt2, c), [a])
    got, acts = ji.run(steered, tokens, edits=[b], capture=["resid_pre"])
    np.testing.assert_array_equal(got, want)
    # The edits of the embedding lie behind a resumed run; those of the blocks go on.
    resumed, _ = ji.resume(steered, acts["resid_pre"][1], 1, edits=[b])
    np.testing.assert_allclose(resumed, want, atol=1e-5)
    assert list(ji.sites(steered)) == list(ji.sites(gpt2))


@pytest.mark.quick
@pytest.mark.parametrize("model", families("llama"), indirect=True)
def test_site_grads_are_derivatives(model: Any, tokens: jax.Array) -> None:
    def metric(logits: jax.Array) -> jax.Array:
        return logits[..., 3] - logits[..., 4]

    names = ["z", "resid_pre[1]", "mlp_out[1:3]", "embed", "q_in", "pattern"]
    value, acts, grads = ji.site_grads(model, tokens, metric, at=names, logits=-1)
    np.testing.assert_allclose(value, metric(ji.run(model, tokens, logits=-1)[0]), atol=1e-5)
    along = {}
    for name in names:
        assert acts[name].shape == grads[name].shape
        drawn = jax.random.normal(jax.random.key(1), grads[name].shape, grads[name].dtype)
        along[name] = drawn / jnp.linalg.norm(drawn.reshape(-1))

    def moved(strengths: jax.Array) -> jax.Array:
        """The metric with every site moved, each by its own strength."""
        edits = []
        for name, strength in zip(names, strengths, strict=True):
            if name.endswith("[1:3]"):
                edits += [ji.add("mlp_out", strength * along[name][i], layer=1 + i) for i in range(2)]
            else:
                edits.append(ji.add(name, strength * along[name]))
        return metric(ji.run(model, tokens, edits=edits, logits=-1)[0]).sum()

    step = 0.02
    ends = step * jnp.eye(len(names), dtype=jnp.float32)
    up, down = jax.jit(jax.vmap(jax.vmap(moved)))(jnp.stack([ends, -ends]))
    for name, slope in zip(names, (up - down) / (2 * step), strict=True):
        wanted = (grads[name] * along[name]).sum()
        np.testing.assert_allclose(slope, wanted, atol=2e-2, rtol=2e-2, err_msg=name)


class EdgeMask(ji.Edit):
    """Cuts edges between what heads and MLPs write and what later blocks read.

    Its state is what each block wrote so far, `(layer, *batch, pos, d)` for attention and MLP;
    every reader loses the writers whose edge is cut.
    """

    keep: jax.Array
    """`(writer, reader)`: 1 keeps the edge. Writers and readers are blocks, heads and MLP as one."""

    sites = ("attn_out", "mlp_out", "q_in", "k_in", "v_in", "mlp_in")
    layers = None

    def init(self, shapes: Any, count: int) -> Any:
        struct = shapes["attn_out"]
        return jnp.zeros((count, *struct.shape), struct.dtype)

    def apply(self, tap: Any, site: str, x: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        if site in ("attn_out", "mlp_out"):
            return x, state.at[tap.layer].add(x)
        cut = (1 - self.keep)[:, tap.layer]
        earlier = jnp.arange(cut.shape[0], dtype=jnp.int32) < tap.layer
        cut = jnp.where(earlier, cut, 0).astype(x.dtype)
        lost = jnp.einsum("l,l...->...", cut, state)
        lost = lost[..., None, :] if x.ndim > lost.ndim else lost
        return x - jnp.broadcast_to(lost, x.shape), state


@pytest.mark.parametrize("model", families("neox"), indirect=True)
def test_an_edit_can_carry_state_through_the_layers(model: Any, tokens: jax.Array) -> None:
    plain, _ = ji.run(model, tokens)
    whole, _ = ji.run(model, tokens, edits=[EdgeMask(jnp.ones((3, 3)))])
    np.testing.assert_allclose(whole, plain, atol=1e-5)

    # Cutting the only edge from block 0 to block 1 is subtracting what block 0 wrote from what
    # block 1 reads, and from nothing else.
    _, acts = ji.run(model, tokens, capture=["attn_out[0]", "mlp_out[0]"])
    wrote = acts["attn_out[0]"] + acts["mlp_out[0]"]
    by_hand = [ji.add(site, -wrote[..., None, :], layer=1) for site in ("q_in", "k_in", "v_in")]
    want, _ = ji.run(model, tokens, edits=[*by_hand, ji.add("mlp_in", -wrote, layer=1)])
    keep = jnp.ones((3, 3)).at[0, 1].set(0)
    cut, _ = ji.run(model, tokens, edits=[EdgeMask(keep)])
    assert float(jnp.abs(cut - plain).max()) > 1e-3
    np.testing.assert_allclose(cut, want, atol=1e-4)

    masks = jnp.stack([jnp.ones((3, 3)), keep])
    swept = eqx.filter_vmap(lambda edit: ji.run(model, tokens, edits=[edit])[0])(EdgeMask(masks))
    np.testing.assert_allclose(swept[0], whole, atol=1e-5)
    np.testing.assert_allclose(swept[1], cut, atol=1e-4)


def test_listing_prints_as_a_table(gpt2: Any, tokens: jax.Array) -> None:
    listing = ji.sites(gpt2, tokens)
    assert "pattern" in repr(listing) and "layer batch head query key" in repr(listing)
    assert "resid_mid" not in ji.sites(
        ji.models.GPTNeoX.init(
            ji.models.GPTNeoXConfig(vocab=9, ctx=4, d=8, layers=1, heads=1), key=jax.random.key(0)
        )
    )


def test_runtime_checks_on_request(gpt2: Any) -> None:
    checked = jax.jit(lambda tokens: ji.run(gpt2, tokens, debug=True)[0])
    checked(jnp.asarray([1, 2]))
    with pytest.raises(Exception, match=r"token id is not in 0\.\.39"):
        jax.block_until_ready(checked(jnp.asarray([1, 40])))
