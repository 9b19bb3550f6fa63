"""Files of SAELens: written here in their layout, compared with their formulas in NumPy."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxinterp import sae
from jaxinterp.sae.kinds._losses import Progress

from .foreign import (
    B_DEC,
    B_ENC,
    FLAT,
    HIGH,
    NEW,
    PRE,
    RNG,
    W_DEC,
    W_ENC,
    B,
    D,
    M,
    X,
    relu,
    saelens,
    top,
)


def test_saelens_of_every_kind(tmp_path: Path) -> None:
    gate, mag = RNG.normal(size=M).astype(np.float32), RNG.normal(size=M).astype(np.float32)
    r = (0.3 * RNG.normal(size=M)).astype(np.float32)
    centred = (X - B_DEC) @ W_ENC
    norm = np.linalg.norm(W_DEC, axis=1)
    ranked = top(PRE * norm, 4)
    z = (X - X.mean(1, keepdims=True)) / (X.std(1, ddof=1, keepdims=True) + 1e-5)
    back = relu((z - B_DEC) @ W_ENC + B_ENC) @ W_DEC + B_DEC
    size = np.linalg.norm(X, axis=1, keepdims=True) / D**0.5
    small = relu((X / size - B_DEC) @ W_ENC + B_ENC) @ W_DEC + B_DEC
    cases: dict[str, tuple[dict[str, Any], dict[str, Any], np.ndarray]] = {
        "standard": ({"architecture": "standard", **NEW}, {}, relu(PRE) @ W_DEC + B_DEC),
        "not centred": (
            {"architecture": "standard", "apply_b_dec_to_input": False, **NEW},
            {},
            relu(FLAT) @ W_DEC + B_DEC,
        ),
        "old, flat": ({"hook_point": "blocks.2.hook_resid_pre"}, {}, relu(PRE) @ W_DEC + B_DEC),
        "old topk": (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}},
            {},
            relu(top(PRE, 4)) @ W_DEC + B_DEC,
        ),
        "jumprelu": (
            {"architecture": "jumprelu", **NEW},
            {"threshold": HIGH},
            relu(PRE) * (PRE > HIGH) @ W_DEC + B_DEC,
        ),
        "gated": (
            {"architecture": "gated", **NEW},
            {"b_gate": gate, "b_mag": mag, "r_mag": r},
            (centred + gate > 0) * relu((X - B_DEC) @ (W_ENC * np.exp(r)) + mag) @ W_DEC + B_DEC,
        ),
        "gated, not centred": (
            {"architecture": "gated", "apply_b_dec_to_input": False, **NEW},
            {"b_gate": gate, "b_mag": mag, "r_mag": r},
            (X @ W_ENC + gate > 0) * relu(X @ (W_ENC * np.exp(r)) + mag) @ W_DEC + B_DEC,
        ),
        "abstopk": (
            {"architecture": "abstopk", "k": 4, **NEW},
            {},
            np.where(top(np.abs(PRE), 4) > 0, PRE, 0) @ W_DEC + B_DEC,
        ),
        "old, finetuned": (
            {"finetuning_scaling_factor": True},
            {"scaling_factor": HIGH},
            (relu(PRE) * HIGH) @ W_DEC + B_DEC,
        ),
        "topk by norm": (
            {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True, **NEW},
            {},
            relu(ranked) @ (W_DEC / norm[:, None]) + B_DEC,
        ),
        "layer norm": (
            {"architecture": "standard", "normalize_activations": "layer_norm", **NEW},
            {},
            back * X.std(1, ddof=1, keepdims=True) + X.mean(1, keepdims=True),
        ),
        "constant norm": (
            {"architecture": "standard", "normalize_activations": "constant_norm_rescale", **NEW},
            {},
            small * size,
        ),
        "skip": (
            {"architecture": "jumprelu_skip_transcoder", "d_out": D, **NEW},
            {"W_skip": W_ENC[:, :D].copy(), "threshold": HIGH},
            relu(FLAT) * (FLAT > HIGH) @ W_DEC + B_DEC + X @ W_ENC[:, :D].T,
        ),
    }
    for name, (config, more, want) in cases.items():
        folder = saelens(tmp_path / name, config, **more)
        found = sae.load(folder)
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=2e-5, err_msg=name)
        # And back: the same function, and the same again.
        again = sae.load(sae.save_saelens(tmp_path / f"{name} again", found, site="resid_pre[2]"))
        np.testing.assert_allclose(again(jnp.asarray(X)), found(jnp.asarray(X)), atol=1e-6)
    written = json.loads((tmp_path / "gated again" / "cfg.json").read_text())
    assert written["metadata"]["hook_name"] == "blocks.2.hook_resid_pre"
    assert written["architecture"] == "gated" and written["d_sae"] == M
    sae.save_saelens(tmp_path / "z", found, site="z[2]")
    written = json.loads((tmp_path / "z" / "cfg.json").read_text())
    assert written["reshape_activations"] == "hook_z"
    assert written["metadata"]["hook_name"] == "blocks.2.attn.hook_z"
    heads, z = sae.Heads(found), jnp.asarray(X.reshape(B, 2, D // 2))
    np.testing.assert_allclose(heads(z), found(jnp.asarray(X)).reshape(z.shape), atol=1e-6)
    with pytest.raises(ValueError, match="head \\* k = 6"):
        heads(z[:, :1])


def test_batch_topk_is_written_with_its_threshold(tmp_path: Path) -> None:
    leaves = {"encoder": W_ENC, "decoder": W_DEC, "encoder_bias": B_ENC, "bias": B_DEC}
    leaves |= {"threshold": np.float32(0.4), "scale": np.float32(2.0)}
    kind = sae.BatchTopK(d=D, features=M, k=2).dictionary(**{n: jnp.asarray(a) for n, a in leaves.items()})
    folder = sae.save_saelens(tmp_path / "a", kind, density=np.full(M, 0.01))
    arrays = load_file(folder / "sae_weights.safetensors")
    assert json.loads((folder / "cfg.json").read_text())["architecture"] == "jumprelu"
    np.testing.assert_allclose(arrays["threshold"], 0.4)
    pre = (X - arrays["b_dec"]) @ arrays["W_enc"] + arrays["b_enc"]
    want = relu(pre) * (pre > 0.4) @ arrays["W_dec"] + arrays["b_dec"]
    np.testing.assert_allclose(kind(jnp.asarray(X)), want, atol=1e-5)
    np.testing.assert_allclose(load_file(folder / "sparsity.safetensors")["sparsity"], -2, atol=1e-4)


@eqx.filter_jit
def use(kind: Any, x: Any) -> tuple[Any, Any, Any]:
    """Features, reconstruction at once, and by way of the features."""
    f = kind.encode(x)
    return f, kind(x), kind.decode(f, x)


def pursued(rows: np.ndarray, decoder: np.ndarray, least: float, turns: int) -> np.ndarray:
    f = np.zeros((len(rows), len(decoder)), np.float32)
    for row, left in zip(f, rows.copy(), strict=True):
        for _ in range(turns):
            i, before = int(np.argmax(decoder @ left)), (row != 0).sum()
            value = max(float(decoder[i] @ left), 0.0)
            row[i] += value
            left -= value * decoder[i]
            if (row != 0).sum() == before or np.linalg.norm(left) < least:
                break
    return f


@pytest.mark.slow
def test_matching_pursuit(tmp_path: Path) -> None:
    rows = W_DEC / np.linalg.norm(W_DEC, axis=1, keepdims=True)
    config = {
        "architecture": "matching_pursuit",
        "residual_threshold": 0.3,
        "max_iterations": 4,
        **NEW,
    }
    folder = saelens(tmp_path / "a", config, W_enc=None, b_enc=None, W_dec=rows)
    found = sae.load(folder)
    want = pursued(X - B_DEC, rows, 0.3, 4)
    f, xhat, _ = use(found, jnp.asarray(X))
    np.testing.assert_allclose(f, want, atol=1e-5)
    np.testing.assert_allclose(xhat, want @ rows + B_DEC, atol=1e-5)
    again = sae.load(sae.save_saelens(tmp_path / "b", found))
    assert eqx.tree_equal(found, again) and eqx.tree_equal(found, sae.load(sae.save(tmp_path / "c", found)))
    # A factor moves the threshold too: what was trained on 2x stops where it stopped.
    config["normalize_activations"] = "expected_average_only_in"
    half = sae.load(saelens(tmp_path / "d", config, W_enc=None, b_enc=None, W_dec=rows), factor=2.0)
    want = pursued(2 * X - B_DEC, rows, 0.3, 4) / 2
    np.testing.assert_allclose(use(half, jnp.asarray(X))[0], want, atol=1e-5)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.slow
def test_temporal(tmp_path: Path) -> None:
    heads, low, k = 2, M // 2, 3
    shapes = {"q_target": (low, M), "k_ctx": (low, M), "v_ctx": (M, M), "c_proj": (M, M)}
    attention: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        attention[f"attn_layers.0.{name}.weight"] = RNG.normal(size=shape).astype(np.float32)
        attention[f"attn_layers.0.{name}.bias"] = RNG.normal(size=shape[:1]).astype(np.float32)
    config = {
        "architecture": "temporal",
        "n_heads": heads,
        "bottleneck_factor": 2,
        "kval_topk": k,
        "normalize_activations": "constant_scalar_rescale",
        "activation_normalization_factor": 1.5,
    }
    folder = saelens(tmp_path / "a", {**config, **NEW}, W_enc=None, b_enc=None, **attention)
    found = sae.load(folder)
    linear = lambda name, x: (
        x @ attention[f"attn_layers.0.{name}.weight"].T + attention[f"attn_layers.0.{name}.bias"]
    )
    left = 1.5 * X - B_DEC
    z = relu(left / (4 * D) @ W_DEC.T)
    before = np.concatenate([np.zeros_like(z[:1]), z[:-1]])
    q, keys, v = linear("q_target", z), linear("k_ctx", before), linear("v_ctx", before)
    mixed = []
    for h in range(heads):
        part = lambda a: np.split(a, heads, -1)[h]  # noqa: B023
        scores = part(q) @ part(keys).T / (low // heads) ** 0.5
        mixed.append(softmax(np.where(np.tri(B), scores, -np.inf)) @ part(v))
    guess = relu(linear("c_proj", np.concatenate(mixed, -1)))
    back = guess @ W_DEC
    share = (back * left).sum(-1, keepdims=True) / (np.linalg.norm(back, axis=-1, keepdims=True) + 1e-6) ** 2
    new = top(relu((left - share * back) / (4 * D) @ W_DEC.T), k)
    np.testing.assert_allclose(found.encode(jnp.asarray(X)), new, atol=1e-5)
    want = ((new + share * guess) @ W_DEC + B_DEC) / 1.5
    np.testing.assert_allclose(found(jnp.asarray(X)), want, rtol=1e-5, atol=2e-5)
    # What is said of a token does not depend on later ones.
    changed = np.concatenate([X[:3], -X[3:]])
    np.testing.assert_allclose(found(jnp.asarray(changed))[:3], found(jnp.asarray(X))[:3], atol=1e-6)
    again = sae.load(sae.save_saelens(tmp_path / "b", found))
    assert eqx.tree_equal(found, again) and eqx.tree_equal(found, sae.load(sae.save(tmp_path / "c", found)))


@pytest.mark.slow
def test_checkpoints_of_a_training_run(tmp_path: Path) -> None:
    matrix = (np.eye(D) + RNG.normal(size=(D, D)) / 9).astype(np.float32)
    white = {"mean": B_DEC / 3, "matrix": matrix, "inverse_matrix": np.linalg.inv(matrix)}
    z = (X - B_DEC / 3) @ matrix
    back = lambda y: y @ white["inverse_matrix"] + B_DEC / 3
    scaled = (1.7 * X - B_DEC) @ W_ENC + B_ENC
    norm = np.linalg.norm(W_DEC, axis=1)
    ranked = relu(scaled) * (scaled * norm > 0.6)
    cases: dict[str, tuple[dict[str, Any], dict[str, Any], np.ndarray]] = {
        "average": (
            {"architecture": "standard", "normalize_activations": "expected_average_only_in"},
            {},
            (relu(scaled) @ W_DEC + B_DEC) / 1.7,
        ),
        "whitening": (
            {"architecture": "topk", "k": 4, "normalize_activations": "covariance_whitening"},
            {},
            back(relu(top((z - B_DEC) @ W_ENC + B_ENC, 4)) @ W_DEC + B_DEC),
        ),
        "matryoshka": (
            {
                "architecture": "matryoshka_batchtopk",
                "matryoshka_widths": [4, M],
                "k": 3.0,
                "normalize_activations": "expected_average_only_in",
                "rescale_acts_by_decoder_norm": True,
            },
            {"topk_threshold": np.array(0.6)},
            (ranked @ W_DEC + B_DEC) / 1.7,
        ),
    }
    for name, (config, more, want) in cases.items():
        folder = saelens(tmp_path / name, {**config, **NEW}, **more)
        mode = config["normalize_activations"]
        with pytest.raises(ValueError, match=f"normalised by '{mode}'"):
            sae.load(folder)
        if mode == "covariance_whitening":
            save_file(white, folder / "activation_whitening.safetensors")
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 1.7}))
        found = sae.load(folder)
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=5e-5, err_msg=name)
        if mode == "expected_average_only_in":
            assert eqx.tree_equal(found, sae.load(folder, factor=1.7))
    assert found.prefixes == (4, M)
    with pytest.raises(ValueError, match="factor is a number above 0"):
        sae.load(folder, factor=-1.0)
    with pytest.raises(ValueError, match="wants no factor"):
        sae.load(saelens(tmp_path / "plain", {"architecture": "standard", **NEW}), factor=1.0)


def test_what_saelens_files_cannot_say(tmp_path: Path) -> None:
    for config, more, words in (
        ({"architecture": "crystal", **NEW}, {}, "cannot be read; known are standard"),
        ({"architecture": "standard", "d_in": 9, **NEW}, {}, "config says d_in=9"),
        ({"activation_fn_str": "tanh-relu"}, {}, "'tanh-relu' cannot be read"),
        ({}, {"scaling_factor": HIGH}, "finetuning_scaling_factor"),
        ({"architecture": "topk", **NEW}, {}, "needs k"),
        ({"architecture": "standard", **NEW}, {"W_enc": None}, "lacks the tensor 'W_enc'"),
        ({"architecture": "transcoder", "normalize_activations": "layer_norm", **NEW}, {}, "cannot be read"),
    ):
        with pytest.raises(ValueError, match=words):
            sae.load(saelens(tmp_path / "bad", config, **more))
    key = jax.random.key(0)
    empty = sae.SelectedTranscoder(d=D, features=M, k=2)
    for kind, name in (
        (sae.Crosscoder(d=D, features=M).init(key), "Crosscoder"),
        (empty, "rule 'topk'"),
    ):
        with pytest.raises(ValueError, match=f"layout holds.*{name}"):
            sae.save_saelens(tmp_path / "cross", kind)
    assert not (tmp_path / "cross").exists()
    more = sae.Selected(d=D, features=M, k=2, rule="groupmax"), sae.MatchingPursuit(d=D, features=M)
    for kind in (empty, *more, sae.Temporal(d=D, features=M, heads=2, bottleneck=2)):
        with pytest.raises(ValueError, match="read from files of other libraries"):
            kind.loss(None, X, X, Progress(0, 1, None))
    with pytest.raises(ValueError, match="groupmax needs a k that divides"):
        sae.Selected(d=D, features=M, k=3, rule="groupmax")
