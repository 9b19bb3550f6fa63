"""Pictures on the pages: the figure of a shown block of code, made from that code when the docs are built.

A page asks for one with a comment above a block:

    <!-- picture -->
    ```python
    found.figure()
    ```

The block's figure stands below it: the value of its last expression that says `figure` or `viz`. The code above that on
the page is run first, as far as it is needed: each statement that makes a name which a later one reads.
"""

import ast
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- picture -->"
BLOCK = re.compile(rf"(?P<mark>{MARK}\n)?```python\n(?P<code>.*?)```\n", re.S)


def quick() -> None:
    """Settings of JAX for programs that run once, before it is imported: half of their time is compiling."""
    sys.path.insert(0, str(ROOT))
    from tests.processes import cheap_flags

    os.environ.setdefault("XLA_FLAGS", cheap_flags())
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def asked(markdown: str) -> bool:
    """Whether a page asks for pictures."""
    return MARK in markdown


def placed(markdown: str, page: str) -> str:
    """The page with an empty place below each block that has a picture."""
    count = iter(range(markdown.count(MARK)))

    def below(found: re.Match[str]) -> str:
        if not found["mark"]:
            return found[0]
        return f'```python\n{found["code"]}```\n\n<div class="ji-picture" data-search-exclude>{page}#{next(count)}</div>\n'

    return BLOCK.sub(below, markdown)


def filled(html: str, page: str, figures: list[str]) -> str:
    """The page as HTML with its figures in these places."""
    for number, figure in enumerate(figures):
        place = f'<div class="ji-picture" data-search-exclude>{page}#{number}</div>'
        if place not in html:
            raise ValueError(f"{page} has no place for its picture {number}.")
        html = html.replace(place, f'<div class="ji-picture" data-search-exclude>{figure}</div>')
    return html


def figures(markdown: str, page: str) -> list[str]:
    """The figures of a page as HTML: those of the last build, where its code and the library's are the same."""
    code = "".join(block[0] for block in BLOCK.finditer(markdown))
    name = hashlib.sha256((code + _library()).encode()).hexdigest()[:32]
    kept = ROOT / ".cache" / "pictures" / f"{name}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    made = drawn(markdown, page)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(made), encoding="utf-8")
    return made


@cache
def _library() -> str:
    """What stands for the sources of the library, and for how a picture is made."""
    files = [Path(__file__), *sorted((ROOT / "jaxinterp").rglob("*.*"))]
    texts = (path.read_bytes() for path in files if path.suffix in (".py", ".html", ".css", ".js", ".svg"))
    return hashlib.sha256(b"".join(texts)).hexdigest()


def drawn(markdown: str, page: str) -> list[str]:
    """The figures of a page as HTML, made in an empty folder."""
    names: dict[str, Any] = {}
    done: set[int] = set()
    statements: list[ast.stmt] = []
    found = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in BLOCK.finditer(markdown):
            tree = ast.parse(block["code"])
            statements += tree.body
            if not block["mark"]:
                continue
            place = len(statements) - len(tree.body) + _drawing(tree.body, page)
            for statement in needed(statements[: place + 1]):
                if id(statement) not in done:
                    done.add(id(statement))
                    value = _run(statement, names, page)
            found.append(_html(value, page))
    return found


def _drawing(block: list[ast.stmt], page: str) -> int:
    """The number of the statement that makes the picture: the last expression that says `figure`, `..._figure` or `viz`."""
    for number in reversed(range(len(block))):
        if isinstance(block[number], ast.Expr) and re.search(r"figure\b|\bviz\b", ast.unparse(block[number])):
            return number
    raise ValueError(f"{page} asks for the picture of a block that makes no figure:\n{ast.unparse(block)}")


def needed(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that the last one needs, in their order, with it."""
    kept = [statements[-1]]
    wanted = _names(statements[-1], ast.Load)
    for one in reversed(statements[:-1]):
        if _makes(one) & wanted or _changes(one) & wanted:
            kept.insert(0, one)
            wanted |= _names(one, ast.Load)
    return kept


def _names(node: ast.AST, context: type) -> set[str]:
    """The names that a statement reads or assigns, but for those that live inside it: of `for x in` and of functions."""
    found, inside = set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, context):
            found.add(part.id)
        elif isinstance(part, ast.arg):
            inside.add(part.arg)
        elif isinstance(part, ast.comprehension):
            inside |= {name.id for name in ast.walk(part.target) if isinstance(name, ast.Name)}
        elif isinstance(part, ast.FunctionDef | ast.ClassDef):
            inside |= {name for one in part.body for name in _names(one, ast.Store)}
    return found - inside


def _makes(node: ast.stmt) -> set[str]:
    """The names that a statement defines, imports or assigns, also by parts: `x[0] = 1`."""
    made = _names(node, ast.Store)
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            made.add(part.name)
        elif isinstance(part, ast.alias):
            made.add((part.asname or part.name).split(".")[0])
        elif isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store):
            made |= _names(part, ast.Load)
    return made


def _changes(node: ast.stmt) -> set[str]:
    """The names whose methods a statement calls and whose results it drops: `place.mkdir()`, also in a loop."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            root = part.value.func
            while isinstance(root, ast.Attribute):
                root = root.value
            if root is not part.value.func and isinstance(root, ast.Name | ast.BinOp):
                found |= _names(root, ast.Load)
    return found - {"ji", "jax", "np"}


def _run(statement: ast.stmt, names: dict[str, Any], page: str) -> Any:
    """Runs a statement; the value of an expression, and of `figure.save(path)` the figure, which is not saved."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if not isinstance(statement, ast.Expr):
            exec(compile(ast.Module([statement], []), page, "exec"), names)
            return None
        value = statement.value
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "save"
        ):
            value = value.func.value
        return eval(compile(ast.Expression(value), page, "eval"), names)


def _html(value: Any, page: str) -> str:
    """A figure, or that of a result, as HTML."""
    from jaxinterp.viz import Figure

    if not isinstance(value, Figure) and callable(getattr(value, "figure", None)):
        value = value.figure()
    if not isinstance(value, Figure):
        raise ValueError(f"{page} asks for a picture of a {type(value).__name__}.")
    return value._repr_html_()


def pages(docs: Path) -> Iterator[tuple[str, str]]:
    """The pages that ask for pictures: name and Markdown."""
    for path in sorted(docs.rglob("*.md")):
        if asked(text := path.read_text(encoding="utf-8")):
            yield path.relative_to(docs).as_posix(), text


if __name__ == "__main__":
    import time

    quick()
    for page, text in pages(ROOT / "docs"):
        if not sys.argv[1:] or page.removesuffix(".md") in sys.argv[1:]:
            began = time.process_time()
            made = drawn(text, page)
            print(f"{page}: {len(made)} pictures, {time.process_time() - began:.1f} s")
