"""Ridge by leave-one-out, maps, blocks held out, and neurons along a probe: laws and planted truth."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

import jaxinterp as ji
from jaxinterp import probes, toy
from tests.models import sampled


def data(n: int = 25, d: int = 6, targets: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) + 5
    y = x[:, :targets] * [1.0, 30.0][:targets] + rng.normal(size=(n, targets)) * [0.5, 40][:targets]
    return x, y


@pytest.mark.parametrize("d", [6, 40])
def test_leaving_out_in_closed_form_is_leaving_out(d: int) -> None:
    """T1: n separate fits, for every penalty, also with more features than examples."""
    x, y = data(d=d)
    lambdas = np.logspace(-2, 3, 6)
    found = probes.ridge(x, y, lambdas=lambdas)
    errors, left_out = [], []
    for lam in lambdas:
        rows = [
            Ridge(alpha=lam).fit(np.delete(x, i, 0), np.delete(y, i, 0)).predict(x[i : i + 1])[0]
            for i in range(len(x))
        ]
        left_out.append(np.array(rows))
        errors.append((((y - rows) / y.std(0)) ** 2).mean())
    np.testing.assert_allclose(found.errors, errors, rtol=1e-9)
    best = int(np.argmin(errors))
    assert found.lam == lambdas[best] and not found.at_edge
    np.testing.assert_allclose(found.left_out, left_out[best], rtol=1e-8)
    other = Ridge(alpha=found.lam).fit(x, y)
    np.testing.assert_allclose(found.weights, other.coef_.T, atol=1e-9)
    np.testing.assert_allclose(found.predict(x), other.predict(x), rtol=1e-9)
    assert probes.ridge(x, y, lambdas=[1e6, 1e7]).at_edge
    # A list of targets costs one decomposition and changes nothing; one target has no axis.
    several = probes.ridges(x, [y, y[:, 0]], lambdas=lambdas)
    np.testing.assert_allclose(several[0].weights, found.weights)
    alone = probes.ridge(x, y[:, 0], lambdas=lambdas)
    np.testing.assert_allclose(several[1].left_out, alone.left_out)
    assert alone.weights.shape == (d,) and alone.predict(x).shape == (25,)


@pytest.mark.slow
def test_components_are_a_ridge_on_projections() -> None:
    x, y = data(n=30, d=8)
    found = probes.pca_ridge(x, y, [2, 5, 20], lambdas=[0.5])
    assert list(found) == [2, 5, 8]
    centred = x - x.mean(0)
    rows = np.linalg.svd(centred, full_matrices=False)[2]
    for q, probe in found.items():
        other = Ridge(alpha=0.5).fit(centred @ rows[:q].T, y)
        np.testing.assert_allclose(probe.predict(x), other.predict(centred @ rows[:q].T), rtol=1e-9)
        assert probe.components == q
    np.testing.assert_allclose(found[8].weights, probes.ridge(x, y, lambdas=[0.5]).weights)
    with pytest.raises(ValueError, match="1 or more"):
        probes.pca_ridge(x, y, [0])


def test_bad_targets_are_explained() -> None:
    x, y = data()
    with pytest.raises(ValueError, match="n=25 rows, one per example"):
        probes.ridge(x, y[:4])
    with pytest.raises(ValueError, match="Target 1 has one value"):
        probes.ridge(x, np.stack([y[:, 0], np.ones(25)], 1))
    with pytest.raises(ValueError, match="penalties, positive"):
        probes.ridge(x, y, lambdas=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"finite; y\[3\]"):
        probes.ridge(x, np.where(np.arange(25)[:, None] == 3, np.nan, y))
    with pytest.raises(ValueError, match="reads d=6 features"):
        probes.ridge(x, y).predict(x[:, :5])
    with pytest.raises(ValueError, match="No feature of x changes"):
        probes.ridge(np.ones((5, 2)), np.arange(5.0))


@pytest.mark.parametrize("kind", sampled("place", slow=["time", "ring"]))
def test_a_planted_coordinate_is_read_as_well_as_it_can_be(kind: str) -> None:
    """T2: the R2 of theory within 0.02; what goes around in rings is not linear, and an MLP reads it."""
    made = {"kind": kind, "noise": 0.2 if kind == "ring" else 0.7}
    planted = toy.planted_geo(key=jax.random.key(0), n=34000, **made)
    # So many that 0.02 is five deviations of a measured R2.
    train, test = slice(4000), slice(4000, None)
    probe = probes.ridge(planted.x[train], planted.y[train])
    predicted = probe.predict(planted.x[test])
    y = planted.y[test].reshape(30000, -1)
    for i, guess in enumerate(predicted.reshape(30000, -1).T):
        found = probes.regression_metrics(y[:, i], guess)["r2"]
        assert abs(found - planted.r2) < 0.02, (i, found, planted.r2)
    if kind == "ring":
        assert planted.r2 < 0.25
        network = probes.mlp(
            planted.x[train],
            planted.y[train],
            (64,),
            key=jax.random.key(1),
            loss="squared",
            settings=probes.TrainSettings(epochs=30),
        )
        read = probes.regression_metrics(y[:, 0], np.ravel(network.predict(planted.x[test])))
        assert read["r2"] > 0.75, read["r2"]


def test_distances_on_the_sphere() -> None:
    """T4, and the order of columns: a table of (x, y) must say so."""
    paris, london = [48.8566, 2.3522], [51.5074, -0.1278]
    np.testing.assert_allclose(probes.haversine(paris, london), 343.56, atol=0.1)
    np.testing.assert_allclose(probes.haversine([0.0, 50.0], [90.0, 50.0]), 10007.5, atol=0.1)
    np.testing.assert_allclose(probes.haversine([10.0, 179.5], [10.0, -179.5]), 109.5, atol=0.1)
    np.testing.assert_allclose(probes.haversine([1.0, 2.0], [1.0, 362.0]), 0, atol=1e-6)
    swapped = probes.haversine(paris[::-1], london[::-1], columns=("longitude", "latitude"))
    np.testing.assert_allclose(swapped, 343.56, atol=0.1)
    many = probes.haversine(np.tile(paris, (3, 2, 1)), london)
    assert many.shape == (3, 2)
    with pytest.raises(ValueError, match="name latitude and longitude"):
        probes.haversine(paris, london, columns=("lat", "lon"))
    with pytest.raises(ValueError, match="last axis of 2"):
        probes.haversine([1.0, 2.0, 3.0], paris)


@pytest.mark.slow
def test_proximity_error() -> None:
    """T3: perfect is 0, random about a half; equal to its definition, whatever the chunk."""
    places = toy.planted_geo(key=jax.random.key(0), n=400, kind="place").y
    rng = np.random.default_rng(0)
    assert probes.proximity_error(places, places) == 0
    assert abs(probes.proximity_error(places, places[rng.permutation(400)]) - 0.5) < 0.03
    guess = places[:40] + rng.normal(size=(40, 2)) * 30
    far = np.array([[probes.haversine(a, b) for b in guess] for a in places[:40]])
    each = (far < np.diag(far)[:, None]).sum(1) / 39
    np.testing.assert_allclose(probes.proximity_error(places[:40], guess, each=True), each)
    np.testing.assert_allclose(probes.proximity_error(places[:40], guess, batch_size=7), each.mean())
    other = probes.proximity_error(places[:40, ::-1], guess[:, ::-1], columns=("longitude", "latitude"))
    np.testing.assert_allclose(other, each.mean())
    years = rng.normal(size=50)
    assert probes.proximity_error(years, years, columns=None) == 0
    with pytest.raises(ValueError, match=r'columns=."longitude", "latitude".'):
        probes.proximity_error(places[:, ::-1], places[:, ::-1])
    with pytest.raises(ValueError, match="one prediction per target"):
        probes.proximity_error(places, guess)


def test_metrics_of_maps() -> None:
    places = toy.planted_geo(key=jax.random.key(0), n=200, kind="place").y
    guess = places + np.random.default_rng(0).normal(size=places.shape) * 20
    found = probes.place_metrics(places, guess)
    np.testing.assert_allclose(found["spearman_longitude"], next(iter(spearmanr(places[:, 1], guess[:, 1]))))
    r2 = [probes.regression_metrics(places[:, i], guess[:, i])["r2"] for i in range(2)]
    np.testing.assert_allclose([found["r2"], found["r2_latitude"]], [sum(r2) / 2, r2[0]])
    np.testing.assert_allclose(found["median_km"], np.median(probes.haversine(places, guess)), rtol=1e-12)
    other = probes.place_metrics(places[:, ::-1], guess[:, ::-1], columns=("longitude", "latitude"))
    assert {name: pytest.approx(value) for name, value in found.items()} == dict(other)


@pytest.mark.slow
def test_a_block_held_out_tells_a_map_from_a_list_of_countries() -> None:
    """Planted: activations that hold coordinates go on to work; those that name the country do not."""
    rng = np.random.default_rng(0)
    centre = np.array([[50.0, 10.0], [-20.0, -50.0], [30.0, 100.0], [0.0, 20.0], [40.0, -100.0]])
    country = rng.integers(0, 5, 400)
    places = centre[country] + rng.normal(size=(400, 2)) * 5
    named = np.array(["A", "B", "C", "D", "E"])[country]
    noise = 0.05 * rng.normal(size=(400, 8))
    has_map = np.pad(places / 50, ((0, 0), (0, 6))) + noise
    has_names = np.pad(np.eye(5)[country], ((0, 0), (0, 3))) + noise
    lambdas = np.logspace(-3, 2, 6)
    world = probes.block_holdout(has_map, places, named, lambdas=lambdas)
    listed = probes.block_holdout(has_names, places, named, lambdas=lambdas)
    assert [each.count for each in world] == sorted((each.count for each in world), reverse=True)
    for a, b in zip(world, listed, strict=True):
        assert a.error < 1.5 * a.nominal and a.proximity < 0.3
        assert b.error > 3 * b.nominal and b.proximity > 0.3
    # What is predicted of a block does not depend on its own targets.
    moved = np.where((named == "A")[:, None], -places, places)
    seen, again = (
        probes.block_holdout(has_map, y, named, only=["A"], lambdas=[1.0]) for y in (places, moved)
    )
    assert len(seen) == 1 and seen[0].error != again[0].error
    fitted = probes.ridge(has_map[named != "A"], places[named != "A"], lambdas=[1.0])
    far = probes.haversine(places[named == "A"], fitted.predict(has_map[named == "A"]))
    np.testing.assert_allclose(seen[0].error, np.median(far))
    with pytest.raises(ValueError, match="Lower least"):
        probes.block_holdout(has_map, places, named, least=1000)
    with pytest.raises(ValueError, match="one block per example"):
        probes.block_holdout(has_map, places, named[:3])


@pytest.mark.parametrize("family", sampled("llama", slow=["gpt2"]))
def test_neurons_that_read_and_write_a_direction(family: str) -> None:
    """Any family: planted neurons come first, in the stream's own terms (gains of norms folded)."""
    rng = np.random.default_rng(0)
    sizes: Any = {"vocab": 11, "ctx": 8, "d": 16, "layers": 2, "heads": 2, "k": 8, "ff": 12}
    model: Any
    if family == "gpt2":
        model = ji.models.GPT2.init(ji.models.GPT2Config(**sizes), key=jax.random.key(0))
    else:
        config = ji.models.LlamaConfig(**sizes, kv_heads=1)
        model = ji.models.Llama.init(config, key=jax.random.key(0))
    gain = rng.uniform(0.5, 2, (2, 16)).astype(np.float32)
    v = rng.normal(size=(16, 2)).astype(np.float32)
    w_in, w_out = np.array(model.blocks.mlp.w_in), np.array(model.blocks.mlp.w_out)
    w_in[1, :, 3] = v[:, 0] / gain[1]
    w_out[0, 2] = -2 * v[:, 1]
    where = lambda m: (m.blocks.mlp.w_in, m.blocks.mlp.w_out, m.blocks.ln2.weight)
    model = eqx.tree_at(where, model, tuple(map(jnp.asarray, (w_in, w_out, gain))))
    found = probes.aligned_neurons(model, v)
    assert found.read.shape == found.write.shape == (2, 12, 2)
    assert (found.gate is None) == (family == "gpt2")
    # A LayerNorm takes the mean off: the weights behind it cannot see that part of a direction.
    seen = v[:, 0] - v[:, 0].mean() if family == "gpt2" else v[:, 0]
    cos = np.linalg.norm(seen) / np.linalg.norm(v[:, 0])
    first = found.top(1)[0]
    assert first["neuron"] == (1, 3) and first["weights"] == "read"
    np.testing.assert_allclose(first["cos"], cos, atol=1e-5)
    second = found.top(1, direction=1, of="write")[0]
    assert second["neuron"] == (0, 2) and second["cos"] < -0.99999
    w = w_out[1, 4].astype(np.float64)
    expected = w @ v[:, 0] / np.linalg.norm(w) / np.linalg.norm(v[:, 0])
    np.testing.assert_allclose(found.write[1, 4, 0], expected, atol=1e-5)
    w = w_in[1, :, 4].astype(np.float64) * gain[1]
    w = w - w.mean() if family == "gpt2" else w
    expected = w @ v[:, 1] / np.linalg.norm(w) / np.linalg.norm(v[:, 1])
    np.testing.assert_allclose(found.read[1, 4, 1], expected, atol=1e-5)
    with pytest.raises(ValueError, match="in this model; got"):
        probes.aligned_neurons(model, np.ones(17))
    with pytest.raises(ValueError, match="not zero"):
        probes.aligned_neurons(model, np.zeros(16))
    with pytest.raises(ValueError, match="of= is 'all' or one of"):
        found.top(of="both")


def test_correlations() -> None:
    x, y = data(n=30, d=5)
    x[:, 2] = 0.1
    layers = np.stack([x, 3 - 2 * x])
    found = probes.correlations(layers, y)
    assert found.shape == (2, 2, 5) and (found[:, :, 2] == 0).all()
    np.testing.assert_allclose(found[1, 0, 3], np.corrcoef(x[:, 3], y[:, 1])[0, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 1], -found[:, 0], atol=1e-5)
    np.testing.assert_allclose(probes.correlations(layers, y[:, 0]), found[0], atol=1e-6)
