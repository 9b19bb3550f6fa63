"""A slice of the random cases; `python -m tests.random_cases` runs the 300 of each kind."""

import pytest

from jaxinterp._jax_versions import enable_x64
from tests.models import sampled

from .kinds import KINDS, run_case

FIRST = ("edits", "metrics", "gradients")
"""Kinds of the default suite. Each group of cases compiles programs of its own."""


# `.ci/run` runs forty cases of every kind in its section `numbers`.
@pytest.mark.parametrize(
    ("kind", "group"),
    sampled(*((kind, 0) for kind in FIRST), exhaustive=[(kind, 0) for kind in KINDS if kind not in FIRST]),
)
def test_a_few_random_cases(kind: str, group: int) -> None:
    with enable_x64(True):
        for member in range(12 if kind not in ("edits", "sweep") else 6):
            run_case(kind, 0, group, member)


def test_a_few_random_cases_in_float32() -> None:
    for member in range(6):
        run_case("metrics", 1, 0, member)
