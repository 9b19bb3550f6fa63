r"""What comes after a site: the layers that are left, run from the stream that reached it."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...core._blocks import layer_count
from ...core._captures import at
from ...core._check import check_predicts_tokens
from ...core._edits import replace
from ...core._intervene import config_of, split_edits
from ...core._run import resume, run
from ._corpus import Corpus, Part


class Place(NamedTuple):
    """A layer of a site, and how the rest of a run begins there: `first`, the block to go on with,
    and `direct`, whether the site is the stream itself. From block 0 a run is a whole one."""

    site: str
    layer: int
    first: int
    direct: bool


def place_of(model: Any, read: Corpus) -> Place:
    """After `resid_post[l]` comes block l + 1; all other sites are inside of block l."""
    check_predicts_tokens(config_of(model), "What a dictionary does to a model is told by next tokens")
    layer = read.layer % layer_count(split_edits(model)[0])
    direct = read.site == "resid_post"
    return Place(read.site, layer, layer + direct, direct)


class Held(NamedTuple):
    """A batch up to the site: its activations `x (seq, pos, d)` there, the `stream` that entered the
    block (None where x is the stream, or the block the first), and `predicted (seq, pos - 1)`: tokens
    that count in a loss, as the one before them is real."""

    part: Part
    predicted: Any
    stream: Any
    x: Any


def reached(model: Any, read: Corpus, part: Part, place: Place) -> Held:
    """The clean run of a batch, which ends at the site."""
    rows = np.asarray(part.rows)
    some: Any = np.asarray(part.counted).any(-1)
    known = read.real[rows, 1:] & read.real[rows, :-1] & some[:, None]
    stream, x = _prefix(model, part, place)
    return Held(part, jnp.asarray(known), stream, x)


@eqx.filter_jit
def _prefix(model: Any, part: Part, place: Place) -> tuple[Any, Any]:
    name = f"{place.site}[{place.layer}]"
    # The stream as it left the block before: edits that the model carries act once.
    before = None if place.direct or not place.first else f"resid_post[{place.first - 1}]"
    names = [name] if before is None else [before, name]
    _, acts = run(model, part.tokens, capture=names, mask=part.real, logits=False)
    return None if before is None else acts[before], acts[name]


def rest(model: Any, held: Held, value: Any, place: Place) -> Any:
    """The last stream `(seq, pos, d)` where the site holds `value`."""
    count = layer_count(split_edits(model)[0])
    last = at("resid_post", layer=count - 1)
    how: dict[str, Any] = {"mask": held.part.real, "logits": False, "capture": [last]}
    edits = [] if place.direct else [replace(place.site, value, layer=place.layer)]
    if place.first == count:
        return value
    if place.first:
        from_here = value if place.direct else held.stream
        return resume(model, from_here, place.first, edits=edits, **how)[1][last.name]
    return run(model, held.part.tokens, edits=edits, **how)[1][last.name]


def said(model: Any, held: Held, stream: Any) -> Any:
    """Log-probabilities `(seq, pos - 1, vocab)` of what a last stream predicts, but for the last position."""
    real = None if held.part.real is None else held.part.real[:, :-1]
    count = layer_count(split_edits(model)[0])
    logits, _ = resume(model, stream[:, :-1], count, mask=real)
    return jax.nn.log_softmax(logits.astype(jnp.float32))


@eqx.filter_jit
def losses(model: Any, held: Held, value: Any, place: Place, clean: Any = None) -> Any:
    r"""$(-\sum \log P(t_{+1}), \sum \mathrm{KL})$ with `value` at the counted positions of the site.

    Returns the loss, the divergence from the run whose last stream is `clean`, and the last stream.
    All runs of a batch are of one program, so that equal values give equal bits.
    """
    part = held.part
    counted = part.counted.reshape(*part.counted.shape, *[1] * (held.x.ndim - 2))
    value = jnp.where(counted, value.astype(held.x.dtype), held.x)
    stream = rest(model, held, value, place)
    both = jnp.stack([stream, stream if clean is None else clean.astype(stream.dtype)])
    # One program for both: no bit apart.
    mine, theirs = jax.lax.map(lambda one: said(model, held, one), both)
    nats = -jnp.take_along_axis(mine, part.tokens[:, 1:, None], -1)[..., 0]
    kl = jnp.sum(jnp.exp(theirs) * (theirs - mine), -1)
    some = lambda v: jnp.sum(jnp.where(held.predicted, v, 0))
    return some(nats), some(kl), stream
