"""A slice of the random cases; `python -m tests.random_cases` runs the 300 of each kind."""

import pytest

from jaxinterp._jax_versions import enable_x64

from .kinds import KINDS, run_case

GROUPS = [(kind, 0) for kind in KINDS]
"""Groups of cases, six or twelve of each kind: each group compiles programs of its own."""
MORE = [pytest.param(kind, 1, marks=pytest.mark.slow) for kind in ("edits", "sweep")]


@pytest.mark.parametrize(("kind", "group"), [*GROUPS, *MORE])
def test_a_few_random_cases(kind: str, group: int) -> None:
    with enable_x64(True):
        for member in range(12 if kind not in ("edits", "sweep") else 6):
            run_case(kind, 0, group, member)


def test_a_few_random_cases_in_float32() -> None:
    for member in range(6):
        run_case("metrics", 1, 0, member)
