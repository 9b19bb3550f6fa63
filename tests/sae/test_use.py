"""A dictionary in its place: evaluation's identities, splicing, and the page's own code."""

import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import small_model


class Scaled(eqx.Module):
    """A dictionary that gives back what it reads, times a number."""

    by: Any
    d: int = 8

    @property
    def decoder(self) -> Any:
        return jnp.eye(8)

    def encode(self, x: Any) -> Any:
        return jnp.abs(x) * 0 + x

    def decode(self, f: Any) -> Any:
        return f * self.by


def test_what_returns_its_input_recovers_all(random_model: Any) -> None:
    tokens = np.random.default_rng(0).integers(0, 40, (5, 8), dtype=np.int32)
    options: Any = {"site": "resid_post[0]", "batch_size": 2, "progress": False}
    same = ji.sae.evaluate(Scaled(jnp.float32(1)), random_model, tokens, **options)
    none = ji.sae.evaluate(Scaled(jnp.float32(0)), random_model, tokens, **options)
    assert same["recovered"] == 1 == same["explained_variance"] and same["kl_sae"] == 0
    assert none["recovered"] == 0 == none["l2_ratio"]
    np.testing.assert_allclose(none["normalised_mse"], 1, rtol=1e-6)
    # The loss is that of the model itself, over every position that has a next token.
    logits, _ = ji.run(random_model, tokens)
    each = ji.metrics.cross_entropy(tokens)(logits)
    np.testing.assert_allclose(same["loss"], np.mean(each), rtol=1e-5)
    left = np.ones(tokens.shape, bool)
    left[0, :3] = False
    padded = ji.sae.evaluate(Scaled(jnp.float32(1)), random_model, tokens, mask=left, **options)
    assert padded["recovered"] == 1 and padded["tokens"] == 4 * 7 + 4
    with pytest.raises(ValueError, match="one layer"):
        ji.sae.evaluate(Scaled(jnp.float32(1)), random_model, tokens, site="resid_post")
    with pytest.raises(ValueError, match="width 32"):
        ji.sae.evaluate(Scaled(jnp.float32(1)), random_model, tokens, site="mlp_post[0]")


@pytest.fixture(scope="module")
def random_model() -> Any:
    return small_model()


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "sae.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    with jax.numpy_rank_promotion("allow"):  # the setting of a user's process
        exec(compile(code, "sae.md", "exec"), {})
