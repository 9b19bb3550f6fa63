"""Estimated edges: gradients times differences, beside the masked forward and exact single edges."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.circuits._eap_points import radau
from jaxinterp.circuits._run import experiment
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of

PAIR = (CLEAN, CORRUPT, METRIC)
EVERYTHING = {"split_embed": True, "pos": 5}


def close(value: Any, expected: Any, **tolerance: Any) -> None:
    np.testing.assert_allclose(value, expected, **{"rtol": 1e-4, "atol": 2e-6, **tolerance})


class Wrapped(eqx.Module):
    """Blocks of another class, of which only the sites are known."""

    inner: ji.nn.Block

    def __call__(self, resid: Any, ctx: Any, tap: Any) -> Any:
        return self.inner(resid, ctx, tap)


def gap_of(model: Any, tokens: Any) -> float:
    """The metric on the tokens minus that on the clean prompts."""
    value = lambda prompts: ji.metrics.measure(model, prompts, METRIC, mask=MASK).mean()
    return float(value(tokens) - value(CLEAN))


FAMILIES = ("gpt2", "attention", "neox", "llama")


@pytest.mark.parametrize(
    ("name", "options", "ablate"),
    [
        pytest.param("gpt2", EVERYTHING, "patch", marks=pytest.mark.slow),
        ("neox", {}, "patch"),
        ("llama", {"split_qkv": False}, "mean"),
        ("attention", {}, "zero"),
        pytest.param("gpt2", {}, "zero", marks=pytest.mark.slow),
        pytest.param("neox", {"pos": 5}, "zero", marks=pytest.mark.slow),
        pytest.param("llama", {}, "patch", marks=pytest.mark.slow),
        pytest.param("attention", EVERYTHING, "mean", marks=pytest.mark.slow),
    ],
)
def test_one_step_is_the_gradient_in_the_mask(name: str, options: Any, ablate: str) -> None:
    model = model_of(name)
    graph = ji.circuits.graph(model, **options)
    corrupt = None if ablate == "zero" else CORRUPT
    more: Any = {"mask": MASK, "ablate": ablate}
    scores = ji.circuits.eap(model, CLEAN, corrupt, METRIC, graph=graph, **more)
    setup, _ = experiment(model, CLEAN, corrupt, graph, **more)
    slope = eqx.filter_jit(jax.grad(lambda mask: setup.value(mask, METRIC).mean()))(jnp.ones(graph.size))
    assert scores.values.dtype == jnp.float32 and float(jnp.abs(scores.values).max()) > 1e-2
    close(scores.values, -slope)


@pytest.mark.slow
def test_blocks_of_another_class_are_read_at_their_sites() -> None:
    model = model_of("neox")
    other = eqx.tree_at(lambda model: model.blocks, model, Wrapped(model.blocks))
    options: Any = {"steps": 3, "mask": MASK}
    close(ji.circuits.eap(other, *PAIR, **options).values, ji.circuits.eap(model, *PAIR, **options).values)


@pytest.mark.parametrize(
    "name", ["neox", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gpt2", "llama"))]
)
def test_a_batch_is_the_mean_of_its_prompts_and_padding_is_nothing(name: str) -> None:
    model = model_of(name)
    scores = ji.circuits.eap(model, *PAIR, steps=3, mask=MASK)
    metrics = [ji.metrics.logit_diff(right, right + 2) for right in (3, 4)]
    row = slice(0, 1)
    first = ji.circuits.eap(model, CLEAN[row], CORRUPT[row], metrics[0], steps=3)
    alone = ji.circuits.eap(model, CLEAN[1, 1:], CORRUPT[1, 1:], metrics[1], steps=3)
    close(((first + alone) * 0.5).values, scores.values)
    moved = [jnp.stack([prompts[0], jnp.roll(prompts[1], -1)]) for prompts in (CLEAN, CORRUPT)]
    right = jnp.asarray([[True] * 5, [True] * 4 + [False]])
    close(ji.circuits.eap(model, *moved, METRIC, steps=3, mask=right).values, scores.values)
    chunks = ji.circuits.eap(model, *PAIR, steps=3, mask=MASK, max_bytes=20_000)
    close(chunks.values, scores.values)


@pytest.mark.parametrize("name", ["gpt2", *(pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES[1:])])
def test_many_steps_are_complete(name: str) -> None:
    """The edges of the embedding add up to the change of the metric; so do those of the logits, if linear."""
    model = model_of(name)
    gap = gap_of(model, CORRUPT)
    off = []
    for steps in (4, 16):
        matrix = np.asarray(ji.circuits.eap(model, *PAIR, steps=steps, mask=MASK).matrix())
        off.append(abs(np.nansum(matrix[0]) - gap))
    # Of the paper's rule four times the points leave a quarter of the error; of Radau's almost nothing.
    assert off[1] < 1e-3 * abs(gap) + 1e-6 and off[1] < off[0] / 100
    if name == "attention":
        assert np.nansum(matrix[:, -1]) == pytest.approx(gap, rel=1e-4)


def test_the_points_are_exact_for_polynomials() -> None:
    close(radau(2), [[1 / 3, 1], [3 / 4, 1 / 4]])
    for count in (1, 2, 5, 64):
        alphas, weights = radau(count)
        powers = np.arange(2 * count - 1)
        assert alphas[-1] == 1 and (np.diff(alphas) > 0).all() and (weights > 0).all()
        close(weights @ alphas[:, None] ** powers, 1 / (powers + 1), rtol=1e-11, atol=0)


@pytest.mark.slow
def test_each_group_of_senders_on_its_own_path_adds_up_to_its_patch() -> None:
    model = model_of("gpt2")
    graph = ji.circuits.graph(model)
    scores = ji.circuits.eap(model, *PAIR, steps=12, along="activations")
    by_sender = np.nansum(np.asarray(scores.matrix()), 1)
    groups = [("embed",), ("0.0", "0.1"), ("mlp0",), ("1.0", "1.1"), ("mlp1",)]
    cut = [~graph.mask([edge for edge in graph.edges if edge.split("->")[0] in group]) for group in groups]
    cut = ji.circuits.Circuit(jnp.stack([one.mask for one in cut]), graph)
    values = jax.vmap(METRIC)(ji.circuits.run(model, CLEAN, CORRUPT, cut)).mean(-1)
    exact = values - ji.metrics.measure(model, CLEAN, METRIC).mean()
    found = [sum(by_sender[graph.senders.index(sender)] for sender in group) for group in groups]
    close(found, exact, rtol=1e-3, atol=1e-5)
    once = ji.circuits.eap(model, *PAIR, along="activations")
    close(once.values, ji.circuits.eap(model, *PAIR).values)


@pytest.mark.parametrize("name", ["linear gpt2", pytest.param("linear neox", marks=pytest.mark.slow)])
def test_exact_where_all_is_linear(name: str) -> None:
    """Without norms, with linear neurons and patterns that read nothing, each score is a run with one edge cut."""
    model = model_of(name)
    blind = lambda attn: (attn.w_q, attn.b_q)
    attn = eqx.tree_at(blind, model.blocks.attn, jax.tree.map(jnp.zeros_like, blind(model.blocks.attn)))
    model = eqx.tree_at(lambda model: model.blocks.attn, model, attn)
    graph = ji.circuits.graph(model)
    cut = ji.circuits.Circuit(1 - jnp.eye(graph.size), graph)
    logits = ji.circuits.run(model, CLEAN, CORRUPT, cut, logits=-1)
    exact = jax.vmap(METRIC.of)(logits).mean(-1) - ji.metrics.measure(model, CLEAN, METRIC).mean()
    scores = ji.circuits.eap(model, *PAIR)
    close(scores.values, exact, atol=1e-4)
    close(ji.circuits.eap(model, *PAIR, along="ends").values, exact, atol=1e-4)
    assert len(np.flatnonzero(np.abs(exact) > 1e-3)) > graph.size / 4
    agreed = scores.agreement(ji.circuits.direct_paths(model, *PAIR, mode="noise"))
    assert agreed.spearman > 0.95 and agreed.overlap == 1.0 and agreed.cells == graph.size


def test_scores_are_read_by_name() -> None:
    model = model_of("neox")
    graph = ji.circuits.graph(model, pos=5)
    scores = ji.circuits.Scores(jnp.arange(graph.size, dtype=jnp.float32) - 50, graph)
    name = graph.edges[7]
    assert scores.of(name) == -43 and scores.of(name.partition("@")[0]).shape == (5,)
    matrix = np.asarray(scores.matrix())
    assert np.isfinite(matrix).sum() == graph.size
    sender, receiver = graph.pairs[1]
    close(matrix[sender, receiver], scores.values[5:10])
    top = scores.top(3)
    assert top.names == (graph.edges[-1], graph.edges[-2], graph.edges[-3])
    assert len(graph.mask(top.names)) == 3 and graph.edges[-1] in repr(top)
    assert scores.records()[0] == {"sender": "mlp1", "receiver": "logits", "pos": 4, "score": graph.size - 51}
    assert "logits" in scores._repr_html_() and str(graph.size) in repr(scores)
    close((scores + 2 * scores).values, 3 * scores.values)
    close((sum([scores, scores, scores]) / 3).values, scores.values)
    with pytest.raises(ValueError, match="one graph"):
        scores + ji.circuits.Scores(jnp.zeros(7), ji.circuits.graph(model))
    with pytest.raises(ValueError, match="without positions"):
        scores.agreement(ji.circuits.DirectPaths(None, None, None, jnp.zeros(())))


def test_a_metric_without_a_gradient_teaches() -> None:
    model = model_of("attention")
    kl = ji.metrics.kl(ji.run(model, CLEAN)[0])
    with pytest.raises(ValueError, match=r"plain EAP finds nothing.*steps=8"):
        ji.circuits.eap(model, CLEAN, CORRUPT, kl)
    ends = ji.circuits.eap(model, CLEAN, CORRUPT, kl, along="ends")
    assert float(jnp.abs(ends.values).max()) > 1e-3
    flat = ji.metrics.custom(lambda logits: 0 * logits.sum(-1), name="flat")
    with pytest.raises(ValueError, match=r"flat has no gradient.*constant"):
        ji.circuits.eap(model, CLEAN, CORRUPT, flat)
    values = jax.jit(lambda clean: ji.circuits.eap(model, clean, CORRUPT, kl, along="ends").values)(CLEAN)
    close(values, ends.values)
    with pytest.raises(ValueError, match="finite and smooth"):
        ji.circuits.eap(model, CLEAN, CORRUPT, lambda logits: logits[..., -1, 3] * jnp.nan)


def test_what_is_wrong_teaches() -> None:
    model = model_of("attention")
    with pytest.raises(ValueError, match="takes no steps"):
        ji.circuits.eap(model, *PAIR, along="ends", steps=2)
    with pytest.raises(ValueError, match="along is one of"):
        ji.circuits.eap(model, *PAIR, along="layers")
    with pytest.raises(ValueError, match="1 or more"):
        ji.circuits.eap(model, *PAIR, steps=0)
    with pytest.raises(ValueError, match="of another model"):
        ji.circuits.eap(model, *PAIR, graph=ji.circuits.graph(model_of("gpt2")))
    with pytest.raises(ValueError, match=r"ji\.circuits\.graph\(model\)"):
        ji.circuits.eap(model, *PAIR, graph="heads")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="Raise max_bytes"):
        ji.circuits.eap(model, *PAIR, max_bytes=10)
    with pytest.raises(ValueError, match="one length"):
        ji.circuits.eap(model, CLEAN, CORRUPT[:, :4], METRIC)
    with pytest.raises(ValueError, match="equal to the clean ones"):
        ji.circuits.eap(model, CLEAN, CLEAN, METRIC)
    with pytest.raises(ValueError, match="without edits"):
        ji.circuits.eap(ji.intervene(model, [ji.zero("z", layer=0, head=1)]), *PAIR)
