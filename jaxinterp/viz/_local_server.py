"""A web server for the person at this machine: a random address, bodies of bounded size, no names of files."""

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from .._arguments import as_int
from ._colab import in_colab, show_port

MOST_BYTES = 1 << 16
"The largest body of a request that is answered."
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "Cache-Control": "no-store",
}
COLAB = "https://colab.research.google.com https://*.googleusercontent.com https://*.colab.dev"
"Whose pages may frame ours in a notebook of Colab."


@dataclass(frozen=True)
class Reply:
    """An answer: its status, content, kind, further headers, and what is done when the browser has it."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[], None] | None = None


def refusal(status: HTTPStatus) -> Reply:
    """A page that says no more than the status."""
    return Reply(status, f"<!DOCTYPE html><title>{status.phrase}</title>{status.phrase}".encode())


class LocalServer:
    """Serves `get(place)` and `post(place, body)` at `url`, until `close`.

    It listens on 127.0.0.1 alone. Each address begins with a random token; `place` is what follows it, as the
    browser sent it, and whoever answers looks it up in a table. A request for another host is refused: a
    foreign name may point here. Bodies have at most `MOST_BYTES`, and the one content type `accepts`. In a
    notebook of Colab the page is shown below the cell, through Colab's proxy, whose host has any name.
    """

    def __init__(
        self,
        get: Callable[[str], Reply],
        post: Callable[[str, bytes], Reply],
        *,
        port: int,
        accepts: str,
        policy: str,
    ) -> None:
        self.token = secrets.token_urlsafe(16)
        self._get, self._post, self._accepts = get, post, accepts
        ancestors = COLAB if in_colab() else "'none'"
        self._headers = HEADERS | {"Content-Security-Policy": f"{policy}; frame-ancestors {ancestors}"}
        self._server = _listening(as_int(port, "port", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self.token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        show_port(self._server.server_port, f"/{self.token}/")

    def close(self) -> None:
        """Stops listening; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _place(self, host: str | None, address: str) -> str | Reply:
        """What follows the token of an address; or why it is refused."""
        own = {f"{name}:{self._server.server_port}" for name in ("127.0.0.1", "localhost")}
        if host not in own and not in_colab():
            return refusal(HTTPStatus.MISDIRECTED_REQUEST)
        token, _, place = urlsplit(address).path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            return refusal(HTTPStatus.NOT_FOUND)
        return place.strip("/")


def _listening(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server that listens on a port of this machine."""
    if port > 65535:
        raise ValueError(f"port is an int from 0 to 65535, and 0 takes a free one; got {port}.")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise OSError(
            f"The port {port} of this machine cannot be listened on ({error.strerror}). Close the other page, or "
            "give the port 0, which takes a free one."
        ) from error


def _handler(server: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 60
        server_version, sys_version = "jaxinterp", ""

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: addresses hold the token."""

        def do_GET(self) -> None:
            place = server._place(self.headers.get("Host"), self.path)
            self._answer(place if isinstance(place, Reply) else server._get(place))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            whole = length.isascii() and length.isdigit() and len(length) < 12
            size = int(length) if whole else 0
            # All of a body is read, or an answer could be lost with the connection.
            body = self.rfile.read(min(size, 1 << 20))
            place = server._place(self.headers.get("Host"), self.path)
            if isinstance(place, Reply):
                return self._answer(place)
            if not size:
                return self._answer(refusal(HTTPStatus.BAD_REQUEST))
            if size > MOST_BYTES:
                return self._answer(refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
            if self.headers.get_content_type() != server._accepts:
                return self._answer(refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE))
            self._answer(server._post(place, body))

        def _answer(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in {**server._headers, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            if reply.then is not None:
                reply.then()

    return Handler
