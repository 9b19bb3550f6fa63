"""Small valid files of every kind that the library reads: each kind is a folder and how it is read."""

import dataclasses
import gzip
import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

import jaxinterp as ji
from jaxinterp import hub
from jaxinterp.hub._leaves import skeleton
from jaxinterp.models import GPT2, GPT2Config, Llama, LlamaConfig

RNG = np.random.default_rng(0)
SIZES: dict[str, int] = {"vocab": 12, "ctx": 8, "d": 8, "layers": 2, "heads": 2}
D, M = 6, 16


@dataclasses.dataclass(frozen=True)
class Kind:
    """`files` by name; JSON and torch files as the Python value that they hold; `read(folder)`."""

    name: str
    files: dict[str, Any]
    read: Callable[[Path], Any]

    def write(self, folder: Path, **changed: Any) -> None:
        """The files of the kind, with other contents where `changed` (of `name` to a value) says so."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in {**self.files, **changed.get("files", {})}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, value)


def put(path: Path, value: Any) -> None:
    """Bytes as they are; a dict as JSON, as a torch file, as safetensors or npz, by the name."""
    if isinstance(value, bytes):
        path.write_bytes(value)
    elif path.suffix in (".pt", ".bin"):
        hub.write_torch(path, value)
    elif path.suffix == ".safetensors":
        save_file({k: np.ascontiguousarray(v).reshape(np.shape(v)) for k, v in value.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **value)
    elif path.suffix == ".gguf":
        path.write_bytes(gguf(value["about"], value["tensors"]))
    else:
        path.write_text(json.dumps(value), encoding="utf-8")


def gguf(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """A GGUF file of version 3, of any metadata: ints are uint32 where they fit, lists of one type."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def typed(value: Any) -> tuple[int, bytes]:
        match value:
            case bool():
                return 7, struct.pack("<?", value)
            case int() if 0 <= value < 2**32:
                return 4, struct.pack("<I", value)
            case int():
                return 11, struct.pack("<q", max(-(2**63), min(value, 2**63 - 1)))
            case float():
                return 12, struct.pack("<d", value)
            case str():
                return 8, text(value)
            case list():
                each = [typed(v) for v in value]
                kind = each[0][0] if each else 4
                same = [data for its, data in each if its == kind]
                return 9, struct.pack("<IQ", kind, len(same)) + b"".join(same)
        return 8, text(repr(value)[:50])

    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(about))
    for name, value in about.items():
        kind, data = typed(value)
        head += text(name) + struct.pack("<I", kind) + data
    body = b""
    for name, array in tensors.items():
        array = np.ascontiguousarray(array, np.float32)
        head += text(name) + struct.pack("<I", array.ndim)
        head += struct.pack(f"<{array.ndim}Q", *reversed(array.shape)) + struct.pack("<IQ", 0, len(body))
        body += array.tobytes() + bytes(-array.nbytes % 32)
    return head + bytes(-len(head) % 32) + body


def model(cls: Any, config: Any) -> Any:
    blank = skeleton(cls, config, jnp.float32)  # no compilation
    return jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape), x.dtype), blank)


def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.abs(RNG.normal(size=shape)).astype(np.float32) + 0.1 for name, shape in shapes.items()}


def folder_files(folder: Path, *parsed: str) -> dict[str, Any]:
    """Every file below a folder: as JSON where it is named, else as bytes."""
    found: dict[str, Any] = {}
    # Without manifests, as folders of others are: they would find each change before a reader does.
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name[:10] != "jaxinterp-"):
        name = path.relative_to(folder).as_posix()
        found[name] = json.loads(path.read_text()) if name in parsed else path.read_bytes()
    return found


def tokenizers() -> list[Kind]:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    from jaxinterp.hub._token_text import spelled

    letters = [spelled(chr(i)) for i in range(97, 105)]
    vocab = {piece: i for i, piece in enumerate(["<|endoftext|>", *letters, "ab", "abc"])}
    merges = [("a", "b"), ("ab", "c")]
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    inner.decoder = decoders.ByteLevel()  # pyright: ignore
    beside = {
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            "bos_token": "<|endoftext|>",
            "added_tokens_decoder": {
                "0": {"content": "<|endoftext|>", "special": True},
                "11": {"content": "<x>"},
            },
            "additional_special_tokens": ["<y>"],
        },
        "special_tokens_map.json": {
            "bos_token": "<|endoftext|>",
            "eos_token": {"content": "<|endoftext|>", "lstrip": False},
        },
        "config.json": {"bos_token_id": 0, "eos_token_id": 0},
    }
    read = lambda folder: _used(hub.Tokenizer.from_folder(folder))
    old = {
        "added_tokens.json": {"<x>": 11},
        "special_tokens_map.json": beside["special_tokens_map.json"],
    }
    lines = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    return [
        Kind("tokenizer", {"tokenizer.json": json.loads(inner.to_str()), **beside}, read),
        Kind("bpe", {"vocab.json": vocab, "merges.txt": lines.encode(), **old}, read),
    ]


def _used(tokenizer: Any) -> Any:
    """A tokenizer that was read must also work, or say what it lacks."""
    if tokenizer is not None:
        repr(tokenizer)
        tokenizer.tokens(tokenizer("abc", bos=tokenizer.bos_id is not None))
    return tokenizer


def models_of_others(folder: Path) -> list[Kind]:
    gpt2 = model(GPT2, GPT2Config(**SIZES))
    hub.export(folder / "hf", gpt2)
    hub.export(folder / "shards", gpt2, max_shard_bytes=3000)
    hub.export(folder / "flax", gpt2, format="flax")
    ji.save(folder / "saved", gpt2)
    llama = model(Llama, LlamaConfig(**SIZES, ff=16))
    files = folder_files(folder / "hf", "config.json")
    weights = {n: t.read() for n, t in hub.open_safetensors(folder / "hf" / "model.safetensors").items()}
    load = lambda where: hub.load(where)
    pieces = [f"<{i}>" for i in range(12)]
    theirs = {
        "general.architecture": "llama",
        "general.license": "mit",
        "llama.context_length": 8,
        "llama.embedding_length": 8,
        "llama.block_count": 2,
        "llama.feed_forward_length": 16,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 4,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [-float(i) for i in range(12)],
        "tokenizer.ggml.token_type": [2, 3, 3, *[1] * 9],
        "tokenizer.ggml.bos_token_id": 1,
    }
    own = {"tok": (12, 8), "norm": (8,), "q": (8, 8), "ff": (16, 8), "down": (8, 16)}
    tensors = {
        "token_embd.weight": own["tok"],
        "output_norm.weight": own["norm"],
        "output.weight": own["tok"],
    }
    for i in range(2):
        each = {
            "attn_q": "q",
            "attn_k": "q",
            "attn_v": "q",
            "attn_output": "q",
            "attn_norm": "norm",
            "ffn_norm": "norm",
            "ffn_gate": "ff",
            "ffn_up": "ff",
            "ffn_down": "down",
        }
        tensors |= {f"blk.{i}.{name}.weight": own[shape] for name, shape in each.items()}
    header = struct.pack("<7i", 8, 16, 2, 2, 2, -12, 8)
    floats = 12 * 8 * 2 + 2 * 8 + 2 * 4 * 64 + 2 * 8 + 3 * 2 * 128 + 8 + 2 * 8 * 2
    del llama
    return [
        Kind("hf", files, load),
        Kind("shards", folder_files(folder / "shards", "config.json", "model.safetensors.index.json"), load),
        Kind("torch", {"config.json": files["config.json"], "pytorch_model.bin": weights}, load),
        Kind("flax", folder_files(folder / "flax", "config.json"), load),
        Kind("saved", folder_files(folder / "saved", "model/metadata"), load),
        Kind(
            "gguf",
            {"x.gguf": {"about": theirs, "tensors": arrays(**tensors)}},
            lambda f: hub.load(f / "x.gguf"),
        ),
        Kind(
            "llama2c",
            {"x.bin": header + RNG.normal(size=floats).astype("<f4").tobytes()},
            lambda f: hub.load(f / "x.bin"),
        ),
    ]


def dictionaries(folder: Path) -> list[Kind]:
    load = lambda where: ji.sae.load(where)
    kind = ji.sae.TopK(d=D, features=M, k=2)
    draw = lambda shape: jnp.asarray(RNG.normal(size=shape), jnp.float32)
    kind = kind.dictionary(**{name: draw(shape) for name, shape in kind.shapes().items()})
    ji.sae.save(folder / "own", kind, about={"site": "resid_post[1]"})
    own = folder_files(folder / "own", "dictionary.json")
    named = {n: t.read() for n, t in hub.open_safetensors(folder / "own" / "weights.safetensors").items()}
    saelens = {
        "cfg.json": {
            "architecture": "topk",
            "d_in": D,
            "d_sae": M,
            "k": 2,
            "dtype": "float32",
            "apply_b_dec_to_input": True,
            "normalize_activations": "expected_average_only_in",
            "reshape_activations": "none",
            "metadata": {"sae_lens_version": "6.5.0", "hook_name": "blocks.1.hook_resid_post"},
        },
        "sae_weights.safetensors": arrays(W_enc=(D, M), b_enc=(M,), W_dec=(M, D), b_dec=(D,)),
        "activation_scaler.json": {"scaling_factor": 2.0},
    }
    old = {
        "cfg.json": {
            "d_in": D,
            "d_sae": M,
            "hook_point": "blocks.1.hook_resid_post",
            "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 2},
            "normalize_activations": False,
        },
        "sae_weights.safetensors": saelens["sae_weights.safetensors"],
    }
    temporal = {
        "cfg.json": {
            "architecture": "temporal",
            "d_in": D,
            "d_sae": M,
            "n_heads": 2,
            "n_attn_layers": 1,
            "bottleneck_factor": 4,
            "kval_topk": 2,
            "metadata": {"sae_lens_version": "6.5.0"},
        },
        "sae_weights.safetensors": arrays(W_dec=(M, D), b_dec=(D,)),
    }
    linear = {"encoder.weight": (M, D), "encoder.bias": (M,), "decoder.weight": (D, M)}
    trainer = {
        "trainer": {"dict_class": "AutoEncoderTopK", "k": 2, "lr": 1e-3},
        "buffer": {"io": "out"},
    }
    params = arrays(W_enc=(D, M), b_enc=(M,), W_dec=(M, D), b_dec=(D,), threshold=(M,))
    return [
        Kind("own", {"dictionary.json": own["dictionary.json"], "weights.safetensors": named}, load),
        Kind("saelens", saelens, load),
        Kind("saelens-old", old, load),
        Kind("temporal", temporal, load),
        Kind(
            "sparsify",
            {
                "cfg.json": {"activation": "topk", "k": 2, "d_in": D, "num_latents": M, "signed": False},
                "sae.safetensors": arrays(
                    **{"encoder.weight": (M, D), "encoder.bias": (M,), "W_dec": (M, D), "b_dec": (D,)}
                ),
            },
            load,
        ),
        Kind("learning", {"config.json": trainer, "ae.pt": arrays(**linear, b_dec=(D,)) | {"k": 2}}, load),
        Kind(
            "learning-batch",
            {
                "config.json": {"trainer": {"dict_class": "MatryoshkaBatchTopKSAE", "k": 2}},
                "ae.pt": {
                    **arrays(W_enc=(D, M), b_enc=(M,), W_dec=(M, D), b_dec=(D,), threshold=()),
                    "group_sizes": np.asarray([M // 2, M // 2]),
                },
            },
            load,
        ),
        Kind(
            "openai",
            {
                "x.pt": {
                    **arrays(
                        **{
                            "encoder.weight": (M, D),
                            "decoder.weight": (D, M),
                            "latent_bias": (M,),
                            "pre_bias": (D,),
                        }
                    ),
                    "activation": "TopK",
                    "activation_state_dict": {"k": 2},
                }
            },
            lambda f: ji.sae.load(f / "x.pt"),
        ),
        Kind(
            "gemma", {"params.npz": params, "config.json": {"architecture": "jump_relu", "type": "sae"}}, load
        ),
    ]


def results(folder: Path) -> list[Kind]:
    """Stores, records, ratings, lenses."""
    eye = np.eye(D, dtype=np.float32)
    lens = {
        "config.json": {"d_model": D, "num_hidden_layers": 2, "bias": True, "lens_type": "linear_tuned_lens"},
        "params.pt": {"0.weight": eye, "0.bias": eye[0], "1.weight": eye, "1.bias": eye[0]},
    }
    jacobian = {"x.pt": {"J": {0: eye, 1: eye}, "n_prompts": 3, "source_layers": [0, 1], "d_model": D}}
    store = folder / "store"
    store.mkdir()
    manifest = {
        "format": "jaxinterp.activations",
        "version": 1,
        "int8": False,
        "shards": [0, 3, 5],
        "sites": [{"name": "mlp_out", "layers": 2, "row": [4], "dtype": "float32"}],
        "model": {"sha256": "0" * 64},
        "data": {},
        "about": None,
        "versions": {},
    }
    np.save(store / "index.npy", np.arange(5))
    for i, rows in enumerate((3, 2)):
        np.save(store / f"00000{i}-00-x.npy", RNG.normal(size=(2, rows, 4)).astype(np.float32))
        (store / f"00000{i}.json").write_text(json.dumps({"rows": rows, "max_error": [0.0]}))
    (store / "manifest.json").write_text(json.dumps(manifest))
    parsed = ("manifest.json", "000000.json")

    def read_store(where: Path) -> Any:
        found = ji.data.Store(where)
        return repr(found), found.read(), found.max_error, found.index

    record = '{"feature": "a", "layer": 1, "f1": 0.5}\n'
    rating = {
        "item": "i",
        "total": 9,
        "confidence": 3,
        "activations": 3,
        "logits": 3,
        "separation": None,
        "specificity": 0,
    }
    key = {
        "kind": "jaxinterp rating key",
        "groups": ["a"],
        "items": [{"id": "i", "pair": 0, "group": "a", "unit": 3}],
    }
    return [
        Kind("tuned-lens", lens, lambda f: ji.lens.load(f)),
        Kind("jacobian-lens", jacobian, lambda f: ji.lens.load(f / "x.pt")),
        Kind("store", folder_files(store, *parsed), read_store),
        Kind("records", {"r.jsonl": (record * 3).encode()}, lambda f: ji.probes.read_records(f / "r.jsonl")),
        Kind("ratings", {"s/ratings.jsonl": rating, "s.key.json": key}, lambda f: ji.sae.ratings(f / "s")),
    ]


def texts() -> list[Kind]:
    line = {"text": "one text, and more", "label": "en", "group": "g"}
    table = b'text,label\n"a, b",en\nplain,de\n'
    words = "\t".join(["1-2", "don't", "_", "_", "_", "_", "_", "_", "_", "_"]).encode() + b"\n"
    word = "\t".join(["1", "do", "do", "AUX", "_", "A=B|C=D", "0", "root", "_", "_"]).encode() + b"\n"
    places = b"name,latitude,longitude,is_test\nBern,46.9,7.4,True\nOslo,59.9,10.7,False\n"
    read = lambda name: lambda folder: list(ji.data.read_texts(folder / name))
    features = ji.data.features
    return [
        Kind("jsonl", {"x.jsonl": line}, read("x.jsonl")),
        Kind("csv", {"x.csv": table}, read("x.csv")),
        Kind("gz", {"x.txt.gz": gzip.compress(b"one\n\ntwo\n")}, read("x.txt.gz")),
        Kind("xz", {"x.jsonl.xz": lzma.compress(json.dumps(line).encode())}, read("x.jsonl.xz")),
        Kind("conllu", {"x.conllu": words + word + b"\n"}, lambda f: features.read_conllu(f / "x.conllu")),
        Kind("places", {"x.csv": places}, lambda f: features.read_places(f / "x.csv")),
    ]


def every(folder: Path) -> list[Kind]:
    """All kinds; `folder` is for what the library itself writes."""
    kinds = [
        *tokenizers(),
        *models_of_others(folder),
        *dictionaries(folder),
        *results(folder),
        *texts(),
    ]
    port = (hub.all_ports()["gpt2"].path).read_bytes()
    return [*kinds, Kind("port", {"my.toml": port}, lambda f: hub.build(f / "my.toml", {}, {}))]
