"""How candidate labels of neurons are chosen and tested."""

import dataclasses

from .._arguments import as_int, as_number


@dataclasses.dataclass(frozen=True)
class CandidateSettings:
    """Settings of `candidate_labels`.

    - `top`: contexts of a neuron that are compared with all; 20 by default.
    - `skip`: first tokens of a context that do not count; 0 by default.
    - `test`: the share of documents that are held out for F1; 0.3 by default.
    - `rate`: the expected share of false ones among the significant labels, by `stats.discoveries`; 0.05.
    - `level`: the coverage that intervals aim at; 0.95 by default.
    """

    top: int = 20
    skip: int = 0
    test: float = 0.3
    rate: float = 0.05
    level: float = 0.95

    def __post_init__(self) -> None:
        as_int(self.top, "top, the contexts of a neuron,", 1)
        for each in ("test", "rate", "level"):
            if not 0 < as_number(getattr(self, each), each, 0, 1) < 1:
                raise ValueError(f"{each} lies between 0 and 1; got {getattr(self, each)}.")
