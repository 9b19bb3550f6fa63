"""A lens table takes what the lenses return: summaries, logits, and ids that a tokenizer names."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import viz


@pytest.fixture(scope="module")
def read():
    model, tokenizer = ji.load("tiny")
    ids, mask = tokenizer(["The old man", "She went to the shop"])
    summary = ji.lens.summary(model, ids, mask=mask, top=3)
    return (
        tokenizer,
        np.asarray(ids),
        np.asarray(mask),
        summary,
        np.asarray(ji.lens.logit_lens(model, ids, mask=mask)),
    )


def tips(figure: viz.Figure) -> list[str]:
    return re.findall(r'<td [^>]*title="([^"]*)"', figure.html)


def test_a_summary_is_drawn(read) -> None:
    tokenizer, ids, _mask, summary, _ = read
    one = jax.tree.map(lambda x: x[:, 1], summary)
    figure = viz.lens_table(ids[1], one, tokenizer=tokenizer)
    rows = re.findall(r'<th scope="row">(.*?)</th>', figure.html)
    assert rows == ["3", "2", "1", "0", "embed"] and "read after" in figure.html
    best = tokenizer.tokens(np.asarray(one.top_ids[-1, -1]))
    last = tips(figure)[len(ids[1]) - 1].split("&#10;")
    assert [line.split("  ")[1] for line in last[1:]] == [viz.visible(token) for token in best]
    assert last[1].startswith(viz.number(float(one.top_probs[-1, -1, 0])))
    last = jax.tree.map(lambda x: x[:, -1], one)  # as `pos=-1` reads it
    alone = viz.lens_table(ids[1][-1:], last, tokenizer=tokenizer, values="kl")
    assert len(tips(alone)) == 5 and "position 0" in tips(alone)[0] and "kl: 0&#10;" in tips(alone)[0]
    by_kl = viz.lens_table(ids[1], one, tokenizer=tokenizer, values="kl")
    assert "<span>kl 0</span>" in by_kl.html and "kl: 0&#10;" in tips(by_kl)[0]
    assert (
        "KL (nats)" in viz.lens_table(ids[1], one, tokenizer=tokenizer, values="kl", value="KL (nats)").html
    )


def test_logits_are_drawn_as_their_summary(read) -> None:
    """Of a padded prompt, without its padding; with a batch axis of one, or none."""
    tokenizer, ids, mask, summary, logits = read
    one = jax.tree.map(lambda x: x[:, :1], summary)
    words = tokenizer.tokens(ids[0])
    whole = viz.lens_table(words, one, tokenizer=tokenizer, mask=mask[0])
    layers = ["embed", 0, 1, 2, 3]
    raw = viz.lens_table(words, logits[:, 0], tokenizer=tokenizer, mask=mask[:1], layers=layers)
    assert len(tips(whole)) == 5 * mask[0].sum() < 5 * len(words)
    assert [tip.split("&#10;")[:3] for tip in tips(whole)] == [tip.split("&#10;")[:3] for tip in tips(raw)]
    assert '<th scope="row">4</th>' in viz.lens_table(words, logits[:, 0], tokenizer=tokenizer).html
    left = np.roll(ids[0], 1), jnp.roll(logits[:, 0], 1, 1), np.roll(mask[0], 1)
    moved = viz.lens_table(left[0], left[1], tokenizer=tokenizer, mask=left[2], layers=layers)
    assert [tip.split("&#10;")[1:] for tip in tips(moved)] == [tip.split("&#10;")[1:] for tip in tips(raw)]


def test_bad_input_teaches(read) -> None:
    tokenizer, ids, _, summary, logits = read
    for call, words in [
        (lambda: viz.lens_table(ids[0], summary), "say what they are, lens_table.*tokenizer=tokenizer"),
        (lambda: viz.lens_table(ids[0], summary, tokenizer=tokenizer), r"choose one prompt: jax.tree.map"),
        (lambda: viz.lens_table(ids[0], logits[0, 0], tokenizer=tokenizer), "and no probs"),
        (lambda: viz.lens_table(["a"], [["x"]], [[0.5]], values="kl"), "names a number of ji.lens.summary"),
        (
            lambda: viz.lens_table(
                ids[0], jax.tree.map(lambda x: x[:, 0], summary), tokenizer=tokenizer, values="p"
            ),
            "has no 'p' to colour cells by; it has entropy, kl, cross_entropy, rank",
        ),
        (lambda: viz.lens_table(["a"], [["x"]], [[0.5]], mask=[True, False]), "each of the 1 tokens"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match=r"Write settings=ji.viz.HeatmapSettings\(limits=\(0, 1\)\)"):
        viz.lens_table(["a"], [["x"]], [[0.5]], limits=(0, 1))
