"""Masks that are learned, and importance from one gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.circuits._hard_concrete import BETA, GAMMA, ZETA, edge_mask, expected, open_probability, sample
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of

QUIET = ji.fit.Settings(progress=False)


def test_hard_concrete_numbers() -> None:
    scores = jnp.linspace(-4, 4, 9)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.vmap(lambda key: sample(key, scores))(keys))
    assert drawn.min() == 0 and drawn.max() == 1
    np.testing.assert_allclose((drawn > 0).mean(0), open_probability(scores), atol=0.02)
    at_start = float(jnp.log(1.0 / 1.2 / (1 - 1.0 / 1.2)))
    assert pytest.approx(at_start) == ji.circuits._hard_concrete.START
    assert float(expected(jnp.asarray(at_start))) == pytest.approx(0.9)
    assert pytest.approx((2 / 3, -0.1, 1.1)) == (BETA, GAMMA, ZETA)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_masks_of_nodes_cut_what_the_node_reads_or_sends(name: str) -> None:
    graph = ji.circuits.graph(model_of(name))
    heads = [r for r in graph.receivers if r.count(".") == 2]
    mask = jnp.ones(len(heads) + graph.layers).at[0].set(0).at[-1].set(0)
    cut = ~ji.circuits.Circuit(edge_mask(mask, graph, "nodes") > 0.5, graph)
    last = f"mlp{graph.layers - 1}"
    wanted = [e for e in graph.edges if e.endswith(f"->{heads[0]}") or e.startswith(f"{last}->")]
    assert set(cut.edges) == set(wanted)


def planted() -> tuple[ji.toy.Planted, tuple[Any, ...], Any]:
    """An induction circuit, prompts that repeat a block and prompts of other words, and the graph."""
    one = ji.toy.planted_induction(vocab=8, ctx=12)

    def prompts(key: Any) -> Any:
        blocks = jax.vmap(lambda key: jax.random.permutation(key, 8)[:6])(jax.random.split(key, 8))
        return jnp.concatenate([blocks, blocks[:, :4]], 1)

    clean, corrupt = prompts(jax.random.key(0)), prompts(jax.random.key(1))
    pair = (clean, corrupt, ji.metrics.log_prob(clean[:, 4]))
    return one, pair, ji.circuits.graph(one.model, split_embed=True)


def test_learned_masks_are_the_planted_circuit() -> None:
    one, pair, graph = planted()
    settings = ji.circuits.PruneSettings(steps=150, learning_rate=0.1, fit=QUIET)
    found = ji.circuits.prune(
        jax.random.key(0), one.model, *pair, penalty=[0.01, 0.3, 100.0], graph=graph, settings=settings
    )
    # Positions are the same on both prompts, so their edges carry nothing.
    carried = {edge for edge in one.edges if not edge.startswith("pos_embed")}
    for mask, edges in zip(found.circuit.mask, (carried, carried, set()), strict=True):
        assert set(ji.circuits.Circuit(mask, graph).edges) == edges
    assert found.history["fit"].shape == (3, 150) and len(found.records()) == 3
    assert found.expected.shape == (3, graph.size) and np.isnan(found.target).all()


@pytest.mark.slow
def test_a_target_is_met_by_edges_and_by_nodes() -> None:
    one, pair, graph = planted()
    # Five of 19 edges are needed, and four of the six queries, keys and values.
    for of, target in (("edges", 0.4), ("nodes", 0.75)):
        settings = ji.circuits.PruneSettings(of=of, steps=400, learning_rate=0.1, fit=QUIET)
        found = ji.circuits.prune(
            jax.random.key(0), one.model, *pair, target=[target], instances=2, graph=graph, settings=settings
        )
        assert found.instance.tolist() == [0, 1] and np.isnan(found.penalty).all()
        assert (found.history["open"][:, -1] < target + 0.05).all(), of
        judged = ji.circuits.evaluate(one.model, found.circuit, *pair)
        np.testing.assert_allclose(judged.faithfulness, 1, atol=0.05, err_msg=of)


@pytest.mark.parametrize("name", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_importance(name: str) -> None:
    model = model_of(name)
    plain = ji.circuits.node_importance(model, CLEAN, METRIC, corrupt=CORRUPT, mask=MASK, normalise=False)
    each = []
    for row in range(2):
        effects = ji.patching.attribution_effects(
            model,
            CLEAN[row : row + 1],
            CORRUPT[row : row + 1],
            ji.metrics.logit_diff([3 + row], [5 + row]),
            site="z",
            over=("layer", "head"),
            mode="noise",
            mask=MASK[row : row + 1],
        )
        each.append(np.abs(effects))
    np.testing.assert_allclose(plain.head, np.mean(each, 0), rtol=1e-4, atol=1e-6)
    scaled = ji.circuits.node_importance(model, CLEAN, METRIC)
    np.testing.assert_allclose(np.linalg.norm(scaled.k, axis=-1), 1, rtol=1e-6)
    graph = ji.circuits.graph(model)
    assert len(ji.circuits.select(scaled.scores(graph), n=5)) <= 5 and len(scaled.records()) > graph.layers


def test_what_is_wrong_teaches() -> None:
    model = model_of("gpt2")
    with pytest.raises(ValueError, match="tell them apart"):
        ji.circuits.prune(jax.random.key(0), model, CLEAN, CLEAN, METRIC)
    with pytest.raises(ValueError, match="0 or more"):
        ji.circuits.prune(jax.random.key(0), model, CLEAN, CORRUPT, METRIC, penalty=-1.0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        ji.circuits.prune(jax.random.key(0), model, CLEAN, CORRUPT, METRIC, target=2.0)
    other = ji.circuits.graph(model_of("neox"))
    with pytest.raises(ValueError, match="of another model"):
        ji.circuits.prune(jax.random.key(0), model, CLEAN, CORRUPT, METRIC, graph=other)
    with pytest.raises(ValueError, match="of another model"):
        ji.circuits.scrub(model, CLEAN, METRIC, {}, key=jax.random.key(0), graph=other)
    with pytest.raises(ValueError, match="No node has importance"):
        ji.circuits.node_importance(model, CLEAN, METRIC, corrupt=CLEAN)
    with pytest.raises(ValueError, match=r"jax\.random\.key"):
        ji.circuits.prune(0, model, CLEAN, CORRUPT, METRIC)  # type: ignore[arg-type]
