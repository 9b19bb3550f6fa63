"""The page on figures runs from top to bottom."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "figures.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_runs(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))
    exec(compile(code, PAGE.name, "exec"), {})
    matplotlib.pyplot.close("all")
    assert {path.name for path in tmp_path.iterdir()} == {
        "agreement.html",
        "attention.html",
        "lens.html",
        "neurons.html",
        "probes.html",
        "sweep.html",
        "sweep.svg",
        "sweep.png",
        "sweep.pdf",
    }
