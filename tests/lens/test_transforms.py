"""Lenses under jit and vmap, in bfloat16, and without a second compilation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.lens import (
    PatchPlace,
    TunedLens,
    attention_lens,
    direct_attribution,
    fit_jacobian_lens,
    localise,
    logit_lens,
    patchscope,
    summary,
    train_tuned_lens,
)
from tests.models import sampled

from .conftest import model_of

KEY = jax.random.key(0)
READERS: dict[str, Any] = {
    "logit lens": lambda model, tokens: logit_lens(model, tokens, pos=-1),
    "summary": lambda model, tokens: summary(model, tokens).kl,
    "tuned lens": lambda model, tokens: TunedLens.init(model)(model, tokens),
    "attribution": lambda model, tokens: direct_attribution(model, tokens, 3).values,
    "attention": lambda model, tokens: attention_lens(model, tokens).logits,
    "patchscope": lambda model, tokens: patchscope(
        model, tokens, model, tokens, source=PatchPlace(1), target=PatchPlace(2)
    ),
    "localise": lambda model, tokens: localise(model, tokens, [3]).probs,
}
TRAINERS: dict[str, Any] = {
    "training": lambda model, tokens: train_tuned_lens(
        model, [tokens] * 2, key=KEY, steps=2, settings=ji.fit.Settings(progress=False)
    ),
    "jacobian": lambda model, tokens: fit_jacobian_lens(model, [tokens], skip=0, progress=False).matrices,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS, *TRAINERS])
def test_one_trace_serves_every_value_and_jit_and_vmap_agree(name: str, tokens: Any) -> None:
    traces = []

    def counted(x: jax.Array) -> jax.Array:
        traces.append(1)
        return x

    model = ji.intervene(model_of("gpt2"), [ji.map("logits", counted), ji.map("resid_post", counted)])
    read = {**READERS, **TRAINERS}[name]
    read(model, tokens)
    count = len(traces)
    whole = read(model, jnp.flip(tokens, 0))
    assert len(traces) == count > 0
    if name in TRAINERS:
        return
    each = np.asarray(jax.jit(jax.vmap(lambda row: read(model, row)))(tokens))
    axis = 0 if name == "patchscope" else 1
    assert np.allclose(np.flip(np.moveaxis(each, 0, axis), axis), whole, atol=1e-4)


# Every reader accumulates by the same products; the tuned lens has one of its own.
@pytest.mark.parametrize(
    "name", sampled(slow=["tuned lens"], exhaustive=["summary", "attribution", "attention"])
)
def test_bfloat16(name: str, tokens: Any) -> None:
    model = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model_of("gpt2"))
    found = np.asarray(READERS[name](model, tokens), np.float32)
    assert np.isfinite(found).all()
