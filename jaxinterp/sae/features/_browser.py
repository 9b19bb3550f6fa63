"""Static pages to look through features: a list, what each fires on, and texts of the reader's."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import viz
from ..._deprecations import check_path_first, respelled
from ..._disk import manifest_name, move, put, unit
from ..._text import plain
from ...stats import Record
from ...typing import (
    ArrayLike,
    CaptureLike,
    CorpusLike,
    DictionaryLike,
    ModelLike,
    PathLike,
    TextLike,
    TokenizerLike,
)
from ...viz._colab import framed, in_colab
from ...viz._place import PAGES, check_folder, ending
from ...viz._render import render
from ..files._origin import own_site
from ..kinds._coder import kind_name
from ._browser_data import Extras, scripts
from ._examples import Examples, examples
from ._logits import LogitWeights, logit_weights
from ._site import chosen
from ._text_reading import TextReading

MARK = manifest_name("features")  # what tells a folder of ours from others
MOST_FRAMED = 24 << 20  # bytes of a document in a cell of a notebook


@dataclass(frozen=True)
class PageSettings:
    """The title and the sizes of pages of features.

    - `title`: the title; by default the kind of the dictionary, its size and its site.
    - `k`: how many tokens at each end of the logit weights (of the stream or `mlp_post`); 10 by default, 0 for none.
    - `longer`: how many tokens on each side of a context are shown when it is opened; 100 by default.

    ```python
    page = ji.sae.PageSettings(title="Features of layer 2", k=20)
    ```
    """

    title: str = ""
    k: int = 10
    longer: int = 100


@respelled(k="page=ji.sae.PageSettings(k=10)", title='page=ji.sae.PageSettings(title="...")')
def browse(
    path: PathLike,
    sae: DictionaryLike,
    model: ModelLike,
    tokenizer: TokenizerLike,
    tokens: CorpusLike | None = None,
    *,
    site: CaptureLike | None = None,
    read: Examples | None = None,
    labels: Mapping[int, str] | Sequence[Record] = (),
    scores: Mapping[str, ArrayLike] | None = None,
    texts: TextLike = (),
    page: PageSettings = PageSettings(),
    progress: bool = True,
    **options: Any,
) -> Path:
    r"""$i \mapsto$ examples, histogram, logit weights, explanation: static HTML for all features.

    `index.html` opens from disk, without a server or a network. Its list of features can be searched (exact
    tokens first, then labels and numbers), filtered by density and sorted. Each feature has a panel; a click on a
    context shows more of it. Features are in files of 32, so 20,000 features open as quickly as 20. All text is
    displayed as plain text. `#7` opens feature 7. `serve` adds texts that the reader writes.

    **Arguments:**

    - `path`: the folder to write. It must not exist, or this function must have written it. A name that ends in
      `.html` is one file with everything in it, for up to a few thousand features.
    - `sae`, `model`, `tokenizer`, `site`: a dictionary, its model with the tokenizer, and the site it reads.
    - `tokens`, `options`: the corpus and further arguments of `examples`; not with `read`.
    - `read`: the result of `examples`; by default None: `examples` reads `tokens`.
    - `labels`: explanations by number of a feature, or the records of `interpret`; none by default.
    - `scores`: columns `(n,)` by name, by which the list can be sorted; none by default.
    - `texts`: a text, or several: the pages show which features fire on them, and where; none by default.
    - `page`: a `PageSettings`.
    - `progress`: whether a progress bar is shown, True by default.

    **Returns:** the path. The folder is complete, or does not exist. In Colab the pages are shown below the cell too.

    **Raises:** FileExistsError for a folder of something else; FileNotFoundError without a parent.

    ```python
    ji.sae.browse("features", sae, model, tokenizer, corpus, site="resid_post[2]", texts=["The river froze."])
    ```

    Law: what a feature's file holds are the records of `examples`; nothing outside of `path` changes.
    """
    check_path_first("ji.sae.browse(path, sae, model, tokenizer, tokens)", path)
    path = Path(path)
    single = ending(path) in PAGES
    if single:
        viz.check_page(path)
    else:
        _check_place(path)
    site = own_site(sae, site, model)
    if read is None:
        if tokens is None:
            raise ValueError("browse reads tokens, or shows what examples returned: give one of them.")
        read = examples(sae, model, tokens, site=site, progress=progress, **options)
    elif options:
        raise ValueError(f"read= is what examples returned; {', '.join(options)} belong to that call.")
    n = len(read.features)
    columns = {str(name): np.asarray(x, float) for name, x in (scores or {}).items()}
    for name, column in columns.items():
        if column.shape != (n,):
            raise ValueError(
                f"scores hold a number for each of the {n} features; {name!r} has the shape {column.shape}."
            )
    ends = None
    if page.k:
        weights: LogitWeights = logit_weights(sae, model, site, read.features)
        ends = weights.top(None, min(page.k, weights.shape[1]))
    reading = TextReading(sae, model, tokenizer, site, read.features)
    given = [reading(text) for text in ([texts] if isinstance(texts, str) else texts)]
    shown = Extras(ends, _labels(labels), columns, given, page.longer, len(chosen(sae, None)))
    title = page.title or f"{kind_name(sae)}: {n} features of {site}"
    caption = f"{n} features, read on {read.count} tokens; {int((read.fired == 0).sum())} never fire."
    header = {"title": title, "caption": caption}
    parts = scripts(read, tokenizer, shown, progress)
    if single or in_colab():
        parts = list(parts)
        document = render("feature_browser.html", **header, folder="", scripts=_in_order(parts))
        _show(document, title, path)
        if single:
            return viz.write(path, document)
    about = {"kind": "jaxinterp features", "features": n, "tokens": read.count}
    # The page names the folder of its data, so that it is replaced by one rename.
    known = [f"data/{file.name}" for file in path.glob("data/*.js")]  # of earlier versions
    with unit(path, "features", "index.html", pointer=True, about=about, known=known) as folder:
        _build(folder, iter(parts), header)
    return path


def _labels(given: Mapping[int, str] | Sequence[Record]) -> dict[int, str]:
    if not isinstance(given, Mapping):
        given = {each["feature"]: each["explanation"] for each in given if each.get("explanation")}
    return {int(i): plain(str(text)) for i, text in given.items()}


def _check_place(path: Path) -> None:
    check_folder(path)
    if path.is_symlink() or path.name in ("", "..") or (path.exists() and not path.is_dir()):
        raise FileExistsError(f"{path} is no folder to write features into: name a new one.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} for {path.name!r}. Create it first."
        )
    if path.exists() and any(path.iterdir()) and not (path / MARK).is_file():
        raise FileExistsError(f"{path} holds something else. Name a new folder, or empty this one.")


def _in_order(parts: Sequence[tuple[str, str]]) -> list[str]:
    """The scripts of one document: the page begins when the summary is there, with everything before it."""
    return [text for _, text in sorted(parts, key=lambda part: part[0] == "summary")]


def _show(document: str, title: str, path: Path) -> None:
    """The document below the cell, in Colab."""
    if not in_colab():
        return
    if len(document) > MOST_FRAMED:
        warnings.warn(
            f"These pages take {len(document) >> 20} MB, too much for a cell. Show fewer features, or serve the "
            f"folder: ji.sae.serve({str(path)!r}, sae, model, tokenizer).",
            stacklevel=3,
        )
        return
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    display(viz.Figure(title, framed(document, title)))


def _build(folder: Path, parts: Iterator[tuple[str, str]], header: Mapping[str, str]) -> None:
    data = folder / "data"
    data.mkdir()
    for name, text in parts:
        put(data / f"{name}.js", text.encode("ascii"))
    digest = hashlib.sha256()
    for file in sorted(data.iterdir()):
        digest.update(file.read_bytes())
    name = f"data-{digest.hexdigest()[:12]}"
    move(data, folder / name)
    page = render("feature_browser.html", **header, folder=name, scripts=[])
    put(folder / "index.html", page.encode())
