"""Indirect object identification by hand: three heads in a row, and a backup that waits."""

import dataclasses

import numpy as np
from jaxtyping import Int

from .._arguments import as_bool, as_int, as_number
from .._random import host_generator
from ..models import GPT2
from ..typing import BoolLike, FloatLike, IntLike, KeyLike
from ._hand import HandWeights

WORDS = ("BOS", "and", "went", "gave", "to")
NAMES = ("Ann", "Bob", "Cid", "Dan", "Eva", "Fay", "Gus", "Hal", "Ida", "Jim", "Kay", "Leo")
TEMPLATE = ("BOS", "first", "and", "second", "went", "S2", "gave", "to")
EDGES = (
    "embed->0.0.q",
    "pos_embed->0.0.q",
    "embed->0.0.k",
    "pos_embed->0.0.k",
    "embed->0.0.v",
    "embed->1.0.q",
    "0.0->1.0.k",
    "0.0->1.0.v",
    "embed->2.0.q",
    "1.0->2.0.q",
    "embed->2.0.k",
    "embed->2.0.v",
    "2.0->logits",
)
SAME = ("pos_embed->0.0.q", "pos_embed->0.0.k", "embed->1.0.q", "embed->2.0.q")
"What their senders write is the same in the corrupt prompts: positions, and the last word."
BACKUP = ("embed->3.0.q", "1.0->3.0.q", "2.0->3.0.q", "embed->3.0.k", "embed->3.0.v", "3.0->logits")


@dataclasses.dataclass(frozen=True, eq=False)
class IOIPrompts:
    """Prompts of the form "BOS A and B went A gave to" with their answers; made by `PlantedIOI.prompts`.

    ```python
    prompts = ji.toy.planted_ioi().prompts(8, key=jax.random.key(0))
    prompts.clean[0], prompts.correct[0]                # token ids, and the answer
    ```
    """

    clean: Int[np.ndarray, "n 8"]
    corrupt: Int[np.ndarray, "n 8"]
    "The same prompts with three other names, all different: no name is said twice."
    correct: Int[np.ndarray, " n"]
    "The name that is said once."
    wrong: Int[np.ndarray, " n"]
    "The name that is said twice."


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedIOI:
    """A model of indirect object identification, with its heads and edges; made by `planted_ioi`.

    ```python
    planted = ji.toy.planted_ioi()
    planted.duplicate, planted.inhibition, planted.mover    # (0, 0), (1, 0), (2, 0)
    planted.tokens[:3]
    ```
    """

    model: GPT2
    tokens: tuple[str, ...]
    "The word of each token id."
    residual: tuple[str, ...]
    "Names of the coordinates of the residual stream."
    logit_diff: float
    "The logit of the right name minus that of the wrong one, on every prompt."
    backup: tuple[int, int] | None
    "The (layer, head) of the backup name mover, where there is one."
    backup_edges: tuple[str, ...]
    "Edges of the backup: with `edges` they make a circuit that survives without the name mover."
    edges: tuple[str, ...] = EDGES
    "The circuit, in the names of `ji.circuits.graph(model, split_embed=True)`."
    patched_edges: tuple[str, ...] = tuple(edge for edge in EDGES if edge not in SAME)
    "The edges whose values differ in the corrupt prompts. A method with `ablate='patch'` can find only these."
    duplicate: tuple[int, int] = (0, 0)
    "The (layer, head) that attends to an earlier copy of the same token, and writes which token it is."
    inhibition: tuple[int, int] = (1, 0)
    "The (layer, head) that moves this to the last position."
    mover: tuple[int, int] = (2, 0)
    "The (layer, head) that attends to all names except the repeated one, and copies them to the logits."

    def prompts(self, n: IntLike, *, key: KeyLike) -> IOIPrompts:
        """`n` prompts of both orders (ABB, BAB), with a `jax.random.key`."""
        rng = host_generator(key)
        many = as_int(n, "n, the number of prompts,", 1)
        places = {token: i for i, token in enumerate(self.tokens)}
        names = np.arange(len(WORDS), len(self.tokens))
        drawn = np.stack([rng.permutation(names)[:5] for _ in range(many)])
        io, s, *others = drawn.T
        first = rng.integers(2, size=many) == 0
        roles: tuple[dict[str, np.ndarray], ...] = (
            {"first": np.where(first, io, s), "second": np.where(first, s, io), "S2": s},
            dict(zip(("first", "second", "S2"), others, strict=True)),
        )
        clean, corrupt = (
            np.stack([role.get(word, np.full(many, places.get(word, 0))) for word in TEMPLATE], 1)
            for role in roles
        )
        return IOIPrompts(*(each.astype(np.int32) for each in (clean, corrupt, io, s)))


def planted_ioi(
    *,
    names: IntLike = 8,
    heads: IntLike = 1,
    beta: FloatLike = 20.0,
    logit_diff: FloatLike = 10.0,
    backup: BoolLike = False,
) -> PlantedIOI:
    r"""$\text{logit}(IO) - \text{logit}(S) = \delta$: a circuit of three heads that answers with the name that is said once.

    A causal model of attention only, without norms or biases. Head 0.0 attends from the second "A" to the first and
    writes that A is said twice. Head 1.0 attends from "to" to the second "A", and moves this information to "to".
    Head 2.0 attends from "to" to all names except A, and copies them to the logits. The circuit is that of Wang et
    al. 2022 (https://arxiv.org/abs/2211.00593) with one head of each class.

    **Arguments:**

    - `names`: how many names there are, from 5 to 12; 8 by default.
    - `heads`: how many heads each layer has; 1 by default. All heads but the first have zero weights.
    - `beta`: the score of a match; 20 by default.
    - `logit_diff`: $\delta$; 10 by default.
    - `backup`: whether there is a fourth layer with the backup head 3.0; False by default. Where head 2.0 writes
      nothing, head 3.0 does the same work. Where head 2.0 writes, head 3.0 reads this and attends to BOS.

    **Returns:** a `PlantedIOI`: the model, its edges and `prompts(n, key=key)`, clean and corrupt.

    ```python
    planted = ji.toy.planted_ioi()
    prompts = planted.prompts(8, key=jax.random.key(0))
    metric = ji.metrics.logit_diff(prompts.correct, prompts.wrong)
    ji.metrics.measure(planted.model, prompts.clean, metric)     # 10 for each
    ```

    Laws: the logit difference is `logit_diff` to 1e-4 on every clean prompt, and 0 on every corrupt one. With
    all edges but `edges` cut to zero it stays so; with one of these cut too it changes. With a backup, cutting
    the whole output of head 2.0 changes nothing.
    """
    count, width = as_int(names, "names", 5), as_int(heads, "heads", 1)
    if count > len(NAMES):
        raise ValueError(f"names is at most {len(NAMES)}; got {count}.")
    match = as_number(beta, "beta", 10, 40)
    delta = as_number(logit_diff, "logit_diff", 1e-3, 1e3)
    more = as_bool(backup, "backup")
    tokens = (*WORDS, *NAMES[:count])
    ctx = 2 * len(TEMPLATE)  # room for padding
    blocks = {"token": tokens, "position": range(ctx)}
    blocks |= dict.fromkeys(("twice", "inhibited", "answer"), NAMES[:count])
    w = HandWeights(
        blocks,
        vocab=len(tokens),
        ctx=ctx,
        layers=3 + more,
        heads=width,
        k=count + ctx,
        out=len(tokens),
    )
    w.embed[np.arange(len(tokens)), w["token"]] = 1
    w.pos[np.arange(ctx), w["position"]] = 1
    bos, to, name = w["token"][0], w["token"][len(WORDS) - 1], w["token"][len(WORDS) :]
    spot, own = np.arange(count), count + np.arange(ctx)

    # 0.0: the same name at another position. Its own position is out, and BOS stands in for no match.
    w.q[0, 0, name, spot] = match
    w.k[0, 0, name, spot] = 1
    w.q[0, 0, w["position"], own] = -2 * match
    w.k[0, 0, w["position"], own] = 1
    w.k[0, 0, bos, spot] = 0.5
    w.v[0, 0, name, spot] = w.o[0, 0, spot, w["twice"]] = 1

    # 1.0: from "to" to wherever a name is written as said twice.
    w.q[1, 0, to, 0] = match
    w.k[1, 0, w["twice"], 0] = 1
    w.v[1, 0, w["twice"], spot] = w.o[1, 0, spot, w["inhibited"]] = 1

    # 2.0: from "to" to names, less those that are inhibited. 3.0 alike, and to BOS where 2.0 answered.
    for layer in range(2, 3 + more):
        w.q[layer, 0, to, spot] = match
        w.q[layer, 0, w["inhibited"], spot] = -match
        w.k[layer, 0, name, spot] = 1
        w.v[layer, 0, name, spot] = w.o[layer, 0, spot, w["answer"]] = 1
    if more:
        w.q[3, 0, w["answer"], -1] = 3 * match
        w.k[3, 0, bos, -1] = 1
    w.unembed[w["answer"], len(WORDS) + spot] = delta
    return PlantedIOI(w.model(), tokens, w.residual, delta, (3, 0) if more else None, BACKUP if more else ())
