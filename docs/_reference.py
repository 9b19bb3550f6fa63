"""The reference, made from the pages of contents: one page for each package, with every public name."""

import ast
import dataclasses
import re
import textwrap
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxinterp"
DOCS = Path(__file__).resolve().parent
INSIDE = ("core", "cli", "tour")
"Packages whose names are reached in other ways: `ji.run`, and commands."


STARTS = DOCS / "starts"
"What the examples of a page begin with: `all.py`, then parts that pages share, then the page's own."

SHARED = {
    "corpus": ["texts"],
    "data": ["texts"],
    "geometry": ["texts"],
    "metrics": ["digits"],
    "neurons": ["rows", "texts"],
    "probes": ["rows", "texts"],
    "sae": ["texts"],
    "stats": ["rows"],
    "tasks": ["digits"],
}


@cache
def repository() -> str:
    """The address of the repository, from `[project.urls]`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


@dataclasses.dataclass(frozen=True)
class Name:
    """A public name: where it is reached, and where it is defined.

    - `path`: where it is reached, such as `jaxinterp.heads.summary`.
    - `source`: the file that defines it.
    - `node`: its definition there.
    - `about`: its docstring.
    """

    path: str
    source: Path
    node: ast.stmt
    about: str

    @property
    def short(self) -> str:
        """As users write it: `ji.heads.summary`."""
        return re.sub("^jaxinterp", "ji", self.path)

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef)

    @property
    def node_name(self) -> str:
        """Its name where it is defined."""
        target = self.node.targets[0] if isinstance(self.node, ast.Assign) else self.node
        target = target.target if isinstance(target, ast.AnnAssign) else target
        return target.id if isinstance(target, ast.Name) else target.name

    @property
    def is_value(self) -> bool:
        return not isinstance(self.node, ast.FunctionDef | ast.ClassDef)

    @property
    def examples(self) -> list[str]:
        """The code blocks of the docstring."""
        blocks = re.findall(r"^ *```python\n(.*?)^ *```", self.about, re.S | re.M)
        return [textwrap.dedent(block) for block in blocks]

    @property
    def address(self) -> str:
        """Where the repository shows the definition."""
        return f"{repository()}/blob/main/{self.source.relative_to(ROOT)}#L{self.node.lineno}"

    @property
    def returns(self) -> set[str]:
        """The words of the annotations of results: its own, or those of its public methods."""
        return {word for part in self._functions for word in _words(part.returns)}

    @property
    def takes(self) -> set[str]:
        """The words of the annotations of arguments."""
        every = [(*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs) for part in self._functions]
        return {word for args in every for arg in args for word in _words(arg.annotation)}

    @property
    def holds(self) -> set[str]:
        """The words of the annotations of its fields, and the names of its parents."""
        if not isinstance(self.node, ast.ClassDef):
            return set()
        notes = [part.annotation for part in self.node.body if isinstance(part, ast.AnnAssign)]
        return {word for note in (*notes, *self.node.bases) for word in _words(note)}

    @property
    def tells(self) -> set[str]:
        """The words of its docstring."""
        return set(re.findall(r"\w+", self.about))

    @property
    def _functions(self) -> list[ast.FunctionDef]:
        parts = self.node.body if isinstance(self.node, ast.ClassDef) else [self.node]
        return [part for part in parts if isinstance(part, ast.FunctionDef) and part.name[0] != "_"]

    @property
    def has_signature(self) -> bool:
        """Whether it is called: a function, or a class with fields or a constructor, unlike most errors."""
        if not isinstance(self.node, ast.ClassDef):
            return isinstance(self.node, ast.FunctionDef)
        bases = {ast.unparse(base).split("[")[0] for base in self.node.bases}
        fields = [part for part in self.node.body if isinstance(part, ast.AnnAssign)]
        makes = [part for part in self.node.body if getattr(part, "name", "") == "__init__"]
        return bool(fields or makes) and not bases & {"Protocol", "ValueError", "BadCheckpoint", "Exception"}

    @property
    def place(self) -> str:
        """Its path for mkdocstrings: where it is defined, if a package of its name stands beside it."""
        beside = ROOT.joinpath(*self.path.split("."), "__init__.py")
        place = ".".join(self.source.relative_to(ROOT).with_suffix("").parts)
        return f"{place}.{self.path.split('.')[-1]}" if beside.is_file() else self.path

    def markdown(self) -> str:
        """The docstring by mkdocstrings, with a link to the source; a class with those that make it."""
        source = f"[{self.source.relative_to(ROOT)}]({self.address})"
        made = "" if self.examples or not self.is_class else _uses(self.path)
        return f"{_entry(self.path, self.place)}\n\n{made}Source: {source}\n{{.ji-source}}"


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

    @property
    def start(self) -> str:
        """The code that the examples of the page begin with, from `docs/starts`."""
        own = STARTS / f"{self.room or 'ji'}.py"
        files = [STARTS / "all.py", *(STARTS / f"{part}.py" for part in SHARED.get(self.room, ())), own]
        return "\n".join(text for path in files if (text := path.read_text() if path.is_file() else ""))

    def markdown(self) -> str:
        parts = [f"# {self.title}", self.about]
        if any(name.examples for name in self.names):
            lines = f"```python\n{self.start}```".replace("\n", "\n    ")
            parts.append(f'??? note "The examples of this page begin with"\n    {lines}')
        return "\n\n".join([*parts, *(name.markdown() for name in self.names)]) + "\n"


@cache
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
    types = "The types in signatures, such as `TokensLike`, are on [a page of their own](typing.md)."
    return "\n".join(["# Reference", "", text, types, "", *rows, ""])


def types() -> str:
    """The page of the types that signatures name, from `jaxinterp/typing.py`."""
    source = PACKAGE / "typing.py"
    parts = ["# Types of arguments", _about(source)]
    for node in ast.walk(_tree(source)):
        body = getattr(node, "body", None)
        for part, after in pairwise(body) if isinstance(body, list) else ():
            if isinstance(part, ast.AnnAssign) and isinstance(after, ast.Expr):
                parts.append(_entry(f"jaxinterp.typing.{ast.unparse(part.target)}"))
    return "\n\n".join(parts) + "\n"


def undocumented() -> list[str]:
    """Public names without a docstring."""
    return [name.path for page in pages() for name in page.names if not name.about]


def _entry(path: str, place: str = "") -> str:
    """What mkdocstrings replaces by the documentation of a name, which may be defined at another `place`."""
    short = re.sub("^jaxinterp", "ji", path)
    anchor = f'<a id="{path}"></a>\n\n' if place not in ("", path) else ""
    return f"{anchor}::: {place or path}\n    options:\n      heading: {short}\n      heading_level: 2"


def _words(annotation: ast.expr | None) -> list[str]:
    return re.findall(r"\w+", ast.unparse(annotation)) if annotation else []


RELATIONS = {"Returned by": "returns", "Taken by": "takes", "Part of": "holds", "See": "tells"}
"How one name uses another, the closest first."


@cache
def _users() -> dict[tuple[str, str], list[Name]]:
    """The names that use a word, by how they use it."""
    found = defaultdict(list)
    for name in (name for page in pages() for name in page.names):
        for verb, part in RELATIONS.items():
            for word in getattr(name, part) - {name.path.split(".")[-1]}:
                found[verb, word].append(name)
    return found


def _uses(path: str) -> str:
    """The names that return a class, and else those that take it, hold it or tell of it, as links."""
    for verb in RELATIONS:
        if found := _users().get((verb, path.rsplit(".", maxsplit=1)[-1])):
            links = [f"[{name.short}][{name.place}]" for name in found]
            return f"{verb} {', '.join(links[:6])}.\n\n"
    return ""


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
                yield Name(f"{path}.{alias.asname}", *_definition(place, alias.name))


def _defined(source: Path, path: str) -> Iterator[Name]:
    for name in _definitions(source):
        if name[0] != "_":
            yield Name(f"{path}.{name}", *_definition(source.with_suffix(""), name))


@cache
def _definitions(source: Path) -> dict[str, tuple[ast.stmt, str]]:
    """What a file defines, with its docstring; a string below an assignment is one."""
    body = _tree(source).body
    names: dict[str, tuple[ast.stmt, str]] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            before = names.get(node.name, (node, ""))[1]  # the first of overloads may have it
            names[node.name] = (node, ast.get_docstring(node) or before)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = str(after.value.value) if said else ""
            names |= {target.id: (node, text) for target in targets if isinstance(target, ast.Name)}
    return names


def _definition(place: Path, name: str) -> tuple[Path, ast.stmt, str]:
    """The file, the node and the docstring of a name of the module `place`, also where that imports it."""
    source = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    if name in (found := _definitions(source)):
        return source, *found[name]
    for node in _tree(source).body:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    folder = source.parents[node.level - 1]
                    return _definition(folder.joinpath(*node.module.split(".")), alias.name)
    raise LookupError(f"No definition of {name} is found from {place}.")
