"""Central programs against recorded figures: `benchmarks/tpu_figures.json`, by the TPU compiler, ahead of time.

    python benchmarks/tpu_check.py             # fails where a figure moved by more than a tenth
    python benchmarks/tpu_check.py --record    # writes the figures anew

It compiles real shapes for v5e in two processes side by side. For every program it asserts that the estimate
and the schedule are within a tenth of the recorded ones (a program that became quicker is recorded anew),
that memory is at most a twentieth above and fits, that the compiler left no float64 and no call to the
host, and that no kind of collective or of unpriced call is new.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import compiler

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "tpu_figures.json"
PROGRAMS = (
    "forward-bf16",
    "forward-f32",
    "capture-bf16",
    "site_grads-bf16",
    "sweep-residual-bf16",
    "sweep-heads-bf16",
    "layer-bf16-8192",
    "generate-bf16",
    "topk-768-24576",
    "batch_topk-768-24576",
    "jumprelu-768-24576",
    "batch_topk-2304-131072-blocks",
    "pythia-6.9b-tensor",
)
PROCESSES = 2
NEAR, MEMORY = 0.10, 0.05
SMALL_MS = 0.5  # differences below it count as none


def halves(recorded: dict[str, Any]) -> list[list[str]]:
    """The programs in as many lists as there are processes, of about the same compile time."""
    lists: list[list[str]] = [[] for _ in range(PROCESSES)]
    loads = [0.0] * PROCESSES
    seconds = {name: recorded.get(name, {}).get("seconds", 30.0) for name in PROGRAMS}
    for name in sorted(PROGRAMS, key=lambda name: -seconds[name]):
        least = loads.index(min(loads))
        lists[least].append(name)
        loads[least] += seconds[name]
    return lists


def measured(recorded: dict[str, Any]) -> dict[str, Any]:
    """The rows of all programs by name."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number, names in enumerate(halves(recorded)):
            file = Path(folder, f"{number}.json")
            command = [sys.executable, str(HERE / "tpu.py"), "--program", *names, "--json", str(file)]
            running.append((subprocess.Popen(command), file))
        for process, file in running:
            process.wait()
            if file.exists():
                found |= {row["name"]: row for row in json.loads(file.read_text())}
    return found


def figures(row: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a row."""
    kept = {name: round(row[name], 2) for name in ("est_ms", "schedule_ms", "hbm_gb", "peak_gib")}
    moved = {kind: round(size / 1e9, 3) for kind, (size, _) in row["collectives"].items()}
    return kept | {
        "collectives_gb": moved,
        "unpriced": sorted(row["unpriced"]),
        "seconds": round(row["seconds"]),
    }


def wrong(row: dict[str, Any] | None, recorded: dict[str, Any] | None) -> list[str]:
    """What is not as it must be."""
    if row is None:
        return ["it was not measured"]
    if "error" in row:
        return [f"it does not compile: {row['error']}"]
    found = [flag for flag in row["flags"] if not flag.endswith("of unknown turns")]
    if recorded is None:
        return [*found, "it has no recorded figures: run with --record"]
    now = figures(row)
    for name in ("est_ms", "schedule_ms"):
        ours, theirs = now[name], recorded[name]
        if abs(ours - theirs) > max(NEAR * theirs, SMALL_MS):
            how = "more than recorded" if ours > theirs else "better than recorded: run with --record"
            found.append(f"{name} {ours} against {theirs}, {how}")
    if now["peak_gib"] > (1 + MEMORY) * recorded["peak_gib"] + 0.01:
        found.append(f"peak {now['peak_gib']} GiB against {recorded['peak_gib']}")
    for kind, size in now["collectives_gb"].items():
        if size > (1 + NEAR) * recorded["collectives_gb"].get(kind, 0.0) + 0.001:
            found.append(f"{kind} of {size} GB against {recorded['collectives_gb'].get(kind, 0.0)}")
    new = set(now["unpriced"]) - set(recorded["unpriced"])
    return found + ([f"new calls without a price: {sorted(new)}"] if new else [])


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--record", action="store_true", help="writes the figures anew")
    given = ask.parse_args()
    if not compiler.is_installed():
        print(compiler.MISSING)
        return 2
    began = time.perf_counter()
    recorded = json.loads(FIGURES.read_text())["programs"] if FIGURES.exists() else {}
    rows = measured(recorded)
    if given.record:
        made = {
            name: figures(rows[name]) for name in PROGRAMS if "error" not in rows.get(name, {"error": ""})
        }
        versions = {name: version(name) for name in ("jax", "libtpu")}
        FIGURES.write_text(json.dumps({"versions": versions, "programs": made}, indent=1) + "\n")
        recorded = made
    bad = {name: found for name in PROGRAMS if (found := wrong(rows.get(name), recorded.get(name)))}
    for name, found in bad.items():
        print(f"{name}: {'; '.join(found)}")
    print(f"{len(PROGRAMS)} programs, {len(bad)} wrong, {time.perf_counter() - began:.0f} s")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
