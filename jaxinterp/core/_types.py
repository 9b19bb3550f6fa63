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
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

AXES = ("batch", "layer", "pos", "query", "key", "head", "kv_head", "k", "d", "ff", "vocab", "feature")

Tap = Any
"""What model code sees of the core: `tap(name, x) -> x`, see `jaxinterp.core._tap.Tap`."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What every block of one run shares: who may attend to whom, and where each token stands.

    `mask` is True where a query may read a key, `(query, key)` or `(*batch, query, key)`, and
    None where everything may read everything. `tables` is whatever the model computes once from
    the positions (rotary angles). `layer` is the index of the block that is running.
    """

    mask: Any
    tables: Any
    layer: Any = None

    def at(self, layer: Any) -> "Context":
        """The same, for the block of one layer."""
        return dataclasses.replace(self, layer=layer)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where loaded weights came from: recorded on the config, never part of its identity."""

    name: str
    revision: str | None = None
    path: str | None = None
    format: str | None = None
    sha256: str | None = None
    files: tuple[str, ...] = ()
    port: str | None = None
    licence: str | None = None


class SizedConfig(Protocol):
    """The sizes that the core reads off a model: everything else about a config is the model's."""

    layers: int
    vocab: int
    ctx: int
    d: int
    causal: bool


@runtime_checkable
class Model(Protocol):
    """What a module must offer to be run, captured and edited.

    A model calls `tap(name, x)` at its sites and goes on with what that returns. Its blocks are
    one module whose array leaves are stacked on a leading layer axis.
    """

    config: Any
    blocks: Callable[..., Any]

    def embed(self, tokens: Any, positions: Any, tap: Tap) -> Any:
        """Tokens `(*batch pos)` to the residual stream `(*batch pos d)`."""
        ...

    def tables(self, positions: Any) -> Any:
        """What all blocks share that depends on the positions alone (rotary angles), or None."""
        ...

    def unembed(self, resid: Any, tap: Tap) -> Any:
        """The residual stream `(*batch pos d)` to logits `(*batch pos vocab)`."""
        ...


@runtime_checkable
class Dictionary(Protocol):
    """Anything that encodes activations into features and back: a sparse autoencoder, a basis."""

    def encode(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch feature"]: ...

    def decode(self, feature: Float[Array, "*batch feature"]) -> Float[Array, "*batch d"]: ...
