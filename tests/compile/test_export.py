"""The central programs lower for GPUs and TPUs on a machine that has neither: `jax.export`, no compiler.

The programs are those of `benchmarks/tpu.py` at small shapes, and a few shapes at which kernels apply.
"""

import argparse
import contextlib
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jax import export

import jaxinterp as ji
from benchmarks.ahead.program import Call, Program, Shape, split
from benchmarks.ahead.programs import dictionaries, language, sharded

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PLATFORMS = ("cuda", "tpu")
KERNEL = "tpu_custom_call"
# Calls whose form jax does not promise for later releases; none is kept here longer than a test.
ALLOWED = (
    KERNEL,
    "__gpu$xla.gpu.triton",
    "mosaic_gpu_v2",
    "AllocateBuffer",
    "ApproxTopK",
    "TopK",
    "LayoutConstraint",
)
ALLOWED += ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward")
QUICK = ("forward-bf16", "jumprelu-16-256")


def no_devices(topology: str) -> Any:
    raise AssertionError("programs of one chip need no topology")


def exported(call: Call, platforms: tuple[str, ...] = PLATFORMS) -> str:
    """The program's StableHLO for these platforms."""
    function, arrays = split(call, lambda path, leaf: None)
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in ALLOWED]
    with call.mesh or contextlib.nullcontext():
        made = export.export(jax.jit(function), platforms=platforms, disabled_checks=checks)(*arrays)
    return made.mlir_module()


def check(text: str) -> None:
    assert not re.search(r"\b(f64|complex<f64>)\b|xf64>", text), "float64 in a program of float32"
    assert "callback" not in text, "a call to the host"


SMALL = [*language.programs(True), *dictionaries.programs(True)]


@pytest.mark.parametrize("program", [one for one in SMALL if one.name in QUICK], ids=lambda one: one.name)
def test_a_program_lowers_for_gpu_and_tpu(program: Program) -> None:
    check(exported(program.build(no_devices)))


@pytest.mark.slow  # the same law for the other programs: tracing a sweep takes seconds
@pytest.mark.parametrize("program", [one for one in SMALL if one.name not in QUICK], ids=lambda one: one.name)
def test_every_program_lowers_for_gpu_and_tpu(program: Program) -> None:
    check(exported(program.build(no_devices)))


@pytest.mark.parametrize("program", [*sharded.programs(True)], ids=lambda one: one.name)
def test_a_program_of_several_chips_is_traced(program: Program) -> None:
    """Its chips stand for one device: nothing is lowered, so none of them is asked for."""
    call = program.build(lambda topology: [jax.devices()[0]] * 4)
    with call.mesh or contextlib.nullcontext():
        assert jax.tree.leaves(eqx.filter_eval_shape(call.function, *call.arguments))


def encoding() -> Call:
    """Rows wide enough for the kernel that finds the cut of each."""
    kind = ji.sae.TopK(d=16, features=2048, k=8)
    sae = eqx.filter_eval_shape(lambda: kind.init(jax.random.key(0)))
    return Call(lambda sae, x: sae.encode(x), (sae, Shape((64, 16), jnp.float32)))


KERNELS = {"the cuts of rows": encoding}


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_a_kernel_stands_in_the_program_of_a_tpu_alone(make: Callable[[], Call]) -> None:
    """One platform at a time: for several, jax lowers every branch of `platform_dependent` for each of them."""
    for platform in PLATFORMS:
        text = exported(make(), (platform,))
        check(text)
        assert (KERNEL in text) == (platform == "tpu")


def test_a_name_of_no_program_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command compiles nothing then, and does not pass."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    command = importlib.import_module("benchmarks.tpu")
    given = argparse.Namespace(smoke=True, program=["nope"], only=list(command.GROUPS), list=False)
    assert command.measured(given, None) == 2
    assert "No program has one of the names ['nope']; --list" in capsys.readouterr().out
