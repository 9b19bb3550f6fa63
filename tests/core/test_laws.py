"""The conformance suite on every family, option and dtype; and that it fails when it should."""

import dataclasses
import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from tests.models import sampled

from .conftest import CONFIGS, model_of, random_model

PROMPTS = jnp.asarray([[1, 7, 3, 7, 3], [9, 2, 39, 0, 5]], jnp.int32)


@pytest.mark.parametrize("name", sampled("llama", slow=["gpt2", "neox", "toy", "relu"]))
def test_every_family_keeps_the_laws(name: str) -> None:
    report = ji.testing.check_model(model_of(name), PROMPTS)
    assert "capturing changes nothing" in str(report)


# The laws are those above: a family of each precision, and of optimised programs, is enough in `.ci/run`.
@pytest.mark.parametrize("name", sampled(slow=["gpt2"], exhaustive=["neox", "llama"]))
def test_laws_hold_in_bfloat16(name: str) -> None:
    ji.testing.check_model(random_model(CONFIGS[name], jnp.bfloat16), PROMPTS)


@pytest.mark.compiled
@pytest.mark.parametrize("name", sampled(slow=["neox"], exhaustive=["gpt2", "llama"]))
def test_laws_hold_in_float64(name: str) -> None:
    """To the last bit, which needs the user's compiler: unoptimised products of float64 depend on their fusion."""
    with enable_x64(True):
        model = random_model(CONFIGS[name], jnp.float64)
        report = ji.testing.check_model(model, PROMPTS)
    assert max(report.laws.values()) < 1e-11


@pytest.mark.compiled
@pytest.mark.parametrize("name", sampled(slow=["llama", "neox"], exhaustive=["gpt2"]))
def test_laws_hold_in_optimised_programs(name: str) -> None:
    """To the last bit where they say so, with what a user's compiler fuses and reorders."""
    assert not os.environ.get("XLA_FLAGS"), "run as `XLA_FLAGS= pytest -m compiled`"
    ji.testing.check_model(model_of(name), PROMPTS)


class Leaky(eqx.Module):
    """A model that breaks a law: its first position sees the last token."""

    inner: Any

    @property
    def config(self) -> Any:
        return self.inner.config

    @property
    def blocks(self) -> Any:
        return self.inner.blocks

    def embed(self, tokens: Any, positions: Any, tap: Any) -> Any:
        x = self.inner.embed(tokens, positions, tap)
        return x.at[..., 0, :].add(x[..., -1, :])

    def tables(self, positions: Any) -> Any:
        return self.inner.tables(positions)

    def unembed(self, resid: Any, tap: Any) -> Any:
        return self.inner.unembed(resid, tap)


def test_a_model_that_breaks_a_law_is_caught(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "edits leave earlier positions alone"
    monkeypatch.setattr(ji.testing, "LAWS", {broken: ji.testing.LAWS[broken]})
    with pytest.raises(ji.testing.LawBroken, match="editing 'embed' at the last position"):
        ji.testing.check_model(Leaky(gpt2), PROMPTS)


def test_check_model_says_what_it_takes(gpt2: Any) -> None:
    with pytest.raises(ValueError, match="two prompts or more of three tokens"):
        ji.testing.check_model(gpt2, PROMPTS[0])


def test_check_edit(gpt2: Any) -> None:
    ji.testing.check_edit(ji.zero("z", layer=1, head=0), gpt2, PROMPTS)


def test_provenance_never_recompiles(gpt2: Any) -> None:
    source = ji.Source(name="elsewhere", revision="step3000")
    other = eqx.tree_at(lambda model: model.w_embed, gpt2, gpt2.w_embed)
    other = dataclasses.replace(other, config=dataclasses.replace(gpt2.config, source=source))
    assert other.config.source is source
    assert jax.tree.structure(other) == jax.tree.structure(gpt2)


@pytest.mark.parametrize("name", sampled(slow=["llama"], exhaustive=["gpt2", "neox"]))
def test_replacing_any_site_of_one_layer_is_exact(name: str) -> None:
    """Every site, each as a program of its own: `check_model` does this for three sites only."""
    model = model_of(name)
    names = [site for site in ji.sites(model, PROMPTS) if ji.SITES[site].per_layer]
    logits, acts = ji.run(model, PROMPTS, capture=names)
    changed = {
        site: float(jnp.abs(edited - logits).max())
        for site in names
        for edited, _ in [
            ji.run(model, PROMPTS, edits=[ji.replace(site, acts[site][1], layer=1)]),
        ]
        if bool((edited != logits).any())
    }
    assert not changed
