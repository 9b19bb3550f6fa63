"""A map by UMAP: what is asked of the package, and what is said without it."""

import sys
import types
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji


def test_a_map_of_decoder_rows(monkeypatch: Any) -> None:
    given = {}

    class Recorder:
        def __init__(self, **options: Any) -> None:
            given.update(options)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            given["rows"] = rows
            return rows[:, :2].astype(np.float64)

    package: Any = types.ModuleType("umap")
    package.UMAP = Recorder
    monkeypatch.setitem(sys.modules, "umap", package)
    sae = ji.sae.Standard(d=4, features=8).init(jax.random.key(0))
    found = ji.sae.umap_map(sae, key=jax.random.key(1), neighbours=3)
    assert found.shape == (8, 2) and found.dtype == np.float32
    np.testing.assert_array_equal(given.pop("rows"), np.asarray(sae.decoder))
    first = given.pop("random_state")
    assert given == {"n_neighbors": 3, "min_dist": 0.05, "metric": "cosine", "n_components": 2}
    ji.sae.umap_map(sae, key=jax.random.key(1), neighbours=3)
    assert given["random_state"] == first
    with pytest.raises(ValueError, match="at most 7"):
        ji.sae.umap_map(sae, key=jax.random.key(1))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"jaxinterp\[umap\]"):
        ji.sae.umap_map(sae, key=jax.random.key(1), neighbours=3)
