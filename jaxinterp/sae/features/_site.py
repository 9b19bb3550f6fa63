"""A corpus read at one site for a dictionary: checked once, then folded over."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ...core._sites import parse
from ...corpus._batches import CorpusBatches
from ...corpus._corpus import as_corpus, counting, is_corpus
from ...corpus._fold import folded
from ...corpus._positions import after_first
from ...corpus._size import check_batch_size, fitting
from ...data._reading import plan
from ..files._origin import own_site
from ..kinds._coder import kind_name

BYTES = 2**27  # what the features of one pass may take, 128 MiB


class SiteReading:
    """A corpus with one layer of one site, whose rows have the shape `width`; or with a site of each
    source of a joined dictionary, `name` then a tuple. It is checked against a dictionary, where one
    is given.

    - `corpus`: by default all real tokens but the first of each row count;
    - `name`: the site, `"resid_post[2]"`, or several; `site` and `layer`: those of the first.
    """

    def __init__(self, sae: Any, model: Any, tokens: Any, site: Any, mask: Any, positions: Any) -> None:
        corpus = as_corpus(tokens, mask=mask)
        if positions is None and not is_corpus(tokens):
            positions = after_first(np.asarray(corpus.mask))
        self.corpus = corpus if positions is None else counting(corpus, positions)
        site = site if sae is None else own_site(sae, site, model)
        several = isinstance(site, list | tuple) and len(site) > 0
        self.model = model
        self.name: Any = tuple(site) if several else site
        places = [one_layer(each) for each in (self.name if several else [site])]
        self.site, self.layer = places[0]
        reading = plan(model, self.corpus, sites_of(self.name))
        widths = [reading.shapes[each][1] for each in sites_of(self.name)]
        self.width = widths[0]
        if several:  # () where they differ
            self.width = (len(widths), *widths[0]) if len(set(widths)) == 1 else ()
        self.rows = np.flatnonzero(self.corpus.positions.any(-1)).astype(np.int32)
        self.count = int(self.corpus.positions.sum())
        if sae is not None:
            self.check(sae)

    def check(self, sae: Any) -> None:
        """A dictionary of one site, which reads rows of this width, or one that was joined."""
        kind, sources = kind_name(sae), getattr(sae, "sources", None)
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

    def batches(self, batch_size: Any, sae: Any = None) -> CorpusBatches:
        """The corpus in batches of the requested size, or of a size at which features take about 100 MB."""
        if batch_size is None or (isinstance(batch_size, str) and batch_size == "auto"):
            features = 1 if sae is None else int(sae.features)
            batch_size = min(32, fitting(self.corpus.tokens.shape[1], features, BYTES))
        check_batch_size(batch_size, ", or 'auto'")
        return CorpusBatches(self.corpus, self.model, batch_size)

    def fold(
        self, parts: CorpusBatches, init: Any, step: Any, *, captures: Any = None, **options: Any
    ) -> Any:
        """`ji.corpus.fold` over these batches; captures are those of the site by default."""
        captures = sites_of(self.name) if captures is None else captures
        return folded(parts, self.model, captures, init, step, **options)


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
