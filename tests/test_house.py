"""The numbers of the house stay where they are, or fall: see `tests/house.py`."""

import pytest

from tests.house import limits, numbers


@pytest.fixture(scope="module")
def counted() -> dict[str, float]:
    """Counted when a test asks, and not in every process that collects this file."""
    return numbers()


@pytest.mark.parametrize("name", sorted(limits()))
def test_a_number_of_the_house_does_not_rise(counted: dict[str, float], name: str) -> None:
    value, limit = counted[name], limits()[name]
    assert value <= limit, f"{name} is {value:g}, at most {limit:g}: python -m tests.house {name}"


def test_every_number_has_a_limit(counted: dict[str, float]) -> None:
    assert set(counted) == set(limits())
