"""The examples of the reference: their names exist, and they run."""

import ast
import builtins
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jaxinterp as ji
from tests.processes import ROOT, environment
from tests.reference import _reference, examples

PAGES = {page.room or "ji": page for page in _reference.pages()}

RUN = (
    "chains",
    "circuits",
    "corpus",
    "data",
    "fit",
    "geometry",
    "heads",
    "hub",
    "ji",
    "lens",
    "mesh",
    "metrics",
    "models",
    "neurons",
    "nn",
    "patching",
    "probes",
    "sae",
    "stats",
    "steering",
    "tasks",
    "testing",
    "toy",
    "viz",
    "weights",
)
"Pages whose examples are run; of the others the names and the options are checked."


def made(tree: ast.AST) -> set[str]:
    """Every name that code assigns, defines, imports or takes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
    return found


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, Callable[..., Any]]]:
    """The calls of functions of the library, with the functions. A name that is not there is an AttributeError."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts, place = [], node.func
            while isinstance(place, ast.Attribute):
                parts, place = [place.attr, *parts], place.value
            if isinstance(place, ast.Name) and place.id == "ji":
                function: Any = ji
                for part in parts:
                    function = getattr(function, part)
                yield node, function


def test_every_function_and_class_has_an_example() -> None:
    names = [name for page in PAGES.values() for name in page.names if not name.is_value]
    assert len(names) > 400 and not [name.short for name in names if not name.examples]


@pytest.mark.parametrize("room", sorted(PAGES))
def test_the_examples_of_a_page_name_what_is_there(room: str) -> None:
    """Each name is made by the example or by the start of its page; functions of `ji` exist and take the options given."""
    start = ast.parse(PAGES[room].start)
    known = made(start) | set(dir(builtins))
    for name, code in [("the start", PAGES[room].start), *examples(PAGES[room])]:
        tree = ast.parse(code)
        used = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        assert not used - known - made(tree), (name, used - known - made(tree))
        for call, function in calls(tree):
            taken = inspect.signature(function).parameters
            if not any(part.kind is part.VAR_KEYWORD for part in taken.values()):
                given = {word.arg for word in call.keywords if word.arg}
                assert given <= set(taken), (name, ast.unparse(call), given - set(taken))


@pytest.mark.slow
@pytest.mark.parametrize("room", RUN)
def test_the_examples_of_a_page_run(room: str) -> None:
    """In a process of its own, as a reader runs them: without the suite's strictness about dtypes and warnings."""
    command = [sys.executable, "-m", "tests.reference", room]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
