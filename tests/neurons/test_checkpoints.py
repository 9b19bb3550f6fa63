"""Functions of models over checkpoints: together and one by one, in memory and from folders."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of, small_model

TOKENS = np.arange(1, 9)[None]


def mean_logit(model: Any) -> Any:
    logits, acts = ji.run(model, TOKENS, capture=["mlp_post"])
    return {"logit": logits.mean(), "neurons": acts["mlp_post"].mean((1, 2))}


def test_together_is_one_by_one(tmp_path: Path) -> None:
    models = [small_model(seed) for seed in (0, 1, 2)]
    for step, model in zip((100, 200, 300), models, strict=True):
        ji.save(tmp_path / f"step{step}", model)
    folders = [tmp_path / f"step{step}" for step in (100, 200, 300)]
    found = ji.neurons.checkpoints(folders).map(jax.jit(mean_logit), progress=False)
    assert found.labels == ("step100", "step200", "step300") and list(found.steps) == [100, 200, 300]
    several = ji.neurons.checkpoints(models).map(mean_logit, at_once=2, progress=False)
    for name, x in found.values.items():
        np.testing.assert_allclose(several.values[name], x, atol=1e-5)
    assert found.values["neurons"].shape == (3, 2, 32)
    assert found.records()[1]["step"] == 200 and isinstance(found.records()[1]["logit"], float)
    assert "logit" in found.figure(y_axis="logit").html
    part = ji.neurons.checkpoints(folders)[1:]
    assert len(part) == 2 and part.labels == ("step200", "step300")


def test_one_name_is_one_checkpoint_and_a_generator_is_a_list() -> None:
    assert ji.neurons.checkpoints("pythia-70m", "step1000").labels == ("step1000",)  # pyright: ignore[reportArgumentType]
    series = ji.neurons.checkpoints(model_of(each) for each in ("gpt2", "neox"))  # pyright: ignore[reportArgumentType]
    assert series.labels == ("0", "1") and len(series) == 2


def ragged() -> Any:
    """A function that returns one number, then two."""
    sizes = iter((1, 2))
    return lambda model: np.zeros(next(sizes))


def test_bad_checkpoints(tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(FileNotFoundError, match="1 of 2 checkpoints"):
        ji.neurons.checkpoints([tmp_path, tmp_path / "gone"])
    for call, words in [
        (lambda: ji.neurons.checkpoints([]), "no checkpoint"),
        (lambda: ji.neurons.checkpoints("pythia-70m"), "no checkpoint"),
        (lambda: ji.neurons.checkpoints([model], ["step1"]), "no revisions"),
        (lambda: ji.neurons.checkpoints([model], labels=["a", "b"]), "2 labels"),
        (lambda: ji.neurons.checkpoints(model), "in a list"),
        (lambda: ji.neurons.checkpoints([model])[1:].map(mean_logit), "no checkpoint"),
        (lambda: ji.neurons.checkpoints([model]).map(lambda m: m.config.act, progress=False), "another kind"),
        (
            lambda: ji.neurons.checkpoints([model, model]).map(ragged(), progress=False),
            "same shapes for every",
        ),
        (lambda: ji.neurons.checkpoints([(model, None)]), "give the model"),
        (
            lambda: ji.neurons.checkpoints([model, model_of("neox")]).map(mean_logit, progress=False),
            "same shapes",
        ),
        (lambda: ji.neurons.checkpoints([model]).map(jnp.asarray, at_once=0), "at_once"),
        (lambda: ji.neurons.checkpoints([model]).map(lambda m: m.w_embed, progress=False).figure(), "arrays"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
