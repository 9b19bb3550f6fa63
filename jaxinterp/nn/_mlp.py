"""The MLP, plain or gated, with its neurons as sites."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ..core._types import Tap
from ._linear import add_bias, einsum
from ._norm import Norm

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_fast": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "linear": lambda x: x,
}
"""Nonlinearities by the names that checkpoints use."""


def check_activation(name: str) -> str:
    """`name`, if it is in `ACTIVATIONS`; otherwise an error that lists them."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"There is no activation {name!r}; a config's `act` is one of {', '.join(ACTIVATIONS)}."
        )
    return name


class MLP(eqx.Module):
    r"""$\mathrm{act}(x W_{in} + b_{in}) W_{out} + b_{out}$, or gated $(\mathrm{act}(x W_g) \odot x W_{in}) W_{out}$.

    Neuron `i` reads along `w_in[:, i]` (and `w_gate[:, i]`) and writes along `w_out[i]`.

    ```python
    mlp = ji.nn.MLP.init(2, 16, 64, key=jax.random.key(0), dtype=jnp.float32, act="gelu")
    mlp.w_in.shape, mlp.w_out.shape                     # (2, 16, 64), (2, 64, 16)
    ```
    """

    w_in: Float[Array, "*layer d ff"]
    w_gate: Float[Array, "*layer d ff"] | None
    b_in: Float[Array, "*layer ff"] | None
    b_gate: Float[Array, "*layer ff"] | None
    w_out: Float[Array, "*layer ff d"]
    b_out: Float[Array, "*layer d"] | None
    act: str = eqx.field(static=True)

    @staticmethod
    def init(
        layers: int,
        d: int,
        ff: int,
        *,
        key: jax.Array,
        dtype: DTypeLike,
        act: str,
        gated: bool = False,
        bias: bool = True,
    ) -> "MLP":
        keys = jax.random.split(key, 3)

        def normal(key: jax.Array, *shape: int, std: float = 0.02) -> Array:
            return (std * jax.random.normal(key, (layers, *shape), jnp.float32)).astype(dtype)

        def zeros(width: int) -> Array | None:
            return jnp.zeros((layers, width), dtype) if bias else None

        return MLP(
            w_in=normal(keys[0], d, ff),
            w_gate=normal(keys[1], d, ff) if gated else None,
            b_in=zeros(ff),
            b_gate=zeros(ff) if gated else None,
            w_out=normal(keys[2], ff, d, std=0.02 / (2 * layers) ** 0.5),
            b_out=zeros(d),
            act=act,
        )

    def __call__(
        self, resid: Float[Array, "*batch pos d"], norm: Norm | None, tap: Tap
    ) -> Float[Array, "*batch pos d"]:
        resid = tap("mlp_in", resid)
        x = resid if norm is None else norm(resid, tap, "ln2")
        act = ACTIVATIONS[self.act]
        up = add_bias(einsum("...pd,df->...pf", x, self.w_in), self.b_in)
        if self.w_gate is None:
            post = act(tap("mlp_pre", up))
        else:
            gate = add_bias(einsum("...pd,df->...pf", x, self.w_gate), self.b_gate)
            post = act(tap("mlp_pre", gate)) * tap("mlp_up", up)
        post = tap("mlp_post", post)
        return add_bias(einsum("...pf,fd->...pd", post, self.w_out), self.b_out)
