"""The sizes that every transformer has; each family adds its own few options."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from .._read import SIZE, check_fields, integer, number, or_null
from ..core._check import logit_count
from ..core._types import Source
from ..nn import RopeScaling
from ..nn._mlp import check_activation

RULES = {
    "layers": integer(1, 2**16),
    "ff": integer(0),
    "norm_eps": number(0),
    "rotary_base": number(1, above=True),
    "rotary_fraction": number(0),
}
"""Ranges of fields, of those that families add too; other ints are sizes of 1 or more."""
OPTIONAL = or_null(SIZE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The sizes and options that all models have.

    Models with equal configs share compiled programs; `source` is not compared.

    - `vocab`, `ctx`, `d`, `layers`, `heads`: the vocabulary, the longest prompt, the width of the residual stream, and
      the numbers of layers and of heads.
    - `kv_heads`, `k`, `ff`: key/value heads, the width of a head, and neurons of a layer. By default `heads`,
      `d // heads` and `4 * d`; `ff=0` makes an attention-only model.
    - `norm`, `causal`: False makes a model without norms, and one in which every position reads all others.
    - `vocab_out`: the number of logits of a position if it is not `vocab`, such as the classes of a classifier.
    - `source`: where loaded weights came from.

    ```python
    config = model.config
    config.layers, config.heads, config.d, config.ctx
    ```
    """

    vocab: int
    ctx: int
    d: int
    layers: int
    heads: int
    kv_heads: int = None  # pyright: ignore[reportAssignmentType]
    k: int = None  # pyright: ignore[reportAssignmentType]
    ff: int = None  # pyright: ignore[reportAssignmentType]
    act: str = "gelu"
    norm_eps: float = 1e-5
    norm: bool = True
    causal: bool = True
    vocab_out: int | None = None
    source: Source | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        def default(name: str, value: int) -> None:
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

        missing = [name for name in ("kv_heads", "k", "ff") if getattr(self, name) is None]
        given = dict.fromkeys(missing, OPTIONAL)
        check_fields(self, {**RULES, **given})
        default("kv_heads", self.heads)
        if self.k is None and self.d % self.heads:
            raise ValueError(
                f"The width d={self.d} does not split over {self.heads} heads: "
                "choose d a multiple of heads, or give the width of a head as k=..."
            )
        default("k", self.d // self.heads)
        default("ff", 4 * self.d)
        if self.heads % self.kv_heads:
            raise ValueError(
                f"Query heads share key/value heads evenly: heads={self.heads} is no multiple of "
                f"kv_heads={self.kv_heads}."
            )
        check_activation(self.act)
        if not isinstance(getattr(self, "rope", None), RopeScaling | None):
            raise ValueError(
                f"`rope` is a ji.nn.RopeScaling(kind=..., factor=...) or None; got {getattr(self, 'rope', None)!r}."
            )
        if getattr(self, "tied", False) and logit_count(self) != self.vocab:
            raise ValueError(
                f"An unembedding tied to the embedding has a logit for each token: vocab="
                f"{self.vocab} and vocab_out={self.vocab_out} need tied=False."
            )


def normal(key: jax.Array, *shape: int, dtype: DTypeLike) -> jax.Array:
    """Normal weights of deviation 0.02, drawn in float32."""
    return (0.02 * jax.random.normal(key, shape, jnp.float32)).astype(dtype)
