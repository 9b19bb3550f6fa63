"""Toy models of superposition: what is represented, the geometry, and one program for all trainings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import toy
from jaxinterp.toy._bottleneck import draw

KEY = jax.random.key(0)
FALLING = 0.5 ** np.arange(5)
QUICK = toy.BottleneckSettings(batch_size=128, learning_rate=2e-2)


def pentagons(found: toy.Superposition) -> list[bool]:
    """Whether each instance is a regular pentagon: norms within 15%, angles of 72 +- 8 degrees."""
    out = []
    for w in np.asarray(found.w):
        norms = np.linalg.norm(w, axis=0)
        angles = np.sort(np.degrees(np.arctan2(w[1], w[0])) % 360)
        steps = np.diff(np.append(angles, angles[0] + 360))
        out.append(bool(norms.max() < 1.15 * norms.min() and (abs(steps - 72) < 8).all()))
    return out


@pytest.fixture(scope="module")
def sparse() -> toy.Superposition:
    """Five features in two dimensions: dense ones of falling importance, and two densities of equal ones."""
    importance = np.stack([FALLING, np.ones(5), np.ones(5)])
    return toy.superposition(KEY, density=[1.0, 0.3, 0.05], importance=importance, steps=1000, settings=QUICK)


def test_sparse_features_make_a_pentagon_in_most_starts(sparse: toy.Superposition) -> None:
    regular = pentagons(sparse)[16:]
    assert sum(regular) > 4, regular
    d = np.asarray(sparse.dimensionality)[16:][regular]
    np.testing.assert_allclose(d, 0.4, atol=0.05)  # noisy at this learning rate


def test_dimensionalities_add_up_to_the_rank(sparse: toy.Superposition) -> None:
    """sum D_i <= rank W <= m, for trained and for any other weights."""
    assert (np.asarray(sparse.dimensionality).sum(-1) <= 2 + 1e-4).all()
    w = np.random.default_rng(0).normal(size=(3, 4, 9)).astype(np.float32)
    w[1, :, 3:] = 0  # three features alone, each with less than a dimension
    w[2, 2:] = 0
    other = like(w)
    sums = np.asarray(other.dimensionality).sum(-1)
    assert (sums <= np.array([4, 3, 2]) * 1.0001).all() and not np.asarray(other.dimensionality)[1, 3:].any()


def test_the_geometry_of_regular_arrangements_is_sticky() -> None:
    turn = lambda n: 2 * np.pi * np.arange(n) / n
    tetrahedron = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).T
    antiprism = np.array([[*np.cos(turn(4)), *np.cos(turn(4) + np.pi / 4)]] * 2 + [[0.0] * 8])
    antiprism[1] = [*np.sin(turn(4)), *np.sin(turn(4) + np.pi / 4)]
    antiprism[2] = np.repeat([1, -1], 4) / np.sqrt(2)  # a tight frame: all three axes weigh the same
    known = {
        3 / 4: tetrahedron,
        2 / 3: np.array([np.cos(turn(3)), np.sin(turn(3))]),
        1 / 2: np.array([[1, -1, 0, 0], [0, 0, 1, -1]]),
        2 / 5: np.array([np.cos(turn(5)), np.sin(turn(5))]),
        3 / 8: antiprism,
        1.0: np.eye(3),
    }
    w = np.zeros((len(known), 3, 8))
    for i, arrangement in enumerate(known.values()):
        w[i, : len(arrangement), : arrangement.shape[1]] = 1.3 * arrangement
    found = like(w)
    there = np.asarray(found.norms) > 0
    wanted = there * np.array([*known])[:, None]
    np.testing.assert_allclose(found.dimensionality, wanted, atol=1e-5)
    np.testing.assert_allclose(found.norms**2 + found.interference, found.overlap.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(found.interference[2, :4], 1.3**2, rtol=1e-5)  # of the opposite feature
    np.testing.assert_allclose(found.dims_per_feature[2], 3 / (4 * 1.3**2), rtol=1e-5)


def test_a_start_of_a_density_is_its_training_alone(sparse: toy.Superposition) -> None:
    """The draws of a start depend neither on other starts nor on other densities."""
    alone = toy.superposition(KEY, density=0.05, instances=2, steps=60, settings=QUICK)
    np.testing.assert_allclose(sparse.losses[16:18, :60], alone.losses, atol=1e-6)
    assert [float(p) for p in sparse.density] == pytest.approx([1.0] * 8 + [0.3] * 8 + [0.05] * 8)
    assert sparse.start.tolist() == [*range(8)] * 3


def test_of_dense_features_the_most_important_are_represented(sparse: toy.Superposition) -> None:
    linear = toy.superposition(
        KEY, density=1.0, importance=FALLING, instances=4, steps=1000, activation="linear", settings=QUICK
    )
    for norms in (np.asarray(sparse.norms)[:8], np.asarray(linear.norms)):
        np.testing.assert_allclose(norms[:, :2], 1, atol=0.1)
        assert norms[:, 2:].max() < 0.1, norms


def test_data_have_their_density_and_pairs() -> None:
    n = 20_000
    for pairs in (None, "correlated", "anticorrelated"):
        settings = toy.BottleneckSettings(batch_size=n, pairs=pairs)
        x = np.asarray(draw(KEY, jnp.float32(0.2), 4, settings))
        on = x > 0
        np.testing.assert_allclose(on.mean(1), 0.2, atol=0.015)
        for row in x:
            np.testing.assert_allclose(
                np.quantile(row[row > 0], [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03
            )
        both = {None: 0.04, "correlated": 0.2, "anticorrelated": 0.0}[pairs]
        assert abs((on[0] & on[1]).mean() - both) < 0.01 and abs((on[0] & on[2]).mean() - 0.04) < 0.01
        met = x[:2, on[0] & on[1]]
        assert not both or abs(np.corrcoef(met)[0, 1]) < 0.1
    signed = np.asarray(draw(KEY, jnp.float32(1.0), 3, toy.BottleneckSettings("absolute", batch_size=n)))
    np.testing.assert_allclose(np.quantile(signed, [0.0, 0.25, 0.5, 1.0]), [-1, -0.5, 0, 1], atol=0.03)


def test_results_are_read_as_tables_and_figures(sparse: toy.Superposition) -> None:
    records = sparse.records()
    assert len(records) == 24 * 5 and records[81]["density"] == pytest.approx(0.05)
    assert records[81]["norm"] == pytest.approx(float(sparse.norms[16, 1]))
    assert sparse.loss.shape == (24,) and "w_out" not in sparse
    best = np.asarray(sparse.best)
    assert best[0] == np.asarray(sparse.loss)[:8].argmin() and best[2] >= 16
    figure = sparse.figure()
    assert figure.svg is not None and figure.svg.count("<path") == 15 and figure.svg.count("<rect") == 15
    assert "density 0.05" in figure.html and "http://www.w3.org/2000/svg" in figure.html
    points = sparse.dimensionality_figure().svg
    assert points is not None and points.count("<circle") == 120 and ">2/5<" in points
    assert "feature" in sparse._repr_html_()


def test_the_phase_diagram_has_its_three_phases() -> None:
    found = toy.phase_diagram(
        KEY, density=[1.0, 0.05], importance=[0.2, 1.0, 5.0], instances=6, steps=800, settings=QUICK
    )
    assert found.phase[0, 0] == "not represented" and found.phase[0, 2] == "dedicated"
    assert (found.phase[1] == "superposition").all() and found.phases.shape == (2, 3, 6)
    agree = (found.phase == found.expected) | (np.array([[0, 1, 0], [0, 0, 0]]) == 1)  # a border
    assert agree.all()
    assert (np.asarray(found.loss).min(-1) < 1.15 * found.candidate_losses.min(-1)).all()
    records = found.records()
    assert len(records) == 6 and sum(records[5][name] for name in toy._phases.PHASES) == pytest.approx(1)
    figure = found.figure()
    assert figure.svg is not None and "dedicated" in figure.svg


def test_losses_of_the_phases_are_expectations() -> None:
    """The formulas of the three solutions, beside the mean over many draws."""
    p, extra = 0.4, 0.7
    x = np.asarray(draw(KEY, jnp.float32(p), 2, toy.BottleneckSettings(batch_size=400_000)), np.float64)
    both = (x - np.maximum(np.array([x[0] - x[1], x[1] - x[0]]), 0)) ** 2
    losses = [extra * x[1].var(), x[0].var(), both[0].mean() + extra * both[1].mean()]
    shape = jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, 1, 1))
    made = toy.PhaseDiagram(jnp.array([p]), jnp.array([extra]), *shape)
    np.testing.assert_allclose(made.candidate_losses[0, 0], losses, rtol=0.03)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"density": 0.0}, "above 0 and at most 1"),
        ({"density": [0.5, 1.5]}, "above 0 and at most 1"),
        ({"density": np.ones((2, 2))}, r"a number or an array \(density,\)"),
        ({"density": []}, r"a number or an array \(density,\)"),
        ({"importance": [1.0, 2.0]}, r"an array \(5,\)"),
        ({"importance": -1.0}, "0 or more"),
        ({"features": 0}, "features is an int of 1 or more"),
        ({"steps": 0}, "steps is an int of 1 or more"),
        ({"activation": "gelu"}, "'relu', 'linear'"),
        ({"settings": toy.BottleneckSettings(pairs="correlated")}, "even number"),
        ({"settings": toy.BottleneckSettings(pairs="both"), "features": 4}, "'anticorrelated'"),
        (
            {"settings": toy.BottleneckSettings(pairs="anticorrelated"), "features": 4, "density": 0.6},
            "at most 0.5",
        ),
        ({"settings": toy.BottleneckSettings("square")}, "'absolute'"),
        ({"settings": toy.BottleneckSettings(learning_rate=0)}, "learning_rate"),
    ],
)
def test_bad_input_teaches(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        toy.superposition(KEY, **options)


def test_a_key_is_a_key_and_old_spellings_teach() -> None:
    with pytest.raises(ValueError, match=r"ji.toy.superposition\(jax.random.key\(3\)"):
        toy.superposition(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"settings=ji\.toy\.BottleneckSettings"):
        toy.superposition(KEY, batch_size=10)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match=r"density is an array"):
        toy.phase_diagram(KEY, density=0.5)


def like(w: np.ndarray) -> toy.Superposition:
    """A result with weights `(instance, hidden, features)` of one's own, and zeros for all else."""
    count, _, features = w.shape
    zeros = jnp.zeros((count, features))
    starts = jnp.arange(count, dtype=jnp.int32)
    return toy.Superposition(jnp.asarray(w, jnp.float32), zeros, zeros[:, 0] + 1, zeros, starts, zeros[:, :1])


@pytest.mark.slow
def test_the_published_sizes_make_pentagons() -> None:
    found = toy.superposition(key=KEY, density=[0.3, 0.05])
    assert sum(pentagons(found)[8:]) > 4


@pytest.mark.slow
def test_features_at_moderate_sparsity_are_antipodal_pairs() -> None:
    found = toy.superposition(KEY, features=4, hidden=2, density=0.15, instances=8, steps=5000)
    w, d = np.asarray(found.w), np.asarray(found.dimensionality)
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    cosines = np.einsum("ihf,ihg->ifg", unit, unit)
    paired = (np.sort(cosines, -1)[..., 0] < -0.95).all(-1)
    assert paired.sum() > 4, cosines
    np.testing.assert_allclose(d[paired], 0.5, atol=0.03)


@pytest.mark.slow
def test_correlated_features_share_and_anticorrelated_ones_oppose() -> None:
    """Correlated pairs are orthogonal, anticorrelated ones lie opposite."""
    cosine = {}
    for pairs in ("correlated", "anticorrelated"):
        settings = toy.BottleneckSettings(pairs=pairs, batch_size=512, learning_rate=3e-3)
        found = toy.superposition(
            KEY, features=4, hidden=2, density=0.1, instances=12, steps=4000, settings=settings
        )
        w = np.asarray(found.w)[int(found.best[0])]
        unit = w / np.linalg.norm(w, axis=0)
        cosine[pairs] = np.array([unit[:, 0] @ unit[:, 1], unit[:, 2] @ unit[:, 3]])
    assert (abs(cosine["correlated"]) < 0.3).all(), cosine
    assert (cosine["anticorrelated"] < -0.9).all(), cosine


@pytest.mark.slow
def test_the_hidden_relu_computes_absolute_values_where_a_linear_layer_cannot() -> None:
    settings = toy.BottleneckSettings("absolute", batch_size=512, learning_rate=3e-3)
    options: dict[str, Any] = dict(
        features=3, hidden=6, density=0.3, instances=4, steps=4000, settings=settings
    )
    relu, linear = (toy.superposition(KEY, activation=one, **options) for one in ("relu", "linear"))
    assert relu.w_out is not None and relu.w_out.shape == (4, 3, 6)
    assert float(relu.loss.min()) < 0.1 * float(linear.loss.min())
