"""Neurons of an MLP as senders: what holds of whole MLPs holds of their parts."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.circuits._run import experiment
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of

CHOSEN: dict[str, Any] = {"neurons": {0: [5, 3, 11], 1: range(12)}}
FAMILIES = [
    pytest.param("gpt2", marks=pytest.mark.slow),
    pytest.param("neox", marks=pytest.mark.slow),
    "llama",
]


def close(value: Any, expected: Any, **tolerance: Any) -> None:
    np.testing.assert_allclose(value, expected, **{"rtol": 1e-4, "atol": 2e-5, **tolerance})


def sent(graph: Any, *nodes: str) -> Any:
    """All edges of some senders."""
    return graph.mask([edge for edge in graph.edges if edge.partition("->")[0] in nodes])


@pytest.mark.wide
@pytest.mark.finite
@pytest.mark.parametrize("name", FAMILIES)
def test_a_neuron_is_its_part_of_the_mlp(name: str) -> None:
    """Full and empty; one neuron beside `mlp_post`, all parts beside `mlp_out`, in one batch of masks."""
    model = model_of(name)
    graph = ji.circuits.graph(model, **CHOSEN)
    _, there = ji.run(model, CORRUPT, capture=["mlp_post", "mlp_out"], mask=MASK)
    parts = [node for node in graph.senders if node.startswith("mlp0.")]
    assert parts == ["mlp0.rest", "mlp0.n3", "mlp0.n5", "mlp0.n11"]
    kept = [graph.full(), graph.empty(), ~sent(graph, "mlp0.n5"), ~sent(graph, *parts)]
    masks = ji.circuits.Circuit(jnp.stack([circuit.mask for circuit in kept]), graph)
    real = np.asarray(MASK)
    for ablate in ("patch", "zero"):
        share = 1.0 if ablate == "patch" else 0.0
        post = share * there["mlp_post"][0][..., 5]
        edits = [
            ji.map("mlp_post", lambda x, post=post: x.at[..., 5].set(post), layer=0),
            ji.replace("mlp_out", share * there["mlp_out"][0], layer=0),
        ]
        found = ji.circuits.run(model, CLEAN, CORRUPT, masks, mask=MASK, ablate=ablate)
        runs = [(CLEAN, []), (CORRUPT, []), *((CLEAN, [edit]) for edit in edits)]
        for logits, (tokens, edit) in zip(found, runs, strict=True):
            if ablate == "patch" or tokens is CLEAN:
                close(logits[real], ji.run(model, tokens, mask=MASK, edits=edit)[0][real])
    whole = ji.circuits.graph(model)
    mlp = ji.circuits.run(model, CLEAN, None, ~sent(whole, "mlp0"), mask=MASK, ablate="zero")
    close(found[3][real], mlp[real])  # with what the biases write


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_are_the_gradient_in_the_mask(name: str) -> None:
    model = model_of(name)
    for options in ({},) if name == "llama" else ({"pos": 5, "split_qkv": False},):
        graph = ji.circuits.graph(model, **CHOSEN, **options)
        scores = ji.circuits.eap(model, CLEAN, CORRUPT, METRIC, graph=graph, mask=MASK)
        setup, _ = experiment(model, CLEAN, CORRUPT, graph, mask=MASK)
        value = eqx.filter_jit(lambda mask, setup=setup: setup.value(mask, METRIC).mean())
        slope = eqx.filter_jit(jax.grad(value))(jnp.ones(graph.size))
        close(scores.values, -slope, atol=2e-6)
        whole = ji.circuits.graph(model, **options)
        of_mlp = ji.circuits.eap(model, CLEAN, CORRUPT, METRIC, graph=whole, mask=MASK).of("mlp0->logits")
        parts = scores.of("mlp0->logits").reshape(4, *of_mlp.shape)
        close(parts.sum(0), of_mlp, atol=2e-6)
        masks = jax.random.uniform(jax.random.key(0), (2, graph.size))
        close(jax.vmap(value)(masks), jnp.stack([value(mask) for mask in masks]))


@pytest.mark.slow
def test_padded_prompts_are_as_alone() -> None:
    model = model_of("llama")
    graph = ji.circuits.graph(model, **CHOSEN)
    circuit = ji.circuits.Circuit(jax.random.uniform(jax.random.key(3), (graph.size,)), graph)
    left = ji.circuits.run(model, CLEAN, CORRUPT, circuit, mask=MASK)
    alone = ji.circuits.run(model, CLEAN[1, 1:], CORRUPT[1, 1:], circuit)
    close(left[1, 1:], alone)
    right = jnp.asarray([[True] * 5, [True] * 4 + [False]])
    moved = [jnp.stack([tokens[0], jnp.roll(tokens[1], -1)]) for tokens in (CLEAN, CORRUPT)]
    close(ji.circuits.run(model, *moved, circuit, mask=right)[1, :4], alone)


@pytest.mark.slow
def test_methods_take_neurons() -> None:
    """ACDC beside its plain loop, means along each sender's own path, and scrubbing."""
    model = model_of("gpt2")
    graph = ji.circuits.graph(model, neurons={1: [2, 7]})
    setup, _ = experiment(model, CLEAN, CORRUPT, graph)
    value = eqx.filter_jit(lambda mask: setup.value(mask, METRIC).mean())
    found = ji.circuits.acdc(model, CLEAN, CORRUPT, METRIC, threshold=0.02, graph=graph, progress=False)
    kept, last = np.ones(graph.size, bool), float(value(jnp.ones(graph.size)))
    for edge in np.lexsort([-np.arange(graph.size), -graph.pairs[:, 1]]):
        kept[edge] = False
        now = float(value(jnp.asarray(kept, jnp.float32)))
        # A logit difference may not fall by the threshold.
        kept[edge] = last - now >= 0.02
        last = last if kept[edge] else now
    assert (found.kept == kept).all() and 0 < kept.sum() < graph.size
    whole = ji.circuits.graph(model)
    options: Any = {"along": "activations", "steps": 2, "mask": MASK}
    parts = ji.circuits.eap(model, CLEAN, CORRUPT, METRIC, graph=graph, **options).of("mlp1->logits")
    both = ji.circuits.eap(model, CLEAN, CORRUPT, METRIC, graph=whole, **options).of("mlp1->logits")
    close(parts.sum(), both)
    prompts = jnp.concatenate([CLEAN, CORRUPT])
    claim = {"all of the prompt": (list(graph.edges), jnp.arange(4))}
    answer = ji.metrics.log_prob(prompts[:, 0])
    found = ji.circuits.scrub(model, prompts, answer, claim, key=jax.random.key(0), graph=graph)
    assert found.recovered == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="not of neurons"):
        ji.circuits.node_importance(model, CLEAN, METRIC).scores(graph)


def test_names() -> None:
    graph = ji.circuits.graph(model_of("llama"), neurons=["1.7", "0.2"], pos=2)
    assert graph.neurons == ((0, (2,)), (1, (7,)))
    circuit = graph.mask(["embed->mlp0", "mlp0.n2->1.0.k@1", "1.0->mlp1@1", "mlp1->logits"])
    assert len(circuit) == 2 + 1 + 1 + 4
    # Two heads share the keys of 1.0.
    assert circuit.nodes == ("embed", "mlp0.rest", "mlp0.n2", "1.0", "1.1", "mlp1.rest", "mlp1.n7", "logits")
    assert "mlp1->logits" in circuit and graph.mask(circuit.edges).edges == circuit.edges
    every = ji.circuits.graph(model_of("llama"), neurons=[-1])
    assert every.neurons == ((1, tuple(range(12))),)
    assert ji.circuits.prune_dangling(circuit).edges == circuit.edges
    html = circuit.figure().html
    assert html.count("<path") == len(circuit) and 'data-source="mlp0"' in html


def test_what_is_wrong_teaches() -> None:
    model = model_of("llama")
    with pytest.raises(ValueError, match="no MLPs"):
        ji.circuits.graph(model_of("attention"), neurons=[0])
    with pytest.raises(ValueError, match="2 layers of 12 neurons, and no neuron 12"):
        ji.circuits.graph(model, neurons={0: [12]})
    with pytest.raises(ValueError, match="no layer 2"):
        ji.circuits.graph(model, neurons=[2])
    with pytest.raises(ValueError, match="neurons="):
        ji.circuits.graph(model).mask("mlp0.n3->logits")
    with pytest.raises(ValueError, match=r"mlp0\.n4"):
        ji.circuits.graph(model, neurons={0: [3]}).mask("mlp0.n4->logits")
    other = dataclasses.replace(ji.circuits.graph(model, neurons=[0]), neurons=((0, (40,)),))
    with pytest.raises(ValueError, match="MLPs of this model have 12"):
        ji.circuits.run(model, CLEAN, CORRUPT, other.full())
