"""Many random cases of every kind: `python -m tests.random_cases --seed 0 --cases 300 [--only kind]`.

Cases come in groups that share compiled programs. A failure prints what differs, how to run that case
alone, and the call as code.
"""

import argparse
import os
import time
import warnings

from tests.processes import cheap_flags

os.environ.setdefault("XLA_FLAGS", cheap_flags())

import jax

from .kinds import KINDS, Disagreement, run_case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=300, help="of each kind")
    parser.add_argument("--share", type=int, default=10, help="cases that share compiled programs")
    parser.add_argument("--only", choices=KINDS, action="append", help="a kind; may be given again")
    parser.add_argument("--case", help="one case of one kind, as a failure prints it: group.member")
    parser.add_argument("--float32", action="store_true", help="models of float32, without x64")
    ask = parser.parse_args()
    warnings.simplefilter("error")
    jax.config.update("jax_enable_x64", not ask.float32)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    failed = 0
    print(f"{'kind':12} {'cases':>6} {'failed':>7} {'largest error':>14} {'seconds':>8}")
    for kind in ask.only or KINDS:
        began, worst, wrong, ran = time.process_time(), 0.0, 0, 0
        for group, member in _cases(ask):
            ran += 1
            try:
                worst = max(worst, run_case(kind, ask.seed, group, member))
            except Disagreement as error:
                wrong += 1
                print(f"\n{kind} {group}.{member}: {error}\n")
        print(f"{kind:12} {ran:6} {wrong:7} {worst:14.1e} {time.process_time() - began:8.1f}", flush=True)
        failed += wrong
        jax.clear_caches()
    print(f"seed {ask.seed}: {'all agree' if not failed else f'{failed} cases differ'}")
    return int(failed > 0)


def _cases(ask: argparse.Namespace) -> list[tuple[int, int]]:
    if ask.case:
        group, member = ask.case.split(".")
        return [(int(group), int(member))]
    return [(i // ask.share, i % ask.share) for i in range(ask.cases)]


if __name__ == "__main__":
    raise SystemExit(main())
