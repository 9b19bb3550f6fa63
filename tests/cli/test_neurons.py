"""`jaxinterp neurons`: each command prints what its function returns, and its errors teach."""

import re

import pytest

from .calls import call


def few(folder, *more):
    return (folder / "model", folder / "texts", "--ctx", 8, "--most", 6, *more)


def test_help_names_the_commands():
    text = call("neurons", "--help")
    for name in ("contexts", "ablate", "confidence", "universal", "layers"):
        assert name in text
        assert "Example:" in call("neurons", name, "--help")


def test_contexts_and_ablation(folder, tmp_path):
    page = tmp_path / "neuron.html"
    text = call("neurons", "contexts", *few(folder, "--neuron", "1.3", "--top", 2, "--plot", page))
    assert "Neuron 1.3" in text and "activation" in text and "Wrote" in text and page.exists()
    text = call("neurons", "ablate", *few(folder, "--neuron", "1.3", "--neuron", "0.2"))
    assert len(re.findall("all together", text)) == 2 and "high" in text and "low" in text


def test_layers_go_on_from_a_checkpoint(folder, tmp_path):
    kept = tmp_path / "layers.npz"
    args = few(folder, "--kind", "delete", "--checkpoint", kept)
    text = call("neurons", "layers", *args)
    assert "delete" in text and "swap" not in text and kept.exists()
    table = lambda text: text.split("predictions in")[1].strip()  # a slow first call has a bar above it
    assert table(call("neurons", "layers", *args)) == table(text)


@pytest.mark.slow
def test_confidence_prints_a_layer(folder, tmp_path):
    picture, texts = tmp_path / "neurons.svg", tmp_path / "long.txt"
    texts.write_text("abcabcabc\n\ncbaabcaab\n\nbbaacabab")
    text = call("neurons", "confidence", folder / "model", texts, "--top", 3, "--plot", picture)
    assert len(re.findall(r"\b1\.\d+ ", text)) >= 3 and "null space" in text and picture.exists()


@pytest.mark.slow
def test_a_model_shares_all_neurons_with_itself(folder):
    text = call("neurons", "universal", *few(folder, "--with", folder / "model", "--threshold", 0.1))
    rows = [line.split() for line in text.split("The most universal neurons")[1].splitlines()]
    pairs = [(row[0], row[3]) for row in rows if len(row) == 4 and row[0][0].isdigit()]
    assert len(pairs) == 10 and all(mine == its for mine, its in pairs)


@pytest.mark.parametrize(
    "more, words",
    [
        (("contexts", "--neuron", "7.0"), "0..1"),
        (("contexts", "--neuron", "first"), "'layer.neuron'"),
        (("universal", "--with", "tiny"), "one tokenizer"),
        (("confidence", "--layer", 9), "layer"),
        (("layers", "--plot", "layers.xyz"), "layers.html"),
        (("confidence", "--plot", "gone/neurons.svg"), "no folder"),
        (("universal", "--with", "tiny", "--plot", "alike"), "alike.html"),
        (("contexts", "--neuron", "1.3", "--plot", "contexts.png"), "contexts.html"),
    ],
)
def test_bad_input_is_explained(folder, more, words):
    name, *options = more
    assert words in call("neurons", name, *few(folder, *options), code=2)


def test_the_name_of_a_figure_is_checked_before_the_model_is_read():
    """There is no such model, and the first error is that of the name."""
    for name in ("contexts", "confidence", "universal", "layers"):
        more = {"contexts": ("--neuron", "0.1"), "universal": ("--with", "none")}.get(name, ())
        assert "xyz.html" in call("neurons", name, "no model", "no texts", *more, "--plot", "xyz.txt", code=2)
