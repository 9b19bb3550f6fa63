"""Scores on blocks of places that no probe was fitted on."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..._tabular import Tabular
from ...typing import ArrayLike
from ._geography import COLUMNS, as_pair, haversine, proximity_error
from ._ridge import as_targets, ridge


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut(Tabular):
    """Errors inside a block that a probe has not seen; made by `ji.probes.block_holdout`.

    - `block`: the name of the block. `count`: the number of its examples.
    - `error`: the median distance between predictions and targets (kilometres, or units of the targets) for the
      probe that has not seen the block. `nominal`: the same for probes that leave out one example.
    - `proximity`, `nominal_proximity`: the proximity errors of these probes within the block.

    ```python
    places = np.stack([rng.uniform(-60, 60, len(x)), rng.uniform(-180, 180, len(x))], 1)
    country = np.array(["here", "there"])[rng.integers(0, 2, len(x))]
    largest = ji.probes.block_holdout(x, places, country)[0]
    largest.block, largest.error, largest.nominal
    ```
    """

    block: str | int | float
    count: int
    error: float
    nominal: float
    proximity: float
    nominal_proximity: float


def block_holdout(
    x: ArrayLike,
    y: ArrayLike,
    blocks: ArrayLike,
    *,
    only: Iterable[Any] | None = None,
    least: int = 20,
    columns: tuple[str, str] | None = COLUMNS,
    lambdas: ArrayLike | None = None,
) -> list[HeldOut]:
    r"""$\hat y_B = f_{\setminus B}(x_B)$: predicts a country, a state or a decade without any of its examples.

    A probe may have learned which names belong to which country, and not a map. Such a probe fails on a country that
    it has not seen. The nominal error is that of the same examples when each is left out by itself (`left_out` of
    `ridge`). Gurnee & Tegmark 2023 (https://arxiv.org/abs/2310.02207).

    **Arguments:**

    - `x (n, d)`: activations. Remove rows with the same name first: a probe that has seen one knows the other.
    - `y (n, 2)`: places in degrees, or with `columns=None` any targets.
    - `blocks (n,)`: the name of each example's block.
    - `only`: the blocks to leave out. Default None: all.
    - `least`: the fewest examples of a block. Default 20.
    - `columns`: as in `haversine`.
    - `lambdas`: as in `ridge`.

    **Returns:** a list of `HeldOut`, the largest block first.

    **Raises:** as `ridge` and `proximity_error`; ValueError where no block is large enough.

    ```python
    places = np.stack([rng.uniform(-60, 60, len(x)), rng.uniform(-180, 180, len(x))], 1)
    country = np.array(["here", "there", "nowhere"])[rng.integers(0, 3, len(x))]
    ji.probes.block_holdout(x, places, country)
    ```

    Law: predictions of a block do not depend on its own targets.
    """
    x, y, blocks = np.asarray(x), as_targets(y), np.asarray(blocks)
    if blocks.shape != (len(y),):
        raise ValueError(f"There is one block per example, ({len(y)},); got the shape {blocks.shape}.")
    names, counts = np.unique(blocks, return_counts=True)
    wanted = None if only is None else {str(each) for each in only}
    chosen = [
        (name, int(count))
        for name, count in zip(names, counts, strict=True)
        if count >= max(least, 2) and (wanted is None or str(name) in wanted)
    ]
    if not chosen:
        raise ValueError(
            f"No block has least={max(least, 2)} examples; the largest is {names[counts.argmax()]!r} "
            f"with {counts.max()}. Lower least, or name blocks more coarsely."
        )
    as_pair(y, y, columns)
    nominal = ridge(x, y, lambdas=lambdas).left_out
    out = []
    for name, count in sorted(chosen, key=lambda item: -item[1]):
        inside = blocks == name
        seen = ridge(x[~inside], y[~inside], lambdas=lambdas).predict(x[inside])
        errors = []
        for predicted in (seen, nominal[inside]):
            a, b = as_pair(y[inside], predicted, columns)
            far = np.sqrt(((a - b) ** 2).sum(-1)) if columns is None else haversine(a, b, columns=columns)
            errors += [float(np.median(far)), float(proximity_error(a, b, columns=columns))]
        out.append(HeldOut(name.item(), count, errors[0], errors[2], errors[1], errors[3]))
    return out
