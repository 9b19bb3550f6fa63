"""The evaluation suite on planted data: each score takes the value that its definition gives."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import sae
from jaxinterp.sae.evaluation._inputs import logistic

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
D = 12


def rows(count: int, d: int = D, seed: int = 0) -> np.ndarray:
    """Orthonormal directions."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0][:count].astype("float32")


def loud_and_quiet() -> tuple[np.ndarray, np.ndarray]:
    x = RNG.normal(size=(300, 5)) * [1, 10, 0.1, 1, 3]
    return x, x @ [1, 0.1, 5, 0, -1] + RNG.normal(size=300) > 0.3


def test_logistic_stands_where_its_gradient_vanishes() -> None:
    x, y = loud_and_quiet()
    w, b = logistic(x, y)
    miss = 1 / (1 + np.exp(-x @ w - b)) - y
    np.testing.assert_allclose([*(x.T @ miss + w), miss.sum()], 0, atol=1e-3)


@pytest.mark.slow
def test_logistic_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = loud_and_quiet()
    w, b = logistic(x, y)
    want = LogisticRegression(tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(w, want.coef_[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b, want.intercept_[0], rtol=1e-4)


def test_sparse_probing_finds_the_features_of_a_label() -> None:
    y = RNG.integers(0, 3, 1200)
    f = RNG.random((1200, 20)).astype("float32")
    for c in range(3):
        f[:, 4 + c] = (y == c) + 0.2 * RNG.random(1200)
    found = sae.sparse_probing(f[:600], y[:600], f[600:], y[600:], key=KEY)
    assert found["accuracy"][1] == 1 == found["accuracy"][5] and found["classes"] == [0, 1, 2]
    assert found["features"][1][:, 0].tolist() == [4, 5, 6]
    # A label that two features say together, and none alone; then one that nothing says.
    a, b = RNG.random((2, 1200)) < 0.5
    f[:, 7], f[:, 8] = a, b
    both = sae.sparse_probing(f[:600], (a & b)[:600], f[600:], (a & b)[600:], key=KEY)
    assert both["accuracy"][1] < 0.9 and both["accuracy"][2] == 1
    nothing = sae.sparse_probing(f[:600, :4], y[:600] > 0, f[600:, :4], y[600:] > 0, ks=(2,), key=KEY)
    assert abs(nothing["accuracy"][2] - 0.5) < 0.1
    for bad, words in (
        ({"ks": (21,)}, "ks are from 1"),
        ({"y_train": np.zeros(600)}, "two classes"),
        ({"y_test": y[600:] + 1}, "Classes of training and test differ"),
        ({"f_test": f[600:, :3]}, "f_test is"),
        ({"f_train": f[:600] * np.nan}, "NaN"),
    ):
        given: Any = {"f_train": f[:600], "y_train": y[:600], "f_test": f[600:], "y_test": y[600:]}
        with pytest.raises(ValueError, match=words):
            sae.sparse_probing(**{**given, **bad}, key=KEY)


def concepts(n: int, decoder: np.ndarray, size: Any) -> tuple[Any, Any, Any, Any]:
    """Rows that say two independent labels, each by a feature for yes and one for no, of some size."""
    y, z = RNG.random((2, n)) < 0.5
    f = np.zeros((n, len(decoder)), "float32")
    f[:, 0], f[:, 1], f[:, 2], f[:, 3] = y, ~y, z, ~z
    f[:, :4] *= np.asarray(size, "float32")
    f[:, 4:] = 0.1 * RNG.random((n, len(decoder) - 4))
    return (f @ decoder).astype("float32"), f, y, z


def test_tpp_of_independent_classes_is_a_half() -> None:
    decoder = rows(8)
    x, f, y, z = concepts(800, decoder, (3, 0, 3, 0))
    held = concepts(400, decoder, (3, 0, 3, 0))
    labels = lambda a, b: np.stack([a, b], 1)
    given = (x, f, labels(y, z)), (held[0], held[1], labels(held[2], held[3]))
    found = sae.tpp(*given, decoder, tops=(1,), key=KEY)
    assert found["accuracy"].tolist() == [1, 1]
    assert found["score"][1] > 0.45 and abs(found["unintended"][1]) < 0.02
    assert [order[0] for order in found["features"]] == [0, 2]
    # One feature for both, and another way of the same activations: nothing is targeted.
    mixed = np.linalg.lstsq(np.ones((8, 8), "float32") + np.eye(8, dtype="float32"), decoder)[0]
    same = lambda part: (part[0], part[1] @ (np.ones((8, 8)) + np.eye(8)), part[2])
    blunt = sae.tpp(same(given[0]), same(given[1]), mixed.astype("float32"), tops=(8,), key=KEY)
    assert abs(blunt["score"][8]) < 0.1
    with pytest.raises(ValueError, match="three classes or more"):
        sae.tpp((x, f, y), (held[0], held[1], held[2]), decoder, key=KEY)
    with pytest.raises(ValueError, match="f of train"):
        sae.tpp((x, f[:, :5], y), given[1], decoder, key=KEY)


def test_scr_of_an_oracle_ablation_is_one() -> None:
    decoder = rows(8)
    # The confound is louder than the label, so that the base probe listens to it.
    train, test = concepts(1600, decoder, (2, 2, 3, 3)), concepts(600, decoder, (2, 2, 3, 3))
    found = sae.scr(train, test, decoder, tops=(2, 8), key=KEY)
    assert set(found["features"][:2]) == {2, 3}
    assert found["oracle"] == 1 and found["base"] < 0.8
    assert found["score"][2] == 1 == found["ablated"][2]
    # Where the base probe is as good as the oracle, nothing is to be removed.
    clear = sae.scr(
        concepts(800, decoder, (4, 4, 0, 0)), concepts(300, decoder, (4, 4, 0, 0)), decoder, key=KEY
    )
    assert clear["score"][2] == 0 and clear["base"] == clear["oracle"] == 1
    with pytest.raises(ValueError, match="needs rows"):
        sae.scr((*train[:3], train[2]), test, decoder, key=KEY)
    with pytest.raises(ValueError, match="wanted and spurious"):
        sae.scr(train[:3], test, decoder, key=KEY)


def words(n: int, absorbed: bool, share: float) -> tuple[Any, Any, Any, np.ndarray]:
    """Words of three letters; some of the first letter are one word, with a feature of its own.

    Features 0-2 are letters, 3 the word, and the rest noise. Where the word has absorbed its letter,
    feature 3 writes both directions and feature 0 is silent.
    """
    truth = rows(8)
    letter = RNG.integers(0, 3, n)
    word = (letter == 0) & (RNG.random(n) < share)
    f = np.zeros((n, 8), "float32")
    f[np.arange(n), letter] = 1
    f[:, 3] = word
    f[:, 4:] = 0.3 * RNG.random((n, 4)) * (RNG.random((n, 4)) < 0.5)
    x = f @ truth
    decoder = truth.copy()
    if absorbed:
        decoder[3] = (truth[0] + truth[3]) / 2**0.5
        f[word, 0], f[word, 3] = 0, 2**0.5
    np.testing.assert_allclose(f @ decoder, x, atol=1e-6)
    return x, f, letter, decoder


def test_absorption_of_a_planted_pair_is_one_and_of_a_clean_dictionary_none() -> None:
    for absorbed, want in ((False, 0), (True, 1)):
        *train, decoder = words(1500, absorbed, 0.02)
        *test, _ = words(300, absorbed, 1.0)  # only the word itself is left of its letter
        found = sae.absorption(tuple(train), tuple(test), decoder)
        first = found["classes"][0]
        assert first["main"].tolist() == [0] and first["f1"] > 0.9
        assert first["fraction"] == want == first["full"]
        assert found["classes"][1]["fraction"] == 0
        assert found["score"] == pytest.approx(want / 3)
    # Half of the direction each: what is absorbed is the half that another feature carries.
    half = sae.absorbed([[1.0, 0]], [[0.5, 0.5]], np.asarray([[1.0, 0], [1, 0]]), [2.0, 0], 0)
    assert half["fraction"].tolist() == [0.5] and not half["full"].any()
    noise = RNG.normal(size=(200, D))
    with pytest.raises(ValueError, match="No probe of the 3 classes"):
        sae.absorption(
            (noise, noise, RNG.integers(0, 3, 200)), (noise[:60], noise[:60], RNG.integers(0, 3, 60)), rows(D)
        )


def test_pooled_is_the_mean_over_what_counts() -> None:
    kind = vanilla(RNG.normal(size=(20, D)))
    x = RNG.normal(size=(5, 4, D)).astype("float32")
    mask = RNG.random((5, 4)) < 0.6
    mask[:, 0] = True
    mean, f = sae.pooled(kind, x, mask, batch_size=2)
    for i in range(5):
        part = jnp.asarray(x[i, mask[i]])
        np.testing.assert_allclose(mean[i], part.mean(0), atol=1e-6)
        np.testing.assert_allclose(f[i], kind.encode(part).mean(0), atol=1e-5)
    # Taken out at every position is taken out of the mean.
    rest = np.array(kind.encode(jnp.asarray(x)))
    rest[..., 3] = 0
    gone = (x - kind(jnp.asarray(x)) + kind.decode(jnp.asarray(rest))).mean(1)
    mean, f = sae.pooled(kind, x)
    kept = mean - f[:, 3:4] * np.asarray(kind.decoder[3])[None]
    np.testing.assert_allclose(gone, kept, atol=1e-5)
    with pytest.raises(ValueError, match="a position in every document"):
        sae.pooled(kind, x, np.zeros((5, 4), bool))


def vanilla(decoder: np.ndarray, encoder: np.ndarray | None = None) -> Any:
    """A dictionary of given directions, nothing drawn and nothing compiled."""
    decoder = decoder.astype("float32")
    encoder = decoder.T if encoder is None else encoder
    m, d = decoder.shape
    leaves = (encoder, np.zeros(m), decoder, np.zeros(d), np.ones(()))
    names = ("encoder", "encoder_bias", "decoder", "bias", "scale")
    leaves = {n: jnp.asarray(v.astype("float32")) for n, v in zip(names, leaves, strict=True)}
    return sae.Vanilla(d=d, features=m).dictionary(**leaves)


def two() -> tuple[Any, Any]:
    unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)
    a, b = (vanilla(unit(RNG.normal(size=(m, D)))) for m in (10, 14))
    return a, b


@pytest.mark.slow
def test_universality_is_the_largest_of_numpys_correlations() -> None:
    a, b = two()
    x = RNG.normal(size=(700, D)).astype("float32") + 1
    bias = np.zeros(10, "float32")
    bias[[2, 3]] = -100, 30
    a = eqx.tree_at(lambda s: s.encoder_bias, a, jnp.asarray(bias))
    f, g = np.asarray(a.encode(jnp.asarray(x))), np.asarray(b.encode(jnp.asarray(x)))
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(f.T.astype(float), g.T.astype(float))[:10, 10:])
    cuts = [x[:31], x[31:400], x[400:]]
    unembed = RNG.normal(size=(D, 50)).astype("float32")
    for given in (x, cuts):
        found = sae.universality(a, b, given, progress=False, logits=unembed, batch_size=64, block=4)
        np.testing.assert_allclose(found.correlation, r.max(1), atol=1e-6)
        assert found.partner[2] == -1 and found.tokens == 700
        alive = f.std(0) > 0
        assert (found.partner == r.argmax(1))[alive].all()
    assert found.decoder is not None and found.logits is not None
    first, second = np.asarray(a.decoder)[alive], np.asarray(b.decoder)[found.partner[alive]]
    want = [np.corrcoef(p @ unembed, q @ unembed)[0, 1] for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(found.logits[alive], want, atol=1e-5)
    np.testing.assert_allclose(found.decoder[alive], (first * second).sum(1), atol=1e-5)
    assert found.correlation[2] == 0 == found.logits[2]
    # The same features in another order are found again.
    order = RNG.permutation(14)
    moved = eqx.tree_at(
        lambda s: (s.encoder, s.decoder, s.encoder_bias),
        b,
        (b.encoder[:, order], b.decoder[order], b.encoder_bias[order]),
    )
    again = sae.universality(moved, b, (x, x), batch_size=64, progress=False)
    assert again.partner.tolist() == order.tolist()
    np.testing.assert_allclose(again.correlation, 1, atol=1e-6)
    for bad, words in (
        (iter(cuts), "can be read only once"),
        (x[:, :5], "have the width 5"),
        ((x, x[:5]), "a row for each token"),
    ):
        with pytest.raises(ValueError, match=words):
            sae.universality(a, b, bad, progress=False)


class Stream:
    """What `ji.data.stream` is: batches by number."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def batch(self, i: int) -> np.ndarray:
        return self.x[100 * i : 100 * (i + 1)]


@pytest.mark.slow
def test_splitting_has_the_masked_cosine() -> None:
    a, b = two()
    x = RNG.normal(size=(500, D)).astype("float32")
    f, g = (np.asarray(s.encode(jnp.asarray(x)), np.float64) for s in (a, b))
    want = np.zeros((10, 14))
    for i in range(10):
        for j in range(14):
            for on in (f[:, i] > 0, g[:, j] > 0):
                p, q = f[on, i], g[on, j]
                want[i, j] = max(want[i, j], p @ q / max(np.linalg.norm(p) * np.linalg.norm(q), 1e-9))
    found = sae.splitting(a, b, Stream(x), batches=5, batch_size=100, block=4, least=0.5, progress=False)
    there = np.zeros((10, 14))
    there[tuple(found.edges.T)] = found.weights
    np.testing.assert_allclose(there, np.where(want > 0.5, want, 0), atol=1e-5)
    assert found.tokens == 500
    # Two special features that share the work of one: an edge to each, and one family.
    y = np.abs(RNG.normal(size=(400, 1))).astype("float32")
    side = RNG.random((400, 1)) < 0.5
    parts = np.concatenate([y * side, y * ~side, RNG.random((400, 1)).astype("float32")], 1)
    small, large = Given(np.asarray([[1.0], [1], [0]])), Given(np.eye(3))
    graph = sae.splitting(small, large, parts.astype("float32"), batch_size=64, progress=False)
    assert {tuple(edge) for edge in graph.edges} >= {(0, 0), (0, 1)}
    np.testing.assert_allclose(graph.weights[:2], 1, atol=1e-6)
    own = sae.splitting(large, large, parts.astype("float32"), batch_size=64, least=0.9, progress=False)
    assert [[*map(list, family)] for family in own.families()] == [[[i], [i]] for i in range(3)]
    with pytest.raises(ValueError, match="batches=100"):
        sae.splitting(a, b, Stream(x))
    with pytest.raises(ValueError, match="least is a cosine"):
        sae.splitting(a, b, x, least=1.0)


class Given(eqx.Module):
    """Features that are linear in what is read."""

    weights: Any

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = jnp.asarray(weights, jnp.float32)

    @property
    def features(self) -> int:
        return self.weights.shape[1]

    def encode(self, x: Any) -> Any:
        return jnp.matmul(x, self.weights)


def test_geometry_of_orthogonal_and_of_copied_directions() -> None:
    square = rows(D)
    found = sae.geometry(vanilla(square, 2 * square.T), step=5)
    np.testing.assert_allclose(found.decoder_cosine, 0, atol=1e-6)
    np.testing.assert_allclose(found.spectrum, 1 / D, atol=1e-6)
    assert found.aligned is not None and found.projection is not None
    np.testing.assert_allclose(found.aligned, 1, atol=1e-6)
    np.testing.assert_allclose(found.projection, 2, atol=1e-6)
    np.testing.assert_allclose(found.dimensions, D, rtol=1e-5)
    square[7] = 3 * square[2]
    found = sae.geometry(vanilla(square), step=5)
    np.testing.assert_allclose(found.decoder_cosine[[2, 7]], 1, atol=1e-6)
    assert found.decoder_nearest[[2, 7]].tolist() == [7, 2] and found.norm[7] == pytest.approx(3)
    assert found.map.shape == (D, 2) and found.encoder_nearest.shape == (D,)
    np.testing.assert_allclose(found.map[2], found.map[7], atol=1e-5)
    # Two layers of a feature are one long direction; of other widths nothing is aligned.
    shapes = {"encoder": RNG.normal(size=(2, D, 9)), "decoder": RNG.normal(size=(9, 2, D))}
    assert sae.geometry(SimpleNamespace(**shapes)).map.shape == (9, 2)
    shapes["decoder"] = shapes["decoder"][:, 0]
    assert sae.geometry(SimpleNamespace(**shapes)).aligned is None
    with pytest.raises(ValueError, match="a decoder row for each"):
        sae.geometry(SimpleNamespace(encoder=shapes["encoder"], decoder=rows(5)))


def test_specificity_of_a_context_and_of_half_of_it() -> None:
    inside = RNG.random(2000) < 0.3
    amount = RNG.uniform(0.5, 1, 2000)
    score = np.where(inside, 4.0, -np.inf)
    same = sae.specificity(inside.astype(float), score)
    assert same.firing == same.sensitivity == 1 == same.share[-1]
    assert same.correlation == pytest.approx(1) and same.base == inside.mean()
    assert same.tokens[-1] == inside.sum() and np.isnan(same.share[0])
    # Strong on the context, weak everywhere: specific above, not below.
    weak = sae.specificity(np.where(inside, amount, 0.1 * amount), score)
    assert weak.share[-1] == 1 and weak.share[0] == 0 and weak.firing == pytest.approx(inside.mean())
    assert weak.weight[-1] == pytest.approx(weak.weight.max()) and weak.weight.sum() == pytest.approx(1)
    assert sae.specificity(np.zeros(5), np.ones(5)).correlation == 0
    with pytest.raises(ValueError, match="one feature and one proxy"):
        sae.specificity(np.ones((5, 2)), np.ones(5))
    with pytest.raises(ValueError, match="not below 0"):
        sae.specificity(-np.ones(5), np.ones(5))


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "sae_evaluation.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    exec(compile(code, "sae_evaluation.md", "exec"), {})
