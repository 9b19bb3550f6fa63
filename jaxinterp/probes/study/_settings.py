"""What a study reads, which probes it fits, and how."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from ...typing import DTypeLike

Methods = str | Iterable[str] | Mapping[str, Iterable[int] | None]
"Names of methods, or a mapping from names to the ks of each."


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """Settings of `study`.

    What is read:

    - `site`: a site of each layer, as in `ji.data.activations`. Default "mlp_post".
    - `layers`: which layers. Default None: all.
    - `reduce`: "mean" (the default), "max" or "last" over the tokens of a context; None: a row per token.
    - `dtype`: of the activations in the store. Default None: the dtype of the model.
    - `batch_size`: contexts per run of the model. Default 32. `shard`: batches per file. Default 64.

    Which probes are fitted, as in `probe_records`:

    - `methods`: names, or a mapping from names to the ks of each. Default "single" and "adaptive".
    - `ks`: numbers of neurons. Default None: `sparsities`.
    - `gamma`: the inverse ridge. Default 1. `balanced`: whether both classes weigh n/2. Default True.
    - `normalise`: whether units are divided by their deviation. Default True.
    - `resamples`: of the test rows, for intervals of 95%; 0 for none. Default 1000.
    - `time_limit`: seconds for each proof of "best_subset". Default 60.

    How rows are split and named:

    - `test`: the share of rows in the test, for each feature by class. Default 0.3.
    - `name`: of the model in the records. Default None: its own.

    ```python
    ji.probes.StudySettings(methods=["single"], layers=[1, 2], resamples=0)
    ```
    """

    site: str = "mlp_post"
    layers: Iterable[int] | None = None
    reduce: str | None = "mean"
    dtype: DTypeLike | None = None
    batch_size: int = 32
    shard: int = 64
    methods: Methods = ("single", "adaptive")
    ks: Iterable[int] | None = None
    gamma: float | int = 1.0
    balanced: bool = True
    normalise: bool = True
    resamples: int = 1000
    time_limit: float | int = 60
    test: float | int = 0.3
    name: str | None = None

    def __post_init__(self) -> None:
        """Holds layers and ks as tuples, so that an iterator serves every feature."""
        for field in ("layers", "ks"):
            given = getattr(self, field)
            if isinstance(given, Iterator):
                object.__setattr__(self, field, tuple(given))


RESPELLED = {
    field.name: f"settings=ji.probes.StudySettings({field.name}={field.default!r})"
    for field in dataclasses.fields(StudySettings)
} | {
    "bootstrap": "settings=ji.probes.StudySettings(resamples=1000)",
    "batch": "settings=ji.probes.StudySettings(batch_size=32)",
    "features": "labels=",
}
"Options that are settings now, or have another name."
