"""All pairs of layers of two models, compared over a corpus without holding activations."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import viz
from .._arguments import as_bool, as_int, check_choice
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._checkpoint import Checkpoint, as_checkpoint, beside
from ..corpus._corpus import as_corpus
from ..corpus._fold import folded
from ..stats._results import Record, Result
from ..typing import BoolLike, CorpusLike, IntLike, MeshLike, ModelLike, PathLike, StrLike
from ._cka import off_diagonal
from ._kernels import KERNELS, Gaussian
from ._similarity_sums import GroupSums, LayerPair, MeanSums, ProductSums, group_zeros, product_zeros
from ._site_layers import SideLayers, check_same_ids, layers_at

BYTES = 2**30  # of the products of `points=None`


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity(Result):
    """CKA of all pairs of layers of two models; made by `similarity`.

    - `cka (layer_a, layer_b)`: 1 for equal geometry, near 0 for independent sides.
    - `layers_a`, `layers_b`: the numbers of the layers.
    - `site`, `tokens`: the site, and the number of tokens.
    - `points`: the number of tokens in a group; None where all tokens are one group.

    ```python
    found = ji.geometry.similarity(model, model, corpus)
    found.cka[0, 3]                                     # layer 0 and layer 3
    ```
    """

    cka: np.ndarray
    layers_a: tuple[int, ...]
    layers_b: tuple[int, ...]
    site: str
    tokens: int
    points: int | None

    def records(self) -> list[Record]:
        """One dict for each pair of layers."""
        return [
            {"layer_a": a, "layer_b": b, "cka": float(self.cka[i, j])}
            for i, a in enumerate(self.layers_a)
            for j, b in enumerate(self.layers_b)
        ]

    def figure(
        self, *, title: str = "Similarity of layers", names: tuple[str, str] = ("layer", "layer")
    ) -> viz.Figure:
        """A heat map of all pairs; `names` are those of the two models."""
        return viz.heatmap(
            self.cka,
            rows=self.layers_a,
            cols=self.layers_b,
            axis_names=names,
            value="CKA",
            title=title,
            settings=viz.HeatmapSettings(
                limits=(min(0.0, float(self.cka.min())), 1.0),
                caption=f"{self.site}, {self.tokens:,} tokens.",
            ),
        )


def similarity(
    model_a: ModelLike,
    model_b: ModelLike,
    corpus: CorpusLike,
    *,
    site: StrLike = "resid_post",
    points: IntLike | None = 256,
    kernel: StrLike | Gaussian = "linear",
    unbiased: BoolLike = True,
    batch_size: IntLike | StrLike = "auto",
    mesh: MeshLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
    progress: BoolLike = True,
) -> Similarity:
    r"""$\frac{\sum_g \mathrm{HSIC}_1(K_g, L_g)}{\sqrt{\sum_g \mathrm{HSIC}_1(K_g, K_g)} \sqrt{\sum_g \mathrm{HSIC}_1(L_g, L_g)}}$ over groups g of tokens, for all pairs of layers.

    Nguyen et al. 2021 (https://arxiv.org/abs/2010.15327). The unbiased estimate of HSIC (Song et al. 2012) has
    the same mean in a group as over all tokens. So the corpus is read once, all pairs of layers are one program, and
    no activations are stored.

    **Arguments:**

    - `model_a`, `model_b`: models, with or without edits. The same model twice runs once. Both read the same ids.
    - `corpus`: a `Corpus`, or ids `(row, pos)`. The tokens at `corpus.positions` are compared.
    - `site`: a site of all layers or of some: `"resid_post"` (the default), `"mlp_post[2:5]"`.
    - `points`: how many tokens a group has, at least 4; 256 by default. A group takes tokens from all rows of a batch.
      None compares all tokens as one group, exactly, with the linear kernel. Then the corpus is read twice, and the
      product of each pair of layers is in memory.
    - `kernel`: "linear", "rbf", or `Gaussian(bandwidth)`, as in `cka`; the median is that of a group.
    - `unbiased`: False is possible only with `points=None`, where batches make no difference.
    - `batch_size`: rows of a batch. It decides which tokens are in a group.
    - `mesh`: a mesh of `jax.make_mesh`; the rows of a batch are divided over its axis "data".
    - `checkpoint`: a file from which an interrupted call continues. With `points=None` there are two files,
      `checkpoint` and that name with `.means`.
    - `progress`: whether a progress bar is shown after two seconds; True by default.

    **Returns:** `Similarity`, with `.cka (layer_a, layer_b)`.

    **Raises:** ValueError for models of different vocabularies, a site that has no row for each token, fewer
    than four tokens, products that take more than 1 GiB, and activations that are not finite.

    ```python
    corpus = ji.data.pack(tokenizer, ["The old man walked along the river to the sea."] * 2, ctx=32)
    found = ji.geometry.similarity(model, model, corpus)
    found.cka.shape                                      # (4, 4)
    found.figure()
    ```

    Laws: with `points=None`, and where one group holds all tokens, equal to `ji.geometry.cka` of activations in
    memory to 1e-5, with the same `unbiased` (True here by default); a model with itself has 1 on the diagonal; padding and a mesh change nothing.
    """
    width = jnp.float32(kernel.bandwidth if isinstance(kernel, Gaussian) else 1)
    kernel = "rbf" if isinstance(kernel, Gaussian) else kernel
    check_choice(kernel, "kernel", KERNELS)
    points = None if points is None else as_int(points, "points, the tokens of a group,", 4)
    unbiased = as_bool(unbiased, "unbiased")
    if points is None and kernel != "linear":
        raise ValueError("points=None, all tokens as one, has the linear kernel; for 'rbf' give points=256.")
    if points is not None and not unbiased:
        raise ValueError(
            "The biased HSIC of a group is not that of all tokens, so it is for points=None: "
            "ji.geometry.similarity(model_a, model_b, corpus, points=None, unbiased=False)."
        )
    corpus = as_corpus(corpus)
    check_same_ids(model_a, model_b)
    sides = layers_at(model_a, corpus, site), layers_at(model_b, corpus, site)
    if (tokens := int(corpus.positions.sum())) < 4:
        raise ValueError(f"Similarity is over four tokens that count or more; this corpus has {tokens}.")
    pair = LayerPair(None if model_b is model_a else model_b, sides[0].name, sides[0].stacked)
    wide = sum(len(side.numbers) * side.width for side in sides)
    parts = CorpusBatches(corpus, model_a, batch_size, padded=True, width=wide, mesh=mesh)
    kept = as_checkpoint(checkpoint)
    watch = "similarity" if as_bool(progress, "progress") else False
    if points is None:
        found = _exact(parts, model_a, pair, sides, unbiased, kept, watch)
    else:
        read = GroupSums(pair, width, points, kernel)
        shapes = group_zeros(*(len(side.numbers) for side in sides))
        zero = {name: np.zeros(value.shape) for name, value in shapes.items()}
        sums = folded(
            parts, model_a, [pair.site], zero, add_sums, per_batch=read, checkpoint=kept, progress=watch
        )
        if not sums["weight"]:
            raise ValueError(
                "No batch has four tokens that count, and a group is of one batch. Give a larger batch_size."
            )
        found = aligned(*(sums[name] for name in ("cross", "own", "other")))
    if not np.isfinite(found).all():
        raise ValueError(
            f"A similarity is not finite: at {site!r} a layer is the same at every token, or its activations are "
            "NaN or infinite. Are the weights finite, and does the dtype reach?"
        )
    return Similarity(found, sides[0].numbers, sides[1].numbers, pair.site, tokens, points)


def aligned(cross: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cross terms `(a, b)` over the geometric mean of the sides' own."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return cross / np.sqrt(own)[:, None] / np.sqrt(other)[None]


def add_sums(state: dict[str, Any], batch: Batch, found: dict[str, Any]) -> dict[str, Any]:
    """Sums of batches, in float64 on the host."""
    return {name: state[name] + np.asarray(value, np.float64) for name, value in found.items()}


def _exact(
    parts: CorpusBatches,
    model: ModelLike,
    pair: LayerPair,
    sides: tuple[SideLayers, SideLayers],
    unbiased: bool,
    kept: Checkpoint | None,
    watch: bool | str,
) -> np.ndarray:
    """CKA of all tokens as one: means first, then products about them."""
    same = pair.other is None
    shapes = [(len(side.numbers), side.width) for side in sides]
    _check_size(shapes, same)
    zero = {"a": np.zeros(shapes[0]), "b": np.zeros(shapes[1]), "count": np.zeros(())}
    if same:
        del zero["b"]
    read, first = MeanSums(pair), beside(kept, "means")
    captures = [pair.site]
    sums = folded(parts, model, captures, zero, add_sums, per_batch=read, checkpoint=first, progress=watch)
    n = float(sums["count"])
    means = [jnp.asarray(sums[name] / n, jnp.float32) for name in ("a", "b") if name in sums]
    step = ProductSums(pair, (means[0], means[-1]))
    start = product_zeros(means[0], means[-1], same)
    total = folded(parts, model, captures, start, step, checkpoint=kept, progress=watch)
    total = {name: np.asarray(value, np.float64) for name, value in total.items()}
    cross = _hsic(total["cross"], total["pairs"], total["a"][:, None] * total["b"], n, unbiased)
    if same:
        return aligned(cross, np.diag(cross), np.diag(cross))
    own, other = (
        _hsic(total[name], total[f"{name}_pairs"], total[side] ** 2, n, unbiased)
        for name, side in (("own", "a"), ("other", "b"))
    )
    return aligned(cross, own, other)


def _hsic(products: np.ndarray, pairs: np.ndarray, sums: np.ndarray, n: float, unbiased: bool) -> np.ndarray:
    """HSIC from products and squared lengths, as `feature_hsic` of `cka`; the biased one but for a factor."""
    total = np.square(products).sum((-2, -1))
    return off_diagonal(total, pairs, sums, n) if unbiased else total


def _check_size(shapes: list[tuple[int, int]], same: bool) -> None:
    (m, p), (n, q) = shapes
    size = 4 * (m * p * n * q + (0 if same else m * p * p + n * q * q))
    if size > BYTES:
        raise ValueError(
            f"points=None holds the products of {m} by {n} layers of widths {p} and {q}, {size:,} bytes, more "
            f"than {BYTES:,}. Name fewer layers, site='resid_post[::4]', or compare groups: points=256."
        )
