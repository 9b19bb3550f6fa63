"""Published circuits as masks: their counts, and the rules of the nodes that they name."""

from typing import Any

import pytest

import jaxinterp as ji


def graph(layers: int, heads: int, **options: Any) -> Any:
    """The graph of a shape, without a model."""
    has_mlp = options.pop("has_mlp", True)
    parallel = options.pop("parallel", False)
    sizes = {"layers": layers, "heads": heads, "kv_heads": heads, "has_mlp": has_mlp, "parallel": parallel}
    return ji.circuits.Graph(**{**sizes, "learned_positions": True, **options})


GPT2 = graph(12, 12)


def test_the_docstring_circuit_has_the_published_count() -> None:
    there = graph(4, 8, has_mlp=False)
    assert there.size == 1_281
    found = ji.circuits.known("docstring", there)
    assert len(found) == 24
    inputs = {edge.split("->")[1] for edge in found.edges} - {"logits"}
    assert len(found) + len(inputs) == 37  # with the edges of queries, keys and values into their heads
    named = {head for heads in ji.circuits.known_heads("docstring").values() for head in heads}
    assert set(found.nodes) == named | {"embed", "logits"}


def test_indirect_objects() -> None:
    found = ji.circuits.known("ioi", GPT2)
    heads = [head for group in ji.circuits.known_heads("ioi").values() for head in group]
    assert len(heads) == len(set(heads)) == 26
    mlps = [f"mlp{layer}" for layer in range(12)]
    assert set(found.nodes) == {"embed", "logits", *heads, *mlps}
    edges = set(found.edges)
    to_logits = {edge.split("->")[0] for edge in edges if edge.endswith("->logits")}
    movers = [
        head for kind, group in ji.circuits.known_heads("ioi").items() if "mover" in kind for head in group
    ]
    assert to_logits == {"embed", *mlps, *movers} and len(movers) == 13
    assert {"5.5->7.3.k", "0.1->8.6.v", "8.6->9.9.q", "embed->9.9.k", "mlp0->5.5.q", "4.11->5.8.k"} <= edges
    assert not {"embed->9.9.q", "embed->5.5.q", "8.6->9.9.k", "9.9->10.0.q", "5.5->logits"} & edges
    between = {e for e in edges if e.count(".") == 3}
    # 2 to 4 and 7 to 4 heads by keys and values, 4 to 13 heads by queries; all are in later layers.
    assert len(between) == 2 * 2 * 4 + 2 * 7 * 4 + 4 * 13


def test_greater_than() -> None:
    found = ji.circuits.known("greater_than", GPT2)
    edges = set(found.edges)
    assert {"embed->0.3.q", "0.1->mlp3", "0.5->9.1.v", "mlp2->5.5.k", "mlp7->8.11.q", "8.11->mlp8"} <= edges
    assert {"9.1->logits", "mlp9->mlp11", "mlp5->mlp8", "mlp11->logits"} <= edges
    assert (
        not {"embed->5.5.q", "0.3->mlp0", "mlp7->8.11.k", "8.11->9.1.q", "mlp7->mlp9", "0.1->logits"} & edges
    )
    heads = [head for group in ji.circuits.known_heads("greater_than").values() for head in group]
    assert set(found.nodes) == {"embed", "logits", *heads, *(f"mlp{layer}" for layer in range(12))}


def test_options_of_the_graph() -> None:
    shape = {"has_mlp": False}
    plain = ji.circuits.known("docstring", graph(4, 8, **shape))
    split = ji.circuits.known("docstring", graph(4, 8, embeddings=("embed", "pos_embed"), **shape))
    of_embed = [edge for edge in plain.edges if edge.startswith("embed->")]
    assert len(split) == len(plain) + len(of_embed)
    assert {edge.removeprefix("pos_") for edge in split.edges} == set(plain.edges)
    at = ji.circuits.known("docstring", graph(4, 8, pos=3, **shape))
    assert len(at) == 3 * len(plain)
    nodes = ji.circuits.known("docstring", graph(4, 8, split_qkv=False, **shape))
    assert set(nodes.edges) == {e if e.endswith("logits") else e[:-2] for e in plain.edges}
    assert ji.circuits.known("induction", graph(2, 8, **shape)).nodes == ("embed", "1.5", "1.6", "logits")


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ji.circuits.known("copying", GPT2), "'ioi', 'greater_than'"),
        (lambda: ji.circuits.known_heads("copying"), "'ioi', 'greater_than'"),
        (lambda: ji.circuits.known("ioi", graph(6, 12)), "12 layers of 12 heads.*6 layers of 12 heads"),
        (lambda: ji.circuits.known("ioi", graph(12, 12, parallel=True)), "parallel MLPs"),
        (lambda: ji.circuits.known("docstring", graph(4, 8)), "no MLPs"),
        (lambda: ji.circuits.known("ioi", graph(12, 12, kv_heads=4)), "4 of keys"),
    ],
)
def test_what_is_wrong_teaches(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
