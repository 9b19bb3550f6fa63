"""The examples of the reference, run page by page: `python -m tests.reference [PAGE ...]` says what fails."""

import ast
import contextlib
import io
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import _reference  # noqa: E402

MOST = {"steps": 5, "batches": 2, "resamples": 20}
"Options that a test lowers: an example that trains a dictionary says 20,000 steps, and makes 5 of them here."

OUTSIDE = {
    "a network": "ji.load ji.hub.load ji.hub.fetch ji.sae.ModelJudge",
    "a package of its own": "ji.probes.to_pandas ji.sae.umap_map ji.toy.from_tracr",
}
"Examples that are not run, by what they need. Their calls are checked all the same."

SLOW = {
    "ji.circuits.Acdc",
    "ji.circuits.acdc",
    "ji.circuits.AcdcSettings",
    "ji.circuits.completeness",
    "ji.circuits.direct_paths",
    "ji.circuits.prune",
    "ji.neurons.entropy_neurons",
    "ji.neurons.frequency_neurons",
    "ji.neurons.induction_case",
    "ji.neurons.response_curves",
    "ji.neurons.scaling",
    "ji.neurons.ScalingStudy",
    "ji.neurons.training_curves",
    "ji.sae.AbsorbedClass",
    "ji.sae.Absorption",
    "ji.sae.absorption",
    "ji.sae.Automata",
    "ji.sae.browse",
    "ji.sae.ExampleSettings",
    "ji.sae.ExplanationScores",
    "ji.sae.FeaturePages",
    "ji.sae.NearestNeurons",
    "ji.sae.nearest_neurons",
    "ji.sae.neuronpedia",
    "ji.sae.serve",
    "ji.sae.steer",
    "ji.sae.sweep",
    "ji.testing.check_edit",
    "ji.testing.Report",
}
"Examples that take more than five seconds: run with `--slow`."


class Fewer(ast.NodeTransformer):
    """Lowers the options of `MOST` where an example gives them as numbers."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Steps of `simulate` are states, not updates, and stay as many as they are."""
        return node if getattr(node.func, "attr", "") == "simulate" else self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        self.generic_visit(node)
        if node.arg in MOST and isinstance(node.value, ast.Constant) and isinstance(node.value.value, int):
            node.value = ast.copy_location(ast.Constant(min(node.value.value, MOST[node.arg])), node.value)
        return node


def run(code: str, names: dict[str, Any], where: str) -> None:
    """Runs code among names, with the options of `MOST`."""
    tree = ast.fix_missing_locations(Fewer().visit(ast.parse(code)))
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(tree, where, "exec"), names)


def examples(page: _reference.Page) -> Iterator[tuple[str, str]]:
    """Every example of a page with its name: those of one name follow each other as one."""
    seen = set()
    for name in page.names:
        code = "\n".join(name.examples)
        if code and code not in seen:
            seen.add(code)
            yield name.short, code


def outside() -> set[str]:
    """The names of the examples that are not run."""
    return {name for names in OUTSIDE.values() for name in names.split()}


def outcomes(room: str, slow: bool) -> list[tuple[str, str, float]]:
    """The examples of a page with the error of each, or "", and seconds; run in the current folder."""
    (page,) = [page for page in _reference.pages() if page.room == room]
    start: dict[str, Any] = {}
    run(page.start, start, f"the start of {page.title}")
    failed = []
    for name, code in examples(page):
        if name in outside() or (name in SLOW and not slow):
            continue
        began = time.process_time()
        try:
            run(code, dict(start), name)
            error = ""
        except Exception:
            error = traceback.format_exc(limit=-2)
        failed.append((name, error, time.process_time() - began))
    return failed


def main() -> None:
    from tests.processes import cheap_flags

    os.environ.setdefault("XLA_FLAGS", cheap_flags())
    import jaxinterp.testing

    # Programs that are compiled without optimisation round differently, as in the suite.
    jaxinterp.testing._EXACT = 1e-4
    warnings.simplefilter("ignore")
    slow = "--slow" in sys.argv
    rooms = [word for word in sys.argv[1:] if word[0] != "-"] or [
        page.room or "ji" for page in _reference.pages()
    ]
    count = 0
    for room in rooms:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            began = time.process_time()
            found = outcomes("" if room == "ji" else room, slow)
        wrong = [one for one in found if one[1]]
        count += len(wrong)
        print(
            f"==== {room}: {len(found)} examples, {len(wrong)} fail, {time.process_time() - began:.1f} s",
            flush=True,
        )
        for name, error, seconds in found:
            if error:
                print(f"-- {name}\n{error}", flush=True)
            elif seconds > 5:
                print(f"-- {name} took {seconds:.1f} s", flush=True)
    sys.exit(count > 0)


if __name__ == "__main__":
    main()
