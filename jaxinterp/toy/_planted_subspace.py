"""A model in which a known subspace carries one of two variables, and pairs of prompts that tell."""

import dataclasses

import numpy as np

from .._arguments import as_int
from .._random import host_generator
from ..models import GPT2
from ..typing import IntLike, KeyLike
from ._hand import HandWeights


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedSubspace:
    """A model, and the subspace that carries the first variable; made by `planted_subspace`.

    - `model`: a GPT-2 without norms. The last token holds two variables; the answer is the token of both.
    - `subspace (dim, d)`: orthonormal rows that span the subspace of the first variable.
    - `base (n, pos)`, `source (n, pos)`: pairs of prompts that differ in both variables.
    - `answer (n,)`: the token with the first variable of the source and the second of the base.

    ```python
    planted = ji.toy.planted_subspace(key=jax.random.key(0), n=8)
    planted.subspace.shape, planted.base.shape          # (2, 16), (8, 3)
    ```
    """

    model: GPT2
    subspace: np.ndarray
    base: np.ndarray
    source: np.ndarray
    answer: np.ndarray


def planted_subspace(
    *,
    key: KeyLike,
    n: IntLike = 256,
    values: IntLike = 5,
    dim: IntLike = 2,
    d: IntLike = 16,
    layers: IntLike = 2,
) -> PlantedSubspace:
    r"""$h = A_a + B_b$ with $A_a \in U$ and $B_b \perp U$: two variables in orthogonal subspaces of the stream.

    Each value of a variable is a point on a circle in its subspace, or in more dimensions a corner of a simplex's
    image. The logit of the token $(a, b)$ is $3\,(A_a \cdot h + B_b \cdot h)$, so the model predicts the token that it
    has read. An interchange of $U$ alone gives the source's $a$ with the base's $b$. An interchange of the whole stream
    changes both.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of pairs of prompts, which have 3 tokens each; 256 by default.
    - `values`: how many values each variable has; 5 by default.
    - `dim`: the dimension of each subspace; 2 by default.
    - `d`, `layers`: the width and the number of blocks of the model; 16 and 2 by default. The blocks write nothing.

    **Returns:** `PlantedSubspace`.

    **Raises:** ValueError for sizes that are too small, such as `d` below 2 `dim`.

    ```python
    planted = ji.toy.planted_subspace(key=jax.random.key(0))
    _, acts = ji.run(planted.model, planted.source, capture=["resid_post[0]"])
    edit = ji.steering.interchange("resid_post", acts["resid_post[0]"], planted.subspace, layer=0)
    logits, _ = ji.run(planted.model, planted.base, edits=[edit])
    (logits[:, -1].argmax(-1) == planted.answer).mean()     # 1.0
    ```

    Law: the interchange of the planted subspace gives every answer, and that of the whole stream none.
    """
    n, values, dim = as_int(n, "n", 1), as_int(values, "values", 3), as_int(dim, "dim", 2)
    d, layers = as_int(d, "d", 2 * dim), as_int(layers, "layers", 1)
    rng = host_generator(key, "ji.toy.planted_subspace(key={})")
    frame = np.linalg.qr(rng.normal(size=(d, d)))[0].T
    angle = 2 * np.pi * np.arange(values) / values
    codes = np.zeros((values, dim))
    codes[:, :2] = np.stack([np.cos(angle), np.sin(angle)], -1)
    if dim > 2:
        codes[:, 2:] = rng.normal(size=(values, dim - 2))
        codes /= np.linalg.norm(codes, axis=-1, keepdims=True)
    first, second = (
        grid.ravel() for grid in np.meshgrid(np.arange(values), np.arange(values), indexing="ij")
    )
    written = codes[first] @ frame[:dim] + codes[second] @ frame[dim : 2 * dim]
    draft = HandWeights({"stream": range(d)}, vocab=values**2, ctx=8, layers=layers, k=1, out=values**2)
    draft.embed[:] = written
    draft.unembed[:] = 3 * written.T
    a, b = (rng.integers(values, size=n) for _ in range(2))
    other_a, other_b = ((x + rng.integers(1, values, size=n)) % values for x in (a, b))
    base, source = [np.asarray(rng.integers(values**2, size=(n, 3)), np.int32) for _ in range(2)]
    base[:, -1], source[:, -1] = a * values + b, other_a * values + other_b
    answer = np.asarray(other_a * values + b, np.int32)
    return PlantedSubspace(draft.model(), np.asarray(frame[:dim], np.float32), base, source, answer)
