"""Dictionaries of sparsify, and OpenAI's of GPT-2."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..._read import FLAG, SIZE, TABLE, TEXT, check, integer, or_null
from ..kinds._from_arrays import assemble
from ..kinds._kind import Kind
from ..kinds._normalised import Normalised
from ..kinds._selected import Selected, SelectedTranscoder
from ..kinds._topk import TopK
from ..kinds._vanilla import Vanilla
from ._known_keys import (
    as_float,
    check_axes,
    check_config,
    check_tensors,
    check_value,
    float_tensors,
)
from ._loaded import Loaded

CONFIG = {
    "activation": TEXT,
    "k": or_null(SIZE),
    "d_in": or_null(integer()),
    "num_latents": or_null(integer()),
    **dict.fromkeys(("signed", "transcode", "skip_connection"), or_null(FLAG)),
}
SPARSIFY = (
    "activation",
    "k",
    "signed",
    "transcode",
    "skip_connection",
    "num_latents",
    "d_in",
    "expansion_factor",
    "normalize_decoder",
    "multi_topk",  # of sizes, first weights and the loss
)


def load_sparsify(path: Path, ignore: Iterable[str] = ()) -> Loaded:
    """EleutherAI's sparsify (https://github.com/EleutherAI/sparsify): `cfg.json`, `sae.safetensors`."""
    from ...hub import read_json

    config = check(path / "cfg.json", read_json(path / "cfg.json"), CONFIG)
    arrays = float_tensors(path / "sae.safetensors")
    check_config(path, config, SPARSIFY, ignore)
    rule, k = config.get("activation", "topk"), config.get("k")
    if rule not in ("topk", "groupmax") or config.get("signed"):
        raise ValueError(
            f"{path}: the activations 'topk' and 'groupmax' can be read, without signs; the config "
            f"has {rule!r}, signed={config.get('signed')}."
        )
    if k is None:
        raise ValueError(f"{path}: sparsify's cfg.json needs k, an int; got {k!r}.")
    reads = "encoder.weight" if "W_enc" not in arrays else "W_enc"
    writes = "W_dec" if "decoder.weight" not in arrays else "decoder.weight"
    needed = [reads, "encoder.bias", writes, "b_dec"]
    needed += ["W_skip"] if config.get("skip_connection") else []
    check_tensors(path, "sparsify's", arrays, needed, ("W_skip",), ignore)
    check_axes(path, arrays, encoder__weight=2, W_enc=2, decoder__weight=2, W_dec=2, W_skip=2)
    encoder = arrays[reads].T if reads == "encoder.weight" else arrays[reads]
    decoder = arrays[writes] if writes == "W_dec" else arrays[writes].T
    d, features = encoder.shape
    stated = config.get("d_in") or d, config.get("num_latents") or features
    if stated != (d, features):
        raise ValueError(
            f"{path}: the config says d_in={stated[0]}, num_latents={stated[1]}; the encoder reads {d} "
            f"and has {features} features. Are the files of one dictionary?"
        )
    leaves = {
        "encoder": encoder,
        "encoder_bias": arrays["encoder.bias"],
        "decoder": decoder,
        "bias": arrays["b_dec"],
    }
    across, skip = bool(config.get("transcode")), arrays.get("W_skip")
    if across or skip is not None:
        # An autoencoder with a skip is a transcoder to its own inputs, which it centres.
        ours: Kind = SelectedTranscoder(
            d=d, features=features, k=k, rule=rule, skip=skip is not None, centred=not across
        )
        leaves["input_bias"] = np.zeros(d) if across else leaves["bias"]
        leaves |= {} if skip is None else {"skip": skip.T}
    elif rule == "topk":
        ours = TopK(d=d, features=features, k=k)
    else:
        ours = Selected(d=d, features=features, k=k, rule=rule)
    return Loaded(assemble(ours, leaves, path), config)


def load_openai(path: Path, ignore: Iterable[str] = ()) -> Loaded:
    """OpenAI's GPT-2 dictionaries (https://github.com/openai/sparse_autoencoder): one torch file."""
    from ...hub import read_torch

    state = check(
        path, read_torch(path), {"activation": or_null(TEXT), "activation_state_dict": or_null(TABLE)}
    )
    statistics = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
    check_tensors(
        path,
        "OpenAI's dictionary of GPT-2",
        state,
        ("pre_bias", "latent_bias", "encoder.weight", "decoder.weight"),
        ("activation", "activation_state_dict", *statistics),
        ignore,
    )
    check_value(path, state, "activation", ("ReLU", "TopK"))
    kind, details = state.get("activation") or "ReLU", state.get("activation_state_dict") or {}
    check_config(
        f"{path}, activation_state_dict",
        details,
        ("k", "postact_fn") if kind == "TopK" else (),
        ignore,
    )
    names = ("encoder.weight", "decoder.weight", "latent_bias", "pre_bias")
    state = {**state, **{name: as_float(path, name, state[name]) for name in names}}
    check_axes(path, state, encoder__weight=2, decoder__weight=2, latent_bias=1, pre_bias=1)
    encoder, decoder = state["encoder.weight"].T, state["decoder.weight"].T
    d, features = encoder.shape
    leaves = {
        "encoder": encoder,
        "decoder": decoder,
        "encoder_bias": state["latent_bias"],
        "bias": state["pre_bias"],
    }
    if kind == "ReLU":
        return Loaded(assemble(Vanilla(d=d, features=features), leaves, path), {"activation": kind})
    check_value(f"{path}, activation_state_dict", details, "postact_fn", ("ReLU",))
    if "k" not in details:
        raise ValueError(f"{path}: TopK needs k in activation_state_dict; it has {list(details)}.")
    k = check(f"{path}, activation_state_dict", details, {"k": SIZE})["k"]
    # The TopK releases read rows of mean 0 and deviation 1.
    sae = Normalised(assemble(TopK(d=d, features=features, k=k), leaves, path), "layer")
    return Loaded(sae, {"activation": kind, "k": k})
