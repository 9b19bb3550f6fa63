"""How probes are trained by an optimizer with early stopping."""

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

from ...typing import ArrayLike, FloatLike, IntLike


@dataclasses.dataclass(frozen=True, eq=False)
class TrainSettings:
    """How `mlp` and `bilinear` train.

    - `batch_size`: examples of a step; 128 by default.
    - `epochs`: the most rounds over the examples; 100 by default.
    - `patience`: so many epochs in a row without gain end the training; 5 by default.
    - `min_gain`: an epoch gains if it lowers the dev loss of the last epoch with gain by more; 1e-3.
    - `plateau_factor`: each epoch without gain multiplies the size of later updates by it; 0.5.
    - `dev`: a share of the examples, on which the loss is watched, or a pair `(x, y)` of others; 0.1.
    - `dropout`: the share of hidden units left out at each step, of `mlp` only; 0.
    - `standardise`: whether features (and targets) are taken in units of their spread over the
      training rows; True.

    ```python
    settings = ji.probes.TrainSettings(batch_size=32, epochs=40)
    ```

    **Raises:** ValueError for numbers outside these ranges.
    """

    batch_size: IntLike = 128
    epochs: IntLike = 100
    patience: IntLike = 5
    min_gain: FloatLike = 1e-3
    plateau_factor: FloatLike = 0.5
    dev: FloatLike | tuple[ArrayLike, ArrayLike] = 0.1
    dropout: FloatLike = 0.0
    standardise: bool = True

    def __post_init__(self) -> None:
        counts = self.batch_size, self.epochs, self.patience
        if min(counts) < 1:
            raise ValueError(
                "batch_size, epochs and patience are 1 or more; got "
                f"{self.batch_size}, {self.epochs}, {self.patience}."
            )
        if not isinstance(self.dev, tuple) and not 0 < self.dev < 1:
            raise ValueError(f"dev is a share of the examples, as 0.1, or (x, y) of others; got {self.dev}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share of hidden units from 0 to below 1; got {self.dropout}.")


if TYPE_CHECKING:
    TrainSettingsLike: TypeAlias = TrainSettings
    "Settings; at run time anything, which `check_train_settings` refuses in its own words."
else:
    TrainSettingsLike = Any

OPTIONS = {
    **{
        field.name: f"settings=ji.probes.TrainSettings({field.name}=...)"
        for field in dataclasses.fields(TrainSettings)
    },
    "batch": "settings=ji.probes.TrainSettings(batch_size=...)",
    "decay": "settings=ji.probes.TrainSettings(plateau_factor=...)",
}
"For `respelled`: options that were arguments of `mlp` and `bilinear`."


def check_train_settings(settings: TrainSettingsLike | None) -> TrainSettings:
    """The settings, or the defaults for None. Raises ValueError for anything else."""
    if settings is None:
        return TrainSettings()
    if not isinstance(settings, TrainSettings):
        raise ValueError(
            "settings is a ji.probes.TrainSettings, as settings=ji.probes.TrainSettings(batch_size=32); got "
            f"{type(settings).__name__}."
        )
    return settings
