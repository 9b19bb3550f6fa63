"""Features on a text of the reader's: which fire, and at which tokens."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..._arguments import kind_of
from ..._buckets import bucket
from ..._text import line, shorten, visible
from ...core._intervene import split_edits
from ...core._run import run
from ...typing import DictionaryLike, IndexLike, ModelLike, TokenizerLike
from ._browser_data import rounded
from ._site import chosen, rows_at, sites_of

STRONGEST = 32  # features of each token


class TextReading:
    """Reads texts for the pages of `browse`, one program for texts of similar length.

    `reading(text)` gives `tokens`, their strings; `features`, places among the features of the pages; and for each
    of these `values`, `[position, value, ...]` where it fires. These features are the 32 strongest of each
    token, so the 32 strongest of the text are among them. As in `examples`, the first token does not count.
    """

    def __init__(
        self, sae: DictionaryLike, model: ModelLike, tokenizer: TokenizerLike, site: Any, features: IndexLike
    ) -> None:
        self._model, self._sae, self._tokenizer = model, sae, tokenizer
        self._site = tuple(site) if isinstance(site, list) else site
        self._features = features
        self._most = getattr(getattr(split_edits(model)[0], "config", None), "ctx", None)

    def __call__(self, text: str) -> dict[str, Any]:
        if not isinstance(text, str):
            raise ValueError(f"A text to read is a str; got {kind_of(text)}.")
        ids = np.asarray(self._tokenizer(text)).reshape(-1)
        if len(ids) < 2:
            raise ValueError(
                "The first token of a text is not read, as in the examples: write more than one."
            )
        if self._most is not None and len(ids) > self._most:
            raise ValueError(
                f"The text has {len(ids)} tokens, and the model reads {self._most}: shorten the text."
            )
        tokens, mask = bucket(ids[None], most=self._most)
        which = jnp.asarray(chosen(self._sae, self._features))
        f = np.asarray(_encoded(self._model, self._sae, tokens, mask, which, self._site))[0, : len(ids)]
        if not np.isfinite(f).all():
            raise ValueError(
                "Features on this text are NaN or infinite. Are the weights of the model finite?"
            )
        f = np.where(np.arange(len(ids))[:, None] > 0, f, 0)
        size = np.abs(f)
        order = np.argsort(-size, 1, kind="stable")[:, :STRONGEST]
        strong = order[np.take_along_axis(size, order, 1) > 0]
        places = np.unique(strong)
        values = []
        for place in places:
            at = np.flatnonzero(f[:, place])
            values.append([x for pair in zip(at.tolist(), rounded(f[at, place]), strict=True) for x in pair])
        return {
            "name": shorten(line(text), 60),
            "tokens": [visible(word) for word in self._tokenizer.tokens(ids)],
            "features": places.tolist(),
            "values": values,
        }


@eqx.filter_jit
def _encoded(model: Any, sae: Any, tokens: Any, mask: Any, features: Any, site: Any) -> Any:
    _, acts = run(model, tokens, mask=mask, capture=sites_of(site), logits=False)
    return jnp.take(sae.encode(rows_at(acts, site)), features, -1)
