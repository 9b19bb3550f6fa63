"""Settings that are a dataclass, checked field by field when one is made."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._schema import FLAG, SIZE, TEXT, Rule, number, shown

_RULES: dict[Any, Rule] = {int: SIZE, float: number(), bool: FLAG, str: TEXT}


def check_fields(settings: Any, rules: Mapping[str, Rule]) -> None:
    """Every int is a size of 1 or more, every float finite, every flag a bool, every text a text.

    `rules` are those of fields with a range of their own. Numbers of NumPy become Python's, and an int
    stands for a float. What is annotated as None too may be None.

    **Raises:** ValueError that names the class, the field, the rule and what was given.
    """
    kind = type(settings)
    for name, hint in typing.get_type_hints(kind).items():
        options = typing.get_args(hint) if _is_union(hint) else (hint,)
        wanted = next((option for option in options if option in _RULES), None)
        if wanted is None or name not in {field.name for field in dataclasses.fields(settings)}:
            continue
        value = getattr(settings, name)
        if isinstance(value, np.generic):
            value = value.item()
            object.__setattr__(settings, name, value)
        if value is None and type(None) in options:
            continue
        rule = rules.get(name, _RULES[wanted])
        if not rule.holds(value):
            raise ValueError(f"{kind.__name__} needs {name} to be {rule.words}; got {name}={shown(value)}.")
        if wanted is float and isinstance(value, int):
            object.__setattr__(settings, name, float(value))


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
