"""A bar that is slow to move says that programs are compiled, and then that they are not."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import _waiting
from jaxinterp.corpus import _progress
from tests.processes import environment


def test_a_bar_says_that_programs_are_compiled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiting, "DELAY", 0.05)
    for number, _ in enumerate(_progress.watched(range(2), 2, "sweep", True, unit="piece")):
        time.sleep(0.4 if number == 0 else 0.2)
    first, _, last = capsys.readouterr().err.rpartition("\r")
    assert "compiling" in first and "sweep" in last and "2/2" in last and "compiling" not in last


def test_bars_and_lines_are_silenced_by_the_variable_of_tqdm() -> None:
    """tqdm reads its variables when it is imported, so this is a process of its own."""
    code = """
import time
from jaxinterp import _waiting
from jaxinterp.corpus import _progress
_waiting.DELAY = 0.01
with _waiting.waiting("a step"):
    time.sleep(0.1)
for _ in _progress.watched(range(2), 2, "a bar", True):
    time.sleep(0.1)
"""
    variables = environment() | {"TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_what_is_quick_or_unwatched_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(_progress.watched(range(3), 3, "fold", True)) == [0, 1, 2]
    assert list(_progress.watched(range(3), 3, "fold", False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_long_step_is_named_and_its_line_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiting, "DELAY", 0.05)
    with _progress.waiting("Reading gpt2"):
        time.sleep(0.3)
    shown = capsys.readouterr().err
    assert "Reading gpt2 (00:00)" in shown and shown.endswith("\r")
    with _progress.waiting("Reading gpt2", progress=False):
        time.sleep(0.1)
    with _progress.waiting("quick"):
        pass
    assert capsys.readouterr().err == ""


def test_a_sweep_counts_the_pieces_that_are_computed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep whose first program is slow to compile says so, and one without a bar prints nothing."""
    monkeypatch.setattr(_waiting, "DELAY", 0.02)
    config = ji.models.GPT2Config(vocab=11, ctx=8, layers=2, d=8, heads=2)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    prompts = np.array([1, 2, 3, 4, 5]), np.array([1, 2, 6, 4, 5])
    metric = ji.metrics.logit_diff(2, 3)
    found = ji.patching.sweep(model, *prompts, metric)
    shown = capsys.readouterr().err
    assert "sweep of resid_pre" in shown and "compiling" in shown and "1/1" in shown
    assert "compiling" not in shown.rpartition("\r")[2]
    quiet = ji.patching.sweep(model, *prompts, metric, progress=False)
    assert capsys.readouterr().err == "" and (found == quiet).all()


def test_a_bar_is_still_when_what_it_watches_has_raised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception keeps the loop's frame, and with it the generator, as an interpreter does after an error."""
    for name in ("DELAY", "TICK", "SLOW_TICK"):
        monkeypatch.setattr(_waiting, name, 0.05)

    def loop() -> None:
        for number in _progress.watched(range(9), 9, "fold", True):
            time.sleep(0.3)
            if number == 1:
                raise RuntimeError

    with pytest.raises(RuntimeError) as kept:
        loop()
    time.sleep(0.1)
    assert "fold" in capsys.readouterr().err and kept.tb is not None
    time.sleep(0.5)
    assert capsys.readouterr().err == ""


def test_a_long_step_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Attribution and generation say what is waited for; nothing is said where `progress` is False or in short steps."""
    monkeypatch.setattr(_waiting, "DELAY", 0.0)
    model, tokenizer = ji.load("tiny")
    tokens = tokenizer("The old man")
    ji.generate(model, tokens, 2)
    assert "generate 2 tokens" in capsys.readouterr().err
    metric = ji.metrics.logit_diff(3, 4)
    quiet = ji.patching.AttributionSettings(progress=False)
    ji.patching.attribution(model, tokens, tokens[::-1], metric, site="z", over=("layer", "head"))
    assert "attribution of z" in capsys.readouterr().err
    ji.patching.attribution(
        model, tokens, tokens[::-1], metric, site="z", over=("layer", "head"), settings=quiet
    )
    assert not capsys.readouterr().err
    monkeypatch.setattr(_waiting, "DELAY", 60.0)
    ji.generate(model, tokens, 2)
    assert not capsys.readouterr().err


def test_functions_without_a_bar_name_themselves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call within a larger program says nothing: that program has its own line, or was told to be silent."""
    monkeypatch.setattr(_waiting, "DELAY", 0.0)
    config = ji.models.GPT2Config(vocab=11, ctx=8, layers=2, d=8, heads=2)
    model, tokens = ji.models.GPT2.init(config, key=jax.random.key(0)), np.array([1, 2, 3, 4])
    for name, step in {
        "ji.run": lambda: ji.run(model, tokens),
        "ji.resume": lambda: ji.resume(model, jax.numpy.zeros((4, 8)), 2),
        "ji.site_grads": lambda: ji.site_grads(model, tokens, lambda logits: logits[-1, 3], at=["z"]),
        "ji.lens.direct_attribution": lambda: ji.lens.direct_attribution(model, tokens, 3),
        "ji.probes.best_subset": lambda: ji.probes.best_subset(np.eye(8), np.arange(8) < 4, k=1),
    }.items():
        step()
        assert f"{name}: compiling and running" in capsys.readouterr().err
    jax.jit(lambda ids: ji.run(model, ids)[0])(tokens)
    ji.data.activations(model, tokens[None], "mlp_post[1]", progress=False)
    assert not capsys.readouterr().err  # a part of a larger program, which was told to be silent
    jax.vmap(lambda head: ji.run(model, tokens, edits=[ji.zero("z", layer=1, head=head)])[0])(np.arange(2))
    assert "ji.run: compiling and running" in capsys.readouterr().err


def test_a_mean_over_a_corpus_shows_a_bar_and_one_over_a_list_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_waiting, "DELAY", 0.0)
    model, tokenizer = ji.load("tiny")
    tokens, _ = tokenizer(["The old man", "The old man"])
    first = ji.patching.mean_activations(model, tokens, "mlp_out")
    assert "mean of mlp_out" in capsys.readouterr().err
    ji.patching.mean_activations(model, [tokens, tokens], "mlp_out")
    assert "ji.patching.mean_activations of mlp_out" in capsys.readouterr().err
    for batches in (tokens, [tokens]):
        quiet = ji.patching.mean_activations(model, batches, "mlp_out", progress=False)
        assert (np.asarray(quiet) == np.asarray(first)).all() and not capsys.readouterr().err
    ji.metrics.measure(model, tokens, ji.metrics.logit_diff(3, 4))
    assert "ji.metrics.measure" in capsys.readouterr().err


def test_whatever_reads_a_corpus_with_a_model_can_show_a_bar() -> None:
    """`stream` reads nothing by itself: the training that takes its batches has the bar."""
    root = Path(ji.__file__).parent
    silent = []
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for each in ast.parse(text).body if "CorpusLike" in text else ():
            if not isinstance(each, ast.FunctionDef) or each.name.startswith("_"):
                continue
            options = [*each.args.args, *each.args.kwonlyargs]
            types = {ast.unparse(arg.annotation) for arg in options if arg.annotation}
            reads = any("CorpusLike" in one for one in types) and any("ModelLike" in one for one in types)
            if reads and "```" in (ast.get_docstring(each) or ""):
                names = {arg.arg for arg in options} & {"progress", "settings"}
                silent += [] if names else [each.name]
    assert set(silent) <= {"stream", "universal", "families"}, (
        silent
    )  # the last two show the bar of `correlations`
