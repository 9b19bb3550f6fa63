"""This library's side of a comparison: a foreign config and state dict to the numbers compared."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

import jaxinterp as ji


def checkpoint(folder: Path, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Path:
    """A folder as the hub has it, from a config and a state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config), default=str))
    save_file({name: np.ascontiguousarray(x) for name, x in state.items()}, folder / "model.safetensors")
    return folder


def ours(model: Any, tokens: np.ndarray, mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Logits, the residual stream before the first block and after each, and the last norm."""
    capture = ["resid_pre[0]", "resid_post", "ln_final_out"]
    logits, acts = ji.run(
        model,
        jnp.asarray(tokens),
        capture=capture,
        mask=None if mask is None else jnp.asarray(mask),
    )
    resid = jnp.concatenate([acts["resid_pre[0]"][None], acts["resid_post"]])
    return {
        "logits": np.asarray(logits),
        "resid": np.asarray(resid),
        "ln_final_out": np.asarray(acts["ln_final_out"]),
    }


def worst(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], mask: Any = None) -> dict[str, float]:
    """Largest absolute difference of each array that both have, at real tokens."""
    found = {}
    for name in a.keys() & b.keys():
        difference = np.abs(a[name].astype(np.float64) - b[name])
        if mask is not None:
            difference = np.where(mask[..., None], difference, 0.0)
        found[name] = float(difference.max())
    return found
