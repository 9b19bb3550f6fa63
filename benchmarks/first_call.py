"""Seconds of first calls, compiling counted, on the embedded model: each call in a fresh process.

    python benchmarks/first_call.py                    # all calls, a table
    python benchmarks/first_call.py --only sweep run   # these
    python benchmarks/first_call.py --cache FOLDER     # with ji.compilation_cache: run it twice

Columns: the first call of a process; the first call with prompts of another length; the same again, which
compiles nothing. Then for the second column the seconds of all cores together, which other work on the
machine changes little, and the number of programs that XLA compiled. `bucketed` is `sweep` of prompts that
`ji.bucket` has padded to one length.
"""

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PROMPTS = [
    (
        "Then John and Mary went to the old store, and John gave a bottle of milk to",
        "Then John and Mary went to the old store, and Mary gave a bottle of milk to",
    ),
    (
        "Then John and Mary went to the old store in town, and John gave a bottle of milk to",
        "Then John and Mary went to the old store in town, and Mary gave a bottle of milk to",
    ),
]


def calls(ji: Any, model: Any, tokenizer: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """The calls by name: functions of a clean and a corrupt prompt."""
    import jax

    mary = tokenizer.token_id(" Mary")
    metric = ji.metrics.logit_diff(mary, tokenizer.token_id(" John"))

    def bucketed(clean: Any, corrupt: Any) -> Any:
        (clean, mask), (corrupt, _) = ji.bucket(clean), ji.bucket(corrupt)
        return ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", mask=mask)

    return {
        "run": lambda clean, _: ji.run(model, clean),
        "capture": lambda clean, _: ji.run(model, clean, capture=["resid_post", "pattern[1]"])[0],
        "sweep": lambda clean, corrupt: ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre"),
        "bucketed": bucketed,
        "heads": lambda clean, corrupt: ji.patching.sweep(
            model, clean, corrupt, metric, site="z", over=("layer", "head")
        ),
        "attribution": lambda clean, corrupt: ji.patching.attribution(
            model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos")
        ),
        "site_grads": lambda clean, _: ji.site_grads(
            model, clean, lambda logits: logits[mary], at=["z"], logits=-1
        )[2],
        "generate": lambda clean, _: ji.generate(model, clean, 20, key=jax.random.key(0)),
        "logit_lens": lambda clean, _: ji.lens.logit_lens(model, clean),
        "summary": lambda clean, _: ji.lens.summary(model, clean),
    }


class _Compiled(logging.Handler):
    """Counts the programs that JAX hands to XLA."""

    def __init__(self, shown: bool) -> None:
        super().__init__()
        self.count, self.shown = 0, shown

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.count += message.startswith("Finished XLA compilation")
        if self.shown:
            print(message)


def measure(name: str, cache: str | None, shown: bool) -> str:
    """One row of the table, in this process."""
    import jax

    import jaxinterp as ji

    if cache is not None:
        ji.compilation_cache(cache)
    model, tokenizer = ji.load("tiny")
    call = calls(ji, model, tokenizer)[name]
    prompts = [tuple(map(tokenizer, pair)) for pair in PROMPTS]
    assert len(prompts[0][0]) != len(prompts[1][0])
    jax.config.update("jax_log_compiles", True)
    counted = _Compiled(shown)
    for logger in ("jax._src.dispatch", "jax._src.interpreters.pxla"):
        logging.getLogger(logger).addHandler(counted)
        logging.getLogger(logger).propagate = False
    wall, cpu, programs = [], [], []
    for clean, corrupt in (prompts[0], prompts[1], prompts[1]):
        counted.count = 0
        began = time.perf_counter(), time.process_time()
        jax.block_until_ready(jax.tree.leaves(call(clean, corrupt)))
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
        programs.append(counted.count)
    return f"{name:12} {wall[0]:8.2f} {wall[1]:10.2f} {wall[2]:8.4f} {cpu[1]:10.2f} {programs[1]:10}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="names of calls")
    parser.add_argument("--cache", help="a folder for ji.compilation_cache")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--log", action="store_true", help="also prints what JAX says of each program")
    ask = parser.parse_args()
    if ask.here:
        print(measure(ask.here, ask.cache, ask.log), flush=True)
        return
    names = ask.only or NAMES
    print(f"{'call':12} {'first s':>8} {'new len s':>10} {'again s':>8} {'new cpu s':>10} {'programs':>10}")
    for name in names:
        more = [*(["--cache", ask.cache] if ask.cache else []), *(["--log"] if ask.log else [])]
        subprocess.run([sys.executable, __file__, "--here", name, *more], check=True)


NAMES = [
    "run",
    "capture",
    "sweep",
    "bucketed",
    "heads",
    "attribution",
    "site_grads",
    "generate",
    "logit_lens",
    "summary",
]

if __name__ == "__main__":
    main()
