"""The page of a blind study: a local server that shows item after item, and keeps what is answered."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ... import viz
from ..._disk import LineWriter
from ...data._lines import BadRecords
from ...typing import PathLike
from ...viz._local_server import LocalServer, Reply, refusal
from ...viz._render import render
from ._rubric import QUESTIONS, checked
from ._study_files import read_answers, read_items

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"


def rate(folder: PathLike, *, port: int = 0) -> "RatingPage":
    r"""$u \mapsto (a_{u1}, \dots, a_{u5})$: shows a study of `rating_study` as a page on this machine, item by item.

    Each answer is on disk before the next item is shown. After a restart the page continues with the
    first item without an answer. The rubric: confidence 0..3, strongest activations 0..5, logits
    0..3, separation 0..1 where logits do not agree, specificity 0..3; 14 at most.

    **Arguments:**

    - `folder`: a folder that `rating_study` wrote.
    - `port`: the port to listen on; 0 by default, which takes a free one. The server listens on 127.0.0.1
      alone, and answers only addresses with the random token of the page. In Colab the page is shown below
      the cell, through Colab's proxy.

    **Returns:** a `RatingPage`. Open `page.url` in a browser. `page.wait()` returns when all items are rated.
    `page.close()`, or the end of a `with` block, stops the server.

    **Raises:** FileNotFoundError for a folder of something else; `BadRecords` for a study that is damaged, and where
    another process rates the same study. If the study is damaged while it is served, the page says so.

    ```python
    with ji.sae.rate(folder) as page:                   # folder is the result of `rating_study`
        print(page.url)
        page.wait(seconds=0.1)                          # page.wait() waits until all items are rated
    ji.sae.ratings(folder)["rated"]
    ```

    Law: the page shows nothing that names a group; if the process is killed at any moment, no answer is lost.
    """
    return RatingPage(Path(folder), port)


class RatingPage:
    """The page of a study that is being rated; made by `rate`. `url` is its address.

    ```python
    page = ji.sae.rate(folder)
    page.url, page.left                                 # `left`: how many items have no answer
    page.close()
    ```
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._read()
        self._file = LineWriter(folder / "ratings.jsonl").__enter__()
        try:
            self._done = threading.Event()
            self._server = LocalServer(
                lambda place: self._safely(lambda: self._get(place)),
                lambda place, body: self._safely(lambda: self._post(place, body)),
                port=port,
                accepts="application/x-www-form-urlencoded",
                policy=POLICY,
            )
        except BaseException:
            self._file.__exit__(None, None, None)
            raise
        self.url = self._server.url
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
        """Stops the server. All answers are on disk already."""
        self._server.close()
        self._file.__exit__(None, None, None)

    def __enter__(self) -> "RatingPage":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

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
            return render("rate.html", token=self._server.token, item=None, rated=rated, before=None)
        place = self._place[item]
        shown = self._items[place]
        rows = [(str(i), e["tokens"], e["shares"]) for i, e in enumerate(shown["examples"], 1)]
        figure = viz.contexts(rows, limits=(0, 1), value="share of the largest")
        before = self._items[place - 1]["id"] if place else None
        return render(
            "rate.html",
            token=self._server.token,
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

    def _safely(self, reply: Callable[[], Reply]) -> Reply:
        """What is wrong with the study on disk, as a page."""
        try:
            self._read()
            return reply()
        except (ValueError, OSError) as error:
            return _page(HTTPStatus.INTERNAL_SERVER_ERROR, render("rate.html", damaged=str(error), item=None))

    def _get(self, item: str) -> Reply:
        if item and item not in self._place:
            return refusal(HTTPStatus.NOT_FOUND)
        finished = not item and not self.left
        # Finished only when the browser has the answer.
        return _page(HTTPStatus.OK, self._html(item or None), self._done.set if finished else None)

    def _post(self, item: str, body: bytes) -> Reply:
        if item not in self._place:
            return refusal(HTTPStatus.NOT_FOUND if item else HTTPStatus.BAD_REQUEST)
        try:
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
        except ValueError:
            return refusal(HTTPStatus.BAD_REQUEST)
        form = {name: values[-1] for name, values in fields.items()}
        try:
            answers = checked(form)
        except ValueError as error:
            return _page(HTTPStatus.BAD_REQUEST, self._html(item, form, str(error)))
        try:
            self._save(item, answers)
        except OSError as error:  # no part of the answer is in the file
            wrong = f"The answer could not be written ({error}). Make room on the disk, and send it again."
            return _page(HTTPStatus.INSUFFICIENT_STORAGE, self._html(item, form, wrong))
        return Reply(HTTPStatus.SEE_OTHER, headers={"Location": f"/{self._server.token}/"})


def _page(status: HTTPStatus, text: str, then: Callable[[], None] | None = None) -> Reply:
    return Reply(status, text.encode("utf-8", "replace"), then=then)
