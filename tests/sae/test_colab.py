"""Colab, with stand-ins for its modules: pages are shown below the cell, through its proxy."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jaxinterp as ji

from .test_damaged_study import study as study
from .test_rate import ask


@pytest.fixture
def frames(monkeypatch: Any) -> list[tuple[int, str]]:
    """The ports and paths that a stand-in of `google.colab.output` was asked to show."""
    shown: list[tuple[int, str]] = []
    output: Any = ModuleType("google.colab.output")
    output.serve_kernel_port_as_iframe = lambda port, path="/", width="100%", height="400": shown.append(
        (port, path)
    )
    colab: Any = ModuleType("google.colab")
    colab.output = output
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    return shown


def test_a_study_is_rated_in_a_frame_of_colab(study: Path, frames: list[tuple[int, str]]) -> None:
    """The proxy has a host of any name, and its pages may frame ours; the token is asked for as elsewhere."""
    with ji.sae.rate(study) as page:
        ((port, path),) = frames
        assert page.url == f"http://127.0.0.1:{port}{path}"
        status, headers, text = ask(page, Host="8080-m-s-1.us-west1-0.prod.colab.dev")
        assert status == 200 and "Item 1 of 2" in text
        assert "frame-ancestors https://colab.research.google.com" in headers["Content-Security-Policy"]
        assert ask(page, "/wrong/", Host="8080-m-s-1.us-west1-0.prod.colab.dev")[0] == 404


def test_elsewhere_nothing_is_framed(study: Path) -> None:
    with ji.sae.rate(study) as page:
        policy = ask(page)[1]["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert ask(page, Host="8080-m-s-1.us-west1-0.prod.colab.dev")[0] == 421
