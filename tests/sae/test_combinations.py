"""Sparse combinations of neurons with the tools of dictionaries: the laws that tie them to single neurons."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import SMALL, families, model_of, random_model

SITES = ["mlp_post[0]", "mlp_post[1]"]
KEY = jax.random.key(0)
FAST = ji.sae.InterpretSettings(progress=False, batch_size=50)


class Words:
    """Strings of made-up tokens."""

    def tokens(self, ids: Any) -> list[str]:
        return [f"t{i}" for i in np.asarray(ids)]


@pytest.fixture(scope="module")
def given() -> tuple[Any, ...]:
    """A model, padded tokens with their mask, and the activations of both layers `(seq, pos, layer, ff)`."""
    model, rng = random_model(SMALL), np.random.default_rng(0)
    tokens = rng.integers(0, 40, (200, 12), dtype=np.int32)
    mask = np.arange(12) < rng.integers(8, 13, (200, 1))
    mask[:5] = True
    _, acts = ji.run(model, tokens, mask=mask, capture=["mlp_post"], logits=False)
    return model, tokens, mask, np.moveaxis(np.asarray(acts["mlp_post"]), 0, 2)


def same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_what_they_compute(given: Any) -> None:
    x = given[3]
    made = ji.sae.Combinations(32, [[5], [9, 2, 30]], [[1.0], [0.5, -2.0, 1.5]], [0.0, 0.25])
    wanted = np.maximum(x[..., 0, :] @ np.asarray(_dense(made)).T + [0, 0.25], 0)
    f = jax.jit(lambda made, x: made.encode(x))(made, jnp.asarray(x[..., 0, :]))
    np.testing.assert_allclose(f, wanted, rtol=1e-5, atol=1e-6)
    across = ji.sae.Combinations(32, [[33, 3]], [[2.0, 1.0]], layers=2)
    np.testing.assert_allclose(
        across.encode(x)[..., 0], np.maximum(2 * x[..., 1, 1] + x[..., 0, 3], 0), rtol=1e-5, atol=1e-6
    )
    assert across.decode(across.encode(x)).shape == x.shape
    # One unit with the weight 1 is that of Neurons, bit for bit, and a NaN elsewhere is not read.
    alone, all_of_them = ji.sae.Combinations(32, [[7], [4]], [[1.0], [1.0]]), ji.sae.Neurons(32)
    np.testing.assert_array_equal(alone.encode(x[..., 0, :]), all_of_them.encode(x[..., 0, :])[..., [7, 4]])
    np.testing.assert_array_equal(alone.directions(), all_of_them.directions()[np.array([7, 4])])
    dirty = np.where(np.arange(32) == 0, np.nan, x[..., 0, :])
    np.testing.assert_array_equal(made.encode(dirty), made.encode(x[..., 0, :]))
    # The order of a support changes nothing: the leaves are the same.
    same(ji.sae.Combinations(32, [[5], [30, 9, 2]], [[1.0], [1.5, 0.5, -2.0]], [0.0, 0.25]), made)
    # A feature that fires and is held at a value has it afterwards.
    held = x[..., 0, :] + (3.0 - np.asarray(f)[..., 1:]) * np.asarray(made.directions())[1]
    np.testing.assert_allclose(made.encode(held)[..., 1][np.asarray(f[..., 1]) > 0], 3.0, rtol=1e-4)


def _dense(made: Any) -> Any:
    """Weights as a matrix `(combination, d)`."""
    return made.decoder * jnp.square(made.weights).sum(-1, keepdims=True)


@pytest.mark.slow
def test_explained_as_a_neuron_is(given: Any) -> None:
    """`interpret` gives one neuron as a combination what it gives the neuron, and any order the same."""
    model, tokens, mask, _ = given

    def explained(sae: Any, features: Any, site: Any = SITES[1]) -> Any:
        judges = ji.sae.Judges(
            explain=lambda shown: " ".join(shown.up) + shown.examples[0].tokens[0],
            simulate=lambda text, words: [len(word) for word in words],
            detect=lambda text, texts: [0, 3],
        )
        return ji.sae.interpret(
            sae,
            model,
            Words(),
            tokens,
            site=site,
            mask=mask,
            features=features,
            judges=judges,
            key=KEY,
            settings=FAST,
        )

    one = ji.sae.Combinations(32, [[i] for i in range(32)], [[1.0]] * 32)
    neuron = explained(ji.sae.Neurons(32), [3, 8])
    assert explained(one, [3, 8]) == neuron and neuron[0]["kept"] and "detection" in neuron[0]
    # The same neuron as a column of two layers side by side.
    both = ji.sae.Combinations(32, [[i] for i in range(64)], [[1.0]] * 64, layers=2)
    (found,) = explained(both, [32 + 8], SITES)
    assert found["kept"] and set(found) == set(neuron[1])


def test_logit_weights_add_up_over_layers(given: Any) -> None:
    model = given[0]
    across = ji.sae.Combinations(32, [[3, 32 + 7]], [[2.0, 1.0]], layers=2)
    neurons = [ji.sae.logit_weights(ji.sae.Neurons(32), model, site).rows for site in SITES]
    wanted = (2 * neurons[0][3] + neurons[1][7]) / 5
    np.testing.assert_allclose(
        ji.sae.logit_weights(across, model, SITES).rows[0], wanted, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("family", families("llama"))
def test_padding_changes_nothing(family: str) -> None:
    model = model_of(family)
    ff = model.config.ff
    across = ji.sae.Combinations(ff, [[3, ff + 7], [5]], [[2.0, -1.0], [1.0]], layers=2)
    rows = np.random.default_rng(1).integers(0, 40, (6, 9))
    lengths = [9, 7, 9, 5, 8, 9]
    settings = ji.sae.ExampleSettings(top=6, window=0)
    found = []
    for side in ("left", "right"):
        ids, mask = np.zeros((6, 9), int), np.zeros((6, 9), bool)
        for i, n in enumerate(lengths):
            where = slice(9 - n, 9) if side == "left" else slice(0, n)
            ids[i, where], mask[i, where] = rows[i, :n], True
        found.append(
            ji.sae.examples(across, model, ids, site=SITES, mask=mask, settings=settings, progress=False)
        )
    np.testing.assert_allclose(found[0].values, found[1].values, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[0].fired, found[1].fired)


def test_made_from_probes(given: Any) -> None:
    x = np.float64(given[3][:, 2].reshape(200, 64))
    y = x[:, 5] - x[:, 40] > np.median(x[:, 5] - x[:, 40])
    probe = ji.probes.best_subset(x, y, k=2, time_limit=5)
    made = ji.sae.combinations(probe, layers=2)
    wanted = np.maximum(probe.decision(x), 0)
    np.testing.assert_allclose(made.encode(x.reshape(200, 2, 32))[:, 0], wanted, rtol=1e-4, atol=1e-5)
    scaled = ji.sae.combinations(ji.probes.fit(x / 4, y, [1, 40]), scale=4.0)
    wanted = np.maximum(ji.probes.fit(x / 4, y, [1, 40]).decision(x / 4), 0)
    np.testing.assert_allclose(scaled.encode(x)[:, 0], wanted, rtol=1e-4, atol=1e-5)
    many = ji.probes.fit_many(x, y, [[5], [40, 5]])
    several = ji.sae.combinations(many, bias=False)
    assert several.features == 2 and not np.asarray(several.bias).any()
    assert np.asarray(several.support).tolist() == [[5, -1], [5, 40]]
    by_k = ji.probes.best_subsets(x, y, [1, 2], time_limit=5)
    same(ji.sae.combinations(by_k), ji.sae.combinations([by_k[1], by_k[2]]))


def test_bad_input(given: Any) -> None:
    model, tokens, _, x = given
    make = ji.sae.Combinations
    with pytest.raises(ValueError, match="A support is a list of units, at least one int"):
        make(32, [[]], [[]])
    with pytest.raises(IndexError, match=r"Units here are 0\.\.31; support 0 has 32"):
        make(32, [[1, 32]], [[1, 1]])
    with pytest.raises(IndexError, match="distinct units; number 1"):
        make(32, [[1], [4, 4]], [[1], [1, 1]])
    with pytest.raises(ValueError, match="one finite weight for each of 2 units, not all 0"):
        make(32, [[1, 2]], [[0.0, 0.0]])
    with pytest.raises(ValueError, match="2 supports and 1 of weights"):
        make(32, [[1], [2]], [[1.0]])
    with pytest.raises(ValueError, match="bias is a finite number for each of 1"):
        make(32, [[1]], [[1.0]], [1.0, 2.0])
    with pytest.raises(ValueError, match="These combinations read"):
        make(32, [[1]], [[1.0]], layers=2).encode(x[..., 0, :])
    with pytest.raises(ValueError, match="give site= a list of 2 sites"):
        ji.sae.examples(make(32, [[1]], [[1.0]], layers=2), model, tokens, site=SITES[0])
    with pytest.raises(ValueError, match="comes from a probe with a support"):
        ji.sae.combinations([1, 2])
    with pytest.raises(ValueError, match="There is no probe"):
        ji.sae.combinations([])
    probe = ji.probes.fit(np.eye(4), [0, 1, 0, 1], [1])
    with pytest.raises(ValueError, match="a multiple of layers=3"):
        ji.sae.combinations(probe, layers=3)
