"""Unlearning: features of a topic are set far below 0 wherever they fire, so that a model forgets it."""

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import jax.numpy as jnp
import numpy as np

from ...core._edit import Edit
from ...core._edits import map as mapped
from ...typing import ArrayLike, DictionaryLike, IndexLike
from ..features._directions import check_same_site, directions, written
from ..features._site import chosen, one_layer
from ..files._origin import own_site


class Accuracies(TypedDict):
    """The accuracies of a model: on the topic to forget, and on each control set."""

    forget: float
    control: list[float]


class UnlearningSetting(TypedDict):
    """One choice of features and strength, and the accuracies with it."""

    threshold: float
    "The largest density on retain data."
    top: int
    "How many features at most."
    multiplier: float
    "The value below 0 to which the features are set."
    features: np.ndarray
    "Their numbers, `(n,)`."
    forget: float
    "Accuracy on the topic."
    control: list[float]
    "Accuracy on each control set."
    kept: bool
    "Whether each control accuracy is at least `keep` times that without any edit."


class Unlearned(TypedDict):
    """The accuracies of all settings and the best one; made by `unlearning`."""

    score: float
    "1 minus the accuracy on the topic, at the best setting."
    best: UnlearningSetting | None
    "The setting with the lowest accuracy on the topic that harms no control set; None without one."
    before: Accuracies
    "The accuracies without any edit."
    settings: list[UnlearningSetting]
    "All settings."


def unlearning(
    forget: ArrayLike,
    retain: ArrayLike,
    measure: Callable[[np.ndarray, float], tuple[float, Any]],
    *,
    tops: Iterable[int] = (10, 20),
    thresholds: Iterable[float | int] = (0.001, 0.01),
    multipliers: Iterable[float | int] = (25, 50, 100, 200),
    keep: float = 0.99,
) -> Unlearned:
    r"""$1 - \min \{A_{forget} : A_{control} \ge 0.99\, A^0_{control}\}$ over settings of features that are silenced.

    Candidates are features whose density on retain data is at most a threshold, in the order of their
    density on forget data. The first N of them are set to a negative value (see `silence`), and the
    accuracies of the model are measured. Karvonen et al. 2025 (https://arxiv.org/abs/2503.09532).

    **Arguments:**

    - `forget`, `retain`: densities `(features,)` on both kinds of text, such as `examples(...).density`.
    - `measure`: a function of features and multiplier that returns the accuracies of the model with these features
      silenced: one on the topic to forget, and a list of accuracies on control sets. The first call is
      without features.
    - `tops`: the numbers N of features to try; (10, 20) by default.
    - `thresholds`: the densities on retain data to try; (0.001, 0.01) by default.
    - `multipliers`: the strengths to try; (25, 50, 100, 200) by default.
    - `keep`: the share of each control accuracy that must stay; 0.99 by default.

    **Returns:** an `Unlearned`, a dict. Where each setting harms a control set, `best` is None and the
    score is that of the model without edits.

    **Raises:** ValueError for densities of different lengths, or outside of 0..1.

    ```python
    def measure(features, multiplier):                  # yours: the accuracies with `silence(sae, features, multiplier)`
        return 0.9 - 0.01 * len(features), [0.8]

    on_topic, elsewhere = np.linspace(0, 0.1, 320), np.linspace(0.002, 0, 320)
    found = ji.sae.unlearning(on_topic, elsewhere, measure)
    found["score"], found["best"]
    ```

    Laws: a setting that harms a control set never counts; more settings never lower the score.
    """
    on, off = (np.asarray(x, np.float64) for x in (forget, retain))
    if (
        on.ndim != 1
        or on.shape != off.shape
        or not len(on)
        or not all(((x >= 0) & (x <= 1)).all() for x in (on, off))
    ):
        raise ValueError(
            "unlearning takes densities from 0 to 1 of the same features on two kinds of text; got "
            f"{on.shape} and {off.shape}."
        )

    def measured(which: np.ndarray, by: float) -> tuple[float, list[float]]:
        accuracy, others = measure(which, by)
        return float(accuracy), [float(v) for v in np.atleast_1d(others)]

    first, control = measured(np.zeros(0, int), 0.0)
    settings: list[UnlearningSetting] = []
    for threshold in thresholds:
        order = np.argsort(-on, kind="stable")
        order = order[(off[order] <= threshold) & (on[order] > 0)]
        for top in tops:
            for multiplier in multipliers if len(order) else ():
                which = order[: int(top)]
                accuracy, others = measured(which, float(multiplier))
                intact = all(a >= keep * b for a, b in zip(others, control, strict=True))
                settings.append(
                    {
                        "threshold": float(threshold),
                        "top": int(top),
                        "multiplier": float(multiplier),
                        "features": which,
                        "forget": accuracy,
                        "control": others,
                        "kept": intact,
                    }
                )
    harmless = [s for s in settings if s["kept"] and s["forget"] < first]
    best = min(harmless, key=lambda s: s["forget"], default=None)
    return {
        "score": 1 - (best["forget"] if best else first),
        "best": best,
        "before": {"forget": first, "control": control},
        "settings": settings,
    }


def silence(
    sae: DictionaryLike, features: IndexLike, multiplier: ArrayLike, *, site: str | None = None, **where: Any
) -> Edit:
    r"""$x + \sum_i 1[f_i(x) \ne 0]\,(-c\,\mathrm{sign} f_i(x) - f_i(x))\, d_i$: sets features to -c wherever they fire.

    A signed feature that is below 0 is set to c.

    **Arguments:**

    - `sae`: a dictionary that reads and writes one site.
    - `features`: their numbers `(n,)`.
    - `multiplier`: c.
    - `site`: one layer of a site; None (the default): the site of its training.
    - `pos` and the other selectors of an edit.

    **Returns:** an `Edit`.

    **Raises:** ValueError for a transcoder, which reads one site and writes another.

    ```python
    logits, _ = ji.run(model, tokens, edits=[ji.sae.silence(sae, [7, 8], 50, site="resid_post[2]")])
    ```

    Law: where none of the features fires, x stays the same bit for bit.
    """
    check_same_site(sae, "silence")
    base, layer = one_layer(own_site(sae, site))
    which = chosen(sae, features)
    rows = jnp.take(directions(sae), jnp.asarray(which), 0)
    leaves = sae, rows, jnp.asarray(which), jnp.asarray(multiplier, jnp.float32)
    return mapped(base, _silenced, *leaves, layer=layer, **where)


def _silenced(x: Any, sae: Any, rows: Any, which: Any, multiplier: Any) -> Any:
    full = x.astype(jnp.float32)
    f = jnp.take(sae.encode(full), which, -1)
    amount = jnp.where(f != 0, -multiplier * jnp.sign(f) - f, 0)
    new = (full + written(sae, rows, amount, full)).astype(x.dtype)
    return jnp.where((f != 0).any(-1, keepdims=True), new, x)
