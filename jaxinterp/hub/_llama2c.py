"""Model files of llama2.c (https://github.com/karpathy/llama2.c): format v0 and version 1.

v0 is seven int32 (`dim hidden_dim n_layers n_heads n_kv_heads vocab_size seq_len`), then float32
arrays; a negative `vocab_size` says that the unembedding is not the embedding. Version 1 has a
header of 256 bytes that begins with "ak42", and another order. Norm epsilon (1e-5) and rotary base
(10000) are constants of that program.
"""

import math
import os
import struct
from pathlib import Path

import numpy as np

from .._read import open_regular, regular
from ._errors import BadCheckpoint, UnhandledConfig
from ._scored_bpe import scored_bpe
from ._single_file import SingleFile
from ._tensors import LazyTensor
from ._tokenizer import Tokenizer

MAGIC = 0x616B3432
FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
BOS, EOS = 1, 2
MAX_PIECE = 2**12
"""Bytes of a piece of the vocabulary, at most."""
BYTES = range(3, 259)
"""The ids of the 256 bytes, in every vocabulary of this program."""

_V0 = (
    "token_embedding_table",
    "rms_att_weight",
    "wq",
    "wk",
    "wv",
    "wo",
    "rms_ffn_weight",
    "w1",
    "w2",
    "w3",
    "rms_final_weight",
    "freq_cis_real",
    "freq_cis_imag",
    "wcls",
)
_V1 = (
    "rms_att_weight",
    "rms_ffn_weight",
    "rms_final_weight",
    "token_embedding_table",
    "wq",
    "wk",
    "wv",
    "wo",
    "w1",
    "w2",
    "w3",
    "wcls",
)


def open_llama2c(path: Path) -> SingleFile:
    """A llama2.c file; its tokenizer is the rest of the file, or `tokenizer.bin` or
    `tok{vocab}.bin` beside it.

    Raises `BadCheckpoint` when the sizes in the header are not those of the file.
    """
    header, at, order, version = _header(path)
    shapes = _shapes(header)
    size = path.stat().st_size
    tensors: dict[str, LazyTensor] = {}
    for name in order:
        if name == "wcls" and header["shared_classifier"]:
            continue
        shape = shapes[name]
        if not name.startswith("freq_cis"):  # tables of an older program, which computes them now
            tensors[name] = _lazy(path, at, shape)
        at += 4 * math.prod(shape)
    if size < at:
        raise BadCheckpoint(
            f"{path} ({size:,} bytes) is no llama2.c file, or is truncated: by its first bytes "
            f"{dict(list(header.items())[:7])} it must have {at:,}. Fetch it again."
        )

    def tokenizer() -> Tokenizer | None:
        if size > at:
            return read_tokenizer(path, header["vocab_size"], at)
        for name in ("tokenizer.bin", f"tok{header['vocab_size']}.bin"):
            if (path.parent / name).is_file():
                return read_tokenizer(path.parent / name, header["vocab_size"])
        return None

    if size > at:
        tokenizer()  # the rest must be a tokenizer: otherwise the header was not read right
    return SingleFile(path, "llama2c", "llama2c", header, tensors, f"llama2c {version}", tokenizer)


def _header(path: Path) -> tuple[dict[str, int], int, tuple[str, ...], str]:
    with open_regular(path, BadCheckpoint) as file:
        data = file.read(256)
    if len(data) < 28:
        raise BadCheckpoint(f"{path} has {len(data)} bytes: no model. Fetch it again.")
    if len(data) < 256 or struct.unpack("<I", data[:4])[0] != MAGIC:
        header: dict[str, int] = dict(zip(FIELDS, struct.unpack("<7i", data[:28]), strict=True))
        header["shared_classifier"] = header["vocab_size"] > 0
        header["vocab_size"] = abs(header["vocab_size"])
        at, order, version = 28, _V0, 0
    else:
        (version,) = struct.unpack("<i", data[4:8])
        if version != 1:
            raise UnhandledConfig(
                f"{path} is of llama2.c's version {version}; read are v0 and 1 (float32). Export "
                "the model as `python export.py model.bin --version 1 ...`."
            )
        header = dict(zip(FIELDS, struct.unpack("<7i", data[8:36]), strict=True))
        header["shared_classifier"] = bool(data[36])
        at, order = 256, _V1
    heads, kv_heads = header["n_heads"], header["n_kv_heads"]
    sizes = [header[name] for name in FIELDS]
    if min(sizes) < 1 or header["dim"] % heads or heads % kv_heads:
        raise BadCheckpoint(
            f"{path} is no llama2.c file: its first numbers, {', '.join(FIELDS)}, would be {sizes}."
        )
    return header, at, order, f"v{version}"


def _shapes(header: dict[str, int]) -> dict[str, tuple[int, ...]]:
    d, ff, layers, heads, kv_heads, vocab, ctx = (int(header[name]) for name in FIELDS)
    k = d // heads
    return {
        "token_embedding_table": (vocab, d),
        "rms_att_weight": (layers, d),
        "wq": (layers, d, d),
        "wk": (layers, kv_heads * k, d),
        "wv": (layers, kv_heads * k, d),
        "wo": (layers, d, d),
        "rms_ffn_weight": (layers, d),
        "w1": (layers, ff, d),
        "w2": (layers, d, ff),
        "w3": (layers, ff, d),
        "rms_final_weight": (d,),
        "freq_cis_real": (ctx, k // 2),
        "freq_cis_imag": (ctx, k // 2),
        "wcls": (vocab, d),
    }


def _lazy(path: Path, at: int, shape: tuple[int, ...]) -> LazyTensor:
    def read() -> np.ndarray:
        return np.fromfile(path, "<f4", math.prod(shape), offset=at).reshape(shape)

    return LazyTensor(shape, np.dtype(np.float32), read)


def read_tokenizer(path: str | os.PathLike[str], vocab: int, at: int = 0) -> Tokenizer:
    """The vocabulary in a `tokenizer.bin`, or in the end of a file from byte `at` on.

    The format: the length of the longest piece, then for each id score, length and bytes. Pieces
    spell a space as " "; the ids 3 to 258 are the bytes, written `<0x0A>` or, by older exports, as
    the character itself.

    Raises `BadCheckpoint` when it does not hold exactly `vocab` pieces.
    """
    path = Path(path)
    size = regular(path, BadCheckpoint)
    place = f"{path}{f' from byte {at:,} on' if at else ''}"
    if not 8 * vocab <= size - at <= vocab * MAX_PIECE:
        raise BadCheckpoint(
            f"{place} does not hold the {vocab} pieces that the model has: it has {size - at:,} bytes."
        )
    with open_regular(path, BadCheckpoint) as file:
        file.seek(at)
        data = file.read()
    pieces, scores, here = [], [], 4
    try:
        for _ in range(vocab):
            score, length = struct.unpack_from("<fi", data, here)
            piece = data[here + 8 : here + 8 + length]
            if length < 0 or len(piece) != length:
                raise ValueError("a piece beyond the end")
            pieces.append(piece.decode("utf-8"))
            scores.append(score)
            here += 8 + length
    except (struct.error, ValueError) as error:
        here = -1
        why = f" ({error})"
    else:
        why = ""
    if here != len(data):
        raise BadCheckpoint(
            f"{place} does not hold the {vocab} pieces that "
            f"the model has{why}: the two do not belong together, or the file is truncated."
        )
    if not np.isfinite(scores).all():
        raise BadCheckpoint(f"{path}: the scores of a vocabulary are finite numbers.")
    if pieces[3:259] == [chr(byte) for byte in range(256)]:
        pieces[3:259] = [f"<0x{byte:02X}>" for byte in range(256)]
    return Tokenizer(scored_bpe(pieces, scores, apart=BYTES, blank=" "), bos_id=BOS, eos_id=EOS)
