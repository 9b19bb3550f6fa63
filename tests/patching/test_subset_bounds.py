"""Bounds of cells that were not patched alone."""

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import FAMILIES, model_of


def test_effects_in_subsets_are_those_of_the_sweep_where_they_add_up() -> None:
    planted = ji.toy.planted_chain()
    pairs = planted.prompts(4, key=jax.random.key(0))
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong)
    given = planted.model, pairs.clean, pairs.corrupt, metric
    found = ji.patching.subset_bounds(*given, key=jax.random.key(1), resamples=64)
    # Each writer moves the difference from -3 to 3, and no other head differs between the runs.
    expected = np.array([[0, 0], [0, 0], [6, 6]])
    assert (found.low <= expected).mean() > 0.8 and (expected <= found.high).mean() > 0.8
    assert 4 < found.bound < 12 and found.subsets == 64 and len(found.records()) == 6 and found.figure().html
    verified = expected > 0
    rest = ji.patching.subset_bounds(*given, key=jax.random.key(1), resamples=64, verified=verified)
    assert rest.bound < 1e-3 and np.isnan(rest.effect[2]).all()
    noise = ji.patching.subset_bounds(*given, key=jax.random.key(1), resamples=64, mode="noise")
    np.testing.assert_allclose(noise.effect[2], -6, atol=4)
    with pytest.raises(ValueError, match="verified"):
        ji.patching.subset_bounds(*given, key=jax.random.key(1), verified=np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="resamples"):
        ji.patching.subset_bounds(*given, key=jax.random.key(1), resamples=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_of_one_cell_it_is_its_patch(name: str) -> None:
    """Law: where all cells but one are verified, the effect is that of `sweep`, at any site, also of padded prompts."""
    model, rng = model_of(name), np.random.default_rng(0)
    clean, corrupt = rng.integers(40, size=(2, 3, 6))
    mask = np.array([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]], bool)
    metric = ji.metrics.logit_diff(np.array([1, 2, 3]), np.array([4, 5, 6]))
    given = model, clean, corrupt, metric
    plain = float(metric.of(ji.run(model, corrupt, mask=mask, logits=-1)[0]).mean())
    for site, over, cell in (
        ("mlp_post", ("layer", "unit"), (1, 3)),
        ("k", ("head", "layer"), (0, 1)),
        ("resid_pre", ("pos",), (4,)),
    ):
        alone = ji.patching.sweep(*given, site=site, over=over, mask=mask, progress=False)
        verified = np.ones(alone.shape, bool)
        verified[cell] = False
        options = dict(site=site, over=over, verified=verified, mask=mask, resamples=8)
        found = ji.patching.subset_bounds(*given, key=jax.random.key(0), **options)
        np.testing.assert_allclose(found.effect[cell], alone[cell] - plain, atol=1e-4)
        assert np.isnan(found.effect[verified]).all() and found.figure().html
        assert found.records()[0].keys() >= {*over, "effect"}
    with pytest.raises(ValueError, match="names of their axes"):
        ji.patching.subset_bounds(*given, key=jax.random.key(0), site="z", over={"layer": [0]})
    with pytest.raises(ValueError, match="has no axis 'head'"):
        ji.patching.subset_bounds(*given, key=jax.random.key(0), site="mlp_post")
