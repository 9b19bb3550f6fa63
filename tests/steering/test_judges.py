"""Answers under edits and their judges: prompts alone, kept answers, intervals."""

import json

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import steering

PROMPTS = ["The king", "It was a cold morning in", "La vie"]


@pytest.fixture(scope="module")
def tiny():
    return ji.load("tiny")


def test_refused_by_substring():
    for text in ("I'm sorry, but no.", "as an ai, I", "Well, I can\u2019t.", "I AM UNABLE TO"):
        assert steering.refused(text)
    assert not steering.refused("To do that, you take sorry eggs.")
    assert len(steering.REFUSALS) == 12
    assert steering.by_substring(["eggs"])(["?"], ["take eggs"]) == [True]
    for wrong in ("sorry", [""], [3]):
        with pytest.raises(ValueError, match="phrases are texts"):
            steering.refused("", wrong)


def test_wilson_is_scipys():
    import scipy.stats

    for count, n in ((0, 20), (3, 20), (20, 20)):
        wanted = scipy.stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(ji.stats.share_interval(count, n), wanted, atol=1e-12)


def test_answers_are_those_of_prompts_alone(tiny, tmp_path):
    model, tokenizer = tiny
    direction = np.random.default_rng(0).normal(size=model.config.d).astype(np.float32)
    conditions = {"baseline": [], "added": [ji.add("resid_pre", 4 * direction, layer=1)]}
    judges = {
        "e": lambda prompts, answers: ["e" in a for a in answers],
        "longer": lambda p, a: [len(x) > 6 for x in a],
    }
    file = tmp_path / "answers.json"
    given = {"steps": 4, "batch_size": 2, "out": file, "progress": False}
    found = steering.evaluate(model, tokenizer, PROMPTS, conditions, judges, **given)
    assert found.verdicts.shape == (2, 2, 3) and found.texts[0] != found.texts[1]
    for i, text in enumerate(PROMPTS):
        alone = ji.generate(model, tokenizer(text), 4)
        assert found.texts[0][i] == tokenizer.decode(alone[-4:])
    rows = found.records()
    assert [row["condition"] for row in rows] == ["baseline"] * 2 + ["added"] * 2
    assert rows[0]["n"] == 3 and rows[0]["low"] <= rows[0]["rate"] <= rows[0]["high"]
    # A stopped call goes on: what is there is not written again.
    kept = json.loads(file.read_text())
    kept["answers"] = {"baseline": ["eggs", "eggs"]}
    file.write_text(json.dumps(kept))
    again = steering.evaluate(model, tokenizer, PROMPTS, conditions, judges, **given)
    assert again.texts[0] == ("eggs", "eggs", found.texts[0][2]) and again.texts[1] == found.texts[1]
    with pytest.raises(ValueError, match="answers of another call"):
        steering.evaluate(model, tokenizer, PROMPTS[:2], conditions, judges, **given)


def test_what_evaluate_refuses(tiny):
    model, tokenizer = tiny
    call = lambda *args: steering.evaluate(model, tokenizer, *args, steps=1, progress=False)
    with pytest.raises(ValueError, match="list of texts"):
        call("one text", {"baseline": []})
    with pytest.raises(ValueError, match="list of texts"):
        call([], {"baseline": []})
    with pytest.raises(ValueError, match="edits by name"):
        call(PROMPTS, {})
    with pytest.raises(ValueError, match="one truth value or number"):
        call(PROMPTS[:1], {"baseline": []}, {"bad": lambda prompts, answers: ["yes"]})
