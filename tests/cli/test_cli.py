"""The command line: help for newcomers, the library's errors as one message, `python -m` the same."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

import jaxinterp as ji
from jaxinterp.cli import main

from .calls import call


def test_help_shows_the_commands_and_how_to_begin():
    text = call("--help")
    for words in [*(f"jaxinterp {name} " for name in main.commands), "jaxinterp sae train", "Start with"]:
        assert words in text
    assert call("-h") == text


@pytest.mark.parametrize(
    "command, words",
    [
        ("tour", "--out"),
        ("sites", "MODEL"),
        ("lens", "--html"),
        ("probe", "one file per class"),
        ("models", "Hugging Face"),
        ("heads", "--kind"),
        ("attention", "--head"),
        ("patch", "activation patching"),
        ("activations", "--store"),
    ],
)
def test_help_of_each_command_has_examples(command, words):
    text = call(command, "--help")
    assert words in text and "Examples:" in text and f"jaxinterp {command}" in text and "--debug" in text


@pytest.mark.quick
def test_sites(folder):
    text = call("sites", folder / "model", "--length", "5")
    assert "2 layers" in text and "GPT2" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("resid_post"))
    assert "layer pos d" in row and "2 5 8" in row and "residual stream leaving the block" in row


@pytest.mark.quick
def test_lens_prints_what_it_read(folder, tmp_path):
    out = tmp_path / "lens.html"
    text = call("lens", folder / "model", "<b>a", "--top", "3", "--html", out)
    assert "guess 3" in text and "guess 4" not in text and "layer 1" in text and f"Wrote {out}" in text
    model, tokenizer = ji.load(str(folder / "model"))
    logits, _ = ji.run(model, tokenizer("<b>a"))
    best = ji.viz.visible(tokenizer.tokens([int(logits[-1].argmax())])[0])
    last = next(line for line in text.splitlines() if line.strip().startswith("layer 1"))
    assert last.split()[2] == best
    page = out.read_text(encoding="utf-8")
    assert "&lt;" in page and "<b>a" not in page
    assert "<|end" in call("lens", folder / "model", "a", "--bos", "--top", "257", columns="20000")


@pytest.mark.parametrize(
    "args, words",
    [
        (["sites", "no-such-model"], "no model 'no-such-model'"),
        (["sites", "./nowhere"], "no folder ./nowhere"),
        (["lens", "{}/silent", "text"], "no tokenizer"),
        (["lens", "{}/model", ""], "at least one token"),
        (["attention", "{}/model", "abc", "--position", "3"], "from -3 to 2; got 3"),
        (["attention", "{}/model", "abc", "--head", "2.0"], "layers 0..1 with the heads 0..1"),
        (["attention", "{}/model", "abc", "--head", "first"], "LAYER.HEAD"),
        (["attention", "{}/model", "abc", "--layer", "2"], "layers 0..1; got --layer 2"),
        (["attention", "{}/model", "abc", "--layer", "1", "--head", "0.1"], "Leave out --layer"),
        (["patch", "{}/model", "abc", "abc", "--answer", "x"], "both are 'abc'"),
        (["patch", "{}/model", "abc", "abx", "--answer", "x", "--wrong", "x"], "another token than --answer"),
        (["patch", "{}/model", "abc", "abx", "--answer", "x", "--site", "z[1]"], "Write --site z."),
        (["sites", "{}/model", "--length", "33"], "at most 32 tokens; got --length 33"),
        (["sae", "browse", "tiny", "{}/texts", "--port", "80"], "Add --serve"),
        (["sae", "browse", "tiny", "{}/texts", "--serve", "--out", "x.html"], "Write --out x."),
        (["activations", "{}/model", "{}/texts/low.txt", "--most", "1", "--site", "z"], "a smaller --ctx"),
        (["patch", "{}/model", "abc", "ab", "--answer", "x"], "equally many tokens"),
        (["patch", "{}/model", "abc", "abx", "--answer", "xy"], "must be one token"),
        (["patch", "{}/model", "abc", "abx", "--answer", "x", "--over", "head"], "no axis 'head'"),
        (
            ["patch", "m", "abc", "abx", "--answer", "x", "--over", "layer,pos,head", "--plot", "x.html"],
            "two axes",
        ),
        (["heads", "{}/model", "--plot", "heads.xyz"], "heads.html"),
        (["lens", "no-model", "a", "--html", "out.xyz"], "Write 'out.html'"),
        (["models", "no-such-family"], "All names: jaxinterp models"),
        (["activations", "{}/silent", "{}/texts", "--site", "z"], "Give token ids: a .npy"),
        (["sae", "eval", "tiny", "gone", "{}/texts"], "--model gone"),
        (["lens", "{}/model", "x" * 40], "at most 32 positions"),
        (["probe", "{}/model", "{}/nowhere"], "no file or folder"),
        (["probe", "{}/model", "{}/texts/low.txt"], "all of 'low'. Give one file per class"),
        (["probe", "{}/silent", "{}/texts"], "no tokenizer"),
        (["probe", "{}/model", "{}/texts", "--out", "{}/none/r.jsonl"], "no folder"),
        (["probe", "{}/model", "{}/texts", "--layers", "7"], "layers 0..1; got --layers 7"),
        (["probe", "{}/model", "{}/texts", "--site", "embed"], "'embed' has none"),
        (["tour", "--model", "{}/silent", "--out", "{}/t.html"], "no tokenizer"),
        (["tour", "--out", "{}/none/t.html"], "no folder"),
    ],
)
def test_errors_are_one_message(folder, args, words):
    args = [arg.replace("{}", str(folder)) for arg in args]
    text = call(*args, code=2)
    assert words in text and text.count("Error: ") == 1 and "Traceback" not in text and "--debug" in text


@pytest.mark.slow
def test_probe_finds_neurons_and_goes_on(folder, tmp_path):
    out, page = tmp_path / "r.jsonl", tmp_path / "r.html"
    args = ["probe", folder / "model", folder / "texts", "--ctx", 8, "--ks", "1,2", "--exact", "1"]
    text = call(*args, "--out", out, "--plot", page)
    assert "27 high, 27 low" in text and "proven" in text and "k for 95%" in text
    records = ji.probes.read_records(out)
    assert f"{len(records)} records in" in text and len(records) == 2 * 2 * 3 + 2
    assert {r["method"] for r in records} == {"single", "adaptive", "best_subset"}
    best = ji.probes.best_neurons(records)
    for r in best:
        row = next(line for line in text.splitlines() if line.strip().startswith(r["feature"]))
        assert f"{r['layer']}.{r['support'][0]}" in row and ji.viz.number(r["f1"]) in row
    assert "<svg" in page.read_text() and (tmp_path / "r.activations" / "manifest.json").is_file()
    written = out.read_bytes()
    again = call(*args, "--out", out)
    told = lambda words: words[words.index("The best neuron") : words.index(" records in")]
    assert told(again) == told(text)
    assert out.read_bytes() == written
    assert "another key: [0, 0], and this call has [0, 1]" in call(
        *args, "--seed", 1, "--out", out, "--store", tmp_path / "b", code=2
    ).replace("\n", " ")
    assert "numbers such as" in call(*args, "--layers", "a", code=2)


def test_wrong_arguments_are_explained():
    assert "No such command 'tuor'" in call("tuor", code=2)
    assert "Missing argument" in call("lens", code=2)
    assert "--top" in call("lens", "tiny", "a", "--top", "0", code=2)
    train = ("sae", "train", "tiny", "t", "--site", "z[0]")
    for option in ("--rate", "--steps", "--batch", "--features", "--k"):
        for value in (0, -1):  # a negative learning rate climbs the loss
            assert f"Invalid value for '{option}'" in call(*train, option, value, code=2)
    assert "Invalid value for '--sparsity'" in call(*train, "--sparsity", -1, code=2)
    assert "each once" in call("patch", "m", "a", "b", "--answer", "c", "--over", "layer,Layer", code=2)
    assert "each once" in call("patch", "m", "a", "b", "--answer", "c", "--over", ",", code=2)
    for text in ("²", "8:3", "8:8", "-1", "1:²"):
        assert "Invalid value for '--layers'" in call("probe", "m", "t", "--layers", text, code=2)
    assert "--threshold is a finite number" in call("heads", "tiny", "--threshold", "nan", code=2)
    assert "--value is a finite number" in call(
        "sae", "steer", "tiny", "a", "--feature", 1, "--value", "inf", code=2
    )


def test_a_table_wider_than_the_terminal_loses_no_column(folder):
    text = call("lens", folder / "model", "a", "--top", "30", columns="40")
    words = text.split()
    assert words.count("guess") == 30 and all(str(i + 1) in words for i in range(30))
    assert text.count("%") in (60, 90)  # of each layer, with or without the embedding


def test_words_of_a_patch_are_known_in_any_case(folder):
    args = ["patch", folder / "model", "abc", "abx", "--answer", "x", "--site", "z"]
    assert call(*args, "--over", "Layer,HEAD", "--mode", "NOISE") == call(*args, "--mode", "noise")


def test_debug_shows_where(folder):
    result = CliRunner().invoke(main, ["sites", "no-such-model", "--debug"])
    assert isinstance(result.exception, ValueError) and result.exit_code == 1


@pytest.mark.slow
def test_python_m_is_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "jaxinterp", "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "jaxinterp tour" in done.stdout and not done.stderr


@pytest.mark.parametrize(
    "command, words",
    [
        (("tour", "--out", "x.png"), "is HTML, and 'x.png' is named otherwise.*'x.html'"),
        (("probe", "tiny", "texts", "--plot", "x.pdf"), "is HTML.*'x.html'"),
        (("probe", "tiny", "texts", "--out", "x.html"), "JSON lines.*'x.jsonl'"),
    ],
)
def test_a_name_says_what_is_written(command, words):
    """Refused before anything is loaded."""
    text = call(*command, code=2)
    assert re.search(words, text, re.S), text


def test_a_lens_as_a_picture(folder, tmp_path):
    pytest.importorskip("matplotlib")
    call("lens", folder / "model", "high", "--html", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
