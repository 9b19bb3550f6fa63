"""Circuits that were published, by name: which edges of a model they consist of."""

from collections.abc import Iterable, Iterator, Mapping

from .._arguments import check_choice
from ..typing import StrLike
from ._circuit import Circuit
from ._graph import Graph
from ._numbering import places_of

IOI = {
    "previous token": ("2.2", "4.11"),
    "duplicate token": ("0.1", "0.10", "3.0"),
    "induction": ("5.5", "5.8", "5.9", "6.9"),
    "s-inhibition": ("7.3", "7.9", "8.6", "8.10"),
    "name mover": ("9.9", "10.0", "9.6"),
    "negative name mover": ("10.7", "11.10"),
    "backup name mover": ("10.10", "10.6", "10.2", "10.1", "11.2", "9.7", "9.0", "11.9"),
}
MOVERS = ("name mover", "negative name mover", "backup name mover")
GREATER_THAN = {"early": ("0.1", "0.3", "0.5"), "middle": ("5.5", "6.1", "6.9", "7.10", "8.11", "9.1")}
DOCSTRING = {
    "previous token": ("0.5",),
    "arguments": ("1.2", "1.4"),
    "induction": ("2.0",),
    "mover": ("3.0", "3.6"),
}
INDUCTION = {"induction": ("1.5", "1.6")}
HEADS: dict[str, dict[str, tuple[str, ...]]] = {
    "ioi": IOI,
    "greater_than": GREATER_THAN,
    "docstring": DOCSTRING,
    "induction": INDUCTION,
}
SHAPES = {
    "ioi": ("GPT-2 small", 12, 12, True),
    "greater_than": ("GPT-2 small", 12, 12, True),
    "docstring": ("the attention-only model of 4 layers of 8 heads", 4, 8, False),
    "induction": ("the attention-only model of 2 layers of 8 heads", 2, 8, False),
}
"The model of each circuit: its name, layers, heads, and whether it has MLPs."

Pairs = Iterator[tuple[str, str]]


def known_heads(name: StrLike) -> Mapping[str, tuple[str, ...]]:
    """The heads of a published circuit, written `layer.head`, by their function in it. See `ji.circuits.known`.

    **Raises:** ValueError for another name.

    ```python
    ji.circuits.known_heads("ioi")["name mover"]             # ("9.9", "10.0", "9.6")
    ```
    """
    check_choice(name, "name", HEADS)
    return dict(HEADS[name])


def known(name: StrLike, graph: Graph) -> Circuit:
    r"""$C \subset E$: a published circuit as a mask over the edges of its model.

    | name | model | source |
    |---|---|---|
    | `"ioi"` | GPT-2 small | Wang et al. 2022 (https://arxiv.org/abs/2211.00593) |
    | `"greater_than"` | GPT-2 small | Hanna et al. 2023 (https://arxiv.org/abs/2305.00586) |
    | `"docstring"` | attention only, 4 layers of 8 heads | Heimersheim & Janiak 2023 |
    | `"induction"` | attention only, 2 layers of 8 heads | heads 1.5 and 1.6 of Conmy et al. 2023 |

    The edges are those with which Conmy et al. 2023 (https://arxiv.org/abs/2304.14997) compare methods. For
    `"induction"` only the heads are published. Its edges here are those of any induction head: from the embedding
    into its queries and values, and from the head to the logits. Edges into its keys are left out.

    **Arguments:**

    - `name`: a name of the table; `ji.tasks` has prompts under the same names.
    - `graph`: the graph of a model of that shape, with any options of `ji.circuits.graph`. With `split_embed` both
      embeddings are in the circuit. With `split_qkv=False` an edge into the queries, keys or values is an edge into
      the head. With `pos` the edges of all positions are in it.

    **Returns:** a `Circuit`.

    **Raises:** ValueError for another name, or for the graph of a model of another shape.

    ```python
    g = ji.circuits.graph(gpt2)                     # gpt2, _ = ji.load("gpt2"), or any model of that shape
    truth = ji.circuits.known("ioi", g)
    len(truth), g.size
    ```

    Law: `"docstring"` has 24 edges; with the edges from queries, keys and values into their heads, 37 of 1,377.
    """
    check_choice(name, "name", HEADS)
    what, layers, heads, has_mlp = SHAPES[name]
    given = (graph.layers, graph.heads, graph.kv_heads, graph.has_mlp, graph.parallel)
    if given != (layers, heads, heads, has_mlp, False):
        raise ValueError(
            f"The circuit {name!r} is known in {what}: {layers} layers of {heads} heads, "
            f"{'with MLPs that read the heads beside them' if has_mlp else 'no MLPs'}. This graph has "
            f"{graph.layers} layers of {graph.heads} heads, {graph.kv_heads} of keys and values, and "
            f"{'no' if not graph.has_mlp else 'parallel' if graph.parallel else 'sequential'} MLPs."
        )
    rules = {"ioi": _ioi, "greater_than": _greater_than, "docstring": _docstring, "induction": _induction}
    edges = []
    for sender, receiver in rules[name]():
        senders = graph.embeddings if sender == "embed" else (sender,)
        if not graph.split_qkv and receiver.count(".") == 2:
            receiver = receiver[:-2]
        edges += [f"{each}->{receiver}" for each in senders if places_of(graph, each, receiver).size]
    return graph.mask(edges)


def _ioi() -> Pairs:
    """Every MLP is kept, reads all kept parts before it, and is read by all after it, as part of the input."""
    mlps, heads = _mlps(0, 12), [head for heads in IOI.values() for head in heads]
    yield from _join(["embed", *mlps], [*mlps, "logits"])
    yield from _join(mlps, _inputs(heads))
    yield from _join(heads, mlps)
    for kind in ("previous token", "duplicate token"):
        yield from _join(["embed"], _inputs(IOI[kind]))
    yield from _join(["embed"], _inputs(IOI["s-inhibition"], "q"))
    yield from _join(IOI["previous token"], _inputs(IOI["induction"], "kv"))
    yield from _join(IOI["induction"] + IOI["duplicate token"], _inputs(IOI["s-inhibition"], "kv"))
    for kind in MOVERS:
        yield from _join(["embed"], _inputs(IOI[kind], "kv"))
        yield from _join(IOI["s-inhibition"], _inputs(IOI[kind], "q"))
        yield from _join(IOI[kind], ["logits"])


def _greater_than() -> Pairs:
    early, middle = GREATER_THAN["early"], GREATER_THAN["middle"]
    first, last = _mlps(0, 4), _mlps(8, 12)
    yield from _join(["embed"], [*_inputs(early), *first])
    yield from _join(["0.1"], first)
    yield from _join([*early, *first], _inputs(middle))
    # What the queries of middle heads read is not cut: all MLPs before them are in.
    yield from _join(_mlps(0, 9), [*_mlps(0, 9), *_inputs(middle, "q")])
    yield from _join(middle, [*last, "logits"])
    yield from _join(last, [*last, "logits"])


def _docstring() -> Pairs:
    token = ["embed", "0.5"]
    yield "embed", "0.5.v"
    yield from _join(token, [*_inputs(["1.2", "2.0"], "qk"), *_inputs(["1.4", *DOCSTRING["mover"]], "v")])
    yield "1.4", "2.0.v"
    yield from _join(["1.4"], _inputs(DOCSTRING["mover"], "q"))
    yield from _join(["1.2", "2.0"], _inputs(DOCSTRING["mover"], "k"))
    yield from _join(DOCSTRING["mover"], ["logits"])


def _induction() -> Pairs:
    yield from _join(["embed"], _inputs(INDUCTION["induction"], "qv"))
    yield from _join(INDUCTION["induction"], ["logits"])


def _join(senders: Iterable[str], receivers: Iterable[str]) -> Pairs:
    """All pairs; those that are no edge, because the receiver reads first, are left out later."""
    receivers = list(receivers)
    return ((sender, receiver) for sender in senders for receiver in receivers)


def _inputs(heads: Iterable[str], kinds: str = "qkv") -> list[str]:
    return [f"{head}.{kind}" for head in heads for kind in kinds]


def _mlps(start: int, end: int) -> list[str]:
    return [f"mlp{layer}" for layer in range(start, end)]
