"""Crosscoders and cross-layer transcoders, read as one list of features that write at one place."""

from typing import NoReturn, final

import equinox as eqx
import jax.numpy as jnp

from ...typing import ArrayLike, CoderLike, JaxArray
from ._coder import Sites, kind_name
from ._dictionary import Dictionary
from ._view import View


def joined(sae: CoderLike, source: int = -1) -> "Joined":
    r"""$f$ of all sources with the directions $d_i^s$ of one source s, for the tools that read one site.

    Give the result to `examples`, `browse`, `logit_weights`, `interpret`, `nearest_neurons` or
    `automata`, with a site for each source: `site=["resid_post[1]", "resid_post[2]"]`.

    **Arguments:**

    - `sae`: a dictionary of the kind `Crosscoder` over layers of one model, or of `CrossLayerTranscoder`;
    - `source`: the source whose decoder is read as tokens, by default the last. In a cross-layer transcoder, feature i
      of layer l has the number l * features + i. Its direction is the sum of its outputs to all later layers, because
      all of them are added to the stream.

    **Returns:** a `Joined`.

    **Raises:** ValueError for other kinds, IndexError for a source that the dictionary lacks.

    ```python
    crosscoder = ji.sae.Crosscoder(d=160, features=320, sources=2).init(key)   # better: `ji.sae.train`
    view = ji.sae.joined(crosscoder, source=1)
    found = ji.sae.examples(view, model, corpus, site=["resid_post[1]", "resid_post[2]"])
    ```

    Law: features are those of `sae.encode`, in that order.
    """
    if not isinstance(sae, Dictionary) or (rows := sae.source_rows()) is None:
        raise ValueError(
            "joined is for a Crosscoder or a CrossLayerTranscoder, which read several sites; a "
            f"{kind_name(sae)} is read as it is."
        )
    count = rows.shape[1]
    if not -count <= source < count:
        raise IndexError(f"This {kind_name(sae)} has the sources 0..{count - 1}; got {source}.")
    source = source % count
    return Joined(sae, rows[:, source].astype(jnp.float32), count, source)


@final
class Joined(View):
    """A dictionary of several sources as one list of features with directions at one source; made by `joined`.

    It reads activations `(..., sources, d)`. It cannot decode, because its directions are those of one source.

    ```python
    crosscoder = ji.sae.Crosscoder(d=160, features=320, sources=2).init(key)
    view = ji.sae.joined(crosscoder, source=1)
    view.features, view.decoder.shape                   # 320, (320, 160)
    ```
    """

    inner: Dictionary
    rows: JaxArray
    sources: int = eqx.field(static=True)
    source: int = eqx.field(static=True)

    def __init__(self, inner: Dictionary, rows: JaxArray, sources: int, source: int) -> None:
        self.inner, self.rows, self.sources, self.source = inner, rows, sources, source

    @property
    def decoder(self) -> JaxArray:
        """The directions of the features at one source, `(features, d)`."""
        return self.rows

    @property
    def features(self) -> int:
        """The features of all layers together."""
        return self.rows.shape[0]

    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., features)`."""
        x = jnp.asarray(x)
        return self.inner.encode(x).reshape(*x.shape[:-2], self.features)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> NoReturn:
        """Raises ValueError."""
        raise ValueError(
            "A joined dictionary writes at one of the sites that it reads, and does not decode. Decode by "
            "the dictionary itself: view.inner.decode(f)."
        )

    def directions(self) -> JaxArray:
        """The rows of `decoder`, `(features, d)`."""
        return self.rows

    def read_site(self, site: Sites) -> Sites:
        """The site of `source`, where each source has a site."""
        return site if isinstance(site, str) else site[self.source]
