"""A checkpoint's `config.json` to our config and back, by the port's `[config]` table.

Every key must be accounted for. It is mapped to a field of ours, or it is known not to matter
(`ignore`), or it has the value at which the reference implementation does what our model does
(`defaults`). Anything else raises: a model that computes something else would load silently. What a
family never says is a constant of its table: a field of ours with its value (`norm = false`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from .._read import TEXT, check, list_of, or_null, shown
from ._classes import config_of, find_model
from ._config_build import build_config, fields_read
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
    entries = {name: value for name, value in port.config.items() if name not in PARTS}
    entries = dict(_flatten(entries, set(entries)))
    cls = config_class(port)
    fields = [field.name for field in dataclasses.fields(cls) if field.name != "source"]
    mapped = port.config.get("keys", {}).values()
    for name in entries:
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
    return entries


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
    return build_config(
        port, config_class(port), {field: value for field, (_, value) in found.items()} | fixed
    )


def _check_architecture(port: Port, theirs: Mapping[str, Any]) -> None:
    known = port.config.get("architectures", [])
    architectures = theirs.get("architectures") or []
    if known and architectures and not set(architectures) & set(known):
        raise UnhandledConfig(
            f"The port of {port.family} reads {', '.join(known)}; the config's `architectures` is "
            f"{architectures}, which has another head or other parts."
        )


def _flatten(theirs: Mapping[str, Any], nested: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in theirs.items():
        if key in nested and isinstance(value, dict):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _value(port: Port, config: Any, field: str) -> Any:
    """A field of ours, `rope.factor` too; None where its part is absent or does not read it."""
    outer, _, inner = field.rpartition(".")
    if not outer:
        return getattr(config, field)
    part = getattr(config, outer)
    used = part is not None and inner in fields_read(port, outer, part.kind)
    return getattr(part, inner) if used else None


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
