"""One paper: who wrote what, when, and where it is; as text and as BibTeX."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

OTHERS = "others"  # ends a list of authors that is not written out
HOSTS = (
    "arxiv.org",
    "doi.org",
    "transformer-circuits.pub",
    "aclanthology.org",
    "jmlr.org",
    "www.alignmentforum.org",
    "www.lesswrong.com",
    "openaipublic.blob.core.windows.net",
    "cdn.openai.com",
)
"Where papers are; other links of docstrings are to software and its manuals."

_LINK = re.compile(r"https?://[^\s<>\"'`]+")
_SPECIAL = re.compile(r"([&%$#_{}])")


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper that docstrings link to.

    - `key`: its name in BibTeX.
    - `title`, `year`: as it was published.
    - `authors`: their names; "others" at the end stands for those that are not listed.
    - `link`: its address.
    - `arxiv`, `doi`: its number there, or None.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    link: str
    arxiv: str | None = None
    doi: str | None = None

    @property
    def text(self) -> str:
        """A line for a list of references."""
        return f"{names(self.authors)} ({self.year}). {self.title.rstrip('.')}. {self.link}"

    @property
    def bibtex(self) -> str:
        """An entry for a .bib file; the title keeps its capitals."""
        fields = {
            "title": f"{{{escaped(self.title)}}}",
            "author": " and ".join(escaped(name) for name in self.authors),
            "year": str(self.year),
        }
        if self.arxiv is not None:
            fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"}
        if self.doi is not None:
            fields["doi"] = self.doi
        return entry("misc", self.key, fields | {"url": self.link})


def entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    """An entry of BibTeX."""
    width = max(map(len, fields))
    lines = [f"  {name:{width}} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def names(authors: tuple[str, ...]) -> str:
    """Names as a sentence lists them."""
    *first, last = authors
    return f"{', '.join(first)} and {last}" if first else last


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return _SPECIAL.sub(r"\\\1", text)


@cache
def papers() -> Mapping[str, Paper]:
    """The papers of the table by their links, as `settled` writes them."""
    table = tomllib.loads(Path(__file__).with_name("papers.toml").read_text(encoding="utf-8"))
    found = {}
    for key, row in table.items():
        arxiv, doi = row.get("arxiv"), row.get("doi")
        link = f"https://arxiv.org/abs/{arxiv}" if arxiv else f"https://doi.org/{doi}" if doi else row["url"]
        found[settled(link)] = Paper(key, row["title"], tuple(row["authors"]), row["year"], link, arxiv, doi)
    return found


def settled(link: str) -> str:
    """One spelling of a link: without a version, a page's name and the signs of the sentence around it."""
    link = link.rstrip(".,;:)]|").removesuffix("index.html").rstrip("/")
    return re.sub(r"(arxiv\.org/)(?:abs|pdf)/([\d.]+?)(?:v\d+)?(?:\.pdf)?$", r"\1abs/\2", link)


def links(text: str | None) -> list[str]:
    """The links to papers in a docstring, in order, each once."""
    found = [settled(link) for link in _LINK.findall(text or "")]
    return list(dict.fromkeys(link for link in found if link.split("/")[2] in HOSTS))
