"""What output weights say of the vocabulary: neurons that predict, suppress or split it."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import viz
from ..stats._results import Record, Result
from ..typing import FloatLike, ModelLike
from ._unembedding import check_readout, effective_blocks, written

ROUNDING = 1e-12
"The variance of cosines below which only rounding in float32 is left."
ROLES = ("prediction", "suppression", "partition")


@dataclass(frozen=True, eq=False)
class LogitMoments(Result):
    """Moments of the cosines between each neuron and all tokens; made by `ji.neurons.logit_moments`.

    ```python
    found = ji.neurons.logit_moments(model)
    found.roles(), found.records()[0]
    ```
    """

    mean: np.ndarray
    "The mean of the cosines, `(layer, ff)`."
    variance: np.ndarray
    "The population's, `(layer, ff)`."
    skew: np.ndarray
    "The third standardised moment, `(layer, ff)`; 0 where nothing varies beyond rounding."
    kurtosis: np.ndarray
    "The fourth standardised moment, 3 for a Gaussian, `(layer, ff)`; 0 where nothing varies."

    def roles(self, *, kurtosis: FloatLike = 10.0, share: FloatLike = 0.1) -> np.ndarray:
        r"""The role of each neuron, `(layer, ff)`: "prediction", "suppression", "partition", or "".

        A neuron with a kurtosis above `kurtosis` acts on few tokens: it predicts them where the skew is
        positive, and suppresses them where it is negative (Gurnee et al. 2024). Another neuron is
        called a partition neuron where its variance is among the largest `share` of all neurons and its
        cosines have two modes, $(\mathrm{skew}^2 + 1) / \mathrm{kurtosis} > 5/9$ (more than uniform ones).
        """
        sharp = self.kurtosis > kurtosis
        two_modes = self.skew**2 + 1 > 5 / 9 * self.kurtosis
        wide = self.variance >= np.quantile(self.variance, 1 - share)
        found = np.full(self.mean.shape, "", object)
        found[~sharp & two_modes & wide & (self.kurtosis > 0)] = "partition"
        found[sharp & (self.skew > 0)] = "prediction"
        found[sharp & (self.skew < 0)] = "suppression"
        return found

    def records(self) -> list[Record]:
        """A row for each layer: medians of the moments, and the share of neurons of each role."""
        roles, rows = self.roles(), []
        for layer in range(len(self.mean)):
            row: Record = {"layer": layer}
            for what in ("variance", "skew", "kurtosis"):
                row[what] = float(np.median(getattr(self, what)[layer]))
            rows.append(row | {role: float((roles[layer] == role).mean()) for role in ROLES})
        return rows

    def figure(self, *, title: str = "", caption: str = "") -> viz.Figure:
        """The share of prediction, suppression and partition neurons by layer.

        **Arguments:**

        - `title`, `caption`: texts; by default what is drawn, and none.
        """
        rows = self.records()
        return viz.lines(
            {role: [row[role] for row in rows] for role in ROLES},
            title=title or "Roles of neurons by their output weights",
            x_axis="layer",
            y_axis="share of neurons",
            caption=caption,
        )


def logit_moments(model: ModelLike) -> LogitMoments:
    r"""Moments over v of $m_v = \cos(W_{U,v}, w^{out})$: which tokens a neuron raises and lowers, from weights alone.

    Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181) compute these moments on the weights of
    `ji.weights.process`: the gain of the last norm is folded into the unembedding, the mean over tokens is subtracted,
    and so is the mean that a LayerNorm removes.

    **Arguments:** `model`, of `ji.models`, with MLPs. Without a last norm weights are taken as they are.

    **Returns:** `LogitMoments`, with `.roles()`.

    **Raises:** ValueError for a model without MLPs, an intervened one, and weights that are not finite.

    ```python
    found = ji.neurons.logit_moments(model)
    (found.roles() == "prediction").mean(1)              # by layer
    ```

    Laws: they are the moments of all cosines in float64 to 1e-4; for a neuron with the opposite sign the skew changes
    its sign.
    """
    model = check_readout(model, "logit_moments", scaled=False)
    out = written(model)
    rows = _unit_rows(out.reshape(-1, out.shape[-1]))
    total, tokens = np.zeros(rows.shape[1]), 0
    for block in effective_blocks(model):
        total, tokens = total + block.sum(1), tokens + block.shape[1]
    centre = (total / tokens)[:, None]
    units = lambda: (_unit_rows((block - centre).T) for block in effective_blocks(model))
    mean = rows @ sum(unit.sum(0) for unit in units()) / tokens
    powers = np.zeros((3, len(rows)))
    for unit in units():
        for start in range(0, len(rows), 4096):
            here = slice(start, start + 4096)
            found = _powers(*(jnp.asarray(x, jnp.float32) for x in (rows[here], unit, mean[here])))
            powers[:, here] += np.asarray(found, np.float64)
    variance, third, fourth = powers / tokens
    varies = variance > ROUNDING
    safe = np.where(varies, variance, 1)
    skew, kurtosis = (np.where(varies, x / safe**p, 0) for x, p in ((third, 1.5), (fourth, 2)))
    shape = out.shape[:2]
    return LogitMoments(*(x.reshape(shape) for x in (mean, variance, skew, kurtosis)))


@eqx.filter_jit
def _powers(rows: jax.Array, unit: jax.Array, mean: jax.Array) -> jax.Array:
    """Sums over tokens of powers two to four of cosines about their mean, `(3, row)`."""
    gap = jnp.einsum("nd,vd->nv", rows, unit, precision="highest") - mean[:, None]
    square = gap * gap
    return jnp.stack([square.sum(1), (square * gap).sum(1), (square * square).sum(1)])


def _unit_rows(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)
