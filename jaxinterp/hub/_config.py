"""A checkpoint's `config.json` to our config and back, by the port's `[config]` table.

Every key must be accounted for. It is mapped to a field of ours, or it is known not to matter
(`ignore`), or it has the value at which the reference implementation does what our model does
(`defaults`). Anything else raises: a model that computes something else would load silently. What a
family never says is a constant of its table: a field of ours with its value (`norm = false`).
"""

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from .._read import TEXT, check, list_of, or_null, shown
from ._classes import config_of, find_model
from ._errors import UnhandledConfig, near
from ._port import Port

PARTS = ("model", "architectures", "include", "ignore", "required", "keys", "defaults", "kinds", "fallback")
"""What `[config]` is made of; every other entry is a constant, a field of ours."""

WRITTEN = ("model_type", "architectures", "torch_dtype", "bos_token_id", "eos_token_id")
"""What `export` adds to a config of any family: no part of the model."""


ROLES = {"model_type": or_null(TEXT), "architectures": or_null(list_of(TEXT))}


def model_class(port: Port) -> type:
    """The class that the port names: one of `jaxinterp.models`, or `"package.module:Class"`, which is
    imported already and a model."""
    return find_model(port.model, f"{port.path}: [config]")


def config_class(port: Port) -> type:
    """The dataclass of sizes of the model: `Class` has `ClassConfig`."""
    return config_of(model_class(port), f"{port.path}: [config]")


def constants(port: Port) -> dict[str, Any]:
    """The fields that the table itself gives, the same for every model of the family.

    Raises `ValueError` for an entry that is neither a part of a table nor a field.
    """
    given = {name: value for name, value in port.config.items() if name not in PARTS}
    given = dict(_flatten(given, set(given)))
    cls = config_class(port)
    fields = [field.name for field in dataclasses.fields(cls) if field.name != "source"]
    mapped = port.config.get("keys", {}).values()
    for name in given:
        if name.split(".")[0] not in fields:
            raise ValueError(
                f"{port.path.name}: [config] holds {', '.join(PARTS)}, and constants, fields of "
                f"{cls.__name__}; {name!r} is neither{near(name, [*PARTS, *fields])}"
            )
        if name in mapped:
            raise ValueError(
                f"{port.path.name}: the field {name!r} is a constant of [config] or has a key in "
                "[config.keys]; it cannot be both."
            )
    return given


def to_ours(port: Port, theirs: Mapping[str, Any]) -> Any:
    """Our config for the contents of a `config.json`.

    Raises `UnhandledConfig`, which names every key that the port does not account for.
    """
    keys: Mapping[str, str] = port.config.get("keys", {})
    ignore = [*WRITTEN, *port.config.get("ignore", [])]
    fixed = constants(port)
    defaults: Mapping[str, Any] = port.config.get("defaults", {})
    check(port.config_is, theirs, ROLES, error=UnhandledConfig)
    _check_architecture(port, theirs)
    nested = {key.split(".")[0] for key in [*keys, *defaults] if "." in key}
    found: dict[str, tuple[str, Any]] = {}
    unhandled: list[str] = []
    seen: set[str] = set()
    for key, value in _flatten(theirs, nested):
        seen.add(key)
        if value is None or any(fnmatchcase(key, known) for known in ignore):
            continue
        field = keys.get(key)
        if field is None:
            if key in defaults and value == defaults[key]:
                continue
            expected = f"must be {defaults[key]!r}" if key in defaults else "must be absent"
            unhandled.append(f"{key} = {shown(value)} ({expected})")
        elif field in found and found[field][1] != value:
            was = f"{found[field][0]} = {shown(found[field][1])}"
            unhandled.append(f"{key} = {shown(value)} (but {was})")
        else:
            found[field] = key, value
    absent = [key for key in port.config.get("required", []) if key not in seen]
    if absent and not unhandled:
        raise UnhandledConfig(
            f"The port of {port.family} needs {', '.join(absent)} in {port.config_is}; it is absent."
        )
    if unhandled:
        raise UnhandledConfig(
            f"The port of {port.family} ({port.path.name}) does not do what this config asks for: "
            + "; ".join(unhandled)
            + ". Loading it anyway would give another model. If a key has no effect on the forward "
            f"pass, say so: ji.load(..., ignore=[{unhandled[0].split(' = ')[0]!r}]), or [config] "
            "ignore in the table; see ports/README.md."
        )
    for key, field in keys.items():
        if field not in found and defaults.get(key) is not None:
            found[field] = key, defaults[key]
    return _build(port, {field: value for field, (_, value) in found.items()} | fixed)


def _check_architecture(port: Port, theirs: Mapping[str, Any]) -> None:
    known = port.config.get("architectures", [])
    asked = theirs.get("architectures") or []
    if known and asked and not set(asked) & set(known):
        raise UnhandledConfig(
            f"The port of {port.family} reads {', '.join(known)}; the config's `architectures` is "
            f"{asked}, which has another head or other parts."
        )


def _flatten(theirs: Mapping[str, Any], nested: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in theirs.items():
        if key in nested and isinstance(value, dict):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _build(port: Port, fields: dict[str, Any]) -> Any:
    """Our config from our fields; dotted ones make a nested dataclass (`rope.factor`)."""
    cls = config_class(port)
    for field, other in port.config.get("fallback", {}).items():
        if field not in fields and other in fields:
            fields[field] = fields[other]
    groups: dict[str, dict[str, Any]] = {}
    for field in [field for field in fields if "." in field]:
        outer, inner = field.split(".")
        groups.setdefault(outer, {})[inner] = fields.pop(field)
    for outer, group in groups.items():
        reads = _reads(port, outer, group.get("kind"))
        if reads:
            inner_class = _dataclass_of(typing.get_type_hints(cls)[outer])
            group = {key: value for key, value in group.items() if key in reads}
            fields[outer] = _call(port, inner_class, group)
    return _call(port, cls, fields)


def _reads(port: Port, outer: str, kind: str | None) -> list[str]:
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
        said = ", ".join(f"{ours} is {theirs}" for theirs, ours in list(names.items())[:12])
        raise UnhandledConfig(f"{port.config_is} makes no model: {error} Of {said}.") from error


_WORDS = {
    int: "of type int",
    float: "a finite number, of type float",
    bool: "of type bool",
    str: "a text, of type str",
}


def _is(value: Any, wanted: type, options: list[Any]) -> bool:
    """Whether a value that is neither of the numbers is of the type of its field."""
    return (value is None and bool(options)) or (wanted in (bool, str) and isinstance(value, wanted))


def _value(port: Port, config: Any, field: str) -> Any:
    """A field of ours, `rope.factor` too; None where its part is absent or does not read it."""
    outer, _, inner = field.rpartition(".")
    if not outer:
        return getattr(config, field)
    part = getattr(config, outer)
    used = part is not None and inner in _reads(port, outer, part.kind)
    return getattr(part, inner) if used else None


def _spellings(port: Port, field: str) -> list[str]:
    return [key for key, ours in port.config.get("keys", {}).items() if ours.split(".")[-1] == field]


def _dataclass_of(hint: Any) -> type:
    options = typing.get_args(hint) or (hint,)
    return next(o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o))


def to_theirs(port: Port, config: Any) -> dict[str, Any]:
    """The `config.json` for our config, in the spelling that the table lists first.

    Raises `UnhandledConfig` when the foreign format cannot say what our config says.
    """
    theirs: dict[str, Any] = {
        "model_type": port.family,
        "architectures": port.config.get("architectures", [])[:1],
    }
    written: set[str] = set()
    for key, field in port.config.get("keys", {}).items():
        value = _value(port, config, field)
        if field in written or value is None:
            continue
        written.add(field)
        outer, _, inner = key.partition(".")
        if inner:
            theirs.setdefault(outer, {})[inner] = value
        else:
            theirs[outer] = value
    back = to_ours(port, theirs)
    if back != config:
        differ = [
            f"{f.name} = {getattr(config, f.name)!r}"
            for f in dataclasses.fields(config)
            if f.compare and getattr(config, f.name) != getattr(back, f.name)
        ]
        raise UnhandledConfig(
            f"The format of {port.family} cannot express {', '.join(differ)}: save the model with "
            "ji.save instead."
        )
    return theirs
