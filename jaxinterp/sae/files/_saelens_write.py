"""Writing dictionaries in the layout of SAELens: `cfg.json` beside `sae_weights.safetensors`."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ..._deprecations import check_path_first
from ..._disk import put, unit
from ...core._sites import TRANSFORMER_LENS, UnknownSite, parse
from ...typing import JSON, ArrayLike, CoderLike, PathLike
from ..kinds._batch_topk import BatchThresholdDictionary
from ..kinds._coder import kind_name
from ..kinds._gated import GatedDictionary
from ..kinds._jumprelu import JumpReLUDictionary
from ..kinds._pursuit import PursuitDictionary
from ..kinds._relu import ReLUDictionary
from ..kinds._selected import SelectedDictionary
from ..kinds._temporal import TemporalDictionary
from ..kinds._topk import TopKDictionary
from ..kinds._transcoder import TranscoderDictionary
from ._origin import origin_of
from ._saelens import BY_ROW, THEIRS
from ._save import FIRST, unwrapped

WRITES = (
    "Vanilla",
    "Standard",
    "Gated",
    "TopK",
    "JumpReLU",
    "Transcoder",
    "Selected",
    "MatchingPursuit",
    "Temporal",
)


def save_saelens(
    path: PathLike,
    sae: CoderLike,
    *,
    site: str | None = None,
    model_name: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
    density: ArrayLike | None = None,
) -> Path:
    r"""Writes a folder that SAELens (6 and later) loads: `cfg.json`, `sae_weights.safetensors`.

    Scales are folded into the weights, so that the reader normalises nothing. BatchTopK and
    Matryoshka become `jumprelu` with their threshold, as SAELens itself does.

    **Arguments:**

    - `path`: the folder;
    - `sae`: the dictionary;
    - `site`: the site that it was trained on (`"resid_post[2]"`), by default its own. The config has its
      TransformerLens name. For `"z[2]"` the reader flattens the heads;
    - `model_name`: the name of the model for the config;
    - `metadata`: more of the config's metadata;
    - `density (features,)`: how often each feature fires, written as `sparsity.safetensors`.

    **Returns:** the folder.

    **Raises:** ValueError for a kind that the layout cannot hold (crosscoders, cross-layer
    transcoders, groupmax), before anything is written.

    ```python
    ji.sae.save_saelens("for_saelens", sae, site="resid_post[2]", model_name="gpt2")
    ```

    Law: `ji.sae.load` of the folder gives the same function to 1e-6.
    """
    from ...hub import save_safetensors

    check_path_first("ji.sae.save_saelens(path, sae)", path)
    site = origin_of(sae).site if site is None else site
    config, arrays = layout_of(sae)
    hook = None if site is None else hook_name(site)
    heads = site is not None and parse(site)[0] == "z"
    config |= {
        "dtype": "float32",
        "device": "cpu",
        "reshape_activations": "hook_z" if heads else "none",
        "metadata": {
            "sae_lens_version": "6.0.0",
            "model_name": model_name,
            "hook_name": hook,
            "training_architecture": kind_name(sae).lower(),
            **(metadata or {}),
        },
    }
    path = Path(path)
    files = {"sae_weights.safetensors": arrays}
    if density is not None:
        share = np.log10(np.asarray(density, np.float32) + 1e-10)
        files["sparsity.safetensors"] = {"sparsity": share}
    first = [
        *FIRST,
        "dictionary.json",
        "activation_scaler.json",
        "activation_whitening.safetensors",
    ]
    with unit(path, "dictionary", "cfg.json", first=first) as folder:
        for name, content in files.items():
            floats = {n: np.asarray(a, np.float32) for n, a in content.items()}
            save_safetensors(folder / name, floats)
        put(folder / "cfg.json", (json.dumps(config, indent=2) + "\n").encode())
    return path


class Layout(NamedTuple):
    """The `config` and the `arrays` of a dictionary by the names of SAELens."""

    config: dict[str, Any]
    arrays: dict[str, Any]


def layout_of(sae: CoderLike) -> Layout:
    """What SAELens holds of a dictionary; ValueError for kinds that it cannot hold."""
    mode, dictionary = unwrapped(sae)
    theirs = "none" if mode is None else {ours: theirs for theirs, ours in BY_ROW.items()}[mode]
    return layout(dictionary if dictionary is not None else sae, theirs)


@functools.singledispatch
def layout(sae: Any, mode: str) -> Layout:
    """The layout of one class of dictionaries; `mode` is SAELens's word for how rows are normalised."""
    raise ValueError(
        f"The SAELens layout holds {', '.join(WRITES)} and their kinds; got {kind_name(sae)}"
        f"{f' of rule {sae.rule!r}' if hasattr(sae, 'rule') else ''}. Save it whole: ji.sae.save(path, sae)."
    )


def _start(sae: Any, mode: str, architecture: str) -> Layout:
    """What most architectures have, of a dictionary that is folded."""
    config = {
        "architecture": architecture,
        "d_in": sae.d,
        "d_sae": sae.features,
        "apply_b_dec_to_input": sae.kind.centred,
        "normalize_activations": mode,
    }
    arrays = {"W_enc": sae.encoder, "W_dec": sae.decoder, "b_dec": sae.bias, "b_enc": sae.encoder_bias}
    return Layout(config, arrays)


def _folded(sae: Any) -> Any:
    return jax.tree.map(np.asarray, sae.fold())


@layout.register
def _(sae: ReLUDictionary, mode: str) -> Layout:
    return _start(_folded(sae), mode, "standard")


@layout.register
def _(sae: TopKDictionary, mode: str) -> Layout:
    config, arrays = _start(_folded(sae), mode, "topk")
    return Layout({**config, "k": sae.kind.k, "rescale_acts_by_decoder_norm": False}, arrays)


@layout.register
def _(sae: SelectedDictionary, mode: str) -> Layout:
    if sae.kind.rule != "abstopk":
        return layout.dispatch(object)(sae, mode)
    config, arrays = _start(_folded(sae), mode, "abstopk")
    return Layout({**config, "k": sae.kind.k, "rescale_acts_by_decoder_norm": False}, arrays)


@layout.register(BatchThresholdDictionary)
@layout.register(JumpReLUDictionary)
def _(sae: Any, mode: str) -> Layout:
    config, arrays = _start(sae := _folded(sae), mode, "jumprelu")
    threshold = np.broadcast_to(np.asarray(sae.threshold), (sae.features,))
    return Layout(config, {**arrays, "threshold": threshold})


@layout.register
def _(sae: GatedDictionary, mode: str) -> Layout:
    config, arrays = _start(sae := _folded(sae), mode, "gated")
    arrays["b_gate"] = arrays.pop("b_enc")
    return Layout(config, {**arrays, "r_mag": sae.gain, "b_mag": sae.magnitude_bias})


@layout.register
def _(sae: TranscoderDictionary, mode: str) -> Layout:
    name = "transcoder" if sae.skip is None else "skip_transcoder"
    name = name if sae.threshold is None else f"jumprelu_{name}"
    config, arrays = _start(sae := _folded(sae), mode, name)
    if sae.kind.centred:  # their inputs are not: the shift goes into the encoder's bias
        arrays["b_enc"] = arrays["b_enc"] - sae.input_bias @ sae.encoder
    if sae.skip is not None:
        arrays["W_skip"] = sae.skip.T
    if sae.threshold is not None:
        arrays["threshold"] = sae.threshold
    return Layout({**config, "apply_b_dec_to_input": False, "d_out": sae.decoder.shape[1]}, arrays)


@layout.register
def _(sae: PursuitDictionary, mode: str) -> Layout:
    config, arrays = _start(sae := _folded(sae), mode, "matching_pursuit")
    stopping = {
        "residual_threshold": sae.kind.residual,
        "max_iterations": sae.kind.turns,
        "stop_on_duplicate_support": sae.kind.once,
    }
    return Layout({**config, **stopping}, {name: arrays[name] for name in ("W_dec", "b_dec")})


@layout.register
def _(sae: TemporalDictionary, mode: str) -> Layout:
    """Its scale stays a scale: codes go through attention, where weights could not take it up."""
    kind, factor = sae.kind, float(sae.scale)
    arrays = {"W_dec": sae.decoder, "b_dec": sae.bias} | ({} if kind.tied else {"W_enc": sae.encoder})
    for ours, theirs in THEIRS.items():
        for end, part in (("", "weight"), ("_bias", "bias")):
            for layer, array in enumerate(np.asarray(getattr(sae, ours + end))):
                arrays[f"attn_layers.{layer}.{theirs}.{part}"] = array
    if factor != 1 and mode != "none":
        raise ValueError("SAELens scales the rows of a temporal dictionary or normalises them.")
    config = {
        "architecture": "temporal",
        "d_in": sae.d,
        "d_sae": sae.features,
        "apply_b_dec_to_input": kind.centred,
        "normalize_activations": mode if factor == 1 else "constant_scalar_rescale",
        "activation_normalization_factor": factor,
        "n_heads": kind.heads,
        "n_attn_layers": kind.layers,
        "bottleneck_factor": kind.bottleneck,
        "sae_diff_type": "relu" if kind.k is None else "topk",
        "kval_topk": kind.k,
        "tied_weights": kind.tied,
    }
    return Layout(config, arrays)


def hook_name(site: str) -> str:
    """A site's name in TransformerLens: `"resid_post[2]"` is `"blocks.2.hook_resid_post"`."""
    base, layer = parse(site)
    for theirs, ours in TRANSFORMER_LENS.items():
        if ours == base:
            return theirs.format(layer)
    raise UnknownSite(f"TransformerLens has no name for the site {site!r}.")
