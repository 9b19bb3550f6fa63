"""The terms of `estimate`: bytes, operations and exchanges of one device. `docs/scale.md` derives them."""

import math
import re
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import AbstractMesh

from ._dictionaries import leaf_spec
from ._plan_table import plan as planned
from ._plans import model_axis

WIDTHS = {
    "d": "embed pos_embed resid_pre ln1_out attn_out resid_mid mlp_in ln2_out mlp_out resid_post ln_final_out",
    "1": "ln1_scale ln2_scale ln_final_scale",
    "head d": "q_in head_out",
    "kv_head d": "k_in v_in",
    "head k": "q q_rot z",
    "kv_head k": "k v k_rot",
    "head key": "scores pattern",
    "ff": "mlp_pre mlp_up mlp_post",
    "vocab": "logits",
}
"""The axes of each site besides those of rows; `tests/mesh/test_estimate.py` compares them with the sites."""

ONCE = ("embed", "pos_embed", "ln_final_scale", "ln_final_out", "logits")
LANES = 128  # the last axis of an array is stored in tiles of so many numbers
NORMED = 10  # bytes a number of the residual stream: two in float32 around a norm, and one
PASSES = {2: 1, 4: 6, 8: 36}  # of a product, by the size of a number


class Needs(NamedTuple):
    """Bytes of weights, state, inputs, outputs and temporary arrays; operations; bytes moved and exchanged."""

    weights: float
    state: float
    inputs: float
    outputs: float
    temporary: float
    operations: float
    traffic: float
    exchanged: float


def needs_of_model(
    config: Any,
    mesh: AbstractMesh,
    shape: tuple[int, ...],
    capture: Any,
    at: Any,
    logits: Any,
    plan: Any,
    dtype: np.dtype,
) -> Needs:
    """What one pass needs, or with `at` a pass and its gradients."""
    laid = planned(config, mesh, plan, dtype=dtype)
    names = plan.split("+") if isinstance(plan, str) else []
    split = mesh.shape[model_axis(mesh)] if "tensor" in names else 1
    parts = _divided(shape[0], mesh.shape["data"])
    batch, pos = shape[0] / parts, shape[1]
    rows, size = batch * pos, dtype.itemsize
    c = config
    read = _positions_read(logits, shape)
    leaves = {leaf.path.rpartition(".")[2] for leaf in laid.leaves}
    words = getattr(c, "vocab_out", None) or c.vocab
    vocab, neurons = words / _divided(words, split), c.ff / _divided(c.ff, split)
    outputs = batch * read * vocab * size
    padded = 0.0  # sites of heads narrower than a tile, while they are collected
    captured, differentiated = _listed(capture, "capture"), _listed(at, "at")
    for site in captured + differentiated:
        name, layers = _layers(site, c.layers)
        if not _has_site(name, c, leaves):
            raise ValueError(f"A model of this {type(c).__name__} has no site {name!r}; got {site!r}.")
        bytes_of = rows * layers * _width(name, c, pos, split) * size
        outputs += bytes_of * (2 if site in differentiated else 1)
        if (
            not differentiated
            and layers > 1
            and name in WIDTHS["head k"].split() + WIDTHS["kv_head k"].split()
            and c.k < LANES
        ):
            padded = max(padded, bytes_of * LANES / c.k)
    block = rows * ((2 if "w_gate" in leaves else 1) * neurons * size + NORMED * c.d)
    kept = c.layers * rows * c.d * size if differentiated else 0
    last = batch * read * vocab * size if read > 1 else 0
    temporary = max(block + kept + padded, last) + laid.gathered_bytes
    inputs = batch * pos * 4
    matrices = sum(leaf.bytes for leaf in laid.leaves if leaf.path.startswith("blocks")) / size / split
    scores = 4.0 * rows * pos * c.heads / _divided(c.heads, split) * c.k * c.layers
    times = 3 if differentiated else 1
    passes = times * PASSES[size]
    operations = passes * (2.0 * rows * matrices + scores + 2.0 * batch * read * c.d * vocab)
    moved = c.layers * rows * (12 * c.d + 4 * neurons) * size * times
    ring = lambda n: 2 * (n - 1) / n
    exchanged = times * 2 * c.layers * rows * c.d * size * ring(split)
    if "fsdp" in names:
        exchanged += (2 if differentiated else 1) * laid.device_bytes * (mesh.shape["data"] - 1)
    traffic = laid.device_bytes + moved + outputs
    return Needs(laid.device_bytes, 0, inputs, outputs, temporary, operations, traffic, exchanged)


def needs_of_kind(kind: Any, mesh: AbstractMesh, rows: int) -> Needs:
    """What one step needs: weights and two moments in float32, gradients, and arrays (row, feature).

    Kinds that keep the largest hold four arrays (row, feature) at a time, others one and a quarter.
    """
    parts, split = mesh.shape["data"], mesh.shape.get("feature", 1)
    own = rows / parts
    weights = moments = matrices = 0.0
    for name, shape in kind.shapes().items():
        leaf = np.broadcast_to(np.float32(0), shape)
        whole = 4.0 * math.prod(shape)
        weights += whole / _parts(leaf_spec(_path(name), leaf, parts), mesh)
        moments += 2 * whole / _parts(leaf_spec(_path("optimizer_state", name), leaf, parts), mesh)
        if len(shape) > 1:
            matrices += whole / split
    width = matrices * split / 8 / kind.features  # numbers of a row that a feature reads, or writes
    row_features, row_inputs = 4 * own * kind.features / split, 4 * own * width
    largest = hasattr(kind, "aux")
    temporary = 1.5 * matrices + (4 if largest else 1.25) * row_features + 4 * row_inputs
    low = kind.matmul != "float32"
    products = 8 if largest else 5
    operations = 2.0 * products * own * kind.features / split * width * (1 if low else 6)
    traffic = 3 * (weights + moments) + matrices + (40 if largest else 8) * row_features
    ring = lambda n: 2 * (n - 1) / n
    exchanged = 2 * row_inputs * ring(split) + matrices * ring(parts)
    return Needs(weights, moments, 2 * row_inputs, 0, temporary, operations, traffic, exchanged)


def _divided(size: int, parts: int) -> int:
    """Into how many parts an axis is divided: what does not divide stays whole, as in `ji.mesh.plan`."""
    return 1 if size % parts else parts


def _path(*names: str) -> Any:
    import jax

    return tuple(jax.tree_util.GetAttrKey(name) for name in names)


def _parts(spec: Any, mesh: AbstractMesh) -> int:
    return math.prod(mesh.shape.get(axis, 1) for axis in spec if axis)


def _listed(sites: Any, what: str) -> list[str]:
    if sites is None or isinstance(sites, str | list | tuple):
        return [] if sites is None else [sites] if isinstance(sites, str) else list(sites)
    raise ValueError(
        f"{what} is a site or a list of sites as strings: {what}=['resid_post', 'z[3]']; got {sites!r}."
    )


def _positions_read(logits: Any, shape: tuple[int, ...]) -> int:
    """How many positions of a prompt are unembedded, of `logits` as in `ji.run`."""
    batch, pos = shape
    if isinstance(logits, bool | np.bool_):
        return pos if logits else 0
    try:
        at = np.asarray(logits)
    except ValueError:
        at = np.asarray("rows of different lengths")
    if at.size and (
        not np.issubdtype(at.dtype, np.integer) or at.ndim > 2 or at.shape[:-1] not in ((), (batch,))
    ):
        raise ValueError(
            f"logits is True, False, a position, or positions (n,) or ({batch}, n), as in ji.run: logits=-1; got "
            f"{logits!r}."
        )
    if at.size and not (-pos <= at.min() and at.max() < pos):
        raise IndexError(f"logits: a prompt of {pos} positions has none at {logits!r}.")
    return at.shape[-1] if at.ndim else 1


def _has_site(name: str, config: Any, leaves: set[str]) -> bool:
    """Whether a model with such a config and such leaves emits a site, as far as these say."""
    if name in ("q_rot", "k_rot"):
        return any(field.startswith("rotary") for field in vars(config))
    if name == "resid_mid":
        return not getattr(config, "parallel", False)
    needed = {"pos_embed": "w_pos", "mlp_up": "w_gate"}.get(name, "w_in" if name.startswith("mlp") else None)
    return needed is None or needed in leaves


def _layers(site: str, layers: int) -> tuple[str, int]:
    """The name of a site, and of how many layers it is."""
    found = re.fullmatch(r"(\w+)(?:\[(-?\d*)(:(-?\d*))?\])?", str(site))
    if not found or not any(found[1] in names.split() for names in WIDTHS.values()):
        raise ValueError(f"A site is written 'resid_post', 'z[3]' or 'z[2:5]'; got {site!r}.")
    name, start, several, stop = found.groups()
    if name in ONCE or (start and not several):
        if start and (name in ONCE or not -layers <= int(start) < layers):
            raise IndexError(f"A model of {layers} layers has no {site!r}.")
        return name, 1
    ends = slice(int(start) if start else None, int(stop) if stop else None)
    count = len(range(layers)[ends])
    if not count:
        raise IndexError(f"A model of {layers} layers has none of {site!r}.")
    return name, count


def _width(name: str, config: Any, pos: int, split: int) -> float:
    """Numbers of a site for each row on one device."""
    axes = next(axes for axes, names in WIDTHS.items() if name in names.split()).split()
    c = config
    vocab = getattr(c, "vocab_out", None) or c.vocab
    sizes = {"d": c.d, "1": 1, "head": c.heads, "kv_head": c.kv_heads, "k": c.k, "ff": c.ff}
    sizes |= {"key": pos, "vocab": vocab}
    spread = [sizes[axis] for axis in axes if axis in ("head", "kv_head", "ff", "vocab")]
    return math.prod(sizes[axis] for axis in axes) / (_divided(spread[0], split) if spread else 1)
