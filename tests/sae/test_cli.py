"""`jaxinterp sae`: a dictionary from disk is measured, looked through and steered from a shell."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import jaxinterp as ji
from jaxinterp.cli import main
from jaxinterp.sae._dictionary import filled


def call(*args: Any, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(main, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout  # bars go to the other stream


@pytest.mark.slow
def test_a_dictionary_from_a_shell(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    made = filled(
        ji.sae.Standard(d=160, features=6), encoder=draw(160, 6), decoder=draw(6, 160),
        encoder_bias=draw(6), bias=draw(160), scale=jnp.ones(()),
    )  # fmt: skip
    ji.sae.save(tmp_path / "made", made)
    texts = tmp_path / "texts.txt"
    texts.write_text("One short text.\n\nAnd another one.\n")
    at = ("--site", "resid_post[1]")
    common = (tmp_path / "made", "tiny", texts, *at, "--ctx", 16)
    said = call("sae", "browse", *common, "--out", tmp_path / "features", "--top", 2)
    assert "index.html" in said and (tmp_path / "features" / "index.html").is_file()
    lines = [line.split() for line in call("sae", "eval", *common).splitlines()]
    numbers = dict(line for line in lines if len(line) == 2)
    assert 0 < float(numbers["l0"]) <= 6 and "recovered" in numbers
    held = ("--feature", 3, "--value", 50, "--steps", 3)
    said = call("sae", "steer", tmp_path / "made", "tiny", "Once upon", *at, *held)
    assert said.startswith("plain: Once upon") and "\nsteered: Once upon" in said
    wrong = ("--feature", 9, "--value", 1)
    said = call("sae", "steer", tmp_path / "made", "tiny", "Once", *at, *wrong, code=2)
    assert "features 0..5; got 9" in said
