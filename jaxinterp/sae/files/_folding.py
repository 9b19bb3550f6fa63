"""What dictionaries of SAELens were trained on, folded into their arrays: scales, whitening, norms."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

Arrays: TypeAlias = dict[str, Any]
"Arrays of NumPy by the names of SAELens; `residual_threshold` is a number."
Config: TypeAlias = Mapping[str, Any]
"A `cfg.json` of SAELens."


def folded(kind: str, config: Config, arrays: Arrays, path: Any, factor: Any, white: Any) -> Arrays:
    r"""The arrays of a dictionary that reads activations as they are.

    With inputs multiplied by s: $W_e s$, $W_d / s$, $b_d / s$. With inputs whitened, $(x - m) M$:
    $M W_e$, $W_d M^{-1}$, $b_d M^{-1} + m$. Where features are ranked by $f_i \lVert d_i \rVert$, the
    norms go from the decoder into the encoder.

    **Raises:** ValueError where a factor is needed and not there, or there and not needed.
    """
    arrays = dict(arrays)
    mode = config.get("normalize_activations") or "none"
    centred = bool(config.get("apply_b_dec_to_input", True))
    ranked = bool(config.get("rescale_acts_by_decoder_norm")) and "topk" in kind
    _tune(config, arrays, path)
    if mode == "covariance_whitening" and white is not None:
        arrays = _whitened(by_norm(arrays) if ranked else arrays, white, centred)
        return arrays
    if mode == "expected_average_only_in" and factor is not None and kind != "temporal":
        arrays = _scaled(kind, config, arrays, factor, ranked)
    elif kind == "temporal" and mode == "expected_average_only_in":
        raise ValueError(f"{path}: a temporal dictionary of rows normalised by {mode!r} cannot be read.")
    elif mode in ("expected_average_only_in", "covariance_whitening"):
        raise ValueError(
            f"{path} was trained on activations normalised by {mode!r}, which is not in the files. "
            "Where it is a factor, give it: ji.sae.load(path, factor=...); its authors state it, "
            "and of your activations it is sqrt(d) over their mean norm."
        )
    return by_norm(arrays) if ranked else arrays


def check_factor(factor: Any, config: Config, path: Any) -> None:
    """A number above 0, of a dictionary that wants one."""
    check_number(factor)
    mode = config.get("normalize_activations") or "none"
    if mode != "expected_average_only_in":
        raise ValueError(
            f"{path} wants no factor, its config says normalize_activations={mode!r}: load it "
            "without factor=."
        )


def check_number(factor: Any) -> None:
    """A number above 0."""
    if isinstance(factor, bool) or np.ndim(factor) != 0 or not 0 < factor < np.inf:
        raise ValueError(f"factor is a number above 0; got {factor!r}.")


def by_norm(arrays: Arrays) -> Arrays:
    """Features in units of their decoder's norm, so that a plain comparison ranks them."""
    norm = np.maximum(np.linalg.norm(arrays["W_dec"], axis=-1), 1e-8)
    return {
        **arrays,
        "W_enc": arrays["W_enc"] * norm[None],
        "b_enc": arrays["b_enc"] * norm,
        "W_dec": arrays["W_dec"] / norm[:, None],
    }


def _tune(config: Config, arrays: Arrays, path: Any) -> None:
    """Features that were finetuned are multiplied on their way out: that is the decoder's rows."""
    scaling = arrays.pop("scaling_factor", None)
    if scaling is None or np.allclose(scaling, 1):
        return
    if not config.get("finetuning_scaling_factor"):
        raise ValueError(
            f"{path}: scaling_factor is not 1, and the config has no true "
            "finetuning_scaling_factor: it is unknown what the factor multiplies."
        )
    arrays["W_dec"] = arrays["W_dec"] * scaling[:, None]


def _scaled(kind: str, config: Config, arrays: Arrays, s: Any, ranked: bool) -> Arrays:
    s = np.float32(s)
    scaled = {**arrays, "b_dec": arrays["b_dec"] / s}
    if kind == "matching_pursuit":  # one matrix reads and writes: its features change their units
        return {**scaled, "residual_threshold": config.get("residual_threshold", 1e-2) / float(s)}
    scaled |= {"W_enc": arrays["W_enc"] * s, "W_dec": arrays["W_dec"] / s}
    if ranked and "threshold" in arrays:  # in units of features times norms
        scaled["threshold"] = arrays["threshold"] / s
    return scaled


def _whitened(arrays: Arrays, white: Any, centred: bool) -> Arrays:
    d = arrays["W_enc"].shape[0]
    shapes = {"matrix": (d, d), "inverse_matrix": (d, d), "mean": (d,)}
    for name, shape in shapes.items():
        if np.shape(white.get(name)) != shape:
            raise ValueError(
                f"activation_whitening.safetensors has {name!r} {shape}; got {np.shape(white.get(name))}."
            )
    back, mean = white["inverse_matrix"], white["mean"]
    whitened = {
        **arrays,
        "W_enc": white["matrix"] @ arrays["W_enc"],
        "W_dec": arrays["W_dec"] @ back,
        "b_dec": arrays["b_dec"] @ back + mean,
    }
    if not centred:
        shift = mean @ whitened["W_enc"]
        for name, part in (("b_enc", 1), ("b_gate", 1), ("b_mag", np.exp(arrays.get("r_mag", 0)))):
            if name in arrays:
                whitened[name] = arrays[name] - shift * part
    return whitened
