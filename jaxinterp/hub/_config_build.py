"""Our config from its fields: sizes of a dataclass, each of its type, nested parts by their kind."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from .._read import shown
from ._errors import UnhandledConfig, near
from ._port import Port


def build_config(port: Port, cls: type, fields: dict[str, Any]) -> Any:
    """Our config from our fields; dotted ones make a nested dataclass (`rope.factor`)."""
    for field, other in port.config.get("fallback", {}).items():
        if field not in fields and other in fields:
            fields[field] = fields[other]
    groups: dict[str, dict[str, Any]] = {}
    for field in [field for field in fields if "." in field]:
        outer, inner = field.split(".")
        groups.setdefault(outer, {})[inner] = fields.pop(field)
    for outer, group in groups.items():
        reads = fields_read(port, outer, group.get("kind"))
        if reads:
            inner_class = _dataclass_of(typing.get_type_hints(cls)[outer])
            group = {key: value for key, value in group.items() if key in reads}
            fields[outer] = _call(port, inner_class, group)
    return _call(port, cls, fields)


def fields_read(port: Port, outer: str, kind: str | None) -> list[str]:
    """The fields that a nested part of this kind has; none where it changes nothing."""
    if kind is None:
        return []
    kinds = port.config.get("kinds", {}).get(outer, {})
    if not isinstance(kind, str) or kind not in kinds:
        spelling = (*_spellings(port, "kind"), f"{outer}.kind")[0]
        raise UnhandledConfig(
            f"{spelling} = {shown(kind)} is not done here; the kinds are {', '.join(kinds)} "
            f"([config.kinds.{outer}] of {port.path.name})."
        )
    return ["kind", *kinds[kind]] if kinds[kind] else []


def _call(port: Port, cls: type, fields: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]
    if wrong := [name for name in fields if name not in known]:
        raise ValueError(
            f"{port.path}: [config.keys] maps {(*_spellings(port, wrong[0]), 'a key')[0]!r} to "
            f"{wrong[0]!r}, which is no field of {cls.__name__}{near(wrong[0], known)}; its fields "
            f"are {', '.join(known)}."
        )
    for field in dataclasses.fields(cls):
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in fields:
            theirs = _spellings(port, field.name)
            if not theirs:
                raise UnhandledConfig(
                    f"{port.path.name} must say `{field.name}` of {cls.__name__}: by a key, "
                    f'"their_key" = "{field.name}" in [config.keys], or as a constant, '
                    f"{field.name} = ... in [config]."
                )
            raise UnhandledConfig(
                f"The port of {port.family} needs {' or '.join(theirs)} in {port.config_is}; it is absent."
            )
    typed = {}
    for name, value in fields.items():
        options = [hint for hint in typing.get_args(hints[name]) if hint is not type(None)]
        wanted = options[0] if len(options) == 1 else hints[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if wanted is float and number and abs(value) < 1e300:
            value = float(value)
        elif wanted is int and number and math.isfinite(value) and value == int(value):
            value = int(value)
        elif wanted in (int, float, bool, str) and not _is(value, wanted, options):
            theirs = _spellings(port, name)
            where = port.config_is if theirs else f"[config] of {port.path.name}"
            raise UnhandledConfig(
                f"`{(*theirs, name)[0]}` must be {_WORDS[wanted]}; {where} has {shown(value)}."
            )
        typed[name] = value
    try:
        return cls(**typed)
    except ValueError as error:
        names = {
            theirs: ours
            for theirs, ours in port.config.get("keys", {}).items()
            if ours.split(".")[-1] in typed
        }
        spellings = ", ".join(f"{ours} is {theirs}" for theirs, ours in list(names.items())[:12])
        raise UnhandledConfig(f"{port.config_is} makes no model: {error} Of {spellings}.") from error


_WORDS = {
    int: "of type int",
    float: "a finite number, of type float",
    bool: "of type bool",
    str: "a text, of type str",
}


def _is(value: Any, wanted: type, options: list[Any]) -> bool:
    """Whether a value that is neither of the numbers is of the type of its field."""
    return (value is None and bool(options)) or (wanted in (bool, str) and isinstance(value, wanted))


def _spellings(port: Port, field: str) -> list[str]:
    return [key for key, ours in port.config.get("keys", {}).items() if ours.split(".")[-1] == field]


def _dataclass_of(hint: Any) -> type:
    options = typing.get_args(hint) or (hint,)
    return next(o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o))
