"""Only the features that differ most in the mean are ranked by an expensive method."""

import numpy as np

import jaxinterp as ji


def test_a_prefilter_keeps_the_largest_mean_differences() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = rng.normal(size=(2, 60, 9)) + y[:, None] * np.linspace(0, 2, 9)
    full, few = (ji.probes.rank(x, y, "f_stat", prefilter=size) for size in (None, 4))
    kept = np.isfinite(few)
    assert kept.sum(-1).tolist() == [4, 4]
    np.testing.assert_allclose(few[kept], full[kept], rtol=1e-4)
    first = ji.probes.rank(x, y)
    assert (np.where(kept, first, np.inf).min(-1) >= np.where(kept, -np.inf, first).max(-1)).all()
    several = ji.probes.rank(x, np.stack([y, 1 - y]), "f_stat", prefilter=4)
    np.testing.assert_allclose(several[0][kept], few[kept], rtol=1e-5)
