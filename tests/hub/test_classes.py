"""Classes that files name: models alone resolve, and nothing is called before that is known."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from jaxinterp import hub, models
from jaxinterp.hub._classes import config_of, find_model, is_model

from .conftest import same


class Mine(models.GPT2):
    """A model of the caller, in a module that is imported: this one."""

    @staticmethod
    def init(config: Any, *, key: Any, dtype: Any = None) -> "Mine":
        return Mine(**vars(models.GPT2.init(config, key=key, dtype=dtype)))


class NoModel:
    config = blocks = embed = tables = unembed = init = None

    def __init__(self, *args: Any) -> None:
        pytest.fail("called")


NAMES = (
    "jaxinterp.cli:main",
    "jaxinterp:load",
    "os:system",
    "subprocess:Popen",
    "builtins:eval",
    "Config",
    f"{__name__}:NoModel",
    f"{__name__}:pytest.fail",
    "jaxinterp.models:GPT2.init",
    "json:JSONDecoder",
    "not.imported:Model",
    "jaxinterp.models._gpt2:jax",
    "",
    ":",
    "GPT2:",
    7,
    None,
    "a" * 5000,
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_model_does_not_resolve(gpt2: Any, tmp_path: Path, name: Any) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match=r"no model|not imported|has no|must name a class"):
        find_model(name, "x.json")
    assert set(sys.modules) == before
    hub.save(tmp_path / "x", gpt2)
    path = tmp_path / "x" / "model" / "metadata"
    about = json.loads(path.read_text())
    for key in ("model", "config_class"):
        path.write_text(json.dumps({**about, key: name}))
        with pytest.raises(ValueError, match="metadata"):
            hub.load(tmp_path / "x")


def test_a_model_of_the_caller_comes_back(gpt2: Any, tmp_path: Path) -> None:
    assert is_model(Mine) and find_model(f"{__name__}:Mine", "x") is Mine
    assert config_of(Mine, "x") is models.GPT2Config
    mine = Mine(**{name: getattr(gpt2, name) for name in vars(gpt2)})
    hub.save(tmp_path / "x", mine)
    again, _ = hub.load(tmp_path / "x")
    assert type(again) is Mine and same(again, mine)


def test_a_module_whose_attributes_run_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up, and no `__getattr__` of a module is asked."""
    place = types.ModuleType("tricky")
    place.__getattr__ = lambda name: pytest.fail("asked")  # pyright: ignore
    monkeypatch.setitem(sys.modules, "tricky", place)
    with pytest.raises(ValueError, match="tricky has no Model"):
        find_model("tricky:Model", "x.toml")


WRONG = (0, -1, float("inf"), 1e30, float("nan"), 2.5, "2", [2], {}, True)


@pytest.mark.parametrize("name", ["vocab", "ctx", "d", "layers", "heads", "kv_heads", "k", "vocab_out"])
def test_sizes_are_ints_of_one_or_more(name: str) -> None:
    sizes: dict[str, Any] = {"vocab": 8, "ctx": 4, "d": 4, "layers": 1, "heads": 2}
    for kind in (models.GPT2Config, models.GPTNeoXConfig, models.LlamaConfig):
        for value in (*WRONG, 2**40):
            with pytest.raises(ValueError, match=f"Config needs {name} to be an int .*; got {name}="):
                remade(kind(**sizes), name, value)
        for other, value in (
            ("norm_eps", float("nan")),
            ("norm_eps", -1.0),
            ("norm", 1),
            ("act", None),
        ):
            with pytest.raises(ValueError, match=f"Config needs {other} to be"):
                remade(kind(**sizes), other, value)


def remade(config: Any, name: str, value: Any) -> None:
    """What the constructor does with a value; the annotations, which tests check, let it through."""
    object.__setattr__(config, name, value)
    config.__post_init__()
