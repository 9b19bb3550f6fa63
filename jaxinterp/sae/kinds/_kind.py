r"""What a kind is: the settings of a dictionary, its first weights, its loss and its optimizer."""

import abc
import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import equinox as eqx
import jax.numpy as jnp

from ..._arguments import kind_of
from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike, Self
from ._checks import check_sizes
from ._losses import Losses, Progress
from ._rows import squared_norm

if TYPE_CHECKING:
    from ._dictionary import Dictionary


Shapes: TypeAlias = dict[str, tuple[int, ...]]
"Shapes of arrays by name."
KindSettings: TypeAlias = dict[str, Any]
"The arguments of a kind's constructor by name, as JSON has them, tuples apart."
INIT = "sae = kind.init(key), of the kind that is made without it"
"What to write instead of `key=` among the settings of a kind."


class Kind(eqx.Module):
    r"""The settings of a dictionary, with its first weights, its loss and its optimizer.

    An abstract class. A subclass has `init`, `dictionary`, `loss` and `optimizer`, keeps each argument of
    its constructor under the argument's own name, and inherits the rest. Coefficients are arrays, so that
    another value compiles nothing; everything else is static.

    **Arguments:**

    - `d`: the width of the rows that its dictionaries read;
    - `features`: the number of features;
    - `matmul`: the dtype of the products, "float32", "bfloat16" or "float16"; sums are in float32;
    - `centred`: whether the bias is subtracted from inputs.

    ```python
    kind = ji.sae.TopK(d=32, features=64, k=4)
    sae = kind.init(jax.random.key(0))
    ```
    """

    d: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    matmul: str = eqx.field(static=True)
    centred: bool = eqx.field(static=True)
    metric: JaxArray | None  # (d_out, d_out), see `with_metric`

    def __init__(self, d: int, features: int, *, matmul: str = "float32", centred: bool = True) -> None:
        check_sizes(type(self).__name__, d=d, features=features)
        if matmul not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"matmul is float32, bfloat16 or float16; got {matmul!r}.")
        self.d, self.features, self.matmul, self.centred = d, features, matmul, centred
        self.metric = None

    @abc.abstractmethod
    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> "Dictionary":
        """A dictionary with its first weights.

        **Arguments:**

        - `key`: a `jax.random.key`;
        - `x (n, d)`: a sample of the inputs, for scales and biases; without it they are 1 and 0;
        - `y (n, d_out)`: a sample of the targets, by default x.
        """

    @abc.abstractmethod
    def dictionary(self, **arrays: Any) -> "Dictionary":
        """The dictionary of these arrays. Nothing is checked: `ji.sae.from_arrays` checks."""

    @abc.abstractmethod
    def loss(self, dictionary: Any, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The loss of one batch.

        **Arguments:**

        - `dictionary`: the dictionary in its present state.
        - `x (batch, d)`: the inputs.
        - `y (batch, d_out)`: the targets; x itself, except for transcoders.
        - `now`: the `Progress` of the training.
        """

    @abc.abstractmethod
    def optimizer(self, steps: int) -> OptimizerLike:
        """The published recipe for a run of so many steps, a transform of optax."""

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {
            "encoder": (self.d, self.features),
            "encoder_bias": (self.features,),
            "decoder": (self.features, self.d),
            "bias": (self.d,),
            "scale": (),
        }

    def optional_shapes(self) -> Shapes:
        """The shapes of arrays that a dictionary may have besides, by name."""
        return {}

    def settings(self) -> KindSettings:
        """The arguments that make this kind again; coefficients as floats. `metric` is not among them."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        values = {name: getattr(self, name) for name in names}
        return {name: float(value) if eqx.is_array(value) else value for name, value in values.items()}

    def replace(self, **settings: Any) -> Self:
        """The same kind with other settings."""
        made = type(self)(**{**self.settings(), **settings})
        return made.with_numbers(metric=self.metric)

    def with_numbers(self, **numbers: Any) -> Self:
        """The same kind with other coefficients or another metric, which are not checked."""
        names = tuple(numbers)
        where = lambda kind: tuple(getattr(kind, name) for name in names)
        return eqx.tree_at(where, self, tuple(numbers.values()), is_leaf=lambda leaf: leaf is None)

    def start(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> "Dictionary":
        """The dictionary with which a training begins: one with first weights."""
        return self.init(key, x, x if y is None else y)

    # What training asks of a kind. Each has a default.

    def constrain(self, optimizer: OptimizerLike) -> OptimizerLike:
        """The optimizer with the constraints of the kind; unchanged by default."""
        return optimizer

    def project(self, dictionary: Any) -> Any:
        """Averaged weights, projected onto the constraints of the kind; unchanged by default."""
        return dictionary

    def warm(self, step: JaxArray, steps: int) -> JaxArray:
        """The share of the sparsity coefficient that is used at a step; 1 without a warm-up."""
        return jnp.ones((), jnp.float32)

    def dead_after(self, batch_size: int) -> int:
        """The number of steps without firing that make a feature dead."""
        return max(1, 10_000_000 // batch_size)

    @property
    def renewals(self) -> tuple[int, ...]:
        """The steps at which dead features are drawn anew."""
        return ()

    @property
    def grain(self) -> int:
        """A number that the number of features of a block divides, for steps in blocks; 0 where a step takes all at once."""
        return 0

    # What a sweep asks: members of one program differ in numbers alone.

    @property
    def limit(self) -> int | None:
        """The number of features per row that a mask can lower, or None."""
        return None

    def with_limit(self, limit: int) -> Self:
        """The same kind with another number of features per row, where it has one."""
        return self

    def program(self) -> tuple[Any, ...]:
        """The static settings that members of one program share: all but `member_settings`."""
        static = [field.name for field in dataclasses.fields(self) if field.metadata.get("static")]
        free = self.member_settings()
        return (type(self), *((name, getattr(self, name)) for name in static if name not in free))

    def member_settings(self) -> tuple[str, ...]:
        """The static settings in which members of one program may differ."""
        return ("features",)

    # Distances of reconstructions, in the metric where there is one.

    def squares(self, error: JaxArray) -> JaxArray:
        r"""$e\, G\, e^\top$ of each row `(..., d_out)`, in float32; G is 1 where there is no metric."""
        if self.metric is None:
            return squared_norm(error)
        error = error.astype(jnp.float32)
        one = "...i,ij->...j" if self.metric.ndim == 2 else "...si,sij->...sj"
        return jnp.sum(jnp.einsum(one, error, self.metric, precision="highest") * error, -1)

    def share(self, error: JaxArray, target: JaxArray) -> JaxArray:
        """The squared error of a batch as a share of the spread of its targets."""
        target = target.astype(jnp.float32)
        spread = jnp.sum(self.squares(target - jnp.mean(target, 0, keepdims=True)))
        return jnp.sum(self.squares(error)) / jnp.where(spread > 0, spread, 1)

    # What a kind is not.

    def encode(self, x: ArrayLike) -> NoReturn:
        """Raises ValueError: a kind has no weights."""
        raise self._no_weights()

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> NoReturn:
        """Raises ValueError: a kind has no weights."""
        raise self._no_weights()

    def _no_weights(self) -> ValueError:
        kind = type(self).__name__
        return ValueError(
            f"This {kind} has settings but no weights yet. Train it, sae, history = "
            "ji.sae.train(kind, stream, key=key, steps=...), or draw some: sae = kind.init(key)."
        )


def check_coder(sae: Any) -> None:
    """A dictionary, or an object with `encode` and `decode`, or with a `decoder`. Raises ValueError for a kind, and for all else."""
    if isinstance(sae, Kind):
        raise ValueError(
            f"{type(sae).__name__} is a kind, which has no weights. A dictionary of it: sae, history = "
            "ji.sae.train(kind, stream, key=key), or kind.init(key)."
        )
    codes = callable(getattr(sae, "encode", None)) and callable(getattr(sae, "decode", None))
    if not codes and not hasattr(sae, "decoder"):
        raise ValueError(
            f"sae is a dictionary, with encode and decode, and stands before the model; got {kind_of(sae)}. "
            "For example: ji.sae.evaluate(sae, model, tokens)."
        )
