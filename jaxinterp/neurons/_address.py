"""Which neurons are meant, and how many contexts to read at a time."""

from typing import Any

import numpy as np

from ..core._listing import sites
from ..core._sites import axes_of, is_per_layer, parse


def units_of(model: Any, site: str) -> tuple[int, int]:
    """Layers and units of a site of neurons, `(layer, ff)` for `"mlp_post"`."""
    base, layer = parse(site)
    found = sites(model)
    if base not in found:
        raise ValueError(
            f"This model has no site {base!r}. Sites of neurons here: "
            f"{', '.join(name for name in found if _is_neural(name)) or 'none'}."
        )
    if layer is not None or not _is_neural(base):
        raise ValueError(
            f"A site of neurons has the axes pos and a unit in every layer, and is named without a "
            f"layer: site='mlp_post'; got {site!r}."
        )
    shape = found[base].shape
    return int(shape[0]), int(shape[-1])


def _is_neural(name: str) -> bool:
    return is_per_layer(name) and len(axes_of(name)) == 2 and axes_of(name)[0] == "pos"


def as_neurons(model: Any, neurons: Any, site: str = "mlp_post") -> np.ndarray:
    """Neurons as ints `(n, 2)`: layer and unit of each, counted from 0; None is all of them.

    One neuron `(3, 336)`, several `[(3, 336), (2, 107)]`, or names `"3.336"`.
    """
    return pairs(neurons, units_of(model, site), f"This model at {site!r}")


def pairs(neurons: Any, sizes: tuple[int, int], owner: str) -> np.ndarray:
    """Neurons among those of so many layers, with so many units in each; as `as_neurons` reads them.

    **Arguments:**

    - `neurons`: pairs, names, or None for all.
    - `sizes`: the numbers of layers and of units in a layer.
    - `owner`: what has them, for the error.
    """
    layers, units = sizes
    if neurons is None:
        return np.stack(np.divmod(np.arange(layers * units), units), 1).astype(np.int32)
    if isinstance(neurons, str):
        neurons = [neurons]
    if not isinstance(neurons, np.ndarray) and hasattr(neurons, "__iter__"):
        neurons = [_named(each) if isinstance(each, str) else each for each in neurons]
    chosen = np.asarray(neurons)
    if not chosen.size:
        return np.zeros((0, 2), np.int32)
    if chosen.shape == (2,):
        chosen = chosen[None]
    if chosen.ndim != 2 or chosen.shape[1] != 2 or not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(
            "Neurons are pairs (layer, neuron): neurons=[(3, 336), (2, 107)], or names '3.336'; got "
            f"{chosen.dtype} of the shape {chosen.shape}."
        )
    chosen = np.where(chosen < 0, chosen + np.array([[layers, units]]), chosen)
    out = ((chosen < 0) | (chosen >= np.array([[layers, units]]))).any(1)
    if out.any():
        raise IndexError(
            f"{owner} has the layers 0..{layers - 1} with the neurons 0..{units - 1}; neuron "
            f"{np.asarray(neurons).reshape(-1, 2)[out.argmax()].tolist()} is none of them."
        )
    return chosen.astype(np.int32)


def _named(name: str) -> tuple[int, int]:
    layer, dot, unit = name.partition(".")
    if not (dot and layer.isdecimal() and unit.isdecimal()):
        raise ValueError(f"A neuron's name is 'layer.neuron', as '3.336'; got {name!r}.")
    return int(layer), int(unit)


def name(neuron: Any) -> str:
    """`name((3, 336)) == "3.336"`."""
    layer, unit = neuron
    return f"{int(layer)}.{int(unit)}"
