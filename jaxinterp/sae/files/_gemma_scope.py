"""Dictionaries of Gemma Scope: arrays alone in its first release, with a config in its second."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..._read import FLAG, TEXT, check, open_regular, or_null, read_npz
from ..kinds._from_arrays import assemble
from ..kinds._jumprelu import JumpReLU
from ..kinds._transcoder import Transcoder
from ._known_keys import (
    as_float,
    check_axes,
    check_config,
    check_tensors,
    check_value,
    float_tensors,
)
from ._loaded import Loaded

KNOWN = (
    "architecture",
    "type",
    "affine_connection",
    "hf_hook_point_in",
    "hf_hook_point_out",
    "model_name",
    "width",
    "l0",
    "layer",
    "dtype",  # where it belongs, and its size
)
CONFIG = {
    **dict.fromkeys(("architecture", "type", "hf_hook_point_in", "hf_hook_point_out"), or_null(TEXT)),
    "affine_connection": or_null(FLAG),
}
TYPES = ("sae", "transcoder", "skip_transcoder")


def load_gemma_scope(
    path: Path,
    factor: Any = None,
    transcoder: bool | None = None,
    ignore: Iterable[str] = (),
) -> Loaded:
    r"""Gemma Scope (https://huggingface.co/google/gemma-scope): `params.npz`, or `params.safetensors`.

    Files of the first release hold arrays and no word of their sites. What they do not say is taken
    from `transcoder` and `factor`; or from the repository, where the file lies in the hub's cache;
    else it is a dictionary of the activations as they are.
    """
    from ...hub import read_json

    arrays = {name.lower(): array for name, array in tensors(path).items()}
    needed = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
    check_tensors(path, "Gemma Scope's", arrays, needed, ("affine_skip_connection",), ignore)
    beside = path.parent / "config.json"
    config = dict(read_json(beside)) if beside.is_file() else {}
    check(beside, config, CONFIG)
    check_config(path, config, KNOWN, ignore)
    check_value(path, config, "architecture", ("jump_relu", "jumprelu"))
    check_value(path, config, "type", TYPES)
    if arrays["w_dec"].ndim != 2:
        raise ValueError(
            f"{path} is one layer of a cross-layer transcoder, w_dec {arrays['w_dec'].shape}; "
            "dictionaries and transcoders of one layer are read."
        )
    check_axes(path, arrays, w_enc=2, w_dec=2, b_enc=1, b_dec=1, threshold=1, affine_skip_connection=2)
    d, features = arrays["w_enc"].shape
    out, skip = arrays["w_dec"].shape[-1], arrays.get("affine_skip_connection")
    if config.get("affine_connection") and skip is None:
        raise ValueError(
            f"{path}: the config says affine_connection, and 'affine_skip_connection' is lacking."
        )
    repository, inside = in_hub_cache(path)
    if factor is None and "gemma-scope" in repository and inside.startswith("embedding/"):
        factor = d**-0.5  # of what Gemma makes of a row of its embedding
    across = _across(config, skip is not None or out != d)
    if across is None and transcoder is None and "gemma-scope" in repository:
        across = "transcoder" in f"{repository}/{inside}"
    if transcoder is not None and across not in (None, transcoder):
        raise ValueError(
            f"{path} is {'a' if across else 'no'} transcoder by what it holds: load it without "
            f"transcoder={transcoder}."
        )
    leaves = {
        "encoder": arrays["w_enc"],
        "decoder": arrays["w_dec"],
        "encoder_bias": arrays["b_enc"],
        "bias": arrays["b_dec"],
        "threshold": arrays["threshold"],
    }
    if across or transcoder:
        if factor is not None:
            raise ValueError(f"{path}: a transcoder has no factor. Load it without factor=.")
        ours = Transcoder(d=d, features=features, d_out=out, skip=skip is not None, centred=False)
        return Loaded(assemble(ours, leaves | ({} if skip is None else {"skip": skip}), path), config)
    if factor is not None:
        leaves |= {
            "encoder": arrays["w_enc"] * np.float32(factor),
            "decoder": arrays["w_dec"] / np.float32(factor),
            "bias": arrays["b_dec"] / np.float32(factor),
        }
    return Loaded(assemble(JumpReLU(d=d, features=features, centred=False), leaves, path), config)


def _across(config: dict[str, Any], shaped: bool) -> bool | None:
    """Whether it writes elsewhere than it reads, where the file says so."""
    if shaped:
        return True
    if config.get("type") is not None:
        return "transcoder" in config["type"]
    hooks = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    return None if hooks[0] is None else hooks[1] is not None and hooks[1] != hooks[0]


def tensors(path: Path) -> dict[str, Any]:
    """What an `.npz` or a `.safetensors` holds, in float32."""
    if _is_zip(path):
        return {name: as_float(path, name, array) for name, array in read_npz(path).items()}
    return float_tensors(path)


def _is_zip(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) == b"PK"


def in_hub_cache(path: Path) -> tuple[str, str]:
    """The repository of a file of the hub's cache, and its path in there; two empty words elsewhere.

    The cache's own layout, `models--OWNER--NAME/snapshots/COMMIT/...`, says both. Names of other
    folders are their owner's, and mean nothing.
    """
    spelled = Path(os.path.abspath(path)).as_posix()
    at = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/[0-9a-f]{40}/(.+)$", spelled)
    return (f"{at[1]}/{at[2]}", at[3]) if at else ("", "")
