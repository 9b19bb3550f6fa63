"""How many examples of a feature are shown, and how wide each is."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ExampleSettings:
    """The number of examples of a feature in `examples`, and their width.

    - `top`: how many contexts with the largest activations, one example from each context; 20 by default.
    - `intervals`: how many intervals of equal width from 0 to the largest activation; 11 by default, at most 100.
    - `per`: how many examples of each interval; 2 by default.
    - `window`: the number of tokens before and after an example; `(12, 4)` by default. One int stands for both.

    ```python
    settings = ji.sae.ExampleSettings(top=5, intervals=4, window=8)
    ji.sae.examples(sae, model, corpus, site=site, settings=settings).values.shape      # (features, 5)
    ```
    """

    top: int = 20
    intervals: int = 11
    per: int = 2
    window: int | tuple[int, int] = (12, 4)

    def sides(self) -> tuple[int, int]:
        """The tokens before and after an example. Raises ValueError for settings out of range."""
        for name in ("top", "intervals", "per"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"examples needs {name} of 1 or more, an int; got {value!r}.")
        wide = self.window
        before, after = wide if isinstance(wide, tuple | list) else (wide, wide)
        if self.intervals > 100 or before < 0 or after < 0:
            raise ValueError(
                "examples takes at most 100 intervals, and a window of tokens before and after, at "
                f"least 0; got intervals={self.intervals}, window={self.window}."
            )
        return int(before), int(after)
