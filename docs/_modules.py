"""Signatures in the reference: Equinox modules, named tuples and typed dicts are made as dataclasses are."""

from collections.abc import Iterator
from typing import Any

import griffe

DATACLASS = griffe.ExprName("dataclass", parent=griffe.ExprName("dataclasses"))
"What the decorator `@dataclasses.dataclass` names."

FIELDS = ("equinox.Module", "typing.NamedTuple", "typing.TypedDict")
"Bases whose classes are made from their fields."


class Modules(griffe.Extension):
    """Marks these classes as dataclasses; griffe's own extension then makes their `__init__`."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for cls in list(_classes(pkg)):
            if _is_module(cls) and "__init__" not in cls.members:
                cls.decorators.append(griffe.Decorator(DATACLASS, lineno=None, endlineno=None))
                for member in cls.members.values():
                    if member.is_attribute and (field := _field(member.value)) is not None:
                        member.value = field.get("default")


def _classes(place: griffe.Object) -> Iterator[griffe.Class]:
    for member in place.members.values():
        if not member.is_alias and (member.is_module or member.is_class):
            if member.is_class:
                yield member
            yield from _classes(member)


def _is_module(cls: griffe.Class) -> bool:
    """Whether the class or one of its parents is made from its fields, though no decorator says so."""
    try:
        line = [cls, *cls.mro()]
    except ValueError:
        line = [cls]
    return any(getattr(base, "canonical_path", base) in FIELDS for part in line for base in part.bases)


def _field(value: Any) -> dict[str, Any] | None:
    """The arguments of `eqx.field(...)`, where the value is such a call."""
    if isinstance(value, griffe.ExprCall) and value.canonical_path in ("equinox.field", "dataclasses.field"):
        return {part.name: part.value for part in value.arguments if isinstance(part, griffe.ExprKeyword)}
    return None
