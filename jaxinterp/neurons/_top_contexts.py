"""The contexts in which neurons fire most, for any number of neurons in one pass."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import viz
from .._deprecations import respelled
from .._tabular import Record, Tabular, pieces
from ..corpus._batches import Batch
from ..typing import ClassesLike, IntLike, ModelLike, NeuronsLike, TokenizerLike
from ._address import as_neurons, name
from ._contexts import Contexts, as_contexts
from ._reading import fold_neurons


@dataclass(frozen=True, eq=False)
class TopContexts(Tabular):
    """The contexts in which each neuron is most active; made by `ji.neurons.top_contexts`.

    - `neurons (n, 2)`: the neurons.
    - `values (n, k)`: the largest activations in falling order, NaN where there were fewer than k.
    - `seq pos (n, k)`: the context and the position of each, -1 where there is none.
    - `tokens activations (n, k, window)`: the tokens and activations around it, -1 and NaN beyond the ends of a context;
      `before`: the place of the token itself in the window.
    - `classes (n, k)`: the class of each context, as a number in `names`.

    ```python
    found = ji.neurons.top_contexts(model, corpus, [(3, 336)], top=5)
    found.values, found.seq, found.share()
    ```
    """

    neurons: np.ndarray
    values: np.ndarray
    seq: np.ndarray
    pos: np.ndarray
    tokens: np.ndarray
    activations: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    before: int

    def share(self) -> np.ndarray:
        """`(class, n)`: of the top contexts of each neuron, how many are of each class."""
        there = self.seq >= 0
        hits = np.stack([((self.classes == c) & there).sum(1) for c in range(len(self.names))])
        return hits / np.maximum(there.sum(1), 1)

    def records(self, tokenizer: TokenizerLike | None = None, neuron: IntLike | None = None) -> list[Record]:
        """The contexts of one neuron (its number among `neurons`) or of all; ids without a tokenizer."""
        if neuron is None:
            return [row for i in range(len(self.neurons)) for row in self.records(tokenizer, i)]
        found = []
        for j in np.flatnonzero(self.seq[neuron] >= 0):
            there = self.tokens[neuron, j] >= 0
            found.append(
                {
                    "neuron": name(self.neurons[neuron]),
                    "activation": float(self.values[neuron, j]),
                    "class": self.names[self.classes[neuron, j]],
                    "seq": int(self.seq[neuron, j]),
                    "pos": int(self.pos[neuron, j]),
                    "token": pieces(tokenizer, self.tokens[neuron, j, [self.before]])[0],
                    "tokens": pieces(tokenizer, self.tokens[neuron, j][there]),
                    "activations": self.activations[neuron, j][there].tolist(),
                }
            )
        return found

    def figure(
        self,
        tokenizer: TokenizerLike | None = None,
        neuron: IntLike = 0,
        *,
        title: str = "",
        caption: str = "",
    ) -> viz.Figure:
        """The contexts of one neuron as HTML, tokens shaded by activation, text escaped.

        **Arguments:**

        - `tokenizer`: gives the strings of tokens; None (the default) for their ids.
        - `neuron`: its number among `neurons`; 0 by default.
        - `title`, `caption`: texts; by default the name of the neuron, and none.
        """
        rows = [
            (f"{viz.number(each['activation'])} {each['class']}", each["tokens"], each["activations"])
            for each in self.records(tokenizer, neuron)
        ]
        return viz.contexts(
            rows, title=title or f"Top contexts of neuron {name(self.neurons[neuron])}", caption=caption
        )


@respelled(batch="batch_size=", k="top=", bootstrap="resamples=")
def top_contexts(
    model: ModelLike,
    classes: ClassesLike,
    neurons: NeuronsLike | None = None,
    *,
    top: int = 20,
    window: int | tuple[int, int] = (12, 4),
    per: str = "context",
    site: str = "mlp_post",
    skip: int = 0,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> TopContexts:
    r"""$\operatorname{top}_k \{(a_j(t), t)\}$: the tokens at which each neuron is most active.

    The corpus is read once for all neurons: one compiled program merges the top k of each batch into the top k so far,
    together with the tokens and activations around them. Gurnee et al. 2023
    (https://arxiv.org/abs/2305.01610), section 5.

    **Arguments:**

    - `model`, `classes`, `neurons`, `site`, `batch_size`, `progress`: as in `distribution`. Tokens without
      classes are allowed. `neurons` is None by default: all neurons.
    - `top`: entries for each neuron; 20 by default.
    - `window`: tokens before and after an entry; (12, 4) by default.
    - `per`: "context" (by default) gives at most one entry for each context, its largest; "token" has no
      such limit.
    - `skip`: first positions of a context that do not count; 0 by default.

    **Returns:** `TopContexts`.

    **Raises:** as `distribution`.

    ```python
    top = ji.neurons.top_contexts(model, corpus, [(3, 336)], top=5)
    top.records(tokenizer)[0]["token"], top.values[0]
    top.figure(tokenizer).save("contexts.html")
    ```

    Law: it is equal to sorting all activations; of equal activations the earlier one comes first.
    """
    contexts = as_contexts(model, classes, skip=skip)
    chosen = as_neurons(model, neurons, site)
    if isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 1 or not len(chosen):
        raise ValueError(
            f"top_contexts needs a neuron and top of at least 1; got {len(chosen)} and top={top!r}."
        )
    if per not in ("context", "token"):
        raise ValueError(f"per is 'context' or 'token'; got {per!r}.")
    before, after = (window, window) if isinstance(window, int | np.integer) else window
    if before < 0 or after < 0:
        raise ValueError(f"window is the tokens kept before and after, at least 0; got {window}.")
    n = len(chosen)
    offsets = jnp.arange(-int(before), int(after) + 1)
    empty = jnp.full((n, top), -1, jnp.int32)
    around = (n, int(top), int(before) + int(after) + 1)
    state = (
        jnp.full((n, top), -jnp.inf, jnp.float32),
        empty,
        empty,
        jnp.full(around, -1, jnp.int32),
        jnp.full(around, jnp.nan, jnp.float32),
    )

    def step(state: Any, batch: Batch, x: Any) -> Any:
        return _merge(x, state, batch, offsets, per)

    how: dict[str, Any] = {"batch_size": batch_size, "progress": "top contexts" if progress else False}
    state = fold_neurons(model, contexts, chosen, site, state, step, **how)
    values, seq, pos, tokens, activations = (np.asarray(each) for each in state)
    values = np.where(seq >= 0, values, np.nan)
    return TopContexts(
        chosen,
        values,
        seq,
        pos,
        tokens,
        activations,
        _classes(contexts, seq),
        contexts.names,
        int(before),
    )


def _classes(contexts: Contexts, seq: np.ndarray) -> np.ndarray:
    return np.where(seq >= 0, contexts.label[np.maximum(seq, 0)], -1)


@eqx.filter_jit
def _merge(x: Any, state: Any, batch: Batch, offsets: Any, per: str) -> Any:
    n, seqs, size = x.shape
    inside = jnp.broadcast_to(batch.positions[None], x.shape)
    score = jnp.where(inside, x, -jnp.inf)
    k = state[0].shape[1]
    if per == "context":
        best, seq = jax.lax.top_k(score.max(2), min(k, seqs))
        pos = jnp.take_along_axis(score.argmax(2), seq, 1)
    else:
        best, flat = jax.lax.top_k(score.reshape(n, -1), min(k, seqs * size))
        seq, pos = flat // size, flat % size
    place = pos[..., None] + offsets[None, None]
    there = (place >= 0) & (place < size)
    at = jnp.clip(place, 0, size - 1)
    seq_w = jnp.broadcast_to(seq[..., None], at.shape)
    neuron_w = jnp.broadcast_to(jnp.arange(n)[:, None, None], at.shape)
    there &= batch.mask[seq_w, at]
    # What stands behind the last token that counts is padding, or is not meant.
    end = size - 1 - jnp.argmax(batch.positions[:, ::-1], 1)
    there &= at <= end[seq_w]
    tokens = jnp.where(there, batch.tokens[seq_w, at], -1)
    around = jnp.where(there, x[neuron_w, seq_w, at], jnp.nan)
    found = jnp.isfinite(best)
    new = (
        best,
        jnp.where(found, batch.rows[seq], -1),
        jnp.where(found, pos.astype(jnp.int32), -1),
        jnp.where(found[..., None], tokens, -1),
        jnp.where(found[..., None], around, jnp.nan),
    )
    both = [jnp.concatenate([old, one], 1) for old, one in zip(state, new, strict=True)]
    values, order = jax.lax.top_k(both[0], k)
    take = lambda each: jnp.take_along_axis(each, order.reshape(*order.shape, *(1,) * (each.ndim - 2)), 1)
    return (values, *(take(each) for each in both[1:]))
