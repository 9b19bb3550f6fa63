"""How candidate labels of neurons are chosen and tested."""

import dataclasses

from .._arguments import as_int, as_number


@dataclasses.dataclass(frozen=True)
class CandidateSettings:
    """Settings of `ji.neurons.candidate_labels`.

    - `top`: how many top contexts of a neuron are compared with all contexts; 20 by default.
    - `skip`: how many first tokens of a context do not count; 0 by default.
    - `test`: the share of documents that are held out for F1; 0.3 by default.
    - `rate`: the expected share of false ones among the significant labels, as in `ji.stats.discoveries`; 0.05.
    - `level`: the coverage that intervals aim at; 0.95 by default.

    ```python
    settings = ji.neurons.CandidateSettings(top=50, rate=0.01)
    ```
    """

    top: int = 20
    skip: int = 0
    test: float = 0.3
    rate: float = 0.05
    level: float = 0.95

    def __post_init__(self) -> None:
        as_int(self.top, "top, the contexts of a neuron,", 1)
        as_int(self.skip, "skip", 0)
        for each in ("test", "rate", "level"):
            if not 0 < as_number(getattr(self, each), each, 0, 1) < 1:
                raise ValueError(f"{each} lies between 0 and 1; got {getattr(self, each)}.")
