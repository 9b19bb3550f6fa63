"""Files of other libraries: written here in their layouts, compared with their formulas in NumPy."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxinterp as ji
from jaxinterp import sae

D, M, B = 6, 16, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, D)).astype(np.float32)
W_ENC = RNG.normal(size=(D, M)).astype(np.float32)
W_DEC = RNG.normal(size=(M, D)).astype(np.float32)
B_ENC = RNG.normal(size=M).astype(np.float32)
B_DEC = RNG.normal(size=D).astype(np.float32)
HIGH = RNG.uniform(0.1, 1.0, M).astype(np.float32)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def top(x: np.ndarray, k: int) -> np.ndarray:
    return np.where(x >= np.sort(x, -1)[:, -k, None], x, 0)


def saelens(path: Path, config: dict[str, Any], **more: np.ndarray) -> Path:
    arrays = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, **more}
    path.mkdir(exist_ok=True)
    save_file(arrays, path / "sae_weights.safetensors")
    (path / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": M, **config}))
    return path


NEW = {"metadata": {"sae_lens_version": "6.5.0"}}
PRE = (X - B_DEC) @ W_ENC + B_ENC


def test_saelens_of_every_kind(tmp_path: Path) -> None:
    flat = X @ W_ENC + B_ENC
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
            {"architecture": "standard", "apply_b_dec_to_input": False, **NEW}, {},
            relu(flat) @ W_DEC + B_DEC,
        ),
        "old, flat": ({"hook_point": "blocks.2.hook_resid_pre"}, {}, relu(PRE) @ W_DEC + B_DEC),
        "old topk": (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}, {},
            relu(top(PRE, 4)) @ W_DEC + B_DEC,
        ),
        "jumprelu": (
            {"architecture": "jumprelu", **NEW}, {"threshold": HIGH},
            relu(PRE) * (PRE > HIGH) @ W_DEC + B_DEC,
        ),
        "gated": (
            {"architecture": "gated", **NEW}, {"b_gate": gate, "b_mag": mag, "r_mag": r},
            (centred + gate > 0) * relu((X - B_DEC) @ (W_ENC * np.exp(r)) + mag) @ W_DEC + B_DEC,
        ),
        "topk by norm": (
            {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True, **NEW}, {},
            relu(ranked) @ (W_DEC / norm[:, None]) + B_DEC,
        ),
        "layer norm": (
            {"architecture": "standard", "normalize_activations": "layer_norm", **NEW}, {},
            back * X.std(1, ddof=1, keepdims=True) + X.mean(1, keepdims=True),
        ),
        "constant norm": (
            {"architecture": "standard", "normalize_activations": "constant_norm_rescale", **NEW}, {},
            small * size,
        ),
        "skip": (
            {"architecture": "jumprelu_skip_transcoder", "d_out": D, **NEW},
            {"W_skip": W_ENC[:, :D].copy(), "threshold": HIGH},
            relu(flat) * (flat > HIGH) @ W_DEC + B_DEC + X @ W_ENC[:, :D].T,
        ),
    }  # fmt: skip
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


def test_batch_topk_is_written_with_its_threshold(tmp_path: Path) -> None:
    kind = sae.BatchTopK(d=D, features=M, k=2, key=jax.random.key(0))
    kind = eqx.tree_at(lambda k: (k.threshold, k.scale), kind, (jnp.float32(0.4), jnp.float32(2.0)))
    folder = sae.save_saelens(tmp_path / "a", kind, density=np.full(M, 0.01))
    arrays = load_file(folder / "sae_weights.safetensors")
    assert json.loads((folder / "cfg.json").read_text())["architecture"] == "jumprelu"
    np.testing.assert_allclose(arrays["threshold"], 0.4)
    pre = (X - arrays["b_dec"]) @ arrays["W_enc"] + arrays["b_enc"]
    want = relu(pre) * (pre > 0.4) @ arrays["W_dec"] + arrays["b_dec"]
    np.testing.assert_allclose(kind(jnp.asarray(X)), want, atol=1e-5)
    np.testing.assert_allclose(
        load_file(folder / "sparsity.safetensors")["sparsity"], -2, atol=1e-4
    )


def test_sparsify_and_gemma_scope(tmp_path: Path) -> None:
    folder = tmp_path / "layers.2"
    folder.mkdir()
    arrays = {
        "encoder.weight": W_ENC.T.copy(),
        "encoder.bias": B_ENC,
        "W_dec": W_DEC,
        "b_dec": B_DEC,
    }
    save_file(arrays, folder / "sae.safetensors")
    config = {"activation": "topk", "expansion_factor": 2, "num_latents": M, "k": 3, "d_in": D}
    (folder / "cfg.json").write_text(json.dumps(config))
    want = relu(top(PRE, 3)) @ W_DEC + B_DEC
    np.testing.assert_allclose(sae.load(folder)(jnp.asarray(X)), want, atol=1e-5)
    gemma = tmp_path / "average_l0_20"
    gemma.mkdir()
    np.savez(gemma / "params.npz", W_enc=W_ENC, W_dec=W_DEC, b_enc=B_ENC, b_dec=B_DEC, threshold=HIGH)  # fmt: skip
    flat = X @ W_ENC + B_ENC
    want = relu(flat) * (flat > HIGH) @ W_DEC + B_DEC
    np.testing.assert_allclose(sae.load(gemma)(jnp.asarray(X)), want, atol=1e-5)


def test_dictionary_learning_and_openai(tmp_path: Path) -> None:
    lin = {
        "encoder.weight": W_ENC.T.copy(),
        "encoder.bias": B_ENC,
        "decoder.weight": W_DEC.T.copy(),
    }
    mag = (X - B_DEC) @ W_ENC
    batch_k = {"k": np.int32(3), "threshold": np.float32(0.4), "b_dec": B_DEC}
    cases: dict[str, tuple[dict[str, Any], np.ndarray]] = {
        "AutoEncoder": ({**lin, "bias": B_DEC}, relu(PRE) @ W_DEC + B_DEC),
        "AutoEncoderNew": (
            {**lin, "decoder.bias": B_DEC}, relu(X @ W_ENC + B_ENC) @ W_DEC + B_DEC,
        ),
        "GatedAutoEncoder": (
            {
                "encoder.weight": lin["encoder.weight"], "decoder.weight": lin["decoder.weight"],
                "decoder_bias": B_DEC, "r_mag": HIGH, "gate_bias": B_ENC, "mag_bias": -B_ENC,
            },
            (mag + B_ENC > 0) * relu(mag * np.exp(HIGH) - B_ENC) @ W_DEC + B_DEC,
        ),
        "JumpReluAutoEncoder": (
            {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": HIGH},
            relu(X @ W_ENC + B_ENC) * (X @ W_ENC + B_ENC > HIGH) @ W_DEC + B_DEC,
        ),
        "AutoEncoderTopK": ({**lin, **batch_k}, relu(top(PRE, 3)) @ W_DEC + B_DEC),
        "BatchTopKSAE": ({**lin, **batch_k}, relu(PRE) * (relu(PRE) > 0.4) @ W_DEC + B_DEC),
    }  # fmt: skip
    for name, (state, want) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        ji.hub.write_torch(folder / "ae.pt", {n: np.asarray(v) for n, v in state.items()})
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name}}))
        found, config = sae.load(folder, about=True)
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=2e-5, err_msg=name)
        assert config["trainer"]["dict_class"] == name
        if name == "AutoEncoder":  # in units of a decoder of norm 1
            norm = np.linalg.norm(W_DEC, axis=1)
            np.testing.assert_allclose(found.encode(jnp.asarray(X)), relu(PRE) * norm, atol=2e-5)
    state = {
        "pre_bias": B_DEC, "latent_bias": B_ENC, "encoder.weight": W_ENC.T.copy(),
        "decoder.weight": W_DEC.T.copy(), "activation": "TopK",
        "activation_state_dict": {"k": 3, "postact_fn": "ReLU"},
    }  # fmt: skip
    ji.hub.write_torch(tmp_path / "2.pt", state)
    mean, std = X.mean(1, keepdims=True), X.std(1, ddof=1, keepdims=True)
    pre = ((X - mean) / (std + 1e-5) - B_DEC) @ W_ENC + B_ENC
    want = (relu(top(pre, 3)) @ W_DEC + B_DEC) * std + mean
    np.testing.assert_allclose(sae.load(tmp_path / "2.pt")(jnp.asarray(X)), want, atol=2e-5)


OWN: dict[str, Any] = {
    "Vanilla": {"sparsity": 0.3, "resample": (5, 9)}, "Standard": {}, "Gated": {},
    "TopK": {"k": 3, "centred": False}, "BatchTopK": {"k": 3}, "JumpReLU": {"target": 3},
    "Matryoshka": {"k": 3, "groups": (0.25, 0.75)}, "Transcoder": {"d_out": 3, "skip": True},
    "CrossLayerTranscoder": {"layers": 2}, "Crosscoder": {"sources": 3},
}  # fmt: skip


def test_our_own_files_hold_every_kind_to_the_bit(tmp_path: Path) -> None:
    for name, more in OWN.items():
        kind = getattr(sae, name)(d=D, features=M, key=jax.random.key(1), **more)
        found, about = sae.load(sae.save(tmp_path / name, kind, about={"site": "z[1]"}), about=True)
        assert jax.tree.structure(found) == jax.tree.structure(kind), name
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(kind), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
        assert about == {"site": "z[1]"}


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no dictionary at"):
        sae.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no dictionary"):
        sae.load(tmp_path)
    for config, words in (
        ({"architecture": "temporal", **NEW}, "cannot be read"),
        ({"architecture": "standard", "d_in": 9, **NEW}, "config says d_in=9"),
        ({"normalize_activations": "expected_average_only_in", **NEW}, "normalised by"),
    ):
        with pytest.raises(ValueError, match=words):
            sae.load(saelens(tmp_path / "bad", config))
    kind = sae.TopK(d=D, features=M, k=2, key=jax.random.key(0))
    folder = sae.save(tmp_path / "own", kind)
    said = json.loads((folder / "dictionary.json").read_text())
    said["settings"]["features"] = 2 * M
    (folder / "dictionary.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="has encoder of the shape"):
        sae.load(folder)
    cross = sae.Crosscoder(d=D, features=M, key=jax.random.key(0))
    with pytest.raises(ValueError, match="layout holds"):
        sae.save_saelens(tmp_path / "cross", cross)
    assert not (tmp_path / "cross").exists()
