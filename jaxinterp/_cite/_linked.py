"""From what a user gives to the papers that its documentation links to."""

import difflib
import functools
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from ._paper import links

ROOT = "jaxinterp"
MODULES = ("hub", "mesh", "metrics", "models", "nn", "testing", "viz", "weights")


def named(what: Any) -> tuple[str, Any]:
    """What is meant, and what it is called: of a name the object, of a result its class. Raises ValueError."""
    if isinstance(what, str):
        return what, _looked_up(what)
    if isinstance(what, types.ModuleType):
        if what.__name__.split(".")[0] != ROOT:
            raise _foreign(what.__name__)
        return what.__name__.replace(ROOT, "ji", 1), what
    while isinstance(what, functools.partial):
        what = what.func
    documented = isinstance(what, type | types.FunctionType) or hasattr(what, "__wrapped__")
    documented = documented or (callable(what) and hasattr(what, "__name__"))
    meant = what if documented else type(what)
    if str(getattr(meant, "__module__", "")).split(".")[0] != ROOT:
        raise _foreign(getattr(meant, "__name__", repr(meant)))
    return str(getattr(meant, "__name__", type(meant).__name__)), meant


def linked(meant: Any) -> list[str]:
    """The links to papers of an object: its own; else of what returns it; else of the file that defines it."""
    if isinstance(meant, types.ModuleType):
        return _of_module(meant, set())
    found = links(meant.__doc__)
    if isinstance(meant, type):
        for name, member in vars(meant).items():
            if name == "__init__" or not name.startswith("_"):
                found += links(getattr(member, "__doc__", None) if callable(member) else None)
        if not found:
            found = [link for function in _makers(meant) for link in links(function.__doc__)]
    module = sys.modules.get(str(getattr(meant, "__module__", "")))
    return list(dict.fromkeys(found or links(getattr(module, "__doc__", None))))


def public(package: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """The public names of a package of the library and what they are, subpackages last."""
    inside, below = [], []
    for name, value in vars(package).items():
        if name.startswith("_") or name.isupper():
            continue
        home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", "")
        if str(home).split(".")[0] == ROOT:
            (below if isinstance(value, types.ModuleType) else inside).append((name, value))
    yield from inside
    yield from below


def packages() -> list[types.ModuleType]:
    """The packages of the library with public names, imported."""
    root = importlib.import_module(ROOT)
    return [importlib.import_module(f"{ROOT}.{name}") for name in (*MODULES, *root.METHODS)]


def _of_module(module: types.ModuleType, seen: set[str]) -> list[str]:
    seen.add(module.__name__)
    found = links(module.__doc__)
    if module.__name__ == ROOT:
        return list(dict.fromkeys(link for each in packages() for link in _of_module(each, seen)))
    for _, value in public(module):
        if not isinstance(value, types.ModuleType):
            found += linked(value)
        elif value.__name__.startswith(f"{module.__name__}.") and value.__name__ not in seen:
            found += _of_module(value, seen)
    return list(dict.fromkeys(found))


def _makers(kind: type) -> Iterator[Any]:
    """The public functions that say they return a class, by its name."""
    for package in packages():
        for _, value in public(package):
            if isinstance(value, type | types.ModuleType):
                continue
            returned = getattr(inspect.unwrap(value), "__annotations__", {}).get("return")
            words = returned.__name__ if isinstance(returned, type) else str(returned)
            if kind.__name__ in re.findall(r"\w+", words):
                yield value


def _looked_up(name: str) -> Any:
    parts = [part for part in name.removeprefix("ji.").split(".") if part]
    if parts and parts[0] in (ROOT, "ji"):
        parts = parts[1:]
    at: Any = importlib.import_module(ROOT)
    for i, part in enumerate(parts):
        here = getattr(at, part, None)
        if here is None:
            near = difflib.get_close_matches(part, dir(at), 1)
            whole = ".".join(["ji", *parts[:i], *near])
            hint = f" Did you mean {whole!r}?" if near else ""
            raise ValueError(
                f"jaxinterp has no {name!r}.{hint} Names are written as in code: 'ji.patching.sweep'."
            )
        at = here
    return at


def _foreign(name: str) -> ValueError:
    return ValueError(
        f"ji.cite knows the functions, classes, modules and results of jaxinterp; got {name}. For example: "
        "ji.cite(ji.patching.attribution), ji.cite('ji.sae.TopK')."
    )
