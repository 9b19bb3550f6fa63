"""The code of the page on training runs."""

import re
from pathlib import Path

import jax
import pytest


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "fit.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    # A user's own code follows NumPy's promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, "fit.md", "exec"), {})
