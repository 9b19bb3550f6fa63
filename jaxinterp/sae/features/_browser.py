"""A folder of static pages to look through features: a list, and what each fires on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..._deprecations import check_path_first
from ..._disk import manifest_name, move, put, unit
from ..._text import plain, visible
from ...corpus._progress import watched
from ...typing import PathLike
from ...viz._place import check_folder
from ...viz._render import render
from ..files._origin import own_site
from ..kinds._coder import kind_name
from ._examples import Examples, examples
from ._logits import LogitWeights, logit_weights

CHUNK, MARK = 32, manifest_name("features")  # features in a file; what tells a folder of ours from others


def browse(
    path: PathLike,
    sae: Any,
    model: Any,
    tokenizer: Any,
    tokens: Any = None,
    *,
    site: Any = None,
    read: Examples | None = None,
    k: int = 10,
    labels: Mapping[int, str] | None = None,
    scores: Mapping[str, Any] | None = None,
    title: str = "",
    progress: bool = True,
    **options: Any,
) -> Path:
    r"""$i \mapsto$ examples, histogram, logit weights: a folder of static HTML for all features.

    `index.html` opens from disk, without a server or a network. Its list of features can be searched (numbers,
    tokens, labels), filtered by density and sorted. Each feature has a panel. Features are in files of 32, so
    20,000 features open as quickly as 20. All text is displayed as plain text. `#7` opens feature 7.

    **Arguments:**

    - `path`: the folder to write. It must not exist, or this function must have written it.
    - `sae`, `model`, `tokenizer`, `site`: a dictionary, its model with the tokenizer, and the site it reads.
    - `tokens`, `options`: the corpus and further arguments of `examples`; not with `read`.
    - `read`: the result of `examples`; by default None: `examples` reads `tokens`.
    - `k`: tokens at each end of the logit weights (of the stream or `mlp_post`); 10 by default, 0 for none.
    - `labels`: texts by number of a feature; none by default.
    - `scores`: columns `(n,)` by name, by which the list can be sorted; none by default.
    - `title`, `progress`: the title of the page, and whether a progress bar is shown (True by default).

    **Returns:** the path. The folder is complete, or does not exist.

    **Raises:** FileExistsError for a folder of something else; FileNotFoundError without a parent.

    ```python
    ji.sae.browse("features", sae, model, tokenizer, corpus, site="resid_post[2]")
    ```

    Law: what a feature's file holds are the records of `examples`; nothing outside of `path` changes.
    """
    check_path_first("ji.sae.browse(path, sae, model, tokenizer, tokens)", path)
    _check_place(path := Path(path))
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
    if k:
        weights: LogitWeights = logit_weights(sae, model, site, read.features)
        ends = weights.top(None, min(k, weights.shape[1]))
    named = {int(i): plain(str(text)) for i, text in (labels or {}).items()}
    about = title or f"{kind_name(sae)}: {n} features of {site}"
    header = {"kind": "jaxinterp features", "features": n, "tokens": read.count}
    # The page names the folder of its data, so that it is replaced by one rename.
    known = [f"data/{file.name}" for file in path.glob("data/*.js")]  # of earlier versions
    with unit(path, "features", "index.html", pointer=True, about=header, known=known) as folder:
        _build(folder, read, tokenizer, ends, named, columns, about, progress)
    return path


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


def _script(folder: Path, name: str, call: str, *values: Any) -> None:
    """`call(values)` as a file; no character of a text can end a string or a script."""
    arguments = (json.dumps(v, separators=(",", ":"), allow_nan=False) for v in values)
    text = f"featureBrowser.{call}({','.join(arguments)});\n".replace("<", "\\u003c")
    put(folder / name, text.encode("ascii"))


def _build(
    folder: Path,
    read: Examples,
    tokenizer: Any,
    ends: Any,
    labels: dict[int, str],
    scores: dict[str, np.ndarray],
    title: str,
    progress: bool,
) -> None:
    data = folder / "data"
    data.mkdir()
    n = len(read.features)
    used: set[int] = set()
    first = _words(read, ends, used)
    steps = range(0, n, CHUNK)
    for start in watched(steps, len(steps), "pages", progress):
        rows = range(start, min(start + CHUNK, n))
        chunk = _features(read, ends, rows, used)
        for feature, i in zip(chunk, rows, strict=True):
            feature["text"] = labels.get(int(read.features[i]), "")
        _script(data, f"chunk-{start // CHUNK:05d}.js", "chunk", start // CHUNK, chunk)
    pieces = _pieces(tokenizer, sorted(used))
    _script(data, "tokens.js", "tokens", {str(i): text for i, text in pieces.items()})
    join = lambda ids: " ".join(pieces[i] for i in ids)
    own = [labels.get(int(i), "") for i in read.features]
    _script(
        data,
        "summary.js",
        "summary",
        {
            "chunk": CHUNK,
            "tokens": read.count,
            "features": read.features.tolist(),
            "density": _rounded(read.density),
            "maximum": _rounded(read.maximum),
            "labels": [text or join(ids) for text, (ids, _) in zip(own, first, strict=True)],
            "search": [join(dict.fromkeys([*ids, *more])) for ids, more in first],
            "scores": [{"name": plain(name), "values": _rounded(x)} for name, x in scores.items()],
        },
    )
    caption = f"{n} features, read on {read.count} tokens; {int((read.fired == 0).sum())} never fire."
    digest = hashlib.sha256()
    for file in sorted(data.iterdir()):
        digest.update(file.read_bytes())
    name = f"data-{digest.hexdigest()[:12]}"
    move(data, folder / name)
    page = render("feature_browser.html", title=title, caption=caption, folder=name)
    put(folder / "index.html", page.encode())


def _rounded(x: Any) -> list[Any]:
    """Four significant digits, None for what is no number."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in np.asarray(x, float)]


def _pieces(tokenizer: Any, ids: list[int]) -> dict[int, str]:
    """Ids with their strings, nothing hidden in them."""
    return dict(zip(ids, map(visible, tokenizer.tokens(np.asarray(ids, np.int32))), strict=True))


def _words(read: Examples, ends: Any, used: set[int]) -> list[tuple[list[int], list[int]]]:
    """Of each feature: the tokens that it fires on most, and those whose logits it raises."""
    there = read.seq >= 0
    peaks = read.tokens[np.maximum(read.seq, 0), np.maximum(read.pos, 0)]
    found = []
    for i in range(len(peaks)):
        fires = list(dict.fromkeys(peaks[i][there[i]].tolist()))[:8]
        raises = [] if ends is None else ends[0][i].tolist()
        used.update(fires, raises)
        found.append((fires, raises))
    return found


def _features(read: Examples, ends: Any, rows: Any, used: set[int]) -> list[dict[str, Any]]:
    """A chunk: everything that the panels of its features show, ids in place of strings."""
    part = slice(rows.start, rows.stop)
    most = np.where(read.maximum[part] > 0, read.maximum[part], 1)
    top = _lines(read, read.seq[part], read.pos[part], read.values[part], read.activations[part], most, used)
    intervals = _lines(
        read,
        read.interval_seq[part],
        read.interval_pos[part],
        read.interval_values[part],
        read.interval_activations[part],
        most,
        used,
    )
    found = []
    for here, i in enumerate(rows):
        counts = read.counts[i]
        last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
        up, down = [], []
        if ends is not None:
            used.update(ends[0][i].tolist(), ends[2][i].tolist())
            up = _alternating(ends[0][i], ends[1][i])
            down = _alternating(ends[2][i], ends[3][i])
        found.append(
            {
                "mean": _rounded([read.mean[i]])[0],
                "counts": counts[:last].tolist(),
                "width": float(read.width[i]),
                "up": up,
                "down": down,
                "top": [line for line in top[here] if line],
                "intervals": [[line for line in lines if line] for lines in intervals[here]],
            }
        )
    return found


def _alternating(ids: Any, weights: Any) -> list[Any]:
    return [x for pair in zip(ids.tolist(), _rounded(weights), strict=True) for x in pair]


def _lines(read: Examples, seq: Any, pos: Any, values: Any, around: Any, most: Any, used: set[int]) -> Any:
    """`[value, ids, [place, percent of the maximum, ...], place of the peak]`, nested as `seq` is."""
    ids = read.window(seq, pos)
    wide = most.reshape(-1, *(1,) * (around.ndim - 1))
    share = np.ceil(100 * np.abs(np.nan_to_num(around)) / wide).astype(int).clip(0, 100)
    found = np.empty(seq.shape, object)
    for at in np.ndindex(*seq.shape):
        if seq[at] < 0:
            continue
        row = ids[at]
        kept = row >= 0
        own = row[kept].tolist()
        used.update(own)
        places = np.cumsum(kept) - 1
        fires = np.flatnonzero(kept & (share[at] > 0))
        acts = np.stack([places[fires], share[at][fires]], 1).reshape(-1).tolist()
        found[at] = [float(f"{values[at]:.4g}"), own, acts, int(places[read.before])]
    return found.tolist()
