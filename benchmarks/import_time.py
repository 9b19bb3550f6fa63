"""What `import jaxinterp` adds to `import jax, equinox`: fresh processes, medians.

python benchmarks/import_time.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

BASE = "import jax, equinox"
FULL = "import jax, equinox, jaxinterp"
EXPECTED = 0.3


def seconds(code: str) -> float:
    start = time.perf_counter()
    # Bytecode as an installed package has it, also where the environment forbids writing it.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    seconds(FULL)  # writes bytecode, warms the disk's cache
    pairs = [(seconds(BASE), seconds(FULL)) for _ in range(repeats)]
    base, full = (statistics.median(times) for times in zip(*pairs, strict=True))
    added = statistics.median(b - a for a, b in pairs)
    print(f"{BASE}: {base:.2f} s; {FULL}: {full:.2f} s")
    print(f"added: {added:.3f} s, median of {repeats} pairs (expected: under {EXPECTED} s)")


if __name__ == "__main__":
    main()
