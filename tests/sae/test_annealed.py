"""The annealed penalty: that of L1 in value, and of fewer features in its slope."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.sae.kinds._losses import Progress


def test_the_power_falls_and_the_value_stays() -> None:
    size = {"d": 6, "features": 10, "sparsity": 2.0}
    kind = ji.sae.Annealed(**size, begin=10, end=20, power=0.5)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 6)), jnp.float32)
    found = kind.init(jax.random.key(0), x)
    plain = ji.sae.Standard(**size).dictionary(
        **{name: getattr(found, name) for name in ("encoder", "encoder_bias", "decoder", "bias", "scale")}
    )
    now = lambda step: Progress(jnp.int32(step), jnp.float32(1), jnp.zeros(10, bool))
    value = lambda made, step: made.kind.loss(made, x, x, now(step)).terms["sparsity"]
    standard = float(value(plain, 0))
    for step in (0, 10, 15, 20, 50):
        np.testing.assert_allclose(float(value(found, step)), standard, rtol=1e-5)
    slope = lambda made, step: np.asarray(
        jax.grad(lambda b: value(made_with(made, b), step))(made.encoder_bias)
    )
    np.testing.assert_allclose(slope(found, 5), slope(plain, 5), rtol=1e-4, atol=1e-6)
    # By hand, for p = 0.5: the slope of sum (f |d|)^p, rescaled to the value of L1.
    f = np.asarray(found.encode(x), np.float64) * float(found.scale)
    norms = np.linalg.norm(np.asarray(found.decoder, np.float64), axis=1)
    f = np.maximum(
        np.asarray(x, np.float64) * float(found.scale) @ np.asarray(found.encoder)
        + np.asarray(found.encoder_bias),
        0,
    )
    sizes = f * norms
    on = sizes > 0
    powers = np.where(on, 0.5 * np.where(on, sizes + 1e-6, 1) ** -0.5, 0) * norms
    bent = ((sizes + 1e-6) ** 0.5 - 1e-3).sum()
    expected = 2 * powers.sum(0) * sizes.sum() / bent / 16
    np.testing.assert_allclose(slope(found, 30), expected, rtol=1e-3, atol=1e-5)


def made_with(made: Any, bias: Any) -> Any:
    import equinox as eqx

    return eqx.tree_at(lambda d: d.encoder_bias, made, bias)


def test_settings_of_an_annealed_kind() -> None:
    kind = ji.sae.Annealed(d=4, features=8)
    assert kind.replace(power=0.3).settings()["begin"] == 10_000
    for wrong in ({"begin": 5, "end": 5}, {"power": 0.0}, {"sparsity": -1.0}):
        with pytest.raises(ValueError):
            ji.sae.Annealed(d=4, features=8, **wrong)
