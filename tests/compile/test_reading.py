"""What `benchmarks/tpu.py` reads from a compiler: sizes, turns of loops, transfers, machine code, products."""

import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks.ahead import bundles, hlo, products
from benchmarks.ahead.compiler import Chip
from benchmarks.ahead.cost import Cost

MODULE = """HloModule jit_f, is_scheduled=true

%fused (p.1: f32[12,1024], p.2: s32[]) -> f32[1,1024] {
  %p.1 = f32[12,1024]{1,0:T(8,128)} parameter(0)
  %p.2 = s32[]{:T(128)S(6)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  ROOT %row = f32[1,1024]{1,0:T(8,128)} dynamic-slice(%p.1, %p.2, %zero), dynamic_slice_sizes={1,1024}
}

%body (c: (s32[], f32[12,1024])) -> (s32[], f32[12,1024]) {
  %c = (s32[]{:T(128)}, f32[12,1024]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%c), index=0
  %x = f32[12,1024]{1,0:T(8,128)} get-tuple-element(%c), index=1
  %slice = f32[1,1024]{1,0:T(8,128)} fusion(%x, %i), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"3000"}
  %sorted = f32[1,1024]{1,0:T(8,128)S(1)} sort(%slice), dimensions={1}
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%i, %one)
  ROOT %out = (s32[]{:T(128)}, f32[12,1024]{1,0:T(8,128)}) tuple(%next, %x)
}

%test (d: (s32[], f32[12,1024])) -> pred[] {
  %d = (s32[]{:T(128)}, f32[12,1024]{1,0:T(8,128)}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%d), index=0
  %n = s32[]{:T(128)} constant(12)
  ROOT %less = pred[]{:T(512)} compare(%j, %n), direction=LT
}

ENTRY %main (a: f32[12,1024]) -> f32[12,1024] {
  %a = f32[12,1024]{1,0:T(8,128)} parameter(0)
  %start = s32[]{:T(128)} constant(2)
  %begun = s32[]{:T(128)} copy(%start)
  %both = (s32[]{:T(128)}, f32[12,1024]{1,0:T(8,128)}) tuple(%begun, %a)
  %loop = (s32[]{:T(128)}, f32[12,1024]{1,0:T(8,128)}) while(%both), condition=%test, body=%body
  ROOT %b = f32[12,1024]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""

# A loop of three turns with one of five inside; a branch for ties.
KERNEL = """= control target key start
LB: loop body
     0   :  { %s9_s1 = smov 0 }
   0x1 LB: > { %s5_s1 = sphi %s9_s1, %s6_s1  ;;  %s6_s1 = sadd.s32 1, %s5_s1  ;;  %s8_s2 = smov 0 }
   0x2   : > { %p1_p0 = scmp.ge.s32.totalorder %s6_s1, 3 /* loop exit test */ }
   0x3   : > { %v1_v0 = vmatmul.bf16.gmra.mxu0 }
   0x4 LB: >> { %s3_s2 = sphi %s8_s2, %s4_s2  ;;  %s4_s2 = sadd.s32 2, %s3_s2 }
   0x5   : >> { %p2_p1 = scmp.ge.s32.totalorder %s4_s2, 10 /* loop exit test */ }
   0x6   : > { %77 = sbr.rel (!%p2_p1) target = $region5 }
   0x7   :  {}
   0x8   : > { %s1_s3 = spop %v1  ;;  %p3_p2 = scmp.gt.f32.partialorder %s1_s3, 0.0 }
   0x9   : > { %78 = sbr.rel (!%p3_p2) target = $region9 }
   0xa   : > { %v2_v0 = vadd.f32 %v0, %v0 }
   0xb   : > { %v3_v0 = vadd.f32 %v0, %v0 } /* Start/End empty region 9 */
   0xc   :  { %79 = sbr.rel (!%p1_p0) target = $region4 }
"""


def test_sizes_are_those_of_tiles() -> None:
    assert hlo.size("bf16[8,100]{1,0:T(8,128)(2,1)}") == 8 * 128 * 2
    assert hlo.size("f32[3,128]{1,0:T(8,128)S(1)}") == 0
    assert hlo.size("f32[3,128]{1,0:T(8,128)S(1)}", anywhere=True) == 8 * 128 * 4
    assert hlo.size("(f32[]{:T(128)}, pred[4]{0:T(512)})") == 4 + 512


def test_a_loop_counts_as_often_as_it_runs() -> None:
    cost = Cost(hlo.read(MODULE), {}, {})
    (piece,) = [part for part in cost.parts if part.name == "slice"]
    assert piece.turns == 10 and not cost.unknown_loops
    assert piece.estimate == pytest.approx(10 * 3000 / Chip.hertz)
    assert piece.moved == 10 * (2 * 8 * 1024 * 4 + 4)  # a tile is read and one written, and the index
    assert cost.unpriced == {"sort": 10}


def test_machine_code_prices_what_has_no_estimate() -> None:
    kernels = {"sorted": bundles.Kernel(150_000.0, True)}
    cost = Cost(hlo.read(MODULE), kernels, {})
    (piece,) = [part for part in cost.parts if part.name == "sorted"]
    assert piece.schedule == pytest.approx(10 * 1e-4) and piece.estimate == 0
    assert cost.schedule > cost.estimate


def test_bundles_of_loops_in_loops() -> None:
    kernel = bundles.cycles(KERNEL.splitlines())
    assert kernel.is_counted
    # Two outside; each of three turns has eight of its own, an empty one among them, and five turns of
    # two inside; the bundle for ties is left out.
    assert kernel.cycles == 2 + 3 * (8 + 5 * 2)


def test_products_of_a_scan_and_of_exact_float32() -> None:
    w = jnp.zeros((4, 4))

    def call(x: Any) -> Any:
        exact = jnp.matmul(x, w, precision="highest")
        return jax.lax.scan(lambda x, _: (x @ w, None), exact, None, length=3)[0]

    assert products.count(jax.make_jaxpr(call)(jnp.zeros((2, 4))).jaxpr) == (6 + 3) * 2 * 2 * 4 * 4


def test_the_check_says_what_moved() -> None:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "tpu_check.py"
    spec = importlib.util.spec_from_file_location("tpu_check", path)
    assert spec is not None and spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    row = {
        "est_ms": 10.0,
        "schedule_ms": 8.0,
        "hbm_gb": 1.0,
        "peak_gib": 2.0,
        "collectives": {"all-reduce": [2e9, 4]},
        "unpriced": {},
        "flags": [],
        "seconds": 9.0,
    }
    kept = check.figures(row)
    assert check.wrong(row, kept) == []
    (slower,) = check.wrong({**row, "est_ms": 11.5}, kept)
    assert slower == "est_ms 11.5 against 10.0, more than recorded"
    (better,) = check.wrong({**row, "schedule_ms": 6.0}, kept)
    assert better.endswith("run with --record")
    wide = {**row, "peak_gib": 2.2, "flags": ["float64"], "unpriced": {"sort": 1}}
    assert len(check.wrong(wide, kept)) == 3
    (gathered,) = check.wrong({**row, "collectives": {"all-gather": [1e9, 1]}}, kept)
    assert gathered == "all-gather of 1.0 GB against 0.0"
    assert check.wrong(None, kept) == ["it was not measured"]
