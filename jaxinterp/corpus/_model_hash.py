"""Which model activations came from."""

import dataclasses
from typing import Any

import equinox as eqx
import jax

from ..core._intervene import split_edits
from ..mesh._taken import whole_on_host
from ._fingerprint import fingerprint


def model_hash(model: Any) -> str:
    r"""$\mathrm{sha256}(\theta)$: a hash of the config and the arrays of a model, and of its edits.

    **Returns:** 64 hexadecimal digits, equal for equal weights of equal dtype.

    ```python
    ji.data.model_hash(model)[:8]
    ```

    Law: the change of one weight, or another edit, changes the hash.
    """
    base, edits = split_edits(model)
    parts: list[Any] = [config_text(base)]
    parts += [f"{type(edit).__name__} {edit.sites} {edit.layers}" for edit in edits]
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    for path, leaf in leaves:
        parts += [jax.tree_util.keystr(path), whole_on_host(leaf)]
    return fingerprint(type(model).__name__, *parts)


def config_text(model: Any) -> str:
    """A config as text: what differs from the defaults, so that a field added later changes nothing.

    Where the weights came from is no part of what it is.
    """
    config = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config):
        return repr(config)
    values = {
        field.name: (getattr(config, field.name), field.default) for field in dataclasses.fields(config)
    }
    own = [
        f"{name}={value!r}" for name, (value, usual) in values.items() if name != "source" and value != usual
    ]
    return f"{type(config).__name__}({', '.join(own)})"


def model_source(model: Any) -> dict[str, Any]:
    """What is known of a model's origin, for a manifest."""
    config = getattr(model, "config", None)
    source = getattr(config, "source", None)
    about: dict[str, Any] = {
        "sha256": model_hash(model),
        "class": type(getattr(model, "model", model)).__name__,
        "config": config_text(model),
    }
    if source is not None:
        about["source"] = {
            name: getattr(source, name, None) for name in ("name", "revision", "format", "sha256")
        }
    return about
