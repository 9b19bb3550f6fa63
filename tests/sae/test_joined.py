"""Crosscoders and cross-layer transcoders in the tools that read features."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import SMALL, random_model

SITES = ["resid_post[0]", "resid_post[1]"]


@pytest.fixture(scope="module")
def given() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    model = random_model(SMALL)
    cross = ji.sae.Crosscoder(d=8, features=6).dictionary(
        encoder=draw(2, 8, 6),
        decoder=draw(6, 2, 8),
        bias=draw(2, 8),
        encoder_bias=draw(6),
        scale=jnp.asarray([0.5, 2.0]),
    )
    layers = ji.sae.CrossLayerTranscoder(d=8, features=3, layers=2).dictionary(
        encoder=draw(2, 8, 3),
        decoder=draw(2, 2, 3, 8),
        bias=draw(2, 8),
        encoder_bias=draw(2, 3),
        scale=jnp.asarray([0.5, 2.0]),
        target_scale=jnp.asarray([0.25, 4.0]),
        log_threshold=jnp.full((2, 3), -2.0),
    )
    tokens = rng.integers(0, 40, (12, 10), dtype=np.int32)
    return model, cross, layers, tokens


@pytest.mark.parametrize("kind", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_read_as_one_list(given: Any, kind: int) -> None:
    model, tokens, sae = given[0], given[3], given[kind]
    view = ji.sae.joined(sae, 1)
    found = ji.sae.examples(
        view, model, tokens, site=SITES, settings=ji.sae.ExampleSettings(top=3), batch_size=6, progress=False
    )
    acts = ji.run(model, tokens, capture=SITES, logits=False)[1]
    f = np.asarray(sae.encode(jnp.stack([acts[site] for site in SITES], -2))).reshape(12, 10, -1)
    assert view.features == f.shape[-1] == 6
    f = f[:, 1:]  # the first token does not count
    np.testing.assert_array_equal(found.fired, (f > 0).sum((0, 1)))
    np.testing.assert_allclose(found.maximum, f.max((0, 1)), rtol=1e-4)
    weights = ji.sae.logit_weights(view, model, SITES)
    if kind == 1:
        wanted = np.asarray(sae.decode(jnp.eye(6)) - sae.decode(jnp.zeros((6, 6))))[:, 1]
    else:  # all that a feature adds, to whichever layer
        each = jnp.eye(6).reshape(6, 2, 3)
        wanted = np.asarray(sae.decode(each) - sae.decode(each * 0)).sum(1)
    np.testing.assert_allclose(view.decoder, wanted, atol=1e-5)
    assert weights[2].shape == (40,) and weights.top([2], 3)[0].shape == (1, 3)


def test_what_cannot_be_read(given: Any) -> None:
    model, cross, _, tokens = given
    with pytest.raises(ValueError, match=r"ji\.sae\.joined\(sae"):
        ji.sae.examples(cross, model, tokens, site=SITES)
    with pytest.raises(ValueError, match=r"ji\.sae\.joined\(sae"):
        ji.sae.logit_weights(cross, model, SITES[0])
    view = ji.sae.joined(cross)
    with pytest.raises(ValueError, match="a list of 2 sites"):
        ji.sae.examples(view, model, tokens, site=SITES[0])
    with pytest.raises(ValueError, match="a list of 2 sites"):
        ji.sae.examples(view, model, tokens, site=[SITES[0], "mlp_post[0]"])
    with pytest.raises(ValueError, match="reads one site and writes another"):
        ji.sae.feature_effects(view, model, tokens, [0], site=SITES)
    with pytest.raises(ValueError, match="is read as it is"):
        ji.sae.joined(ji.sae.TopK(d=8, features=4, k=2))
    with pytest.raises(IndexError, match=r"sources 0\.\.1; got 2"):
        ji.sae.joined(cross, 2)
