"""The edges of a model, and runs in which some of them are cut."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.circuits._select import check_scores
from tests.models import random_model
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of

FAMILIES = ("gpt2", "neox", "llama", "attention")


def families(*default: str) -> list[Any]:
    """All families; the default suite runs those named."""
    return [name if name in default else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


def config(kind: Any, layers: int, heads: int, ff: int = 4, **more: Any) -> Any:
    return kind(vocab=5, ctx=4, d=heads, k=1, layers=layers, heads=heads, ff=ff, **more)


@pytest.mark.parametrize(
    "sizes, edges",
    [
        (config(ji.models.GPT2Config, 12, 12), 32_491),
        (config(ji.models.GPTNeoXConfig, 12, 12), 32_347),
        (config(ji.models.GPTNeoXConfig, 6, 8), 3_580),
        (config(ji.models.GPT2Config, 4, 8, ff=0), 1_281),
        (config(ji.models.GPT2Config, 2, 8, ff=0), 257),
    ],
)
def test_published_counts(sizes: Any, edges: int) -> None:
    graph = ji.circuits.graph(random_model(sizes))
    assert graph.size == len(graph.edges) == edges
    assert len(set(graph.edges)) == edges


@pytest.mark.wide
@pytest.mark.finite
@pytest.mark.parametrize("name", families("gpt2", "llama"))
def test_full_and_empty_are_the_clean_and_the_corrupt_run(name: str) -> None:
    model = model_of(name)
    several: tuple[Any, ...] = ({},) if name != "gpt2" else ({"split_embed": True, "pos": 5},)
    several += ({"split_qkv": False},) if name == "llama" else ()
    for options in several:
        graph = ji.circuits.graph(model, **options)
        both = ji.circuits.Circuit(jnp.stack([graph.full().mask, graph.empty().mask]), graph)
        full, empty = ji.circuits.run(model, CLEAN, CORRUPT, both, mask=MASK)
        clean, corrupt = (ji.run(model, tokens, mask=MASK)[0] for tokens in (CLEAN, CORRUPT))
        real = np.asarray(MASK)
        np.testing.assert_allclose(full[real], clean[real], atol=1e-5)
        np.testing.assert_allclose(empty[real], corrupt[real], atol=1e-5)


@pytest.mark.parametrize("name", families("llama"))
def test_one_edge_is_one_reader_that_reads_another_value(name: str) -> None:
    """Edges that are cut one by one, beside runs with `ji.add`: head to key, head to MLP, MLP to value."""
    model, graph = model_of(name), ji.circuits.graph(model_of(name))
    _, here = ji.run(model, CLEAN, capture=["head_out", "mlp_out"] if graph.has_mlp else ["head_out"])
    _, there = ji.run(model, CORRUPT, capture=list(here))
    head = there["head_out"][0, :, :, 1] - here["head_out"][0, :, :, 1]
    by_edge = {
        "0.1->1.0.k": ji.add("k_in", head[..., None, :], layer=1, head=0),
        "0.1->1.1.q": ji.add("q_in", head[..., None, :], layer=1, head=1),
        "0.1->logits": ji.add("resid_post", head, layer=1),
    }
    if graph.has_mlp:
        by_edge["0.1->mlp1"] = ji.add("mlp_in", head, layer=1)
        mlp = there["mlp_out"][0] - here["mlp_out"][0]
        by_edge["mlp0->1.1.v"] = ji.add("v_in", mlp[..., None, :], layer=1, head=1)
    cut = ji.circuits.Circuit(jnp.stack([(~graph.mask(edge)).mask for edge in by_edge]), graph)
    found = ji.circuits.run(model, CLEAN, CORRUPT, cut)
    for logits, (edge, edit) in zip(found, by_edge.items(), strict=True):
        np.testing.assert_allclose(logits, ji.run(model, CLEAN, edits=[edit])[0], atol=2e-5, err_msg=edge)


@pytest.mark.parametrize("name", families("neox"))
def test_cutting_all_edges_of_a_sender_is_patching_it(name: str) -> None:
    model, graph = model_of(name), ji.circuits.graph(model_of(name))
    _, there = ji.run(model, CORRUPT, capture=["head_out"])
    mean = jnp.broadcast_to(there["head_out"].mean(1, keepdims=True), there["head_out"].shape)
    cut = ~graph.mask([edge for edge in graph.edges if edge.startswith("0.1->")])
    several = (("patch", there["head_out"]), ("mean", mean), ("zero", 0 * mean))
    for ablate, value in several if name == "neox" else several[::2]:
        corrupt = None if ablate == "zero" else CORRUPT
        found = ji.circuits.run(model, CLEAN, corrupt, cut, ablate=ablate)
        edit = ji.replace("head_out", value[0][:, :, 1:2], layer=0, head=1)
        np.testing.assert_allclose(found, ji.run(model, CLEAN, edits=[edit])[0], atol=2e-5, err_msg=ablate)


@pytest.mark.parametrize("name", families("llama"))
def test_padded_prompts_are_as_alone(name: str) -> None:
    model, key = model_of(name), jax.random.key(3)
    for options in ({},) if name != "llama" else ({"pos": 5},):
        graph = ji.circuits.graph(model, **options)
        mask = jax.random.uniform(key, (graph.size,))
        for ablate in ("patch", "zero") if name == "neox" else ("patch",):
            padded = ji.circuits.run(
                model, CLEAN, CORRUPT, ji.circuits.Circuit(mask, graph), mask=MASK, ablate=ablate
            )
            if not options:
                alone = ji.circuits.run(model, CLEAN[1, 1:], CORRUPT[1, 1:], mask, ablate=ablate)
            else:
                short = ji.circuits.graph(model, pos=4)
                alone = ji.circuits.Circuit(mask.reshape(-1, 5)[:, :4].ravel(), short)
                alone = ji.circuits.run(model, CLEAN[1, 1:], CORRUPT[1, 1:], alone, ablate=ablate)
            np.testing.assert_allclose(padded[1, 1:], alone, atol=2e-5)


@pytest.mark.wide
@pytest.mark.finite
def test_means_of_padded_prompts_count_real_tokens() -> None:
    model = model_of("gpt2")
    graph = ji.circuits.graph(model)
    right = jnp.asarray([[True] * 5, [True] * 4 + [False]])
    moved = jnp.stack([CORRUPT[0], jnp.roll(CORRUPT[1], -1)])
    clean = jnp.stack([CLEAN[0], jnp.roll(CLEAN[1], -1)])
    left = ji.circuits.run(model, CLEAN, CORRUPT, graph.empty(), mask=MASK, ablate="mean")
    other = ji.circuits.run(model, clean, moved, graph.empty(), mask=right, ablate="mean")
    np.testing.assert_allclose(left[1, 1:], other[1, :4], atol=1e-5)
    np.testing.assert_allclose(left[0], other[0], atol=1e-5)


@pytest.mark.parametrize("name", families("neox")[:3])
def test_gradients_and_batches_of_masks(name: str) -> None:
    model, graph = model_of(name), ji.circuits.graph(model_of(name))
    masks = jax.random.uniform(jax.random.key(0), (3, graph.size))

    @eqx.filter_jit
    def value(mask: Any) -> Any:
        return METRIC(ji.circuits.run(model, CLEAN, CORRUPT, mask)).sum()

    each = jnp.stack([value(mask) for mask in masks])
    np.testing.assert_allclose(jax.vmap(value)(masks), each, atol=1e-5)
    together = ji.circuits.run(model, CLEAN, CORRUPT, masks, logits=-1, max_bytes=2**20)
    np.testing.assert_allclose(jax.vmap(METRIC.of)(together).sum(-1), each, atol=1e-5)
    along = jax.random.normal(jax.random.key(1), (graph.size,)) / graph.size
    slope = (value(masks[0] + 0.01 * along) - value(masks[0] - 0.01 * along)) / 0.02
    np.testing.assert_allclose(jax.grad(value)(masks[0]) @ along, slope, rtol=2e-2, atol=1e-4)


def test_names_and_operations() -> None:
    graph = ji.circuits.graph(model_of("llama"), split_embed=True)
    circuit = graph.mask(["embed->0.1.k", "0.3->mlp1", "mlp1->logits"])
    assert len(circuit) == 3 and "0.3->mlp1" in circuit and "0.2->mlp1" not in circuit
    assert circuit.nodes == ("embed", "0.2", "0.3", "mlp1", "logits")
    assert graph.mask(circuit.edges).edges == circuit.edges
    assert len(~circuit) == graph.size - 3 and len(circuit & ~circuit) == 0
    assert len(circuit | graph.mask("embed->mlp0")) == 4
    split = ji.circuits.graph(model_of("gpt2"), split_embed=True, pos=3)
    assert split.senders[:2] == ("embed", "pos_embed") and len(split.mask("embed->mlp0")) == 3
    assert split.mask("pos_embed->mlp0@2").edges == ("pos_embed->mlp0@2",)
    heads = ji.circuits.graph(model_of("gpt2"), split_qkv=False)
    assert "0.1->1.0" in heads.edges and heads.size < ji.circuits.graph(model_of("gpt2")).size
    assert hash(graph) == hash(ji.circuits.graph(model_of("llama"), split_embed=True))


def test_what_is_wrong_teaches() -> None:
    model = model_of("neox")
    graph = ji.circuits.graph(model)
    with pytest.raises(ValueError, match=r"reads before 1\.0 is computed"):
        graph.mask("1.0->0.1.q")
    with pytest.raises(ValueError, match="parallel blocks"):
        graph.mask("1.0->mlp1")
    with pytest.raises(ValueError, match="senders of this graph"):
        graph.mask("7.0->mlp1")
    with pytest.raises(ValueError, match=r"graph\(model, pos="):
        graph.mask("embed->mlp1@2")
    with pytest.raises(ValueError, match="of another model"):
        ji.circuits.run(model, CLEAN, CORRUPT, ji.circuits.graph(model_of("gpt2")).full())
    with pytest.raises(ValueError, match="one number for each edge"):
        ji.circuits.run(model, CLEAN, CORRUPT, jnp.ones(7))
    with pytest.raises(ValueError, match="one length"):
        ji.circuits.run(model, CLEAN, CORRUPT[:, :4], graph.full())
    with pytest.raises(ValueError, match="ablate='zero'"):
        ji.circuits.run(model, CLEAN, None, graph.full())
    with pytest.raises(ValueError, match="without edits"):
        ji.circuits.graph(ji.intervene(model, [ji.zero("z", layer=0, head=1)]))
    with pytest.raises(ValueError, match=r"pos=5"):
        ji.circuits.run(model, CLEAN, CORRUPT, ji.circuits.graph(model, pos=4).full())
    with pytest.raises(ValueError, match=r"0\.1->logits is one of its edges, and none leads to 0\.1"):
        ji.circuits.evaluate(model, graph.mask(["0.1->logits", "embed->mlp1"]), CLEAN, CORRUPT, METRIC)
    with pytest.raises(ValueError, match="no path from embed to the logits"):
        ji.circuits.evaluate(model, graph.mask("embed->mlp1"), CLEAN, CORRUPT, METRIC)
    apart = graph.mask(["0.1->logits", "embed->mlp1"])
    corrupt, _ = ji.run(model, CORRUPT)
    np.testing.assert_allclose(ji.circuits.run(model, CLEAN, CORRUPT, apart), corrupt, atol=1e-5)
    assert ji.circuits.prune_dangling(graph.mask(["0.1->logits", "embed->mlp1"])).edges == ()
    with pytest.raises(ValueError, match="Raise max_bytes"):
        ji.circuits.run(model, CLEAN, CORRUPT, graph.full(), max_bytes=10)


def test_wrong_names_and_masks_teach() -> None:
    shared = ji.circuits.graph(model_of("llama"))  # 4 heads, 2 key/value heads
    with pytest.raises(ValueError, match=r"here '1\.3\.k' is '1\.1\.k'"):
        shared.mask("0.1->1.3.k")
    with pytest.raises(ValueError, match=r"reads as '1\.3\.q', '1\.1\.k' and '1\.1\.v'"):
        shared.mask("0.1->1.3")
    with pytest.raises(ValueError, match=r"one receiver: here '1\.1'"):
        ji.circuits.graph(model_of("llama"), split_qkv=False).mask("0.1->1.3.k")
    with pytest.raises(ValueError, match=r"neurons=\{1: \[3\]\}"):
        shared.mask("mlp1.n3->logits")
    model = model_of("llama")
    with pytest.raises(ValueError, match=r"graph\(model\)\.mask\(\['embed->logits'\]\)"):
        ji.circuits.run(model, CLEAN, CORRUPT, ["embed->logits"])
    with pytest.raises(ValueError, match="NaN or inf"):
        ji.circuits.run(model, CLEAN, CORRUPT, jnp.full(shared.size, jnp.nan))
    with pytest.raises(ValueError, match="and an object"):
        _ = shared.full() & shared.full().mask  # pyright: ignore[reportOperatorIssue]
    learned = dataclasses.replace(shared, learned_positions=True, embeddings=("embed", "pos_embed"))
    with pytest.raises(ValueError, match="no learned positions"):
        ji.circuits.run(model, CLEAN, CORRUPT, learned.full())


def test_what_chooses_on_the_host_says_so_where_it_is_traced() -> None:
    model = model_of("neox")
    graph = ji.circuits.graph(model)
    scores = ji.circuits.Scores(jnp.ones(graph.size), graph)
    metric = ji.metrics.logit_diff(3, 5)
    key = jax.random.key(0)
    calls: list[Callable[[jax.Array], Any]] = [
        lambda tokens: ji.circuits.evaluate(model, graph.full(), tokens, CORRUPT, metric).faithfulness,
        lambda tokens: ji.circuits.acdc(model, tokens, CORRUPT, metric).mask,
        lambda tokens: ji.circuits.prune(key, model, tokens, CORRUPT, metric).expected,
        lambda tokens: ji.circuits.minimality(model, graph.full(), tokens, CORRUPT, metric).score,
        lambda tokens: (
            ji.circuits.select(
                ji.circuits.Scores(tokens[0, 0].astype(jnp.float32) + scores.values, graph), n=3
            ).mask
        ),
        lambda tokens: (
            ji.circuits.Circuit(jnp.ones(graph.size) * tokens.sum().astype(jnp.float32), graph).kept
        ),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="outside of jit"):
            jax.eval_shape(call, CLEAN)
    with pytest.raises(ValueError, match=r"Scores\(values, graph\)"):
        check_scores(graph.full())
    with pytest.raises(ValueError, match="are NaN"):
        ji.circuits.roc(scores * float("nan"), graph.mask("embed->logits"))
