"""Geometry of a dictionary's directions: neighbours, alignment, spectrum, a map."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kinds._coder import kind_name


@dataclass(frozen=True, eq=False)
class Geometry:
    """Made by `geometry`: everything by feature, but for `spectrum`.

    `decoder_cosine`, `decoder_nearest` `(features,)`: the largest cosine of its decoder row with another's,
    and whose; `encoder_cosine`, `encoder_nearest`: the same of encoders; `aligned`: cosine of encoder
    and decoder (None where they are of different widths); `projection`: encoder times decoder, how much a
    feature sees of what it writes; `norm` of decoder rows; `spectrum (d,)`: shares of the decoder's
    directions along their principal axes, falling, with sum 1; `map (features, 2)`: the first two.
    """

    decoder_cosine: np.ndarray
    decoder_nearest: np.ndarray
    encoder_cosine: np.ndarray
    encoder_nearest: np.ndarray
    aligned: np.ndarray | None
    projection: np.ndarray | None
    norm: np.ndarray
    spectrum: np.ndarray
    map: np.ndarray

    @property
    def dimensions(self) -> float:
        r"""$1 / \sum_k s_k^2$ of the spectrum: how many axes the directions spread over."""
        return float(1 / np.sum(self.spectrum**2))


def geometry(sae: Any, *, step: int = 2048) -> Geometry:
    r"""$\max_{j \neq i} \cos(d_i, d_j)$ of decoder and encoder, $\cos(e_i, d_i)$, and the principal axes of $d_i / \lVert d_i \rVert$.

    **Arguments:**

    - `sae`: a dictionary, or any object with `encoder (d, features)` and `decoder (features, d)`. Several
      sources or layers of a feature count as one long direction.
    - `step`: rows in one matrix product; 2048 by default.

    ```python
    found = ji.sae.geometry(sae)
    found.decoder_cosine.mean(), found.dimensions
    ```

    Law: orthogonal directions have cosines of 0 and a flat spectrum; a copied one has 1.
    """
    sae = getattr(sae, "inner", sae)
    decoder = np.asarray(sae.decoder, np.float32)
    encoder = np.moveaxis(np.asarray(sae.encoder, np.float32), -1, 0)
    decoder, encoder = decoder.reshape(len(decoder), -1), encoder.reshape(len(encoder), -1)
    if len(decoder) != len(encoder):
        raise ValueError(
            f"geometry takes a dictionary with a decoder row for each feature; {kind_name(sae)} "
            f"has {len(decoder)} rows and {len(encoder)} features."
        )
    rows, seen = _unit(decoder), _unit(encoder)
    near = [nearest(part, step) for part in (rows, seen)]
    same = rows.shape == seen.shape
    values = np.linalg.eigvalsh(rows.astype(np.float64).T @ rows)
    centred = rows - rows.mean(0)
    top = np.linalg.eigh(centred.astype(np.float64).T @ centred)[1][:, ::-1][:, :2]
    # Of an axis only the line is given: its largest entry points up.
    top = top * np.sign(top[np.abs(top).argmax(0), np.arange(top.shape[1])])[None]
    shares = np.maximum(values[::-1], 0)
    return Geometry(
        near[0][1],
        near[0][0],
        near[1][1],
        near[1][0],
        np.einsum("fd,fd->f", rows, seen) if same else None,
        np.einsum("fd,fd->f", decoder, encoder) if same else None,
        np.linalg.norm(decoder, axis=-1),
        shares / max(shares.sum(), 1e-30),
        (centred @ top).astype(np.float32),
    )


def nearest(rows: np.ndarray, step: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """Of each unit row the other row of largest cosine, and the cosine."""
    which, cosine = np.zeros(len(rows), np.int32), np.full(len(rows), np.nan, np.float32)
    if len(rows) < 2:
        return which, cosine
    for start in range(0, len(rows), step):
        part = rows[start : start + step] @ rows.T
        part[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        best = part.argmax(-1)
        which[start : start + step] = best
        cosine[start : start + step] = part[np.arange(len(part)), best]
    return which, cosine


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)
