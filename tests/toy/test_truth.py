"""Circuits that are known because they are written by hand: they suffice, and every edge is needed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji


def reached(graph: Any, model: Any, many: jax.Array, tokens: Any, corrupt: Any = None, **options: Any) -> Any:
    """The logits of several masks."""
    return np.asarray(ji.circuits.run(model, tokens, corrupt, ji.circuits.Circuit(many, graph), **options))


def check(graph: Any, edges: Any, values: np.ndarray, needed: Any = None) -> None:
    """The first value is that of the full model, then that of the circuit; the rest lack one edge each."""
    full, alone, *cut = values
    np.testing.assert_allclose(alone, full, atol=1e-6)
    changed = {
        edge for edge, value in zip(graph.edges, cut, strict=True) if np.abs(value - full).max() > 1e-3
    }
    assert changed == set(edges if needed is None else needed)
    same = [value for edge, value in zip(graph.edges, cut, strict=True) if edge not in changed]
    np.testing.assert_allclose(same, np.broadcast_to(full, np.shape(same)), atol=1e-6)


def masks(graph: Any, edges: Any, *ways: str) -> jax.Array:
    """For each way: full, the circuit, and what lacks one edge of the full model or of the circuit alone."""
    full, circuit = np.ones(graph.size, bool), np.asarray(graph.mask(edges).mask)
    whole = {"full": full, "circuit": circuit}
    each = [np.stack([full, circuit, *(whole[way] & ~np.eye(graph.size, dtype=bool))]) for way in ways]
    return jnp.asarray(np.concatenate(each))


@pytest.mark.wide
@pytest.mark.finite
@pytest.mark.parametrize("name", ["x_proportion", "reverse"])
def test_rasp_under_zero_ablation(name: str) -> None:
    program = ji.toy.rasp(name, length=3)
    graph = ji.circuits.graph(program.model, split_embed=True)
    assert len(program.edges) == {"x_proportion": 7, "reverse": 11}[name]
    both = masks(graph, program.edges, "full", "circuit")
    found = reached(graph, program.model, both, program.prompts, ablate="zero", mask=program.mask)
    scored = np.where(program.scored[..., None], found, 0)
    for values in (scored[: len(scored) // 2], scored[len(scored) // 2 :]):
        check(graph, program.edges, values)


def test_induction_under_zero_ablation() -> None:
    planted = ji.toy.planted_induction(vocab=8, ctx=16, heads=2)
    graph = ji.circuits.graph(planted.model, split_embed=True)
    rounds = np.random.default_rng(0).permuted(np.tile(np.arange(8), (6, 1)), axis=1)
    tokens = np.concatenate([rounds, rounds], 1)
    both = masks(graph, planted.edges, "full", "circuit")
    found = reached(graph, planted.model, both, tokens, ablate="zero")[:, :, 8:]
    for values in (found[: len(found) // 2], found[len(found) // 2 :]):
        check(graph, planted.edges, values)


@pytest.mark.parametrize("backup", [False, True])
def test_indirect_objects(backup: bool) -> None:
    planted = ji.toy.planted_ioi(heads=2, backup=backup)
    model, graph = planted.model, ji.circuits.graph(planted.model, split_embed=True)
    prompts = planted.prompts(12, key=jax.random.key(1))
    metric = ji.metrics.logit_diff(prompts.correct, prompts.wrong)
    np.testing.assert_allclose(ji.metrics.measure(model, prompts.clean, metric), 10, atol=1e-4)
    np.testing.assert_allclose(ji.metrics.measure(model, prompts.corrupt, metric), 0, atol=1e-4)
    ways = ["circuit"] if backup else ["full", "circuit"]
    both = masks(graph, planted.edges, *ways)
    without = ~graph.mask([edge for edge in graph.edges if edge.startswith("2.0->")])
    both = jnp.concatenate([both, without.mask[None]])
    found = reached(graph, model, both, prompts.clean, ablate="zero", logits=-1)
    values = np.asarray(jax.vmap(metric.of)(jnp.asarray(found)))
    size = graph.size + 2
    for i in range(len(ways)):
        check(graph, planted.edges, values[i * size : (i + 1) * size])
    if backup:
        np.testing.assert_allclose(values[-1], 10, atol=1e-4)
        return
    np.testing.assert_allclose(values[-1], 0, atol=1e-4)
    patched = reached(
        graph, model, masks(graph, planted.patched_edges, "full"), prompts.clean, prompts.corrupt, logits=-1
    )
    check(graph, planted.patched_edges, np.asarray(jax.vmap(metric.of)(jnp.asarray(patched))))


def test_indirect_objects_in_padded_rows() -> None:
    planted = ji.toy.planted_ioi(names=12, logit_diff=3)
    prompts = planted.prompts(200, key=jax.random.key(0))
    assert {len({*row}) for row in prompts.clean.tolist()} == {7}
    assert {len({*row}) for row in prompts.corrupt.tolist()} == {8}
    assert not (
        set(zip(range(200), prompts.correct)) & {(i, t) for i, row in enumerate(prompts.corrupt) for t in row}
    )
    again = planted.prompts(200, key=jax.random.key(0))
    np.testing.assert_array_equal(prompts.clean, again.clean)
    metric = ji.metrics.logit_diff(prompts.correct, prompts.wrong)
    for before, after in ((0, 2), (2, 0)):
        wide = np.pad(prompts.clean, ((0, 0), (before, after)))
        mask = np.pad(np.ones_like(prompts.clean, bool), ((0, 0), (before, after)))
        found = ji.metrics.measure(planted.model, wide, metric, mask=mask)
        np.testing.assert_allclose(found, 3, atol=1e-4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ji.toy.planted_ioi(names=4), "names"),
        (lambda: ji.toy.planted_ioi(names=13), "at most 12"),
        (lambda: ji.toy.planted_ioi(beta=1), "between 10 and 40"),
        (lambda: ji.toy.planted_ioi().prompts(0, key=jax.random.key(0)), "number of prompts"),
    ],
)
def test_what_is_wrong_teaches(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
