"""Old spellings and orders of arguments are refused, and the error gives the new call."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji

from .patched_models import CLEAN, CORRUPT, METRIC, model_of

P = ji.patching
KEY = jax.random.key(0)

CALLS: dict[str, Any] = {
    "direction": (lambda m: P.sweep(m, CLEAN, CORRUPT, METRIC, direction="noise"), "mode='noise'"),
    "window": (lambda m: P.ablate(m, CLEAN, METRIC, values=P.zeros, window=3), "Write adjacent="),
    "settings": (
        lambda m: P.attribution(m, CLEAN, CORRUPT, METRIC, qk_fix=True),
        r"settings=ji.patching.AttributionSettings\(qk_fix=",
    ),
    "a star": (lambda m: P.atp_star(m, CLEAN, CORRUPT, METRIC, steps=3), "AttributionSettings"),
    "draws": (lambda m: P.statistics(np.ones((2, 3)), key=KEY, draws=9), "Write resamples="),
    "noise": (lambda m: P.noised(KEY, m, CLEAN[0], [1]), r"noised\(model, tokens, pos, key="),
    "batches": (lambda m: P.mean_activations(m, batches=[CLEAN], site="z"), "Write tokens="),
    "paths": (
        lambda m: ji.circuits.direct_paths(m, CLEAN, CORRUPT, METRIC, direction="noise"),
        "mode='noise'",
    ),
    "a metric first": (lambda m: ji.metrics.measure(METRIC, m, CLEAN), r"measure\(model, tokens, metric\)"),
    "gradients": (
        lambda m: ji.site_grads(METRIC, m, CLEAN, at="z"),
        r"ji.site_grads\(model, tokens, metric, at=",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_old_calls_are_refused_with_the_new_one(name: str) -> None:
    call, words = CALLS[name]
    with pytest.raises((TypeError, ValueError), match=words):
        call(model_of("gpt2"))


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="path is None, 'input' or 'site'"):
        P.AttributionSettings(path="straight")
    with pytest.raises(ValueError, match="gradient at the unpatched run"):
        settings = P.AttributionSettings(path="input")
        P.atp_star(model_of("gpt2"), CLEAN, CORRUPT, METRIC, settings=settings)
