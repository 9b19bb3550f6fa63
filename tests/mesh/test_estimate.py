"""Memory by formula beside the memory that the TPU compiler gave, which `benchmarks/scale.py` measures again."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.core._sites import SITES
from jaxinterp.mesh._needs import ONCE, WIDTHS
from tests.models import CONFIGS, random_model

KEPT = json.loads((Path(__file__).parent / "compiler_memory.json").read_text())["programs"]
TOLERANCE = 0.15
GPT2 = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12)
TOPK = ji.sae.TopK(d=64, features=512, k=4)


def made(fields: dict[str, Any], room: Any) -> Any:
    own = dict(fields)
    return getattr(room, own.pop("class"))(**own)


@pytest.mark.parametrize("name", sorted(KEPT))
def test_within_15_percent_of_the_compiler(name: str) -> None:
    given = dict(KEPT[name])
    peak = given.pop("compiler")["peak"]
    room, field = (ji.models, "config") if "config" in given else (ji.sae, "kind")
    what, mesh = made(given.pop(field), room), given.pop("mesh", None)
    found = ji.mesh.estimate(what, mesh, shape=tuple(given.pop("shape")), **given)
    assert abs(found.bytes / peak - 1) < TOLERANCE, f"{found}\nthe compiler: {peak / 2**30:.3f} GiB"


def test_there_are_models_dictionaries_and_meshes() -> None:
    meshes = [one for one in KEPT.values() if "mesh" in one]
    assert len(KEPT) >= 8 and len(meshes) >= 2
    assert {"config", "kind"} <= {key for one in KEPT.values() for key in one}


@pytest.mark.quick
def test_sites_have_the_widths_of_the_table() -> None:
    known = {name: axes for axes, names in WIDTHS.items() for name in names.split()}
    assert known.keys() == SITES.keys()
    for name, site in SITES.items():
        assert known[name].split() == [axis for axis in site.axes if axis not in ("pos", "query")]
        assert (name in ONCE) == (site.stage != "block")


def test_a_capture_costs_what_it_holds() -> None:
    plain = ji.mesh.estimate(GPT2, shape=(4, 128), logits=-1)
    one = ji.mesh.estimate(GPT2, shape=(4, 128), logits=-1, capture="resid_post[3]")
    some = ji.mesh.estimate(GPT2, shape=(4, 128), logits=-1, capture=["resid_post[2:5]"])
    assert one.outputs - plain.outputs == 4 * 128 * 768 * 4
    assert some.outputs - plain.outputs == 3 * (one.outputs - plain.outputs)
    whole = ji.mesh.plan(GPT2, jax.sharding.AbstractMesh((1, 1), ("data", "model")))
    assert plain.weights == whole.device_bytes


def test_rows_and_features_are_divided() -> None:
    alone = ji.mesh.estimate(TOPK, shape=256)
    spread = ji.mesh.estimate(TOPK, jax.sharding.AbstractMesh((2, 4), ("data", "feature")), shape=256)
    assert spread.bytes < alone.bytes / 3 and spread.operations == alone.operations / 8
    assert alone.exchanged == 0 < spread.exchanged


@pytest.mark.quick
def test_how_it_prints_and_what_it_refuses() -> None:
    found = ji.mesh.estimate(TOPK, {"data": 1, "feature": 2}, shape=256)
    assert "TopK 256 on data 1, feature 2" in str(found) and "fits a v5e" in str(found)
    assert "<table>" in found._repr_html_() and found.records()[0]["name"] == "weights"
    small = ji.mesh.Chip(name="small one", memory=2**10)
    assert "does not fit a small one" in repr(ji.mesh.estimate(TOPK, shape=256, chip=small))
    with pytest.raises(ValueError, match=r"of a config, ji.models.GPT2Config.*got dict"):
        ji.mesh.estimate({}, shape=(1, 2))
    with pytest.raises(ValueError, match=r"Tokens are \(batch, pos\)"):
        ji.mesh.estimate(GPT2, shape=8)
    with pytest.raises(ValueError, match="a number of rows"):
        ji.mesh.estimate(TOPK, shape=(8, 8))
    with pytest.raises(ValueError, match=r"A site is written.*got 'residual'"):
        ji.mesh.estimate(GPT2, shape=(1, 8), capture="residual")
    with pytest.raises(ValueError, match="A mesh has the axes"):
        ji.mesh.estimate(TOPK, {"feature": 2}, shape=8)


def test_what_does_not_divide_is_whole() -> None:
    """The logits of 50,257 tokens over 8 devices, and rows that do not divide, lie whole on each."""
    config = ji.models.GPT2Config(vocab=50257, ctx=16, d=12, layers=2, heads=3)
    for capture, mesh, shape in [
        ((), {"data": 1, "model": 8}, (8, 16)),
        ("z", {"data": 8, "model": 1}, (3, 16)),
    ]:
        logits = capture == ()
        alone = ji.mesh.estimate(config, shape=shape, capture=capture, logits=logits)
        assert (
            ji.mesh.estimate(config, mesh, shape=shape, capture=capture, logits=logits).outputs
            == alone.outputs
        )


def test_logits_count_the_positions_of_one_prompt() -> None:
    def outputs(logits: Any) -> float:
        return ji.mesh.estimate(GPT2, shape=(4, 8), logits=logits).outputs

    assert outputs(np.zeros((4, 2), int)) == outputs([0, 1]) == outputs(range(2))
    assert outputs([0, 1]) == 2 * outputs(-1) and outputs([]) == outputs(False) == 0


def test_a_name_of_a_function_is_no_plan() -> None:
    def like_tensor(path: str, leaf: Any) -> None:
        return None

    own = ji.mesh.estimate(GPT2, {"data": 1, "model": 4}, shape=(4, 8), plan=like_tensor)
    assert own.operations == ji.mesh.estimate(GPT2, shape=(4, 8)).operations and own.exchanged == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtype": "bfloat16"}, "matmul='bfloat16'"),
        ({"mesh": {"data": 2, "model": 4}}, "axes 'data' and 'feature'"),
    ],
)
def test_a_step_of_a_dictionary_refuses_what_it_would_ignore(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ji.mesh.estimate(TOPK, shape=8, **given)
    for kind in (ji.sae.Temporal(d=16, features=512, k=4), ji.sae.MatchingPursuit(d=16, features=32)):
        with pytest.raises(ValueError, match=f"A {type(kind).__name__} .* is not trained here"):
            ji.mesh.estimate(kind, shape=8)


@pytest.mark.parametrize("family", ["gpt2", "neox", "llama"])
def test_an_estimate_knows_the_sites_of_its_model(family: str) -> None:
    """As far as the config says: `ji.sites` traces the model, and the estimate does not."""
    config = CONFIGS[family]
    sites = {row["site"] for row in ji.sites(random_model(config)).records()}

    def refused(site: str) -> bool:
        try:
            ji.mesh.estimate(config, shape=(2, 4), capture=site)
        except ValueError:
            return True
        return False

    assert {site for site in SITES if not refused(site)} == sites


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shape": (0, 8)}, "an int of 1 or more"),
        ({"shape": (1, 17)}, "has 16 positions"),
        ({"shape": (1, 8), "capture": "z[2]"}, "has no 'z"),
        ({"shape": (1, 8), "capture": "z[1:1]"}, "has none of"),
        ({"shape": (1, 8), "dtype": "int8"}, "dtype is of the weights"),
        ({"shape": (1, 8), "mesh": {"data": 0}}, "axis 'data' of a mesh"),
        (
            {"shape": (1, 8), "capture": ji.at("z", layer=1)},
            "capture is a site or a list of sites as strings",
        ),
        ({"shape": (1, 8), "at": 3}, "at is a site or a list of sites"),
        ({"shape": (1, 8), "capture": "mlp_up"}, "has no site 'mlp_up'"),
        ({"shape": (1, 8), "capture": "k_rot"}, "has no site 'k_rot'"),
        ({"shape": (1, 8), "logits": 8}, "a prompt of 8 positions has none at 8"),
        ({"shape": (1, 8), "logits": 1.5}, r"positions \(n,\) or \(1, n\), as in ji.run: logits=-1; got 1.5"),
        ({"shape": (1, 8), "logits": slice(2)}, "as in ji.run: logits=-1; got slice"),
        ({"shape": (1, 8), "plan": ""}, "A plan is one of"),
    ],
)
def test_an_estimate_refuses_what_no_run_takes(given: dict[str, Any], words: str) -> None:
    config = ji.models.GPT2Config(vocab=17, ctx=16, d=12, layers=2, heads=3)
    with pytest.raises((ValueError, IndexError), match=words):
        ji.mesh.estimate(config, **given)
