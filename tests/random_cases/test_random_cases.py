"""A slice of the random cases; `python -m tests.random_cases` runs the 300 of each kind."""

import pytest

from jaxinterp._jax_versions import enable_x64

from .kinds import KINDS, run_case

GROUPS = {"edits": 2, "sweep": 2}
"""Twelve cases of each kind, in so many groups: each group compiles programs of its own."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_random_cases(kind: str) -> None:
    groups = GROUPS.get(kind, 1)
    with enable_x64(True):
        for case in range(12):
            run_case(kind, 0, case % groups, case // groups)


def test_a_few_random_cases_in_float32() -> None:
    for member in range(6):
        run_case("metrics", 1, 0, member)
