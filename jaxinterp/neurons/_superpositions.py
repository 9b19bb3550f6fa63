"""Which sparse superpositions a neuron belongs to: the optimal supports that hold it, and its companions."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import viz
from .._arguments import as_int
from .._settings import takes_settings
from ..core._check import check_index
from ..probes import ByK, SearchSettings, Subset, best_subsets
from ..sae.kinds._combinations import Combinations, combinations
from ..stats import Record, Result
from ..typing import ArrayLike, IntLike, NeuronsLike
from ._address import name, pairs
from ._correlations import correlations


@dataclasses.dataclass(frozen=True, eq=False)
class Superpositions(Result):
    """The optimal supports that contain each of n neurons; made by `ji.neurons.superpositions`.

    Arrays are `(neuron, label, k)`.

    - `neurons (n, 2)`, `labels`, `ks`: the axes.
    - `member`: whether the neuron is in the support of k neurons of its layer with the smallest loss.
    - `weight`: its weight there, for activations divided by their deviation; NaN where it is no member.
    - `gap`: the gap of the certificate: 0 where it is proven that no other support of the layer has a smaller loss.
    - `correlation (neuron, unit)`: the correlation with every neuron of its layer, over the rows; 1 with itself.
    - `supports`: the probes, by layer and label; `scale (layer, unit)`: the numbers by which x was divided.

    ```python
    rows = rng.normal(size=(200, 6))
    found = ji.neurons.superpositions(rows, {"sum": rows[:, 1] + rows[:, 4] > 0}, [(0, 1)], ks=[2])
    found.member, found.weight, found.neighbours(2)
    ```
    """

    neurons: np.ndarray
    labels: tuple[str, ...]
    ks: tuple[int, ...]
    member: np.ndarray
    weight: np.ndarray
    gap: np.ndarray
    correlation: np.ndarray
    supports: dict[tuple[int, str], ByK[Subset]]
    scale: np.ndarray

    def combination(self, neuron: IntLike, label: str, k: IntLike) -> Combinations:
        """The support of k neurons for a label as a feature of the neuron's layer: `ji.sae.combinations`.

        **Arguments:**

        - `neuron`: its number among `neurons`.
        - `label`, `k`: of the probe.
        """
        number = as_int(neuron, "neuron, a number among .neurons,")
        check_index("neuron", number, len(self.neurons), f"combination({number}, ...)")
        layer = int(self.neurons[number, 0])
        if (layer, label) not in self.supports or k not in self.ks:
            raise ValueError(
                f"There are supports for {', '.join(map(repr, self.labels))} with k in {list(self.ks)}; got "
                f"{label!r} and k={k!r}."
            )
        return combinations(self.supports[layer, label][k], scale=self.scale[layer])

    def records(self) -> list[Record]:
        """A row for each neuron, label and k: membership, weight, and the companions with their correlations."""
        rows: list[Record] = []
        for n, (layer, unit) in enumerate(self.neurons.tolist()):
            for c, label in enumerate(self.labels):
                for i, k in enumerate(self.ks):
                    others = [int(j) for j in self.supports[layer, label][k].support if j != unit]
                    rows.append(
                        {
                            "neuron": name((layer, unit)),
                            "label": label,
                            "k": k,
                            "member": bool(self.member[n, c, i]),
                            "weight": float(self.weight[n, c, i]),
                            "gap": float(self.gap[n, c, i]),
                            "others": [name((layer, j)) for j in others],
                            "correlations": [float(self.correlation[n, j]) for j in others],
                        }
                    )
        return rows

    def neighbours(self, top: IntLike = 5) -> list[Record]:
        """The neurons of its layer with the largest correlation with each neuron, by magnitude."""
        top = as_int(top, "top", 1)
        rows: list[Record] = []
        for (layer, unit), r in zip(self.neurons.tolist(), self.correlation, strict=True):
            order = [int(j) for j in np.argsort(-np.abs(r), kind="stable") if j != unit][:top]
            rows += [
                {"neuron": name((layer, unit)), "other": name((layer, j)), "correlation": float(r[j])}
                for j in order
            ]
        return rows

    def figure(self, *, title: str = "", caption: str = "") -> viz.Figure:
        """The smallest k at which each neuron is in the support of each label; 0 where it is in none.

        **Arguments:**

        - `title`, `caption`: texts; by default what is shown, and none.
        """
        first = np.where(self.member, np.asarray(self.ks), np.inf).min(-1)
        return viz.heatmap(
            np.where(np.isfinite(first), first, 0),
            rows=[name(each) for each in self.neurons],
            cols=list(self.labels),
            value="k",
            title=title or "The smallest optimal support that holds a neuron (0: none)",
            settings=viz.HeatmapSettings(caption=caption),
        )


@takes_settings
def superpositions(
    x: ArrayLike,
    y: ArrayLike | Mapping[str, ArrayLike],
    neurons: NeuronsLike,
    *,
    ks: Iterable[IntLike] = (1, 2, 3),
    time_limit: float | int = 20,
    gamma: float | int | None = None,
    settings: SearchSettings = SearchSettings(),
) -> Superpositions:
    r"""$j \in \arg\min_{|S| \le k} L_c(S)$ for each label c: which k-sparse superpositions does neuron j belong to?

    A feature in superposition is represented by several neurons of a layer (Gurnee et al. 2023,
    https://arxiv.org/abs/2305.01610). For each label `ji.probes.best_subsets` finds the best k neurons of the layer.
    The correlations show whether the other neurons of a support fire together with the neuron. A neuron that
    is in no support may be a near copy of a neuron that is in one.

    **Arguments:**

    - `x`: activations `(layer, row, unit)`, or `(row, unit)` of one layer, which is number 0. Rows are
      contexts, as `ji.data.activations(..., reduce="mean")` gives them, or tokens.
    - `y`: a label for each row `(row,)`, or a dict from the name of a feature to bools `(row,)`.
    - `neurons`: pairs `(layer, neuron)`, or names as `"3.336"`.
    - `ks`: the sizes of supports; 1 to 3 by default.
    - `time_limit`: seconds for each support; 20 by default. `gap` says what is proven by then.
    - `gamma`, `settings`: as in `probes.best_subset`.

    **Returns:** `Superpositions`, with `.records()`, `.neighbours()`, `.combination(...)` and `.figure()`.

    **Raises:** ValueError for no neuron, labels of another length, a label that no row or every row has; IndexError for
    neurons that are not there; as `probes.best_subset`.

    ```python
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    found = ji.neurons.superpositions(x, {"sum": x[:, 1] + x[:, 4] > 0}, [(0, 1), (0, 2)], ks=[2])
    found.member[:, 0, 0]                                # True, False
    ```

    Laws: members and weights are those of `probes.best_subsets`; correlations those of `numpy.corrcoef`.
    """
    rows = np.asarray(x)
    rows = rows[None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or not rows.size:
        raise ValueError(f"x is (row, unit) or (layer, row, unit); got the shape {np.shape(x)}.")
    if not np.isfinite(rows).all():
        raise ValueError("Activations are NaN or infinite. Are the weights of the model finite?")
    chosen, truth = pairs(neurons, (rows.shape[0], rows.shape[2]), "x"), _truth(y, rows.shape[1])
    if not len(chosen):
        raise ValueError(
            "superpositions needs at least one neuron: ji.neurons.superpositions(x, y, [(3, 336)])."
        )
    spread = rows.std(1, dtype=np.float64)
    scale = np.where(spread > 0, spread, 1)
    ks = tuple(as_int(k, "Each of ks, the size of a support,", 1) for k in ks)
    if not ks:
        raise ValueError("ks are the sizes of supports, at least one: ks=(1, 2, 3).")
    supports, alike = {}, {}
    for layer in np.unique(chosen[:, 0]).tolist():
        here = rows[layer] / scale[layer]
        single = np.asarray(here, np.float32)
        for label, positive in truth.items():
            options: dict[str, Any] = {"time_limit": time_limit, "gamma": gamma, "settings": settings}
            supports[layer, label] = best_subsets(here, positive.astype(int), ks, **options)
        alike[layer] = correlations(single, single).matrix
    shape = (len(chosen), len(truth), len(ks))
    member, weight, gap = np.zeros(shape, bool), np.full(shape, np.nan), np.zeros(shape)
    for n, (layer, unit) in enumerate(chosen.tolist()):
        for c, label in enumerate(truth):
            for i, k in enumerate(ks):
                probe = supports[layer, label][k]
                gap[n, c, i] = probe.gap
                for at in np.flatnonzero(probe.support == unit):
                    member[n, c, i], weight[n, c, i] = True, probe.weights[at]
    correlation = np.stack([alike[layer][unit] for layer, unit in chosen.tolist()])
    return Superpositions(chosen, tuple(truth), ks, member, weight, gap, correlation, supports, scale)


def _truth(y: Any, rows: int) -> dict[str, np.ndarray]:
    """For each label which rows have it."""
    if isinstance(y, Mapping):
        truth = {str(label): np.asarray(each) for label, each in y.items()}
    else:
        names = np.asarray(y)
        if names.shape != (rows,) or any(each is None for each in names.tolist()):
            raise ValueError(
                f"y is a label for each of {rows} rows, or a dict {{label: bools ({rows},)}}; got "
                f"{names.dtype} of the shape {names.shape}. Documents without labels have None."
            )
        truth = {str(each): names == each for each in dict.fromkeys(sorted(names.tolist(), key=str))}
    for label, each in truth.items():
        if each.shape != (rows,) or not np.isin(each, (0, 1)).all():
            raise ValueError(f"Labels of {label!r} are bools ({rows},); got {each.dtype} {each.shape}.")
        if not 0 < each.sum() < rows:
            raise ValueError(f"{int(each.sum())} of {rows} rows have the label {label!r}: give some of both.")
    if not truth:
        raise ValueError("y has no label: {'German': corpus.labels == 'German'}.")
    return {label: each.astype(bool) for label, each in truth.items()}
