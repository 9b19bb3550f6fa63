"""Circuits as figures and files."""

import json
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.patching.patched_models import model_of


@pytest.mark.parametrize("name, pos", [("llama", None), ("neox", 3)])
def test_files_hold_the_edges(name: str, pos: int | None, tmp_path: Path) -> None:
    graph = ji.circuits.graph(model_of(name), pos=pos)
    circuit = graph.mask(["embed->0.1.k", "0.1->1.0.v", "1.0->logits"])
    read = json.loads(ji.circuits.export(tmp_path / "a.json", circuit).read_text())
    assert [edge["edge"] for edge in read["edges"]] == list(circuit.edges)
    assert read["graph"]["layers"] == graph.layers
    tree = ElementTree.parse(ji.circuits.export(tmp_path / "a.graphml", circuit)).getroot()
    space = "{http://graphml.graphdrawing.org/xmlns}"
    assert [edge.get("id") for edge in tree.iter(f"{space}edge")] == list(circuit.edges)
    assert {node.get("id") for node in tree.iter(f"{space}node")} >= {"embed", "0.1", "1.0", "logits"}
    dot = ji.circuits.export(tmp_path / "a.dot", circuit).read_text()
    assert dot.count('" -> "') == len(circuit) and dot.startswith("digraph")
    with pytest.raises(ValueError, match=r"a\.txt"):
        ji.circuits.export(tmp_path / "a.txt", circuit)


def test_networkx_reads_the_graph(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx")
    graph = ji.circuits.graph(model_of("gpt2"))
    values = jnp.linspace(-1, 1, graph.size)
    path = ji.circuits.export(tmp_path / "scores.graphml", ji.circuits.Scores(values, graph))
    read = networkx.read_graphml(path)
    assert read.number_of_edges() == graph.size
    found = {key: data["score"] for *_, key, data in read.edges(keys=True, data=True)}
    np.testing.assert_allclose([found[edge] for edge in graph.edges], values, atol=1e-6)


def test_figures_draw_each_edge_once() -> None:
    graph = ji.circuits.graph(model_of("llama"))
    circuit = graph.mask(["embed->0.1.k", "0.2->1.0.v", "mlp1->logits"])
    html = circuit.figure().html
    assert html.count("<path") == 3 and all(edge.replace(">", "&gt;") in html for edge in circuit.edges)
    values = jnp.linspace(-1, 1, graph.size)
    scores = ji.circuits.Scores(values, graph).figure(top=7)
    assert scores.html.count("<path") == 7 and "ji-slide" in scores.html
    matrix = ji.circuits.Scores(values, graph).figure(top=7, how="matrix").html
    strongest = ji.circuits.Scores(values, graph).top(7).names
    assert all(end in matrix for name in strongest for end in name.split("->"))
    assert circuit.figure(how="matrix").svg and graph.empty().figure().html.count("<path") == 0
    bad = ji.viz.layered_graph({"<b>": 0, "c": 1}, [("<b>", "c", 1.0, "<script>")]).html
    assert "<b>" not in bad and "<script>" not in bad
    with pytest.raises(ValueError, match="not given"):
        ji.viz.layered_graph({"a": 0}, [("a", "z", 1.0, "")])
    with pytest.raises(ValueError, match="not finite"):
        ji.viz.layered_graph({"a": 0, "b": 1}, [("a", "b", float("nan"), "")])
