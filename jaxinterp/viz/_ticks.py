"""Round numbers for the axes of a figure."""

import math


def ticks(low: float | int, high: float | int, about: int = 5) -> list[float]:
    """Round numbers that enclose [low, high]: `ticks(0, 9.3) == [0, 2, 4, 6, 8, 10]`."""
    span = max(float(high - low), 1e-9)
    step = 10.0 ** math.floor(math.log10(span / about))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float | int, high: float | int, about: int = 9) -> list[float]:
    """Powers of 2, 4, 8 ... or of 10 in [low, high]: `log_ticks(1, 8) == [1, 2, 4, 8]`."""
    decades = math.log10(max(high / low, 1.0))
    base = 10.0 if decades > 4 else 2.0
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    every = max(1, -(-(last - first + 1) // about))
    return [base**i for i in range(first, last + 1, every)] or [float(low)]
