"""What the TPU compiler thinks of the central programs: v5e, ahead of time, no accelerator needed.

    python benchmarks/tpu.py                           # every program: over an hour on two cores
    python benchmarks/tpu.py --only forward grads      # these groups
    python benchmarks/tpu.py --program forward-bf16 --heavy 10
    python benchmarks/tpu.py --smoke                   # tiny shapes, no claim
    python benchmarks/tpu.py --list
    python benchmarks/tpu.py --card t4 --only forward  # XLA's CUDA compiler: memory and calls, no times

It needs jax 0.10.2 and libtpu 0.0.42.1. A row has the program's name and

- `est_ms`: the compiler's estimate of every fusion times the turns of the loops around it. It is
  pessimistic where memory bounds a fusion, and knows nothing of kernels, `top_k` and sorts (`unpriced`);
- `floor_ms`: the products that the program needs at 197 TFLOP/s (a float32 product takes six passes), or
  reading its arguments and writing its results once at 819 GB/s, whichever is longer;
- `peak_GiB`: arguments, results and temporary memory of one chip (15.75 GiB), exact;
- `schedule_ms`: of every kernel the larger of its machine code and its transfers. It prices kernels,
  `top_k` and sorts too. Waiting inside a kernel and collectives are not in it; branches count as taken;
- `hbm_GB`: bytes to and from HBM; `collectives`: bytes by kind; `unpriced`: calls without an estimate.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import compiler

GROUPS = ("forward", "grads", "sweeps", "paths", "attention", "generate", "lens", "dictionaries", "sharded")
HEADER = f"{'name':<34} {'est_ms':>10} {'floor_ms':>10} {'peak_GiB':>9} {'schedule_ms':>11} {'hbm_GB':>9}  collectives, unpriced"


def row(one: Any) -> str:
    """The line of a measured program."""
    show = lambda value: "-" if value is None else f"{value:.2f}"
    text = f"{one.name:<34} {show(one.est_ms):>10} {show(one.floor_ms):>10} {one.peak_gib:>9.2f}"
    text += f" {show(one.schedule_ms):>11} {show(one.hbm_gb):>9}"
    moved = [f"{kind} {size / 1e9:.3g} GB" for kind, (size, _) in one.collectives.items()]
    calls = [f"{name} x{times:g}" for name, times in one.unpriced.items()]
    return f"{text}  {', '.join(moved + calls + [f'[{flag}]' for flag in one.flags])}"


def heavy(one: Any, count: int) -> list[str]:
    """The dearest instructions by the schedule."""
    parts = sorted(one.parts, key=lambda part: -max(part.schedule, part.estimate))[:count]
    return [
        f"    {1e3 * p.schedule:9.3f} ms (est {1e3 * p.estimate:9.3f}) {p.moved / 1e6:10.1f} MB x{p.turns:<7g} "
        f"{p.name:<34} {p.shape:<60} {p.label[-90:]}"
        for p in parts
    ]


def arguments() -> argparse.Namespace:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    ask.add_argument("--program", nargs="+", help="names of programs, or beginnings of names with a *")
    ask.add_argument("--heavy", type=int, default=0, metavar="N", help="the N dearest instructions of each")
    ask.add_argument("--json", type=Path, metavar="FILE", help="the rows as JSON too")
    ask.add_argument("--card", choices=compiler.CARDS, help="XLA's CUDA compiler instead: memory alone")
    ask.add_argument("--list", action="store_true", help="names of programs, nothing is compiled")
    ask.add_argument("--smoke", action="store_true", help="tiny shapes")
    ask.add_argument("--no-schedule", action="store_true", help="keeps no machine code: quicker")
    return ask.parse_args()


SMOKE = ", with --smoke those of tiny shapes"


def main() -> int:
    given = arguments()
    if given.card is not None:
        if not compiler.CardCompiler.is_installed():
            print(compiler.MISSING_CARD)
            return 2
        made: Any = compiler.CardCompiler(given.card)
    else:
        if not given.list and not compiler.is_installed():
            print(compiler.MISSING)
            return 2
        made = compiler.Compiler(code=not given.no_schedule and not given.list)
    try:
        return measured(given, made)
    finally:
        made.close()


def measured(given: argparse.Namespace, made: Any) -> int:
    from ahead.measure import measure
    from ahead.programs import all_programs

    chosen = [one for one in all_programs(given.smoke) if wanted(one, given)]
    if not chosen:
        print(
            f"No program has one of the names {given.program}; --list shows the names{SMOKE * given.smoke}."
        )
        return 2
    if given.list:
        print("\n".join(f"{one.group:<13} {one.name:<34} {one.note}" for one in chosen))
        return 0
    print(HEADER, flush=True)
    kept, failed = [], 0
    for program in chosen:
        try:
            found = measure(program, made)
        except Exception as error:  # one that the compiler refuses must not hide the others
            failed += 1
            message = " ".join(str(error).split())[:300]
            print(f"{program.name:<34} {type(error).__name__}: {message}", flush=True)
            kept.append({"name": program.name, "group": program.group, "error": message})
            continue
        print(row(found), flush=True)
        for line in heavy(found, given.heavy):
            print(line, flush=True)
        fields = found._asdict()
        del fields["parts"]
        kept.append(fields)
        if given.json is not None:  # after each: a run that is cut off has its rows
            given.json.write_text(json.dumps(kept, indent=1) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps(kept, indent=1) + "\n")
    return int(bool(failed))


def wanted(program: Any, given: argparse.Namespace) -> bool:
    if given.program:
        return any(
            program.name == name or (name.endswith("*") and program.name.startswith(name[:-1]))
            for name in given.program
        )
    return program.group in given.only


if __name__ == "__main__":
    sys.exit(main())
