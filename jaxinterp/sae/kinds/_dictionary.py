r"""What every dictionary is: an encoder to features, a decoder back, and a loss of its own.

A kind is a module of this class. Made without a key it has shapes and settings but no weights: that
is what `train` takes, and what it returns filled in. Leaves named in `FIXED` are not trained.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ._median import geometric_median as geometric_median


class Moment(NamedTuple):
    """What a loss may know besides the batch: `step ()`, `warm ()` the part of the sparsity
    coefficient that is in force, `dead (features,)` features that have long been silent. In a sweep
    also `limit ()`, a member's own k, and `revive ()`, whether any member has dead features."""

    step: Any
    warm: Any
    dead: Any
    limit: Any = None
    revive: Any = None


class Losses(NamedTuple):
    """What a loss returns: `total ()`, its named `terms`, the features `(batch, features)`, and
    `updates`: new values of fixed leaves by name (a running threshold). A sparse form, which never
    makes `features`, also says `active`: which fired `(features,)`, and their mean number `()`."""

    total: Any
    terms: dict[str, Any]
    features: Any
    updates: dict[str, Any]
    active: Any = None


class Dictionary(eqx.Module):
    r"""$f = \sigma((s x - b) W_e + b_e)$, $\hat x = (f W_d + b) / s$: what all kinds share.

    The bias is subtracted from inputs only where the kind is `centred`. `encoder (d, features)`,
    `encoder_bias (features,)`, `decoder (features, d_out)`, `bias (d_out,)`, and `scale ()`: inputs are multiplied by it, so that coefficients do not depend on the units of a
    site; `fold` moves it into the weights.
    """

    encoder: Any
    encoder_bias: Any
    decoder: Any
    bias: Any
    scale: Any
    metric: Any  # (d_out, d_out), see `with_metric`
    matmul: str = eqx.field(static=True)
    centred: bool = eqx.field(static=True)
    origin: Any = eqx.field(static=True)  # see `Origin`, None where it is not known

    def __init__(
        self,
        d: Any,
        features: Any,
        d_out: Any = None,
        matmul: str = "float32",
        centred: bool = True,
    ) -> None:
        check_sizes(type(self).__name__, d=d, features=features)
        if matmul not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"matmul is float32, bfloat16 or float16; got {matmul!r}.")
        self.encoder, self.encoder_bias = empty(d, features), empty(features)
        self.decoder, self.bias = empty(features, d_out or d), empty(d_out or d)
        self.scale, self.matmul, self.centred = empty(), matmul, centred
        self.metric = self.origin = None

    def _draw(self, key: Any) -> None:
        """At the end of a constructor: weights, where a key was given."""
        if key is not None:
            for name, value in self.initial(key, None, None).items():
                setattr(self, name, value)

    FIXED: ClassVar[tuple[str, ...]] = ("scale",)
    UNIT: ClassVar[bool] = False  # decoder rows of norm 1
    READS_INPUT: ClassVar[bool] = False  # `decode(f, x)` needs the inputs again

    @property
    def d(self) -> int:
        """Width of what is read."""
        return self.encoder.shape[-2]

    @property
    def features(self) -> int:
        """Number of features."""
        return self.encoder.shape[-1]

    def product(self, a: Any, b: Any) -> Any:
        """$a b$ over the last axis of a and the first of b, in `matmul`'s dtype, summed in float32."""
        if self.matmul == "float32":
            return jnp.matmul(a, b, precision="highest")
        low = jnp.dtype(self.matmul)
        return jnp.matmul(a.astype(low), b.astype(low), preferred_element_type=a.dtype)

    def pre(self, x: Any) -> Any:
        """Pre-activations `(..., features)` of x `(..., d)`."""
        x = x * self.scale
        x = x - wide(self.bias, x) if self.centred else x
        pre = self.product(x, self.encoder)
        return pre + wide(self.encoder_bias, pre)

    def activate(self, pre: Any) -> Any:
        """Features from pre-activations, row by row, as at inference."""
        return jax.nn.relu(pre)

    def encode(self, x: Any) -> Any:
        """Features `(..., features)` of activations `(..., d)`, none below 0."""
        self.check(x)
        return self.activate(self.pre(x)).astype(x.dtype)

    def decode(self, f: Any) -> Any:
        """Activations `(..., d)` of features `(..., features)`."""
        return (self.reconstruct(f) / self.scale).astype(f.dtype)

    def reconstruct(self, f: Any) -> Any:
        """$f W_d + b$, in scaled units."""
        xhat = self.product(f, self.decoder)
        return xhat + wide(self.bias, xhat)

    def __call__(self, x: Any) -> Any:
        """The reconstruction of x, `decode(encode(x))`."""
        return self.decode(self.encode(x))

    def check(self, x: Any) -> None:
        """Weights are there, and x is as wide as they."""
        if isinstance(self.encoder, jax.ShapeDtypeStruct):
            kind = type(self).__name__
            raise ValueError(
                f"This {kind} has settings but no weights yet. Train it, sae, history = "
                f"ji.sae.train(kind, stream, key=key, steps=...), or draw some: {kind}(..., key=key)."
            )
        if not x.ndim or x.shape[-1] != self.d:
            raise ValueError(
                f"This {type(self).__name__} reads activations of width d={self.d}, the last axis; "
                f"got the shape {x.shape}."
            )

    def fold(self) -> Any:
        """The same function with `scale` 1: features in the units they had, weights in the site's.

        Law: `fold()(x)` is `self(x)`, and so are the features.
        """
        return filled(
            self,
            encoder=self.encoder * self.scale,
            decoder=self.decoder / self.scale,
            bias=self.bias / self.scale,
            scale=jnp.ones_like(self.scale),
        )

    # What training asks of a kind.

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        """Weights by name; `x (n, d)` and targets `y` are a sample of the data, or None."""
        raise NotImplementedError

    def initialise(self, key: Any, x: Any = None, y: Any = None) -> Any:
        """The same kind with weights of its own first step, from a sample where there is one."""
        return filled(self, **self.initial(key, x, x if y is None else y))

    def squares(self, error: Any) -> Any:
        r"""$e\, G\, e^\top$ of each row `(..., d_out)`, in float32; G is 1 where there is no metric."""
        if self.metric is None:
            return squares(error)
        error = error.astype(jnp.float32)
        one = "...i,ij->...j" if self.metric.ndim == 2 else "...si,sij->...sj"
        return jnp.sum(jnp.einsum(one, error, self.metric, precision="highest") * error, -1)

    def share(self, error: Any, target: Any) -> Any:
        """Squared error of a batch as a share of the spread of its targets."""
        target = target.astype(jnp.float32)
        spread = jnp.sum(self.squares(target - jnp.mean(target, 0, keepdims=True)))
        return jnp.sum(self.squares(error)) / jnp.where(spread > 0, spread, 1)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        """The loss of a batch `(batch, d)` with its targets (x itself, but for transcoders)."""
        raise NotImplementedError

    def optimizer(self, steps: int) -> Any:
        """The published recipe, an optax transform."""
        raise NotImplementedError

    def warm(self, step: Any, steps: int) -> Any:
        """The part of the sparsity coefficient in force at a step: 1 where nothing warms up."""
        return jnp.ones((), jnp.float32)

    def dead_after(self, batch: int) -> int:
        """How many steps without firing make a feature dead."""
        return max(1, 10_000_000 // batch)


def check_sizes(kind: str, **sizes: Any) -> None:
    """Every size is an int of 1 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(
                f"{kind} needs {name} of 1 or more, an int; got {size!r}. For example: "
                f"ji.sae.{kind}(d=512, features=4096{', k=32' if 'k' in sizes else ''})."
            )


def check_coefficient(kind: str, name: str, value: Any) -> None:
    """A coefficient is a number of 0 or more."""
    concrete = not isinstance(value, Tracer)
    if concrete and not (np.ndim(value) == 0 and np.isfinite(value) and value >= 0):
        raise ValueError(f"{kind}: {name} is a finite number of 0 or more; got {value!r}.")


def empty(*shape: int) -> jax.ShapeDtypeStruct:
    """The place of a weight that is not there yet."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def filled(kind: Any, **leaves: Any) -> Any:
    """The same kind with some leaves replaced, by name."""
    names = tuple(leaves)
    return eqx.tree_at(
        lambda k: tuple(getattr(k, n) for n in names),
        kind,
        tuple(leaves.values()),
        is_leaf=lambda leaf: leaf is None,
    )


def wide(v: Any, x: Any) -> Any:
    """A vector with as many axes as x, to meet its last ones."""
    return v.reshape((1,) * (x.ndim - v.ndim) + v.shape)


def unit(rows: Any) -> Any:
    """Rows over their norm; a row of zeros stays."""
    norm = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / jnp.where(norm > 0, norm, 1)


def directions(key: Any, features: int, d: int) -> Array:
    """Random rows `(features, d)` of norm 1."""
    return unit(jax.random.normal(key, (features, d), jnp.float32))


def squares(error: Any) -> Any:
    """Squared norm of each row, in float32."""
    return jnp.sum(jnp.square(error.astype(jnp.float32)), -1)
