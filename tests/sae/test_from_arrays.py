"""Arrays to dictionaries by name: what files give, and what is said of arrays that do not fit."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import sae

from .foreign import B_DEC, B_ENC, FLAT, HIGH, NEW, PRE, W_DEC, W_ENC, D, M, X, relu, saelens, top

SIZE: Any = {"d": D, "features": M}
BASE: Any = {"encoder": W_ENC, "encoder_bias": B_ENC, "decoder": W_DEC, "bias": B_DEC}


def test_arrays_are_the_dictionary_that_a_file_gives(tmp_path: Path) -> None:
    skip = W_ENC[:, :D].copy()
    jumps = (PRE > HIGH) * relu(PRE) @ W_DEC + B_DEC
    beside = relu(FLAT) * (FLAT > HIGH) @ W_DEC + B_DEC + X @ skip
    cases: list[tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any], np.ndarray]] = [
        (sae.Vanilla(**SIZE), {}, {"architecture": "standard"}, {}, relu(PRE) @ W_DEC + B_DEC),
        (
            sae.TopK(**SIZE, k=3),
            {},
            {"architecture": "topk", "k": 3},
            {},
            relu(top(PRE, 3)) @ W_DEC + B_DEC,
        ),
        (
            sae.JumpReLU(**SIZE),
            {"threshold": HIGH},
            {"architecture": "jumprelu"},
            {"threshold": HIGH},
            jumps,
        ),
        (
            sae.BatchTopK(**SIZE, k=3),
            {"threshold": 0.4},
            {"architecture": "batchtopk", "k": 3},
            {"topk_threshold": np.array(0.4, np.float32)},
            relu(PRE) * (PRE > 0.4) @ W_DEC + B_DEC,
        ),
        (
            sae.Transcoder(**SIZE, skip=True, centred=False),
            {"threshold": HIGH, "skip": skip},
            {"architecture": "jumprelu_skip_transcoder"},
            {"threshold": HIGH, "W_skip": np.ascontiguousarray(skip.T)},
            beside,
        ),
    ]
    for kind, more, config, tensors, want in cases:
        found = sae.from_arrays(kind, **BASE, **more)
        name = type(kind).__name__
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=2e-5, err_msg=name)
        folder = saelens(tmp_path / name, {**config, **NEW}, **tensors)
        assert eqx.tree_equal(found, sae.load(folder)), name
        assert eqx.tree_equal(found, sae.load(sae.save(tmp_path / f"{name} own", found))), name
    half = sae.from_arrays(sae.Standard(**SIZE), **{**BASE, "bias": 0, "scale": 0.5})
    want = relu(0.5 * X @ W_ENC + B_ENC) @ W_DEC / 0.5
    np.testing.assert_allclose(half(jnp.asarray(X)), want, atol=2e-5)


def test_arrays_that_do_not_fit() -> None:
    topk, key = sae.TopK(**SIZE, k=3), jax.random.key(0)
    less = {n: a for n, a in BASE.items() if n != "bias"}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (topk, less, r"decoder \(16, 6\), bias \(6,\), scale \(\); bias is lacking\."),
        (topk, {**BASE, "threshold": 1.0}, "threshold does not belong to it"),
        (topk, {**BASE, "W_enc": W_ENC}, "W_enc does not belong to it"),
        (
            topk,
            {**BASE, "encoder": W_ENC.T},
            r"encoder has the shape \(6, 16\); got \(16, 6\). It is transposed: encoder=array.T",
        ),
        (topk, {**BASE, "bias": B_ENC}, r"bias has the shape \(6,\); got \(16,\)\.$"),
        (topk, {**BASE, "encoder": 1.0}, r"encoder has the shape \(6, 16\); got \(\)"),
        (sae.JumpReLU(**SIZE), BASE, "threshold is lacking"),
        (sae.BatchTopK(**SIZE, k=3), BASE, "threshold is lacking"),
        (sae.Transcoder(**SIZE), BASE, "input_bias is lacking"),
        (sae.Transcoder(**SIZE), {**BASE, "skip": W_ENC[:, :D]}, "skip does not belong"),
        (sae.TopK(**SIZE, k=3).init(key), BASE, "has weights already. Give its settings alone, sae.kind"),
        (sae.TopK, BASE, "takes a kind of dictionary with its settings.*got TopK"),
        ("topk", BASE, "got str"),
    ]
    for kind, arrays, words in cases:
        with pytest.raises(ValueError, match=words):
            sae.from_arrays(kind, **arrays)
