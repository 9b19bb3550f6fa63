r"""The quality of reconstructions: sums over a batch, and the numbers of all batches."""

from typing import Any, TypedDict

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...corpus._suffix import Reached
from ..features._directions import decode_at
from ..kinds._rows import squared_norm, unit_norm


class Quality(TypedDict, total=False):
    """The numbers of `evaluate`. Floats; `density` and `mean_active` are arrays `(features,)`."""

    l0: float
    l1: float
    explained_variance: float
    normalised_mse: float
    cosine: float
    l2_ratio: float
    reconstruction_bias: float
    loss: float
    loss_sae: float
    loss_zero: float
    loss_mean: float
    kl_sae: float
    kl_zero: float
    recovered: float
    recovered_mean: float
    kl_recovered: float
    dead: float
    ultra_low: float
    dense: float
    dense_1_percent: float
    max_cosine: float
    tokens: float
    density: np.ndarray
    mean_active: np.ndarray


@eqx.filter_jit
def reconstructed(sae: Any, at_site: Reached, mean: Any) -> tuple[dict[str, Any], Any]:
    """Sums over the positions of a batch that count, and the reconstructions `(seq, pos, d)` of all."""
    mask, x = at_site.batch.positions, at_site.x.astype(jnp.float32)
    f = sae.encode(x)
    xhat = decode_at(sae, f, x)
    total = lambda v: jnp.sum(jnp.where(mask, v, 0), dtype=jnp.float32)
    norm, norm_hat = jnp.sqrt(squared_norm(x)), jnp.sqrt(squared_norm(xhat))
    dot = jnp.sum(x * xhat, -1)
    firing = mask[..., None] & (f != 0)  # signed features fire on both sides
    return {
        "tokens": jnp.sum(mask, dtype=jnp.float32),
        "error": total(squared_norm(x - xhat)),
        "square": total(squared_norm(x)),
        "spread": total(squared_norm(x - mean[None, None])),
        "square_hat": total(squared_norm(xhat)),
        "dot": total(dot),
        "cosine": total(dot / jnp.maximum(norm * norm_hat, 1e-20)),
        "ratio": total(norm_hat / jnp.maximum(norm, 1e-20)),
        "fired": jnp.sum(firing, (0, 1), dtype=jnp.float32),
        "amount": jnp.sum(jnp.where(firing, jnp.abs(f), 0), (0, 1), dtype=jnp.float32),
    }, xhat


def finished(sae: Any, total: dict[str, Any], cosines: bool = True) -> Quality:
    """The numbers of `evaluate`, from the sums over all batches."""
    count, predicted = float(total["tokens"]), float(total["predicted"])
    over = lambda a, b: float(a / b) if b else 0.0
    losses = {n: over(total[n], predicted) for n in total if n.startswith(("loss", "kl"))}
    density = total["fired"] / count
    zero_gap = losses["loss_zero"] - losses["loss"]
    mean_gap = losses["loss_mean"] - losses["loss"]
    numbers: Any = {
        "l0": float(density.sum()),
        "l1": float(total["amount"].sum() / count),
        "explained_variance": 1 - over(total["error"], total["spread"]),
        "normalised_mse": over(total["error"], total["square"]),
        "cosine": over(total["cosine"], count),
        "l2_ratio": over(total["ratio"], count),
        "reconstruction_bias": over(total["square_hat"], total["dot"]),
        **losses,
        "recovered": over(losses["loss_zero"] - losses["loss_sae"], zero_gap),
        "recovered_mean": over(losses["loss_mean"] - losses["loss_sae"], mean_gap),
        "kl_recovered": 1 - over(losses["kl_sae"], losses["kl_zero"]),
        "dead": float((density == 0).mean()),
        "ultra_low": float(((density > 0) & (density < 1e-6)).mean()),
        "dense": float((density > 0.1).mean()),
        "dense_1_percent": float((density > 0.01).mean()),
        "tokens": count,
        "density": density,
        "mean_active": total["amount"] / np.maximum(total["fired"], 1),
    }
    if cosines:
        decoder = np.asarray(unit_norm(jnp.asarray(sae.decoder, jnp.float32)))
        numbers["max_cosine"] = float(largest_cosines(decoder).mean())
    return numbers


def largest_cosines(rows: np.ndarray, others: np.ndarray | None = None, step: int = 2048) -> np.ndarray:
    """The largest cosine of each unit row with another row, or with the rows of another set."""
    largest = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step] @ (rows if others is None else others).T
        if others is None:
            part[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        largest[start : start + step] = part.max(-1)
    return largest
