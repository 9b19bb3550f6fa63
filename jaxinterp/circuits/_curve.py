r"""Faithfulness by the size of a circuit, and the areas of the MIB benchmark."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._waiting import waiting
from ..stats._results import Result
from ..typing import BytesLike, MaskLike, MetricLike, ModelLike, StrLike, TokensLike
from ._evaluate import evaluate
from ._select import EdgeScores, check_scores, select

if TYPE_CHECKING:
    from ..viz._figure import Figure

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"The sizes of circuits of the MIB benchmark, as shares of all edges."


@dataclasses.dataclass(frozen=True, eq=False)
class FaithfulnessCurve(Result):
    r"""$f(k)$: the faithfulness of circuits of rising size, made by `ji.circuits.curve`.

    - `share (n,)`: the share of all edges that each circuit may have; `size (n,)`: the number that it has.
    - `faithfulness (n,)`, `kl (n,)`, `accuracy (n,)`: as in `Judgement`.
    - `cpr`: $\int f\,dk$, the circuit performance ratio: larger is better. Above 1 the circuits do more than
      the model.
    - `cmd`: $\int |1 - f|\,dk$, the circuit-model distance: 0 is best.

    ```python
    found = ji.circuits.curve(model, scores, clean, corrupt, metric)
    found.share, found.faithfulness, found.cmd
    ```
    """

    share: np.ndarray
    size: np.ndarray
    faithfulness: np.ndarray
    kl: np.ndarray
    accuracy: np.ndarray
    cpr: float
    cmd: float

    def figure(self) -> "Figure":
        """Faithfulness over the share of edges, on a logarithmic axis."""
        from ..viz import lines

        return lines(
            {"faithfulness": self.faithfulness, "the model": np.ones_like(self.faithfulness)},
            x=self.share,
            title=f"Faithfulness by size: CPR {self.cpr:.3f}, CMD {self.cmd:.3f}",
            x_axis="share of edges that is kept",
            y_axis="faithfulness",
            log=True,
        )


@waiting("ji.circuits.curve: compiling and running")
def curve(
    model: ModelLike,
    scores: EdgeScores,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    shares: Sequence[float | int] = SHARES,
    how: StrLike = "greedy",
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    max_bytes: BytesLike = "auto",
) -> FaithfulnessCurve:
    r"""$f(k)$: the faithfulness of the circuit of the best share k of edges, and $\int f$, $\int |1 - f|$.

    The two areas are those of the MIB benchmark, Mueller et al. 2025 (https://arxiv.org/abs/2504.13151), by
    the trapezoid rule over the shares: CPR, the circuit performance ratio, rewards circuits that do the
    task; CMD, the circuit-model distance, rewards those that do what the model does.

    **Arguments:**

    - `model`, `clean`, `corrupt`, `metric`, `ablate`, `mask`, `max_bytes`: as in `ji.circuits.evaluate`.
    - `scores`: the scores of edges, as `ji.circuits.eap` returns them.
    - `shares`: sizes as shares of all edges, in rising order; those of the benchmark by default.
    - `how`: as in `ji.circuits.select`; `"greedy"` by default.

    **Returns:** a `FaithfulnessCurve`.

    ```python
    ji.circuits.curve(model, scores, clean, corrupt, metric).figure()
    ```

    Law: the share 1 has faithfulness 1.
    """
    check_scores(scores)
    given = np.asarray(shares, np.float64)
    if (
        given.ndim != 1
        or len(given) < 2
        or not ((given > 0) & (given <= 1)).all()
        or (np.diff(given) <= 0).any()
    ):
        raise ValueError(f"shares are two or more rising numbers above 0 and up to 1; got {shares}.")
    counts = [round(share * scores.graph.size) for share in given.tolist()]
    circuits = select(scores, n=counts, how=how)
    found = evaluate(model, circuits, clean, corrupt, metric, ablate=ablate, mask=mask, max_bytes=max_bytes)
    f = np.asarray(found.faithfulness)
    area = lambda value: float((np.diff(given) * (value[1:] + value[:-1])).sum() / 2)
    return FaithfulnessCurve(
        given, np.asarray(found.size), f, found.kl, found.accuracy, area(f), area(np.abs(1 - f))
    )
