"""Old names and old spellings: one mechanism for names that moved, and one for arguments that did.

A name that moved is still found where it was, with a `DeprecationWarning` that gives the new name and
the day on which the old one goes. An argument that was respelled is refused with the corrected call.
"""

import functools
import importlib
import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Moved(NamedTuple):
    """The module and name where a public name is now, and the first and last day of the old one."""

    new: str
    since: str
    until: str


def moved_getattr(module: str, moved: dict[str, Moved]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names in `moved` are elsewhere now.

    ```python
    __getattr__ = moved_getattr(__name__, {"direct_paths": Moved("circuits.direct_paths", ...)})
    ```

    Law: the old name is the very object that the new name is.
    """
    short = module.replace("jaxinterp", "ji", 1)

    def find(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, since, until = moved[name]
        warnings.warn(
            f"{short}.{name} is ji.{new} since {since}. Write ji.{new}: the old name goes on {until}.",
            DeprecationWarning,
            stacklevel=2,
        )
        place, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(f"jaxinterp.{place}".rstrip(".")), attribute)

    return find


def check_path_first(call: str, path: Any) -> None:
    """Refuses the order `save(value, path)`: the path stands first. `call` is the corrected call.

    Raises `TypeError`.
    """
    if not isinstance(path, str | os.PathLike):
        name = call.partition("(")[0]
        raise TypeError(f"{name} takes the path first: {call}; got a {type(path).__name__} there.")


def respelled(**new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuses arguments by their old names: `@respelled(seed="key=jax.random.key(0)", batch="batch_size=")`.

    The words after the old name are what to write instead. Raises `TypeError`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in new.keys() & kwargs.keys():
                rooms = function.__module__.split("._")[0].split(".")[1:2]  # public names are flat
                place = ".".join(["ji", *(room for room in rooms if room != "core")])
                name = f"{place}.{function.__qualname__}".removesuffix(".__init__")
                raise TypeError(f"{name} has no argument {old}=. Write {new[old]}.")
            return function(*args, **kwargs)

        return checked

    return decorate


def key_by_name(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuses a key by position: `@key_by_name("ji.tasks.ioi(tokenizer, 100, key=jax.random.key(0))")`.

    The old order had the key among the positional arguments. A call with a key there, or with more
    positional arguments than the function has, raises `TypeError` with the corrected `call`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kinds = [part.kind for part in inspect.signature(function).parameters.values()]
        most = sum(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if len(args) > most or any(str(getattr(arg, "dtype", "")).startswith("key<") for arg in args):
                raise TypeError(f"{call.partition('(')[0]} takes its key by name: {call}.")
            return function(*args, **kwargs)

        return checked

    return decorate
