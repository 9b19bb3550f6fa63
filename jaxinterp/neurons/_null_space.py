"""The effective null space of an unembedding: directions of the stream that hardly move any logit."""

import dataclasses
from typing import Any

import numpy as np

from .. import viz
from ..core._check import as_int
from ..stats._results import Record, Result
from ..typing import IntLike, ModelLike
from ._unembedding import check_readout, effective_blocks

ZERO = 1e-7
"Singular values below this share of the largest count as zero."
GAP = 2.0
"The least ratio of neighbouring singular values that is a gap."
SHARE = 64
"Without a gap, one direction in so many: 12 of the 768 of GPT-2 small."


@dataclasses.dataclass(frozen=True, eq=False)
class NullSpace(Result):
    """Directions that an unembedding hardly reads; made by `ji.neurons.null_space`.

    - `vectors (d, d)`: left singular vectors as columns, float64; the last of them are `basis (d, rank)`.
    - `singular_values (d,)`: those of the effective unembedding, in falling order.
    - `rank`: how many of the last directions are the null space.
    - `rule`: how the rank was chosen: `"gap"`, `"default"` or `"given"`.

    ```python
    null = ji.neurons.null_space(model)
    null.basis.shape, null.share(model.blocks.mlp.w_out[-1])
    ```
    """

    vectors: np.ndarray
    singular_values: np.ndarray
    rank: int
    rule: str

    @property
    def basis(self) -> np.ndarray:
        """The directions `(d, rank)` of the null space, orthonormal."""
        return self.vectors[:, len(self.vectors) - self.rank :]

    def with_rank(self, rank: IntLike) -> "NullSpace":
        """The same spectrum with another number of directions, 1 to d."""
        return dataclasses.replace(self, rank=_checked(rank, len(self.vectors)), rule="given")

    def share(self, vectors: np.ndarray) -> np.ndarray:
        r"""$\rho = \lVert N^\top w \rVert / \lVert w \rVert$ of vectors `(..., d)`; 0 where the vector is 0."""
        norm = np.linalg.norm(vectors, axis=-1)
        inside = np.linalg.norm(vectors @ self.basis, axis=-1)
        return np.where(norm > 0, inside / np.where(norm > 0, norm, 1), 0.0)

    def records(self) -> list[Record]:
        """A row for each singular value: its number, the value, and whether it is in the null space."""
        first = len(self.singular_values) - self.rank
        return [
            {"number": i, "singular_value": float(value), "null": i >= first}
            for i, value in enumerate(self.singular_values)
        ]

    def figure(self) -> viz.Figure:
        """The spectrum, with a line where the null space begins."""
        return viz.lines(
            {"singular value": self.singular_values},
            title="Singular values of the effective unembedding",
            x_axis="number",
            y_axis="singular value",
            marks={"null space": float(len(self.singular_values) - self.rank)},
            caption=f"The last {self.rank} directions ({self.rule}).",
        )


def null_space(model: ModelLike, *, rank: IntLike | None = None) -> NullSpace:
    r"""$W = U S V^\top,\; N = U_{:,\,d-r:}$: the last r left singular vectors of the effective unembedding.

    The effective unembedding $W$ includes the gain of the last norm. It is centred over the stream if the norm
    subtracts the mean, and over the vocabulary, because softmax does not depend on the mean logit. Stolfo et al. 2024
    (https://arxiv.org/abs/2406.16254).

    **Arguments:**

    - `model`: any of `ji.models`, with folded norms or not.
    - `rank`: r. The paper takes 12 for GPT-2 small and 40 for LLaMA-2 7B. By default r begins at the largest
      ratio of neighbouring singular values in the lower half of the spectrum, if it is at least 2 (`"gap"`).
      A spectrum without such a gap gets one direction in 64 (`"default"`), and at least one that a neuron can use.

    **Returns:** `NullSpace`. Behind a LayerNorm the all-ones vector is one of its r directions, because the norm
    removes it; the search for a gap leaves it out.

    **Raises:** ValueError for a model without MLPs or without a last norm, an intervened one, and a rank outside
    of 1..d.

    ```python
    null = ji.neurons.null_space(model)
    null.rank, null.rule, null.singular_values[-null.rank - 1:]
    ```

    Laws: the basis is orthonormal; folding norms changes nothing; `planted_unembed` is recovered exactly.
    """
    inner = check_readout(model, "null_space")
    rank = as_rank(inner, rank)
    return null_of(vocabulary_moments(inner), rank)


def as_rank(model: Any, rank: Any) -> int | None:
    """A number of directions, or None for the rule."""
    return None if rank is None else _checked(rank, int(model.config.d))


def _checked(rank: Any, width: int) -> int:
    if not 1 <= as_int(rank, "rank") <= width:
        raise ValueError(f"rank is a number of directions, 1 to d={width}; got {rank}.")
    return int(rank)


@dataclasses.dataclass(frozen=True, eq=False)
class VocabularyMoments:
    """Sums over the vocabulary, in float64: `gram (d, d)` of tokens about their mean, and `unit_gram` of tokens
    of norm 1 about theirs; `tokens` whose norm is not 0; `centres`, whether the last norm does."""

    gram: np.ndarray
    unit_gram: np.ndarray
    tokens: int
    centres: bool

    def logit_var(self, vectors: np.ndarray) -> np.ndarray:
        r"""$\mathrm{Var}_v \cos(W_v, w)$ over tokens, the sample's, of vectors `(..., d)`; 0 where the vector is 0."""
        return _quadratic(self.unit_gram, vectors) / max(1, self.tokens - 1)

    def logit_norm(self, vectors: np.ndarray) -> np.ndarray:
        """The norm of what vectors `(..., d)` write to the logits, whose mean is removed."""
        return np.sqrt(_quadratic(self.gram, vectors)) * np.linalg.norm(vectors, axis=-1)


def vocabulary_moments(model: Any) -> VocabularyMoments:
    """Three passes over the unembedding: means come first, so that small variances keep their digits."""
    width = model.config.d
    total, unit_total, vocab, tokens = np.zeros(width), np.zeros(width), 0, 0
    gram, unit_gram = np.zeros((width, width)), np.zeros((width, width))
    for block in effective_blocks(model):
        total, vocab = total + block.sum(1), vocab + block.shape[1]
    mean = (total / vocab)[:, None]
    for block in effective_blocks(model):
        there = np.linalg.norm(block, axis=0) > 0  # rows that only fill a vocabulary up have no direction
        gap = block - mean
        gram += gap @ gap.T
        unit_total, tokens = unit_total + _unit(gap[:, there]).sum(1), tokens + int(there.sum())
    unit_mean = (unit_total / max(1, tokens))[:, None]
    for block in effective_blocks(model):
        there = np.linalg.norm(block, axis=0) > 0
        unit_gap = _unit(block[:, there] - mean) - unit_mean
        unit_gram += unit_gap @ unit_gap.T
    return VocabularyMoments(gram, unit_gram, tokens, bool(model.ln_final.centres))


def null_of(moments: VocabularyMoments, rank: Any = None) -> NullSpace:
    """The null space of an unembedding whose moments are known."""
    values, vectors = np.linalg.eigh(moments.gram)
    singular = np.sqrt(np.maximum(values[::-1], 0))
    rule = "given"
    if rank is None:
        rank, rule = _rank(singular, moments.centres)
    return NullSpace(vectors[:, ::-1], singular, int(rank), rule)


def _rank(singular: np.ndarray, centres: bool) -> tuple[int, str]:
    """Where the largest gap of the lower half begins, or the default."""
    width = len(singular)
    floor = np.maximum(singular[: width - centres], max(ZERO * singular[0], np.finfo(float).tiny))
    ratios = floor[:-1] / floor[1:]
    ratios[: width // 2 - 1] = 1
    if len(ratios) and ratios.max() >= GAP:
        return width - int(ratios.argmax()) - 1, "gap"
    return min(width, max(1 + centres, round(width / SHARE))), "default"


def _unit(columns: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(columns, axis=0)
    return columns / np.where(norm > 0, norm, 1)


def _quadratic(gram: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    r"""$w^\top G w / \lVert w \rVert^2$."""
    square = np.square(vectors).sum(-1)
    found = ((vectors @ gram) * vectors).sum(-1)
    return np.where(square > 0, np.maximum(found, 0) / np.where(square > 0, square, 1), 0.0)
