"""Senders and receivers of paths by name: "2.3", "mlp1", "embed"."""

import re

import numpy as np

from ..core._check import Shapes, as_list, check_index
from ..typing import SitesLike

_SENDER = re.compile(r"^(?:(?P<layer>\d+)\.(?P<head>\d+)|mlp(?P<mlp>\d+)|(?P<embed>embed))$")
_RECEIVER = re.compile(
    r"^(?:(?P<layer>\d+)\.(?P<head>\d+)\.(?P<kind>[qkv])|mlp(?P<mlp>\d+)|(?P<logits>logits))$"
)


def _nodes(nodes: SitesLike, pattern: re.Pattern[str], what: str, example: str) -> list[re.Match[str]]:
    """The names of nodes, taken apart."""
    names = as_list(nodes, what, f"[{example}]")
    matches = []
    for name in names:
        match = pattern.match(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(f"{what} are written {example}; got {name!r}.")
        matches.append(match)
    if not matches:
        raise ValueError(f"Give at least one of {what}: {example}.")
    return matches


def sender_masks(senders: SitesLike, shapes: Shapes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of heads (layer, head), of MLPs (layer,) and of the embedding ()."""
    heads = np.zeros((count, shapes["z"].shape[-2]), bool)
    mlps, embed = np.zeros(count, bool), np.zeros((), bool)
    for match in _nodes(senders, _SENDER, "senders", "'0.1' (layer.head), 'mlp3' or 'embed'"):
        if match["embed"]:
            embed = np.ones((), bool)
        elif match["mlp"]:
            _check_mlp(int(match["mlp"]), shapes, count)
            mlps[int(match["mlp"])] = True
        else:
            heads[_head(match, heads.shape)] = True
    return heads, mlps, embed


def receiver_masks(receivers: SitesLike, shapes: Shapes, count: int) -> dict[str, np.ndarray]:
    """A mask for each site that receives: heads (layer, head), MLPs (layer,); the logits ()."""
    masks: dict[str, np.ndarray] = {}
    for match in _nodes(receivers, _RECEIVER, "receivers", "'1.3.q' (layer.head.reader), 'mlp4' or 'logits'"):
        if match["logits"]:
            masks["logits"] = np.ones((), bool)
        elif match["mlp"]:
            _check_mlp(int(match["mlp"]), shapes, count)
            masks.setdefault("mlp_in", np.zeros(count, bool))[int(match["mlp"])] = True
        else:
            site = f"{match['kind']}_in"
            mask = masks.setdefault(site, np.zeros((count, shapes[site].shape[-2]), bool))
            mask[_head(match, mask.shape)] = True
    if "logits" in masks and len(masks) > 1:
        raise ValueError(
            "The last residual stream is what the logits read; held as recorded, it would hide what "
            "the other receivers do. Patch 'logits' alone."
        )
    return masks


def _head(match: re.Match[str], sizes: tuple[int, ...]) -> tuple[int, int]:
    layer, head = int(match["layer"]), int(match["head"])
    check_index("layer", layer, sizes[0], match[0])
    check_index("head", head, sizes[1], match[0])
    return layer, head


def _check_mlp(layer: int, shapes: Shapes, count: int) -> None:
    if "mlp_in" not in shapes:
        raise ValueError(f"This model has no MLPs, so no 'mlp{layer}'.")
    check_index("layer", layer, count, f"mlp{layer}")


def check_order(
    heads: np.ndarray, mlps: np.ndarray, embed: np.ndarray, readers: dict[str, np.ndarray], parallel: bool
) -> None:
    """Every receiver has a sender before it."""
    first_head = int(np.argmax(heads.any(1))) if heads.any() else len(mlps)
    first_mlp = int(np.argmax(mlps)) if mlps.any() else len(mlps)
    for site, mask in readers.items():
        if embed or site == "logits":
            continue
        first = int(np.argmax(mask if mask.ndim == 1 else mask.any(1)))
        beside = site == "mlp_in" and not parallel and first_head <= first
        if min(first_head, first_mlp) >= first and not beside:
            raise ValueError(
                f"No sender comes before the receiver {site.removesuffix('_in')} of layer {first}: a "
                "node reads the layers before its own"
                + (
                    ", and in parallel blocks an MLP does not read the heads beside it."
                    if parallel
                    else " (an MLP also the heads of its own)."
                )
            )
