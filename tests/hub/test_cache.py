"""The hub: what is fetched, and folders in the layout of its cache. No test uses the network."""

import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jaxinterp import hub
from jaxinterp.hub import UnknownModel
from jaxinterp.hub._fetch import wanted

from .conftest import same

COMMITS = {"main": "a" * 40, "step3000": "b" * 40}


@pytest.fixture
def cache(make: Any, tmp_path: Path) -> Path:
    """`models--EleutherAI--pythia-70m` with two revisions, files as links into `blobs`."""
    repository = tmp_path / "models--EleutherAI--pythia-70m"
    for number, (revision, commit) in enumerate(COMMITS.items()):
        snapshot = repository / "snapshots" / commit
        hub.export(snapshot, make("neox", seed=number), max_shard_bytes=4000)
        (repository / "blobs").mkdir(exist_ok=True)
        for file in sorted(snapshot.iterdir()):
            blob = repository / "blobs" / f"{number}{file.name}"
            file.rename(blob)
            os.symlink(f"../../blobs/{blob.name}", file)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
    return tmp_path


def test_names_and_revisions_from_the_cache(make: Any, cache: Path) -> None:
    model, tokenizer = hub.load("pythia-70m", cache_dir=cache, offline=True)
    assert same(model, make("neox", seed=0))
    assert tokenizer is None
    assert model.config.source.name == "EleutherAI/pythia-70m"
    assert model.config.source.revision == COMMITS["main"]
    assert model.config.source.licence == "Apache-2.0"
    early, _ = hub.load("EleutherAI/pythia-70m", "step3000", cache_dir=cache, offline=True)
    assert same(early, make("neox", seed=1))
    assert early.config.source.revision == COMMITS["step3000"]
    by_commit, _ = hub.load("pythia-70m", "b" * 8, cache_dir=cache, offline=True)
    assert same(by_commit, early)


def test_the_repository_folder_itself(make: Any, cache: Path) -> None:
    folder = cache / "models--EleutherAI--pythia-70m"
    assert same(hub.load(folder)[0], make("neox", seed=0))
    assert same(hub.load(str(folder), revision="step3000")[0], make("neox", seed=1))


def test_a_model_with_a_folder_of_that_name_is_no_cache(make: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, make("neox", seed=0))
    (tmp_path / "snapshots" / "step100").mkdir(parents=True)
    assert same(hub.load(tmp_path)[0], make("neox", seed=0))


def test_what_the_cache_lacks(cache: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        hub.load("pythia-70m", "step300", cache_dir=cache, offline=True)
    assert "no revision 'step300'; did you mean 'step3000'" in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"openai-community/gpt2 is not in the cache.*offline"):
        hub.load("gpt2", cache_dir=cache, offline=True)


def test_environment_says_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub.load("pythia-70m", cache_dir=cache)[1] is None


def test_a_plain_folder_has_no_revisions(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    with pytest.raises(ValueError, match=r"Revisions are of the hub.*'step3000'"):
        hub.load(tmp_path, "step3000")


def test_only_needed_files_are_wanted() -> None:
    listing = [
        "README.md",
        "config.json",
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "onnx/x.onnx",
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "generation_config.json",
    ]
    assert wanted(listing) == ["config.json", "tokenizer.json", "pytorch_model.bin"]
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = "model.safetensors.index.json"
    both = [*listing, *shards, index, "model-x.safetensors"]
    assert wanted(both) == ["config.json", "tokenizer.json", index, *shards]
    assert wanted([*both, "model.safetensors"])[-1] == "model.safetensors"
    assert wanted(["config.json", "vocab.json", "merges.txt", "flax_model.msgpack"]) == [
        "config.json",
        "vocab.json",
        "merges.txt",
        "flax_model.msgpack",
    ]


def test_a_download(make: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub is asked for: the listing of the revision, then its needed files by commit."""
    asked: dict[str, Any] = {}
    folder = cache / "models--EleutherAI--pythia-70m" / "snapshots" / COMMITS["step3000"]

    def model_info(self: Any, hub_id: str, revision: str | None) -> SimpleNamespace:
        asked["info"] = hub_id, revision
        names = [*(file.name for file in folder.iterdir()), "README.md", "pytorch_model.bin"]
        return SimpleNamespace(
            sha=COMMITS["step3000"], siblings=[SimpleNamespace(rfilename=n) for n in names]
        )

    def snapshot_download(hub_id: str, **options: Any) -> str:
        asked["download"] = hub_id, options
        return str(folder)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model, _ = hub.load("pythia-70m", "step4000", cache_dir=cache)
    assert same(model, make("neox", seed=1))
    assert asked["info"] == ("EleutherAI/pythia-70m", "step4000")
    hub_id, options = asked["download"]
    assert hub_id == "EleutherAI/pythia-70m"
    assert options["revision"] == COMMITS["step3000"]
    assert sorted(options["allow_patterns"]) == sorted(f.name for f in folder.iterdir())
    # The tag is remembered, so that the cache answers for it without a network.
    again, _ = hub.load("pythia-70m", "step4000", cache_dir=cache, offline=True)
    assert same(again, model)


class Unreachable(Exception):
    """As httpx raises it: no OSError."""


def failing(kind: str) -> Any:
    from huggingface_hub import errors

    def model_info(self: Any, hub_id: str, revision: str | None) -> None:
        if kind == "network":
            raise Unreachable("no route to host")
        cls = getattr(errors, kind)
        raise cls.__new__(cls)

    return model_info


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("RepositoryNotFoundError", "The hub has no model 'EleutherAI/pythia-99m'"),
        ("RevisionNotFoundError", "no revision 'step7'.*\"step512\""),
        ("GatedRepoError", "is gated: accept its licence"),
    ],
)
def test_what_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, kind: str, words: str) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", failing(kind))
    with pytest.raises(UnknownModel, match=words):
        hub.load("EleutherAI/pythia-99m", "step7")


def test_without_a_network_the_cache_serves(make: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", failing("network"))
    assert same(hub.load("pythia-70m", cache_dir=cache)[0], make("neox", seed=0))
    with pytest.raises(FileNotFoundError, match=r"could not be fetched .*no route to host.*local folder"):
        hub.load("gpt2", cache_dir=cache)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs, over a folder of files."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/a/b/tree/"):
            files = [(file.name, file.read_bytes()) for file in sorted(self.folder.iterdir())]
            tree = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                }
                for name, data in files
            ]
            return self.send(json.dumps(tree).encode(), body)
        if path.startswith("/api/models/a/b"):
            names = [{"rfilename": file.name} for file in sorted(self.folder.iterdir())]
            about = {"id": "a/b", "modelId": "a/b", "sha": "c" * 40, "siblings": names}
            return self.send(json.dumps(about).encode(), body)
        if path.startswith("/a/b/resolve/"):
            name = path.rpartition("/")[2]
            if body:
                self.asked.append(name)
            return self.send((self.folder / name).read_bytes(), body)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def send(self, data: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_real_download(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own client against a server on this machine: the listing, then needed files."""
    folder = tmp_path / "served"
    hub.export(folder, make("neox"), max_shard_bytes=4000)
    (folder / "README.md").write_text("not needed")
    (folder / "pytorch_model.bin").write_bytes(b"not needed")
    handler = type("Handler", (Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        here = f"http://127.0.0.1:{server.server_port}"
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", here)
        template = here + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_PROGRESS_BARS", True)
        model, _ = hub.load("a/b", "step7", cache_dir=tmp_path / "cache")
        assert same(model, make("neox"))
        assert model.config.source.revision == "c" * 40
        unneeded = {"README.md", "pytorch_model.bin"}
        assert sorted(handler.asked) == sorted({f.name for f in folder.iterdir()} - unneeded)
        with pytest.raises(UnknownModel, match="The hub has no model 'a/other'"):
            hub.load("a/other", cache_dir=tmp_path / "cache")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    again, _ = hub.load("a/b", "step7", cache_dir=tmp_path / "cache", offline=True)
    assert same(again, model)


def test_short_names() -> None:
    names = hub.short_names()
    assert names["gpt2"] == "openai-community/gpt2"
    assert names["pythia-160m-deduped"] == "EleutherAI/pythia-160m-deduped"
    assert all(value.count("/") == 1 for value in names.values())
