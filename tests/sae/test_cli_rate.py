"""`jaxinterp sae rating-study` and `rate --results` from a shell."""

from pathlib import Path

import jax
import pytest
from click.testing import CliRunner

import jaxinterp as ji
from jaxinterp.cli import main


@pytest.mark.slow
def test_a_blind_study_from_a_shell(tmp_path: Path) -> None:
    ji.sae.save(tmp_path / "made", ji.sae.TopK(d=160, features=12, k=4).init(jax.random.key(0)))
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(f"The old man walked {i} miles along the river." for i in range(200)))

    def call(*args: object) -> str:
        result = CliRunner().invoke(main, [str(a) for a in args])
        assert result.exit_code == 0, result.output
        return result.stdout

    out = tmp_path / "study"
    said = call(
        "sae",
        "rating-study",
        tmp_path / "made",
        texts,
        "--model",
        "tiny",
        "--site",
        "resid_post[1]",
        "--neurons",
        "mlp_post[1]",
        "--ctx",
        16,
        "--units",
        2,
        "--out",
        out,
    )
    assert "jaxinterp sae rate" in said and (out / "items.jsonl").is_file()
    assert (tmp_path / "study.key.json").is_file()
    count = len((out / "items.jsonl").read_text().splitlines())
    assert count >= 2 and call("sae", "rate", out, "--results") == f"0 of {count} items are rated.\n"
