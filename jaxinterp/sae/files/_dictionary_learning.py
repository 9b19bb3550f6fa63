"""Dictionaries of dictionary_learning: `ae.pt`, and the `config.json` of its training."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..._read import SIZE, TABLE, TEXT, check, or_null
from ..kinds._batch_topk import BatchTopK
from ..kinds._crosscoder import Crosscoder
from ..kinds._dictionary import Dictionary
from ..kinds._from_arrays import WAY_IN, assemble
from ..kinds._gated import Gated
from ..kinds._jumprelu import JumpReLU
from ..kinds._kind import Kind
from ..kinds._matryoshka import Matryoshka
from ..kinds._standard import Standard
from ..kinds._topk import TopK
from ..kinds._vanilla import Vanilla
from ._known_keys import as_float, check_axes, check_config, check_tensors, check_value, listed_tensors
from ._loaded import Loaded

LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
# Of each class the tensors that it needs, and those that it may have besides.
CLASSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "AutoEncoder": ((*LINEAR, "bias"), ()),
    "AutoEncoderNew": ((*LINEAR, "decoder.bias"), ()),
    "GatedAutoEncoder": (
        ("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"),
        (),
    ),
    "JumpReluAutoEncoder": (("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), ()),
    "AutoEncoderTopK": ((*LINEAR, "b_dec"), ("k", "threshold")),
    "BatchTopKSAE": ((*LINEAR, "b_dec", "threshold"), ("k",)),
    "MatryoshkaBatchTopKSAE": (
        ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "group_sizes"),
        ("k",),
    ),
    "CrossCoder": ((*LINEAR, "decoder.bias"), ()),
}
# How it was trained, and where: nothing that the finished weights do not hold.
TRAINER = (
    "dict_class",
    "trainer_class",
    "activation_dim",
    "dict_size",
    "k",
    "group_fractions",
    "group_weights",
    "group_sizes",
    "norm_factor",
    "lr",
    "steps",
    "seed",
    "device",
    "layer",
    "lm_name",
    "submodule_name",
    "wandb_name",
    "warmup_steps",
    "decay_start",
    "resample_steps",
    "sparsity_*",
    "l1_penalty",
    "p_start",
    "p_end",
    "anneal_*",
    "n_sparsity_updates",
    "auxk_alpha",
    "top_k_aux",
    "threshold_beta",
    "threshold_start_step",
    "k_anneal_steps",
    "bandwidth",
    "target_l0",
    "dtype",
)
BUFFER = (
    "d_submodule",
    "io",
    "n_ctxs",
    "ctx_len",
    "refresh_batch_size",
    "out_batch_size",
    "device",
    "remove_bos",
    "add_special_tokens",
    "max_activation_norm_multiple",
)


def load_dictionary_learning(path: Path, ignore: Iterable[str] = ()) -> Loaded:
    """dictionary_learning (https://github.com/saprmarks/dictionary_learning): `ae.pt`, `config.json`.

    A file alone is read by its tensors, with the `config.json` beside it where there is one.
    """
    from ...hub import read_json, read_torch

    file = path / "ae.pt" if path.is_dir() else path
    beside = file.parent / "config.json"
    config = dict(read_json(beside)) if beside.is_file() else {}
    check(beside, config, {"trainer": TABLE, "buffer": or_null(TABLE)})
    trainer = config.get("trainer", config)
    check(f"{beside}, trainer", trainer, {"dict_class": or_null(TEXT), "k": or_null(SIZE)})
    if "trainer" in config:
        check_config(path, config, ("trainer", "buffer"), ignore)
        check_config(f"{path}, buffer", config.get("buffer") or {}, BUFFER, ignore)
        check_value(f"{path}, buffer", config.get("buffer") or {}, "io", ("in", "out"))
    check_config(f"{path}, trainer", trainer, TRAINER, ignore)
    state = read_torch(file)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, no tensors by name. {WAY_IN}")
    a = {str(n): as_float(path, n, v) for n, v in state.items()}
    kind = str(trainer.get("dict_class") or _guess(path, a))
    if kind not in CLASSES:
        raise ValueError(
            f"{path}: dict_class {kind!r} cannot be read; known are {', '.join(CLASSES)}. It has "
            f"{listed_tensors(a)}. {WAY_IN}"
        )
    check_tensors(path, f"dictionary_learning's {kind}", a, *CLASSES[kind], ignore)
    axes = 3 if kind == "CrossCoder" else 2
    scalar = {} if kind == "JumpReluAutoEncoder" else {"threshold": 0}
    check_axes(
        path,
        a,
        encoder__weight=axes,
        decoder__weight=axes,
        W_enc=2,
        W_dec=2,
        encoder__bias=1,
        b_enc=1,
        b_dec=1,
        group_sizes=1,
        k=0,
        **scalar,
    )
    if kind == "CrossCoder":
        return Loaded(_crosscoder(a, path), config)
    linear = "encoder.weight" in a
    encoder = a["encoder.weight"].T if linear else a["W_enc"]
    decoder = a["decoder.weight"].T if linear else a["W_dec"]
    d, features = encoder.shape
    leaves = {"encoder": encoder, "decoder": decoder, "bias": a.get("b_dec")}
    if kind != "GatedAutoEncoder":
        leaves["encoder_bias"] = a["encoder.bias" if linear else "b_enc"]
    if kind == "AutoEncoder":
        # Read with decoder columns of norm 1, features in their units: the same reconstruction.
        norm = np.linalg.norm(decoder, axis=-1)
        if decoder.shape[0] != features or leaves["encoder_bias"].shape != (features,):
            raise ValueError(f"{path}: an AutoEncoder of {features} features has {listed_tensors(a)}.")
        if not (norm > 0).all():
            raise ValueError(
                f"{path}: an AutoEncoder's columns of decoder.weight have a norm above 0; some are 0."
            )
        leaves |= {
            "encoder": encoder * norm[None],
            "encoder_bias": leaves["encoder_bias"] * norm,
            "decoder": decoder / norm[:, None],
            "bias": a["bias"],
        }
        ours: Kind = Vanilla(d=d, features=features)
    elif kind == "AutoEncoderNew":
        ours, leaves["bias"] = Standard(d=d, features=features), a["decoder.bias"]
    elif kind == "GatedAutoEncoder":
        ours = Gated(d=d, features=features)
        leaves |= {
            "bias": a["decoder_bias"],
            "encoder_bias": a["gate_bias"],
            "gain": a["r_mag"],
            "magnitude_bias": a["mag_bias"],
        }
    elif kind == "JumpReluAutoEncoder":
        ours = JumpReLU(d=d, features=features, centred=False)
        leaves["threshold"] = a["threshold"]
    else:
        k = a["k"].item() if "k" in a else trainer.get("k")
        if k is None:
            raise ValueError(f"{path}: {kind} needs k, in ae.pt or in config.json.")
        if not 1 <= k <= features or k != int(k):
            raise ValueError(f"{path}: {kind} needs k, an int from 1 to its {features} features; got {k!r}.")
        ours = _chosen(kind, d, features, int(k), a)
        if kind != "AutoEncoderTopK":
            leaves["threshold"] = float(a["threshold"])
            if leaves["threshold"] < 0:
                raise ValueError(
                    f"{path}: the threshold was never set ({leaves['threshold']}); train on, or calibrate it."
                )
    return Loaded(assemble(ours, leaves, path), config)


def _chosen(kind: str, d: int, features: int, k: int, a: Any) -> Kind:
    """The kinds that keep the largest of a row or of a batch."""
    if kind == "AutoEncoderTopK":
        return TopK(d=d, features=features, k=k)
    if kind == "BatchTopKSAE":
        return BatchTopK(d=d, features=features, k=k)
    groups = tuple(float(g) / features for g in a["group_sizes"])
    return Matryoshka(d=d, features=features, k=k, groups=groups)


def _crosscoder(a: dict[str, Any], path: Path) -> Dictionary:
    """The crosscoder of its forks; `encoder.weight (source, d, features)`, `decoder.weight (source, features, d)`."""
    sources, d, features = a["encoder.weight"].shape
    leaves = {
        "encoder": a["encoder.weight"],
        "encoder_bias": a["encoder.bias"],
        "decoder": np.swapaxes(a["decoder.weight"], 0, 1),
        "bias": a["decoder.bias"],
    }
    return assemble(Crosscoder(d=d, features=features, sources=sources), leaves, path)


def _guess(path: Path, arrays: dict[str, Any]) -> str:
    """The class whose tensors these are, of a file that does not say it."""
    if np.ndim(arrays.get("encoder.weight", 0)) == 3:
        return "CrossCoder"
    kinds = [
        kind
        for kind, (needed, more) in CLASSES.items()
        if kind != "CrossCoder" and set(needed) <= set(arrays) <= {*needed, *more}
    ]
    if "BatchTopKSAE" in kinds and np.max(arrays["threshold"], initial=-1) < 0:
        kinds.remove("BatchTopKSAE")  # it cannot be used without its threshold
    if len(kinds) == 1:
        return kinds[0]
    which = f"could be of {' or '.join(kinds)}" if kinds else f"is of none of {', '.join(CLASSES)}"
    raise ValueError(
        f"{path} {which}, and no config.json says its dict_class. It has {listed_tensors(arrays)}. Say it "
        'there, {"trainer": {"dict_class": "..."}}. ' + WAY_IN
    )
