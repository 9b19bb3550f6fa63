"""llama2.c's files: weights in both versions, its vocabulary, and its own way to encode."""

import dataclasses
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import einops
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.hub import BadCheckpoint, UnhandledConfig
from jaxinterp.hub._llama2c import read_tokenizer
from jaxinterp.models import LlamaConfig

from .conftest import random_model, same

CONFIG = LlamaConfig(vocab=300, ctx=16, d=24, layers=3, heads=4, kv_heads=2, ff=20, tied=True, norm_eps=1e-5)
HEADER = (24, 20, 3, 4, 2, 300, 16)


def interleaved(w: np.ndarray) -> np.ndarray:
    """Our halves as pairs side by side, as torch's linear layers lie."""
    return einops.rearrange(w, "layer head d (two pair) -> layer (head pair two) d", two=2)


def arrays(model: Any) -> dict[str, np.ndarray]:
    """The float32 arrays of llama2.c's `TransformerWeights`."""
    blocks = model.blocks
    flat = {
        "token_embedding_table": model.w_embed,
        "rms_att_weight": blocks.ln1.weight,
        "wq": interleaved(np.asarray(blocks.attn.w_q)),
        "wk": interleaved(np.asarray(blocks.attn.w_k)),
        "wv": einops.rearrange(np.asarray(blocks.attn.w_v), "l h d k -> l (h k) d"),
        "wo": einops.rearrange(np.asarray(blocks.attn.w_o), "l h k d -> l d (h k)"),
        "rms_ffn_weight": blocks.ln2.weight,
        "w1": jnp.swapaxes(blocks.mlp.w_gate, 1, 2),
        "w2": jnp.swapaxes(blocks.mlp.w_out, 1, 2),
        "w3": jnp.swapaxes(blocks.mlp.w_in, 1, 2),
        "rms_final_weight": model.ln_final.weight,
        "freq_cis": np.full((16, 6), np.nan),
    }
    if model.w_unembed is not None:
        flat["wcls"] = model.w_unembed.T
    return {name: np.asarray(x, np.float32) for name, x in flat.items()}


def v0(model: Any) -> bytes:
    sizes = list(HEADER)
    sizes[5] *= 1 if model.config.tied else -1
    return struct.pack("7i", *sizes) + b"".join(x.tobytes() for x in arrays(model).values())


def v1(model: Any, version: int = 1) -> bytes:
    header = struct.pack("<Ii7iB", 0x616B3432, version, *HEADER, model.config.tied)
    parts = arrays(model)
    del parts["freq_cis"]
    norms = [parts.pop(name) for name in ("rms_att_weight", "rms_ffn_weight", "rms_final_weight")]
    return header.ljust(256, b"\0") + b"".join(x.tobytes() for x in [*norms, *parts.values()])


PAIRS = [a + b for a in " thero" for b in "thero "]
PIECES = [
    "<unk>",
    "\n<s>\n",
    "\n</s>\n",
    *(f"<0x{byte:02X}>" for byte in range(256)),
    *PAIRS[:24],
    *" thero",
    " the",
    "oo",
    "ooo",
    "oooo",
    "é",
    "  ",
    "ere",
    "er t",
    "rero",
    " hero",
    "roro",
]
PIECES = list(dict.fromkeys(PIECES))
PIECES += [f"zz{i}" for i in range(300 - len(PIECES))]


def vocabulary(pieces: Sequence[str] = PIECES, old: bool = False) -> bytes:
    """A tokenizer.bin; an `old` one writes byte 10 as "\\n" and not as "<0x0A>"."""
    out = struct.pack("i", max(map(len, pieces)))
    for i, piece in enumerate(pieces):
        if old and 3 <= i < 259:
            piece = chr(i - 3)
        score = 0.0 if i < 259 else -float(i - 259)
        data = piece.encode()
        out += struct.pack("fi", score, len(data)) + data
    return out


def greedy(text: str, pieces: Sequence[str], scores: Sequence[float]) -> list[int]:
    """llama2.c's `encode`: characters or bytes, then the best join, the leftmost, again and again."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    found: list[int] = []
    for char in f" {text}":
        found += [ids[char]] if char in ids else [byte + 3 for byte in char.encode()]
    while True:
        best, where = -1e10, -1
        for i in range(len(found) - 1):
            joined = ids.get(pieces[found[i]] + pieces[found[i + 1]])
            if joined is not None and scores[joined] > best:
                best, where = scores[joined], i
        if where < 0:
            return found
        found[where : where + 2] = [ids[pieces[found[where]] + pieces[found[where + 1]]]]


def parsed(data: bytes) -> tuple[list[str], list[float]]:
    pieces, scores, at = [], [], 4
    while at < len(data):
        score, length = struct.unpack_from("fi", data, at)
        pieces.append(data[at + 8 : at + 8 + length].decode())
        scores.append(score)
        at += 8 + length
    if pieces[13] == "\n":
        pieces[3:259] = [f"<0x{byte:02X}>" for byte in range(256)]
    return pieces, scores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.bin").write_bytes(vocabulary())
    return tmp_path


@pytest.mark.parametrize("tied", [True, False])
def test_both_versions_are_the_model(folder: Path, tied: bool) -> None:
    config = dataclasses.replace(CONFIG, tied=tied)
    model = random_model(config)
    for name, data in (("v0", v0(model)), ("v1", v1(model))):
        (folder / "model.bin").write_bytes(data)
        loaded, tokenizer = ji.load(folder / "model.bin")
        assert loaded.config == config
        assert same(loaded, model)
        assert loaded.config.source.format == f"llama2c {name}"
        assert loaded.config.source.port == "llama2c.toml"
        assert tokenizer is not None and tokenizer.vocab == 300
    (folder / "whole.data").write_bytes(v0(model) + vocabulary(old=True))
    loaded, inside = ji.load(folder / "whole.data", dtype=jnp.bfloat16)
    assert loaded.w_embed.dtype == jnp.bfloat16
    assert inside is not None and inside("the roé").tolist() == tokenizer("the roé").tolist()
    (folder / "tokenizer.bin").unlink()
    assert ji.load(folder / "model.bin")[1] is None
    (folder / "tok300.bin").write_bytes(vocabulary())
    assert ji.load(folder / "model.bin")[1] is not None


def test_bad_files(folder: Path) -> None:
    model, path = random_model(CONFIG), folder / "model.bin"
    for data, error, words in (
        (v0(model)[:-4], BadCheckpoint, r"truncated: by its first bytes .*'dim': 24"),
        (v1(model)[:-4], BadCheckpoint, r"truncated"),
        (v0(model)[:20], BadCheckpoint, r"20 bytes: no model"),
        (b"\1" * 400, BadCheckpoint, r"truncated|no llama2\.c file"),
        (struct.pack("7i", 24, 20, 3, 5, 2, 9, 9), BadCheckpoint, "its first numbers, dim"),
        (v0(model) + b"xyz", BadCheckpoint, r"from byte .* does not hold the 300 pieces"),
        (v1(model, 2), UnhandledConfig, r"llama2\.c's version 2; read are v0 and 1"),
        (b"PK\3\4" + v0(model), ValueError, r"is a file. Give the folder that holds it"),
    ):
        path.write_bytes(data)
        with pytest.raises(error, match=words):
            ji.load(path)
    path.write_bytes(v0(model))
    (folder / "tokenizer.bin").write_bytes(vocabulary(PIECES[:-1]))
    with pytest.raises(BadCheckpoint, match="does not hold the 300 pieces"):
        ji.load(path)
    (folder / "tokenizer.bin").write_bytes(vocabulary([*PIECES[:-1], PIECES[-2]]))
    with pytest.raises(BadCheckpoint, match=r"every piece once; this one has 'roro' twice"):
        ji.load(path)
    with pytest.raises(FileNotFoundError, match=r"or at a file that is a whole model"):
        ji.load(folder)


def random_texts(letters: str, count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), rng.integers(1, 40))) for _ in range(count)]


@pytest.mark.parametrize("old", [False, True])
def test_encodes_as_llama2c_does(tmp_path: Path, old: bool) -> None:
    """Every encoding is that of the greedy algorithm, and decoding gives the text back."""
    (tmp_path / "tokenizer.bin").write_bytes(vocabulary(old=old))
    tokenizer = read_tokenizer(tmp_path / "tokenizer.bin", 300)
    pieces, scores = parsed(vocabulary())
    texts = random_texts("the ro", 600) + random_texts("theoé 🙂\n<s>▁\x01", 200)
    for text in ["oooooooo", "   ", "<0x0A>", "\n<s>\n", *texts]:
        ids = tokenizer(text).tolist()
        assert ids == greedy(text, pieces, scores), text
        assert tokenizer.decode(ids) == text
    assert tokenizer.tokens(tokenizer(" the é\n")) == [" ", " the", " ", "é", "\n"]
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert tokenizer("o", bos=True)[0] == 1
    assert tokenizer.token_id(" the") == PIECES.index(" the")


@pytest.mark.slow
def test_stories260k(shared_data: Path) -> None:
    """A trained model of the format's author: greedy text as documented, and its vocabulary."""
    stories = shared_data / "checkpoints" / "stories260k"
    model, tokenizer = ji.load(stories / "stories260K.bin")
    assert tokenizer is not None
    ids = ji.generate(model, jnp.asarray([1], jnp.int32), 80)
    text = tokenizer.decode(ids[1:])
    assert text.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park. One day, she saw a big, r"
    )
    pieces, scores = parsed((stories / "tok512.bin").read_bytes())
    texts = random_texts("the andot ,.!\"'sheOH\n é", 200, 1) + random_texts("a ba", 200, 2)
    for one in [text, *text.split(". "), "½ 🙂 ▁▁  x\t", *texts]:
        assert tokenizer(one).tolist() == greedy(one, pieces, scores)
        assert tokenizer.decode(tokenizer(one)) == one
