"""How a heat map is drawn, beside what it draws: one object for `heatmap`, `heatmaps` and `mpl`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class HeatmapSettings:
    """The colours, the marks and the caption of a heat map.

    - `diverging`: whether there are two colours with the neutral one at 0. By default only where a value is negative.
    - `limits`: the ends (low, high) of the colour bar. By default they are those of the values.
    - `mark`: the meaning of a marked cell, in one word or two; "significant" by default.
    - `caption`: a sentence below the figure.
    - `bar`: whether `ji.viz.mpl` draws the colour bar; true by default. HTML always has one.

    ```python
    settings = ji.viz.HeatmapSettings(limits=(0, 1), caption="Scores of one batch of prompts.")
    ji.viz.heatmap([[0.2, 0.9]], axis_names=("layer", "head"), settings=settings)
    ```
    """

    diverging: bool | None = None
    limits: tuple[float | int, float | int] | None = None
    mark: str = "significant"
    caption: str = ""
    bar: bool = True
