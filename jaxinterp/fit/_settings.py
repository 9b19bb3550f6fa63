"""How a training runs, reports and is saved: one settings object for all trainings."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._arguments import kind_of
from ..typing import FloatLike, FunctionLike, PathLike
from ._identity import check_resume


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a training runs, what it reports and where it is saved.

    - `steps_per_dispatch`: how many steps one call of the compiled program does. None: as many as the
      method suggests (16 for dictionaries, 1 for tuned lenses, whose batches are large).
    - `every`: after so many steps `evaluate` and `callback` are called; 0: never.
    - `evaluate`: a function `(params, step)` to a mapping of names to numbers, which go to the history.
      A name that the training has too, such as `loss`, becomes `evaluated_loss`.
      In a sweep over several sites it may be a mapping from a site to a function.
    - `callback`: a function `(step, numbers)` for loggers, with the last numbers by name. It may raise
      `ji.fit.Stop` to end the training at this step.
    - `average`: the decay of a moving average of the trained parameters, from 0 to below 1. The average
      is what is evaluated and returned. None: no average.
    - `sample`: how many rows of the data are read for what is estimated before the first step, such as
      the first weights of a dictionary.
    - `checkpoint`: a folder. If it has a checkpoint, the training continues from the newest one, and ends with the
      same parameters bit for bit. None: nothing is saved.
    - `checkpoint_every`: after so many steps, and at the end, a checkpoint is written.
    - `resume`: "same" refuses a checkpoint of other data or another optimizer, and of fewer steps where the
      schedule follows the number of steps. "longer" goes on to more steps all the same, and warns of
      what differs from one longer run; "force" goes on with other data and another optimizer too.
    - `progress`: whether a progress bar is shown on stderr.

    ```python
    settings = ji.fit.Settings(every=100, callback=print, checkpoint="run", progress=False)
    ```

    **Raises:** ValueError for counts that are no ints of 1 or more, other words for `resume`, and an
    `evaluate` or `callback` that is no function.
    """

    steps_per_dispatch: int | None = None
    every: int = 0
    evaluate: FunctionLike | Mapping[Any, FunctionLike] | None = None
    callback: FunctionLike | None = None
    average: FloatLike | None = None
    sample: int = 32_768
    checkpoint: PathLike | None = None
    checkpoint_every: int = 1000
    resume: str = "same"
    progress: bool = True

    def __post_init__(self) -> None:
        check_counts(every=self.every, sample=self.sample, checkpoint_every=self.checkpoint_every)
        if self.steps_per_dispatch is not None:
            check_counts(steps_per_dispatch=self.steps_per_dispatch)
        check_resume(self.resume)
        number = isinstance(self.average, int | float | np.number) and not isinstance(self.average, bool)
        if self.average is not None and not (number and 0 <= self.average < 1):
            raise ValueError(
                f"average is the decay of a moving average, from 0 to below 1; got {self.average!r}. For "
                "example: average=0.999."
            )
        by_site = self.evaluate.values() if isinstance(self.evaluate, Mapping) else [self.evaluate]
        functions = [("evaluate", "(params, step)", one) for one in by_site]
        for name, arguments, one in [*functions, ("callback", "(step, numbers)", self.callback)]:
            if one is not None and not callable(one):
                raise ValueError(f"{name} is a function of {arguments}; got {kind_of(one)}.")


if TYPE_CHECKING:
    SettingsLike: TypeAlias = Settings
    "Settings; at run time anything, which `check_settings` refuses in its own words."
else:
    SettingsLike = Any


class Stop(Exception):
    """The exception with which a callback ends a training at the current step.

    The training returns the parameters of this step, and its checkpoint records that the training has ended.

    ```python
    def callback(step, numbers):
        if numbers["loss"] < 0.01:
            raise ji.fit.Stop

    settings = ji.fit.Settings(every=10, callback=callback, progress=False)
    found = ji.fit.train(jnp.zeros(3), batches, loss, optax.adam(0.1), steps=100, settings=settings)
    ```
    """


def check_counts(**counts: Any) -> None:
    """Numbers of steps and rows: ints of 1 or more; `every` may be 0. Raises ValueError."""
    for name, value in counts.items():
        least = int(name != "every")
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} is an int of {least} or more; got {value!r}.")


def check_settings(settings: Any) -> Settings:
    """The settings, or the defaults for None. Raises ValueError for anything else."""
    if settings is None:
        return Settings()
    if not isinstance(settings, Settings):
        raise ValueError(
            "settings is a ji.fit.Settings, as settings=ji.fit.Settings(progress=False, every=100); got "
            f"{type(settings).__name__}."
        )
    return settings


OPTIONS = {
    **{field.name: f"settings=ji.fit.Settings({field.name}=...)" for field in dataclasses.fields(Settings)},
    "together": "settings=ji.fit.Settings(steps_per_dispatch=...)",
}
"For `respelled`: options of the loop, which were arguments of each training."
