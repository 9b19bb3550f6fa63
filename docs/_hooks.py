"""Pages made from the code: the reference, the table of sites and the table of TransformerLens names."""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _pictures
import _reference

_pictures.quick()

from jaxinterp.core._sites import DICTIONARY_SITES, SITES, TRANSFORMER_LENS  # noqa: E402


def on_config(config: Any) -> Any:
    """Adds the pages of the reference to the contents."""
    names = _reference.undocumented()
    if names:
        from mkdocs.exceptions import PluginError

        raise PluginError(f"Every public name has a docstring; {', '.join(names)} have none.")
    places = ["api/index.md", *(page.file for page in _reference.pages()), "api/typing.md"]
    config.nav = [{"Reference": places} if entry == "api" else entry for entry in config.nav]
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Writes the pages of the reference."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "api/index.md", content=_reference.index()))
    files.append(File.generated(config, "api/typing.md", content=_reference.types()))
    for page in _reference.pages():
        files.append(File.generated(config, page.file, content=page.markdown()))
    return files


def site_table() -> str:
    """The site table as Markdown, in the order in which a run meets them."""
    rows = ["| site | axes after batch | per layer | meaning |", "|---|---|---|---|"]
    for site in SITES.values():
        layer = "yes" if site.per_layer else "no"
        extra = " *Made only when named.*" if site.optional else ""
        rows.append(f"| `{site.name}` | {' '.join(site.axes)} | {layer} | {site.meaning}.{extra} |")
    return "\n".join(rows)


def dictionary_table() -> str:
    """The sites that a splice makes."""
    rows = ["| site | axes after batch | meaning |", "|---|---|---|"]
    rows += [
        f"| `SITE.NAME.{site.name}` | {' '.join(site.axes)} | {site.meaning} |"
        for site in DICTIONARY_SITES.values()
    ]
    return "\n".join(rows)


def names_table() -> str:
    """Our sites with the TransformerLens names that are understood for them."""
    names = defaultdict(list)
    for theirs, ours in TRANSFORMER_LENS.items():
        names[ours].append(theirs.format("i"))
    rows = ["| jaxinterp | TransformerLens names that are understood |", "|---|---|"]
    rows += [
        f"| `{site}` | {', '.join(f'`{name}`' for name in names.get(site, [])) or 'none'} |" for site in SITES
    ]
    return "\n".join(rows)


def on_page_markdown(markdown: str, *, page: Any = None, **_: Any) -> str:
    """Puts the tables where a page asks for them, and makes room for its pictures."""
    if page is not None and _pictures.asked(markdown):
        page.meta["pictures"] = _pictures.figures(markdown, page.file.src_uri)
        markdown = _pictures.placed(markdown, page.file.src_uri)
    for mark, table in (
        ("<!-- sites -->", site_table),
        ("<!-- dictionary -->", dictionary_table),
        ("<!-- names -->", names_table),
    ):
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return markdown


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Puts the pictures of a page below their blocks."""
    return _pictures.filled(html, page.file.src_uri, page.meta.get("pictures", []))
