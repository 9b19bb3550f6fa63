"""Crosscoders and cross-layer transcoders, read as one list of features that write at one place."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from ._cross_layer import CrossLayerTranscoder
from ._crosscoder import Crosscoder


def joined(sae: Any, source: int = -1) -> "Joined":
    r"""$f$ of all sources, with $d_i^s$ of one: a dictionary of several layers for the tools that read one.

    Give what it returns to `examples`, `browse`, `logit_weights`, `interpret`, `nearest_neurons` or
    `automata`, with a site for each source: `site=["resid_post[1]", "resid_post[2]"]`.

    **Arguments:** `sae`, a `Crosscoder` over layers of one model, or a `CrossLayerTranscoder`; `source`,
    whose decoder is read as tokens. Of a transcoder feature i of layer l is number l * features + i,
    and its direction is the sum of what it writes to all later layers: all of it ends in the stream.

    **Raises:** ValueError for other kinds, IndexError for a source that is not there.

    ```python
    view = ji.sae.joined(crosscoder, source=1)
    found = ji.sae.examples(view, model, corpus, site=["resid_post[1]", "resid_post[2]"])
    ```

    Law: features are those of `sae.encode`, in that order.
    """
    if isinstance(sae, Crosscoder):
        count = sae.sources
        rows = sae.decoder / sae.scale[None, :, None]
    elif isinstance(sae, CrossLayerTranscoder):
        count = sae.layers
        rows = sae.forwards / sae.target_scale[None, :, None, None]
        rows = jnp.sum(rows, 1).reshape(count * sae.features, 1, sae.d)
    else:
        raise ValueError(
            "joined is for a Crosscoder or a CrossLayerTranscoder, which read several sites; a "
            f"{type(sae).__name__} is read as it is."
        )
    if not -count <= source < count:
        raise IndexError(f"This {type(sae).__name__} has the sources 0..{count - 1}; got {source}.")
    source = source % count
    return Joined(sae, rows[:, source if rows.shape[1] > 1 else 0].astype(jnp.float32), count, source)


class Joined(eqx.Module):
    """Reads activations `(..., sources, d)`, has one list of `features` with directions `decoder`; from `joined`."""

    inner: Any
    decoder: Any
    sources: int = eqx.field(static=True)
    source: int = eqx.field(static=True)

    READS_INPUT: ClassVar[bool] = True  # what is written is not what is read

    @property
    def d(self) -> int:
        """Width of each source."""
        return self.inner.d

    @property
    def features(self) -> int:
        """Of all layers together."""
        return self.decoder.shape[0]

    def encode(self, x: Any) -> Any:
        """Features `(..., features)`."""
        f = self.inner.encode(x)
        return f.reshape(*x.shape[:-2], self.features)
