"""Files that are not known, not whole, or ask for what is not done: refused by name, with the way in."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxinterp as ji
from jaxinterp import sae
from jaxinterp.sae.files._origin import Origin, with_origin

from .foreign import B_DEC, B_ENC, HIGH, NEW, W_DEC, W_ENC, D, M, saelens

WAY_IN = r"ji\.sae\.from_arrays\("
LINEAR = {
    "encoder.weight": W_ENC.T.copy(),
    "encoder.bias": B_ENC,
    "decoder.weight": W_DEC.T.copy(),
}


def refused(path: Path, *words: str, **options: Any) -> str:
    with pytest.raises(ValueError, match=words[0]) as raised:
        sae.load(path, **options)
    for each in words:
        assert each in str(raised.value), str(raised.value)
    return str(raised.value)


def test_saelens_configs_that_ask_for_more(tmp_path: Path) -> None:
    plain = {"architecture": "standard", **NEW}
    cases: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
        (
            {**plain, "normalize_activations": "unit_norm"},
            {},
            ("normalize_activations = 'unit_norm' cannot be read", "layer_norm"),
        ),
        (
            {**plain, "normalize_activations": "constant_scalar_rescale"},
            {},
            ("normalize_activations = 'constant_scalar_rescale' cannot",),
        ),
        ({**plain, "activation_normalization_factor": 1.7}, {}, ("activation_normalization_factor = 1.7",)),
        ({**plain, "normalize_activations": True}, {}, ("normalize_activations = True",)),
        ({**plain, "rescale_acts_by_decoder_norm": True}, {}, ("rescale_acts_by_decoder_norm = True",)),
        ({**plain, "k": 4}, {}, ("k = 4",)),
        ({**plain, "post_gain": 2}, {}, ("post_gain = 2", "ignore=['post_gain']")),
        ({**plain, "reshape_activations": "hook_q"}, {}, ("reshape_activations = 'hook_q'",)),
        ({**plain, "d_out": D + 1}, {}, ("d_out",)),
        (plain, {"threshold": HIGH}, ("has the tensor 'threshold'", "'standard'", "W_enc (6, 16)")),
        ({**plain, "architecture": "transcoder"}, {"W_skip": W_DEC[:D]}, ("has the tensor 'W_skip'",)),
        (
            {**plain, "architecture": "transcoder", "apply_b_dec_to_input": True},
            {},
            ("apply_b_dec_to_input = True",),
        ),
        ({**plain, "architecture": "jumprelu"}, {}, ("lacks the tensor 'threshold'",)),
        ({**plain, "architecture": "skip_transcoder"}, {}, ("lacks the tensor 'W_skip'",)),
        ({**plain, "architecture": "gated"}, {"b_gate": HIGH, "b_mag": HIGH}, ("lacks the tensor 'r_mag'",)),
        ({**plain, "architecture": "topk", "k": 2.5}, {}, ("needs k in its config, an int; got 2.5",)),
        (
            {**plain, "architecture": "matching_pursuit", "normalize_activations": "covariance_whitening"},
            {"W_enc": None, "b_enc": None},
            ("'covariance_whitening' cannot be read",),
        ),
        (
            {**plain, "architecture": "temporal", "sae_diff_type": "jump"},
            {"W_enc": None, "b_enc": None},
            ("sae_diff_type = 'jump'",),
        ),
        (
            {**plain, "architecture": "temporal"},
            {"W_enc": None, "b_enc": None},
            ("attn_layers.0.q_target.weight",),
        ),
        ({"activation_fn_str": "topk"}, {}, ("activation_fn is 'topk', which needs k",)),
        (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4, "postact": "tanh"}},
            {},
            ("postact = 'tanh'",),
        ),
        ({"is_transcoder": True}, {}, ("is_transcoder = True",)),
    ]
    for i, (config, more, words) in enumerate(cases):
        said = refused(saelens(tmp_path / str(i), config, **more), *words)
        assert i == 15 or "Are the files" in said or "needs k" in said or "from_arrays" in said
    extra = saelens(tmp_path / "extra", {**plain, "note": "mine", "unset": None}, stats=HIGH)
    whole = saelens(tmp_path / "whole", plain)
    refused(extra, "note = 'mine'")
    refused(extra, "has the tensor 'stats'", ignore="note")
    assert eqx.tree_equal(sae.load(extra, ignore=["note", "stats"]), sae.load(whole))
    flat = {
        "hook_point": "blocks.2.hook_resid_pre",
        "l1_coefficient": 1e-4,
        "train_batch_size": 4096,
        "use_ghost_grads": True,
        "lp_norm": 1,
        "dtype": "torch.float32",
        "wandb_project": "mine",
        "finetuning_scaling_factor": False,
        "activation_fn_kwargs": {},
        "normalize_activations": False,
        "hook_point_layer": 2,
        "n_batches_in_buffer": 64,
        "lr_scheduler_name": "constant",
        "resample_batches": 1028,
        "feature_sampling_method": "anthropic",
        "feature_sampling_window": 1000,
        "feature_reinit_scale": 0.2,
        "dead_feature_estimation_method": "no_fire",
        "expansion_factor": 32,
    }
    found = sae.load(saelens(tmp_path / "flat", flat))
    assert found.origin.site == "resid_pre[2]"
    assert eqx.tree_equal(with_origin(found, Origin(None, None)), sae.load(whole))


def test_other_libraries_configs_that_ask_for_more(tmp_path: Path) -> None:
    def learned(name: str, config: Any, state: Any) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        ji.hub.write_torch(tmp_path / name / "ae.pt", {n: np.asarray(a) for n, a in state.items()})
        return tmp_path / name

    state = {**LINEAR, "bias": B_DEC}
    of = lambda **more: {"trainer": {"dict_class": "AutoEncoder", **more}}
    refused(
        learned("a", of(inner_gain=3), state),
        "trainer: the config says inner_gain = 3",
        "from_arrays(",
    )
    buffer = {"buffer": {"io": "in_and_out", "ctx_len": 128}}
    refused(learned("b", {**of(lr=1e-3), **buffer}, state), "buffer: io = 'in_and_out' cannot be read")
    refused(learned("c", {**of(), "whitener": "zca"}, state), "whitener = 'zca'")
    refused(
        learned("d", {"trainer": {"dict_class": "Crystal"}}, state),
        "dict_class 'Crystal'",
        "encoder.weight (16, 6)",
    )
    refused(learned("e", of(), {**state, "gain": HIGH}), "has the tensor 'gain'")
    refused(learned("f", of(), LINEAR), "lacks the tensor 'bias'", "dictionary_learning's AutoEncoder")
    # TopK and BatchTopK have the same tensors: which it is has to be said.
    batch = {**LINEAR, "b_dec": B_DEC, "k": np.int32(3), "threshold": np.float32(0.4)}
    refused(learned("g", {}, batch), "could be of AutoEncoderTopK or BatchTopKSAE", "from_arrays(")
    assert isinstance(sae.load(learned("h", {}, {**batch, "threshold": np.float32(-1)})).kind, sae.TopK)
    refused(learned("i", {}, {"weight": W_ENC}), "is of none of AutoEncoder", "weight (6, 16)")

    def sparsify(name: str, config: Any, **more: Any) -> Path:
        (tmp_path / name).mkdir()
        arrays = {"encoder.weight": W_ENC.T.copy(), "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
        arrays = {n: a for n, a in {**arrays, **more}.items() if a is not None}
        save_file(arrays, tmp_path / name / "sae.safetensors")
        (tmp_path / name / "cfg.json").write_text(json.dumps(config))
        return tmp_path / name

    refused(sparsify("s1", {"k": 3, "temperature": 0.1}), "temperature = 0.1", "from_arrays(")
    refused(sparsify("s2", {"activation": "topk"}), "needs k, an int; got None")
    refused(sparsify("s3", {"k": 3, "num_latents": M + 1}), "num_latents=17")
    refused(sparsify("s4", {"k": 3, "skip_connection": True}), "lacks the tensor 'W_skip'")
    refused(
        sparsify("s5", {"k": 3}, b_dec=None),
        "lacks the tensor 'b_dec'",
        "sparsify's",
        "from_arrays(",
    )
    refused(sparsify("s6", {"k": 3}, post=HIGH), "has the tensor 'post'")
    assert isinstance(
        sae.load(sparsify("s7", {"k": 3, "num_latents": 0, "expansion_factor": 4})).kind, sae.TopK
    )

    openai = {**{n: LINEAR[n] for n in ("encoder.weight", "decoder.weight")}, "pre_bias": B_DEC}
    given = {"k": 3, "postact_fn": "ReLU"}
    for i, (more, words) in enumerate(
        (
            ({}, "lacks the tensor 'latent_bias'"),
            ({"latent_bias": B_ENC, "activation": "JumpReLU"}, "activation = 'JumpReLU'"),
            ({"latent_bias": B_ENC, "activation": "TopK", "activation_state_dict": {}}, "TopK needs k"),
            (
                {
                    "latent_bias": B_ENC,
                    "activation": "TopK",
                    "activation_state_dict": {**given, "postact_fn": "Identity"},
                },
                "postact_fn = 'Identity'",
            ),
            (
                {"latent_bias": B_ENC, "activation": "TopK", "activation_state_dict": {**given, "gain": 2.0}},
                "gain = 2.0",
            ),
            ({"latent_bias": B_ENC, "gain": HIGH}, "has the tensor 'gain'"),
        )
    ):
        ji.hub.write_torch(tmp_path / f"{i}.pt", {**openai, **more})
        refused(tmp_path / f"{i}.pt", words)

    gemma = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC, "threshold": HIGH}
    (tmp_path / "gemma").mkdir()
    for config, more, words in (
        ({"architecture": "gated"}, {}, "architecture = 'gated' cannot be read"),
        ({"type": "clt"}, {}, "type = 'clt' cannot be read"),
        ({"input_scale": 3.0}, {}, "input_scale = 3.0"),
        ({"affine_connection": True}, {}, "'affine_skip_connection' is lacking"),
        ({}, {"gain": HIGH}, "has the tensor 'gain'"),
    ):
        save_file({**gemma, **more}, tmp_path / "gemma" / "params.safetensors")
        (tmp_path / "gemma" / "config.json").write_text(json.dumps(config))
        refused(tmp_path / "gemma", words)


def test_what_is_no_dictionary_is_told_the_way_in(tmp_path: Path) -> None:
    (tmp_path / "layers.0").mkdir()
    (tmp_path / "cfg.json").write_text("{}")
    said = refused(tmp_path, "holds no dictionary", "cfg.json, layers.0/", "from_arrays(")
    for who in ("jaxinterp", "SAELens", "sparsify", "dictionary_learning", "Gemma Scope", "OpenAI"):
        assert who in said
    save_file({"encoder": W_ENC}, tmp_path / "x.safetensors")
    np.savez(tmp_path / "x.npz", encoder=W_ENC)
    (tmp_path / "x.txt").write_text("a dictionary")
    for name, holds in (
        ("x.safetensors", "encoder"),
        ("x.npz", "encoder"),
        ("x.txt", "no tensors"),
    ):
        refused(tmp_path / name, "Give the folder", f"this one has {holds}", "from_arrays(")
    ji.hub.write_torch(tmp_path / "x.pt", {"weight": W_ENC})
    refused(tmp_path / "x.pt", "is of none of", "weight (6, 16)", "from_arrays(")
    own = sae.save(
        tmp_path / "own",
        sae.from_arrays(
            sae.TopK(d=D, features=M, k=2),
            encoder=W_ENC,
            encoder_bias=B_ENC,
            decoder=W_DEC,
            bias=B_DEC,
        ),
    )
    for options, words in (
        ({"transcoder": True}, "needs no transcoder="),
        ({"ignore": ["a"]}, "needs no ignore="),
    ):
        refused(own, words, **options)
    text = json.loads((own / "dictionary.json").read_text())
    (own / "jaxinterp-dictionary.json").unlink()
    for change, words in (
        ({"settings": {**text["settings"], "temperature": 1}}, "temperature"),
        ({"settings": None}, "settings"),
    ):
        (own / "dictionary.json").write_text(json.dumps({**text, **change}))
        refused(own, words)
