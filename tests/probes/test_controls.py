"""Controls show what they are for: memory of types, chance, privileged directions, bits."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp import probes
from tests.core.conftest import CONFIGS, model_of, random_model
from tests.models import sampled

KEY = jax.random.key(0)


def identities(n: int = 1800, kinds: int = 100, d: int = 16) -> Any:
    """A random vector per type, and a label that the context writes into one direction."""
    rng = np.random.default_rng(0)
    types = rng.integers(0, kinds, n)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(kinds, d))[types] + 3 * (y - 0.5)[:, None] * rng.normal(size=d)
    return x + 0.1 * rng.normal(size=(n, d)), y, types


@pytest.mark.slow
def test_a_probe_with_a_memory_is_less_selective() -> None:
    x, y, types = identities()
    train, test = np.arange(1400), np.arange(1400, 1800)
    options: Any = dict(train=train, test=test, key=KEY, controls=2)
    linear = probes.selectivity(x, y, types, shuffles=2, **options)
    large = functools.partial(
        probes.mlp,
        hidden=(96,),
        key=KEY,
        optimizer=optax.adam(5e-3),
        settings=probes.TrainSettings(batch_size=64, epochs=30),
    )
    hidden = probes.selectivity(x, y, types, fit=large, **options)
    assert linear.accuracy > 0.97 and hidden.accuracy > 0.97
    assert (hidden.control > 0.95).all() and (linear.control < 0.8).all()
    assert linear.selectivity > 0.2 > 0.05 > hidden.selectivity
    assert linear.seen == 1 and linear.shuffled.shape == (2,)
    assert (abs(linear.shuffled - 0.5) < 0.08).all() and abs(linear.majority - 0.5) < 0.05
    np.testing.assert_allclose(linear.seen_selectivity, linear.selectivity)


@pytest.mark.slow
def test_selectivity_of_layers_unseen_types_and_any_probe() -> None:
    x, y, types = identities(600, 30, 5)
    types[400:500] += 1000
    layers = np.stack([x, x[:, ::-1], np.random.default_rng(1).normal(size=x.shape)])
    options: Any = dict(train=np.arange(600) < 400, test=np.arange(400, 600), key=KEY, controls=4)
    found = probes.selectivity(layers, y, types, **options)
    assert found.accuracy.shape == (3,) and found.control.shape == (3, 4) and found.seen == 0.5
    np.testing.assert_allclose(found.accuracy[0], found.accuracy[1])
    # Where types were never seen a control label is chance, and the mean of both halves is the whole.
    unseen = 2 * found.control - found.seen_control
    assert abs(unseen.mean() - 0.5) < 0.1 < found.seen_control[0].mean() - 0.5
    alone = functools.partial(probes.fit, balanced=False)
    one = probes.selectivity(layers[:1], y, types, fit=alone, batched=False, **options)
    np.testing.assert_allclose(one.accuracy[0], found.accuracy[0], atol=0.006)
    np.testing.assert_allclose(one.control[0], found.control[0], atol=0.011)
    with pytest.raises(ValueError, match="selectivity is undefined"):
        probes.selectivity(x, y, np.arange(600), **options)
    with pytest.raises(IndexError, match=r"indices 0\.\.599"):
        probes.selectivity(x, y, types, train=[0, 600], test=[1], key=KEY)


def test_control_heads_are_rules_of_types() -> None:
    rng = np.random.default_rng(0)
    sentences = np.sort(rng.integers(0, 40, 300))
    types = rng.integers(0, 20, 300)
    heads = probes.control_heads(types, sentences, key=KEY)
    np.testing.assert_array_equal(sentences[heads], sentences)
    place = {}
    for i, head in enumerate(heads):
        own = np.flatnonzero(sentences == sentences[i])
        rules = {name for name, row in (("self", i), ("first", own[0]), ("last", own[-1])) if row == head}
        place.setdefault(types[i], {"self", "first", "last"}).intersection_update(rules)
        assert place[types[i]]
    assert len({tuple(rule) for rule in place.values()}) == 3
    with pytest.raises(ValueError, match="stand together"):
        probes.control_heads([1, 2, 3], [0, 1, 0], key=KEY)


@pytest.mark.slow
def test_nulls_know_a_search_from_a_find() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 160)
    x = rng.normal(size=(160, 40))
    noise = x.copy()
    x[:, [3, 17]] += 1.5 * y[:, None]
    search = lambda x, y: np.argsort(-probes.rank(x, y))[:2]
    options: Any = dict(train=np.arange(80), test=np.arange(80, 160), key=KEY, resamples=49)
    found = probes.nulls(x, y, select=search, **options)
    assert found["shuffle"].p_value == found["coordinates"].p_value == 0.02
    assert abs(found["shuffle"].scores.mean() - 0.5) < 0.03
    chance = probes.nulls(noise, y, select=search, **options)
    assert chance["shuffle"].p_value > 0.05 and chance["coordinates"].p_value > 0.05
    # Scored where it was searched, any noise looks like a find, and the null says so.
    options["test"] = options["train"]
    inside = probes.nulls(noise, y, select=search, **options)["shuffle"]
    assert inside.scores.mean() > 0.6 and inside.p_value > 0.05
    all_of_them = probes.nulls(x, y, fit=_Means, **{**options, "resamples": 3})
    assert list(all_of_them) == ["shuffle"]
    with pytest.raises(ValueError, match="one of them"):
        probes.nulls(x, y, [3], select=search, **options)


class _Means:
    """A probe function with leading axes, by the means of two classes."""

    def __init__(self, x: Any, y: Any) -> None:
        up = y[..., None] > 0
        high = (x * up).sum(-2) / up.sum(-2)
        low = (x * ~up).sum(-2) / (~up).sum(-2)
        self.w, self.b = high - low, ((high - low) * (high + low)).sum(-1) / 2

    def predict(self, x: Any) -> Any:
        return ((x * self.w[..., None, :]).sum(-1) > self.b[..., None]).astype(int)


def test_rotations() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.normal(size=(2, 200, 20)) * 3 + 1
    x[:, :, 4] += 9 * y
    turned = probes.rotate(x, KEY)
    np.testing.assert_allclose(turned @ turned.swapaxes(1, 2), x @ x.swapaxes(1, 2), rtol=2e-5, atol=2e-3)
    mixed = probes.rotate(x, KEY, "gaussian")
    share = (mixed**2).sum() / (x**2).sum()
    assert abs(share - 1) < 0.3 and abs(share - 1) > 1e-3
    first = probes.rotate(x[0], KEY)
    np.testing.assert_array_equal(first, turned[0])
    options: Any = dict(train=np.arange(100), test=np.arange(100, 200), key=KEY)
    found = probes.rotation_baseline(x[0], y, [1, 20], **options)
    assert found.rotated.shape == (3, 2) and found.ks.tolist() == [1, 20]
    assert found.neurons[0] > 0.85 and (found.rotated[:, 0] < found.neurons[0] - 0.1).all()
    np.testing.assert_allclose(found.rotated[:, 1], found.neurons[1], atol=0.011)
    with pytest.raises(ValueError, match="'orthogonal' or 'gaussian'"):
        probes.rotate(x, KEY, "qr")


@pytest.mark.parametrize("name", sampled(slow=["gpt2", "llama"], exhaustive=["neox"]))
def test_a_reinitialised_model_has_the_scales_of_every_layer(name: str) -> None:
    model = model_of(name)
    for how in ("normal", "permute"):
        other = ji.weights.reinitialised(model, key=KEY, how=how, keep=["ln_final", "blocks.ln1"])
        assert jax.tree.structure(other) == jax.tree.structure(model)
        for path, old in jax.tree_util.tree_leaves_with_path(model):
            new = functools.reduce(lambda node, key: getattr(node, key.name), path, other)
            label = jax.tree_util.keystr(path)
            assert new.dtype == old.dtype and new.shape == old.shape
            if "ln_final" in label or "ln1" in label:
                np.testing.assert_array_equal(new, old)
                continue
            assert (np.asarray(new) != np.asarray(old)).mean() > 0.5, label
            rows = len(old) if "blocks" in label else 1
            a, b = np.asarray(old).reshape(rows, -1), np.asarray(new).reshape(rows, -1)
            if how == "permute":
                np.testing.assert_array_equal(np.sort(a, 1), np.sort(b, 1))
            else:
                size = a.shape[1] ** 0.5
                assert (abs(a.mean(1) - b.mean(1)) <= 5 * a.std(1) / size).all()
                assert (abs(a.std(1) - b.std(1)) <= 5 * a.std(1) / size).all()


@pytest.mark.slow
def test_a_reinitialised_model_is_a_model() -> None:
    model = random_model(CONFIGS["gpt2"], jnp.bfloat16)
    steered = ji.intervene(model, [ji.zero("mlp_out", layer=1)])
    tokens = np.arange(12).reshape(2, 6)
    other = ji.weights.reinitialised(steered, key=KEY)
    assert other.edits == steered.edits and other.model.w_embed.dtype == jnp.bfloat16
    x = ji.data.activations(other, tokens, "resid_post", pos=-1)
    assert np.isfinite(x.astype(np.float32)).all()
    loaded, _ = ji.load("tiny")
    chance = ji.weights.reinitialised(loaded, key=KEY, keep="w_embed")
    assert loaded.config.source is not None and chance.config.source is None
    with pytest.raises(ValueError, match="keep names leaves"):
        ji.weights.reinitialised(model, key=KEY, keep=["embed"])
    with pytest.raises(ValueError, match="'normal' or 'permute'"):
        ji.weights.reinitialised(model, key=KEY, how="zeros")


@pytest.mark.slow
def test_bits_of_many_classes() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    x = rng.normal(size=(n, 4))
    noise = rng.integers(0, 3, n)
    code = probes.online_code(x, noise, key=KEY)
    assert 0.9 < code.compression < 1.05 and code.uniform == n * np.log2(3)
    np.testing.assert_allclose(code.bits, code.block_bits.sum())
    np.testing.assert_allclose(code.per_example, code.bits / n)
    # The wider the margin, the fewer bits.
    easy = x[:, :3].argmax(1)
    lengths = []
    for margin in (0.0, 0.5):
        wide = x.copy()
        wide[np.arange(n), easy] += margin
        lengths.append(probes.online_code(wide, easy, key=KEY, gamma=1e3))
    assert lengths[1].bits < lengths[0].bits
    assert lengths[0].compression > 5 and lengths[0].area < 0.5 < np.log2(3)
    assert lengths[0].curve[0] > 10 * lengths[0].curve[-1]
    # Other names for the classes change nothing.
    names = np.array(["c", "a", "b"])[easy]
    named = probes.online_code(x, names, key=KEY, gamma=1e3)
    np.testing.assert_allclose(named.bits, lengths[0].bits, rtol=1e-3)
    # One class is known before it is sent; a class that never comes costs only its possibility.
    one = probes.online_code(x, np.zeros(n, int), key=KEY)
    assert one.bits == 0 and one.uniform == 0 and np.isnan(one.compression)
    with pytest.raises(ValueError, match="fractions rise"):
        probes.online_code(x, easy, key=KEY, fractions=[0.5, 0.25, 1])
    more = probes.online_code(x, np.zeros(n, int), key=KEY, classes=[0, 1])
    np.testing.assert_allclose(more.bits, 4 + _frequencies(n), rtol=1e-9)


@pytest.mark.slow
def test_bits_of_two_classes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 4))
    noise = rng.random(2000) < 0.5
    assert 0.9 < probes.online_code(x, noise, key=KEY).compression < 1.05
    easy = x[:, 0] > 0
    found = probes.online_code(x, easy, key=KEY, gamma=1e3)
    assert found.compression > 5 and found.uniform == 2000 and found.ends[-1] == 2000
    swapped = probes.online_code(x, ~easy, key=KEY, gamma=1e3)
    np.testing.assert_allclose(swapped.bits, found.bits, rtol=1e-3)
    # Each block is that of a probe fitted on what came before it, and of nothing else.
    order = np.asarray(jax.random.permutation(KEY, 2000))
    start, end = found.ends[-3:-1]
    probe = probes.fit(x[order[:start]], easy[order[:start]], gamma=1e3, balanced=False)
    score = probe.decision(x[order[start:end]])
    nats = np.logaddexp(0, np.where(easy[order[start:end]], -score, score)).sum()
    np.testing.assert_allclose(found.block_bits[-2], nats / np.log(2), rtol=0.02)


def _frequencies(n: int) -> float:
    """Bits of one class of two by add-one frequencies, at the ends of the default fractions."""
    ends = [4, 8, 16, 32, 64, 128, 250, 500, 1000, 2000, 4000]
    pairs = itertools.pairwise(ends)
    return float(sum(-(b - a) * np.log2((a + 1) / (a + 2)) for a, b in pairs))


@pytest.mark.slow
def test_bits_of_a_hidden_layer() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    hidden: Any = functools.partial(
        probes.mlp,
        hidden=(32,),
        key=KEY,
        optimizer=optax.adam(1e-2),
        settings=probes.TrainSettings(batch_size=32),
    )
    options: Any = dict(key=KEY, fractions=[0.03, 0.125, 0.5, 1])
    deep = probes.online_code(x, y, fit=hidden, **options)
    assert deep.compression > 1.5 > 1.05 > probes.online_code(x, y, **options).compression
    one_by_one = probes.online_code(x, y, fit=hidden, batched=False, **options)
    np.testing.assert_allclose(one_by_one.bits, deep.bits, rtol=0.02)


@pytest.mark.slow
def test_the_variational_code_pays_for_what_it_uses() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 20)) * 5 + 3
    labels = np.stack([rng.integers(0, 2, 2000), x[:, 2] > x[:, 7]]).astype(int)
    found = probes.variational_code(x, labels, key=KEY, steps=800, batch_size=256)
    np.testing.assert_allclose(found.bits, found.model_bits + found.data_bits)
    assert (found.model_bits > 0).all() and found.uniform == 2000
    assert 0.95 < found.compression[0] < 1.0
    assert found.compression[1] > 5 and np.flatnonzero(found.kept[1]).tolist() == [2, 7]
    assert (found.error < 0.05 * found.data_bits).all()
    assert probes.variational_code(x, np.ones(2000, int), key=KEY).bits == 0
    deep = probes.variational_code(x, labels[1], key=KEY, hidden=(4,), steps=50, batch_size=64)
    assert deep.bits.shape == () and np.isfinite(deep.bits) and len(deep.means) == 2


def test_a_score_that_is_no_number_has_no_p_value() -> None:
    from jaxinterp.probes.controls._nulls import _null

    assert np.isnan(_null([np.nan, 0.1, 0.2]).p_value) and np.isnan(_null([0.3, np.nan]).p_value)
    assert _null([0.3, 0.1, 0.2]).p_value == 1 / 3
