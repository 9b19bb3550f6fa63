"""The axis glossary, the shape of a model, and where weights came from.

One spelling per axis, everywhere (code, errors, documentation):

| axis | meaning |
|---|---|
| `batch` | independent prompts; optional, and there may be several batch axes |
| `pos` | token positions of a prompt |
| `query`, `key` | the positions that attend, and those attended to |
| `d` | the residual stream |
| `head`, `kv_head` | attention heads; key/value heads where queries share them |
| `k` | the width of a head |
| `ff` | MLP neurons |
| `layer` | blocks, numbered from 0 |
| `vocab` | tokens of the vocabulary |
| `feature` | latents of a dictionary |
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

AXES = ("batch", "layer", "pos", "query", "key", "head", "kv_head", "k", "d", "ff", "vocab", "feature")

if TYPE_CHECKING:
    from ._tap import Tap as Tap
else:
    # What model code calls: `tap(name, x) -> x`.
    Tap = Any


class Reads(eqx.Module):
    r"""Which keys each query may read, told without an array of `(query, key)`.

    Query $i$ may read key $j$ if all of these hold: $j \le$ `first` $+ i$ where `causal`; `real` is True
    at $j$; `table` is True at $(i, j)$. What is None allows everything.

    - `queries`, `keys`: how many there are.
    - `first`: the column of the first query: 0 in a run, and the position that generation is at.
    - `real`: True at real tokens `(*batch, key)`.
    - `table`: any other rule as an array, `(query, key)` or `(*batch, query, key)`.
    """

    queries: int = eqx.field(static=True)
    keys: int = eqx.field(static=True)
    causal: bool = eqx.field(static=True, default=False)
    first: int | Int[Array, ""] = 0
    real: Bool[Array, "*batch key"] | None = None
    table: Bool[Array, "*#batch query key"] | None = None

    def rows(
        self, start: int | Int[Array, ""], count: int, keys: int | None = None
    ) -> Bool[Array, "*batch count key"] | None:
        """What `count` queries from `start` on may read of the first `keys` keys; None where all of it."""
        keys = self.keys if keys is None else keys
        rules = []
        if self.causal:
            own = jnp.arange(count, dtype=jnp.int32) + (start + self.first)
            rules.append(jnp.arange(keys, dtype=jnp.int32)[None, :] <= own[:, None])
        if self.real is not None:
            rules.append(self.real[..., None, :keys])
        if self.table is not None:
            rules.append(lax.dynamic_slice_in_dim(self.table, start, count, self.table.ndim - 2)[..., :keys])
        shape = jnp.broadcast_shapes((count, keys), *(rule.shape for rule in rules))
        whole = [jnp.broadcast_to(rule, shape) for rule in rules]
        return functools.reduce(jnp.logical_and, whole) if rules else None


@dataclasses.dataclass(frozen=True)
class Context:
    """The values that all blocks of one run share, passed to each as `block(resid, ctx, tap)`.

    - `reads`: which keys each query may read.
    - `tables`: what the model computes once from the positions, such as rotary angles.
    - `layer`: the index of the block that is running.

    A model of your own reads them in its block:

    ```python
    def scores(q, k, ctx):
        found = jnp.einsum("...qhk,...phk->...hqp", q, k)
        return found if ctx.mask is None else jnp.where(ctx.mask[..., None, :, :], found, -jnp.inf)
    ```
    """

    reads: Reads
    tables: Any
    layer: Any = None

    @property
    def mask(self) -> Bool[Array, "*batch query key"] | None:
        """`reads` as one array, `(query, key)` or `(*batch, query, key)`; None where every query may read every key."""
        return self.reads.rows(0, self.reads.queries)

    def at(self, layer: Any) -> "Context":
        """The same, for the block of one layer."""
        return dataclasses.replace(self, layer=layer)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where loaded weights came from, recorded as `model.config.source`.

    Two configs that differ in their source alone are equal, and their models share compiled programs.

    ```python
    source = ji.load("tiny")[0].config.source
    source.name, source.format, source.sha256
    ```
    """

    name: str
    revision: str | None = None
    path: str | None = None
    format: str | None = None
    sha256: str | None = None
    files: tuple[str, ...] = ()
    port: str | None = None
    licence: str | None = None


@runtime_checkable
class Model(Protocol):
    """The protocol of models: the methods that `ji.run` needs.

    A model calls `tap(name, x)` at its sites and continues with the value that the call returns. Its blocks
    are one module whose array leaves are stacked on a leading layer axis. `ji.testing.check_model` checks
    whether a model of your own keeps the laws.

    ```python
    isinstance(model, ji.Model)                 # True
    resid = model.embed(tokens, jnp.arange(tokens.shape[-1]), lambda name, x: x)
    ```
    """

    @property
    def config(self) -> Any:
        """The sizes of the model. `ji.run` reads `vocab`, `ctx`, `d` and `causal`, and `vocab_out` if there is one."""
        ...

    @property
    def blocks(self) -> Callable[..., Any]:
        """All blocks: each is called as `block(resid, ctx, tap)`, `resid` `(*batch pos d)`."""
        ...

    def embed(self, tokens: Any, positions: Any, tap: Any) -> Any:
        """Tokens `(*batch pos)` to the residual stream `(*batch pos d)`."""
        ...

    def tables(self, positions: Any) -> Any:
        """What all blocks share that depends on the positions alone (rotary angles), or None."""
        ...

    def unembed(self, resid: Any, tap: Any) -> Any:
        """The residual stream `(*batch pos d)` to logits `(*batch pos vocab)`."""
        ...


@runtime_checkable
class PositionMetric(Protocol):
    """A function of logits that knows which positions it reads: the metrics of `ji.metrics`."""

    @property
    def pos(self) -> Any:
        """The positions, or None for all."""
        ...

    def of(self, chosen: Any) -> Array:
        """The metric of the logits at its positions."""
        ...

    def padded(self, mask: Any) -> "PositionMetric":
        """The same metric for prompts with a padding mask."""
        ...

    def check(self, vocab: int, shape: tuple[int, ...]) -> None:
        """Raises where a token of the metric is none of the model's."""
        ...

    def check_positions(self, shape: tuple[int, ...], mask: Any) -> None:
        """Raises where prompts of the shape `(*batch, pos)` lack its positions."""
        ...


@runtime_checkable
class EncoderDecoder(Protocol):
    """Anything that maps activations to features and back: a sparse autoencoder, a basis."""

    def encode(self, x: Float[Array, "*batch d"], /) -> Float[Array, "*batch feature"]: ...

    def decode(self, feature: Float[Array, "*batch feature"], /) -> Float[Array, "*batch d"]: ...
