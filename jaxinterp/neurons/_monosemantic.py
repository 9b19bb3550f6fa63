"""Neurons that separate a class alone."""

from typing import Any

import numpy as np

from ..probes import rank, single_neuron

MEASURES = ("f1", "mcc", "precision", "recall")


def monosemantic(
    x: Any,
    y: Any,
    top: int = 30,
    *,
    test: tuple[Any, Any] | None = None,
    method: str = "mean_diff",
    key: Any = None,
) -> list[dict[str, Any]]:
    r"""$\{(j, F_1, \mathrm{MCC}, P, R, \mathrm{sign}\, w_j) : j \in \operatorname{top}_{30}\}$: probes of single neurons.

    Neurons are ranked, and the first of them get a probe of one neuron each. "Enumerate
    monosemantic" of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `x`: activations `(n, d)` or `(layer, n, d)`. All layers are ranked together.
    - `y`: labels `(n,)` in {0, 1}.
    - `top`: number of neurons that get a probe; 30 by default.
    - `test`: a pair `(x, y)` of other examples, on which the measures are taken; by default None, which
      takes them on the training examples, where they are too high.
    - `method`, `key`: as in `probes.rank`.

    **Returns:** a list of dicts by falling F1: `neuron` ("layer.neuron", or the column of x `(n, d)`),
    `layer`, `unit`, `rank` (1 is the first), `score`, `f1`, `mcc`, `precision`, `recall`, `sign` of the
    weight, `weight`, `bias`, `converged`.

    **Raises:** ValueError as `probes.rank`.

    ```python
    x = np.random.default_rng(0).normal(size=(2, 60, 8))
    y = x[1, :, 5] > 0.5
    ji.neurons.monosemantic(x, y)[0]["neuron"]           # "1.5"
    ```

    Law: each is `probes.fit(x, y, support=[j])` of its neuron.
    """
    x = np.asarray(x)
    if isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 1:
        raise ValueError(f"top is a number of neurons, at least 1; got {top!r}.")
    if x.ndim not in (2, 3):
        raise ValueError(f"x is (n, d) or (layer, n, d); got the shape {x.shape}.")
    scores = rank(x, y, method, key=key)
    layered = x if x.ndim == 3 else x[None]
    order = np.argsort(-scores, axis=None, kind="stable")[:top]
    layer, unit = np.divmod(order, x.shape[-1])
    probes = single_neuron(layered[layer, :, unit].T, y)
    measured = {what: np.asarray(getattr(probes, what)) for what in MEASURES}
    if test is not None:
        other = np.asarray(test[0])
        if other.shape[:-2] != x.shape[:-2] or other.shape[-1] != x.shape[-1]:
            raise ValueError(
                f"test=(x, y) has the axes of x beside the examples: {x.shape}; got {other.shape}."
            )
        other = other if other.ndim == 3 else other[None]
        measured = probes.evaluate(other[layer, :, unit].T, test[1])
    found = [
        {
            "neuron": f"{layer[i]}.{unit[i]}" if x.ndim == 3 else str(unit[i]),
            "layer": int(layer[i]),
            "unit": int(unit[i]),
            "rank": i + 1,
            "score": float(scores.reshape(-1)[order[i]]),
            **{what: float(measured[what][i]) for what in MEASURES},
            "sign": int(np.sign(probes.weights[i])),
            "weight": float(probes.weights[i]),
            "bias": float(probes.bias[i]),
            "converged": bool(probes.converged[i]),
        }
        for i in range(len(order))
    ]
    return sorted(found, key=lambda each: (-each["f1"], each["rank"]))
