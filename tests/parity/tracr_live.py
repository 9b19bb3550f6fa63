"""Programs of tracr beside its own forward pass, live: prints a table, fails when a row does.

    pip install --group tracr
    python tests/parity/tracr_live.py

Each program is compiled by tracr and converted by `ji.toy.from_tracr`. The residual stream after every
attention and every MLP, and the outputs, agree on all inputs of up to three symbols. The two programs of
`ji.toy.rasp` compute what tracr's own `make_frac_prevs` and `make_reverse` compute, coordinate by coordinate.
"""

import itertools
import sys
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

warnings.filterwarnings("ignore")

from tracr.compiler import compiling, lib  # noqa: E402
from tracr.rasp import rasp  # noqa: E402

import jaxinterp as ji  # noqa: E402

ALLOWED = 1e-6
LONGEST = 3


def programs() -> dict[str, tuple[Any, set[Any], bool]]:
    """Name to (program, vocabulary, causal)."""
    letters, numbers = {"w", "x", "y", "z"}, {1, 2, 3}
    return {
        "frac_prevs": (lib.make_frac_prevs(rasp.tokens == "x"), letters, False),
        "frac_prevs, causal": (lib.make_frac_prevs(rasp.tokens == "x"), letters, True),
        "length": (lib.make_length(), numbers, False),
        "reverse": (lib.make_reverse(rasp.tokens), numbers, False),
        "hist": (lib.make_hist(), numbers, False),
        "sort": (lib.make_sort(rasp.tokens, rasp.tokens, max_seq_len=LONGEST, min_key=1), numbers, False),
        "pair_balance": (lib.make_pair_balance(rasp.tokens, "(", ")"), {"(", ")"}, False),
    }


def inputs(vocab: set[Any], longest: int) -> list[list[Any]]:
    """All inputs of each length, in batches."""
    rows = [itertools.product(sorted(vocab), repeat=n) for n in range(1, longest + 1)]
    return [[["BOS", *row] for row in batch] for batch in rows]


def differences(compiled: Any, converted: ji.toy.Program, vocab: set[Any]) -> tuple[float, float, int]:
    """The largest difference of residual streams and of outputs, and how many inputs there were."""
    layers = converted.model.config.layers
    sites = [f"{site}.{layer}" for layer in range(layers) for site in ("resid_mid", "resid_post")]
    stream = outputs = 0.0
    count = 0
    for batch in inputs(vocab, LONGEST):
        tokens = np.stack([converted.encode(row) for row in batch])
        theirs = compiled.forward(compiled.params, jnp.asarray(tokens)).transformer_output
        logits, acts = ji.run(converted.model, tokens, capture=["resid_mid", "resid_post"])
        ours = [acts[name][layer] for layer in range(layers) for name in ("resid_mid", "resid_post")]
        assert len(theirs.residuals) == len(ours) == len(sites)
        for a, b in zip(ours, theirs.residuals, strict=True):
            stream = max(stream, float(np.abs(np.asarray(a) - np.asarray(b)).max()))
        outputs = max(outputs, float(np.abs(np.asarray(logits) - np.asarray(theirs.output)).max()))
        count += len(batch)
    return stream, outputs, count


def by_hand(name: str, source: Any) -> float:
    """The outputs of `ji.toy.rasp` beside those of tracr's compilation, on all inputs."""
    program = ji.toy.rasp(name, length=LONGEST)
    symbols = [int(token) if token.isdecimal() else token for token in program.tokens[1:]]
    compiled = compiling.compile_rasp_to_model(
        source, vocab=set(symbols), max_seq_len=LONGEST, compiler_bos="BOS"
    )
    converted = ji.toy.from_tracr(compiled, outputs=source.label)
    logits, _ = ji.run(program.model, program.prompts, mask=program.mask)
    places = np.asarray([converted.encode(["BOS", *symbols])])[0]
    theirs, _ = ji.run(converted.model, places[program.prompts], mask=program.mask)
    return float(np.abs(np.asarray(logits) - np.asarray(theirs))[program.mask].max())


def main() -> int:
    failed = 0

    def row(what: str, found: float, note: str = "") -> None:
        nonlocal failed
        failed += not found <= ALLOWED
        print(f"{what:46} {found:9.1e} <= {ALLOWED:7.0e}  {'ok' if found <= ALLOWED else 'FAILED':6} {note}")

    for name, (source, vocab, causal) in programs().items():
        compiled = compiling.compile_rasp_to_model(
            source, vocab=vocab, max_seq_len=LONGEST, compiler_bos="BOS", causal=causal
        )
        converted = ji.toy.from_tracr(compiled)
        stream, outputs, count = differences(compiled, converted, vocab)
        config = converted.model.config
        note = f"{count} inputs, {config.layers} layers of {config.heads} heads, d {config.d}"
        row(f"{name}, residual streams", stream, note)
        row(f"{name}, outputs", outputs)
    row("x_proportion by hand", by_hand("x_proportion", lib.make_frac_prevs(rasp.tokens == "x")))
    row("reverse by hand", by_hand("reverse", lib.make_reverse(rasp.tokens)))
    return failed


if __name__ == "__main__":
    sys.exit(main())
