"""Files of other libraries: written here in their layouts, compared with their formulas in NumPy."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxinterp as ji
from jaxinterp import sae
from jaxinterp.sae.files._origin import Origin, with_origin

from .foreign import (
    B_DEC,
    B_ENC,
    FLAT,
    HIGH,
    PRE,
    RNG,
    W_DEC,
    W_ENC,
    D,
    M,
    X,
    groups,
    relu,
    top,
)


def test_sparsify(tmp_path: Path) -> None:
    skip = W_ENC[:, :D].copy()
    arrays = {
        "encoder.weight": W_ENC.T.copy(),
        "encoder.bias": B_ENC,
        "W_dec": W_DEC,
        "b_dec": B_DEC,
    }
    cases: dict[str, tuple[dict[str, Any], dict[str, Any], np.ndarray]] = {
        "topk": ({"activation": "topk", "k": 3}, {}, relu(top(PRE, 3)) @ W_DEC + B_DEC),
        "before activations": ({"k": 3}, {}, relu(top(PRE, 3)) @ W_DEC + B_DEC),
        "groupmax": (
            {"activation": "groupmax", "k": 4},
            {},
            groups(relu(PRE), 4) @ W_DEC + B_DEC,
        ),
        "skip": (
            {"k": 3, "skip_connection": True},
            {"W_skip": skip},
            relu(top(PRE, 3)) @ W_DEC + B_DEC + X @ skip.T,
        ),
        "transcoder": (
            {"k": 3, "transcode": True, "skip_connection": True},
            {"W_skip": skip},
            relu(top(FLAT, 3)) @ W_DEC + B_DEC + X @ skip.T,
        ),
        "groupmax transcoder": (
            {"activation": "groupmax", "k": 4, "transcode": True},
            {},
            groups(relu(FLAT), 4) @ W_DEC + B_DEC,
        ),
    }
    for name, (config, more, want) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        save_file({**arrays, **more}, folder / "sae.safetensors")
        (folder / "cfg.json").write_text(json.dumps({"num_latents": M, "d_in": D, **config}))
        found = sae.load(folder)
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=1e-5, err_msg=name)
        again = sae.load(sae.save(tmp_path / f"{name} again", found))
        assert eqx.tree_equal(found, again), name
    (folder / "cfg.json").write_text(json.dumps({"k": 3, "signed": True}))
    with pytest.raises(ValueError, match="without signs"):
        sae.load(folder)


def test_gemma_scope(tmp_path: Path) -> None:
    upper = {"W_enc": W_ENC, "W_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC, "threshold": HIGH}
    lower = {name.lower(): array for name, array in upper.items()}
    plain = relu(FLAT) * (FLAT > HIGH) @ W_DEC + B_DEC
    small = X @ W_ENC / D**0.5 + B_ENC
    scaled = (relu(small) * (small > HIGH) @ W_DEC + B_DEC) * D**0.5
    read: Any = {"plain": (sae.JumpReLU, plain), "transcoder": (sae.Transcoder, plain)}
    read["embedding"] = sae.JumpReLU, scaled
    commit = "snapshots/" + "0123456789abcdef01234567" + "89abcdef01234567"
    cases: list[tuple[str, dict[str, Any], str]] = [
        # A user's folders mean nothing, whatever they are called ...
        ("mine/width_16k", {}, "plain"),
        ("embedding/average_l0_6", {}, "plain"),
        ("gemma-scope-2b-pt-transcoders/average_l0_20", {}, "plain"),
        ("models--google--gemma-scope-2b-pt-transcoders/snapshots/mine", {}, "plain"),
        # ... an option does ...
        ("mine/transcoder", {"transcoder": True}, "transcoder"),
        ("mine/embeddings", {"factor": D**-0.5}, "embedding"),
        # ... and in the hub's cache the repository: of others' repositories it knows nothing.
        (f"models--google--gemma-scope-2b-pt-res/{commit}/layer_3", {}, "plain"),
        (f"models--google--gemma-scope-2b-pt-transcoders/{commit}/layer_3", {}, "transcoder"),
        (
            f"models--google--gemma-scope-2b-pt-transcoders/{commit}/layer_4",
            {"transcoder": False},
            "plain",
        ),
        (f"models--google--gemma-scope-2b-pt-res/{commit}/embedding/width_4k", {}, "embedding"),
        (f"embedding/models--google--gemma-scope-2b-pt-res/{commit}/layer_5", {}, "plain"),
        (f"models--someone--transcoders/{commit}/embedding/layer_3", {}, "plain"),
    ]
    for name, options, which in cases:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        np.savez(folder / "params.npz", **upper)
        found = sae.load(folder, **options)
        kind, want = read[which]
        assert type(found.kind) is kind, name
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=3e-5, err_msg=name)
    (folder / "params.npz").rename(folder / "other.npz")  # nor does the file's own name
    assert eqx.tree_equal(sae.load(folder / "other.npz"), found)
    second = tmp_path / "gemma-scope-2"
    second.mkdir()
    hook = {"hf_hook_point_in": "model.layers.2.pre", "hf_hook_point_out": "model.layers.2.post"}
    (second / "config.json").write_text(json.dumps({"architecture": "jump_relu", **hook}))
    save_file({**lower, "affine_skip_connection": W_ENC[:, :D].copy()}, second / "params.safetensors")
    want = plain + X @ W_ENC[:, :D]
    np.testing.assert_allclose(sae.load(second)(jnp.asarray(X)), want, atol=1e-5)
    with pytest.raises(ValueError, match="is a transcoder by what it holds"):
        sae.load(second, transcoder=False)
    with pytest.raises(ValueError, match="a transcoder has no factor"):
        sae.load(second, factor=0.5)
    save_file({**lower, "w_dec": W_DEC[:, None].copy()}, second / "params.safetensors")
    with pytest.raises(ValueError, match="one layer of a cross-layer transcoder"):
        sae.load(second)


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
            {**lin, "decoder.bias": B_DEC},
            relu(X @ W_ENC + B_ENC) @ W_DEC + B_DEC,
        ),
        "GatedAutoEncoder": (
            {
                "encoder.weight": lin["encoder.weight"],
                "decoder.weight": lin["decoder.weight"],
                "decoder_bias": B_DEC,
                "r_mag": HIGH,
                "gate_bias": B_ENC,
                "mag_bias": -B_ENC,
            },
            (mag + B_ENC > 0) * relu(mag * np.exp(HIGH) - B_ENC) @ W_DEC + B_DEC,
        ),
        "JumpReluAutoEncoder": (
            {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": HIGH},
            relu(X @ W_ENC + B_ENC) * (X @ W_ENC + B_ENC > HIGH) @ W_DEC + B_DEC,
        ),
        "AutoEncoderTopK": ({**lin, **batch_k}, relu(top(PRE, 3)) @ W_DEC + B_DEC),
        "BatchTopKSAE": ({**lin, **batch_k}, relu(PRE) * (relu(PRE) > 0.4) @ W_DEC + B_DEC),
    }
    for name, (state, want) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        ji.hub.write_torch(folder / "ae.pt", {n: np.asarray(v) for n, v in state.items()})
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name}}))
        found, config = sae.load(folder, about=True)
        np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=2e-5, err_msg=name)
        assert config["trainer"]["dict_class"] == name
        assert eqx.tree_equal(sae.load(folder / "ae.pt"), found)  # the file, and the config beside it
        if name == "AutoEncoder":  # in units of a decoder of norm 1
            norm = np.linalg.norm(W_DEC, axis=1)
            np.testing.assert_allclose(found.encode(jnp.asarray(X)), relu(PRE) * norm, atol=2e-5)
    both = np.stack([W_ENC, -W_ENC[::-1]]), np.stack([W_DEC, W_DEC[::-1]])
    state = {
        "encoder.weight": both[0],
        "encoder.bias": B_ENC,
        "decoder.weight": both[1],
        "decoder.bias": np.stack([B_DEC, B_DEC]),
    }
    (tmp_path / "cross").mkdir()
    ji.hub.write_torch(tmp_path / "cross" / "ae.pt", state)
    (tmp_path / "cross" / "config.json").write_text(json.dumps({"trainer": {}}))
    pair = np.stack([X, 2 * X], 1)
    f = relu(np.einsum("bsd,sdm->bm", pair, both[0]) + B_ENC)
    want = np.einsum("bm,smd->bsd", f, both[1]) + B_DEC
    found = sae.load(tmp_path / "cross")
    assert isinstance(found.kind, sae.Crosscoder)
    np.testing.assert_allclose(found(jnp.asarray(pair)), want, atol=1e-4)
    state = {
        "pre_bias": B_DEC,
        "latent_bias": B_ENC,
        "encoder.weight": W_ENC.T.copy(),
        "decoder.weight": W_DEC.T.copy(),
        "activation": "TopK",
        "activation_state_dict": {"k": 3, "postact_fn": "ReLU"},
    }
    ji.hub.write_torch(tmp_path / "2.pt", state)
    mean, std = X.mean(1, keepdims=True), X.std(1, ddof=1, keepdims=True)
    pre = ((X - mean) / (std + 1e-5) - B_DEC) @ W_ENC + B_ENC
    want = (relu(top(pre, 3)) @ W_DEC + B_DEC) * std + mean
    found = sae.load(tmp_path / "2.pt")
    np.testing.assert_allclose(found(jnp.asarray(X)), want, atol=2e-5)
    assert eqx.tree_equal(found, sae.load(sae.save(tmp_path / "normalised", found)))
    assert eqx.tree_equal(found, sae.load((tmp_path / "2.pt").rename(tmp_path / "its_name")))
    ji.hub.write_torch(tmp_path / "1.pt", {n: v for n, v in state.items() if "activation" not in n})
    want = relu(PRE) @ W_DEC + B_DEC
    np.testing.assert_allclose(sae.load(tmp_path / "1.pt")(jnp.asarray(X)), want, atol=2e-5)


OWN: dict[str, Any] = {
    "Vanilla": {"sparsity": 0.3, "resample": (5, 9)},
    "Standard": {},
    "Gated": {},
    "TopK": {"k": 3, "centred": False},
    "BatchTopK": {"k": 3},
    "JumpReLU": {"target": 3},
    "Matryoshka": {"k": 3, "groups": (0.25, 0.75)},
    "Transcoder": {"d_out": 3, "skip": True},
    "CrossLayerTranscoder": {"layers": 2},
    "Crosscoder": {"sources": 3},
}


def random_dictionary(kind: Any) -> Any:
    draw = lambda shape: jnp.asarray(RNG.normal(size=shape), jnp.float32)
    return kind.dictionary(**{name: draw(shape) for name, shape in kind.shapes().items()})


@pytest.mark.quick
def test_our_own_files_hold_every_kind_to_the_bit(tmp_path: Path) -> None:
    for name, more in OWN.items():
        kind = random_dictionary(getattr(sae, name)(d=D, features=M, **more))
        found, about = sae.load(sae.save(tmp_path / name, kind, about={"site": "z[1]"}), about=True)
        kind = with_origin(kind, Origin("z[1]"))  # as `about` says
        assert jax.tree.structure(found) == jax.tree.structure(kind), name
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(kind), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
        assert about == {"site": "z[1]"}


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no dictionary at"):
        sae.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no dictionary"):
        sae.load(tmp_path)
    kind = random_dictionary(sae.TopK(d=D, features=M, k=2))
    folder = sae.save(tmp_path / "own", kind)
    said = json.loads((folder / "dictionary.json").read_text())
    said["settings"]["features"] = 2 * M
    (folder / "jaxinterp-dictionary.json").unlink()
    (folder / "dictionary.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="has encoder of the shape"):
        sae.load(folder)
    with pytest.raises(ValueError, match="Only SAELens files need a factor"):
        sae.load(folder, factor=1.0)
