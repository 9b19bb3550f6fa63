"""How a search for the best support works: tolerances, screening, a start."""

from dataclasses import dataclass

from ...typing import ArrayLike


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `best_subset` that change how long the search takes, and not which support is optimal.

    - `tol`: the relative gap that counts as optimal. Default 1e-6.
    - `start`: a support to begin with (columns of x), or several. Default None.
    - `screen`: whether columns are dropped that are proven to be in no optimal support. Without it the search is
      slower and the result the same. Default True.
    - `inner_tol`: the relative gap of the regression on each support. Default 1e-10.

    ```python
    settings = ji.probes.SearchSettings(start=[3, 14], tol=1e-4)
    ji.probes.best_subset(x, y, k=2, settings=settings).support
    ```
    """

    tol: float = 1e-6
    start: ArrayLike | None = None
    screen: bool = True
    inner_tol: float = 1e-10

    def __post_init__(self) -> None:
        if not (self.tol > 0 and self.inner_tol > 0):
            raise ValueError(
                f"Tolerances are relative gaps above 0; got tol={self.tol}, inner_tol={self.inner_tol}."
            )


RESPELLED = {
    "tol": "settings=ji.probes.SearchSettings(tol=1e-6)",
    "start": "settings=ji.probes.SearchSettings(start=[3, 14])",
    "screen": "settings=ji.probes.SearchSettings(screen=False)",
    "inner_tol": "settings=ji.probes.SearchSettings(inner_tol=1e-10)",
}
"Options that are settings of the search now."
