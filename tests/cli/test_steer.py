"""`jaxinterp steer`: a direction is found, kept and used, and errors teach."""

import numpy as np
import pytest

import jaxinterp as ji

from .calls import call


def test_find_and_write(folder, tmp_path):
    texts = [folder / "texts" / f"{name}.txt" for name in ("low", "high")]
    out, plot = tmp_path / "direction.npz", tmp_path / "bypass.html"
    loose = ("--all", "--max-kl", 99, "--min-induce", -99, "--most", 10)
    args = (folder / "model", *texts, "--answer", "a", "--around", "!{}", *loose)
    text = call("steer", "find", *args, "--out", out, "--plot", plot)
    assert "Chosen of 2 candidates" in text and plot.exists()
    kept = np.load(out)
    assert kept["direction"].shape == (8,) and kept["layer"] in (0, 1)
    written = call("steer", "write", folder / "model", "abc", "--direction", out, "--without", "--tokens", 3)
    assert [line.split(":")[0] for line in written.splitlines()] == ["strength 0", "strength 1", "without"]


@pytest.mark.slow
def test_prompts_of_a_chat(folder, tmp_path):
    """Law: with --chat the model reads what its template makes; --around is within the message."""
    texts = [folder / "texts" / f"{name}.txt" for name in ("low", "high")]
    loose = ("--all", "--max-kl", 99, "--min-induce", -99, "--most", 4, "--answer", "a")
    found = {}
    assert "chat template" in call("steer", "find", folder / "model", *texts, *loose, "--chat", code=2)
    model, tokenizer = ji.load(folder / "model")
    tokenizer.chat_template = "{% for m in messages %}<{{ m['content'] }}{% endfor %}"
    ji.save(tmp_path / "chat", model, tokenizer=tokenizer)
    for name, given in (("chat", ("--chat",)), ("by hand", ("--around", "<{}")), ("plain", ())):
        said = call("steer", "find", tmp_path / "chat", *texts, *loose, *given, "--out", tmp_path / "d.npz")
        found[name] = said.partition("Chosen of")[2]
    assert found["chat"] == found["by hand"] != found["plain"]
    args = ("steer", "write", tmp_path / "chat", "ab", "--direction", tmp_path / "d.npz", "--tokens", 3)
    assert call(*args, "--chat") == call(*args[:3], "<ab", *args[4:])


def test_errors_teach(folder, tmp_path):
    low = folder / "texts" / "low.txt"
    one = tmp_path / "one.txt"
    one.write_text("abc\n")
    args = ("steer", "find", folder / "model")
    assert "one on each line" in call(*args, low, one, "--answer", "a", code=2)
    assert "must be one token" in call(*args, low, low, "--answer", "ab", code=2)
    assert "where the prompt stands" in call(*args, low, low, "--answer", "a", "--around", "x", code=2)
    assert "kept as .npz" in call(*args, low, low, "--answer", "a", "--out", tmp_path / "a.txt", code=2)
    other = tmp_path / "other.npz"
    write = ("steer", "write", folder / "model", "abc", "--direction", other)
    for arrays in (
        {"weights": np.ones(3)},
        {"direction": np.full(8, np.nan), "layer": np.int32(0)},
        {"direction": np.zeros(8), "layer": np.int32(0)},
        {"direction": np.ones(8), "layer": np.float32(0.5)},
    ):
        np.savez(other, **arrays)
        assert "holds no direction" in call(*write, code=2)
    np.savez(other, direction=np.ones(8), layer=np.int32(0))
    assert "--strength is a finite number" in call(*write, "--strength", "nan", code=2)
