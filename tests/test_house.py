"""The numbers of the house stay where they are, or fall: see `tests/house.py`."""

import pytest

from tests.house import limits, numbers

COUNTED = numbers()


@pytest.mark.parametrize("name", sorted(limits()))
def test_a_number_of_the_house_does_not_rise(name: str) -> None:
    value, limit = COUNTED[name], limits()[name]
    assert value <= limit, f"{name} is {value:g}, at most {limit:g}: python -m tests.house {name}"


def test_every_number_has_a_limit() -> None:
    assert set(COUNTED) == set(limits())
