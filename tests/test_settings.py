"""Functions with `settings=`: None is the default, and another class is refused with the call."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import jaxinterp as ji
from jaxinterp._settings import takes_settings

PACKAGES = [name for _, name, _ in pkgutil.iter_modules(ji.__path__) if not name.startswith("_")]


def with_settings() -> Iterator[Any]:
    for package in PACKAGES:
        if package in ("cli", "tour"):
            continue
        module = importlib.import_module(f"jaxinterp.{package}")
        for name in (name for name in dir(module) if not name.startswith("_")):
            function = getattr(module, name)
            if inspect.isfunction(function):
                given = inspect.signature(function).parameters.get("settings")
                if given is not None and given.default not in (None, inspect.Parameter.empty):
                    yield pytest.param(function, id=f"{package}.{name}")


@pytest.mark.parametrize("function", list(with_settings()))
def test_other_settings_are_refused(function: Any) -> None:
    with pytest.raises(
        TypeError, match=r"takes settings=ji\.[\w.]+\(\.\.\.\), or nothing for the default; got a dict"
    ):
        function(settings={})


def test_none_is_the_default() -> None:
    @takes_settings
    def given(x: int, *, settings: ji.sae.InterpretSettings = ji.sae.InterpretSettings(workers=5)) -> Any:
        return settings

    assert given(1) == given(1, settings=None) == ji.sae.InterpretSettings(workers=5)
    other = ji.sae.InterpretSettings(workers=6)
    assert given(1, settings=other) is other
