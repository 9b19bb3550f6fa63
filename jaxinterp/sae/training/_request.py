"""The request of a training: checked before anything runs, and described for its checkpoints."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._arguments import kind_of
from ...data._files import fingerprint
from ..kinds._coder import kind_name
from ..kinds._dictionary import Dictionary
from ..kinds._kind import Kind


def check_kind(kind: Any) -> None:
    """Raises ValueError for what is neither a kind of dictionary nor a dictionary."""
    if not isinstance(kind, Kind | Dictionary):
        name = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        raise ValueError(
            "train takes a kind of dictionary with its settings, as ji.sae.TopK(d=512, "
            f"features=4096, k=32); got {name}."
        )


def check_first(request: Kind | Dictionary, sae: Any) -> None:
    """The first weights that a kind makes: a dictionary with the arrays of `kind.shapes()`. Raises ValueError."""
    kind = request.kind if isinstance(request, Dictionary) else request
    name = type(kind).__name__
    if not isinstance(sae, Dictionary):
        raise ValueError(f"{name}.init returns a dictionary, self.dictionary(...); got {kind_of(sae)}.")
    for array, shape in kind.shapes().items():
        found = getattr(sae, array, None)
        if found is None or np.shape(found) != shape:
            got = "no such array" if found is None else f"the shape {np.shape(found)}"
            raise ValueError(
                f"{name}.shapes() has {array!r} of the shape {shape}, and the dictionary of {name}.init has {got}. "
                "Without it the dictionary could not be loaded again."
            )


def check_rows(kind: Any, x: Any) -> None:
    """The first rows are as wide as the kind reads, and finite."""
    if x.shape[-1] != kind.d:
        raise ValueError(
            f"The stream has activations of width {x.shape[-1]}, the dictionary reads d={kind.d}: "
            f"ji.sae.{kind_name(kind)}(d={x.shape[-1]}, ...)."
        )
    finite = (
        jnp.isfinite(x).all() if isinstance(x, jax.Array) else np.isfinite(np.asarray(x, np.float32)).all()
    )
    if not jax.device_get(finite):
        raise ValueError(
            "The stream holds NaN or infinity in its first rows: nothing can be learned from them."
        )


def described(request: Any, steps: int, rows: int, seed: int, average: float | int | None) -> dict[str, Any]:
    """What makes a run what it is, as JSON: a checkpoint of another run is refused.

    - `request`: the kind, or the dictionary whose training continues.
    - `rows`: of a batch.
    - `seed`: of the order of the rows.
    - `average`: the decay of the average of the weights.
    """
    leaves = {
        jax.tree_util.keystr(path): _described(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(request)
        if eqx.is_array(leaf)
    }
    leaves.pop(".scale", None)  # estimated, not set
    kind = request.kind if isinstance(request, Dictionary) else request
    static = [f.name for f in dataclasses.fields(kind) if f.metadata.get("static")]
    return {
        "kind": type(kind).__name__,
        "leaves": leaves,
        "settings": {name: repr(getattr(kind, name)) for name in static},
        "steps": steps,
        "batch_size": rows,
        "seed": seed,
        "average": average,
    }


def _described(leaf: Any) -> Any:
    """A number as it is, weights by their shape and content."""
    return [*leaf.shape, fingerprint(np.asarray(leaf))] if leaf.ndim else float(leaf)
