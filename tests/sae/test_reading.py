"""Reading features: one pass equals all activations at once, and edits do what they say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.sae.features._directions import directions, written
from tests.models import SMALL, random_model

SITE = "resid_post[0]"
N = 24
# Pre-activations are sums of numbers near 1, of two programs: where they cancel, this much is left.
NEAR = 2e-6


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model(SMALL)


@pytest.fixture(scope="module")
def sae() -> Any:
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    # A scale, as dictionaries of normalised activations have; and a feature that never fires.
    return ji.sae.Standard(d=8, features=N).dictionary(
        encoder=draw(8, N),
        decoder=draw(N, 8),
        bias=draw(8),
        encoder_bias=jnp.full(N, -0.5).at[3].set(-1e3),
        scale=jnp.float32(0.37),
    )


@pytest.fixture(scope="module")
def corpus() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 40, (26, 12), dtype=np.int32)
    real = np.arange(12)[None] < rng.integers(2, 13, 26)[:, None]
    return tokens, real


@pytest.fixture(scope="module")
def read(sae: Any, model: Any, corpus: Any) -> Any:
    tokens, real = corpus
    return ji.sae.examples(
        sae,
        model,
        tokens,
        site=SITE,
        mask=real,
        settings=ji.sae.ExampleSettings(top=6, intervals=4, per=3, window=(2, 1)),
        batch_size=4,
        progress=False,
    )


@pytest.fixture(scope="module")
def all_features(sae: Any, model: Any, corpus: Any) -> np.ndarray:
    """Every feature at every position `(seq, pos, feature)`, NaN where it does not count."""
    tokens, real = corpus
    _, acts = ji.run(model, tokens, capture=[SITE])
    f = np.asarray(sae.encode(acts[SITE]))
    return np.where(ji.data.keep(real)[..., None], f, np.nan)


def test_one_pass_equals_all_at_once(read: Any, all_features: np.ndarray, corpus: Any) -> None:
    f = np.nan_to_num(all_features)
    assert read.count == ji.data.keep(corpus[1]).sum()
    np.testing.assert_array_equal(read.fired, (f > 0).sum((0, 1)))
    np.testing.assert_allclose(read.maximum, f.max((0, 1)), rtol=1e-5, atol=NEAR)
    np.testing.assert_allclose(read.mean * np.maximum(read.fired, 1), f.sum((0, 1)), rtol=1e-4)
    best = np.sort(f.max(1), 0)[::-1][:6].T
    np.testing.assert_allclose(np.nan_to_num(read.values), best, rtol=1e-5, atol=NEAR)
    for i in range(N):
        assert len(set(read.seq[i][read.seq[i] >= 0])) == (read.seq[i] >= 0).sum()
        counts, edges = read.histogram(i)
        mine = f[..., i][f[..., i] > 0]
        np.testing.assert_array_equal(counts, np.histogram(mine, edges)[0])
        assert read.fired[i] == 0 or edges[-2] <= read.maximum[i] <= edges[-1]
    assert read.fired[3] == 0 and np.isnan(read.values[3]).all() and read.density[3] == 0


def test_examples_hold_what_stands_there(read: Any, all_features: np.ndarray, corpus: Any) -> None:
    tokens, real = corpus
    for i in range(N):
        for kind in ("", "interval_"):
            values, seq, pos, around = _flat(read, kind, i)
            there = seq >= 0
            np.testing.assert_allclose(values[there], all_features[seq, pos, i][there], rtol=1e-5, atol=NEAR)
            for s, p, w in zip(seq[there], pos[there], around[there], strict=True):
                at = np.arange(p - 2, p + 2)
                inside = (at >= 0) & (at < 12)
                wanted = np.where(inside, all_features[s, np.clip(at, 0, 11), i], np.nan)
                np.testing.assert_allclose(w, wanted, rtol=1e-5, atol=NEAR)
                ids = read.window(s, p)
                shown = inside & real[s, np.clip(at, 0, 11)]
                np.testing.assert_array_equal(ids, np.where(shown, tokens[s, np.clip(at, 0, 11)], -1))


def _flat(read: Any, kind: str, i: int) -> tuple[np.ndarray, ...]:
    names = ("values", "seq", "pos")
    flat = [getattr(read, kind + name)[i].reshape(-1) for name in names]
    return (*flat, getattr(read, f"{kind}activations")[i].reshape(-1, 4))


def test_intervals_hold_their_own(read: Any, all_features: np.ndarray) -> None:
    f = np.nan_to_num(all_features)
    full = 0
    for i in range(N):
        edges = np.linspace(0, read.maximum[i], 5)
        for j in range(4):
            values = read.interval_values[i, j][read.interval_seq[i, j] >= 0]
            assert (values >= edges[j] * (1 - 1e-6)).all() and (values <= edges[j + 1] * (1 + 1e-6)).all()
            full += len(values)
            places = [*zip(read.interval_seq[i, j], read.interval_pos[i, j], strict=True)]
            kept = [place for place in places if place[0] >= 0]
            assert len(set(kept)) == len(kept)
            inside = ((f[..., i] > edges[j]) & (f[..., i] < edges[j + 1])).sum()
            assert len(values) or inside < 5
    assert full > N * 4  # more than one of each


def test_logit_weights_are_what_a_direction_adds(sae: Any, model: Any) -> None:
    weights = ji.sae.logit_weights(sae, model, "resid_post[-1]")
    assert weights.shape == (N, 40)
    np.testing.assert_allclose(np.median(weights[5]), 0, atol=1e-6)
    unembed = model.w_embed.T  # tied
    # The norm's denominator held: a linear map of the stream, taken between two streams.
    stream = jax.random.normal(jax.random.key(2), (8,), jnp.float32)
    row = sae.decoder[5] / sae.scale
    centred = lambda x: x - jnp.mean(x)
    wanted = (centred(stream + row) - centred(stream)) * model.ln_final.weight @ unembed
    wanted = np.asarray(wanted - jnp.median(wanted))
    np.testing.assert_allclose(weights[5], wanted, atol=1e-5)
    high, up, low, down = weights.top([5, 2, 5], k=3)
    order = np.argsort(-weights[5], kind="stable")
    np.testing.assert_array_equal(high[0], order[:3])
    np.testing.assert_array_equal(low[2], order[::-1][:3])
    np.testing.assert_allclose(up[0], weights[5][high[0]], atol=1e-6)
    np.testing.assert_allclose(down[1], weights[2][low[1]], atol=1e-6)
    some = ji.sae.logit_weights(sae, model, "resid_post[-1]", [5])
    np.testing.assert_allclose(some[0], weights[5], atol=1e-6)
    neurons = ji.sae.Standard(d=32, features=4).init(jax.random.key(0))
    found = ji.sae.logit_weights(neurons, model, "mlp_post[1]")[2]
    row = neurons.decoder[2] @ model.blocks.mlp.w_out[1]
    wanted = centred(row) * model.ln_final.weight @ unembed
    np.testing.assert_allclose(found, np.asarray(wanted - jnp.median(wanted)), atol=1e-6)
    with pytest.raises(ValueError, match="residual stream"):
        ji.sae.logit_weights(sae, model, "z[1]")
    with pytest.raises(ValueError, match="8 wide; those of this dictionary have 32"):
        ji.sae.logit_weights(neurons, model, SITE)


def log_likelihood(logits: Any, tokens: Any) -> np.ndarray:
    log = np.asarray(jax.nn.log_softmax(logits[:, :-1]))
    return np.take_along_axis(log, tokens[:, 1:, None], -1)[..., 0]


@pytest.mark.slow
def test_effects_are_those_of_holding_a_feature_at_0(
    sae: Any, model: Any, corpus: Any, all_features: np.ndarray
) -> None:
    tokens, real = corpus
    tokens, real, f = tokens[:6], real[:6], all_features[:6]
    one, two = np.argsort(np.abs(np.nanmean(f > 0, (0, 1)) - 0.3))[:2].tolist()
    found = ji.sae.feature_effects(
        sae, model, tokens, [one, 3, two], site=SITE, mask=real, batch_size=4, progress=False
    )
    assert found.shape == (3, 6, 11) and (np.isnan(found) == ~real[None, :, 1:]).all()
    assert (np.nan_to_num(found[1]) == 0).all()  # never fires
    clean = log_likelihood(ji.run(model, tokens)[0], tokens)
    mask = ji.data.keep(real)
    for which, i in ((0, one), (2, two)):
        edit = ji.sae.steer(sae, i, 0.0, site=SITE, pos=mask)
        without = log_likelihood(ji.run(model, tokens, edits=[edit])[0], tokens)
        wanted = np.where(real[:, 1:], without - clean, np.nan)
        np.testing.assert_allclose(found[which], wanted, atol=2e-5)
        fired = np.cumsum(np.nan_to_num(f[..., i]) > 0, 1)[:, :-1] > 0
        assert (np.nan_to_num(found[which])[~fired] == 0).all()
        assert np.abs(np.nan_to_num(found[which])[fired]).max() > 1e-4
    vectors = ji.sae.attribution_vectors(
        sae, model, tokens, [one, 3], site=SITE, mask=real, batch_size=4, progress=False
    )
    has = mask[:, :-1] & real[:, 1:]
    weights = ji.sae.logit_weights(sae, model, SITE)[one]
    wanted = (f[:, :-1, one] * weights[tokens[:, 1:]])[has]
    np.testing.assert_allclose(vectors[0], wanted, atol=1e-5)
    assert vectors.shape == (2, has.sum()) and (vectors[1] == 0).all()


@pytest.mark.slow
def test_effects_with_a_mask_of_ones_are_those_of_steering(sae: Any, model: Any, corpus: Any) -> None:
    """The law as it is written; the default, all real tokens but the first, leaves position 0."""
    tokens, ones = corpus[0][:4], np.ones((4, 12), bool)
    i = int(np.argmax(sae.encode(ji.run(model, tokens, capture=[SITE], logits=False)[1][SITE])[0, 0]))
    found = ji.sae.feature_effects(
        sae, model, tokens, [i], site=SITE, positions=ones, batch_size=4, progress=False
    )[0]
    clean, (without, _) = (
        ji.run(model, tokens)[0],
        ji.run(model, tokens, edits=[ji.sae.steer(sae, i, 0, site=SITE)]),
    )
    wanted = log_likelihood(without, tokens) - log_likelihood(clean, tokens)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert abs(found[0, 0]) > 1e-3


@pytest.mark.slow
def test_nearest_neurons_correlate(sae: Any, model: Any, corpus: Any, all_features: Any) -> None:
    tokens, real = corpus
    near = ji.sae.nearest_neurons(sae, model, tokens, site=SITE, mask=real, k=2, batch_size=4, progress=False)
    mask = ji.data.keep(real)
    a = ji.data.activations(model, tokens, "mlp_post[0]", mask=real, positions=mask, progress=False)
    f = all_features[mask]
    rho = np.corrcoef(f[:, 5], a.T)[0, 1:]
    np.testing.assert_allclose(near.correlation[5], np.sort(rho)[::-1][:2], atol=1e-4)
    np.testing.assert_array_equal(near.neurons[5], np.argsort(-rho)[:2])
    assert near.site == "mlp_post[0]" and (near.correlation[3] == 0).all()
    assert near.entries[5, 0] == np.abs(np.asarray(sae.decoder[5])).argmax()


@pytest.mark.slow
def test_steering(sae: Any, model: Any, corpus: Any, read: Any) -> None:
    tokens = jnp.asarray(corpus[0][:2])
    x = ji.run(model, tokens, capture=[SITE], logits=False)[1][SITE]

    def moved(feature: Any, value: Any, mode: str, x: Any = x) -> Any:
        edit: Any = ji.sae.steer(sae, feature, value, site=SITE, mode=mode)
        return edit.fn(x, edit.value)

    f = sae.encode(x)
    row = sae.decoder[5] / sae.scale
    wanted = x + (0.25 - f[..., 5:6]) * row[None, None]
    np.testing.assert_allclose(moved(5, 0.25, "clamp"), wanted, atol=1e-6)
    both = (sae.decoder[5] - 2 * sae.decoder[7]) / sae.scale
    added = moved([5, 7], [1.0, -2.0], "add")
    np.testing.assert_allclose(added, x + both[None, None], atol=1e-5)
    np.testing.assert_allclose(moved(5, -2.0, "add", moved(5, 2.0, "add")), x, atol=1e-6)
    np.testing.assert_allclose(moved(5, 0.0, "scale"), moved(5, 0.0, "clamp"), atol=1e-6)
    np.testing.assert_array_equal(moved(5, 1.0, "scale"), x)
    # The default is the largest value seen; positions are chosen as in every edit.
    edit = ji.sae.steer(sae, 5, site=SITE, observed=read, times=2, pos=[3])
    found = ji.run(model, tokens, edits=[edit], capture=[SITE], logits=False)[1][SITE]
    wanted = x.at[:, 3].add((2 * read.maximum[5] - f[:, 3, 5:6]) * row[None])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    same = ji.sae.steer(sae, 5, site=SITE, observed=2 * read.maximum, pos=[3])
    assert all(map(np.array_equal, *map(jax.tree.leaves, (edit, same))))


def test_what_is_written_is_what_decoding_adds(sae: Any) -> None:
    x = jax.random.normal(jax.random.key(3), (4, 8), jnp.float32)
    for made, more in ((sae, ()), (ji.sae.Normalised(sae, "layer"), (x,))):
        f = made.encode(x)
        wanted = made.decode(f, *more) - made.decode(f * 0, *more)
        np.testing.assert_allclose(written(made, directions(made), f, x), wanted, atol=1e-5)


def test_bad_input_is_told(sae: Any, model: Any, corpus: Any, read: Any) -> None:
    tokens = corpus[0]
    with pytest.raises(ValueError, match="needs a value"):
        ji.sae.steer(sae, 5, site=SITE)
    with pytest.raises(ValueError, match="'clamp', 'add', 'scale'"):
        ji.sae.steer(sae, 5, 1.0, site=SITE, mode="push")
    with pytest.raises(IndexError, match=r"0\.\.23; got 24"):
        ji.sae.steer(sae, 24, 1.0, site=SITE)
    with pytest.raises(ValueError, match=r"\(24,\); got"):
        ji.sae.steer(sae, 5, site=SITE, observed=np.ones(3))
    transcoder = ji.sae.Transcoder(d=8, features=4).init(jax.random.key(0))
    for call in (
        lambda: ji.sae.steer(transcoder, 0, 1.0, site=SITE),
        lambda: ji.sae.feature_effects(transcoder, model, tokens, [0], site=SITE),
    ):
        with pytest.raises(ValueError, match="reads one site and writes another"):
            call()
    with pytest.raises(ValueError, match="one layer"):
        ji.sae.examples(sae, model, tokens, site="resid_post")
    with pytest.raises(ValueError, match="reads d=8"):
        ji.sae.examples(sae, model, tokens, site="mlp_post[0]")
    with pytest.raises(ValueError, match="top of 1 or more"):
        ji.sae.examples(sae, model, tokens, site=SITE, settings=ji.sae.ExampleSettings(top=0))
    with pytest.raises(IndexError, match="not among the 24"):
        read.records(None, 99)
