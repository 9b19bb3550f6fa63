"""What a feature writes, in the units of the site it is read from."""

from typing import Any

import jax.numpy as jnp

from ...typing import JaxArray
from ..kinds._coder import Coder, kind_name


def directions(sae: Any) -> JaxArray:
    """$d_i / s$ `(features, d_out)`, float32: what a feature of 1 adds to a reconstruction.

    A feature of a `Normalised` dictionary adds this times the deviation of the row.
    """
    if len(jnp.shape(sae.decoder)) != 2:
        raise ValueError(
            f"A {kind_name(sae)} writes at several places: its decoder has the shape "
            f"{tuple(sae.decoder.shape)}. View what it writes at one: ji.sae.joined(sae, source=0)."
        )
    return sae.directions() if isinstance(sae, Coder) else jnp.asarray(sae.decoder).astype(jnp.float32)


def written(sae: Any, rows: JaxArray, amount: JaxArray, x: JaxArray) -> JaxArray:
    r"""$\sum_i a_i d_i$ at rows x `(..., d)`: `rows (n, d)` of `directions`, `amount (..., n)`."""
    change = jnp.matmul(amount.astype(jnp.float32), rows, precision="highest")
    return sae.change_at(change, x) if isinstance(sae, Coder) else change


def check_same_site(sae: Any, what: str) -> None:
    """Features of a transcoder are read at one place and write at another."""
    same = sae.writes_back if isinstance(sae, Coder) else not getattr(sae, "READS_INPUT", False)
    if not same:
        raise ValueError(
            f"{what} changes the activations that a dictionary reads; a {kind_name(sae)} reads "
            "one site and writes another. Splice it in, and edit its features: "
            "ji.splice(site, ...), ji.scale('....sae.feature', 0.0, unit=7)."
        )


def decode_at(sae: Any, f: JaxArray, x: JaxArray) -> JaxArray:
    """What features write at rows x; classes of others get x where they have `READS_INPUT`."""
    needs_inputs = isinstance(sae, Coder) or getattr(sae, "READS_INPUT", False)
    return sae.decode(f, x) if needs_inputs else sae.decode(f)
