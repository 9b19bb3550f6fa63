"""Generation with a cache is running the growing text again and again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.core._sampling import sample

from .conftest import families, model_of


def growing(model: Any, tokens: jax.Array, steps: int, edits: Any = (), *, room: int = 0) -> jax.Array:
    # What comes later does not matter to a causal model, so one shape serves every length, and prompts
    # of other lengths too, with room behind the shorter.
    start, total = tokens.shape[-1], tokens.shape[-1] + steps
    text = np.zeros((*tokens.shape[:-1], total + room), np.int32)
    text[..., :start] = tokens
    for column in range(start, total):
        logits, _ = ji.run(model, text, edits=edits, logits=jnp.asarray(column - 1))
        text[..., column] = np.argmax(logits, -1)
    return jnp.asarray(text[..., :total])


def some_edits(d: int) -> list[Any]:
    direction = 4 * jax.random.normal(jax.random.key(2), (d,))
    return [
        ji.add("resid_post", direction, layer=1),
        ji.zero("z", layer=2, head=1, pos=3),
        ji.scale("pattern", 0.5, layer=jnp.asarray(0)),
        ji.project_out("mlp_out", jnp.stack([direction, jnp.sin(direction)])),
    ]


def test_equals_running_the_growing_text(model: Any, tokens: jax.Array) -> None:
    edits = some_edits(model.config.d)
    out = ji.generate(model, tokens, 4, edits=edits)
    assert out.dtype == jnp.int32 and out.shape == (2, 9)
    np.testing.assert_array_equal(out, growing(model, tokens, 4, edits))


@pytest.mark.parametrize("name", families("gpt2"))
def test_one_prompt_and_an_intervened_model_are_generated_from_alike(name: str, tokens: jax.Array) -> None:
    model = model_of(name)
    edits = some_edits(model.config.d)
    out = ji.generate(model, tokens, 4, edits=edits)
    np.testing.assert_array_equal(ji.generate(model, tokens[0], 4, edits=edits), out[0])
    np.testing.assert_array_equal(ji.generate(ji.intervene(model, edits), tokens, 4), out)
    assert (np.asarray(ji.generate(model, tokens, 4)) != np.asarray(out)).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_ragged_prompts_continue_as_if_alone(model: Any, side: str) -> None:
    short, long = jnp.asarray([3, 4, 5], jnp.int32), jnp.asarray([1, 2, 3, 4, 5], jnp.int32)
    pads = jnp.zeros(2, jnp.int32)
    row = jnp.concatenate([pads, short] if side == "left" else [short, pads])
    real = np.ones((2, 5), bool)
    real[0, :2] = side == "right"
    real[0, 3:] = side == "left"
    out = ji.generate(model, jnp.stack([row, long]), 4, mask=real)
    np.testing.assert_array_equal(out[0, 5:], ji.generate(model, short, 4)[3:])
    np.testing.assert_array_equal(out[1, 5:], ji.generate(model, long, 4)[5:])


@pytest.mark.slow
def test_values_of_the_prompt_stay_with_the_prompt(gpt2: Any, tokens: jax.Array) -> None:
    _, acts = ji.run(gpt2, tokens, capture=["resid_post"])
    same = [ji.replace("resid_post", acts["resid_post"])]
    np.testing.assert_array_equal(ji.generate(gpt2, tokens, 4, edits=same), ji.generate(gpt2, tokens, 4))
    # So do directions per position.
    direction = np.linspace(-1, 1, 8, dtype=np.float32)
    per_position = ji.project_out("resid_mid", np.tile(direction, (5, 1, 1)), layer=0)
    selected = ji.project_out("resid_mid", direction, layer=0, pos=np.arange(5))
    np.testing.assert_array_equal(
        ji.generate(gpt2, tokens, 3, edits=per_position),
        ji.generate(gpt2, tokens, 3, edits=selected),
    )


def test_sampling(gpt2: Any, tokens: jax.Array) -> None:
    logits = jnp.log(jnp.asarray([0.5, 0.3, 0.15, 0.05]))
    keys = jax.random.split(jax.random.key(0), 4000)

    def shares(**options: Any) -> np.ndarray:
        draws = jax.vmap(lambda key: sample(key, logits, **options))(keys)
        return np.bincount(np.asarray(draws), minlength=4) / 4000

    np.testing.assert_allclose(shares(temperature=1.0), [0.5, 0.3, 0.15, 0.05], atol=0.04)
    np.testing.assert_allclose(shares(temperature=1.0, top_k=2), [0.625, 0.375, 0, 0], atol=0.04)
    np.testing.assert_allclose(shares(temperature=1.0, top_p=0.7), [0.625, 0.375, 0, 0], atol=0.04)
    assert shares(temperature=0.1)[0] > 0.95
    assert int(sample(keys[0], logits)) == 0
    a = ji.generate(gpt2, tokens, 5, key=jax.random.key(3), temperature=2.0, top_k=9, top_p=0.9)
    b = ji.generate(gpt2, tokens, 5, key=jax.random.key(3), temperature=2.0, top_k=9, top_p=0.9)
    np.testing.assert_array_equal(a, b)


def test_stop_and_choose(gpt2: Any, tokens: jax.Array) -> None:
    plain = np.asarray(ji.generate(gpt2, tokens, 6))
    stop = int(plain[0, 6])
    out = np.asarray(ji.generate(gpt2, tokens, 6, stop=stop))
    assert (out[0, 6:] == stop).all()
    several = np.asarray(ji.generate(gpt2, tokens, 6, stop=[stop, int(plain[1, 7])]))
    for row, text in zip(several, plain, strict=True):
        ends = [i for i in range(5, 11) if text[i] in (stop, plain[1, 7])]
        np.testing.assert_array_equal(row[: ends[0]], text[: ends[0]])
        assert (row[ends[0] :] == text[ends[0]]).all()
    least = ji.generate(gpt2, tokens, 2, choose=lambda key, logits: logits.argmin(-1))
    assert int(least[0, 5]) == int(ji.run(gpt2, tokens, logits=-1)[0][0].argmin())
    assert ji.generate(gpt2, tokens, 0).shape == (2, 5)


def test_a_model_of_nan_says_so(gpt2: Any, tokens: jax.Array) -> None:
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), gpt2)
    with pytest.raises(ValueError, match=r"logits are NaN.*all weights finite"):
        ji.generate(broken, tokens, 1)
    late = ji.add("embed", jnp.nan, pos=-1)
    with pytest.raises(ValueError, match="what edits put in"):
        ji.generate(gpt2, tokens, 1, key=jax.random.key(0), edits=[late])
    traced = jax.vmap(lambda model: ji.generate(model, tokens, 1))
    assert traced(jax.tree.map(lambda leaf: leaf[None], broken)).shape == (1, 2, 6)


@pytest.mark.slow
def test_options_as_numbers_of_numpy_and_jax(gpt2: Any, tokens: jax.Array) -> None:
    def options(integer: Any, number: Any) -> dict[str, Any]:
        return {"top_k": integer(5), "temperature": number(2.0), "top_p": number(0.75)}

    key = jax.random.key(1)
    want = ji.generate(gpt2, tokens, 3, key=key, stop=7, **options(int, float))
    for integer, number in ((np.int64, np.float32), (jnp.asarray, jnp.asarray)):
        given = options(integer, number)
        got = ji.generate(gpt2, tokens, integer(3), key=key, stop=integer(7), **given)
        np.testing.assert_array_equal(got, want)
