"""`jaxinterp sae browse --serve` as a process: its pages read texts, its other files stay, and Ctrl-C ends it."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import jax
import pytest

import jaxinterp as ji
from tests.processes import environment

from .calls import call

START = """
import signal
from jaxinterp.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background with Ctrl-C ignored
main()
"""


@pytest.fixture
def dictionary(folder, tmp_path):
    sae = ji.sae.Standard(d=8, features=6).init(jax.random.key(0))
    ji.sae.save(tmp_path / "sae", sae)
    return ["sae", "browse", tmp_path / "sae", folder / "texts", "--model", folder / "model"]


def fetched(url, data=None):
    """Status and content of an address; a text is posted as the page does it."""
    body = None if data is None else json.dumps(data).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=120
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def visited(url):
    """What a reader does at the address: the page, its data, a text, and paths that are no part of the pages."""
    status, page = fetched(url)
    assert status == 200 and "data-live" in page
    data = re.search(r'data-folder="([^"]+)"', page)[1]
    assert fetched(f"{url}{data}/summary.js")[0] == 200
    status, found = fetched(url, {"text": "abcabc"})
    assert status == 200 and json.loads(found)["tokens"] == list("abcabc")
    for place in ("../sae/sae.json", "%2e%2e/sae", f"{data}/../index.html", "/etc/passwd", "index.html"):
        assert fetched(url + place)[0] == 404, place
    root = url.rstrip("/").rpartition("/")[0]
    assert fetched(f"{root}/")[0] == 404 and fetched(f"{root}/other/")[0] == 404


def test_the_command_serves_its_pages_until_it_is_interrupted(dictionary, tmp_path, monkeypatch):
    """Ctrl-C is an exception here, raised where the command waits; the port is that of the call."""
    seen = []

    def interrupted(pages, seconds=None):
        visited(pages.url)
        port = pages.url.split(":")[2].split("/")[0]
        seen.append(pages.url)
        if len(seen) == 1:
            again = call(*args, "--out", tmp_path / "g", "--port", port, code=2)
            assert f"The port {port} of this machine cannot be listened on" in " ".join(again.split())
        raise KeyboardInterrupt

    args = [*dictionary, "--site", "resid_post[1]", "--top", "2", "--serve"]
    monkeypatch.setattr(ji.sae.FeaturePages, "wait", interrupted)
    text = call(*args, "--out", tmp_path / "f")
    assert seen and seen[0] in text and text.rstrip().endswith("The pages are closed.")
    with pytest.raises(urllib.error.URLError):
        fetched(seen[0])
    # Without texts the pages that are there are served, and nothing is read again.
    monkeypatch.setattr(ji.sae, "browse", None)
    args.remove(args[3])
    again = call(*args, "--out", tmp_path / "f")
    assert len(seen) == 2 and seen[1] in again and "Wrote" not in again
    assert f"{tmp_path / 'h'} holds none" in call(*args, "--out", tmp_path / "h", code=2)


@pytest.mark.slow
def test_a_signal_ends_the_process(dictionary, tmp_path):
    args = [*dictionary, "--site", "resid_post[1]", "--top", "2", "--serve", "--out", tmp_path / "f"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", START, *map(str, args)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = next(found[0] for row in process.stdout if (found := re.search(r"http://\S+", row)))
        visited(url)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0 and "The pages are closed." in rest
