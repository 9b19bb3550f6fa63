"""Universal neurons of planted copies, their properties, and roles by output weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.corpus import _batches
from tests.models import model_of, random_model, small_model

WIDE = ji.models.GPT2Config(vocab=400, ctx=16, d=96, layers=2, heads=2, ff=160, act="linear")
COPIED = 16


def reader(seed: int) -> Any:
    """A model whose blocks write nothing: every neuron reads the embedding, which all seeds share."""
    model = random_model(WIDE, seed=seed, gain=1.0)
    same = random_model(WIDE, seed=0, gain=1.0)
    attn, mlp = (lambda m: m.blocks.attn), (lambda m: m.blocks.mlp)
    zero = lambda m: (attn(m).w_o, attn(m).b_o, mlp(m).b_in, mlp(m).w_out, mlp(m).b_out, m.w_pos)
    model = eqx.tree_at(zero, model, tuple(jnp.zeros_like(x) for x in zero(model)))
    shared = lambda m: (m.w_embed, m.blocks.ln2, m.ln_final)
    return eqx.tree_at(shared, model, shared(same))


@pytest.fixture(scope="module")
def planted() -> tuple[Any, Any, Any, np.ndarray]:
    """A model, another one with noisy copies of some of its neurons at other places, texts and the places."""
    a, b = reader(0), reader(1)
    rng = np.random.default_rng(2)
    places = np.stack([rng.permutation(WIDE.ff)[:COPIED] for _ in range(2)])
    w_in = np.array(b.blocks.mlp.w_in)
    for layer in range(2):
        noise = 0.02 * rng.normal(size=(WIDE.d, COPIED))
        w_in[layer][:, places[layer]] = np.asarray(a.blocks.mlp.w_in)[layer, :, :COPIED] + noise
    b = eqx.tree_at(lambda m: m.blocks.mlp.w_in, b, jnp.asarray(w_in))
    tokens = rng.integers(0, WIDE.vocab, (60, 16))
    return a, b, tokens, places


def test_planted_copies_are_universal_and_no_others(planted: Any) -> None:
    a, b, tokens, places = planted
    found = ji.neurons.universal([a, b], tokens)
    wanted = np.tile(np.arange(WIDE.ff) < COPIED, 2)
    np.testing.assert_array_equal(found.mask, wanted)
    assert found.share == wanted.mean() and (found.correlations[0, wanted] > 0.95).all()
    assert np.abs(found.excess[~wanted]).max() < 0.3
    partners = found.partners[0][wanted]
    np.testing.assert_array_equal(partners[:, 0], np.repeat([0, 1], COPIED))
    np.testing.assert_array_equal(partners[:, 1], places.ravel())
    layers = found.layers()
    assert [row["universal"] for row in layers] == [COPIED, COPIED]
    assert [row["same_layer"] for row in layers] == [1.0, 1.0]
    best = found.records()[0]
    assert best["universal"] and int(best["neuron"].split(".")[1]) < COPIED
    contrast = {row["property"]: row for row in found.contrast()}
    assert set(contrast) >= {"activation_kurtosis", "frequency", "l2_penalty", "logit_kurtosis"}
    assert 0 <= contrast["in_norm"]["above"] <= 1
    assert "excess" in found.figure()._repr_html_()


@pytest.mark.slow
def test_permuted_neurons_match_one_to_one() -> None:
    model = small_model()
    order = np.random.default_rng(0).permutation(32)
    mlp = model.blocks.mlp
    turned = eqx.tree_at(
        lambda m: (m.blocks.mlp.w_in, m.blocks.mlp.b_in, m.blocks.mlp.w_out),
        model,
        (mlp.w_in[:, :, order], mlp.b_in[:, order], mlp.w_out[:, order]),
    )
    tokens = np.random.default_rng(1).integers(1, 40, (6, 12))
    found = ji.neurons.universal([model, turned, model], tokens, key=jax.random.key(1))
    np.testing.assert_allclose(found.correlations, 1, atol=1e-5)
    np.testing.assert_array_equal(order[found.partners[0, :, 1]], np.tile(np.arange(32), 2))
    np.testing.assert_allclose(found.excess, 1 - found.baselines.mean(0), atol=1e-5)
    assert found.excess.mean() > 0.1 and len(found.records()[0]["partners"]) == 2
    few = ji.neurons.universal([model, turned], tokens, "resid_post", threshold=0.05)
    assert few.properties is None
    with pytest.raises(ValueError, match="Only neurons"):
        few.contrast()


def test_an_interrupted_call_goes_on(tmp_path: Any, monkeypatch: Any) -> None:
    models = [small_model(seed=seed) for seed in range(3)]
    tokens = np.random.default_rng(1).integers(1, 40, (40, 8))
    how: dict[str, Any] = {"batch_size": 16, "key": jax.random.key(1)}
    want = ji.neurons.universal(models, tokens, **how)
    read, numbers = _batches.CorpusBatches.__getitem__, []

    def stop_twice(self: Any, number: int) -> Any:
        numbers.append(number)
        if len(numbers) in (5, 8):  # in the second comparison, and between both batches of the properties
            raise KeyboardInterrupt
        return read(self, number)

    monkeypatch.setattr(_batches.CorpusBatches, "__getitem__", stop_twice)
    how["checkpoint"] = ji.corpus.Checkpoint(tmp_path / "seeds.npz", every=1)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ji.neurons.universal(models, tokens, **how)
    found = ji.neurons.universal(models, tokens, **how)
    assert numbers == [0, 1, 2, 0, 1, 1, 2, 0, 0, 1]
    for name in ("excess", "correlations", "baselines", "partners"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
    for name, value in want.properties.items():
        np.testing.assert_array_equal(getattr(found.properties, name), value)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"seeds.npz.1", "seeds.npz.2", "seeds.npz.properties"}
    other = ji.neurons.universal(models, tokens, threshold=0.1, **how)  # is no part of what is read
    assert len(numbers) == 10 and other.threshold == 0.1
    for given, changed in (
        (models, {"key": jax.random.key(2)}),
        (models, {"baseline": "gaussian"}),
        (models[::2], {}),
    ):
        with pytest.raises(ValueError, match=r"npz\.1 was .* Give another checkpoint=, or delete the file"):
            ji.neurons.universal(given, tokens, **{**how, **changed})


@pytest.mark.parametrize("family", ["gpt2", pytest.param("neox", marks=pytest.mark.slow), "llama"])
def test_properties_are_those_of_all_activations(family: str) -> None:
    model = model_of(family)
    rng = np.random.default_rng(5)
    real = np.arange(10)[None] < np.array([10, 4, 7])[:, None]
    tokens = rng.integers(1, 40, (3, 10))
    rows = []
    for row, here in zip(tokens, real, strict=True):
        padded = np.pad(row[here], (0, 10 - here.sum()))
        _, acts = ji.run(model, padded, capture=["mlp_post"], logits=False)
        x = np.asarray(acts["mlp_post"], np.float64)[:, : here.sum()]
        rows.append(np.moveaxis(x, 1, 0).reshape(here.sum(), -1))
    x = np.concatenate(rows)
    gap = x - x.mean(0)
    power = [(gap**n).mean(0) for n in (2, 3, 4)]
    for left in (False, True):
        shifted = np.stack([np.roll(r, (~m).sum() * left) for r, m in zip(tokens, real, strict=True)])
        mask = real[:, ::-1] if left else real
        found = ji.neurons.neuron_properties(model, ji.corpus.as_corpus(shifted, mask=mask), batch_size=2)
        np.testing.assert_allclose(found.activation_mean, x.mean(0), atol=1e-4)
        np.testing.assert_allclose(found.activation_variance, power[0], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.activation_kurtosis, power[2] / power[0] ** 2, rtol=5e-3)
        np.testing.assert_allclose(found.frequency, (x > 0).mean(0), atol=0.5 / len(x))
    assert np.isfinite(found.in_bias).all() == (family != "llama")
    weights = ji.neurons.weight_statistics(model)
    np.testing.assert_allclose(
        found.l2_penalty, (weights.in_norm**2 + weights.out_norm**2).ravel(), rtol=1e-5
    )
    assert len(found.records()) == len(found.neurons) and found.records()[0]["neuron"] == "0.0"


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_planted_roles_and_moments(norm: str) -> None:
    planted = ji.toy.planted_unembed(key=jax.random.key(0), norm=norm, vocab=192, d=32)
    found = ji.neurons.logit_moments(planted.model)
    roles = found.roles()[0]
    for role in ("prediction", "suppression", "partition"):
        assert set(roles[list(planted.neurons[role])]) == {role}
    # All cosines at once, in float64.
    model = ji.weights.process(planted.model)
    read, out = np.asarray(model.w_unembed, np.float64), np.asarray(model.blocks.mlp.w_out[0], np.float64)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    cosine = unit(out) @ unit((read - read.mean(1, keepdims=True)).T).T
    gap = cosine - cosine.mean(1, keepdims=True)
    variance = (gap**2).mean(1)
    np.testing.assert_allclose(found.mean[0], cosine.mean(1), atol=1e-5)
    np.testing.assert_allclose(found.variance[0], variance, rtol=1e-3, atol=1e-12)
    seen = variance > 1e-12  # what the null space hides has no skew
    assert (~seen).sum() == len(planted.neurons["entropy"]) and not found.kurtosis[0][~seen].any()
    np.testing.assert_allclose(found.skew[0][seen], ((gap**3).mean(1) / variance**1.5)[seen], atol=1e-3)
    np.testing.assert_allclose(found.kurtosis[0][seen], ((gap**4).mean(1) / variance**2)[seen], rtol=1e-3)
    turned = eqx.tree_at(lambda m: m.blocks.mlp.w_out, planted.model, -planted.model.blocks.mlp.w_out)
    np.testing.assert_allclose(ji.neurons.logit_moments(turned).skew, -found.skew, atol=1e-4)
    assert found.records()[0]["layer"] == 0 and "prediction" in found.figure()._repr_html_()


def test_moments_of_gaussian_weights_are_those_of_a_gaussian() -> None:
    config = ji.models.GPT2Config(vocab=3000, ctx=4, d=64, layers=1, heads=2, ff=16)
    model = random_model(config, gain=1.0, scale=0.05)
    found = ji.neurons.logit_moments(model)
    assert np.abs(found.skew).max() < 0.25 and np.abs(found.kurtosis - 3).max() < 0.5
    assert set(found.roles().ravel()) <= {"", "partition"}


def test_bad_input_is_told(planted: Any) -> None:
    a, b, tokens, _ = planted
    with pytest.raises(ValueError, match="Neurons are universal among several models"):
        ji.neurons.universal([a], tokens)
    with pytest.raises(ValueError, match="baseline is one of"):
        ji.neurons.universal([a, b], tokens, baseline=None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="threshold, of the excess,"):
        ji.neurons.universal([a, b], tokens, threshold=float("nan"))
    with pytest.raises(ValueError, match="vocabularies of 400 and 40"):
        ji.neurons.universal([a, small_model()], tokens)
    with pytest.raises(ValueError, match="no sequence"):
        ji.neurons.universal([a, b], tokens[:0])
    with pytest.raises(ValueError, match="neurons"):
        ji.neurons.universal([a, b], tokens, threshold=2.0).contrast()
    with pytest.raises(ValueError, match="intervened"):
        ji.neurons.logit_moments(ji.intervene(a, ji.zero("mlp_out", layer=0)))
    for leaf, words in (
        (lambda m: m.blocks.mlp.w_out, "Output weights"),
        (lambda m: m.w_embed, "unembedding"),
    ):
        with pytest.raises(ValueError, match=f"{words} .*NaN"):
            ji.neurons.logit_moments(eqx.tree_at(leaf, a, leaf(a) * jnp.nan))
