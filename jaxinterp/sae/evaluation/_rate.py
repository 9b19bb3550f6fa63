"""The page of a blind study: a local server that shows item after item, and keeps what is answered."""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ... import viz
from ..._disk import LineWriter
from ...data._lines import BadRecords
from ...viz._render import render
from ._rubric import QUESTIONS, checked
from ._study_files import read_answers, read_items

MOST_BYTES = 1 << 16
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "Cache-Control": "no-store",
}


def rate(folder: Any, *, port: int = 0) -> "RatingPage":
    r"""$u \mapsto (a_{u1}, \dots, a_{u5})$: serves a study of `rating_study` on this machine alone, item by item.

    Each answer is on disk before the next item is shown. After a restart the page continues with the
    first item without an answer. The rubric: confidence 0..3, strongest activations 0..5, logits
    0..3, separation 0..1 where logits do not agree, specificity 0..3; 14 at most.

    **Arguments:**

    - `folder`: a folder that `rating_study` wrote.
    - `port`: the port to listen on; 0 by default, which takes a free one. The server listens on 127.0.0.1
      alone, and answers only addresses with the random token of the page.

    **Returns:** a `RatingPage`: open `page.url`; `page.wait()` returns when all items are rated; `page.close()`, or `with`.

    **Raises:** FileNotFoundError for a folder of something else; `BadRecords` for a study that is
    damaged, and where another process rates into it. Damaged while it is served, the page says so.

    ```python
    with ji.sae.rate("study") as page:
        print(page.url)
        page.wait()
    ji.sae.ratings("study")
    ```

    Law: the page shows nothing that names a group; killed at any moment, no answer is lost.
    """
    return RatingPage(Path(folder), port)


class RatingPage:
    """A study that is being served: `url`, `left` (how many items have no answer), `wait`, `close`."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._read()
        self._file = LineWriter(folder / "ratings.jsonl").__enter__()
        try:
            self._token = secrets.token_urlsafe(16)
            self._done = threading.Event()
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        except BaseException:
            self._file.__exit__(None, None, None)
            raise
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self._token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        if not self.left:
            self._done.set()

    def _read(self) -> None:
        """The study as it is on disk now; raises what is wrong with it."""
        with self._lock:
            self._items, self._answers = read_items(self._folder), read_answers(self._folder)
            self._place = {item["id"]: i for i, item in enumerate(self._items)}

    @property
    def left(self) -> int:
        """How many items have no answer."""
        return sum(i not in self._answers for i in self._place)

    def wait(self, seconds: float | int | None = None) -> bool:
        """Waits until all items are rated and the browser has the answer, or for so many seconds.

        **Returns:** whether all items are rated.
        """
        return self._done.wait(seconds)

    def close(self) -> None:
        """Stops listening; answers are on disk already."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._file.__exit__(None, None, None)

    def __enter__(self) -> "RatingPage":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def _save(self, item: str, answers: dict[str, Any]) -> None:
        record = {"item": item, **answers, "time": round(time.time())}
        path = self._folder / "ratings.jsonl"
        with self._lock:
            if not path.is_file():  # what is written goes to a file without a name
                raise BadRecords(
                    f"{path} was taken away while the study was rated, and this answer is not kept. Start again: jaxinterp sae rate {self._folder}."
                )
            self._file.append([record])
            self._answers[item] = record

    def _html(self, item: str | None, form: dict[str, Any] | None = None, wrong: str = "") -> str:
        """An item, by default the first without an answer; or that all is done."""
        item = item or next((i for i in self._place if i not in self._answers), None)
        rated = len(self._place) - self.left
        if item is None:
            return render("rate.html", token=self._token, item=None, rated=rated, before=None)
        place = self._place[item]
        shown = self._items[place]
        rows = [(str(i), e["tokens"], e["shares"]) for i, e in enumerate(shown["examples"], 1)]
        figure = viz.contexts(rows, limits=(0, 1), value="share of the largest")
        before = self._items[place - 1]["id"] if place else None
        return render(
            "rate.html",
            token=self._token,
            item=item,
            rated=rated,
            total=len(self._place),
            place=place + 1,
            examples=figure.html,
            up=list(map(viz.visible, shown["up"])),
            down=list(map(viz.visible, shown["down"])),
            questions=QUESTIONS,
            form=form or self._answers.get(item) or {},
            wrong=wrong,
            before=before,
        )


def _handler(page: RatingPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 60
        server_version, sys_version = "jaxinterp", ""

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: addresses hold the token."""

        def do_GET(self) -> None:
            self._reply_to_caller(self._get)

        def do_POST(self) -> None:
            self._reply_to_caller(self._post)

        def _reply_to_caller(self, reply: Callable[[], None]) -> None:
            """What is wrong with the study on disk, as a page: only for who knows the address."""
            try:
                reply()
            except ConnectionError:  # the browser went away
                raise
            except (ValueError, OSError) as error:
                text = render("rate.html", damaged=str(error), item=None)
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, text)

        def _get(self) -> None:
            item = self._item()
            if item is not None:
                self._answer(HTTPStatus.OK, page._html(item or None))
                if not item and not page.left:
                    page._done.set()  # only after the browser has the answer

        def _post(self) -> None:
            length = self.headers.get("Content-Length", "")
            whole = length.isascii() and length.isdigit() and len(length) < 12
            size = int(length) if whole else 0
            # All of a body is read, or an answer could be lost with the connection.
            body = self.rfile.read(min(size, 1 << 20)).decode("utf-8", "replace")
            item = self._item()
            if item is None:
                return
            if not item or not size:
                return self._refuse(HTTPStatus.BAD_REQUEST)
            if size > MOST_BYTES:
                return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if self.headers.get_content_type() != "application/x-www-form-urlencoded":
                return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            try:
                form = {k: v[-1] for k, v in parse_qs(body, max_num_fields=20).items()}
            except ValueError:
                return self._refuse(HTTPStatus.BAD_REQUEST)
            try:
                answers = checked(form)
            except ValueError as error:
                return self._answer(HTTPStatus.BAD_REQUEST, page._html(item, form, str(error)))
            try:
                page._save(item, answers)
            except OSError as error:  # no part of the answer is in the file
                wrong = (
                    f"The answer could not be written ({error}). Make room on the disk, and send it again."
                )
                return self._answer(HTTPStatus.INSUFFICIENT_STORAGE, page._html(item, form, wrong))
            self.send_response(HTTPStatus.SEE_OTHER)
            self.send_header("Location", f"/{page._token}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _item(self) -> str | None:
            """The item of an address, "" for the next one; None where it was refused."""
            own = {f"{host}:{page._server.server_port}" for host in ("127.0.0.1", "localhost")}
            if self.headers.get("Host") not in own:  # a foreign name that was pointed here
                return self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            parts = urlsplit(self.path).path.strip("/").split("/")
            known = page._knows(parts[0])
            if known:
                page._read()
            if not known or len(parts) > 2 or (len(parts) == 2 and parts[1] not in page._place):
                return self._refuse(HTTPStatus.NOT_FOUND)
            return parts[1] if len(parts) == 2 else ""

        def _refuse(self, status: HTTPStatus) -> None:
            self._answer(status, f"<!DOCTYPE html><title>{status.phrase}</title>{status.phrase}")

        def _answer(self, status: HTTPStatus, text: str) -> None:
            body = text.encode("utf-8", "replace")
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
