"""What a training was asked for, checked before anything runs, and told apart from another."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ...data._files import fingerprint
from ..kinds._coder import kind_name
from ..kinds._dictionary import Dictionary
from ..kinds._kind import Kind


def check_kind(kind: Any) -> None:
    """A kind with its settings."""
    if not isinstance(kind, Kind | Dictionary):
        name = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        raise ValueError(
            "train takes a kind of dictionary with its settings, as ji.sae.TopK(d=512, "
            f"features=4096, k=32); got {name}."
        )


def check_counts(**counts: Any) -> None:
    """Numbers of steps and rows; `every` may be 0."""
    for name, value in counts.items():
        least = int(name != "every")
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} is an int of {least} or more; got {value!r}.")


def check_rows(kind: Any, x: Any) -> None:
    """The first rows are as wide as the kind reads, and finite."""
    if x.shape[-1] != kind.d:
        raise ValueError(
            f"The stream has activations of width {x.shape[-1]}, the dictionary reads d={kind.d}: "
            f"ji.sae.{kind_name(kind)}(d={x.shape[-1]}, ...)."
        )
    if not np.isfinite(np.asarray(x, np.float32)).all():
        raise ValueError(
            "The stream holds NaN or infinity in its first rows: nothing can be learned from them."
        )


def about(given: Any, steps: int, batch: int, seed: int, average: Any) -> dict[str, Any]:
    """What makes a run what it is: a checkpoint of another is refused."""
    leaves = {
        jax.tree_util.keystr(path): _said(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(given)
        if eqx.is_array(leaf)
    }
    leaves.pop(".scale", None)  # estimated, not set
    kind = given.kind if isinstance(given, Dictionary) else given
    static = [f.name for f in dataclasses.fields(kind) if f.metadata.get("static")]
    return {
        "kind": type(kind).__name__,
        "leaves": leaves,
        "settings": {name: repr(getattr(kind, name)) for name in static},
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "average": average,
    }


def _said(leaf: Any) -> Any:
    """A number as it is, weights by their shape and content."""
    return [*leaf.shape, fingerprint(np.asarray(leaf))] if leaf.ndim else float(leaf)
