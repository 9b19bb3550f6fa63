"""Classes that a file names: models alone, of this package or of a module that is imported already.

A name in a file is looked up and checked; it imports nothing, and nothing is called before it is known
to be a model.
"""

import dataclasses
import inspect
import sys
import typing
from typing import TYPE_CHECKING, Any, TypeAlias

import equinox as eqx

HOME = "jaxinterp.models"
METHODS = ("embed", "tables", "unembed", "init")
ADVICE = (
    "A model is a class of jaxinterp.models, or an equinox.Module of yours with a config, blocks, "
    "embed, tables, unembed and init(config, key=..., dtype=...), in a module that is imported."
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models import GPT2, GPT2Config, GPTNeoX, GPTNeoXConfig, Llama, LlamaConfig
    from ._tokenizer import Tokenizer

    LoadedModel: TypeAlias = GPT2 | GPTNeoX | Llama
    "What loading returns. A port of your own may name another class."
    LoadedTokenizer: TypeAlias = Tokenizer | Any
    "The tokenizer that loading returns; None where a checkpoint has none."
    ConfigLike: TypeAlias = GPT2Config | GPTNeoXConfig | LlamaConfig | Mapping[str, Any]
    "A config of `ji.models`, or a mapping of a port's own keys."
else:
    LoadedModel = LoadedTokenizer = ConfigLike = Any


def find_model(reference: Any, said_by: Any) -> type:
    """The model class of `"module:Class"`; a name alone, or one of this package, is of `models`.

    Raises `ValueError` for anything that is not a model, or not imported.
    """
    module, name = _parts(reference, said_by)
    found = _static(module, name, said_by)
    own = getattr(found, "__module__", None) == module or module == HOME
    if not own or not is_model(found):
        raise ValueError(
            f"{said_by} names the model {reference!r}, which is no model. Nothing was called. {ADVICE}"
        )
    return found


def config_of(model: type, said_by: Any, reference: Any = None) -> type:
    """The dataclass of sizes of a model: what its field `config` is annotated as, or else
    `ClassConfig` beside it. A file may name it (`reference`), and then must name this one."""
    found = _annotated(model)
    if found is None:
        found = vars(sys.modules[model.__module__]).get(f"{model.__name__}Config")
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise ValueError(
            f"The model {model.__qualname__} has no config that is a dataclass: annotate its field, "
            f"config: {model.__name__}Config."
        )
    if reference is not None:
        module, name = _parts(reference, said_by)
        same = module in (found.__module__, HOME) and name == found.__qualname__
        if not same:
            raise ValueError(
                f"{said_by} names the config {reference!r}, and that of {model.__qualname__} is "
                f"{found.__module__}:{found.__qualname__}. Nothing was called."
            )
    return found


def is_model(found: Any) -> bool:
    """Whether a class keeps the model protocol, by its definitions alone."""
    if not isinstance(found, type) or not issubclass(found, eqx.Module):
        return False
    functions = (staticmethod, classmethod)
    methods = [inspect.getattr_static(found, name, None) for name in METHODS]
    fields = {field.name for field in dataclasses.fields(found)}
    return {"config", "blocks"} <= fields and all(
        callable(each) or isinstance(each, functions) for each in methods
    )


def _annotated(model: type) -> type | None:
    try:
        hint = typing.get_type_hints(model).get("config")
    except Exception:  # annotations of a user's class may name what is not there
        return None
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _parts(reference: Any, said_by: Any) -> tuple[str, str]:
    if not isinstance(reference, str) or len(reference) > 1000:
        raise ValueError(
            f"{said_by} must name a class, as 'GPT2' or 'my_package.module:MyModel'; it names {type(reference).__name__!s}."
        )
    module, _, name = reference.rpartition(":")
    inside = not module or module.split(".")[0] == "jaxinterp"
    return HOME if inside else module, name


def _static(module: str, name: str, said_by: Any) -> Any:
    """What stands in a module under a dotted name; no property or `__getattr__` is asked."""
    if module == HOME:
        from .. import models

        place: Any = models
    else:
        place = sys.modules.get(module)
    if place is None:
        raise ValueError(
            f"{said_by} names {name!r} of the module {module!r}, which is not imported. If you trust it, "
            f"import it first: `import {module}`. {ADVICE}"
        )
    found = place
    for part in name.split("."):
        names = vars(found) if isinstance(found, type) or found is place else {}
        if part not in names:
            known = [n for n in vars(place) if is_model(vars(place)[n])]
            raise ValueError(
                f"{said_by} names the model {name!r}, and {module} has no {name}; its models are "
                f"{', '.join(known) or 'none'}."
            )
        found = names[part]
    return found
