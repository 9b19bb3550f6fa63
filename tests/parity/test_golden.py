"""Parity with the reference implementation: every option that a family's config allows.

Numbers of `tests/golden/make_golden.py`; `tests/parity/live.py` compares with the reference itself.
"""

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import hub
from jaxinterp._jax_versions import enable_x64

from .ours import checkpoint, ours, worst

FOLDER = Path(__file__).parent.parent / "golden"
FAMILIES = ("gpt2", "gpt_neox", "llama")
FLOAT32, FLOAT64 = 2e-5, 1e-10


@functools.cache
def golden(family: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(FOLDER / f"{family}.npz") as file:
        arrays = dict(file)
    return arrays, json.loads(arrays.pop("index").tobytes())


CASES = [(family, name) for family in FAMILIES for name in golden(family)[1]]
COMPILED = {
    ("gpt2", "plain"): [pytest.mark.quick],
    ("gpt2", "odd"): [],
    ("gpt2", "by-layer-unscaled"): [],
    ("gpt_neox", "plain"): [pytest.mark.quick],
    ("gpt_neox", "sequential-rope"): [],
    ("gpt_neox", "rope-yarn-attention"): [],
    ("llama", "everything"): [pytest.mark.quick],
    ("llama", "rope-llama3"): [],
}
"""Cases that are compiled as a user does. The others are formulas, which `test_float64` checks, each of them."""


def compiled(case: tuple[str, str]) -> Any:
    marks = COMPILED.get(case, [pytest.mark.slow, pytest.mark.exhaustive])
    return pytest.param(case, marks=marks, id="/".join(case))


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Any:
    family, name = request.param
    arrays, index = golden(family)
    state = {tensor: arrays[key] for tensor, key in index[name]["tensors"].items()}
    wanted = {
        key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")
    }
    return family, index[name]["config"], state, wanted


def part(wanted: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    start = prefix + "/"
    return {key.removeprefix(start): x for key, x in wanted.items() if key.startswith(start)}


def check(model: Any, wanted: dict[str, np.ndarray], kind: str, tolerance: float) -> None:
    """Plain and padded prompts in one batch: an empty mask and a real one."""
    tokens, mask = wanted["tokens"], wanted["mask"]
    found = ours(model, np.stack([tokens, tokens]), np.stack([np.ones_like(mask), mask]))
    plain = {name: x[..., 0, :, :, :] for name, x in found.items()}
    differences = worst(plain, part(wanted, kind))
    assert differences.keys() == {"logits", "resid", "ln_final_out"}
    assert max(differences.values()) <= tolerance, differences
    padded = {name: x[..., 1, :, :, :] for name, x in found.items()}
    differences = worst(padded, part(wanted, "padded"), mask)
    assert max(differences.values()) <= tolerance, differences


@pytest.mark.parametrize("case", [compiled(case) for case in CASES], indirect=True)
def test_float32(case: Any, tmp_path: Path) -> None:
    """Logits and the stream at every layer, plain and padded, from a checkpoint folder."""
    _, config, state, wanted = case
    model, _ = hub.load(checkpoint(tmp_path, config, state))
    check(model, wanted, "float32", FLOAT32)


def sampled(number: int, case: tuple[str, str]) -> Any:
    """Every fourth case is in the default suite."""
    return pytest.param(case, marks=[] if number % 4 == 0 else [pytest.mark.slow], id="/".join(case))


@pytest.mark.parametrize("case", [sampled(*each) for each in enumerate(CASES)], indirect=True)
def test_float64(case: Any) -> None:
    """The same in float64, where a difference of formula has nothing to hide behind."""
    family, config, state, wanted = case
    # Operation by operation: compiling each case whole would take longer than all the rest.
    with enable_x64(True), jax.disable_jit():
        model = hub.build(hub.all_ports()[family], config, state, dtype=np.float64)
        check(model, wanted, "float64", FLOAT64)


# Names of one and the same function: at these inputs, or by the reference's own definition.
ALIKE = {
    "gpt2": {
        "act-gelu_new": "plain",
        "act-gelu_fast": "plain",
        "act-gelu_pytorch_tanh": "plain",
        "upcast": "plain",
        "upcast-by-layer": "by-layer",
        "act-swish": "act-silu",
        "act-relu6": "act-relu",
    },
    "gpt_neox": {"act-gelu_fast": "act-gelu_new", "rope-dynamic": "rotary-0.5"},
    "llama": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_options_matter(family: str) -> None:
    """No case computes what another does, so that each option is seen."""
    arrays, index = golden(family)
    logits = {name: arrays[f"{name}/float64/logits"] for name in index}
    for one, two in itertools.combinations(logits, 2):
        if logits[one].shape == logits[two].shape:
            alike = ALIKE[family].get(one, one) == ALIKE[family].get(two, two)
            difference = np.abs(logits[one] - logits[two]).max()
            assert (difference < 1e-8) if alike else (difference > 1e-4), (one, two, difference)
