"""RAVEL, unlearning and the baseline of universality, each on a planted case whose answer is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import sae

D = 8
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
ROWS = np.linalg.qr(RNG.normal(size=(D, D)))[0].astype("float32")


def planted(bias: float = 0.0) -> Any:
    return sae.Standard(d=D, features=D).dictionary(
        encoder=jnp.asarray(ROWS.T),
        decoder=jnp.asarray(ROWS),
        bias=jnp.zeros(D),
        encoder_bias=jnp.full(D, bias),
        scale=jnp.float32(1),
    )


def entities(n: int, shared: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Three countries and three languages, each a direction of its own, and two that say nothing."""
    y = RNG.integers(3, size=(2, n))
    y[1] = y[0] if shared else y[1]
    f = np.concatenate([np.eye(3)[y[0]], np.eye(3)[y[1]] * (not shared), RNG.random((n, 2))], 1)
    return (f @ ROWS).astype("float32"), {"country": y[0], "language": y[1]}


def reader(start: int) -> Any:
    return lambda x, rows: 10 * jnp.matmul(x, ROWS[start : start + 3].T)


def test_ravel_tells_attributes_apart() -> None:
    readers = {"country": reader(0), "language": reader(3)}
    found = sae.ravel(entities(60, False), entities(40, False), planted(), readers, pairs=1600, key=KEY)
    assert found["disentangle"] == 1 and found["cause"] == {"country": 1, "language": 1}
    np.testing.assert_array_equal(found["masks"]["country"][:6], np.arange(6) < 3)
    np.testing.assert_array_equal(found["masks"]["language"][:6], np.arange(6) >= 3)
    readers["language"] = reader(0)
    found = sae.ravel(entities(60, True), entities(40, True), planted(), readers, pairs=1600, key=KEY)
    assert found["disentangle"] <= 0.5
    x, y = entities(9, False)
    with pytest.raises(ValueError, match="two or more"):
        sae.ravel((x, y), (x, y), planted(), {"country": reader(0)}, key=KEY)
    with pytest.raises(ValueError, match="whole number from 0 for each of 9 rows"):
        sae.ravel((x, {**y, "country": y["country"][:3]}), (x, y), planted(), readers, key=KEY)
    with pytest.raises(ValueError, match="nothing to exchange"):
        sae.ravel((x, {**y, "country": 0 * y["country"]}), (x, y), planted(), readers, key=KEY)


@pytest.mark.slow
def test_unlearning_keeps_what_is_to_be_kept() -> None:
    forget = np.asarray([0.5, 0.4, 0.3, 0.2, 0.0])
    retain = np.asarray([0.5, 0.005, 0.0005, 0.0, 0.0])
    asked = []

    def measure(which: np.ndarray, by: float) -> tuple[float, list[float]]:
        """Feature 1 holds half of what is known, 2 a quarter; 1 harms prose where it is held too low."""
        asked.append((which.tolist(), by))
        lost = 0.4 * (1 in which) + 0.2 * (2 in which)
        return 0.9 - lost, [0.8, 0.6 - 0.1 * (1 in which and by > 50)]

    found = sae.unlearning(forget, retain, measure, tops=(1, 2), multipliers=(50, 100))
    assert asked[0] == ([], 0.0) and found["before"] == {"forget": 0.9, "control": [0.8, 0.6]}
    assert found["best"]["features"].tolist() == [1, 2] and found["best"]["multiplier"] == 50
    assert found["score"] == pytest.approx(0.7) and len(found["settings"]) == 8
    assert [s["features"].tolist() for s in found["settings"][:4:2]] == [[2], [2, 3]]
    harmful = sae.unlearning(forget, retain, lambda which, by: (0.9 - len(which), [1.0 - len(which)]))
    assert harmful["score"] == pytest.approx(0.1) and harmful["best"] is None
    with pytest.raises(ValueError, match="densities from 0 to 1"):
        sae.unlearning(forget, retain[:3], measure)


def test_silence_holds_what_fires() -> None:
    f = np.zeros((2, 3, D), np.float32)
    f[0, 1, 2], f[1, 2, 4] = 1.5, 0.5
    x = jnp.asarray(f @ ROWS)
    made_of = planted(-0.01)  # what rounding leaves does not fire
    edit: Any = sae.silence(made_of, [2, 5], 20, site="resid_post[0]")
    made = np.asarray(edit.fn(x, edit.value))
    f[0, 1, 2] = -20 + 0.01
    np.testing.assert_allclose(made[0, 1], f[0, 1] @ ROWS, atol=1e-4)
    quiet = ~(np.asarray(made_of.encode(x))[..., [2, 5]] > 0).any(-1)
    assert quiet.sum() == 5
    np.testing.assert_array_equal(made[quiet], np.asarray(x)[quiet])
    with pytest.raises(ValueError, match="reads one site and writes another"):
        sae.silence(sae.Transcoder(d=4, features=4).init(jax.random.key(0)), [0], 1, site="z[0]")


def test_chance_is_a_rotation_of_the_other() -> None:
    x = (RNG.exponential(size=(300, D)) * (RNG.random((300, D)) < 0.2)).astype("float32") @ ROWS
    made = planted()
    found = sae.universality(made, made, x, batch_size=100, baseline=jax.random.key(3), progress=False)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-5)
    f = np.asarray(made.encode(jnp.asarray(x)))
    matrix = np.asarray(jax.random.normal(jax.random.key(3), (D, D)))
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    wanted = np.corrcoef(f.T, matrix @ f.T)[:D, D:].max(1)
    np.testing.assert_allclose(found.baseline, wanted, atol=1e-5)
    np.testing.assert_allclose(found.excess, 1 - wanted, atol=1e-4)
    with pytest.raises(ValueError, match=r"baseline=jax\.random\.key"):
        sae.universality(made, made, x, batch_size=100, progress=False).excess  # noqa: B018
