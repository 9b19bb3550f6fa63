"""Steering: edits that add a feature, hold it at a value, or scale what is there of it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ...core._edit import Edit
from ...core._edits import map as mapped
from ..files._origin import own_site
from ._directions import check_same_site, directions, written
from ._examples import Examples
from ._site import chosen, one_layer

MODES = ("clamp", "add", "scale")


def steer(
    sae: Any,
    feature: Any,
    value: Any = None,
    *,
    site: str | None = None,
    mode: str = "clamp",
    observed: Any = None,
    times: Any = 1.0,
    **where: Any,
) -> Edit:
    r"""$x \mapsto x + (c - f_i(x))\, d_i$ fixes feature i at c; or $x + c\, d_i$; or $x + (c - 1) f_i(x)\, d_i$.

    The rest of x stays, including the error of the dictionary. Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features) fix a feature at its largest
    value. Templeton et al. 2024 (https://transformer-circuits.pub/2024/scaling-monosemanticity) fix it at
    five or ten times this value.

    **Arguments:**

    - `sae`: the dictionary.
    - `feature`: a number, or several `(n,)`.
    - `value`: c, one number for all features or one for each. None (the default): `times` the maximum in `observed`.
    - `site`: the layer that the dictionary reads; by default the site of the dictionary.
    - `mode`: "clamp" (by default), "add" or "scale".
    - `observed`: `Examples` or maxima `(features,)`, used when `value` is None.
    - `times`: the multiple of the observed maximum; 1 by default.
    - `where`: the selectors `pos` and `unit`, as in `ji.add`.

    **Returns:** an `Edit`, for `ji.run`, `ji.generate`, `ji.intervene`. Feature and value are
    leaves: one compiled program serves all.

    **Raises:** ValueError without a value, or for a transcoder; IndexError beyond the features.

    ```python
    found = ji.sae.examples(sae, model, corpus, site="resid_post[2]")
    edit = ji.sae.steer(sae, 7, site="resid_post[2]", observed=found, times=2)
    tokenizer.decode(ji.generate(model, prompt, 5, edits=[edit]))
    ```

    Law: fixing a feature at its present value changes nothing; "scale" by 0 is "clamp" to 0; adding c
    and then -c changes nothing.
    """
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(map(repr, MODES))}; got {mode!r}.")
    base, layer = one_layer(own_site(sae, site))
    check_same_site(sae, "Steering")
    if isinstance(feature, Tracer):
        which = jnp.atleast_1d(feature)
    else:
        which = chosen(sae, [feature] if np.ndim(feature) == 0 else feature)
    if value is None:
        value = _largest(sae, which, observed, mode, times)
    value = jnp.broadcast_to(jnp.asarray(value, jnp.float32), (len(which),))
    rows = jnp.take(directions(sae), jnp.asarray(which), 0)
    move = {"clamp": _clamp, "add": _add, "scale": _scale}[mode]
    given = (sae, rows, jnp.asarray(which), value)
    return mapped(base, move, *given, layer=layer, **where)


def _largest(sae: Any, which: Any, observed: Any, mode: str, times: Any) -> Any:
    if observed is None or mode == "scale":
        raise ValueError(
            "Steering needs a value: ji.sae.steer(sae, 7, 4.0, site=...), or, where features are "
            "held or added, observed=ji.sae.examples(...), whose maximum is then taken."
        )
    if isinstance(observed, Examples):
        # Of a signed feature what it was furthest from 0, with its sign.
        return times * np.nan_to_num(observed.values[[observed.place(int(i)) for i in which], 0])
    found = np.asarray(observed, np.float32)
    if found.shape != (sae.features,):
        raise ValueError(f"observed holds a maximum for each feature, ({sae.features},); got {found.shape}.")
    return times * found[which]


def _active(sae: Any, x: Any, which: Any) -> Any:
    return jnp.take(sae.encode(x.astype(jnp.float32)), which, -1).astype(jnp.float32)


def _moved(sae: Any, x: Any, rows: Any, amount: Any) -> Any:
    full = x.astype(jnp.float32)
    return (full + written(sae, rows, amount, full)).astype(x.dtype)


def _wide(value: Any, f: Any) -> Any:
    return jnp.broadcast_to(value, f.shape)


def _clamp(x: Any, sae: Any, rows: Any, which: Any, value: Any) -> Any:
    f = _active(sae, x, which)
    return _moved(sae, x, rows, _wide(value, f) - f)


def _add(x: Any, sae: Any, rows: Any, which: Any, value: Any) -> Any:
    return _moved(sae, x, rows, jnp.broadcast_to(value, (*x.shape[:-1], len(value))))


def _scale(x: Any, sae: Any, rows: Any, which: Any, value: Any) -> Any:
    f = _active(sae, x, which)
    return _moved(sae, x, rows, _wide(value - 1, f) * f)
