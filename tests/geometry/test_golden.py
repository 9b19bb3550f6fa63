"""Agreement with rsatoolbox 0.3.2 and repsim 0.1.5, whose numbers `make_golden.py` wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
NAMES = {"spearman": "spearman", "kendall": "tau-a", "pearson": "corr", "cosine": "cosine"}


def inputs() -> Any:
    """As in `make_golden.py`."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(12, 5))
    y = x @ rng.normal(size=(5, 7)) + rng.normal(size=(12, 7))
    folds = x + 0.5 * rng.normal(size=(3, 12, 5))
    subjects = x + 0.7 * rng.normal(size=(4, 12, 5))
    return x, y, folds, subjects, np.linalg.inv(np.cov(rng.normal(size=(40, 5)).T))


@pytest.mark.parametrize("wide", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_rdms_and_their_comparisons_are_those_of_rsatoolbox(wide: bool) -> None:
    x, y, folds, subjects, precision = inputs()
    golden, within = GOLDEN["rsatoolbox"], 1e-6 if wide else 5e-6
    pairs = np.triu_indices(12, 1)
    with enable_x64(wide):
        for distance in ("correlation", "euclidean"):
            ours = distance if distance == "correlation" else "squared_euclidean"
            found = np.asarray(ji.geometry.rdm(x, distance=ours))[pairs]
            scale = 1 if distance == "correlation" else x.shape[1]
            np.testing.assert_allclose(found / scale, golden[distance], rtol=within, atol=within)
            # rsatoolbox's Euclidean distances are squares over the number of units: p and q do not matter to these.
            for comparison, theirs in NAMES.items():
                value = ji.geometry.rsa(x, y, distance=ours, comparison=comparison)
                np.testing.assert_allclose(value, golden[f"{distance}.{theirs}"], atol=within)
        for name, noise in (("crossnobis", None), ("crossnobis.precision", precision)):
            found = np.asarray(ji.geometry.crossnobis(folds, precision=noise))[pairs]
            np.testing.assert_allclose(found, golden[name], rtol=within, atol=within)
        each = [ji.geometry.rdm(one) for one in subjects]
        for comparison, theirs in NAMES.items():
            ceiling = ji.geometry.noise_ceiling(each, comparison=comparison)
            np.testing.assert_allclose([ceiling.low, ceiling.high], golden[f"ceiling.{theirs}"], atol=within)


@pytest.mark.parametrize("wide", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_kernels_are_those_of_repsim(wide: bool) -> None:
    x, y, *_ = inputs()
    golden, within = GOLDEN["repsim"], 1e-6 if wide else 5e-6
    with enable_x64(wide):
        for kernel in ("linear", "rbf"):
            for unbiased in (False, True):
                found = ji.geometry.cka(x, y, kernel=kernel, unbiased=unbiased)
                theirs = golden[f"unbiased_cka.{kernel}" if unbiased else f"cka.{kernel}"]
                np.testing.assert_allclose(found, theirs, atol=within)


@pytest.mark.parametrize("wide", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_canonical_correlations_are_those_of_repsim(wide: bool) -> None:
    x, y, *_ = inputs()
    golden, within = GOLDEN["repsim"], 1e-6 if wide else 5e-6
    with enable_x64(wide):
        rho = ji.geometry.cca(x, y)
        np.testing.assert_allclose(rho.mean(), golden["cca.mean"], atol=within)
        np.testing.assert_allclose((rho**2).mean(), golden["cca.square"], atol=within)
        np.testing.assert_allclose(ji.geometry.svcca(x, y), golden["svcca.mean"], atol=within)
        both = (ji.geometry.pwcca(x, y) + ji.geometry.pwcca(y, x)) / 2
        np.testing.assert_allclose(both, golden["pwcca.symmetric"], atol=within)
