"""Old spellings of trainings are refused with the corrected call."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

import jaxinterp as ji

KEY = jax.random.key(0)
X = np.zeros((8, 4), np.float32)
KIND: Any = ji.sae.TopK(d=4, features=8, k=2)
MODEL: Any = None
SETTINGS = r"settings=ji\.fit\.Settings"
CASES = [
    (lambda: ji.sae.train(KEY, KIND, X, steps=1), r"ji\.sae\.train\(kind, stream, optimizer, key=key"),
    (lambda: ji.sae.train(KIND, X, key=KEY, steps=1, batch=4), "batch=.*batch_size="),
    (
        lambda: ji.sae.train(KIND, X, key=KEY, steps=1, together=4),
        rf"together=.*{SETTINGS}\(steps_per_dispatch",
    ),
    (lambda: ji.sae.train(KIND, X, key=KEY, steps=1, progress=False), rf"progress=.*{SETTINGS}\(progress"),
    (lambda: ji.sae.sweep(KEY, [KIND], X, steps=1), r"ji\.sae\.sweep\(kinds, stream, optimizers, key=key"),
    (lambda: ji.sae.sweep([KIND], X, key=KEY, steps=1, seeds=[0]), r"seeds=.*keys=\[jax\.random\.fold_in"),
    (lambda: ji.sae.adam(steps=1, rate=1e-3), "rate=.*learning_rate="),
    (lambda: ji.sae.adam(1e-3, 10, warm=2), "warm=.*warmup_steps="),
    (lambda: ji.lens.train_tuned_lens(KEY, MODEL, [], steps=1), r"train_tuned_lens\(model, stream"),
    (lambda: ji.lens.train_tuned_lens(MODEL, [], key=KEY, every=1), rf"every=.*{SETTINGS}\(every"),
    (lambda: ji.probes.mlp(X, X, key=KEY, batch=4), r"batch=.*ji\.probes\.TrainSettings\(batch_size="),
    (lambda: ji.probes.bilinear(X, X, key=KEY, decay=1), r"decay=.*TrainSettings\(plateau_factor="),
    (lambda: ji.probes.variational_code(X, X, key=KEY, rate=1), "rate=.*learning_rate="),
    (lambda: ji.probes.online_code(X, X, key=KEY, together=True), "together=.*batched="),
    (lambda: ji.fit.Rows(X, batch=4, key=KEY), "batch=.*batch_size="),
    (lambda: ji.fit.train(X, X, X, optax.sgd(1.0), steps=1, checkpoint="x"), rf"checkpoint=.*{SETTINGS}"),
]


@pytest.mark.parametrize(("call", "words"), CASES)
def test_old_calls_are_refused_with_the_new_ones(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_settings_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"settings is a ji\.fit\.Settings.*got dict"):
        ji.sae.train(KIND, X, key=KEY, steps=1, settings={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"settings is a ji\.probes\.TrainSettings.*got dict"):
        ji.probes.mlp(X, X[:, 0], key=KEY, settings={})  # type: ignore[arg-type]
