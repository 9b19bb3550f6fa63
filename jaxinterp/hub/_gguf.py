"""GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), by the `gguf` package.

Metadata becomes the config by a port whose `[source] layout` is "gguf"; tensors are dequantised to
float32 as they are read, one by one.
"""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._read import TEXT, check, integer, number, shown
from ..nn import RopeScaling
from ..nn._rotary import frequencies
from ._errors import BadCheckpoint, UnhandledConfig
from ._gguf_header import Packed, read_header
from ._gguf_tokenizer import gguf_tokenizer
from ._single_file import SingleFile
from ._tensors import LazyTensor

ABOUT = {
    "general.architecture": TEXT,
    "general.license": TEXT,
    "split.count": integer(0),
    "split.no": integer(0),
}
FREQUENCIES = "rope_freqs.weight"
_ORIGINAL_CTX = 8192
"""The context of the first training of every Llama 3: the file holds its effect, not the number."""


def open_gguf(path: Path) -> SingleFile:
    """A GGUF file: metadata and names are read now, tensors when they are asked for.

    Raises `ImportError` without the `gguf` package, `BadCheckpoint` for a file that is truncated or
    is something else, and `UnhandledConfig` for metadata that no port says how to do.
    """
    library = _library()
    whole, packed = read_header(path, library)
    tensors = {tensor.name: _lazy(library, path, tensor) for tensor in packed}
    about = {name: value for name, value in whole.items() if not name.startswith("tokenizer.")}
    check(path, about, ABOUT, error=BadCheckpoint)
    family = about.get("general.architecture")
    if not isinstance(family, str):
        raise BadCheckpoint(f"{path} does not say its `general.architecture`: it is no model.")
    if about.get("split.count", 0) > 1:
        raise UnhandledConfig(
            f"{path} is part {about.get('split.no', 0) + 1} of {about['split.count']}; join them "
            "first: `llama-gguf-split --merge FIRST.gguf WHOLE.gguf`."
        )
    theirs = _normal(family, about) | _derived(family, about, tensors)
    kinds: Counter[str] = Counter()
    for tensor in packed:
        kinds[tensor.kind.name] += math.prod(tensor.shape)
    return SingleFile(
        path=path,
        layout="gguf",
        family=family,
        theirs=theirs,
        tensors=tensors,
        format=f"gguf {', '.join(name for name, _ in kinds.most_common())}",
        tokenizer=lambda: gguf_tokenizer(path, whole),
        licence=about.get("general.license"),
    )


def _library() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ImportError(
            'GGUF files are read by the package gguf: pip install "jaxinterp[gguf]".'
        ) from error
    return gguf


def _lazy(library: Any, path: Path, tensor: Packed) -> LazyTensor:
    def read() -> np.ndarray:
        try:
            return library.dequantize(tensor.data, tensor.kind).reshape(tensor.shape)
        except (NotImplementedError, ValueError) as error:
            raise BadCheckpoint(
                f"{path}: {tensor.name!r} is of type {tensor.kind.name}, which the gguf "
                f"package here does not dequantise ({error}). Upgrade it, or take another "
                "quantisation of the model."
            ) from error

    return LazyTensor(tensor.shape, np.dtype(np.float32), read)


def _normal(family: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the tables expect it: one number where every layer has the same."""
    found: dict[str, Any] = {}
    for name, value in about.items():
        if name.startswith(f"{family}.") and isinstance(value, list):
            if any(each != value[0] for each in value) or not value:
                raise UnhandledConfig(
                    f"{name} = {shown(value)}: layers of different sizes are not done here."
                )
            value = value[0]
        found[name] = value
    scaling = f"{family}.rope.scaling"
    factors = (f"{scaling}.factor", f"{family}.rope.scale_linear")
    if any(name in found for name in factors):
        found.setdefault(f"{scaling}.type", "linear")  # as llama.cpp reads it
    return found


def _derived(family: str, about: Mapping[str, Any], tensors: dict[str, LazyTensor]) -> dict[str, Any]:
    """What the file says by its tensors rather than by its metadata."""
    derived: dict[str, Any] = {"tensors.tied": "output.weight" not in tensors}
    for key, name in (("attention_bias", "attn_q.bias"), ("mlp_bias", "ffn_gate.bias")):
        derived[f"tensors.{key}"] = f"blk.0.{name}" in tensors
    if len(getattr(tensors.get("token_embd.weight"), "shape", ())) == 2:
        derived["tensors.vocab"] = tensors["token_embd.weight"].shape[0]
    d, heads = (about.get(f"{family}.{key}") for key in ("embedding_length", "attention.head_count"))
    if (
        f"{family}.attention.key_length" not in about
        and isinstance(d, int)
        and isinstance(heads, int)
        and heads > 0
    ):
        derived[f"{family}.attention.key_length"] = d // heads
    if FREQUENCIES in tensors:
        key = f"{family}.rope.freq_base"
        check("The file's metadata", about, {key: number(1, above=True)}, error=BadCheckpoint)
        base = about.get(key, 10000.0)
        derived |= _llama3(tensors.pop(FREQUENCIES).read(), base)
    return derived


def _llama3(factors: np.ndarray, base: float) -> dict[str, Any]:
    """Llama 3's rotary scaling, recognised by the factors that divide the frequencies.

    Converters write those numbers, $\\omega_i / \\omega'_i$, in place of the settings.
    """
    if (factors == 1).all():
        return {}
    if factors.ndim != 1 or not np.isfinite(factors).all() or (factors <= 0).any():
        raise BadCheckpoint(f"{FREQUENCIES} holds numbers above 0, (pair,); it has {shown(factors)}.")
    factor = float(factors.max())
    scaling = RopeScaling(kind="llama3", factor=factor, original_ctx=_ORIGINAL_CTX)
    dim = 2 * factors.size
    expected = frequencies(dim, base)[0] / frequencies(dim, base, scaling)[0]
    if not np.allclose(factors, expected, rtol=1e-5):
        raise UnhandledConfig(
            f"{FREQUENCIES} divides the rotary frequencies by {factors.min():g} to {factor:g}, and "
            "not in the way of Llama 3: this is not done here."
        )
    settings = {
        "kind": "llama3",
        "factor": factor,
        "original_ctx": _ORIGINAL_CTX,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
    }
    return {f"tensors.rope.{key}": value for key, value in settings.items()}
