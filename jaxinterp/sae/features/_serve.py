"""Pages of features with texts that the reader writes: served to this machine alone, read by the dictionary."""

import json
import re
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from ...typing import CaptureLike, DictionaryLike, ModelLike, PathLike, TokenizerLike
from ...viz._local_server import LocalServer, Reply, refusal
from ..files._origin import own_site
from ._site import chosen
from ._text_reading import TextReading

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'self'; style-src 'unsafe-inline'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'"
)
BODY = b'<body class="ji fb">'


def serve(
    path: PathLike,
    sae: DictionaryLike,
    model: ModelLike,
    tokenizer: TokenizerLike,
    *,
    site: CaptureLike | None = None,
    port: int = 0,
) -> "FeaturePages":
    r"""$t \mapsto f(x(t))$: the pages of `browse`, which also read texts that are written on them.

    The page sends a text, and the dictionary reads it as `ji.run` and `sae.encode` do. The server listens on
    127.0.0.1 alone, answers only addresses with a random token, sends only the files of these pages, and reads texts
    of at most 64 kB. In Colab the page is shown below the cell.

    **Arguments:**

    - `path`: a folder that `browse` wrote.
    - `sae`, `model`, `tokenizer`, `site`: as given to `browse`.
    - `port`: the port to listen on; 0 by default, which takes a free one.

    **Returns:** `FeaturePages`: open `pages.url`; `pages.close()`, or `with`.

    **Raises:** FileNotFoundError for a folder of something else; ValueError for another dictionary.

    ```python
    ji.sae.browse("pages", sae, model, tokenizer, corpus, site="resid_post[2]")
    with ji.sae.serve("pages", sae, model, tokenizer, site="resid_post[2]") as pages:
        print(pages.url)
        pages.wait(seconds=0.1)                         # pages.wait() waits until `close` is called
    ```

    Law: activations are those of `sae.encode` on the text alone.
    """
    folder = Path(path)
    files = _files(folder)
    about = _summary(files)
    own = len(chosen(sae, None))
    if about["dictionary"] != own:
        raise ValueError(
            f"The pages in {folder} are of a dictionary with {about['dictionary']} features; this one has {own}."
        )
    features = np.asarray(about["features"], np.int32)
    return FeaturePages(files, TextReading(sae, model, tokenizer, own_site(sae, site, model), features), port)


class FeaturePages:
    """The pages of `browse` on a local server; made by `serve`. `url` is their address.

    ```python
    ji.sae.browse("served", sae, model, tokenizer, corpus, site="resid_post[2]")
    pages = ji.sae.serve("served", sae, model, tokenizer, site="resid_post[2]")
    pages.url
    pages.close()
    ```
    """

    def __init__(self, files: dict[str, Path], reading: TextReading, port: int) -> None:
        self._files, self._reading, self._lock = files, reading, threading.Lock()
        self._closed = threading.Event()
        self._server = LocalServer(
            self._get, self._post, port=port, accepts="application/json", policy=POLICY
        )
        self.url = self._server.url

    def wait(self, seconds: float | int | None = None) -> bool:
        """Waits until `close` is called, or for so many seconds.

        **Returns:** whether it was closed.
        """
        return self._closed.wait(seconds)

    def close(self) -> None:
        """Stops listening."""
        self._server.close()
        self._closed.set()

    def __enter__(self) -> "FeaturePages":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _get(self, place: str) -> Reply:
        file = self._files.get(place)  # no name is ever joined to a folder
        if file is None or not file.is_file():
            return refusal(HTTPStatus.NOT_FOUND)
        if place:
            return Reply(HTTPStatus.OK, file.read_bytes(), "text/javascript; charset=utf-8")
        live = BODY.replace(b">", b" data-live>")
        return Reply(HTTPStatus.OK, file.read_bytes().replace(BODY, live, 1))

    def _post(self, place: str, body: bytes) -> Reply:
        if place:
            return refusal(HTTPStatus.NOT_FOUND)
        try:
            request = json.loads(body)
            text = request.get("text") if isinstance(request, dict) else None
            if not isinstance(text, str):
                raise ValueError('A request is JSON: {"text": "a text"}.')
            with self._lock:  # one text at a time: memory stays that of one
                found = self._reading(text)
        except (ValueError, RecursionError) as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return _json(HTTPStatus.OK, found)


def _json(status: HTTPStatus, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode("ascii"), "application/json")


def _files(folder: Path) -> dict[str, Path]:
    """The files of the pages by what follows the token in an address; "" is the page itself."""
    page = folder / "index.html"
    named = re.search(rb'data-folder="(data-[0-9a-f]+)"', page.read_bytes()) if page.is_file() else None
    data = [] if named is None else sorted((folder / named[1].decode()).glob("*.js"))
    if not any(file.name == "summary.js" for file in data):
        raise FileNotFoundError(
            f"There are no pages of features in {folder}. Write them: ji.sae.browse({str(folder)!r}, ...)."
        )
    return {"": page} | {f"{file.parent.name}/{file.name}": file for file in data}


def _summary(files: dict[str, Path]) -> Any:
    """What the summary of the pages says."""
    text = next(file for name, file in files.items() if name.endswith("/summary.js")).read_text("ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])
