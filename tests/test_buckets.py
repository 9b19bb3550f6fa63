"""Prompts padded to a few lengths: one program serves them, and real tokens give what they give alone."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.core.conftest import model_of


def test_lengths_and_masks() -> None:
    found = [ji.bucket(np.ones(n, np.int32))[0].shape[-1] for n in range(1, 100)]
    assert sorted(set(found)) == [8, 12, 16, 24, 32, 48, 64, 96, 128]
    assert all(n <= length <= max(8, 1.5 * n) for n, length in zip(range(1, 100), found, strict=True))
    real = np.asarray([[False, True, True], [True, True, True]])
    tokens, mask = ji.bucket(jnp.asarray([[0, 1, 2], [3, 4, 5]], jnp.int32), mask=real, most=7)
    assert tokens.shape == mask.shape == (2, 7) and tokens.dtype == np.int32
    assert np.array_equal(mask[:, :3], real) and not mask[:, 3:].any() and not tokens[:, 3:].any()


def test_real_tokens_give_what_they_give_alone() -> None:
    from jaxinterp.core._run import _run

    model = model_of("neox")
    prompts = [np.arange(1, n + 1, dtype=np.int32) % 7 for n in (5, 6, 8)]
    compiled = []
    for prompt in prompts:
        tokens, mask = ji.bucket(prompt)
        padded, _ = ji.run(model, tokens, mask=mask)
        alone, _ = ji.run(model, prompt)
        np.testing.assert_allclose(padded[: len(prompt)], alone, atol=2e-5, rtol=2e-5)
        compiled.append(_run._cached._cache_size())
    assert compiled[2] - compiled[1] <= 1  # the prompt alone is new, its bucket is not


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bucket takes token ids \(\*batch, pos\); got the shape \(3,\)"):
        ji.bucket(np.ones(3))
    with pytest.raises(ValueError, match=r"A mask has the shape of its tokens \(3,\); got \(2,\)"):
        ji.bucket(np.ones(3, np.int32), mask=np.ones(2, bool))
    with pytest.raises(ValueError, match=r"A prompt of 9 tokens is longer than most=8"):
        ji.bucket(np.ones(9, np.int32), most=8)
    with pytest.raises(ValueError, match=r"rows of different lengths.*tokens, mask = tokenizer\(texts\)"):
        ji.bucket([[1, 2], [3]])


def test_tokens_and_their_mask_are_no_tokens() -> None:
    both = np.ones((2, 3), np.int32), np.ones((2, 3), bool)
    with pytest.raises(ValueError, match=r"tokens, mask = ji.bucket\(tokens, mask=mask\)"):
        ji.bucket(both)
