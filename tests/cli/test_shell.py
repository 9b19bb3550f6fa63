"""Errors as a shell spells them, and options that would change nothing or too much."""

import pytest

from jaxinterp.cli import main
from jaxinterp.cli._shell import in_shell

from .calls import call


@pytest.mark.quick
@pytest.mark.parametrize(
    "command, message, shown",
    [
        ("probe", "'z' is at the layers 0..1; got layers=[7].", "'z' is at the layers 0..1; got --layers 7."),
        (
            "probe",
            "Write ks=[1, 2], methods=['single', 'dense'].",
            "Write --ks 1,2, --method single --method dense.",
        ),
        ("patch", "it has layer, pos: over=('layer', 'pos').", "it has layer, pos: --over layer,pos."),
        ("patch", "site='z[0]', or mode=\"noise\"", '--site "z[0]", or --mode noise'),
        ("lens", "Write save('out.html'), bos=False or bos=True.", "Write 'out.html', --no-bos or --bos."),
        ("steer find", "All: settings=SelectionSettings(filter=False).", "All: --all."),
        (
            "steer find",
            "SelectionSettings(max_kl=..., min_induce=...): no",
            "--max-kl ... --min-induce ...: no",
        ),
        ("sae train", "Name one: ji.data.stored(store, site='z[0]').", 'Name one: --site "z[0]".'),
        ("sae train", "f(x, settings=ji.fit.Settings(average=0.9))", "--average 0.9"),
        ("sae train", "batch_size=8, settings.k='2', average=None", "--batch 8, --k 2, no --average"),
        (
            "sae train",
            "Give another checkpoint=, or text='body'",
            "Give another --checkpoint, or --field body",
        ),
    ],
)
def test_keywords_are_options(command, message, shown):
    assert in_shell(message, _command(command)) == shown


@pytest.mark.quick
@pytest.mark.parametrize(
    "message",
    [
        "as ji.sae.TopK(d=512, features=4096, k=32); got 3",  # d is no option
        "over={'layer': [0]}, key=jax.random.key(0), seed=12",
        "a.k=3, k==3, steps=n, kinds=[1], f(k=3",
        "call f(x, (y), 'a)b')",
        "",
    ],
)
def test_what_no_option_says_stays_as_it_is(message):
    assert in_shell(message, _command("heads")) == in_shell(message, None) == message
    assert in_shell("f(d=1, k=3)", _command("sae train")) == "f(d=1, k=3)"


def _command(words):
    found = main
    for word in words.split():
        found = found.commands[word]
    return found


@pytest.mark.parametrize(
    "args, words",
    [
        (["probe", "{}/model", "{}/texts", "--ks", "1,60"], "a layer has 32 neurons; got --ks 60"),
        (["probe", "{}/model", "{}/texts", "--site", "q", "--ks", "9"], "a layer has 8 neurons; got --ks 9"),
        (
            ["probe", "{}/model", "{}/texts", "--exact", "0"],
            "from 1 on, and a layer has 32 neurons; got --exact 0",
        ),
        (
            ["probe", "{}/model", "{}/texts", "--ctx", "99", "--layers", "9"],
            "reads 32 tokens at once.*got --ctx 99",
        ),
        (["sae", "steer", "tiny", "", "--feature", "1", "--value", "2"], 'got "". Write a text in quotes.'),
        (["sae", "rating-study", "tiny", "{}/texts", "--neurons", "mlp_post"], '--neurons "mlp_post[2]"'),
        (["sae", "rating-study", "tiny", "{}/texts", "--neurons", "z[0]", "--out", "{}/texts"], "--out NAME"),
        (["sae", "rate", "{}/texts"], "jaxinterp sae rating-study"),
        (
            [
                "steer",
                "find",
                "{}/model",
                "{}/texts/low.txt",
                "{}/texts/high.txt",
                "--answer",
                "x",
                "--last",
                "4",
            ],
            "has 3 tokens.*got --last 4",
        ),
    ],
)
def test_a_value_that_is_too_large_is_said(folder, args, words):
    text = call(*(arg.replace("{}", str(folder)) for arg in args), code=2)
    assert all(each in text for each in words.split(".*")), text


def test_an_option_that_changes_nothing_is_said(folder, tmp_path):
    import jaxinterp as ji

    store = tmp_path / "acts"
    call("activations", folder / "model", folder / "texts", "--site", "z[0]", "--ctx", 8, "--out", store)
    assert ji.data.Store(store).sites == ["z[0]"]
    text = call(
        "sae",
        "train",
        folder / "model",
        "--store",
        store,
        "--site",
        "z[0]",
        "--held",
        3,
        "--batch",
        4,
        code=2,
    )
    assert "--held changes nothing here" in text and "--ctx" not in text
    assert "has several. Name one layer of a site without heads" in text
