"""`jaxinterp sae`: a dictionary is trained, measured, looked through and steered from a shell."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import jaxinterp as ji
from jaxinterp.cli import main


def call(*args: Any, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(main, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout  # bars go to the other stream


@pytest.fixture(scope="module")
def silent(tmp_path_factory: Any) -> Path:
    """A model without a tokenizer, and token ids for it."""
    folder = tmp_path_factory.mktemp("train")
    config = ji.models.GPT2Config(vocab=40, ctx=8, layers=2, d=8, heads=2)
    ji.save(folder / "model", ji.models.GPT2.init(config, key=jax.random.key(0)))
    ids = np.random.default_rng(0).integers(0, 40, (60, 8)).astype(np.uint16)
    np.save(folder / "ids.npy", ids)
    return folder


@pytest.mark.slow
def test_training_from_a_shell_goes_on(silent: Path, tmp_path: Path) -> None:
    common = ("sae", "train", silent / "model", silent / "ids.npy", "--site", "resid_post[0]")
    small = ("--features", 16, "--k", 2, "--batch", 20, "--every", 2, "--held", 12)
    saved = ("--checkpoint-every", 2, "--out", tmp_path / "out")
    said = call(*common, *small, "--steps", 4, *saved)
    assert "TopK: 16 features of resid_post[0] (8)" in said and "recovered" in said
    found = ji.sae.load(tmp_path / "out")
    assert found.k == 2 and found.features == 16
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert told["evaluated"]["evaluated"] == [2, 4] and told["settings"]["k"] == 2
    assert told["numbers"]["recovered"] == told["evaluated"]["recovered"][-1]
    assert told["numbers"]["tokens"] == 12 * 7
    # A run that lost its end, and one from activations on disk.
    shutil.rmtree(tmp_path / "out" / "checkpoint" / "4")
    call(*common, *small, "--steps", 4, *saved)
    np.testing.assert_array_equal(ji.sae.load(tmp_path / "out").decoder, found.decoder)
    model, _ = ji.load(str(silent / "model"))
    tokens = np.load(silent / "ids.npy").astype(np.int32)
    ji.data.save_activations(tmp_path / "acts", model, tokens, "resid_post", batch_size=60, progress=False)
    out = ("--steps", 2, "--out", tmp_path / "stored", "--store", tmp_path / "acts")
    said = call(*common[:3], *common[4:], *small, *out)
    assert "Stored('resid_post[0]'" in said and "recovered" not in said
    # A finished run goes on, to what one longer run ends with.
    call(*common, *small, "--steps", 7, *saved)
    call(*common, *small, "--steps", 7, "--out", tmp_path / "once")
    np.testing.assert_array_equal(
        ji.sae.load(tmp_path / "out").decoder, ji.sae.load(tmp_path / "once").decoder
    )
    told = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("out", "once")]
    assert told[0]["numbers"] == told[1]["numbers"] and told[0]["evaluated"] == told[1]["evaluated"]
    shorter = call(*common, *small, "--steps", 5, *saved, code=2)
    assert "--steps 7; this one has --steps 5" in " ".join(shorter.split())


@pytest.mark.slow
def test_training_that_cannot_be(silent: Path, tmp_path: Path) -> None:
    common = ("sae", "train", silent / "model", silent / "ids.npy", "--site", "resid_post[0]")
    for wrong, words in (
        (("--held", 60), "nothing is left to train on"),
        (("--kind", "Standard", "--k", 2), "Standard has no --k"),
        (("--kind", "TopJ"), "--kind is one of TopK"),
        (("--features", 0), "'--features': 0 is not in the range x>=1"),
        (("--batch", 4000), "cannot be drawn"),
    ):
        at = ("--batch", 20, "--held", 12, "--out", tmp_path / "out")
        said = call(*common, *at, *wrong, code=2)
        assert words in " ".join(said.split()), said
    assert "nothing to train on" in call(*common[:3], *common[4:], code=2)
    (tmp_path / "a.txt").write_text("One.\n")
    said = call(*common[:3], tmp_path / "a.txt", *common[4:], code=2)
    assert "no tokenizer" in said


@pytest.mark.slow
def test_training_on_texts_from_a_shell(tmp_path: Path) -> None:
    lines = [{"content": f"The {n} old men walked to the river, and it was cold."} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = call(
        "sae",
        "train",
        "tiny",
        tmp_path / "a.jsonl",
        "--field",
        "content",
        "--site",
        "mlp_out[1]",
        "--kind",
        "Standard",
        "--sparsity",
        1.0,
        "--features",
        32,
        "--rate",
        1e-3,
        "--steps",
        3,
        "--batch",
        64,
        "--ctx",
        32,
        "--held",
        4,
        "--every",
        0,
        "--average",
        0.9,
        "--out",
        tmp_path / "out",
    )
    assert "loss_sae" in out and (tmp_path / "out" / "training.json").is_file()
    assert ji.sae.load(tmp_path / "out").kind_name == "Standard"


@pytest.mark.slow
def test_a_dictionary_from_a_shell(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    made = ji.sae.Standard(d=160, features=6).dictionary(
        encoder=draw(160, 6),
        decoder=draw(6, 160),
        encoder_bias=draw(6),
        bias=draw(160),
        scale=jnp.ones(()),
    )
    ji.sae.save(tmp_path / "made", made)
    texts = tmp_path / "texts.txt"
    texts.write_text("One short text.\n\nAnd another one.\n")
    at = ("--site", "resid_post[1]")
    of = ("--model", "tiny")
    common = (tmp_path / "made", texts, *of, *at, "--ctx", 16)
    said = call("sae", "browse", *common, "--out", tmp_path / "features", "--top", 2)
    assert "index.html" in said and (tmp_path / "features" / "index.html").is_file()
    lines = [line.split() for line in call("sae", "eval", *common).splitlines()]
    numbers = dict(line for line in lines if len(line) == 2)
    assert 0 < float(numbers["l0"]) <= 6 and "recovered" in numbers
    held = ("--feature", 3, "--value", 50, "--steps", 3)
    said = call("sae", "steer", tmp_path / "made", "Once upon", *of, *at, *held)
    assert said.startswith("plain: Once upon") and "\nsteered: Once upon" in said
    wrong = ("--feature", 9, "--value", 1)
    said = call("sae", "steer", tmp_path / "made", "Once", *of, *at, *wrong, code=2)
    assert "features 0..5; got 9" in said
    said = call("sae", "steer", tmp_path / "nowhere", "Once", *held, code=2)
    assert "There is no dictionary at" in said
    # "tiny" records both its site and its model.
    assert "steered: Once" in call("sae", "steer", "tiny", "Once", *held)
    # Its own site is the default; another is said; none at all is asked for.
    ji.sae.save(tmp_path / "own", made, about={"site": "resid_post[1]", "model": "tiny"})
    assert call("sae", "steer", tmp_path / "own", "Once upon", *held) == call(
        "sae", "steer", tmp_path / "made", "Once upon", *of, *at, *held
    )
    assert "does not say at which site" in call("sae", "steer", tmp_path / "made", "Once", *of, *held, code=2)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        args = "sae", "steer", tmp_path / "own", "Once", "--site", "resid_post[0]", *held
        result = CliRunner().invoke(main, [str(a) for a in args])
    assert "Warning: This Standard was trained at 'resid_post[1]'" in result.stderr
