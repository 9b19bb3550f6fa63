"""Dictionaries in the layout of SAELens: `cfg.json` beside `sae_weights.safetensors`."""

import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._sites import TRANSFORMER_LENS, UnknownSite, parse
from ._batch_topk import BatchTopK
from ._dictionary import filled
from ._gated import Gated
from ._jumprelu import JumpReLU
from ._normalised import Normalised
from ._standard import Standard
from ._topk import TopK
from ._transcoder import Transcoder
from ._vanilla import Vanilla

SOURCE = "https://github.com/jbloomAus/SAELens"
READS = (
    "standard", "jumprelu", "gated", "topk", "transcoder", "skip_transcoder",
    "jumprelu_transcoder", "jumprelu_skip_transcoder",
)  # fmt: skip


def load_saelens(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """`path/cfg.json` and `sae_weights.safetensors`, of any version: the dictionary and its config.

    **Raises:** ValueError for an architecture or a normalisation that cannot be had from the files,
    and for weights of another shape than the config says.

    Law: what `save_saelens` wrote comes back, and forwards agree with SAELens to 1e-6.
    """
    from ..hub import open_safetensors, read_json

    path = Path(path)
    config = modern(read_json(path / "cfg.json"))
    arrays = {
        n: _float(t.read()) for n, t in open_safetensors(path / "sae_weights.safetensors").items()
    }
    return build(config, arrays, path), config


def modern(config: dict[str, Any]) -> dict[str, Any]:
    """A flat config of versions before 6 in the words of today's; others as they are."""
    config = dict(config)
    meta = dict(config.get("metadata") or {})
    version = str(meta.get("sae_lens_version") or config.get("sae_lens_version") or "0")
    if version.split(".", maxsplit=1)[0].isdigit() and int(version.split(".", maxsplit=1)[0]) >= 6:
        return config
    renamed = {
        "hook_point": "hook_name", "hook_point_head_index": "hook_head_index",
        "activation_fn_str": "activation_fn",
    }  # fmt: skip
    config = {renamed.get(name, name): value for name, value in config.items()}
    config.setdefault("architecture", "standard")
    config.setdefault("apply_b_dec_to_input", True)
    kwargs = config.get("activation_fn_kwargs") or {}
    if config.get("activation_fn") == "topk" and config["architecture"] == "standard":
        config["architecture"], config["k"] = "topk", kwargs.get("k")
    norm = config.get("normalize_activations", "none")
    if isinstance(norm, bool):
        config["normalize_activations"] = "expected_average_only_in" if norm else "none"
    meta.setdefault("hook_name", config.get("hook_name"))
    config.setdefault(
        "reshape_activations", "hook_z" if "hook_z" in str(config.get("hook_name")) else "none"
    )
    config["metadata"] = meta
    return config


def build(config: dict[str, Any], arrays: dict[str, Any], path: Any) -> Any:
    """The dictionary of a config and its arrays by their names."""
    kind = config.get("architecture", "standard")
    if kind not in READS:
        raise ValueError(
            f"{path}: the architecture {kind!r} cannot be read; known are {', '.join(READS)}."
        )
    for name in ("W_enc", "W_dec", "b_dec"):
        if name not in arrays:
            raise ValueError(f"{path} lacks the tensor {name!r}; it has {sorted(arrays)}.")
    d, features = arrays["W_enc"].shape
    said = config.get("d_in", d), config.get("d_sae", features)
    if said != (d, features) or arrays["W_dec"].shape[0] != features:
        raise ValueError(
            f"{path}: the config says d_in={said[0]}, d_sae={said[1]}, and W_enc is "
            f"{arrays['W_enc'].shape}, W_dec {arrays['W_dec'].shape}. Are the files of one dictionary?"
        )
    scaling = arrays.get("scaling_factor")
    if scaling is not None and not np.allclose(scaling, 1):
        raise ValueError(f"{path}: scaling_factor is not 1, which no released reader supports.")
    centred = bool(config.get("apply_b_dec_to_input", True))
    common = {
        "encoder": arrays["W_enc"], "encoder_bias": arrays.get("b_enc"),
        "decoder": arrays["W_dec"], "bias": arrays["b_dec"], "scale": jnp.ones(()),
    }  # fmt: skip
    if "transcoder" in kind:
        return _transcoder(d, features, arrays, common)
    if kind == "gated":
        blank = Gated(d=d, features=features)
        common |= {
            "encoder_bias": arrays["b_gate"], "gain": arrays["r_mag"],
            "magnitude_bias": arrays["b_mag"],
        }  # fmt: skip
    elif kind == "topk":
        if config.get("k") is None:
            raise ValueError(f"{path}: a topk dictionary needs k in its config.")
        blank = TopK(d=d, features=features, k=int(config["k"]), centred=centred)
        if config.get("rescale_acts_by_decoder_norm"):
            common = by_norm(common)
    elif kind == "jumprelu":
        blank = JumpReLU(d=d, features=features, centred=centred)
        common["log_threshold"] = jnp.log(jnp.maximum(arrays["threshold"], 0))
    else:
        blank = Vanilla(d=d, features=features) if centred else Standard(d=d, features=features)
    sae = filled(blank, **common)
    mode = config.get("normalize_activations", "none") or "none"
    if mode in ("layer_norm", "constant_norm_rescale"):
        return Normalised(sae, "layer" if mode == "layer_norm" else "constant")
    if mode != "none":
        raise ValueError(
            f"{path} was trained on activations normalised by {mode!r}, and the factor is not in "
            "the files: fold it into the weights before saving (SAELens: "
            "sae.fold_activation_norm_scaling_factor(factor))."
        )
    return sae


def _transcoder(d: int, features: int, arrays: Any, common: Any) -> Transcoder:
    out = arrays["W_dec"].shape[1]
    skip = arrays.get("W_skip")
    blank = Transcoder(d=d, features=features, d_out=out, skip=skip is not None, centred=False)
    common |= {"input_bias": jnp.zeros(d)}
    if skip is not None:
        common["skip"] = skip.T
    if "threshold" in arrays:
        common["threshold"] = arrays["threshold"]
    return filled(blank, **common)


def by_norm(leaves: dict[str, Any]) -> dict[str, Any]:
    """Features in units of their decoder's norm, so that a plain comparison ranks them."""
    norm = jnp.maximum(jnp.linalg.norm(leaves["decoder"], axis=-1), 1e-8)
    return {
        **leaves, "encoder": leaves["encoder"] * norm[None],
        "encoder_bias": leaves["encoder_bias"] * norm, "decoder": leaves["decoder"] / norm[:, None],
    }  # fmt: skip


def save_saelens(
    path: str | Path,
    sae: Any,
    *,
    site: str | None = None,
    model_name: str | None = None,
    metadata: dict[str, Any] | None = None,
    density: Any = None,
) -> Path:
    r"""Writes a folder that SAELens (6 and later) loads: `cfg.json`, `sae_weights.safetensors`.

    Scales are folded into the weights, so that the reader normalises nothing. BatchTopK and
    Matryoshka become `jumprelu` with their threshold, as SAELens itself does.

    **Arguments:** `path` of the folder; `sae`; `site` it was trained on (`"resid_post[2]"`), written
    under its TransformerLens name; `model_name`; `metadata`: more of the config's metadata;
    `density (features,)`: firing shares, written as `sparsity.safetensors`.

    **Returns:** the folder.

    **Raises:** ValueError for a kind that the layout cannot hold (crosscoders, cross-layer
    transcoders), before anything is written.

    ```python
    ji.sae.save_saelens("folder", sae, site="resid_post[2]", model_name="gpt2")
    ```

    Law: `load_saelens` gives the same function back to 1e-6.
    """
    from ..hub import save_safetensors

    config, arrays = _layout(sae)
    hook = None if site is None else hook_name(site)
    config |= {
        "dtype": "float32", "device": "cpu", "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.0.0", "model_name": model_name, "hook_name": hook,
            "training_architecture": type(sae).__name__.lower(), **(metadata or {}),
        },
    }  # fmt: skip
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    files = {"sae_weights.safetensors": arrays}
    if density is not None:
        share = np.log10(np.asarray(density, np.float32) + 1e-10)
        files["sparsity.safetensors"] = {"sparsity": share}
    for name, content in files.items():
        partial = path / (name + ".partial")
        save_safetensors(partial, {n: np.asarray(a, np.float32) for n, a in content.items()})
        os.replace(partial, path / name)
    partial = path / "cfg.json.partial"
    partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path / "cfg.json")
    return path


def _layout(sae: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    mode = "none"
    if isinstance(sae, Normalised):
        mode = {"layer": "layer_norm", "constant": "constant_norm_rescale"}[sae.mode]
        sae = sae.inner
    known = (Vanilla, Standard, Gated, TopK, JumpReLU, Transcoder)
    if not isinstance(sae, known):
        raise ValueError(
            f"The SAELens layout holds {', '.join(k.__name__ for k in known)} and their kinds; got "
            f"{type(sae).__name__}. Save it whole: ji.sae.save(path, sae)."
        )
    sae = sae.fold()
    arrays = {"W_enc": sae.encoder, "W_dec": sae.decoder, "b_dec": sae.bias}
    config: dict[str, Any] = {
        "d_in": sae.d, "d_sae": sae.features, "apply_b_dec_to_input": sae.centred,
        "normalize_activations": mode,
    }  # fmt: skip
    if isinstance(sae, Gated):
        arrays |= {"b_gate": sae.encoder_bias, "r_mag": sae.gain, "b_mag": sae.magnitude_bias}
        return {"architecture": "gated", **config}, arrays
    arrays["b_enc"] = sae.encoder_bias
    if isinstance(sae, Transcoder):
        # Their inputs are not centred: the shift goes into the encoder's bias.
        if sae.centred:
            arrays["b_enc"] = sae.encoder_bias - jnp.matmul(
                sae.input_bias, sae.encoder, precision="highest"
            )
        name = "transcoder" if sae.skip is None else "skip_transcoder"
        if sae.skip is not None:
            arrays["W_skip"] = sae.skip.T
        if sae.threshold is not None:
            name, arrays["threshold"] = f"jumprelu_{name}", sae.threshold
        config |= {"apply_b_dec_to_input": False, "d_out": sae.decoder.shape[1]}
        return {"architecture": name, **config}, arrays
    if isinstance(sae, BatchTopK | JumpReLU):
        arrays["threshold"] = jnp.broadcast_to(sae.threshold, (sae.features,))
        return {"architecture": "jumprelu", **config}, arrays
    if isinstance(sae, TopK):
        more = {"k": sae.k, "rescale_acts_by_decoder_norm": False}
        return {"architecture": "topk", **config, **more}, arrays
    return {"architecture": "standard", **config}, arrays


def hook_name(site: str) -> str:
    """A site's name in TransformerLens: `"resid_post[2]"` is `"blocks.2.hook_resid_post"`."""
    base, layer = parse(site)
    for theirs, ours in TRANSFORMER_LENS.items():
        if ours == base:
            return theirs.format(layer)
    raise UnknownSite(f"TransformerLens has no name for the site {site!r}.")


def _float(array: np.ndarray) -> Any:
    return jnp.asarray(np.asarray(array, np.float32))
