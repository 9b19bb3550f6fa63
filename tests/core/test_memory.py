"""What gradients and generation hold: the compiler's own numbers, and results that do not depend on them."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, shapes_of

SITES = ["resid_pre", "z[1:3]", "mlp_out[0]", "pattern", "embed"]


def gap(logits: jax.Array) -> jax.Array:
    return logits[..., -1, 3] - logits[..., -1, 4]


@pytest.mark.parametrize("model", families("neox"), indirect=True)
def test_computing_blocks_again_changes_no_gradient(model: Any, tokens: jax.Array) -> None:
    kept = ji.site_grads(model, tokens, gap, at=SITES, remat=False)
    again = ji.site_grads(model, tokens, gap, at=SITES, remat=True)
    np.testing.assert_allclose(again.value, kept.value, rtol=1e-6)
    for name in SITES:
        for one, other in ((again.acts, kept.acts), (again.grads, kept.grads)):
            largest = np.abs(other[name]).max()
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-6 * largest, err_msg=name)


@pytest.mark.slow
def test_a_forward_run_does_not_know_of_it(gpt2: Any, tokens: jax.Array) -> None:
    # Several stretches: layer 1 is visited alone.
    options: dict[str, Any] = {"edits": [ji.scale("z", 0.5, layer=1)], "capture": ["z[1]", "resid_post"]}
    kept, acts = ji.run(gpt2, tokens, remat=False, **options)
    again, others = ji.run(gpt2, tokens, remat=True, **options)
    np.testing.assert_array_equal(again, kept)
    for name in acts:
        np.testing.assert_array_equal(others[name], acts[name])

    def loss(scale: Any, remat: bool) -> Any:
        edits = [ji.scale("z", scale, layer=1)]
        return ji.run(gpt2, tokens, edits=edits, remat=remat)[0].var()

    grad = jax.jit(jax.grad(loss), static_argnums=1)
    np.testing.assert_allclose(grad(0.5, True), grad(0.5, False), rtol=1e-6)


def held(layers: int, **options: Any) -> int:
    """Bytes of temporary memory of gradients at the last block, of prompts where attention is large."""
    config = ji.models.GPT2Config(vocab=40, ctx=128, layers=layers, d=8, heads=4)
    tokens = jax.ShapeDtypeStruct((2, 128), jnp.int32)
    arrays, static = eqx.partition(shapes_of(config), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def grads(arrays: Any, tokens: Any) -> Any:
        return ji.site_grads(eqx.combine(arrays, static), tokens, gap, at="z[0]", **options).grads["z[0]"]

    memory = jax.jit(grads).lower(arrays, tokens).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


@pytest.mark.slow
def test_gradients_keep_the_stream_alone() -> None:
    stream = 2 * 128 * 8 * 4
    grown = (held(7, remat=True) - held(3, remat=True)) / 4
    assert grown < 4 * stream  # the stream and z, of which there are 20 in a block
    assert held(7, remat=False) - held(3, remat=False) > 4 * 8 * stream


def test_what_is_large_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = held(3)
    assert kept == held(3, remat=False)
    monkeypatch.setattr("jaxinterp.core._request.KEPT_BYTES", 0)
    assert held(3) == held(3, remat=True) < kept


def test_generation_writes_keys_and_values_in_place(gpt2: Any) -> None:
    tokens = np.ones((2, 5), np.int32)
    program = jax.jit(lambda tokens: ji.generate(gpt2, tokens, 9)).lower(tokens).compile()
    memory = r"f32\[3,2,13,8\]"  # (layer, batch, 5 + 9 - 1 positions, heads * k)
    entry, *rest = re.split(r"^ENTRY ", program.as_text() or "", flags=re.M)[::-1]
    assert re.search(memory, entry)
    assert not re.search(memory + r"\S* copy\(", "".join(rest))
