"""Circuits and scores as figures, and as files that other programs read."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from .. import _disk
from .._arguments import as_int, check_choice
from .._text import shown
from ..typing import IntLike, PathLike, StrLike
from ._circuit import Circuit
from ._numbering import feeds, node_of, nodes_of, table
from ._select import EdgeScores, check_scores

if TYPE_CHECKING:
    from ..viz import Figure

KINDS = (".json", ".graphml", ".dot")
HOW = ("graph", "matrix")


def figure(
    circuit: Circuit | EdgeScores, *, top: IntLike = 200, title: str = "", how: StrLike = "graph"
) -> "Figure":
    r"""$C \mapsto$ a drawing: nodes by layer, from the embeddings at the bottom to the logits, and their edges.

    The width of an edge shows the size of its score. A slider hides the weaker edges, and a click on a node hides all
    edges but its own. Neurons are drawn as their MLP.

    **Arguments:**

    - `circuit`: one circuit, or scores of edges such as those of `ji.circuits.eap`.
    - `top`: how many edges are drawn at most; 200 by default.
    - `title`: the title of the figure.
    - `how`: `"graph"`, the default; or `"matrix"`, a heat map of the scores by sender and receiver. Its rows and columns
      are the ends of the `top` edges, and positions are summed.

    **Returns:** a `Figure`: a notebook shows it, and `.save("circuit.html")` writes a page.

    ```python
    ji.circuits.figure(scores, top=100).save("circuit.html")
    ji.circuits.figure(scores, how="matrix")
    ```

    Law: each kept edge is drawn once, into the head or the MLP that reads it.
    """
    from ..viz import layered_graph

    check_choice(how, "how", HOW)
    rows = _edges(circuit)
    graph = circuit.graph
    rows = sorted(rows, key=lambda row: -abs(row["score"]))[: as_int(top, "top", 1)]
    if how == "matrix":
        return _matrix(circuit, rows, title)
    nodes = nodes_of(graph)
    stage = {node_of(name): at for name, at in zip(nodes.senders, nodes.written.tolist(), strict=True)}
    stage["logits"] = 2 * graph.layers
    used = {name for row in rows for name in (row["source"], row["node"])} | {"logits"}
    layers = {name: at for name, at in stage.items() if name in used}
    drawn = [(row["source"], row["node"], row["score"], row["edge"]) for row in rows]
    of = len(circuit) if isinstance(circuit, Circuit) else graph.size
    kept = f"{len(rows):,} of {of:,} edges."
    return layered_graph(layers, drawn, top=top, title=title or "Circuit", caption=kept)


def _matrix(circuit: Circuit | EdgeScores, rows: list[dict[str, Any]], title: str) -> "Figure":
    from ..viz import HeatmapSettings, heatmap

    graph = circuit.graph
    values = circuit._one().mask if isinstance(circuit, Circuit) else circuit.values
    total = np.asarray(values, np.float64).reshape(len(graph.pairs), -1).sum(1)
    numbers = table(graph).T
    cells = np.where(numbers < 0, np.nan, total[numbers])
    ends = [{row[end] for row in rows} for end in ("sender", "receiver")]
    if not rows:
        ends = [set(graph.senders[:1]), {"logits"}]
    senders, receivers = (
        [name in end for name in names]
        for names, end in zip((graph.senders, graph.receivers), ends, strict=True)
    )
    note = f"The ends of the {len(rows):,} strongest of {graph.size:,} edges. Grey: no edge."
    return heatmap(
        cells[senders][:, receivers],
        rows=[name for name, used in zip(graph.senders, senders, strict=True) if used],
        cols=[name for name, used in zip(graph.receivers, receivers, strict=True) if used],
        axis_names=("sender", "receiver"),
        value="kept" if isinstance(circuit, Circuit) else "score",
        title=title or "Edges",
        settings=HeatmapSettings(caption=note),
    )


def export(path: PathLike, circuit: Circuit | EdgeScores) -> Path:
    """$C \\mapsto$ a file: JSON, GraphML (networkx and Gephi read it) or Graphviz dot, by the name's ending.

    **Arguments:**

    - `path`: a name that ends in `.json`, `.graphml` or `.dot`.
    - `circuit`: one circuit, or scores of edges. An edge in the file has a `sender`, a `receiver`, the embedding,
      head or MLP that writes (`source`) and the one that reads (`node`), a `score` (1 in a circuit) and, where the
      graph has positions, `pos`.

    **Returns:** the path. The file is written whole or not at all.

    **Raises:** ValueError for another ending.

    ```python
    ji.circuits.export("circuit.graphml", circuit)
    ```

    Law: the edges in the file are those of the circuit.
    """
    place, rows = Path(path), _edges(circuit)
    kind = place.suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"A circuit is written as {', '.join(KINDS)}; got the name {shown(place.name)}.")
    text = {".json": _json, ".graphml": _graphml, ".dot": _dot}[kind](rows, circuit.graph)
    _disk.write_whole(place, text.encode())
    return place


def _edges(circuit: Circuit | EdgeScores) -> list[dict[str, Any]]:
    if not isinstance(circuit, Circuit):
        check_scores(circuit)
    graph = circuit.graph
    if isinstance(circuit, Circuit):
        places = np.flatnonzero(circuit._one().kept)
        values = np.ones(graph.size)
    else:
        values = np.asarray(circuit.values, np.float64)
        places = np.arange(graph.size)
    fed = feeds(graph)
    pos = graph.pos or 1
    rows = []
    for place in places.tolist():
        sender, receiver = graph.pairs[place // pos].tolist()
        owners = np.flatnonzero(fed[receiver])
        row = {
            "edge": graph.edges[place],
            "sender": graph.senders[sender],
            "receiver": graph.receivers[receiver],
            # Shared keys and values are drawn into the first head that has them.
            "node": node_of(graph.senders[owners[0]]) if owners.size else "logits",
            "source": node_of(graph.senders[sender]),
            "score": float(values[place]),
        }
        rows.append(row | ({"pos": place % pos} if graph.pos else {}))
    return rows


def _json(rows: list[dict[str, Any]], graph: Any) -> str:
    return json.dumps(
        {"format": "jaxinterp circuit", "graph": dataclasses.asdict(graph), "edges": rows}, indent=1
    )


def _graphml(rows: list[dict[str, Any]], graph: Any) -> str:
    root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    kinds = {"sender": "string", "receiver": "string", "score": "double"} | (
        {"pos": "int"} if graph.pos else {}
    )
    for name, kind in kinds.items():
        ElementTree.SubElement(root, "key", {"id": name, "for": "edge", "attr.name": name, "attr.type": kind})
    body = ElementTree.SubElement(root, "graph", edgedefault="directed")
    for name in dict.fromkeys(name for row in rows for name in (row["source"], row["node"])):
        ElementTree.SubElement(body, "node", id=name)
    for row in rows:
        ends = {"id": row["edge"], "source": row["source"], "target": row["node"]}
        edge = ElementTree.SubElement(body, "edge", ends)
        for name in kinds:
            ElementTree.SubElement(edge, "data", key=name).text = str(row[name])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _dot(rows: list[dict[str, Any]], graph: Any) -> str:
    quoted = lambda text: '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
    lines = [
        f"  {quoted(row['source'])} -> {quoted(row['node'])} [label={quoted(row['edge'])}, weight={abs(row['score']):.6g}];"
        for row in rows
    ]
    return "\n".join(["digraph circuit {", "  rankdir=BT;", *lines, "}"]) + "\n"
