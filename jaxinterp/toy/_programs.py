"""Two RASP programs as weights: which coordinates each part reads and writes, as tracr compiles them.

Lindner et al. 2023 (https://arxiv.org/abs/2301.05062). Nothing has a bias. Constants come from the coordinate
`one`, which every token embedding writes.
"""

import itertools

import numpy as np

from ._hand import HandWeights

SELECT = 100.0
"The score of a key that is selected. Other keys get exp(-100) of its weight, which is nothing in float32."
SLOPE = 100.0
"How steep a step over the share of BOS is."

X_PROPORTION = (
    "embed->mlp0",
    "embed->1.0.q",
    "pos_embed->1.0.q",
    "embed->1.0.k",
    "pos_embed->1.0.k",
    "mlp0->1.0.v",
    "1.0->logits",
)
REVERSE = (
    "embed->0.0.v",
    "embed->mlp0",
    "0.0->mlp0",
    "embed->mlp1",
    "pos_embed->mlp1",
    "mlp0->mlp1",
    "mlp1->mlp2",
    "mlp2->3.0.q",
    "pos_embed->3.0.k",
    "embed->3.0.v",
    "3.0->logits",
)


def x_proportion(tokens: tuple[str, ...], length: int) -> HandWeights:
    """The share of x among the symbols up to each position. The first of `tokens` is BOS."""
    index = range(length)
    blocks = {"token": tokens, "one": (), "index": index, "is_x": (), "proportion": ()}
    sizes = {"vocab": len(tokens), "ctx": length + 1, "layers": 2, "k": length + 1, "ff": 1, "out": 1}
    w = _embedded(HandWeights(blocks, **sizes), length)
    # MLP 0 copies whether a token is x.
    w.reads[0, w["token"][tokens.index("x")], 0] = 1
    w.writes[0, 0, w["is_x"]] = 1
    # Head 1.0 averages this over the positions up to its own.
    for at in index:
        w.q[1, 0, w["index"][at], : at + 1] = SELECT
        w.k[1, 0, w["index"][at], at] = 1
    _default_is_bos(w, 1)
    w.v[1, 0, w["is_x"], 0] = 1
    w.o[1, 0, 0, w["proportion"]] = 1
    w.unembed[w["proportion"], 0] = 1
    return w


def reverse(tokens: tuple[str, ...], length: int) -> HandWeights:
    """The symbols in reverse order: position i reads position n - 1 - i of n. The first of `tokens` is BOS."""
    symbols, index, lengths = tokens[1:], np.arange(length), np.arange(length + 1)
    blocks = {
        "token": tokens,
        "one": (),
        "index": index,
        "bos_share": (),
        "length": lengths,
        "length-index": range(1 - length, length + 1),
        "length-index-1": range(-length, length),
        "reverse": symbols,
    }
    neurons = max(2 * length + 2, length * (length + 1))
    width = max(length, len(symbols)) + 1
    sizes = {"vocab": len(tokens), "ctx": length + 1, "layers": 4, "k": width, "ff": neurons}
    w = _embedded(HandWeights(blocks, out=len(symbols), **sizes), length)
    token, one = w["token"], w["one"]
    # Head 0.0 attends evenly to all tokens, and so writes the share of BOS: 1 / (n + 1).
    for at in range(len(tokens)):
        w.q[0, 0, token[1:] if at else one, at] = SELECT
        w.k[0, 0, token[at], at] = 1
    w.v[0, 0, token[0], 0] = 1
    w.o[0, 0, 0, w["bos_share"]] = 1
    # MLP 0: the length is at most n where the share is above a threshold; each step is two neurons.
    for n in range(length):
        threshold = (1 / (n + 1) + 1 / (n + 2)) / 2
        for part in (0, 1):
            neuron, sign = 2 * n + part, 1 - 2 * part
            w.reads[0, w["bos_share"], neuron] = SLOPE
            w.reads[0, one, neuron] = -SLOPE * threshold - part
            w.writes[0, neuron, w["length"][n]] = sign
            w.writes[0, neuron, w["length"][n + 1]] = -sign
    always, bos = 2 * length, 2 * length + 1
    w.reads[0, one, always] = w.writes[0, always, w["length"][length]] = 1
    # BOS itself has no length; it attends to itself alone, so that its share is 1.
    w.reads[0, token[0], bos] = 1
    w.writes[0, bos, w["length"][0]] = w.writes[0, bos, w["bos_share"]] = -1
    # MLP 1 subtracts the index from the length: a neuron for every pair of them. MLP 2 subtracts 1.
    for neuron, (i, n) in enumerate(itertools.product(index, lengths)):
        w.reads[1, [w["index"][i], w["length"][n]], neuron] = 1
        w.reads[1, one, neuron] = -1
        w.writes[1, neuron, w["length-index"][n - i + length - 1]] = 1
    neuron = np.arange(2 * length)
    w.reads[2, w["length-index"], neuron] = w.writes[2, neuron, w["length-index-1"]] = 1
    # Head 3.0 attends to the index that was computed, and copies its symbol.
    w.q[3, 0, w["length-index-1"][length:], index] = SELECT
    w.k[3, 0, w["index"], index] = 1
    _default_is_bos(w, 3)
    symbol = np.arange(len(symbols))
    w.v[3, 0, token[1:], symbol] = w.o[3, 0, symbol, w["reverse"]] = w.unembed[w["reverse"], symbol] = 1
    return w


def _embedded(w: HandWeights, length: int) -> HandWeights:
    """Tokens and positions as one-hot vectors; BOS stands before index 0, and has none."""
    w.embed[np.arange(len(w.embed)), w["token"]] = 1
    w.embed[:, w["one"]] = 1
    w.pos[1 + np.arange(length), w["index"]] = 1
    return w


def _default_is_bos(w: HandWeights, layer: int) -> None:
    """A query that selects nothing attends to BOS."""
    w.q[layer, 0, w["one"], -1] = SELECT / 2
    w.k[layer, 0, w["token"][0], -1] = 1
