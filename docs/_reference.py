"""The reference, made from the pages of contents: one page for each package, with every public name."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "jaxinterp"
DOCS = Path(__file__).resolve().parent
INSIDE = ("core", "cli", "tour")
"Packages whose names are reached in other ways: `ji.run`, and commands."


@dataclasses.dataclass(frozen=True)
class Name:
    """A public name: where it is reached, and whether it has a docstring."""

    path: str
    documented: bool


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of the reference: of `jaxinterp.{room}`, or of the names of `jaxinterp` itself."""

    room: str
    about: str
    names: tuple[Name, ...]

    @property
    def file(self) -> str:
        return f"api/{self.room or 'ji'}.md"

    @property
    def title(self) -> str:
        return f"ji.{self.room}" if self.room else "ji"

    def markdown(self) -> str:
        parts = [f"# {self.title}", self.about]
        parts += [f"::: {name.path}\n    options:\n      heading_level: 2" for name in self.names]
        return "\n\n".join(parts) + "\n"


def pages() -> list[Page]:
    """A page for every public package and module, those first that a user meets first."""
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    rooms += [path.stem for path in PACKAGE.glob("*.py")]
    rooms = sorted(room for room in rooms if room[0] != "_" and room not in (*INSIDE, "typing"))
    first = Page("", _about(PACKAGE / "__init__.py"), tuple(_listed(PACKAGE / "__init__.py", "jaxinterp")))
    return [first, *(_page(room) for room in rooms)]


def index() -> str:
    """The first page of the reference: every page with what it holds."""
    rows = ["| package | names | |", "|---|---|---|"]
    for page in pages():
        line = page.about.split("\n\n")[0].replace("\n", " ")
        rows.append(f"| [{page.title}]({page.file.removeprefix('api/')}) | {len(page.names)} | {line} |")
    text = "Every public name of the library, by package, from the docstrings. `import jaxinterp as ji`."
    return "\n".join(["# Reference", "", text, "", *rows, ""])


def undocumented() -> list[str]:
    """Public names without a docstring."""
    return [name.path for page in pages() for name in page.names if not name.documented]


def _page(room: str) -> Page:
    source = PACKAGE / f"{room}.py"
    if source.is_file():
        return Page(room, _about(source), tuple(_defined(source, f"jaxinterp.{room}")))
    source = PACKAGE / room / "__init__.py"
    return Page(room, _about(source), tuple(_listed(source, f"jaxinterp.{room}")))


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text())


def _about(source: Path) -> str:
    """The docstring of a module, its pages as links."""
    link = lambda found: (
        f"[{found[1]}](../{found[1]}.md)" if (DOCS / f"{found[1]}.md").is_file() else found[0]
    )
    return re.sub(r"`docs/(\w+)\.md`", link, ast.get_docstring(_tree(source)) or "")


def _listed(source: Path, path: str) -> Iterator[Name]:
    """The names of a page of contents, `from ._fit import fit as fit`, and of the packages in it."""
    for node in _tree(source).body:
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = source.parents[node.level - 1]
        for alias in node.names:
            if alias.asname is None or alias.asname[0] == "_":
                continue
            if node.module is None and (folder / alias.name / "__init__.py").is_file():
                if path != "jaxinterp":
                    yield from _listed(folder / alias.name / "__init__.py", f"{path}.{alias.asname}")
            elif node.module is not None:
                place = folder.joinpath(*node.module.split("."))
                yield Name(f"{path}.{alias.asname}", _documented(place, alias.name))


def _defined(source: Path, path: str) -> Iterator[Name]:
    for name in _definitions(source):
        if name[0] != "_":
            yield Name(f"{path}.{name}", _documented(source.with_suffix(""), name))


@cache
def _definitions(source: Path) -> dict[str, bool]:
    """What a file defines, and whether it has a docstring; a string below an assignment is one."""
    body = _tree(source).body
    names = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = bool(ast.get_docstring(node)) or names.get(node.name, False)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            names |= {target.id: said for target in targets if isinstance(target, ast.Name)}
    return names


def _documented(place: Path, name: str) -> bool:
    """Whether a name of the module `place` has a docstring, also where that module imports it."""
    source = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    if name in (found := _definitions(source)):
        return found[name]
    for node in _tree(source).body:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _documented(
                        source.parents[node.level - 1].joinpath(*node.module.split(".")), alias.name
                    )
    return False
