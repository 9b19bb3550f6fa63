r"""The rest of a run: the layers after a site, run from the stream that reached it.

A fold captures what `Suffix.captures` names. From that and any value at the site, `last_stream`
runs the layers that are left, and `losses` compares the predictions with those of the clean run.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core._blocks import layer_count
from ..core._captures import at
from ..core._check import check_predicts_tokens
from ..core._edits import replace
from ..core._intervene import config_of, split_edits
from ..core._run import resume, run
from ..core._sites import parse
from ..mesh._gather import on_mesh
from ._batches import Batch


class Suffix(eqx.Module):
    """The layers of a model after one layer of a site.

    - `site`, `layer`: where the run stops;
    - `first`: the block to go on with; from 0 on the whole run is done again;
    - `direct`: whether the site is the residual stream that enters block `first`.
    """

    site: str = eqx.field(static=True)
    layer: int = eqx.field(static=True)
    first: int = eqx.field(static=True)
    direct: bool = eqx.field(static=True)

    @property
    def name(self) -> str:
        """The site with its layer, `"resid_post[2]"`."""
        return f"{self.site}[{self.layer}]"

    @property
    def before(self) -> str | None:
        """The stream that enters the block of the site, where it is needed to go on.

        It is captured as it left the block before, so that edits which the model carries act once.
        """
        return None if self.direct or not self.first else f"resid_post[{self.first - 1}]"

    @property
    def captures(self) -> list[str]:
        """What a fold captures for `reached`."""
        return [self.name] if self.before is None else [self.before, self.name]


class Reached(NamedTuple):
    """A batch whose run ended at a site.

    - `batch`;
    - `predicted` `(row, pos - 1)`: True where a next token counts in a loss: both tokens are real;
    - `stream` `(row, pos, d)`: what entered the block, or None where it is not needed;
    - `x` `(row, pos, d)`: the activations at the site.
    """

    batch: Batch
    predicted: Any
    stream: Any
    x: Any


def suffix_of(model: Any, name: str) -> Suffix:
    """The layers after a site such as `"resid_post[2]"`: block l + 1 and on, or block l for sites inside it."""
    check_predicts_tokens(config_of(model), "What a site does to a model is measured on next tokens")
    site, layer = parse(name)
    if not isinstance(layer, int):
        raise ValueError(f"The rest of a run begins at one layer of a site: '{site}[2]'; got {name!r}.")
    layer = layer % layer_count(split_edits(model)[0])
    direct = site == "resid_post"
    return Suffix(site, layer, layer + direct, direct)


def reached(suffix: Suffix, batch: Batch, acts: Any) -> Reached:
    """A batch as it stands at the site, from what a fold captured."""
    there = batch.positions.any(-1)
    predicted = batch.mask[:, 1:] & batch.mask[:, :-1] & there[:, None]
    stream = None if suffix.before is None else acts[suffix.before]
    return Reached(batch, predicted, stream, acts[suffix.name])


def last_stream(model: Any, at_site: Reached, value: Any, suffix: Suffix) -> Any:
    """The residual stream after the last block, `(row, pos, d)`, where the site holds `value`."""
    count = layer_count(split_edits(model)[0])
    last = at("resid_post", layer=count - 1)
    how: dict[str, Any] = {"mask": at_site.batch.padding, "logits": False, "capture": [last]}
    edits = [] if suffix.direct else [replace(suffix.site, value, layer=suffix.layer)]
    if suffix.first == count:
        return value
    if suffix.first:
        stream = value if suffix.direct else at_site.stream
        return resume(model, stream, suffix.first, edits=edits, **how)[1][last.name]
    return run(model, at_site.batch.tokens, edits=edits, **how)[1][last.name]


def log_probabilities(model: Any, at_site: Reached, stream: Any) -> Any:
    """Log-probabilities `(row, pos - 1, vocab)` of the next token, from a last stream, for all but the last position."""
    padding = at_site.batch.padding
    real = None if padding is None else padding[:, :-1]
    count = layer_count(split_edits(model)[0])
    logits, _ = resume(model, stream[:, :-1], count, mask=real)
    return jax.nn.log_softmax(logits.astype(jnp.float32))


@on_mesh
@eqx.filter_jit
def losses(
    model: Any, at_site: Reached, value: Any, suffix: Suffix, clean: Any = None
) -> tuple[Any, Any, Any]:
    r"""$(-\sum \log P(t_{+1}), \sum \mathrm{KL})$ with `value` at the counted positions of the site.

    Returns the loss in nats, the divergence from the run whose last stream is `clean`, and the last
    stream. All runs of a batch are of one program, so that equal values give equal bits.
    """
    batch = at_site.batch
    counted = batch.positions.reshape(*batch.positions.shape, *[1] * (at_site.x.ndim - 2))
    value = jnp.where(counted, value.astype(at_site.x.dtype), at_site.x)
    stream = last_stream(model, at_site, value, suffix)
    both = jnp.stack([stream, stream if clean is None else clean.astype(stream.dtype)])
    # One program for both: no bit apart.
    mine, theirs = jax.lax.map(lambda one: log_probabilities(model, at_site, one), both)
    nats = -jnp.take_along_axis(mine, batch.tokens[:, 1:, None], -1)[..., 0]
    kl = jnp.sum(jnp.exp(theirs) * (theirs - mine), -1)
    total = lambda v: jnp.sum(jnp.where(at_site.predicted, v, 0))
    return total(nats), total(kl), stream
