"""The planted unembedding: no logit reads its null space, and each planted neuron moves logits along its direction."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji


@pytest.mark.wide
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_what_is_planted(norm: Any) -> None:
    planted = ji.toy.planted_unembed(key=jax.random.key(3), norm=norm)
    model = planted.model
    unembed = np.asarray(model.ln_final.weight, np.float64)[:, None] * np.asarray(model.w_unembed, np.float64)
    if norm == "layer":  # the norm removes the mean
        unembed = unembed - unembed.mean(0)
        assert np.abs(planted.null_space.sum(0)).max() < 1e-6
    np.testing.assert_allclose(planted.null_space.T @ planted.null_space, np.eye(4), atol=1e-6)
    assert np.abs(planted.null_space.T @ unembed).max() < 1e-5
    singular = np.linalg.svd(unembed, compute_uv=False)
    read = 32 - 4 - (norm == "layer")
    np.testing.assert_allclose(singular[:read], [16, *np.geomspace(8, 2, read - 1)], rtol=1e-5)
    assert (singular[read:] < 1e-5).all()
    written = np.asarray(model.blocks.mlp.w_out[0], np.float64) @ unembed
    kinds = planted.neurons
    assert np.abs(written[list(kinds["entropy"])]).max() < 1e-4
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    towards, away = kinds["frequency"]
    np.testing.assert_allclose(cosine(written[towards], planted.direction), 1, atol=1e-6)
    np.testing.assert_allclose(cosine(written[away], planted.direction), -1, atol=1e-6)
    for kind, sign in (("prediction", 1), ("suppression", -1)):
        for unit in kinds[kind]:
            strongest = np.argsort(-sign * written[unit])[: len(planted.tokens[kind])]
            assert set(strongest) == set(planted.tokens[kind].tolist())
            x = (written[unit] - written[unit].mean()) / written[unit].std()
            assert sign * (x**3).mean() > 1 and (x**4).mean() > 10
    inside = np.isin(np.arange(96), planted.tokens["partition"])
    first, second = kinds["partition"]
    assert written[first, inside].min() > written[first, ~inside].max()
    assert written[second, inside].max() < written[second, ~inside].min()
    assert sorted(unit for units in kinds.values() for unit in units) == list(range(32))
    logits, acts = ji.run(model, np.arange(6), capture=["attn_out"])
    assert np.isfinite(np.asarray(logits)).all() and (np.asarray(acts["attn_out"]) == 0).all()


def test_sizes_that_leave_no_room() -> None:
    with pytest.raises(ValueError, match="d=32, null=30"):
        ji.toy.planted_unembed(key=jax.random.key(0), null=30)
    with pytest.raises(ValueError, match="norm is one of"):
        ji.toy.planted_unembed(key=jax.random.key(0), norm="none")
