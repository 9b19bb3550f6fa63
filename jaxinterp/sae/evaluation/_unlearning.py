"""Unlearning: features of what is to be forgotten, held far below 0 wherever they fire."""

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
    """Of a model: accuracy on what is to be forgotten, and on each control set."""

    forget: float
    control: list[float]


class Unlearned(TypedDict):
    """What `unlearning` found: the score, the best setting or None, the model before, every setting."""

    score: float
    best: dict[str, Any] | None
    before: Accuracies
    settings: list[dict[str, Any]]


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
    r"""$1 - \min \{A_{forget} : A_{control} \ge 0.99\, A^0_{control}\}$ over settings of what is held down.

    Features that fire on at most a threshold of retain data, in the order of their density on forget data;
    the first N of them are held at a negative value (see `silence`), and the model is asked.
    Karvonen et al. 2025 (https://arxiv.org/abs/2503.09532).

    **Arguments:** `forget`, `retain`: densities `(features,)` on both kinds of text, as
    `examples(...).density`; `measure(features, multiplier)`, accuracies of the model with these
    features silenced: on what is to be forgotten, and a list of those on control sets. It is first called without
    features; `tops` N, `thresholds`, `multipliers`; `keep`, the share of each control accuracy that must stay.

    **Returns:** a dict: `score`; `best`, the setting; `before`, accuracies of the model as it is; `settings`,
    all of them: `threshold`, `top`, `multiplier`, `features`, `forget`, `control`, `kept`. A model that no setting
    leaves intact scores what it does as it is.

    **Raises:** ValueError for densities of different lengths, or outside of 0..1.

    ```python
    found = ji.sae.unlearning(on_biology.density, on_prose.density, measure)
    found["score"], found["best"]
    ```

    Law: a setting that harms a control set never counts; more settings never lower the score.
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
    settings = []
    for threshold in thresholds:
        order = np.argsort(-on, kind="stable")
        order = order[(off[order] <= threshold) & (on[order] > 0)]
        for top in tops:
            for multiplier in multipliers if len(order) else ():
                which = order[: int(top)]
                accuracy, others = measured(which, float(multiplier))
                kept = all(a >= keep * b for a, b in zip(others, control, strict=True))
                settings.append(
                    {
                        "threshold": float(threshold),
                        "top": int(top),
                        "multiplier": float(multiplier),
                        "features": which,
                        "forget": accuracy,
                        "control": others,
                        "kept": kept,
                    }
                )
    intact = [s for s in settings if s["kept"] and s["forget"] < first]
    best = min(intact, key=lambda s: s["forget"], default=None)
    return {
        "score": 1 - (best["forget"] if best else first),
        "best": best,
        "before": {"forget": first, "control": control},
        "settings": settings,
    }


def silence(
    sae: DictionaryLike, features: IndexLike, multiplier: ArrayLike, *, site: str | None = None, **where: Any
) -> Edit:
    r"""$x + \sum_i 1[f_i(x) \ne 0]\,(-c\,\mathrm{sign} f_i(x) - f_i(x))\, d_i$: features held at -c wherever they fire.

    A signed feature that is below 0 is held at c.

    **Arguments:** `sae`; `features`, numbers `(n,)`; `multiplier` c; `site`, one layer, by default its own; `pos` and the
    like as in every edit.

    **Raises:** ValueError for a transcoder, which reads one site and writes another.

    ```python
    logits, _ = ji.run(model, tokens, edits=[ji.sae.silence(sae, [7, 8], 50, site="resid_post[2]")])
    ```

    Law: where none of them fires, x stays bit for bit.
    """
    check_same_site(sae, "silence")
    base, layer = one_layer(own_site(sae, site))
    which = chosen(sae, features)
    rows = jnp.take(directions(sae), jnp.asarray(which), 0)
    given = sae, rows, jnp.asarray(which), jnp.asarray(multiplier, jnp.float32)
    return mapped(base, _silenced, *given, layer=layer, **where)


def _silenced(x: Any, sae: Any, rows: Any, which: Any, multiplier: Any) -> Any:
    full = x.astype(jnp.float32)
    f = jnp.take(sae.encode(full), which, -1)
    amount = jnp.where(f != 0, -multiplier * jnp.sign(f) - f, 0)
    new = (full + written(sae, rows, amount, full)).astype(x.dtype)
    return jnp.where((f != 0).any(-1, keepdims=True), new, x)
