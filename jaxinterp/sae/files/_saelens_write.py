"""Writing dictionaries in the layout of SAELens: `cfg.json` beside `sae_weights.safetensors`."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..._deprecations import check_path_first
from ..._disk import put, unit
from ...core._sites import TRANSFORMER_LENS, UnknownSite, parse
from ...typing import PathLike
from ..kinds._batch_topk import BatchTopK
from ..kinds._gated import Gated
from ..kinds._jumprelu import JumpReLU
from ..kinds._normalised import Normalised
from ..kinds._pursuit import MatchingPursuit
from ..kinds._selected import Selected, SelectedTranscoder
from ..kinds._standard import Standard
from ..kinds._temporal import Temporal
from ..kinds._topk import TopK
from ..kinds._transcoder import Transcoder
from ..kinds._vanilla import Vanilla
from ._origin import origin_of
from ._saelens import BY_ROW, THEIRS
from ._save import FIRST

WRITES = (
    Vanilla,
    Standard,
    Gated,
    TopK,
    JumpReLU,
    Transcoder,
    Selected,
    MatchingPursuit,
    Temporal,
)


def save_saelens(
    path: PathLike,
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

    **Arguments:** `path` of the folder; `sae`; `site` it was trained on (`"resid_post[2]"`; by default
    the dictionary's own), written under its TransformerLens name; at `"z[2]"` the reader puts heads side by side;
    `model_name`; `metadata`: more of the config's metadata; `density (features,)`: firing shares,
    written as `sparsity.safetensors`.

    **Returns:** the folder.

    **Raises:** ValueError for a kind that the layout cannot hold (crosscoders, cross-layer
    transcoders, groupmax), before anything is written.

    ```python
    ji.sae.save_saelens("folder", sae, site="resid_post[2]", model_name="gpt2")
    ```

    Law: `load_saelens` gives the same function back to 1e-6.
    """
    from ...hub import save_safetensors

    check_path_first("ji.sae.save_saelens(path, sae)", path)
    site = origin_of(sae).site if site is None else site
    config, arrays = _layout(sae)
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
            "training_architecture": type(sae).__name__.lower(),
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
            kept = {n: np.asarray(a, np.float32) for n, a in content.items()}
            save_safetensors(folder / name, kept)
        put(folder / "cfg.json", (json.dumps(config, indent=2) + "\n").encode())
    return path


def _layout(sae: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    mode = "none"
    if isinstance(sae, Normalised):
        mode = {ours: theirs for theirs, ours in BY_ROW.items()}[sae.mode]
        sae = sae.inner
    fits = isinstance(sae, WRITES) and not isinstance(sae, SelectedTranscoder)
    if not fits or (isinstance(sae, Selected) and sae.rule != "abstopk"):
        rule = getattr(sae, "rule", None)
        raise ValueError(
            f"The SAELens layout holds {', '.join(k.__name__ for k in WRITES)} and their kinds; got "
            f"{type(sae).__name__}{'' if rule is None else f' of rule {rule!r}'}. "
            "Save it whole: ji.sae.save(path, sae)."
        )
    if isinstance(sae, Temporal):
        return _temporal(sae, mode)
    sae = jax.tree.map(np.asarray, sae.fold())
    arrays = {"W_enc": sae.encoder, "W_dec": sae.decoder, "b_dec": sae.bias}
    config: dict[str, Any] = {
        "d_in": sae.d,
        "d_sae": sae.features,
        "apply_b_dec_to_input": sae.centred,
        "normalize_activations": mode,
    }
    if isinstance(sae, MatchingPursuit):
        more = {
            "residual_threshold": sae.residual,
            "max_iterations": sae.turns,
            "stop_on_duplicate_support": sae.once,
        }
        del arrays["W_enc"]
        return {"architecture": "matching_pursuit", **config, **more}, arrays
    if isinstance(sae, Gated):
        arrays |= {"b_gate": sae.encoder_bias, "r_mag": sae.gain, "b_mag": sae.magnitude_bias}
        return {"architecture": "gated", **config}, arrays
    arrays["b_enc"] = sae.encoder_bias
    if isinstance(sae, Transcoder):
        # Their inputs are not centred: the shift goes into the encoder's bias.
        if sae.centred:
            arrays["b_enc"] = sae.encoder_bias - sae.input_bias @ sae.encoder
        name = "transcoder" if sae.skip is None else "skip_transcoder"
        if sae.skip is not None:
            arrays["W_skip"] = sae.skip.T
        if sae.threshold is not None:
            name, arrays["threshold"] = f"jumprelu_{name}", sae.threshold
        config |= {"apply_b_dec_to_input": False, "d_out": sae.decoder.shape[1]}
        return {"architecture": name, **config}, arrays
    if isinstance(sae, BatchTopK | JumpReLU):
        arrays["threshold"] = np.broadcast_to(np.asarray(sae.threshold), (sae.features,))
        return {"architecture": "jumprelu", **config}, arrays
    if isinstance(sae, TopK | Selected):
        name = "topk" if isinstance(sae, TopK) else "abstopk"
        more = {"k": sae.k, "rescale_acts_by_decoder_norm": False}
        return {"architecture": name, **config, **more}, arrays
    return {"architecture": "standard", **config}, arrays


def _temporal(sae: Temporal, mode: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its scale stays a scale: codes go through attention, where weights could not take it up."""
    arrays = {"W_dec": sae.decoder, "b_dec": sae.bias} | ({} if sae.tied else {"W_enc": sae.encoder})
    for ours, theirs in THEIRS.items():
        for end, part in (("", "weight"), ("_bias", "bias")):
            for layer, array in enumerate(np.asarray(getattr(sae, ours + end))):
                arrays[f"attn_layers.{layer}.{theirs}.{part}"] = array
    factor = float(sae.scale)
    if factor != 1 and mode != "none":
        raise ValueError("SAELens scales the rows of a temporal dictionary or normalises them.")
    return {
        "architecture": "temporal",
        "d_in": sae.d,
        "d_sae": sae.features,
        "apply_b_dec_to_input": sae.centred,
        "normalize_activations": mode if factor == 1 else "constant_scalar_rescale",
        "activation_normalization_factor": factor,
        "n_heads": sae.heads,
        "n_attn_layers": sae.layers,
        "bottleneck_factor": sae.bottleneck,
        "sae_diff_type": "relu" if sae.k is None else "topk",
        "kval_topk": sae.k,
        "tied_weights": sae.tied,
    }, arrays


def hook_name(site: str) -> str:
    """A site's name in TransformerLens: `"resid_post[2]"` is `"blocks.2.hook_resid_post"`."""
    base, layer = parse(site)
    for theirs, ours in TRANSFORMER_LENS.items():
        if ours == base:
            return theirs.format(layer)
    raise UnknownSite(f"TransformerLens has no name for the site {site!r}.")
