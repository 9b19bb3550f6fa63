"""How attribution patching takes its gradient."""

import dataclasses

from .._arguments import is_int
from .._text import shown

PATHS = (None, "input", "site")


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings, and whether the gradient through each layer is dropped: part of the compiled program."""

    qk_fix: bool
    freeze_norms: bool
    path: str | None
    steps: int
    drop: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttributionSettings:
    """How `ji.patching.attribution` takes its gradient.

    - `qk_fix`: at the sites of queries and keys (`q`, `k`, `q_rot`, `k_rot`, `q_in`, `k_in`), computes
      the change of the softmax exactly instead of to first order. Use it where attention is saturated.
    - `freeze_norms`: treats the denominators of all norms as constants.
    - `path`: None takes the gradient at the unpatched run. `"input"` averages it over `steps` runs
      whose embeddings go from one prompt to the other (integrated gradients: the effects at
      `site="embed"` add up to the whole change of the metric). `"site"` moves the site of one layer from one
      value to the other, in `steps` runs for each layer: the effects in each layer of each site add up.
    - `steps`: how many steps of the midpoint rule a `path` has; by default 32.
    - `progress`: a line on stderr once two seconds have passed; it says what is waited for.

    ```python
    settings = ji.patching.AttributionSettings(path="input", steps=64)
    ji.patching.attribution(model, clean, corrupt, metric, site="embed", over=("pos",), settings=settings)
    ```
    """

    qk_fix: bool = False
    freeze_norms: bool = False
    path: str | None = None
    steps: int = 32
    progress: bool = True

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise ValueError(f"path is None, 'input' or 'site'; got {shown(self.path)}.")
        if not is_int(self.steps) or self.steps < 1:
            raise ValueError(f"steps is a number of runs, 1 or more; got {self.steps!r}.")

    def options(self, *, drop: bool = False) -> Options:
        """What decides the compiled program."""
        steps = int(self.steps) if self.path else 1
        return Options(bool(self.qk_fix), bool(self.freeze_norms), self.path, steps, bool(drop))
