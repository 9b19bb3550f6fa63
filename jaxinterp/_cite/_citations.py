"""`cite`: the papers behind functions, and the library itself, to be printed and copied."""

import dataclasses
import html
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import package_version
from ._linked import linked, named
from ._paper import Paper, entry, papers

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] # an extra

STYLES = ("text", "bibtex")
TITLE, AUTHORS, YEAR = (
    "jaxinterp: read, edit and understand language models in JAX",
    "The jaxinterp developers",
    2026,
)


@dataclasses.dataclass(frozen=True)
class Citations:
    """What `cite` returns: printed, it is the list of references in the chosen style.

    - `papers`: the papers, each once, in the order of what was given.
    - `without`: names of what was given whose documentation links no paper.
    - `style`: "text" or "bibtex".
    - `library`: whether this is the citation of the library itself.
    """

    papers: tuple[Paper, ...]
    without: tuple[str, ...] = ()
    style: str = "text"
    library: bool = False

    @property
    def text(self) -> str:
        """A line for each paper."""
        own = (
            [f"{AUTHORS} ({YEAR}). {TITLE}. Version {package_version()}. {repository()}"]
            if self.library
            else []
        )
        lines = [*own, *(paper.text for paper in self.papers)]
        none = f"No paper is linked by {', '.join(self.without)}. The library itself: ji.cite()."
        return "\n".join([*lines, *([none] if self.without else [])])

    @property
    def bibtex(self) -> str:
        """An entry of BibTeX for each paper."""
        own = [_own_entry()] if self.library else []
        none = [f"% No paper is linked by {', '.join(self.without)}."] if self.without else []
        return "\n\n".join([*own, *(paper.bibtex for paper in self.papers), *none])

    def records(self) -> list[dict[str, Any]]:
        """A row for each paper: `key`, `title`, `authors`, `year`, `link`, `arxiv`, `doi`."""
        return [{**dataclasses.asdict(paper), "authors": list(paper.authors)} for paper in self.papers]

    def to_pandas(self) -> "pandas.DataFrame":
        """The records as a pandas DataFrame. Needs `pip install pandas`."""
        from ..stats._results import records_frame

        return records_frame(self.records())

    def __str__(self) -> str:
        return self.bibtex if self.style == "bibtex" else self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre style='white-space: pre-wrap'>{html.escape(str(self))}</pre>"


def cite(*what: object, style: str = "text") -> Citations:
    """The papers behind functions, classes, modules and results: `print(ji.cite(ji.patching.attribution))`.

    The papers are those that the documentation of each name links to.

    **Arguments:**

    - `what`: functions, classes and modules of jaxinterp, their results, or their names. A package
      stands for all its public names. Without an argument the library itself is cited.
    - `style`: "text" (the default), a line for each paper; or "bibtex".

    **Returns:** `Citations`, which prints as text or BibTeX, with `.text`, `.bibtex` and `.records()`. It also
    lists the given names whose documentation links no paper.

    **Raises:** ValueError for an unknown name, for an object that is not from this library, and for other styles.

    ```python
    print(ji.cite("ji.patching.attribution", ji.sae.TopK))
    print(ji.cite(ji.lens, style="bibtex"))
    print(ji.cite())
    ```

    Law: every link to a paper in the documentation of a public name is among its papers.
    """
    if style not in STYLES:
        raise ValueError(f"style is 'text' or 'bibtex'; got {style!r}.")
    if not what:
        return Citations((), style=style, library=True)
    known, found, without = papers(), {}, []
    for each in what:
        name, meant = named(each)
        here = [known[link] for link in linked(meant) if link in known]
        found |= {paper.key: paper for paper in here}
        without += [] if here else [name]
    return Citations(tuple(found.values()), tuple(without), style)


def _own_entry() -> str:
    fields = {
        "title": f"{{{TITLE}}}",
        "author": f"{{{AUTHORS}}}",
        "year": str(YEAR),
        "version": package_version(),
        "license": "Apache-2.0",
        "url": repository(),
    }
    return entry("software", "jaxinterp", fields)


def repository() -> str:
    """The address of the repository, as the package or the checkout says."""
    try:
        stated = metadata.metadata("jaxinterp").get_all("Project-URL") or []
        urls = dict(each.split(", ", 1) for each in stated)
    except metadata.PackageNotFoundError:
        urls = {}
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if "Repository" not in urls and project.is_file():
        urls = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {})
    return urls.get("Repository", "")
