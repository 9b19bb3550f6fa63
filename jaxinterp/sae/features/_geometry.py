"""Geometry of a dictionary's directions: neighbours, alignment, spectrum, a map."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import viz
from ..._tabular import Record, Tabular
from ..kinds._coder import kind_name


@dataclass(frozen=True, eq=False)
class Geometry(Tabular):
    """The angles between the directions of a dictionary; made by `geometry`.

    - `decoder_cosine`, `decoder_nearest (features,)`: the largest cosine of a decoder row with another row, and the
      feature of that row. `encoder_cosine`, `encoder_nearest`: the same for encoder columns.
    - `aligned (features,)`: the cosine of encoder and decoder; None where their widths differ.
    - `projection (features,)`: the inner product of encoder and decoder, the gain with which a feature reads its own
      output; None where the widths differ.
    - `norm (features,)`: the norms of decoder rows.
    - `spectrum (d,)`: the share of each principal axis in the decoder's unit directions, falling, with sum 1.
    - `map (features, 2)`: the coordinates on the first two principal axes.

    ```python
    found = ji.sae.geometry(sae)
    found.decoder_cosine[7], found.decoder_nearest[7], found.aligned.mean()
    ```
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

    def records(self) -> list[Record]:
        """A row for each feature: its nearest others, the cosines with them, and its norm."""
        names = (
            "decoder_cosine",
            "decoder_nearest",
            "encoder_cosine",
            "encoder_nearest",
            "aligned",
            "projection",
            "norm",
        )
        parts = {name: np.asarray(getattr(self, name)) for name in names if getattr(self, name) is not None}
        return [
            {"feature": i} | {name: part[i].item() for name, part in parts.items()}
            for i in range(len(self.norm))
        ]

    def figure(self, *, title: str = "Directions of features") -> viz.Figure:
        """The first two principal axes of the decoder, a point for each feature."""
        points = {"feature": (self.map[:, 0], self.map[:, 1])}
        return viz.scatter(points, x_axis="first axis", y_axis="second axis", title=title)

    @property
    def dimensions(self) -> float:
        r"""$1 / \sum_k s_k^2$ of the spectrum: the effective number of axes of the directions."""
        return float(1 / np.sum(self.spectrum**2))


def geometry(sae: Any, *, step: int = 2048) -> Geometry:
    r"""$\max_{j \neq i} \cos(d_i, d_j)$ of decoder and encoder, $\cos(e_i, d_i)$, and the principal axes of $d_i / \lVert d_i \rVert$.

    **Arguments:**

    - `sae`: a dictionary, or any object with `encoder (d, features)` and `decoder (features, d)`. Several
      sources or layers of a feature count as one long direction.
    - `step`: rows in one matrix product; 2048 by default.

    **Returns:** `Geometry`.

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
    """For each unit row the other row of largest cosine, and the cosine."""
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
