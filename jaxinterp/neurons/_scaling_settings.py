"""What a comparison of models of several sizes reads, and which probes it fits."""

import dataclasses
from collections.abc import Iterator, Sequence

from .._arguments import as_int
from ..core._check import as_number
from ..typing import ArrayLike, FloatLike, IntLike

REDUCES = ("mean", "max", "last", "sum")


@dataclasses.dataclass(frozen=True)
class ScalingSettings:
    """Settings of `ji.neurons.scaling`.

    ```python
    settings = ji.neurons.ScalingSettings(ctx=64, reduces=("mean",), ks=(1, 2, 4), exact=(2,))
    ```

    What is read:

    - `ctx`: tokens of each document that are read, with BOS; at most those of the model's context. Default 256.
    - `skip`: first tokens of a document, after BOS, that do not count. Default 0.
    - `reduces`: how the tokens of a document become a row, some of "mean", "max", "last" and "sum". Default
      "mean" and "max".
    - `tokens`: rows of a feature of tokens. Default 600.
    - `layers`: at most so many layers of each model, evenly spread. Default None: all.
    - `batch_size`: documents per run of the model. Default 16.

    Which probes are fitted:

    - `ks`: numbers of neurons. Default 1, 2, 3, 4, 6, 8, 16, 32 and 64.
    - `exact`: numbers of neurons for which `best_subset` looks at the layer of the best neuron too. Default 2.
    - `time_limit`: seconds for each of these searches. Default 3.
    - `share`: the share of the dense probe's F1 that is enough. Default 0.95.
    - `readable`: the F1 of the dense probe from which a feature counts in the summaries of a model. Default 0.5.
    - `resamples`: of the test rows, for intervals of 95%; 0 for none. Default 200.
    - `test`: the share of documents in the test. Default 0.3.
    """

    ctx: IntLike = 256
    skip: IntLike = 0
    reduces: Sequence[str] = ("mean", "max")
    tokens: IntLike = 600
    layers: IntLike | None = None
    batch_size: IntLike = 16
    ks: ArrayLike = (1, 2, 3, 4, 6, 8, 16, 32, 64)
    exact: ArrayLike = (2,)
    time_limit: FloatLike = 3
    share: FloatLike = 0.95
    readable: FloatLike = 0.5
    resamples: IntLike = 200
    test: FloatLike = 0.3

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be."""
        call = "ji.neurons.ScalingSettings"
        if isinstance(self.reduces, Iterator):
            object.__setattr__(self, "reduces", tuple(self.reduces))
        if isinstance(self.reduces, str) or not set(self.reduces) <= set(REDUCES) or not self.reduces:
            raise ValueError(
                f"reduces are some of {', '.join(map(repr, REDUCES))}, as {call}(reduces=('mean', 'max')); got "
                f"{self.reduces!r}."
            )
        for name, least in (("ctx", 2), ("skip", 0), ("tokens", 4), ("batch_size", 1), ("resamples", 0)):
            as_int(getattr(self, name), name, least)
        if self.layers is not None:
            as_int(self.layers, "layers, the number of layers that are read,", 1)
        for name in ("share", "readable", "test"):
            as_number(getattr(self, name), name, 0, 1)
        if not self.share or not 0 < self.test < 1:
            raise ValueError(f"share is above 0, and test between 0 and 1; got {self.share} and {self.test}.")
        if 1 not in self.grid("ks"):
            raise ValueError(
                f"ks begins with 1, for a dedicated neuron is one that is enough alone: {call}(ks=(1, 2, 4)); got "
                f"{self.grid('ks')}."
            )
        self.grid("exact")

    def grid(self, name: str, most: int | None = None) -> list[int]:
        """The numbers of neurons `ks` or `exact`, rising, those that are no more than `most`."""
        ks = sorted({as_int(k, f"Each of {name}, a number of neurons,", 1) for k in getattr(self, name)})
        return [k for k in ks if most is None or k <= most]
