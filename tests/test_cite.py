"""`ji.cite`: every paper that documentation links to is known, and every paper that is known is linked to."""

import ast
import functools
import re
from pathlib import Path

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._cite import _linked
from jaxinterp._cite._paper import OTHERS, links, papers

PACKAGE = Path(ji.__file__).parent
HAYSTACK = "https://arxiv.org/abs/2305.01610"


@functools.cache
def documented() -> dict[str, set[str]]:
    """The links to papers of each file's docstrings."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
        found[str(path.relative_to(PACKAGE))] = {
            link for node in nodes if isinstance(node, kinds) for link in links(ast.get_docstring(node))
        }
    return found


def test_every_link_is_in_the_table_and_every_paper_is_linked():
    linked = set().union(*documented().values())
    assert linked - set(papers()) == set(), "add these to jaxinterp/_cite/papers.toml"
    assert set(papers()) - linked == set(), "no docstring links to these"


def test_every_public_name_knows_the_papers_of_its_documentation():
    count = 0
    for package in (ji, *_linked.packages()):
        for name, value in _linked.public(package):
            wanted = links(getattr(value, "__doc__", None))
            if wanted:
                found = {paper.link for paper in ji.cite(value).papers}
                assert {papers()[link].link for link in wanted} <= found, (package.__name__, name)
                count += 1
    assert count > 150


def test_the_table_is_whole_and_written_in_one_way():
    rows = list(papers().values())
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9]+", row.key) and str(row.year) in row.key
        assert row.title and row.authors and row.authors[0] != OTHERS and OTHERS not in row.authors[:-1]
        assert len(set(row.authors)) == len(row.authors) and all(name == name.strip() for name in row.authors)
        if row.arxiv:  # of the year of its number, or published up to two years later
            assert 0 <= row.year - 2000 - int(row.arxiv[:2]) <= 2, row.key


def test_what_can_be_cited():
    by_name = ji.cite("ji.probes.best_subset")
    assert (
        by_name
        == ji.cite(ji.probes.best_subset)
        == ji.cite("jaxinterp.probes.best_subset", "probes.best_subset")
    )
    assert by_name.papers[0].link == HAYSTACK
    assert ji.cite(functools.partial(ji.probes.best_subset, k=2)) == by_name
    # Of a package all, of a class with methods, of a result that which returns it, of a file its own.
    assert HAYSTACK in {paper.link for paper in ji.cite(ji.probes).papers}
    assert set(ji.cite(ji.probes).papers) <= set(ji.cite(ji).papers)
    kind = ji.sae.TopK(d=4, features=8, k=2)
    assert ji.cite(kind) == ji.cite(ji.sae.TopK) and ji.cite(kind).papers[0].key == "gao2024scaling"
    assert "radford2019gpt2" in [paper.key for paper in ji.cite(ji.models.GPT2).papers]
    nothing = ji.cite(ji.run, ji.sae.TopK)
    assert nothing.without == ("run",) and "No paper is linked by run" in str(nothing)
    assert len(ji.cite(ji.sae.TopK, kind).papers) == len(ji.cite(kind).papers)


def test_text_and_bibtex():
    found = ji.cite("ji.patching.sweep")
    lines = str(found).splitlines()
    assert lines[0].startswith("Jesse Vig, Sebastian Gehrmann, Yonatan Belinkov and others (2020). Causal")
    assert lines[0].endswith("https://arxiv.org/abs/2004.12265") and repr(found) == found.text
    entries = str(ji.cite("ji.patching.sweep", style="bibtex"))
    assert entries.startswith("@misc{vig2020mediation,\n") and "Yonatan Belinkov and others}" in entries
    assert re.search(r"eprint +=\s\{2004\.12265\}", entries) and entries.count("@misc") == len(found.papers)
    assert entries.count("{") == entries.count("}") and "title         = {{Causal" in entries
    assert "doi" in ji.cite(ji.stats.discoveries).bibtex
    assert found.records()[0]["year"] == 2020 and "<pre" in found._repr_html_()
    own = ji.cite()
    assert ji.__version__ in str(own) and "jaxinterp developers" in str(own) and not own.papers
    assert "@software{jaxinterp," in ji.cite(style="bibtex").bibtex and "github.com" in own.bibtex
    assert OTHERS not in ji.cite("ji.probes.best_subset").text


@pytest.mark.parametrize(
    "what, words",
    [
        ("ji.patching.sweeep", "Did you mean 'ji.patching.sweep'"),
        ("ji.nothing.at.all", "has no 'ji.nothing.at.all'"),
        (np.mean, "got mean"),
        (np, "got numpy"),
        (3, "got int"),
    ],
)
def test_what_is_not_known_is_explained(what, words):
    with pytest.raises(ValueError, match=words):
        ji.cite(what)
    with pytest.raises(ValueError, match="'text' or 'bibtex'"):
        ji.cite(style="apa")
