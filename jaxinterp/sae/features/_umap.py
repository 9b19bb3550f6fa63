"""A map of a dictionary's directions by UMAP, which needs the package `umap-learn`."""

import importlib
from typing import Any

import numpy as np

from ..._arguments import as_int, as_number, check_choice, check_key
from ..._random import host_generator
from ...typing import CoderLike, FloatLike, IntLike, KeyLike


def umap_map(
    sae: CoderLike,
    *,
    key: KeyLike,
    neighbours: IntLike = 15,
    distance: FloatLike = 0.05,
    metric: str = "cosine",
) -> np.ndarray:
    r"""$\mathbb{R}^d \to \mathbb{R}^2$ of decoder rows: features that lie near each other stay near each other.

    UMAP (McInnes et al. 2018, https://arxiv.org/abs/1802.03426) of a dictionary, as in Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features). `geometry(sae).map` is the linear map, and needs no
    other package.

    **Arguments:**

    - `sae`: a dictionary, or any object with `decoder (features, ...)`.
    - `key`: a `jax.random.key`, which decides the layout.
    - `neighbours`: how many neighbours of each feature are kept near; 15 by default.
    - `distance`: the smallest distance of two points of the map; 0.05 by default.
    - `metric`: "cosine" (the default) or "euclidean".

    **Returns:** `(features, 2)`.

    **Raises:** ImportError without the package: `pip install 'jaxinterp[umap]'`; ValueError for a dictionary of
    fewer features than `neighbours`.

    ```python
    x, y = ji.sae.umap_map(sae, key=jax.random.key(0)).T
    ji.viz.scatter({"features": (x, y)})
    ```

    Law: equal keys give equal maps.
    """
    rng = host_generator(check_key(key, "ji.sae.umap_map(sae, key={})"))
    check_choice(metric, "metric", ("cosine", "euclidean"))
    decoder = np.asarray(getattr(sae, "inner", sae).decoder, np.float32)
    rows = decoder.reshape(len(decoder), -1)
    near = as_int(neighbours, "neighbours", 2)
    if near >= len(rows):
        raise ValueError(f"A map of {len(rows)} features has at most {len(rows) - 1} neighbours; got {near}.")
    least = as_number(distance, "distance", 0, 1)
    try:
        umap: Any = importlib.import_module("umap")
    except ImportError as error:
        raise ImportError(
            "A map by UMAP needs umap-learn: pip install 'jaxinterp[umap]'. Without it: ji.sae.geometry(sae).map."
        ) from error
    seed = int(rng.integers(2**31))
    made = umap.UMAP(n_neighbors=near, min_dist=least, metric=metric, n_components=2, random_state=seed)
    return np.asarray(made.fit_transform(rows), np.float32)
