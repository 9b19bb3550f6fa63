"""Classes of kinds and dictionaries: abstract or final, and none of them is changed in place."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import jax
import pytest

import jaxinterp.sae.kinds
from jaxinterp import sae
from jaxinterp.sae.kinds._coder import Coder

MODULES = [
    importlib.import_module(f"jaxinterp.sae.kinds.{module.name}")
    for module in pkgutil.iter_modules(jaxinterp.sae.kinds.__path__)
]
CLASSES: list[Any] = [
    value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, sae.Kind | Coder)
]


def is_abstract(cls: Any) -> bool:
    return bool(inspect.isabstract(cls) or cls.__abstractvars__ or cls.__abstractclassvars__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_is_abstract_or_final(cls: Any) -> None:
    assert is_abstract(cls) != vars(cls).get("__final__", False)
    assert all(is_abstract(base) for base in cls.__mro__[1:] if issubclass(base, sae.Kind | Coder))


def test_nothing_is_changed_in_place() -> None:
    texts = {path: path.read_text() for path in Path(sae.__file__).parent.rglob("*.py")}
    assert not [path for path, text in texts.items() if "object.__setattr__" in text]
    trained = sae.TopK(d=4, features=8, k=2).init(jax.random.key(0))
    with pytest.raises(AttributeError):
        trained.kind.k = 3
