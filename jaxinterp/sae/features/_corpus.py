"""A corpus to be read at one site: checked once, then in batches of one shape."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ...core._intervene import split_edits
from ...core._sites import parse
from ...data import keep
from ...data._reading import plan, rows_of_ids
from ..files._origin import own_site


class Part(NamedTuple):
    """A batch: `rows (seq,)` of the corpus, `tokens real counted (seq, pos)`; `real` is None where
    the model need not know it. Rows that only fill the batch up count nowhere."""

    rows: Any
    tokens: Any
    real: Any
    counted: Any


class Corpus:
    """Tokens `(seq, pos)` with what is `real` and what `counted`, for one layer of one site, whose
    rows have the shape `width`; or for a site of each source of a `Joined`, `name` then a tuple. It is
    checked against a dictionary, where one is given."""

    def __init__(self, sae: Any, model: Any, tokens: Any, site: Any, mask: Any, real: Any) -> None:
        if hasattr(tokens, "tokens") and hasattr(tokens, "real"):
            mask = tokens.mask if mask is None else mask
            real = tokens.real if real is None else real
            tokens = tokens.tokens
        site = site if sae is None else own_site(sae, site, model)
        tokens = rows_of_ids(tokens)
        real = np.ones(tokens.shape, bool) if real is None else np.asarray(real)
        mask = keep(real) if mask is None else mask
        several = isinstance(site, list | tuple) and len(site) > 0
        self.name = tuple(site) if several else site
        places = [one_layer(each) for each in (self.name if several else [site])]
        self.site, self.layer = places[0]
        reading = plan(model, tokens, sites_of(self.name), mask=mask, real=real)
        widths = [reading.shapes[each][1] for each in sites_of(self.name)]
        self.width = widths[0]
        if several:  # () where they differ
            self.width = (len(widths), *widths[0]) if len(set(widths)) == 1 else ()
        self.tokens, self.real = reading.tokens, np.asarray(real, bool)
        self.counted = np.asarray(reading.mask)
        self.rows = np.flatnonzero(self.counted.any(-1)).astype(np.int32)
        causal = split_edits(model)[0].config.causal
        self.told = bool(not self.real[:, 0].all() or not (causal or self.real.all()))
        if sae is not None:
            self.check(sae)

    def check(self, sae: Any) -> None:
        """A dictionary of one site, which reads rows of this width, or one that was joined."""
        kind, sources = type(sae).__name__, getattr(sae, "sources", None)
        if len(np.shape(sae.decoder)) != 2:
            raise ValueError(
                f"This {kind} reads several sites. View it as one list of features: ji.sae.joined(sae, "
                'source=0), with a site of each source: site=["resid_post[1]", "resid_post[2]"].'
            )
        if sources is not None and self.width != (sources, sae.d):
            raise ValueError(
                f"This {kind} has {sources} sources of the width {sae.d}: give site= a list of {sources} "
                f"sites of that width; got {self.name!r}."
            )
        if sources is None and self.width != (sae.d,):
            raise ValueError(
                f"{self.name!r} has rows of the width {', '.join(map(str, self.width))}, and this "
                f"dictionary reads d={sae.d}. Which site was it trained on?"
            )

    def size(self, batch: Any, features: int) -> int:
        """Contexts of a pass: as asked, or so many that features take about a hundred MB."""
        if batch is not None:
            from ...data._activations import check_batch

            check_batch(batch)
            return int(min(batch, len(self.rows)))
        fits = 2**25 // (self.tokens.shape[1] * features)
        return int(min(max(1, min(fits, 32)), len(self.rows)))

    def batches(self, size: int) -> Iterator[Part]:
        """All contexts with something that counts, `size` at a time."""
        for first in range(0, len(self.rows), size):
            rows = self.rows[first : first + size]
            there = np.arange(size) < len(rows)
            rows = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
            yield Part(
                jnp.asarray(rows),
                jnp.asarray(self.tokens[rows]),
                jnp.asarray(self.real[rows]) if self.told else None,
                jnp.asarray(self.counted[rows] & there[:, None]),
            )


def sites_of(name: Any) -> list[str]:
    """One site, or that of each source."""
    return [name] if isinstance(name, str) else list(name)


def rows_at(acts: Any, name: Any) -> Any:
    """Activations `(..., d)` of a site, or `(..., source, d)` of several."""
    if isinstance(name, str):
        return acts[name].astype(jnp.float32)
    return jnp.stack([acts[each].astype(jnp.float32) for each in name], -2)


def one_layer(site: Any) -> tuple[str, int]:
    """Name and layer of a site such as `"resid_post[2]"`."""
    base, layer = parse(site) if isinstance(site, str) else (str(site), None)
    if not isinstance(layer, int):
        raise ValueError(f"A dictionary belongs to one layer of a site: site='{base}[2]'; got {site!r}.")
    return base, layer


def chosen(sae: Any, features: Any) -> np.ndarray:
    """Numbers of features as an array, checked; None is all of them."""
    if features is None:
        return np.arange(sae.features, dtype=np.int32)
    found = np.atleast_1d(np.asarray(features))
    if found.ndim != 1 or not len(found) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"features are the numbers (n,) of some, or None for all; got {features!r}.")
    if found.min() < 0 or found.max() >= sae.features:
        wrong = found[(found < 0) | (found >= sae.features)][0]
        raise IndexError(f"This dictionary has the features 0..{sae.features - 1}; got {wrong}.")
    return found.astype(np.int32)
