"""The memory that errors name suffices: sizes follow from shapes, and nothing is compiled."""

import re
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.circuits._paths import _sizes
from jaxinterp.circuits._run import at_once
from jaxinterp.circuits._wiring import RECEIVERS, SENDERS, wiring
from jaxinterp.patching._pairs import make_pair

MODEL, _ = ji.load("tiny")


def prompts(max_bytes: int) -> Any:
    clean, corrupt = np.random.default_rng(0).integers(1, 3000, (2, 3, 8)).astype(np.int32)
    pair = make_pair(MODEL, clean, corrupt, None, "denoise")
    return pair, pair.metric(ji.metrics.logit_diff(3, 4)), max_bytes


def paths(max_bytes: int) -> Any:
    pair, metric, limit = prompts(max_bytes)
    return _sizes(wiring(pair.shapes, pair.layers, SENDERS, RECEIVERS), pair, metric, limit)


def circuits(max_bytes: int) -> Any:
    pair, _, limit = prompts(max_bytes)
    return at_once(pair, ji.circuits.graph(MODEL), 1, limit)


@pytest.mark.quick
@pytest.mark.parametrize("plan", [paths, circuits])
def test_the_memory_that_an_error_names_suffices(plan: Any) -> None:
    with pytest.raises(ValueError, match=r"max_bytes is 1\. Raise max_bytes") as refused:
        plan(1)
    least = int(re.findall(r"max_bytes=(\d+)", str(refused.value))[0])
    plan(least)
    with pytest.raises(ValueError, match=f"max_bytes={least}, and max_bytes is {least - 1}"):
        plan(least - 1)
