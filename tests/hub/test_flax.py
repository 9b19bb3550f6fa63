"""Flax GPT-2: its msgpack checkpoint loads, and a ported model saves as one."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import serialization

from jaxinterp import hub
from jaxinterp.hub import BadCheckpoint

from .conftest import same


def test_tree_round_trip(make: Any) -> None:
    for name in ("gpt2", "gpt2-untied"):
        model = make(name)
        again = hub.from_flax(hub.to_flax(model), model.config)
        assert same(again, model)
        assert same(hub.from_flax({"params": hub.to_flax(model)}, model.config), model)


def test_names_and_layouts(make: Any) -> None:
    """As transformers.FlaxGPT2LMHeadModel: kernels are [out, in], c_attn is q, k, v in turn."""
    model = make("gpt2")
    params = hub.to_flax(model)["transformer"]
    assert params["h"]["0"]["attn"]["c_attn"]["kernel"].shape == (24, 8)
    assert params["h"]["2"]["mlp"]["c_fc"]["kernel"].shape == (32, 8)
    assert params["ln_f"]["scale"].shape == (8,)
    w_k = np.asarray(model.blocks.attn.w_k)[1, 3]
    assert np.array_equal(params["h"]["1"]["attn"]["c_attn"]["kernel"][8 + 6 : 8 + 8], w_k.T)


def test_a_flax_checkpoint(make: Any, tmp_path: Path) -> None:
    model = make("gpt2")
    hub.export(tmp_path, model, format="flax")
    tree = serialization.msgpack_restore((tmp_path / "flax_model.msgpack").read_bytes())
    assert jax.tree.all(jax.tree.map(np.array_equal, tree, hub.to_flax(model)))
    again, _ = hub.load(tmp_path)
    assert same(again, model)
    assert again.config.source.format == "flax"
    assert again.config.source.files == ("flax_model.msgpack",)
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.to_bytes(tree["transformer"]))
    assert same(hub.load(tmp_path)[0], model)  # of the bare FlaxGPT2Model: no prefix


def test_without_the_package(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameter trees need no package; files name the extra that brings it."""
    model = make("gpt2")
    hub.export(tmp_path, model, format="flax")
    monkeypatch.setitem(sys.modules, "flax", None)
    assert same(hub.from_flax(hub.to_flax(model), model.config), model)
    with pytest.raises(ImportError, match=r'pip install "jaxinterp\[flax\]"'):
        hub.load(tmp_path)
    with pytest.raises(ImportError, match=r'pip install "jaxinterp\[flax\]"'):
        hub.export(tmp_path / "again", model, format="flax")


@pytest.mark.parametrize("content", [b"", b"\xc1garbage", b"\x93\x01\x02\x03"])
def test_broken_msgpack(make: Any, tmp_path: Path, content: bytes) -> None:
    hub.export(tmp_path, make("gpt2"), format="flax")
    (tmp_path / "flax_model.msgpack").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"flax_model\.msgpack"):
        hub.load(tmp_path)


def test_a_cut_msgpack(make: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, make("gpt2"), format="flax")
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match="truncated or corrupt"):
        hub.load(tmp_path)


def test_trees_of_another_model(make: Any) -> None:
    model = make("gpt2")
    params = hub.to_flax(model)
    del params["transformer"]["wpe"]
    with pytest.raises(BadCheckpoint, match=r"missing: 'transformer\.wpe\.embedding'"):
        hub.from_flax(params, model.config)
    with pytest.raises(ValueError, match="no \\[flax\\] table"):
        hub.to_flax(make("neox"))
    with pytest.raises(ValueError, match="No port has a dict"):
        hub.from_flax(params, {"n_layer": 3})
