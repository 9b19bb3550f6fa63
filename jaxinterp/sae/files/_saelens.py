"""Reading dictionaries in the layout of SAELens: `cfg.json` beside `sae_weights.safetensors`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..._read import check, number, or_null
from ..kinds._batch_topk import BatchTopK
from ..kinds._coder import Coder
from ..kinds._dictionary import Dictionary
from ..kinds._from_arrays import assemble
from ..kinds._gated import Gated
from ..kinds._jumprelu import JumpReLU
from ..kinds._matryoshka import Matryoshka
from ..kinds._normalised import Normalised
from ..kinds._pursuit import MatchingPursuit
from ..kinds._selected import Selected
from ..kinds._standard import Standard
from ..kinds._temporal import ATTENTION, Temporal
from ..kinds._topk import TopK
from ..kinds._transcoder import Transcoder
from ..kinds._vanilla import Vanilla
from ._folding import check_factor, folded
from ._known_keys import check_axes, check_tensors, float_tensors
from ._loaded import Loaded
from ._saelens_config import CONFIG, check_saelens, modern

SOURCE = "https://github.com/jbloomAus/SAELens"
READS = (
    "standard",
    "jumprelu",
    "gated",
    "topk",
    "abstopk",
    "batchtopk",
    "matryoshka_batchtopk",
    "matching_pursuit",
    "temporal",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)
BY_ROW = {"layer_norm": "layer", "constant_norm_rescale": "constant"}


def load_saelens(path: str | Path, factor: Any = None, ignore: Iterable[str] = ()) -> Loaded:
    """`path/cfg.json` and `sae_weights.safetensors`, of any version: the dictionary and its config.

    A checkpoint of a training run is read too: what it normalised by is beside it.

    **Raises:** ValueError for an architecture or a normalisation that cannot be had from the files,
    for a key or a tensor that is not known, and for weights of another shape than the config says.

    Law: what `save_saelens` wrote comes back, and forwards agree with SAELens to 1e-6.
    """
    from ...hub import read_json

    path = Path(path)
    raw = dict(read_json(path / "cfg.json"))
    check(path / "cfg.json", raw, CONFIG)
    config = modern(raw)
    tensors = lambda name: float_tensors(path / name)
    scaler = path / "activation_scaler.json"
    if factor is not None:
        check_factor(factor, config, path)
    elif scaler.is_file():
        about = check(scaler, read_json(scaler), {"scaling_factor": or_null(number(0, above=True))})
        factor = about.get("scaling_factor")
    whitening = path / "activation_whitening.safetensors"
    white = tensors(whitening.name) if whitening.is_file() else None
    arrays = tensors("sae_weights.safetensors")
    return Loaded(build(config, arrays, path, factor, white, ignore), config)


def build(
    config: dict[str, Any],
    arrays: dict[str, Any],
    path: Any,
    factor: Any = None,
    white: Any = None,
    ignore: Iterable[str] = (),
) -> Coder:
    """The dictionary of a config and its arrays by their names."""
    kind = config.get("architecture") or "standard"
    check_saelens(path, config, READS, ignore)
    arrays = dict(arrays)
    if "log_threshold" in arrays:
        arrays["threshold"] = np.exp(arrays.pop("log_threshold"))
    if "topk_threshold" in arrays:
        arrays["threshold"] = arrays.pop("topk_threshold")
    needed, more = _tensors(kind, config)
    check_tensors(path, f"SAELens's {kind!r}", arrays, needed, more, ignore)
    check_axes(
        path,
        arrays,
        W_dec=2,
        W_enc=2,
        W_skip=2,
        b_enc=1,
        b_dec=1,
        b_gate=1,
        r_mag=1,
        b_mag=1,
        scaling_factor=1,
    )
    _check_sizes(path, arrays)
    features, d = arrays["W_dec"].shape
    d = arrays["W_enc"].shape[0] if "W_enc" in arrays else d
    there = arrays["W_enc"].shape if "W_enc" in arrays else (d, features)
    out = arrays["W_dec"].shape[1]
    stated = config.get("d_in", d), config.get("d_sae", features), config.get("d_out", out)
    if stated != (d, features, out) or there[1] != features:
        raise ValueError(
            f"{path}: the config says d_in={stated[0]}, d_sae={stated[1]}, d_out={stated[2]}, and W_enc "
            f"is {there}, W_dec {arrays['W_dec'].shape}. Are the files of one dictionary?"
        )
    arrays = folded(kind, config, arrays, path, factor, white)
    mode = config.get("normalize_activations", "none") or "none"
    sae = _kind(kind, d, features, config, arrays, path)
    return Normalised(sae, BY_ROW[mode]) if mode in BY_ROW else sae


def _check_sizes(path: Any, arrays: dict[str, Any]) -> None:
    """Vectors are as long as the matrices that they go with."""
    features, out = arrays["W_dec"].shape
    sizes = {"b_dec": out, **dict.fromkeys(("b_enc", "b_gate", "r_mag", "b_mag", "scaling_factor"), features)}
    for name, size in sizes.items():
        if name in arrays and arrays[name].shape != (size,):
            raise ValueError(
                f"{path}: {name!r} has the shape {arrays[name].shape}, and W_dec is {(features, out)}."
            )


def _tensors(kind: str, config: Any) -> tuple[list[str], tuple[str, ...]]:
    """The tensors that an architecture needs, and those that it may have."""
    needed = ["W_dec", "b_dec"]
    if kind == "temporal":
        layers = range(config.get("n_attn_layers", 1))
        parts = [
            (layer, theirs, end)
            for layer in layers
            for theirs in THEIRS.values()
            for end in ("weight", "bias")
        ]
        needed += [f"attn_layers.{layer}.{theirs}.{end}" for layer, theirs, end in parts]
        return needed + ([] if config.get("tied_weights", True) else ["W_enc"]), ()
    if kind == "matching_pursuit":
        return needed, ()
    if kind == "gated":  # releases before 6 hold the bias of other architectures besides, unused
        return ["W_enc", *needed, "b_gate", "r_mag", "b_mag"], ("b_enc", "scaling_factor")
    needed = ["W_enc", "b_enc", *needed]
    needed += ["threshold"] if "jumprelu" in kind or "batchtopk" in kind else []
    needed += ["W_skip"] if "skip" in kind else []
    return needed, ("scaling_factor",)


def _kind(kind: str, d: int, features: int, config: Any, arrays: Any, path: Any) -> Dictionary:
    """The kind of an architecture with its weights."""
    centred = bool(config.get("apply_b_dec_to_input", True))
    k = config.get("k")
    whole = isinstance(k, int | float) and (k == int(k) or "batch" in kind)
    if kind.endswith("topk") and not whole:
        raise ValueError(f"{path}: a {kind} dictionary needs k in its config, an int; got {k!r}.")
    common = {"decoder": arrays["W_dec"], "bias": arrays["b_dec"], "scale": 1.0}
    if kind == "matching_pursuit":
        least = arrays.get("residual_threshold", config.get("residual_threshold", 1e-2))
        ours = MatchingPursuit(
            d=d,
            features=features,
            residual=least,
            turns=config.get("max_iterations"),
            centred=centred,
            once=config.get("stop_on_duplicate_support", True),
        )
        return assemble(ours, common, path)
    if kind == "temporal":
        return _temporal(d, features, config, arrays, common, path)
    common |= {"encoder": arrays["W_enc"], "encoder_bias": arrays.get("b_enc")}
    if "transcoder" in kind:
        return _transcoder(d, features, arrays, common, path)
    if kind == "gated":
        ours = Gated(d=d, features=features)
        # Ours is centred; where theirs is not, the biases of gate and magnitude make up for it.
        away = 0 if centred else arrays["b_dec"] @ arrays["W_enc"]
        common |= {
            "encoder_bias": arrays["b_gate"] + away,
            "gain": arrays["r_mag"],
            "magnitude_bias": arrays["b_mag"] + away * np.exp(arrays["r_mag"]),
        }
    elif kind == "topk":
        ours = TopK(d=d, features=features, k=int(k), centred=centred)
    elif kind == "abstopk":
        ours = Selected(d=d, features=features, k=int(k), rule="abstopk", centred=centred)
    elif "batchtopk" in kind:  # of a training run: at inference they are written as jumprelu
        options = {"d": d, "features": features, "k": max(1, round(float(k))), "centred": centred}
        ends = list(config.get("matryoshka_widths") or [])
        ends += [features] * (not ends or ends[-1] != features)
        shares = tuple(float(w) / features for w in np.diff([0, *ends]))
        ours = Matryoshka(**options, groups=shares) if kind[0] == "m" else BatchTopK(**options)
        common["threshold"] = arrays["threshold"]
    elif kind == "jumprelu":
        ours = JumpReLU(d=d, features=features, centred=centred)
        common["threshold"] = arrays["threshold"]
    else:
        ours = Vanilla(d=d, features=features) if centred else Standard(d=d, features=features)
    return assemble(ours, common, path)


def _transcoder(d: int, features: int, arrays: Any, common: Any, path: Any) -> Dictionary:
    out = arrays["W_dec"].shape[1]
    skip = arrays.get("W_skip")
    ours = Transcoder(d=d, features=features, d_out=out, skip=skip is not None, centred=False)
    if skip is not None:
        common["skip"] = skip.T
    if "threshold" in arrays:
        common["threshold"] = arrays["threshold"]
    return assemble(ours, common, path)


THEIRS = dict(zip(ATTENTION, ("q_target", "k_ctx", "v_ctx", "c_proj"), strict=True))


def _temporal(d: int, features: int, config: Any, arrays: Any, common: Any, path: Any) -> Dictionary:
    tied, layers = bool(config.get("tied_weights", True)), int(config.get("n_attn_layers", 1))
    top = config.get("sae_diff_type", "topk") == "topk"
    kind = Temporal(
        d=d,
        features=features,
        heads=int(config.get("n_heads", 8)),
        layers=layers,
        tied=tied,
        bottleneck=int(config.get("bottleneck_factor", 64)),
        k=config.get("kval_topk") if top else None,
        centred=bool(config.get("apply_b_dec_to_input", True)),
    )
    for ours, theirs in THEIRS.items():
        for end, part in (("", "weight"), ("_bias", "bias")):
            each = [arrays[f"attn_layers.{i}.{theirs}.{part}"] for i in range(layers)]
            common[ours + end] = np.stack(each)
    if config.get("normalize_activations") == "constant_scalar_rescale":
        common["scale"] = config.get("activation_normalization_factor", 1.0)
    return assemble(kind, common | ({} if tied else {"encoder": arrays["W_enc"]}), path)
