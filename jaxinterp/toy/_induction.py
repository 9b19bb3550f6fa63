"""An induction circuit by hand: a previous-token head, and a head that reads what it wrote."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ..models import GPT2, GPT2Config
from ..nn import Attention, Block


@dataclasses.dataclass(frozen=True)
class Planted:
    """A model that does induction, with its heads and edges; made by `planted_induction`.

    ```python
    planted = ji.toy.planted_induction()
    planted.previous, planted.induction                 # (0, 0), (1, 0)
    ```
    """

    model: GPT2
    previous: tuple[int, int] = (0, 0)
    "The (layer, head) that copies each token to the position behind it."
    induction: tuple[int, int] = (1, 0)
    "The (layer, head) that attends to the token behind an earlier copy of the present token, and copies it."
    edges: tuple[str, ...] = (
        "pos_embed->0.0.q",
        "pos_embed->0.0.k",
        "embed->0.0.v",
        "embed->1.0.q",
        "pos_embed->1.0.k",
        "0.0->1.0.k",
        "embed->1.0.v",
        "1.0->logits",
    )
    "All edges that carry anything, in the names of `ji.circuits.graph(model, split_embed=True)`."


def planted_induction(*, vocab: int = 20, ctx: int = 32, heads: int = 1, beta: float = 20.0) -> Planted:
    r"""$r = (\mathbb 1_{x_t}, \mathbb 1_t, \text{prev}, \text{out})$: two attention layers that do induction exactly.

    Attention only, without norms or biases; the residual stream is four blocks of coordinates: the
    token, the position, the output of the previous-token head, and the output of the model, which alone is
    unembedded. Head 0.0 attends from $t$ to $t-1$ and copies the token into `prev`. Head 1.0
    attends from a token to where `prev` is that token, and copies the token there into `out`.
    Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework/index.html).

    **Arguments:**

    - `vocab`, `ctx`: the sizes of the vocabulary and of the context; 20 and 32 by default.
    - `heads`: how many heads each layer has; 1 by default. All heads but the first have zero weights: they attend
      evenly and write nothing.
    - `beta`: the score of a match, and the logit of a token that has all the attention; 20 by default.

    **Returns:** a `Planted`: the model, its two heads and its edges.

    ```python
    planted = ji.toy.planted_induction()
    ji.heads.induction_scores(planted.model, key=jax.random.key(0))[planted.induction]
    ```

    Laws: on a block of different tokens that is repeated once, both heads attend to their targets with more
    than 0.99, and the loss of the second copy is below 0.01.
    """
    if vocab < 2 or ctx < 4 or heads < 1:
        raise ValueError(
            "A planted circuit has vocab >= 2, ctx >= 4 and heads >= 1; got "
            f"vocab={vocab}, ctx={ctx}, heads={heads}."
        )
    d, k = 3 * vocab + ctx, max(vocab, ctx)
    token, prev, out = (start + np.arange(vocab) for start in (0, vocab + ctx, 2 * vocab + ctx))
    place = vocab + np.arange(ctx)
    word, spot = np.arange(vocab), np.arange(ctx)
    shape = (2, heads, d, k)
    w_q, w_k, w_v = (np.zeros(shape, np.float32) for _ in range(3))
    w_o = np.zeros((2, heads, k, d), np.float32)

    w_q[0, 0, place[1:], spot[:-1]] = beta
    w_k[0, 0, place, spot] = 1
    w_v[0, 0, token, word] = 1
    w_o[0, 0, word, prev] = 1

    w_q[1, 0, token, word] = beta
    w_k[1, 0, prev, word] = 1
    # The first position can only attend to itself, so its `prev` is no previous token: hide it.
    w_k[1, 0, place[0], :vocab] = -1
    w_v[1, 0, token, word] = 1
    w_o[1, 0, word, out] = 1

    w_embed = np.zeros((vocab, d), np.float32)
    w_pos, w_unembed = np.zeros((ctx, d), np.float32), np.zeros((d, vocab), np.float32)
    w_embed[word, token] = 1
    w_pos[spot, place] = 1
    w_unembed[out, word] = beta
    config = GPT2Config(
        vocab=vocab,
        ctx=ctx,
        d=d,
        layers=2,
        heads=heads,
        k=k,
        ff=0,
        norm=False,
        tied=False,
        scale_scores=False,
    )
    attn = Attention(
        w_q=jnp.asarray(w_q),
        w_k=jnp.asarray(w_k),
        w_v=jnp.asarray(w_v),
        w_o=jnp.asarray(w_o),
        b_q=None,
        b_k=None,
        b_v=None,
        b_o=None,
        scale=1.0,
    )
    model = GPT2(
        w_embed=jnp.asarray(w_embed),
        w_pos=jnp.asarray(w_pos),
        blocks=Block(ln1=None, attn=attn, ln2=None, mlp=None),
        ln_final=None,
        w_unembed=jnp.asarray(w_unembed),
        b_unembed=None,
        config=config,
    )
    return Planted(model)
