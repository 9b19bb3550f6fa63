"""As much of the hub's protocol as downloads and uploads need, on this machine: repositories are folders."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    root: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        path = self.path.split("?")[0].strip("/").split("/")
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append("/".join(path))
        if path == ["api", "repos", "create"]:
            about = json.loads(sent)
            name = f"{about.get('organization') or 'me'}/{about['name']}"
            (self.root / name).mkdir(parents=True, exist_ok=True)
            return self.say(
                {
                    "url": f"http://{self.headers['Host']}/{name}",
                    "id": name,
                    "name": name,
                    "private": about.get("private"),
                }
            )
        if path[:2] == ["api", "validate-yaml"]:
            return self.say({"errors": [], "warnings": []})
        if path[-2] == "preupload":
            files = [{"path": each["path"]} for each in json.loads(sent)["files"]]
            return self.say(
                {"files": [{**each, "uploadMode": "regular", "shouldIgnore": False} for each in files]}
            )
        if path[-2] == "commit":
            for row in map(json.loads, sent.splitlines()):
                if row["key"] == "file":
                    place = self.root / "/".join(path[2:4]) / row["value"]["path"]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(base64.b64decode(row["value"]["content"]))
            url = f"http://{self.headers['Host']}/{'/'.join(path[2:4])}/commit/{COMMIT}"
            return self.say({"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})
        return self.missing("EntryNotFound")

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0].strip("/").split("/")
        name = "/".join(path[2:4] if path[0] == "api" else path[:2])
        folder = self.root / name
        if not folder.is_dir():
            return self.missing("RepoNotFound")
        files = {
            file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()
        }
        if path[0] == "api" and "tree" in path:
            rows = [
                {
                    "type": "file",
                    "path": key,
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                }
                for key, file in files.items()
            ]
            return self.say(rows, body)
        if path[0] == "api":
            siblings = [{"rfilename": key} for key in files]
            return self.say({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}, body)
        file = files.get("/".join(path[4:]))
        if file is None:
            return self.missing("EntryNotFound")
        if body:
            self.asked.append("/".join(path[4:]))
        return self.send(file.read_bytes(), body)

    def say(self, what: Any, body: bool = True) -> None:
        self.send(json.dumps(what).encode(), body)

    def missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, data: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hub's own client talks to a server over these folders; yields what was asked for."""
    handler = type("Handler", (Hub,), {"root": root, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        here = f"http://127.0.0.1:{server.server_port}"
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", here)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(cache))
        template = here + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
