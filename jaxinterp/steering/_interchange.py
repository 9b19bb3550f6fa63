r"""Interchange interventions on a subspace: $x \mapsto x + Q^\top Q\,(s - x)$, and the pairs of prompts that they need."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from .._arguments import as_array, as_floats, concrete
from ..core import Edit, map
from ..core._check import as_mask, check_mask
from ..tasks import Pairs
from ..typing import ArrayLike, IndexLike, MaskLike, TokensLike, ValueLike


def interchange(
    site: str,
    source: ValueLike,
    basis: ValueLike,
    weights: ValueLike | None = None,
    **where: IndexLike | None,
) -> Edit:
    r"""$x \mapsto x + Q^\top \mathrm{diag}(m)\, Q\,(s - x)$: a subspace gets the coordinates of another run.

    Distributed interchange intervention, Geiger et al. 2023 (https://arxiv.org/abs/2303.02536); with weights, the
    boundless one of Wu et al. 2023 (https://arxiv.org/abs/2305.08809).

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `source`: $s$, activations of the site in another run, which broadcast against it.
    - `basis (k, d)`: $Q$, orthonormal rows.
    - `weights (k,)`: $m$, the weight of each row; None (the default) for ones.

    **Returns:** an `Edit`. It computes in float32 at least.

    **Raises:** ValueError for a basis whose rows are not orthonormal to 1e-3.

    ```python
    _, acts = ji.run(model, corrupt, capture=["resid_post[1]"])
    basis = jnp.eye(model.config.d)[:2]                 # orthonormal rows
    edit = ji.steering.interchange("resid_post", acts["resid_post[1]"], basis, layer=1)
    logits, _ = ji.run(model, clean, edits=[edit])
    ```

    Laws: the coordinates along the rows are those of the source, all others stay; every orthonormal basis of
    the same span gives the same edit; with k = d it is `ji.replace`.
    """
    rows = as_floats(basis, "basis")
    if rows.ndim != 2 or (concrete(rows) and not _is_orthonormal(np.asarray(rows, np.float64))):
        raise ValueError(
            f"basis has orthonormal rows (k, d), k at most d; got the shape {rows.shape}"
            f"{', whose rows are not' if rows.ndim == 2 else ''}. Make them so: np.linalg.qr(basis.T)[0].T."
        )
    count = jnp.ones(rows.shape[0], rows.dtype) if weights is None else as_floats(weights, "weights")
    if count.shape != rows.shape[:1] or (concrete(count) and np.isnan(np.asarray(count, np.float64)).any()):
        raise ValueError(
            f"weights has one number for each of {rows.shape[0]} rows, not NaN; got {count} of the shape {count.shape}."
        )
    values = (as_floats(source, "source"), rows, count, jnp.zeros((), rows.dtype))
    return map(site, swapped, *values, **where)  # pyright: ignore[reportArgumentType]


def _is_orthonormal(rows: np.ndarray) -> bool:
    return len(rows) <= rows.shape[1] and bool(
        np.abs(rows @ rows.T - np.eye(len(rows))).max(initial=0) < 1e-3
    )


def swapped(x: Array, source: Array, basis: Array, weights: Array, whole: Array) -> Array:
    """`x` with the source's coordinates along the rows; with `whole` = 1 the source itself."""
    wide = np.promote_types(x.dtype, np.float32)
    start, goal, rows = (v.astype(wide) for v in (x, source, basis))
    fits = all(n in (1, m) for n, m in zip(goal.shape[::-1], x.shape[::-1], strict=False))
    if rows.shape[-1] != x.shape[-1] or goal.ndim > x.ndim or not fits:
        raise ValueError(
            f"interchange: the site has {x.shape} here, so that basis is (k, {x.shape[-1]}) and source broadcasts to the "
            f"site; got the shapes {rows.shape} and {goal.shape}. Read the source at the same site and positions."
        )
    move = jnp.broadcast_to(goal, start.shape) - start
    inner = jnp.einsum("...d,kd->...k", move, rows, precision="highest")
    part = jnp.einsum("...k,k,kd->...d", inner, weights.astype(wide), rows, precision="highest")
    return (start + part + whole.astype(wide) * (move - part)).astype(x.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Interchanges:
    """Pairs of prompts with the answer to the first when a variable has its value in the second.

    - `base (n, pos)`, `source (n, pos)`: token ids. The base is run with activations of the source.
    - `answer (n,)`: the token that a causal model of the task predicts then.
    - `choices (c,)` or `(n, c)`: the tokens among which the model's answer is read. None: all tokens in `answer`.
    - `mask`, `source_mask` `(n, pos)`: True at real tokens. None: all tokens are real.
    - `positions`: columns `(n,)` by name, the same in base and source.

    ```python
    planted = ji.toy.planted_subspace(key=jax.random.key(0), n=8)
    swaps = ji.steering.Interchanges(planted.base, planted.source, planted.answer)
    ```

    **Raises:** ValueError for shapes that differ, and for an answer that is not among the choices.
    """

    base: TokensLike
    source: TokensLike
    answer: ArrayLike
    choices: ArrayLike | None = None
    mask: MaskLike | None = None
    source_mask: MaskLike | None = None
    positions: Mapping[str, ArrayLike] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)
        base, source = (np.asarray(as_array(x)) for x in (self.base, self.source))
        answer = np.asarray(as_array(self.answer))
        whole = [np.issubdtype(x.dtype, np.integer) for x in (base, source, answer)]
        if (
            base.ndim != 2
            or not len(base)
            or source.shape != base.shape
            or answer.shape != base.shape[:1]
            or not all(whole)
        ):
            raise ValueError(
                "Interchanges are token ids base (n, pos) and source (n, pos) with answers (n,), n at least 1; got "
                f"{base.shape}, {source.shape} and {answer.shape}. Pad prompts to one length, with mask= and source_mask=."
            )
        choices = np.unique(answer) if self.choices is None else np.asarray(as_array(self.choices))
        choices = np.broadcast_to(choices, (len(base), choices.shape[-1]))
        hit = choices == answer[:, None]
        if not hit.any(-1).all():
            row = int(np.flatnonzero(~hit.any(-1))[0])
            raise ValueError(
                f"Each answer is one of its choices; that of row {row}, {answer[row]}, is none of {choices[row]}."
            )
        for name in ("mask", "source_mask"):
            if (mask := getattr(self, name)) is not None:
                check_mask(as_mask(mask), base.shape)
                put(name, np.asarray(mask))
        columns = {name: np.asarray(as_array(value)) for name, value in self.positions.items()}
        for name, value in columns.items():
            if value.shape != answer.shape or ((value < 0) | (value >= base.shape[1])).any():
                raise ValueError(
                    f"positions[{name!r}] are columns (n,) of the prompts, from 0 to {base.shape[1] - 1}."
                )
        for name, value in dict(
            base=base, source=source, answer=answer, choices=choices, positions=columns
        ).items():
            put(name, value)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The number of each answer among its choices."""
        return (np.asarray(self.choices) == np.asarray(self.answer)[:, None]).argmax(-1)

    def __len__(self) -> int:
        return len(np.asarray(self.base))

    def rows(self, which: IndexLike) -> "Interchanges":
        """Some of the pairs."""
        taken = lambda name: None if (x := getattr(self, name)) is None else np.asarray(x)[which]
        columns = {name: np.asarray(x)[which] for name, x in self.positions.items()}
        base, source, answer = (np.asarray(x)[which] for x in (self.base, self.source, self.answer))
        return Interchanges(
            base, source, answer, taken("choices"), taken("mask"), taken("source_mask"), columns
        )

    def columns(self, position: Any) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Where a position is in base and in source: a name, or the number of a real token."""
        if isinstance(position, str):
            if position not in self.positions:
                known = ", ".join(repr(name) for name in self.positions) or "none"
                raise ValueError(
                    f"There is no position {position!r}; there are {known}. An int counts real tokens."
                )
            named = np.asarray(self.positions[position])
            return named, named
        shape = np.shape(self.base)
        real = [np.ones(shape, bool) if m is None else np.asarray(m) for m in (self.mask, self.source_mask)]
        return _column(position, real[0]), _column(position, real[1])


def _column(number: int, real: Bool[np.ndarray, "n pos"]) -> Int[np.ndarray, " n"]:
    count = real.sum(-1)
    target = np.where(np.asarray(number) < 0, count + number, number)
    if ((target < 0) | (target >= count)).any():
        raise IndexError(
            f"positions: token {number} is outside of a prompt; the shortest has {count.min()} real tokens."
        )
    return (np.cumsum(real, -1) == target[:, None] + 1).argmax(-1)


def as_interchanges(pairs: Any) -> Interchanges:
    """Interchanges of `ji.tasks.Pairs`: each prompt with the other's answer, both ways."""
    if isinstance(pairs, Interchanges):
        return pairs
    if not isinstance(pairs, Pairs):
        raise ValueError(
            "pairs is a ji.steering.Interchanges(base, source, answer), or Pairs of ji.tasks; got "
            f"{type(pairs).__name__}."
        )
    if np.ndim(pairs.correct) != 1 or np.ndim(pairs.wrong) != 1:
        raise ValueError(
            f"Each prompt of {pairs.name} has a set of answers, and an interchange has one: choose them, as "
            "ji.steering.Interchanges(pairs.corrupt, pairs.clean, answer, choices, mask=pairs.mask)."
        )
    both = lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)])
    choices = np.stack([pairs.correct, pairs.wrong], -1)
    mask = None if pairs.mask.all() else both(pairs.mask, pairs.mask)
    return Interchanges(
        both(pairs.corrupt, pairs.clean),
        both(pairs.clean, pairs.corrupt),
        both(pairs.correct, pairs.wrong),
        both(choices, choices),
        mask,
        mask,
        {name: both(columns, columns) for name, columns in pairs.positions.items()},
    )
