"""The argument `settings` of public functions: its default for None, and a word about anything else."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ._arguments import kind_of

P = ParamSpec("P")
R = TypeVar("R")


def takes_settings(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which takes its default for `settings=None` and refuses what is no such settings.

    Raises `TypeError`.
    """
    default = inspect.signature(function).parameters["settings"].default
    kind = type(default)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = kwargs.get("settings", default)
        if given is None:
            kwargs["settings"] = default
        elif not isinstance(given, kind):
            # Public names are flat: a module whose name begins with "_" is no part of them.
            rooms = [room for room in kind.__module__.split(".")[1:] if not room.startswith("_")][:1]
            call = ".".join(["ji", *rooms, kind.__name__])
            raise TypeError(
                f"{function.__name__} takes settings={call}(...), or nothing for the default; got {kind_of(given)}."
            )
        return function(*args, **kwargs)

    return checked
