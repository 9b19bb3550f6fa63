"""What a feature writes, in the units of the site it is read from."""

from typing import Any

import jax.numpy as jnp

from ..kinds._normalised import Normalised


def directions(sae: Any) -> Any:
    """$d_i / s$ `(features, d_out)`, float32: what a feature of 1 adds to a reconstruction.

    Of a `Normalised` dictionary it adds this times the deviation of the row.
    """
    if len(jnp.shape(sae.decoder)) != 2:
        raise ValueError(
            f"A {type(sae).__name__} writes at several places: its decoder has the shape "
            f"{tuple(sae.decoder.shape)}. View what it writes at one: ji.sae.joined(sae, source=0)."
        )
    inner = sae.inner if isinstance(sae, Normalised) else sae
    rows = jnp.asarray(inner.decoder).astype(jnp.float32)
    scale = getattr(inner, "scale", None)
    # A transcoder keeps a scale that it does not use.
    return rows if scale is None or getattr(inner, "READS_INPUT", False) else rows / scale


def written(sae: Any, rows: Any, amount: Any, x: Any) -> Any:
    """$\\sum_i a_i d_i$ at rows x `(..., d)`: `rows (n, d)` of `directions`, `amount (..., n)`."""
    found = jnp.matmul(amount.astype(jnp.float32), rows, precision="highest")
    return found * sae._row(x)[1] if isinstance(sae, Normalised) else found


def check_same_site(sae: Any, what: str) -> None:
    """Features of a transcoder are read at one place and write at another."""
    if getattr(sae, "READS_INPUT", False) and not isinstance(sae, Normalised):
        raise ValueError(
            f"{what} changes the activations that a dictionary reads; a {type(sae).__name__} reads "
            "one site and writes another. Splice it in, and edit its features: "
            "ji.splice(site, ...), ji.scale('....sae.feature', 0.0, unit=7)."
        )
