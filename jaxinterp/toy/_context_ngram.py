"""A context neuron by hand: it gates n-gram neurons of the next layer, and another one writes to the logits itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models import GPT2
from ._hand import HandWeights

PLAIN, MARKER = 0, 1
"The first token of a row: of no context, and of the context."


@dataclass(frozen=True, eq=False)
class PlantedContext:
    """A model with a context neuron, and the ground truth about it; made by `planted_context_ngram`.

    - `context`: the (layer, neuron) that is 1 in the context. The n-gram neurons of the next layer read it.
    - `direct`: the (layer, neuron) that is 1 in the context, and writes the logit of `favourite` itself.
    - `ngrams`: triples (a, b, c): after the tokens a, b the context makes c likelier.
    - `boost`: the logit of c after a and b in the context, and that of `favourite` everywhere in it. Every other
      logit is 0.

    ```python
    planted = ji.toy.planted_context_ngram(boost=6.0)
    planted.context, planted.ngrams                     # (0, 0), and triples of tokens
    planted.loss(6, target=6)                           # nats where token 6 alone has the logit 6
    ```
    """

    model: GPT2
    ngrams: tuple[tuple[int, int, int], ...]
    favourite: int
    boost: float
    context: tuple[int, int] = (0, 0)
    direct: tuple[int, int] = (0, 1)
    idle: tuple[int, int] = (1, -1)
    "A neuron that nothing reads."

    def loss(self, *raised: int, target: int) -> float:
        """The loss of a target, in nats, where the `raised` tokens have the logit `boost` and all others 0."""
        vocab = self.model.config.vocab
        total = len(set(raised)) * np.exp(self.boost) + vocab - len(set(raised))
        return float(np.log(total) - self.boost * (target in raised))


def planted_context_ngram(
    *,
    vocab: int = 24,
    ctx: int = 32,
    ngrams: Sequence[tuple[int, int, int]] = ((4, 5, 6), (7, 8, 9)),
    boost: float | int = 6.0,
) -> PlantedContext:
    r"""$a = \mathrm{relu}\big(\mathbb 1_{x_{t-1} = A} + \mathbb 1_{x_t = B} + c - 2.5\big)$: n-gram neurons behind a context neuron.

    The circuit of Quirke et al. 2023 (https://arxiv.org/abs/2311.00863), second order: the context neuron c
    has no weight to the logits. Head 0.0 copies the token before, head 0.1 the first token of the row, which is
    1 in the context and 0 elsewhere.

    **Arguments:**

    - `vocab`, `ctx`: the sizes of the vocabulary and of the context; 24 and 32 by default.
    - `ngrams`: triples of different tokens from 3 on. Token 2 is the favourite of the direct neuron.
    - `boost`: the logit that a neuron adds; 6 by default.

    **Returns:** `PlantedContext`.

    **Raises:** ValueError for tokens outside of 3..vocab - 1, or two triples with the same first two tokens.

    ```python
    planted = ji.toy.planted_context_ngram()
    logits, _ = ji.run(planted.model, [1, 4, 5])         # context: after 4, 5 comes 6
    ```

    Law: in the context the logits after A, B are `boost` at C and at the favourite, and 0 elsewhere.
    """
    triples = tuple(tuple(int(x) for x in each) for each in ngrams)
    good = all(len(each) == 3 and all(3 <= x < vocab for x in each) for each in triples)
    if not triples or not good or len({each[:2] for each in triples}) < len(triples):
        raise ValueError(
            f"ngrams are triples of tokens in 3..{vocab - 1}, each with other first two tokens; got {ngrams}."
        )
    blocks = {
        "token": range(vocab),
        "place": range(ctx),
        "prev": range(vocab),
        "mark": (),
        "context": (),
        "out": range(vocab),
    }
    draft = HandWeights(
        blocks,
        vocab=vocab,
        ctx=ctx,
        layers=2,
        heads=2,
        k=max(vocab, ctx),
        ff=max(2, len(triples)) + 1,
        out=vocab,
    )
    word, spot = np.arange(vocab), np.arange(ctx)
    draft.embed[word, draft["token"]] = 1
    draft.pos[spot, draft["place"]] = 1
    draft.unembed[draft["out"], word] = 1
    # Head 0 attends to the token before, head 1 to the first one; the first position sees itself alone.
    draft.q[0, 0, draft["place"][1:], spot[:-1]] = draft.q[0, 1, draft["place"], 0] = 60
    draft.k[0, 0, draft["place"], spot] = draft.k[0, 1, draft["place"][0], 0] = 1
    draft.v[0, 0, draft["token"], word] = draft.v[0, 1, draft["token"][MARKER], 0] = 1
    draft.o[0, 0, word, draft["prev"]] = draft.o[0, 1, 0, draft["mark"]] = 1
    draft.reads[0, draft["mark"], :2] = 1
    draft.writes[0, 0, draft["context"]] = 1
    draft.writes[0, 1, draft["out"][2]] = boost
    for i, (a, b, c) in enumerate(triples):
        draft.reads[1, [draft["prev"][a], draft["token"][b], draft["context"][0]], i] = 1
        draft.reads[1, draft["place"], i] = -2.5
        draft.writes[1, i, draft["out"][c]] = 2 * boost
    return PlantedContext(draft.model(), triples, 2, float(boost))  # pyright: ignore[reportArgumentType]
