"""Numbers of the house: what the code is held to, counted from its text. `python -m tests.house` prints them.

Each number has a limit in `tests/house.toml`; `test_house.py` fails when one rises above it. Lower a
limit whenever a change makes that possible.
"""

import ast
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxinterp"
LIMITS = Path(__file__).with_suffix(".toml")

OLD_WORDS = {"seed", "seeds", "batch", "together", "lr", "n_resamples", "bootstrap", "draws"}
"Old spellings of options; see the table of names in CONTRIBUTING."

RIDDLES = {"told", "said", "held", "judged", "asked", "some"}
"Words that do not name what a value is. A name is one of them, alone or after an underscore."

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

FRAGMENT = re.compile(r'(?:^ *|[.:] |- |"""|\| )(Of) [a-z]', re.M)
"A sentence that begins with Of: the subject stands first."


@dataclasses.dataclass(frozen=True)
class Function:
    """A public function, or a public method of a public class."""

    name: str
    node: ast.FunctionDef

    @property
    def parameters(self) -> list[ast.arg]:
        args = self.node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        return [arg for arg in every if arg.arg not in ("self", "cls")]

    @property
    def options(self) -> list[ast.arg]:
        """Parameters by keyword alone, and those with a default."""
        args = self.node.args
        plain = [*args.posonlyargs, *args.args]
        defaulted = plain[len(plain) - len(args.defaults) :] if args.defaults else []
        return [*defaulted, *args.kwonlyargs]


def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def public(trees: dict[Path, ast.Module]) -> Iterator[Function]:
    """Every public function: what the page of contents of a package lists, and the methods of its classes."""
    seen = set()
    for page in [
        *PACKAGE.glob("__init__.py"),
        *PACKAGE.glob("*/__init__.py"),
        *PACKAGE.glob("*/*/__init__.py"),
    ]:
        room = page.parent.relative_to(PACKAGE).as_posix().replace("/", ".")
        if room.startswith("_") or room in ("core", "cli", "tour"):
            continue
        for node in trees[page].body:
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = page.parents[node.level - 1]
                source = folder.joinpath(*(node.module or "").split("."))
                for alias in node.names:
                    if (source, alias.name) not in seen:
                        seen.add((source, alias.name))
                        yield from _defined(trees, source, alias.name, room)
    yield from _listed(trees[PACKAGE / "metrics.py"], "metrics")
    yield from _listed(trees[PACKAGE / "testing.py"], "testing")


def _listed(tree: ast.Module, room: str) -> Iterator[Function]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield from _functions(node, room)


def _defined(trees: dict[Path, ast.Module], source: Path, name: str, room: str) -> Iterator[Function]:
    tree = trees.get(source.with_suffix(".py"))
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            yield from _functions(node, room)


def _functions(node: ast.FunctionDef | ast.ClassDef, room: str) -> Iterator[Function]:
    full = f"{room}.{node.name}".strip(".")
    if isinstance(node, ast.FunctionDef):
        yield Function(full, node)
        return
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and (
            part.name in ("__init__", "__call__") or part.name[0] != "_"
        ):
            yield Function(f"{full}.{part.name}", part)


def says_any(annotation: ast.expr | None) -> bool:
    """Whether an annotation lets everything pass: Any, alone or in a union, or none at all."""
    if isinstance(annotation, ast.BinOp):
        return says_any(annotation.left) or says_any(annotation.right)
    return annotation is None or (isinstance(annotation, ast.Name) and annotation.id == "Any")


def is_bare(annotation: ast.expr | None) -> bool:
    """Whether a result is a bare dict, or a tuple of more than two."""
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.value, ast.Name):
        return isinstance(annotation, ast.Name) and annotation.id in ("dict", "tuple")
    if annotation.value.id == "tuple":
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return len(parts) > 2
    return annotation.value.id == "dict"


def code_lines(text: str, tree: ast.Module) -> int:
    """Lines with code: no blank lines, comments or docstrings."""
    lines = text.splitlines()
    skipped = {i for i, line in enumerate(lines, 1) if not line.strip() or line.strip().startswith("#")}
    for node in ast.walk(tree):
        for part in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            value = part.value if isinstance(part, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                skipped |= set(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    return len(lines) - len(skipped)


def numbers() -> dict[str, float]:
    """Every number of the house, by name."""
    return {
        name: float(len(found)) if isinstance(found, list) else found for name, found in _counted().items()
    }


def _counted() -> dict[str, float | list[str]]:
    trees = sources()
    nodes = {path: list(ast.walk(tree)) for path, tree in trees.items()}
    texts = {path: path.read_text() for path in trees}
    functions = list(public(trees))
    parameters = [(f, arg) for f in functions for arg in f.parameters]
    unsaid = [f"{f.name}({arg.arg})" for f, arg in parameters if says_any(arg.annotation)]
    core = [path for path in trees if path.parent == PACKAGE / "core"]
    kinds = {
        node.name
        for path, tree in trees.items()
        if path.parent == PACKAGE / "sae" / "kinds"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    return {
        "core_lines": float(sum(code_lines(texts[path], trees[path]) for path in core)),
        "any_parameters_percent": 100 * len(unsaid) / len(parameters),
        "any_results": [
            f.name for f in functions if isinstance(f.node.returns, ast.Name) and f.node.returns.id == "Any"
        ],
        "bare_results": [f.name for f in functions if is_bare(f.node.returns)],
        "many_options": [
            f.name
            for f in functions
            if len(f.options) > 8 and not _makes_kind(f.name, kinds)  # a kind is itself a settings class
        ],
        "old_words": [f"{f.name}({arg.arg})" for f, arg in parameters if arg.arg in OLD_WORDS],
        "riddles": [
            f"{_short(path)}:{line} {name}"
            for path in trees
            for line, name in _names(nodes[path])
            if name.lstrip("_") in RIDDLES
        ],
        "fragments": [
            f"{path.name}:{text.count(chr(10), 0, found.start(1)) + 1}"
            for path, text in [*texts.items(), *((path, path.read_text()) for path in PAGES)]
            for found in FRAGMENT.finditer(text)
        ],
        "unformatted": [f"{_short(path)}" for path, text in texts.items() if "# fmt: skip" in text],
        "long_files": [_short(path) for path, text in texts.items() if text.count("\n") > 250],
        "model_hasattr": [
            f"{_short(path)}:{node.lineno}" for path in core for node in nodes[path] if _asks_model(node)
        ],
        "kind_checks": [
            f"{_short(path)}:{node.lineno}"
            for path, tree in trees.items()
            for own in [{part.name for part in tree.body if isinstance(part, ast.ClassDef)}]
            for node in nodes[path]
            if _checks_kind(node, kinds - own)
        ],
        "twin_classes": _twins(trees),
        "sharding_files": [
            _short(path)
            for path, text in texts.items()
            if path.parent.name != "mesh" and ("NamedSharding" in text or "PartitionSpec" in text)
        ],
        "training_loops": [_short(path) for path in trees if any(_is_update(node) for node in nodes[path])],
    }


def _makes_kind(name: str, kinds: set[str]) -> bool:
    """Whether it is `sae.JumpReLU.__init__`, or that of another kind."""
    room, _, rest = name.partition(".")
    owner, _, method = rest.partition(".")
    return room == "sae" and owner in kinds and method == "__init__"


def _names(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """Every name that a file defines: functions, classes, parameters and assigned names, with their lines."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def _twins(trees: dict[Path, ast.Module]) -> list[str]:
    """Names of classes that two files define."""
    places: dict[str, list[str]] = {}
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(_short(path))
    return [f"{name}: {', '.join(files)}" for name, files in sorted(places.items()) if len(files) > 1]


def _asks_model(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("hasattr", "getattr")
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id == "model"
    )


def _checks_kind(node: ast.AST, kinds: set[str]) -> bool:
    """`isinstance(x, TopK)` of a kind that its file does not define, and `type(x).FLAG`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
        named = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
        return bool(named & (kinds - {"Coder", "Dictionary", "Kind", "Losses", "Progress"}))
    return (
        isinstance(node, ast.Attribute)
        and node.attr.isupper()
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "type"
    )


def _is_update(node: ast.AST) -> bool:
    """`changes, state = optimizer.update(...)`, a step of an optimizer: what stands once in a training loop."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "update"
    )


def _short(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def limits() -> dict[str, float]:
    return tomllib.loads(LIMITS.read_text())


if __name__ == "__main__":
    import sys

    for name, found in _counted().items():
        value = found if isinstance(found, float) else len(found)
        print(f"{name:24} {value:8.1f}   at most {limits().get(name, float('nan')):8.1f}")
        if isinstance(found, list) and name in sys.argv[1:]:
            print("\n".join(f"    {one}" for one in found))
