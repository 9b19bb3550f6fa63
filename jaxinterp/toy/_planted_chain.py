"""Two hops by hand, twice: two heads write the same answer, one from the question and one from what is written so far."""

import dataclasses

import numpy as np

from .._arguments import as_int, as_number
from .._random import host_generator
from ..models import GPT2
from ..tasks import Pairs
from ..typing import FloatLike, IntLike, KeyLike
from ._hand import HandWeights

MARKS = ("BOS", ";", ":")
NAMES = "abcdefghijkl"
TEMPLATE = (
    "BOS",
    "A",
    "B",
    ";",
    "B",
    "C",
    ";",
    "D",
    "E",
    ";",
    "E",
    "F",
    ";",
    ":",
    "A",
    "B",
    ";",
    "B",
    "C",
    ";",
    "A",
)
QUESTION = TEMPLATE.index(":")
"The last position of the question; what stands behind it is the answer so far."


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedChain:
    """A model that reasons in two hops, and its heads; made by `planted_chain`.

    ```python
    planted = ji.toy.planted_chain()
    planted.bridges, planted.writers                    # ((1, 0), (1, 1)), ((2, 0), (2, 1))
    planted.prompts(2, key=jax.random.key(0)).texts[0]
    ```
    """

    model: GPT2
    tokens: tuple[str, ...]
    "The word of each token id."
    residual: tuple[str, ...]
    "Names of the coordinates of the residual stream."
    logit: float
    "The number that each writer adds to the logit of the answer."
    previous: tuple[int, int] = (0, 0)
    "The (layer, head) that writes which token stands before."
    bridges: tuple[tuple[int, int], tuple[int, int]] = ((1, 0), (1, 1))
    "Heads that find B from A: in the question, and in the answer so far."
    writers: tuple[tuple[int, int], tuple[int, int]] = ((2, 0), (2, 1))
    "Heads that find C from B in the same two places, and write it."

    def prompts(self, n: IntLike, *, key: KeyLike) -> Pairs:
        """`n` pairs "BOS A B; B C; D E; E F; : A B; B C; A", whose answer is C; C and F change places in the corrupt ones."""
        rng, many = host_generator(key), as_int(n, "n, the number of prompts,", 1)
        names = np.stack([rng.permutation(len(self.tokens) - len(MARKS))[:6] for _ in range(many)]) + len(
            MARKS
        )
        clean = dict(zip("ABCDEF", names.T, strict=True))
        corrupt = {**clean, "C": clean["F"], "F": clean["C"]}
        marks = {mark: np.full(many, i) for i, mark in enumerate(MARKS)}
        one, other = (
            np.stack([(marks | words)[word] for word in TEMPLATE], 1).astype(np.int32)
            for words in (clean, corrupt)
        )
        text = lambda ids: [" ".join(self.tokens[i] for i in row) for row in ids]
        where = {
            "QUESTION": np.full(many, QUESTION, np.int32),
            "END": np.full(many, len(TEMPLATE) - 1, np.int32),
        }
        return Pairs(
            name="planted chain",
            clean=one,
            corrupt=other,
            correct=clean["C"].astype(np.int32),
            wrong=clean["F"].astype(np.int32),
            mask=np.ones(one.shape, bool),
            positions=where,
            texts=text(one),
            corrupt_texts=text(other),
            kinds=["planted chain"] * many,
            dropped=[],
            corruption="C and F change places",
        )


def planted_chain(*, names: IntLike = 8, beta: FloatLike = 20.0, logit: FloatLike = 3.0) -> PlantedChain:
    r"""$\text{logit}(C) = 2\delta$: two hops from A over B to C, done in parallel in two parts of a prompt.

    A causal model of attention only, without norms or biases. Head 0.0 writes which token stands before each token. At
    the last A, heads 1.0 and 1.1 attend to the token behind an earlier A and write that it is B: head 1.0 in the
    question, head 1.1 in the answer so far. Heads 2.0 and 2.1 attend to the token behind B in the same two parts, and
    write it as the answer. These are the parallel pathways of Dutta et al. 2024 (https://arxiv.org/abs/2402.18312) in
    their simplest form.

    **Arguments:**

    - `names`: how many names there are, from 6 to 12; 8 by default.
    - `beta`: the score of a match; 20 by default.
    - `logit`: $\delta$, the number that each writer adds to the logit; 3 by default.

    **Returns:** a `PlantedChain`: the model, its heads and `prompts(n, key=key)`.

    ```python
    planted = ji.toy.planted_chain()
    pairs = planted.prompts(8, key=jax.random.key(0))
    ji.chains.answer_writers(planted.model, pairs).heads()       # [[2, 0], [2, 1]]
    ```

    Laws: without one writer the logit of C is `logit`, without both it is 0; each writer reads its own part.
    """
    count = as_int(names, "names", 6)
    if count > len(NAMES):
        raise ValueError(f"names is at most {len(NAMES)}; got {count}.")
    match, delta = as_number(beta, "beta", 10, 40), as_number(logit, "logit", 1e-3, 1e3)
    tokens = (*MARKS, *NAMES[:count])
    ctx = 2 * len(TEMPLATE)  # room for padding
    blocks = {"token": tokens, "position": range(ctx)}
    blocks |= dict.fromkeys(("before", "found in question", "found in answer", "answer"), NAMES[:count])
    w = HandWeights(
        blocks, vocab=len(tokens), ctx=ctx, layers=3, heads=2, k=max(ctx, count + 1), out=len(tokens)
    )
    w.embed[np.arange(len(tokens)), w["token"]] = 1
    w.pos[np.arange(ctx), w["position"]] = 1
    name, spot = w["token"][len(MARKS) :], np.arange(count)

    # 0.0: the position before.
    w.q[0, 0, w["position"][1:], np.arange(1, ctx)] = match
    w.k[0, 0, w["position"][:-1], np.arange(1, ctx)] = 1
    w.v[0, 0, name, spot] = w.o[0, 0, spot, w["before"]] = 1

    # Layers 1 and 2: to the name behind the one that is looked for, in one part of the prompt, else to BOS.
    question = w["position"][1:QUESTION]
    answer = w["position"][QUESTION + 1 :]
    for head, (outside, found) in enumerate(((answer, "found in question"), (question, "found in answer"))):
        for layer, (seeks, writes) in enumerate(((name, w[found]), (w[found], w["answer"])), 1):
            w.q[layer, head, seeks, spot] = match
            w.k[layer, head, w["before"], spot] = 1
            w.q[layer, head, w["token"], count] = match
            w.k[layer, head, w["token"][0], count] = 0.5
            w.k[layer, head, w["token"][1 : len(MARKS)], count] = -2
            w.k[layer, head, outside, count] = -2
            w.v[layer, head, name, spot] = w.o[layer, head, spot, writes] = 1
    w.unembed[w["answer"], len(MARKS) + spot] = delta
    return PlantedChain(w.model(), tokens, w.residual, delta)
