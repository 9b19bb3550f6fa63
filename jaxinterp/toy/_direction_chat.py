"""A chat model by hand that refuses along one direction, known exactly, at one layer and position."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int
from .._random import host_generator
from ..models import GPT2
from ..typing import IntLike, KeyLike
from ._hand import HandWeights

TEMPLATE = 3
"Tokens behind an instruction."
WORDS = 5
"Pairs of a harmful word and its harmless twin, and as many neutral words."
LAYERS, WRITES = 5, 1
"Blocks, and the one whose attention writes the direction."
GAIN, SLOPE, LEVEL = 12.0, 12.0, 0.5
"The direction's coordinate is GAIN over the length; the logit of a refusal is SLOPE (coordinate - LEVEL)."


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedDirection:
    """A model that refuses, its prompts, and the ground truth about it; made by `planted_direction_chat`.

    - `direction (d,)`: a vector of length 1. Only the logit of the token `refusal` reads the stream along it.
    - `position`, `layer`: where the difference of means is this direction: at the last token of the template, before
      block `layer`. At other positions and in later layers the difference is mixed with another direction. In earlier
      layers it is zero.
    - `harmful`, `harmless`: pairs of tokens `(n, pos)` and their mask. Rows i of the two differ in one word. The
      model represents the two words alike, except for harm.
    - `refusal`: the token that a refusal begins with.
    - `template`: the tokens that follow an instruction.

    ```python
    planted = ji.toy.planted_direction_chat(key=jax.random.key(0), n=8)
    planted.layer, planted.position                     # 2, -1
    tokens, mask = planted.harmful
    ```
    """

    model: GPT2
    direction: np.ndarray
    position: int
    layer: int
    harmful: tuple[np.ndarray, np.ndarray]
    harmless: tuple[np.ndarray, np.ndarray]
    refusal: int
    template: tuple[int, ...]


def planted_direction_chat(*, key: KeyLike, n: IntLike = 40, d: IntLike = 32) -> PlantedDirection:
    r"""$x = b + s\, r^*,\; \text{logit}_\text{refuse} = a\,(x \cdot r^*) - c$: a random model that refuses along one direction.

    Attention of block 1 moves harm from the words of an instruction to the positions behind it, as a multiple of
    $r^*$. An MLP adds a second direction to it: in the next block at the last position, in the same block at the
    others. So only one layer and position hold $r^*$ alone. Everything else is random, lies in the rest of the
    stream, and stands in a random basis. Use it to test the method of Arditi et al. 2024
    (https://arxiv.org/abs/2406.11717).

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: prompts of each kind; 40 by default.
    - `d`: the width, 16 at least; 32 by default.

    **Returns:** `PlantedDirection`.

    ```python
    planted = ji.toy.planted_direction_chat(key=jax.random.key(0))
    score = ji.metrics.log_odds(planted.refusal)
    found = ji.steering.select_direction(planted.model, planted.harmful, planted.harmless, score, positions=range(-3, 0))
    found.layer, found.position                              # 2, -1
    ```

    Laws: harmful prompts have a score above 0 and harmless ones below. Where the direction is ablated, harmful prompts
    have a score below 0; where it is added, harmless prompts have a score above 0.
    """
    n, d = as_int(n, "n", 2), as_int(d, "d", 16)
    rng = host_generator(key, "ji.toy.planted_direction_chat(key={})")
    harmful, harmless, neutral = (1 + WORDS * i + np.arange(WORDS) for i in range(3))
    template = 1 + 3 * WORDS + np.arange(TEMPLATE)
    refusal, comply = int(template[-1]) + 1, int(template[-1]) + 2
    vocab, known = comply + 1, 4 + TEMPLATE
    ff = 8 + TEMPLATE
    blocks = {
        "harm": (),
        "refuse": (),
        "other": (),
        "one": (),
        "flag": range(TEMPLATE),
        "rest": range(d - known),
    }
    draft = HandWeights(blocks, vocab=vocab, ctx=16, layers=LAYERS, k=4, out=vocab, heads=2, ff=ff)
    rest = draft["rest"]
    draft.embed[:, rest] = rng.normal(size=(vocab, len(rest)))
    draft.embed[harmless[:, None], rest] = draft.embed[harmful[:, None], rest]
    draft.embed[:, draft["one"]] = 1
    draft.embed[harmful, draft["harm"]] = 1
    draft.embed[template, draft["flag"]] = 1
    draft.pos[:, rest] = 0.3 * rng.normal(size=(16, len(rest)))

    small = 1 / np.sqrt(len(rest))
    for matrix in (draft.q, draft.k, draft.v):
        matrix[:, 0, rest] = small * rng.normal(size=(LAYERS, len(rest), 4))
    draft.o[:, 0, :, rest] = 0.3 * rng.normal(size=(len(rest), LAYERS, 4))
    draft.reads[:, rest, :8] = small * rng.normal(size=(LAYERS, len(rest), 8))
    draft.writes[:, :8, rest] = 0.3 * rng.normal(size=(LAYERS, 8, len(rest)))
    # Head 1 attends evenly: the mean of harm, times GAIN, along the direction.
    draft.v[WRITES, 1, draft["harm"], 0] = GAIN
    draft.o[WRITES, 1, 0, draft["refuse"]] = 1
    for i, flag in enumerate(draft["flag"]):
        layer, neuron, off = WRITES + (i == TEMPLATE - 1), 8 + i, 2 * GAIN
        draft.reads[layer, draft["refuse"], neuron] = 1
        draft.reads[layer, flag, neuron], draft.reads[layer, draft["one"], neuron] = off, -off
        draft.writes[layer, neuron, draft["other"]] = 2
    draft.unembed[rest] = 0.3 * small * rng.normal(size=(len(rest), vocab))
    draft.unembed[rest, refusal] = 0
    draft.unembed[draft["refuse"], refusal] = SLOPE
    draft.unembed[draft["one"], refusal] = -SLOPE * LEVEL
    draft.unembed[draft["one"], comply] = 3

    turn = np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
    model = _turned(draft.model(), turn)
    prompts = _prompts(rng, n, neutral, template)
    pairs = []
    for words in (harmful, harmless):
        tokens = np.where(prompts[0] < 0, words[np.maximum(-1 - prompts[0], 0)], prompts[0]).astype(np.int32)
        pairs.append((tokens, prompts[1]))
    axis = turn[draft["refuse"][0]]
    return PlantedDirection(
        model, axis, -1, WRITES + 1, pairs[0], pairs[1], refusal, tuple(int(t) for t in template)
    )


def _prompts(
    rng: np.random.Generator, n: int, neutral: np.ndarray, template: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts padded right, with -1 - i in place of the i-th word that differs; and their mask."""
    longest = 1 + 8 + TEMPLATE
    tokens, mask = np.zeros((n, longest), np.int64), np.zeros((n, longest), bool)
    for row in range(n):
        count = int(rng.integers(3, 9))
        words = rng.choice(neutral, count)
        words[rng.integers(count)] = -1 - rng.integers(WORDS)
        text = np.concatenate([[0], words, template])
        tokens[row, : len(text)], mask[row, : len(text)] = text, True
    return tokens, mask


def _turned(model: GPT2, turn: np.ndarray) -> GPT2:
    """The same model with its stream in another basis: $x \\mapsto x R$."""
    out = lambda w: jnp.asarray(np.asarray(w) @ turn)
    into = lambda w: jnp.asarray(np.einsum("ij,...ik->...jk", turn, np.asarray(w)))
    attn, mlp = model.blocks.attn, model.blocks.mlp
    assert mlp is not None and model.w_unembed is not None
    where = lambda m: [
        *(m.w_embed, m.w_pos, m.blocks.attn.w_o, m.blocks.mlp.w_out),
        *(m.blocks.attn.w_q, m.blocks.attn.w_k, m.blocks.attn.w_v, m.blocks.mlp.w_in, m.w_unembed),
    ]
    new = [*map(out, (model.w_embed, model.w_pos, attn.w_o, mlp.w_out))]
    new += [*map(into, (attn.w_q, attn.w_k, attn.w_v, mlp.w_in, model.w_unembed))]
    return eqx.tree_at(where, model, new)
