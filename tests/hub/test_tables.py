"""Small models of papers by a table alone: no biases, no norms, other outputs, constants, attention only."""

import dataclasses
import json
from math import erf
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxinterp as ji
from jaxinterp import hub
from jaxinterp.hub import BadCheckpoint, UnhandledConfig

LAYERS, HEADS, D, K, FF = 2, 3, 12, 4, 20
Plain = dict[str, np.ndarray]


def plain(seed: int, vocab: int, out: int, ctx: int, layers: int = LAYERS, ff: int = FF) -> Plain:
    """Weights of a transformer as in its equations, float32: every layer on a leading axis."""
    rng = np.random.default_rng(seed)
    shapes = {
        "w_e": (vocab, D),
        "w_p": (ctx, D),
        "w_u": (D, out),
        "b_u": (out,),
        "w_q": (layers, HEADS, D, K),
        "w_k": (layers, HEADS, D, K),
        "w_v": (layers, HEADS, D, K),
        "w_o": (layers, HEADS, K, D),
        "b_q": (layers, HEADS, K),
        "b_k": (layers, HEADS, K),
        "b_v": (layers, HEADS, K),
        "b_o": (layers, D),
        "w_in": (layers, D, ff),
        "b_in": (layers, ff),
        "w_out": (layers, ff, D),
        "b_out": (layers, D),
        "g1": (layers, D),
        "s1": (layers, D),
        "g2": (layers, D),
        "s2": (layers, D),
        "g": (D,),
        "s": (D,),
    }
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def forward(
    p: Plain, tokens: np.ndarray, act: Any, causal: bool = True, without: tuple[int, int] | None = None
) -> np.ndarray:
    """The logits in float64. A weight that is not in `p` is not in the model; `without` is a head."""
    p = {name: w.astype(np.float64) for name, w in p.items()}
    bias = lambda name, layer=...: p[name][layer] if name in p else 0.0

    def norm(x: np.ndarray, gain: str, shift: str, layer: Any = ...) -> np.ndarray:
        if gain not in p:
            return x
        x = x - x.mean(-1, keepdims=True)
        scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * p[gain][layer] + bias(shift, layer)

    x = p["w_e"][tokens] + p["w_p"][: len(tokens)]
    for i in range(len(p["w_q"])):
        seen = norm(x, "g1", "s1", i)
        q, k, v = (
            np.einsum("pd,hdk->hpk", seen, p[f"w_{n}"][i])
            + np.reshape(bias(f"b_{n}", i), (-1, 1, K if f"b_{n}" in p else 1))
            for n in "qkv"
        )
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(K)
        if causal:
            scores = np.where(np.tri(len(tokens), dtype=bool), scores, -np.inf)
        pattern = np.exp(scores - scores.max(-1, keepdims=True))
        z = pattern / pattern.sum(-1, keepdims=True) @ v
        if without is not None and without[0] == i:
            z[without[1]] = 0
        x = x + np.einsum("hpk,hkd->pd", z, p["w_o"][i]) + bias("b_o", i)
        if "w_in" in p:
            hidden = act(norm(x, "g2", "s2", i) @ p["w_in"][i] + bias("b_in", i))
            x = x + hidden @ p["w_out"][i] + bias("b_out", i)
    x = norm(x, "g", "s")
    return x @ (p["w_u"] if "w_u" in p else p["w_e"].T) + bias("b_u")


gelu = np.vectorize(lambda x: x * 0.5 * (1 + erf(x / 2**0.5)))
relu = lambda x: np.maximum(x, 0)


def drop(p: Plain, *names: str) -> Plain:
    return {name: w for name, w in p.items() if name not in names}


BIASES = ("b_q", "b_k", "b_v", "b_o", "b_in", "b_out", "s1", "s2", "s", "b_u")
NORMS = ("g1", "g2", "g", "s1", "s2", "s")

NANO = """
[source]
family = "nano"
[config]
model = "GPT2"
architectures = []
act = "gelu"
ignore = ["dropout"]
[config.keys]
"vocab_size" = "vocab"
"block_size" = "ctx"
"n_embd" = "d"
"n_layer" = "layers"
"n_head" = "heads"
"ff" = "ff"
"bias" = "bias"
[names]
tied = { "lm_head.weight" = "w_embed" }
ignore = ["*.attn.mask"]
[weights]
"w_embed" = ["wte.weight", "vocab d -> vocab d"]
"w_pos" = ["wpe.weight", "ctx d -> ctx d"]
"blocks.ln1.weight" = ["h.{layer}.ln_1.weight", "d -> d"]
"blocks.ln1.bias" = ["h.{layer}.ln_1.bias", "d -> d"]
"blocks.attn.w_{q,k,v}" = ["h.{layer}.attn.c_attn.weight", "(qkv head k) d -> qkv head d k"]
"blocks.attn.b_{q,k,v}" = ["h.{layer}.attn.c_attn.bias", "(qkv head k) -> qkv head k"]
"blocks.attn.w_o" = ["h.{layer}.attn.c_proj.weight", "d (head k) -> head k d"]
"blocks.attn.b_o" = ["h.{layer}.attn.c_proj.bias", "d -> d"]
"blocks.ln2.weight" = ["h.{layer}.ln_2.weight", "d -> d"]
"blocks.ln2.bias" = ["h.{layer}.ln_2.bias", "d -> d"]
"blocks.mlp.w_in" = ["h.{layer}.mlp.c_fc.weight", "ff d -> d ff"]
"blocks.mlp.b_in" = ["h.{layer}.mlp.c_fc.bias", "ff -> ff"]
"blocks.mlp.w_out" = ["h.{layer}.mlp.c_proj.weight", "d ff -> ff d"]
"blocks.mlp.b_out" = ["h.{layer}.mlp.c_proj.bias", "d -> d"]
"ln_final.weight" = ["ln_f.weight", "d -> d"]
"ln_final.bias" = ["ln_f.bias", "d -> d"]
"""


def nano(folder: Path, p: Plain, **keys: Any) -> Path:
    """A checkpoint with nanoGPT's names and torch's layout, [out, in], and its table."""
    vocab, ctx = len(p["w_e"]), len(p["w_p"])
    config = {
        "vocab_size": vocab,
        "block_size": ctx,
        "n_embd": D,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "ff": FF,
        "dropout": 0.1,
        "bias": "b_q" in p,
        **keys,
    }
    t = {"wte.weight": p["w_e"], "wpe.weight": p["w_p"], "ln_f.weight": p["g"], "lm_head.weight": p["w_e"]}
    t |= {"ln_f.bias": p["s"]} if "s" in p else {}
    for i in range(LAYERS):
        rows = lambda name, i=i: [p[f"{name}_{n}"][i] for n in "qkv"]
        fused = np.concatenate([w.transpose(0, 2, 1).reshape(HEADS * K, D) for w in rows("w")])
        at = f"h.{i}."
        t[f"{at}attn.c_attn.weight"] = fused
        t[f"{at}attn.c_proj.weight"] = p["w_o"][i].reshape(HEADS * K, D).T
        t[f"{at}attn.mask"] = np.tri(ctx, dtype=np.float32)
        t |= {f"{at}ln_1.weight": p["g1"][i], f"{at}ln_2.weight": p["g2"][i]}
        t |= {f"{at}mlp.c_fc.weight": p["w_in"][i].T, f"{at}mlp.c_proj.weight": p["w_out"][i].T}
        if "b_q" in p:
            t[f"{at}attn.c_attn.bias"] = np.concatenate([b.reshape(-1) for b in rows("b")])
        named = {"attn.c_proj": "b_o", "ln_1": "s1", "ln_2": "s2", "mlp.c_fc": "b_in", "mlp.c_proj": "b_out"}
        t |= {f"{at}{theirs}.bias": p[ours][i] for theirs, ours in named.items() if ours in p}
    return write(folder, t, NANO, config)


def write(folder: Path, tensors: Plain, table: str, config: dict[str, Any] | None) -> Path:
    """A folder as a stranger has it; the path of its table."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(w) for name, w in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    (folder / "table.toml").write_text(table)
    return folder / "table.toml"


def check(folder: Path, table: Path, p: Plain, act: Any, causal: bool = True, edit: bool = True) -> Any:
    """Loads; logits, a capture and an edit agree with NumPy; exporting gives the tensors back."""
    model, tokenizer = ji.load(folder, port=table)
    assert tokenizer is None
    tokens = np.random.default_rng(9).integers(0, len(p["w_e"]), min(5, len(p["w_p"])))
    logits, acts = ji.run(model, tokens, capture=["z", "resid_pre[0]"])
    want = forward(p, tokens, act, causal)
    np.testing.assert_allclose(logits, want, atol=2e-5 * abs(want).max())
    start = p["w_e"][tokens] + p["w_p"][: len(tokens)]
    np.testing.assert_allclose(acts["resid_pre[0]"], start, atol=1e-6)
    hub.check_port(table, model.config, key=jax.random.key(0))
    hub.export(folder / "again", model, port=table)
    theirs, ours = (load_file(x / "model.safetensors") for x in (folder, folder / "again"))
    aside = {name for name in theirs if "mask" in name}
    aside |= {"lm_head.weight"} if "w_u" not in p else set()  # a copy of the embedding
    assert ours.keys() == theirs.keys() - aside
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    again, _ = ji.load(folder / "again", port=table)
    assert again.config == model.config
    assert jax.tree.structure(again) == jax.tree.structure(model)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(model)))
    if not edit:
        return model
    head = (model.config.layers - 1, 1)
    cut, _ = ji.run(model, tokens, edits=[ji.zero("z", layer=head[0], head=head[1])])
    want = forward(p, tokens, act, causal, without=head)
    np.testing.assert_allclose(cut, want, atol=2e-5 * abs(want).max())
    assert np.abs(acts["z"]).max() > 0 and not np.allclose(cut, logits)
    return model


def test_nanogpt_without_biases(tmp_path: Path) -> None:
    p = plain(0, 31, 31, 8)
    bare = drop(p, *BIASES, "w_u")
    model = check(tmp_path / "bare", nano(tmp_path / "bare", bare), bare, gelu)
    assert not model.config.bias
    assert model.blocks.attn.b_q is model.blocks.ln1.bias is model.ln_final.bias is None
    full = drop(p, "b_u", "w_u")
    model = check(tmp_path / "full", nano(tmp_path / "full", full), full, gelu, edit=False)
    assert model.config.bias and model.blocks.mlp.b_in is not None
    # The config and the weights disagree: each side is named, and what to say in the table.
    with pytest.raises(BadCheckpoint, match=r"nothing at all.*\[config\].*bias = false.*optional"):
        ji.load(tmp_path / "bare", port=nano(tmp_path / "bare", bare, bias=True))
    with pytest.raises(BadCheckpoint, match=r"leaves that this config leaves out.*h\.0.*optional"):
        ji.load(tmp_path / "full", port=nano(tmp_path / "full", full, bias=False))


@pytest.mark.parametrize("part", ["attention", "mlp", "norm"])
def test_biases_of_some_parts(part: str, tmp_path: Path) -> None:
    """Each kind of part can be without: by a constant, or because the leaf is optional."""
    gone = {"attention": ("b_q", "b_k", "b_v", "b_o"), "mlp": ("b_in", "b_out"), "norm": ("s1", "s2", "s")}[
        part
    ]
    leaves = {
        "attention": ["blocks.attn.b_*"],
        "mlp": ["blocks.mlp.b_in", "blocks.mlp.b_out"],
        "norm": ["*ln*.bias"],
    }[part]
    p = drop(plain(1, 31, 31, 8), "b_u", "w_u", *gone)
    table = nano(tmp_path, p, bias=True)
    text = table.read_text()
    table.write_text(text.replace('act = "gelu"', f'act = "gelu"\n{part}_bias = false'))
    fixed = check(tmp_path, table, p, gelu, edit=False)
    table.write_text(text.replace("[names]", f"[names]\noptional = {leaves}"))
    found = ji.load(tmp_path, port=table)[0]
    assert jax.tree.structure(fixed.blocks) == jax.tree.structure(found.blocks)
    assert jax.tree.structure(fixed.ln_final) == jax.tree.structure(found.ln_final)


MODULAR = """
[source]
family = "modular"
[config]
model = "GPT2"
architectures = []
vocab = 114
vocab_out = 113
ctx = 5
d = 12
layers = 1
heads = 3
ff = 20
act = "relu"
norm = false
bias = false
tied = false
[weights]
"w_embed" = ["embed.W_E", "d vocab -> vocab d"]
"w_pos" = ["pos_embed.W_pos", "ctx d -> ctx d"]
"blocks.attn.w_q" = ["blocks.{layer}.attn.W_Q", "head k d -> head d k"]
"blocks.attn.w_k" = ["blocks.{layer}.attn.W_K", "head k d -> head d k"]
"blocks.attn.w_v" = ["blocks.{layer}.attn.W_V", "head k d -> head d k"]
"blocks.attn.w_o" = ["blocks.{layer}.attn.W_O", "d (head k) -> head k d"]
"blocks.mlp.w_in" = ["blocks.{layer}.mlp.W_in", "ff d -> d ff"]
"blocks.mlp.w_out" = ["blocks.{layer}.mlp.W_out", "d ff -> ff d"]
"w_unembed" = ["unembed.W_U", "d vocab -> d vocab"]
"""


def modular(folder: Path, p: Plain, table: str = MODULAR) -> Path:
    """A one-layer model of modular addition: no config.json, all sizes are the table's."""
    t = {
        "embed.W_E": p["w_e"].T,
        "pos_embed.W_pos": p["w_p"],
        "unembed.W_U": p["w_u"],
        "blocks.0.attn.W_O": p["w_o"][0].reshape(HEADS * K, D).T,
        "blocks.0.mlp.W_in": p["w_in"][0].T,
        "blocks.0.mlp.W_out": p["w_out"][0].T,
    }
    t |= {f"blocks.0.attn.W_{n.upper()}": p[f"w_{n}"][0].swapaxes(1, 2) for n in "qkv"}
    return write(folder, t, table, None)


@pytest.fixture
def addition(tmp_path: Path) -> tuple[Any, Plain]:
    p = drop(plain(2, 114, 113, 5, layers=1), *BIASES, *NORMS)
    return ji.load(tmp_path, port=modular(tmp_path, p))[0], p


def test_modular_addition(tmp_path: Path) -> None:
    p = drop(plain(2, 114, 113, 5, layers=1), *BIASES, *NORMS)
    model = check(tmp_path, modular(tmp_path, p), p, relu)
    assert (model.config.vocab, model.config.vocab_out) == (114, 113)
    for text, words in (
        (MODULAR.replace("vocab_out = 113\n", ""), r"\(113\)|vocab_out"),
        (MODULAR.replace("ctx = 5\n", ""), r"table.toml must say `ctx`.*\[config.keys\].*constant"),
        (MODULAR.replace("norm =", "nrom ="), r"GPT2Config; 'nrom' is neither.*did you mean 'norm'"),
        (MODULAR.replace("layers = 1", "layers = '1'"), r"`layers` must be of type int; \[config\]"),
        (MODULAR.replace("bias = false", "bias = true"), r"no row for our leaves.*bias = false"),
        (MODULAR.replace("norm = false", "norm = true"), r"no row for our leaves 'blocks.ln1"),
        (MODULAR.replace("tied = false", "tied = true"), r"need tied=False"),
    ):
        with pytest.raises(ValueError, match=words):
            ji.load(tmp_path, port=modular(tmp_path, p, text))
    both = MODULAR.replace("[weights]", '[config.keys]\n"n_ctx" = "ctx"\n[weights]')
    with pytest.raises(ValueError, match=r"'ctx' is a constant.*cannot be both"):
        hub.build(modular(tmp_path, p, both), {"n_ctx": 5}, load_file(tmp_path / "model.safetensors"))


@pytest.mark.slow
def test_laws_of_a_model_with_its_own_outputs(addition: tuple[Any, Plain]) -> None:
    ji.testing.check_model(addition[0], np.array([[3, 113, 60, 1, 7], [112, 0, 113, 5, 90]]))


def test_outputs_are_not_tokens(addition: tuple[Any, Plain]) -> None:
    """What speaks of logits counts 113, what speaks of tokens 114; next tokens are refused."""
    model, _ = addition
    tokens = jnp.array([[5, 7, 113], [1, 2, 113]])
    with pytest.raises(IndexError, match=r"0\.\.113 \(config.vocab=114\); got 114"):
        ji.run(model, [114])
    answer = ji.metrics.logit_diff(112, 0)
    assert ji.metrics.measure(model, tokens, answer).shape == (2,)
    with pytest.raises(IndexError, match=r"0\.\.112; got 113"):
        ji.metrics.measure(model, tokens, ji.metrics.logit_diff(113, 0))
    heat = ji.patching.sweep(model, tokens, tokens[::-1], answer, site="resid_pre", over=("layer", "pos"))
    assert np.isfinite(heat).all()
    with pytest.raises(IndexError, match=r"0\.\.112; got 113"):
        ji.patching.sweep(model, tokens, tokens[::-1], ji.metrics.prob(113), site="z", over=("layer", "head"))
    for call in (
        lambda: ji.generate(model, tokens[0], 1),
        lambda: ji.heads.copying_scores(model),
        lambda: ji.heads.copied_tokens(model, [1, 2]),
        lambda: ji.heads.repeat_losses(model, key=jax.random.key(0), block=2),
    ):
        with pytest.raises(ValueError, match=r"reads 114 tokens and has 113 logits .*vocab_out"):
            call()
    told = ji.generate(model, tokens[:, :2], 1, choose=lambda key, logits: logits.argmax(-1) * 0 + 113)
    assert told[:, -1].tolist() == [113, 113]
    with pytest.raises(IndexError, match=r"0\.\.112; got 113"):
        ji.metrics.cross_entropy(tokens)(ji.run(model, tokens)[0])
    read = ji.lens.summary(model, tokens, top=113)
    assert read.cross_entropy is None and read.top_ids.max() == 112
    with pytest.raises(ValueError, match=r"top lies in 1\.\.113"):
        ji.lens.summary(model, tokens, top=114)
    with pytest.raises(IndexError, match=r"targets lie in 0\.\.112"):
        ji.lens.summary(model, tokens, targets=113)
    assert ji.lens.logit_lens(model, tokens).shape[-1] == 113
    assert ji.weights.full_ov(model, layer=0, head=0).full().shape == (114, 113)
    with pytest.raises(ValueError, match="vocab_out"):
        ji.hub.to_penzai(
            ji.models.Llama.init(
                ji.models.LlamaConfig(vocab=9, vocab_out=3, ctx=4, d=8, layers=1, heads=2),
                key=jax.random.key(0),
            )
        )


@pytest.mark.slow
def test_bidirectional_classifier(tmp_path: Path) -> None:
    """Every position sees all others; a head of its own with a bias, classes from the config."""
    p = plain(3, 31, 4, 8)
    nano(tmp_path, p)
    tensors = load_file(tmp_path / "model.safetensors") | {
        "lm_head.weight": np.ascontiguousarray(p["w_u"].T),
        "lm_head.bias": p["b_u"],
    }
    text = NANO.replace('act = "gelu"', 'act = "gelu"\ncausal = false\ntied = false')
    text = text.replace('"bias" = "bias"', '"bias" = "bias"\n"classes" = "vocab_out"')
    text = text.replace('tied = { "lm_head.weight" = "w_embed" }', 'optional = ["b_unembed"]')
    text += '"w_unembed" = ["lm_head.weight", "vocab d -> d vocab"]\n'
    text += '"b_unembed" = ["lm_head.bias", "vocab -> vocab"]\n'
    config = json.loads((tmp_path / "config.json").read_text())
    table = write(tmp_path, tensors, text, config | {"classes": 4})
    model = check(tmp_path, table, p, gelu, causal=False)
    assert (model.config.vocab_out, model.b_unembed.shape, model.config.causal) == (4, (4,), False)
    with pytest.raises(ValueError, match="causal"):
        ji.generate(model, [1, 2], 1)
    ji.save(tmp_path / "kept", model)
    assert ji.load(tmp_path / "kept")[0].config == model.config
    write(tmp_path, tensors, text, config)
    with pytest.raises(BadCheckpoint, match=r"b_unembed.*'lm_head.bias' of shape \(4,\).*vocab=31"):
        ji.load(tmp_path, port=table)
    write(tmp_path, tensors, text, config | {"classes": "4"})
    with pytest.raises(UnhandledConfig, match=r"`classes` must be of type int; config.json has '4'"):
        ji.load(tmp_path, port=table)


@pytest.mark.slow
def test_attention_only(tmp_path: Path) -> None:
    """No MLP, no norms, and of the biases those that the file has, in every layer or in none."""
    p = drop(plain(4, 31, 31, 8), "w_in", "b_in", "w_out", "b_out", "b_k", "b_u", *NORMS)
    table = """
[source]
family = "attn_only"
[config]
model = "GPT2"
architectures = []
ff = 0
norm = false
tied = false
[config.keys]
"d_vocab" = "vocab"
"n_ctx" = "ctx"
"d_model" = "d"
"n_layers" = "layers"
"n_heads" = "heads"
"d_head" = "k"
[names]
optional = ["blocks.attn.b_*", "b_unembed"]
[weights]
"w_embed" = ["W_E", "vocab d -> vocab d"]
"w_pos" = ["W_pos", "ctx d -> ctx d"]
"w_unembed" = ["W_U", "d vocab -> d vocab"]
"b_unembed" = ["b_U", "vocab -> vocab"]
"""
    for n in "qkv":
        table += f'"blocks.attn.w_{n}" = ["{{layer}}.W_{n}", "head d k -> head d k"]\n'
        table += f'"blocks.attn.b_{n}" = ["{{layer}}.b_{n}", "head k -> head k"]\n'
    table += '"blocks.attn.w_o" = ["{layer}.W_o", "head k d -> head k d"]\n'
    table += '"blocks.attn.b_o" = ["{layer}.b_o", "d -> d"]\n'
    config = {"d_vocab": 31, "n_ctx": 8, "d_model": D, "n_layers": LAYERS, "n_heads": HEADS, "d_head": K}
    tensors = {"W_E": p["w_e"], "W_pos": p["w_p"], "W_U": p["w_u"]}
    for i in range(LAYERS):
        tensors |= {f"{i}.W_{n}": p[f"w_{n}"][i] for n in "qkvo"}
        tensors |= {f"{i}.b_{n}": p[f"b_{n}"][i] for n in "qvo"}
    path = write(tmp_path, tensors, table, config)
    model = check(tmp_path, path, p, None)
    assert model.blocks.mlp is None and model.blocks.attn.b_k is None
    # A bias of a family without: the same table makes the leaf that the config turns off.
    off = write(tmp_path, tensors, table.replace("ff = 0", "ff = 0\nbias = false"), config)
    assert all(map(np.array_equal, jax.tree.leaves(ji.load(tmp_path, port=off)[0]), jax.tree.leaves(model)))
    del tensors["1.b_q"]
    with pytest.raises(BadCheckpoint, match=r"1 tensors are missing: '1.b_q'"):
        ji.load(tmp_path, port=write(tmp_path, tensors, table, config))


def test_the_readme_names_every_option() -> None:
    """Fields, activations and parts of `[config]`: what a table can say is in ports/README.md."""
    from jaxinterp.hub._config import PARTS
    from jaxinterp.models import GPT2Config, GPTNeoXConfig, LlamaConfig
    from jaxinterp.nn import ACTIVATIONS, RopeScaling

    text = (Path(__file__).parents[2] / "ports" / "README.md").read_text()
    fields = {f.name for c in (GPT2Config, GPTNeoXConfig, LlamaConfig) for f in dataclasses.fields(c)}
    fields = {f"`{name}`" for name in fields - {"source", "rope"}}
    fields |= {f"`rope.{field.name}`" for field in dataclasses.fields(RopeScaling)}
    acts = {f"`{name}`" for name in ACTIVATIONS}
    parts = {f"[config.{name}" if f"[config.{name}" in text else f"`{name}`" for name in PARTS}
    assert [name for name in sorted(fields | acts | parts) if name not in text] == []
