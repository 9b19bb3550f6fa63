"""Ports: tables are bijections, names and shapes are checked, config keys are accounted for."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxinterp import hub
from jaxinterp.hub import BadCheckpoint, Row, UnhandledConfig, _config
from jaxinterp.hub._leaves import set_leaves
from jaxinterp.hub._port_table import _rows
from jaxinterp.models import GPT2Config, GPTNeoXConfig, LlamaConfig

from .conftest import CONFIGS, same


def edit_config(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= keys
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def edit_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    changed = change(tensors)
    save_file(tensors if changed is None else changed, path)


UNEQUAL: dict[str, Any] = {"vocab": 41, "ctx": 17, "d": 24, "layers": 3, "heads": 4, "ff": 20}


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("gpt2", GPT2Config(**UNEQUAL, tied=False)),
        ("gpt_neox", GPTNeoXConfig(**UNEQUAL)),
        ("llama", LlamaConfig(**UNEQUAL, kv_heads=2, k=10, attention_bias=True, mlp_bias=True)),
    ],
)
def test_laws_of_ports(family: str, config: Any) -> None:
    hub.check_port(hub.all_ports()[family], config, key=jax.random.key(0))
    hub.check_port(hub.find_ports() / f"{family}.toml", config, key=jax.random.key(0))


def test_a_port_that_breaks_a_law() -> None:
    """Two leaves that read the same tensor: what was written last wins, and the law notices."""
    port = hub.all_ports()["gpt2"]
    rows = tuple(
        dataclasses.replace(row, name="transformer.ln_f.weight") if row.leaf == "ln_final.bias" else row
        for row in port.rows
    )
    with pytest.raises(AssertionError, match="reading does not undo writing"):
        hub.check_port(
            dataclasses.replace(port, rows=rows, flax=()), GPT2Config(**UNEQUAL), key=jax.random.key(0)
        )


@pytest.mark.quick
def test_load_of_export_is_the_model(model: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, model)
    again, tokenizer = hub.load(tmp_path)
    assert same(again, model)
    assert again.config == model.config
    assert tokenizer is None


@pytest.mark.quick
def test_export_of_load_is_the_checkpoint(model: Any, tmp_path: Path) -> None:
    hub.export(tmp_path / "a", model)
    hub.export(tmp_path / "b", hub.load(tmp_path / "a")[0])
    one, two = (load_file(tmp_path / x / "model.safetensors") for x in "ab")
    assert one.keys() == two.keys()
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    texts = [(tmp_path / x / "config.json").read_text() for x in "ab"]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_round_trip(make: Any, tmp_path: Path, dtype: Any) -> None:
    model = make("neox", dtype=dtype)
    hub.export(tmp_path, model)
    assert same(hub.load(tmp_path, dtype=dtype)[0], model)
    wide = hub.load(tmp_path)[0]
    assert same(wide, jax.tree.map(lambda x: x.astype(jnp.float32), model))


def test_sharded_round_trip(model: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, model, max_shard_bytes=2000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    again, _ = hub.load(tmp_path)
    assert same(again, model)
    assert again.config.source.files == tuple(files)


def test_rows_are_bijections() -> None:
    """Every row of every port, on random leaves: to theirs and back is the identity."""
    sizes = {"d": 6, "head": 4, "kv_head": 2, "k": 3, "ff": 5, "vocab": 7, "ctx": 8, "qkv": 3}
    rng = np.random.default_rng(0)
    for port in hub.all_ports().values():
        for row in (*port.rows, *port.flax):
            right = row.pattern.split("->")[1].split()
            ours = rng.normal(size=[sizes[axis] for axis in right])
            leaves = list(ours) if len(row.leaves) > 1 else [ours]
            theirs = row.to_theirs(leaves)
            assert theirs.shape == row.their_shape(leaves[0].shape)
            back = row.to_ours(theirs, leaves[0].shape)
            assert all(np.array_equal(a, b) for a, b in zip(leaves, back, strict=True)), row


def test_fused_neox_attention_is_head_by_head() -> None:
    """`query_key_value` of GPT-NeoX: for each head q, then k, then v."""
    row = next(r for r in hub.all_ports()["gpt_neox"].rows if "w_{q" in r.leaf)
    theirs = np.arange(2 * 3 * 4)[:, None] * np.ones((1, 8))
    q, k, v = row.to_ours(theirs, (2, 8, 4))
    assert q[1, 0].tolist() == [12, 13, 14, 15]
    assert k[0, 0].tolist() == [4, 5, 6, 7]
    assert v[1, 0].tolist() == [20, 21, 22, 23]


def test_sizes_of_a_row_are_solved() -> None:
    row = Row("blocks.attn.w_q", "wq", "(head pair two) d -> head d (two pair)", {"two": 2})
    theirs = np.arange(2 * 6)[:, None] * np.ones((1, 5))
    assert row.to_ours(theirs, (2, 5, 6))[0][0, 0].tolist() == [0, 2, 4, 1, 3, 5]
    unsolvable = Row("x", "x", "(a b) -> (b a)", {})
    with pytest.raises(ValueError, match="give the sizes of 'b', 'a'"):
        unsolvable.axes((6,))


def test_names_without_the_prefix(gpt2: Any, tmp_path: Path) -> None:
    """OpenAI's own files say `h.0...`, without `transformer.`, and have no `lm_head`."""
    hub.export(tmp_path, gpt2)
    edit_tensors(tmp_path, lambda t: {n.removeprefix("transformer."): x for n, x in t.items()})
    assert same(hub.load(tmp_path)[0], gpt2)


@pytest.mark.parametrize(
    ("name", "buffers"),
    [
        ("gpt2", ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"]),
        (
            "neox",
            [
                "gpt_neox.layers.0.attention.bias",
                "gpt_neox.layers.2.attention.masked_bias",
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
            ],
        ),
        ("llama", ["model.layers.1.self_attn.rotary_emb.inv_freq"]),
    ],
)
def test_old_buffers_are_ignored(make: Any, tmp_path: Path, name: str, buffers: list[str]) -> None:
    model = make(name)
    hub.export(tmp_path, model)
    edit_tensors(tmp_path, lambda t: t | {buffer: np.zeros((1, 2)) for buffer in buffers})
    assert same(hub.load(tmp_path)[0], model)


def test_a_tied_head_may_be_in_the_file(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    wte = np.asarray(gpt2.w_embed)
    edit_tensors(tmp_path, lambda t: t | {"lm_head.weight": wte})
    assert same(hub.load(tmp_path)[0], gpt2)
    edit_tensors(tmp_path, lambda t: t | {"lm_head.weight": wte + 1})
    with pytest.raises(BadCheckpoint, match=r"ties 'lm_head.weight'.*tie_word_embeddings"):
        hub.load(tmp_path)


def only_the_head(folder: Path, head: str, embedding: str, **metadata: str) -> None:
    """The file as safetensors' `save_model` writes it: of tied tensors, the first name alone."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[head] = tensors.pop(embedding)
    save_file(tensors, path, metadata={"format": "pt", **metadata})


TIED = {
    "gpt2": ("lm_head.weight", "transformer.wte.weight"),
    "neox-sequential": ("embed_out.weight", "gpt_neox.embed_in.weight"),
    "llama-gqa": ("lm_head.weight", "model.embed_tokens.weight"),
}


@pytest.mark.parametrize("name", TIED)
def test_tied_tensors_that_are_stored_once(make: Any, tmp_path: Path, name: str) -> None:
    """The reference reads these files; with the twin in the metadata, and without."""
    model, (head, embedding) = make(name), TIED[name]
    for twin in ({embedding: head}, {}):
        hub.export(tmp_path, model)
        only_the_head(tmp_path, head, embedding, **twin)
        assert same(hub.load(tmp_path)[0], model)
    hub.write_torch(tmp_path / "pytorch_model.bin", load_file(tmp_path / "model.safetensors"))
    (tmp_path / "model.safetensors").unlink()
    assert same(hub.load(tmp_path)[0], model)


@pytest.mark.parametrize("name", ["neox", "neox-sequential"])
def test_a_state_dict_of_neox_in_memory(make: Any, tmp_path: Path, name: str) -> None:
    """Saved without the reference's renaming, the head of a GPT-NeoX is `lm_head.weight`."""
    model = make(name)
    hub.export(tmp_path, model)
    head, embedding = "lm_head.weight", "gpt_neox.embed_in.weight"
    if name == "neox":
        edit_tensors(tmp_path, lambda t: t.__setitem__(head, t.pop("embed_out.weight")))
    else:
        only_the_head(tmp_path, head, embedding, **{embedding: head})
    assert same(hub.load(tmp_path)[0], model)


def test_a_twin_serves_a_model_that_is_not_tied(make: Any, tmp_path: Path) -> None:
    """Equal tensors of an untied model, stored once: the metadata alone say so."""
    model = make("llama")
    model = set_leaves(model, {"w_unembed": model.w_embed.T})
    hub.export(tmp_path, model)
    head, embedding = TIED["llama-gqa"]
    only_the_head(tmp_path, head, embedding, **{embedding: head})
    assert same(hub.load(tmp_path)[0], model)
    found = hub.open_safetensors(tmp_path / "model.safetensors")
    assert "format" not in found
    only_the_head(tmp_path, head, head)
    with pytest.raises(BadCheckpoint, match=r"missing: 'model\.embed_tokens\.weight'"):
        hub.load(tmp_path)


def test_missing_and_superfluous_tensors_are_named(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)

    def rename(tensors: dict[str, np.ndarray]) -> None:
        tensors["transformer.h.1.attn.c_atn.weight"] = tensors.pop("transformer.h.1.attn.c_attn.weight")

    edit_tensors(tmp_path, rename)
    with pytest.raises(BadCheckpoint) as error:
        hub.load(tmp_path)
    words = str(error.value)
    assert "1 tensors are missing: 'transformer.h.1.attn.c_attn.weight'" in words
    assert "did you mean 'transformer.h.1.attn.c_atn.weight'" in words
    assert "no row in the port: 'transformer.h.1.attn.c_atn.weight'" in words
    assert "gpt2.toml" in words


def test_a_wrong_shape_names_leaf_and_both_shapes(make: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, make("neox"))
    edit_config(tmp_path, intermediate_size=20)
    with pytest.raises(BadCheckpoint) as error:
        hub.load(tmp_path)
    words = str(error.value)
    assert "blocks.mlp.w_in of shape (3, 8, 20)" in words
    assert "'gpt_neox.layers.0.mlp.dense_h_to_4h.weight' of shape (20, 8)" in words
    assert "the checkpoint has (32, 8)" in words


def test_quantised_tensors_are_refused(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    name = "transformer.h.0.mlp.c_fc.weight"
    edit_tensors(tmp_path, lambda t: t | {name: t[name].astype(np.int8)})
    with pytest.raises(BadCheckpoint, match=r"blocks\.mlp\.w_in needs floating.*c_fc.* holds int8"):
        hub.load(tmp_path)


def test_unhandled_keys_are_all_named(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    edit_config(tmp_path, add_cross_attention=True, sliding_window=128, n_head=4, resid_pdrop=0.3)
    with pytest.raises(UnhandledConfig) as error:
        hub.load(tmp_path)
    words = str(error.value)
    assert "add_cross_attention = True (must be False)" in words
    assert "sliding_window = 128 (must be absent)" in words
    assert "n_head" not in words
    assert "resid_pdrop" not in words
    assert "ignore" in words


def test_two_spellings_must_agree(make: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, make("neox"))
    edit_config(tmp_path, rope_parameters={"rope_theta": 500.0, "rope_type": "default"})
    with pytest.raises(UnhandledConfig, match=r"rope_parameters\.rope_theta = 500\.0 \(but rotary_emb_base"):
        hub.load(tmp_path)


ROPE4 = {
    "rope_theta": 5e5,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    },
}
ROPE5 = {"rope_parameters": ROPE4["rope_scaling"] | {"rope_theta": 5e5}}  # type: ignore[operator]


def llama_json(**keys: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 11,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
        **keys,
    }


def test_old_and_new_spellings_of_rotary() -> None:
    port = hub.all_ports()["llama"]
    old, new = (_config.to_ours(port, llama_json(**keys)) for keys in (ROPE4, ROPE5))
    assert old == new
    assert old.rotary_base == 5e5
    assert (old.rope.kind, old.rope.factor, old.rope.original_ctx) == ("llama3", 8.0, 8)
    for plain in (
        {},
        {"rope_scaling": None},
        {"rope_parameters": {"rope_type": "default"}},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    ):
        assert _config.to_ours(port, llama_json(**plain)).rope is None
    linear = _config.to_ours(port, llama_json(rope_scaling={"type": "linear", "factor": 4}))
    assert (linear.rope.kind, linear.rope.factor) == ("linear", 4.0)
    yarn = _config.to_ours(port, llama_json(rope_scaling={"type": "yarn", "factor": 4}))
    assert yarn.rope.original_ctx == 32
    with pytest.raises(ValueError, match="longrope"):
        _config.to_ours(port, llama_json(rope_scaling={"type": "longrope", "factor": 4.0}))
    with pytest.raises(UnhandledConfig, match=r"rope_scaling\.mscale = 0\.7"):
        _config.to_ours(port, llama_json(rope_scaling={"type": "yarn", "factor": 4.0, "mscale": 0.7}))
    with pytest.raises(UnhandledConfig, match=r"needs rope_scaling.factor"):
        _config.to_ours(port, llama_json(rope_scaling={"type": "linear"}))


def test_neox_spellings_of_rotary() -> None:
    port = hub.all_ports()["gpt_neox"]
    sizes = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 11,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
    }
    four = _config.to_ours(port, sizes | {"rotary_pct": 0.5, "rotary_emb_base": 100})
    both = _config.to_ours(
        port,
        sizes
        | {"rotary_pct": 0.5, "partial_rotary_factor": 0.5, "rotary_emb_base": 100, "rope_theta": 100.0},
    )
    five = _config.to_ours(
        port,
        sizes
        | {"rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 100, "rope_type": "default"}},
    )
    assert four == both == five
    assert (four.rotary_fraction, four.rotary_base) == (0.5, 100.0)
    assert _config.to_ours(port, sizes).rotary_fraction == 0.25


def test_absent_keys_take_the_reference_defaults() -> None:
    config = _config.to_ours(hub.all_ports()["gpt2"], {"n_layer": 2, "dtype": "float32"})
    assert (config.vocab, config.d, config.heads, config.layers) == (50257, 768, 12, 2)
    assert (config.act, config.norm_eps, config.tied) == ("gelu_new", 1e-5, True)


def test_values_of_the_wrong_type() -> None:
    with pytest.raises(UnhandledConfig, match=r"`n_layer` must be of type int; config.json has '2'"):
        _config.to_ours(hub.all_ports()["gpt2"], {"n_layer": "2"})


def test_another_head_is_refused(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    edit_config(tmp_path, architectures=["GPT2ForSequenceClassification"])
    with pytest.raises(UnhandledConfig, match="GPT2ForSequenceClassification"):
        hub.load(tmp_path)


def test_export_refuses_what_the_format_cannot_say(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UnhandledConfig, match=r"cannot express causal = False.*ji.save"):
        hub.export(tmp_path, make("gpt2", causal=False))
    folded = set_leaves(make("gpt2"), {"blocks.ln1.weight": None, "blocks.ln1.bias": None})
    with pytest.raises(ValueError, match=r"lacks blocks\.ln1\.bias, blocks\.ln1\.weight.*ji\.save"):
        hub.export(tmp_path, folded)
    added = set_leaves(make("gpt2"), {"b_unembed": jnp.zeros(40)})
    with pytest.raises(ValueError, match="has b_unembed besides"):
        hub.export(tmp_path, added)
    with pytest.raises(ValueError, match="no \\[flax\\] table"):
        hub.export(tmp_path, make("llama"), format="flax")
    with pytest.raises(ValueError, match="'safetensors' or 'flax'; got 'gguf'"):
        hub.export(tmp_path, make("llama"), format="gguf")
    assert not list(tmp_path.iterdir())


def test_a_port_of_ones_own(make: Any, tmp_path: Path) -> None:
    """A table outside the package serves a family that has none here."""
    hub.export(tmp_path, make("gpt2"))
    text = (hub.find_ports() / "gpt2.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('family = "gpt2"', 'family = "mine"'))
    edit_config(tmp_path, model_type="mine")
    with pytest.raises(UnhandledConfig, match=r"model_type='mine'.*gpt2, gpt_neox, llama.*ports/README"):
        hub.load(tmp_path)
    model, _ = hub.load(tmp_path, port=tmp_path / "mine.toml")
    assert same(model, make("gpt2"))
    hub.export(tmp_path / "again", model, port=tmp_path / "mine.toml")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "mine"
    params = hub.to_flax(model, port=str(tmp_path / "mine.toml"))
    assert same(hub.from_flax(params, model.config, port=str(tmp_path / "mine.toml")), model)


def copied(folder: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the table of GPT-2, with other lines."""
    text = (hub.find_ports() / "gpt2.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "mine.toml").write_text(text)
    return folder / "mine.toml"


def test_what_a_table_includes(tmp_path: Path) -> None:
    """A copy reads the package's own include; a file beside it goes first."""
    own = hub.all_ports()["gpt2"]
    assert hub.read_port(copied(tmp_path)).config == own.config
    (tmp_path / "_huggingface.toml").write_text('[config]\nignore = ["theirs"]\n')
    port = hub.read_port(tmp_path / "mine.toml")
    assert port.config["ignore"][-1] == "theirs"
    assert "model_type" not in port.config["ignore"]
    absent = copied(tmp_path, ("_huggingface.toml", "_absent.toml"))
    with pytest.raises(FileNotFoundError, match=r"includes '_absent.toml'.*_huggingface.toml, gguf"):
        hub.read_port(absent)


ARCHITECTURES = 'architectures = ["GPT2LMHeadModel", "GPT2Model"]\n'
WRONG: dict[str, tuple[tuple[str, str], str]] = {
    "no architectures": ((ARCHITECTURES, ""), r"\[config\] lacks `architectures`. Give architec"),
    "architectures": (
        (ARCHITECTURES, 'architectures = "x"\n'),
        "'architectures' must be a list of texts; got 'x'",
    ),
    "no model": (('model = "GPT2"', ""), r'\[config\] lacks `model`. Give model = "GPT2"'),
    "model": (('model = "GPT2"', 'model = "GPT3"'), r"has no GPT3.*its models are GPT2, GPTNeoX"),
    "leaf": (("blocks.attn.w_o", "blocks.atn.w_o"), r"no leaf 'blocks.atn.w_o'; did you mean 'blocks"),
    "last leaf": (("ln_final.bias", "ln_final.bia"), r"no leaf 'ln_final.bia'; did you mean 'ln_final"),
    "field": (('"n_embd" = "d"', '"n_embd" = "width"'), r"maps 'n_embd' to 'width', which is no field"),
    "kinds": (('"n_embd" = "d"', '"x" = "rope.kind"'), r"needs a table \[config.kinds.rope\]"),
    "pattern": (("ctx d -> ctx d", "ctx d"), r"pattern of 'w_pos' goes from their axes .*got 'ctx d'"),
    "tied": (('"lm_head.weight" = "w_embed"', '"lm_head.weight" = "w_emb"'), r"ties .* no row; did"),
    "toml": (("[weights]", "[weights"), r"mine.toml is not TOML"),
    "a part": (("[names]", "[nmes]"), r"A port has no 'nmes'; did you mean 'names'.*there are 'source'"),
    "a part of the names": (("[names]", "[names]\noptonal = []"), r"\[names\] has no 'optonal'; did you"),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors_of_a_table_teach(gpt2: Any, tmp_path: Path, what: str) -> None:
    hub.export(tmp_path, gpt2)
    change, words = WRONG[what]
    with pytest.raises(ValueError, match=words):
        hub.load(tmp_path, port=copied(tmp_path, change))


def test_a_table_without_ignore(gpt2: Any, tmp_path: Path) -> None:
    """Nothing but what `export` writes is ignored then, and the error says how to."""
    hub.export(tmp_path, gpt2)
    edit_config(tmp_path, initializer_range=0.1)
    table = copied(tmp_path, ('include = "_huggingface.toml"', ""))
    text = table.read_text()
    start, end = text.index("ignore = ["), text.index("[config.keys]")
    table.write_text(text[:start] + text[end:])
    with pytest.raises(UnhandledConfig, match=r"initializer_range = 0.1 .*ignore=\['\w+'\]"):
        hub.load(tmp_path, port=table)
    assert same(hub.load(tmp_path, port=table, ignore=["initializer_range"])[0], gpt2)


def test_ignored_keys(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    edit_config(tmp_path, my_note="x", my_flag=True)
    with pytest.raises(UnhandledConfig, match=r"ji.load\(..., ignore=\['my_(note|flag)'\]\)"):
        hub.load(tmp_path)
    for ignore in (["my_note", "my_flag"], ("my_*",)):
        model, _ = hub.load(tmp_path, ignore=ignore)
        assert same(model, gpt2)
        assert model.config == gpt2.config
    with pytest.raises(UnhandledConfig, match="my_flag"):
        hub.load(tmp_path, ignore=["my_note"])
    with pytest.raises(ValueError, match=r"'n_\*' is or matches 'n_positions', 'n_embd'"):
        hub.load(tmp_path, ignore=["n_*"])
    with pytest.raises(ValueError, match=r"a list of keys: ji.load\(..., ignore=\['my_note'\]\)"):
        hub.load(tmp_path, ignore="my_note")
    hub.save(tmp_path / "saved", gpt2)
    with pytest.raises(ValueError, match=r"a folder of ji.save has none"):
        hub.load(tmp_path / "saved", ignore=["my_note"])


def test_broken_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no port table .*ports/README\.md"):
        hub.read_port(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("[source]\n[config]\n")
    with pytest.raises(ValueError, match=r"lacks \[weights\]"):
        hub.read_port(tmp_path / "bad.toml")
    with pytest.raises(ValueError, match=r"a row is LEAF = \[NAME, PATTERN\]"):
        _rows(tmp_path, {"w_embed": "wte.weight"})
    config = CONFIGS["gpt2"]
    with pytest.raises(ValueError, match="has no row for our leaves"):
        port = hub.all_ports()["gpt2"]
        rows = tuple(r for r in port.rows if r.leaf != "w_pos")
        cut = hub.Port(port.family, port.path, port.source, port.config, port.names, rows, ())
        hub.build(cut, config, {})
