"""How subspaces are trained and tested: settings, layers and positions, batches, and which pairs test."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, as_number
from .._random import host_generator
from ..core._check import check_index, check_tokens, logit_count
from ..stats._intervals import check_level
from ..tasks import Pairs
from ..typing import LayersLike
from ._das_program import Schedule
from ._interchange import Interchanges, as_interchanges


@dataclasses.dataclass(frozen=True)
class SubspaceSettings:
    """Settings of `das` and `boundless_das`: how subspaces are trained and tested.

    - `steps`, `batch_size`, `learning_rate`: those of Adam; 200, 32 and 0.1 by default. The rate falls to zero along a
      cosine.
    - `held_out`: the share of the pairs that test, where no other pairs are given; 0.25 by default. Both directions of
      a pair are on one side. Test pairs that also occur among the training pairs are left out.
    - `temperature`: the temperature of the boundaries of boundless DAS, at the first and the last step; (4.0, 0.1) by
      default. It falls geometrically.
    - `penalty`: the cost of all directions in the loss of boundless DAS; 1 by default. A share of the directions costs
      the same share of it.
    - `level`: the coverage of the intervals; 0.95 by default.
    - `cells_at_once`: how many subspaces are trained side by side; None (the default) for all. Fewer need less memory.

    ```python
    settings = ji.steering.SubspaceSettings(steps=100, learning_rate=0.05)
    ```
    """

    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 0.1
    held_out: float = 0.25
    temperature: tuple[float, float] = (4.0, 0.1)
    penalty: float = 1.0
    level: float = 0.95
    cells_at_once: int | None = None

    def __post_init__(self) -> None:
        as_int(self.steps, "steps", 1)
        as_int(self.batch_size, "batch_size", 1)
        as_number(self.held_out, "held_out", 0.01, 0.99)
        as_number(self.learning_rate, "learning_rate", 1e-9, 1e9)
        as_number(self.penalty, "penalty", 0, 1e9)
        check_level(self.level)
        if self.cells_at_once is not None:
            as_int(self.cells_at_once, "cells_at_once", 1)
        if len(self.temperature) != 2 or not all(
            as_number(t, "temperature", 1e-6, 1e6) for t in self.temperature
        ):
            raise ValueError(f"temperature is that of the first and the last step; got {self.temperature}.")


def chosen_layers(layer: Any, count: int, site: str) -> list[int]:
    if layer is None:
        return list(range(count))
    chosen = (
        list(range(count))[layer] if isinstance(layer, slice) else np.atleast_1d(np.asarray(layer)).tolist()
    )
    for one in chosen:
        check_index("layer", as_int(one, "layer"), count, site)
    if not chosen:
        raise ValueError("layer names no layer; None is all of them.")
    return [one % count for one in chosen]


def chosen_heads(head: LayersLike | None, count: int | None, site: str) -> list[int] | None:
    """The heads that get a subspace each; None at a site without heads, whose `count` is None."""
    if count is None:
        if head is not None:
            raise ValueError(f'head= is for sites with heads, such as "z"; {site!r} has none. Leave it out.')
        return None
    if head is None:
        return list(range(count))
    chosen = list(range(count))[head] if isinstance(head, slice) else np.atleast_1d(np.asarray(head)).tolist()
    for one in chosen:
        check_index("head", as_int(one, "head"), count, site)
    if not chosen:
        raise ValueError("head names no head; None is all of them.")
    return [one % count for one in chosen]


def chosen_places(positions: Any) -> list[Any]:
    several = [positions] if isinstance(positions, str) or np.ndim(positions) == 0 else list(positions)
    if not several:
        raise ValueError("positions names no position; -1 is the last token.")
    return [one if isinstance(one, str) else as_int(one, "positions") for one in several]


def schedule_of(key: Any, n: int, settings: SubspaceSettings) -> Schedule:
    """Rows in epochs of random order, and the temperatures."""
    rng = host_generator(key, "ji.steering.das({}, ...)")
    size = min(settings.batch_size, n)
    epochs = -(-settings.steps * size // n) + 1
    rows = np.concatenate([rng.permutation(n) for _ in range(epochs)])[: settings.steps * size]
    first, last = settings.temperature
    temperature = first * (last / first) ** np.linspace(0, 1, settings.steps)
    return Schedule(jnp.asarray(rows.reshape(-1, size), jnp.int32), jnp.asarray(temperature, jnp.float32))


def split_pairs(
    key: Any, pairs: Any, test: Any, share: float
) -> tuple[Interchanges, dict[str, Interchanges]]:
    """What trains, and what tests by name, without rows of the former."""
    if test is None:
        if not isinstance(pairs, Pairs | Interchanges):
            as_interchanges(pairs)
        order = host_generator(key, "ji.steering.das({}, ...)").permutation(len(pairs))
        out = max(1, round(share * len(pairs)))
        take = lambda which: as_interchanges(
            pairs.rows(which) if isinstance(pairs, Interchanges) else pairs[which]
        )
        if out >= len(pairs):
            raise ValueError(f"DAS trains on some pairs and tests on others; got {len(pairs)}.")
        train, tests = take(order[out:]), {"held out": take(order[:out])}
    else:
        train = as_interchanges(pairs)
        named = test if isinstance(test, Mapping) else {"test": test}
        tests = {str(name): as_interchanges(one) for name, one in named.items()}
    seen = pair_bytes(train)
    for name, swaps in tests.items():
        new = np.asarray([row not in seen for row in pair_bytes(swaps)])
        if not new.any():
            raise ValueError(
                f"All pairs of the test {name!r} are among those that train; give other ones, or more."
            )
        tests[name] = swaps if new.all() else swaps.rows(np.flatnonzero(new))
    return train, tests


def check_pairs(swaps: Interchanges, config: Any) -> None:
    """Raises for tokens and choices that the model lacks: compiled programs cannot look at them."""
    for tokens in (swaps.base, swaps.source):
        check_tokens(np.asarray(tokens), config)
    choices, count = np.asarray(swaps.choices), logit_count(config)
    if choices.min() < 0 or choices.max() >= count:
        raise IndexError(
            f"Answers and choices are tokens, 0..{count - 1}; got {choices.min()} to {choices.max()}. Take them from this "
            "model's tokenizer: tokenizer.token_id(' Mary')."
        )


def pair_bytes(swaps: Interchanges) -> list[tuple[bytes, bytes]]:
    base, source = np.asarray(swaps.base, np.int64), np.asarray(swaps.source, np.int64)
    return [(a.tobytes(), b.tobytes()) for a, b in zip(base, source, strict=True)]
