"""Explanations beside those of other features, and a language model as the judge."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.sae.evaluation._windows import Shown, Window
from tests.models import SMALL, families, model_of, random_model

SITE = "mlp_post[1]"
KEY = jax.random.key(0)
SETTINGS = ji.sae.InterpretSettings(progress=False, batch_size=50)
WORDS = ("yes", "no", *(f"w{i}" for i in range(38)))
DIGITS = {str(v): 20 + v for v in range(10)}


class Spaced:
    """A tokenizer of words between spaces, for a vocabulary of 40."""

    def __call__(self, text: str, bos: bool = False) -> Any:
        return np.array([WORDS.index(word) if word in WORDS else 2 + len(word) % 38 for word in text.split()])

    def tokens(self, ids: Any) -> list[str]:
        return [f"{WORDS[int(i)]} " for i in np.asarray(ids).ravel()]

    def token_id(self, word: str) -> int:
        return WORDS.index(word)


@pytest.fixture(scope="module")
def given() -> tuple[Any, ...]:
    tokens = np.random.default_rng(0).integers(0, 40, (200, 12), dtype=np.int32)
    return ji.sae.Neurons(32), random_model(SMALL), Spaced(), tokens


@pytest.fixture(scope="module")
def peaks(given: Any) -> dict[tuple[str, ...], Any]:
    """The activations of all neurons in each window, by its strings."""
    _, model, tokenizer, tokens = given
    acts = np.array(ji.run(model, tokens, capture=[SITE], logits=False)[1][SITE])
    acts[:, 0] = 0  # the first token does not count
    found = {}
    for row, x in zip(tokens, np.maximum(acts, 0), strict=True):
        words = tokenizer.tokens(row)
        for p in range(12):
            part = slice(max(0, p - 4), p + 5)
            found[tuple(words[part])] = x[part].max(0) - 0.01 * np.maximum(acts, 0).max((0, 1))
    return found


def scored(given: Any, texts: Any, detect: Any, **more: Any) -> Any:
    judges = ji.sae.Judges(explain=lambda shown: "", detect=detect)
    options = {"site": SITE, "key": KEY, "settings": SETTINGS} | more
    return ji.sae.explanation_scores(*given, texts, **{"judges": judges, **options})


@pytest.mark.slow
def test_own_explanations_beside_others(given: Any, peaks: Any, tmp_path: Path) -> None:
    asked = []

    def detect(text: str, texts: Any) -> Any:
        asked.append(text)
        return np.array([peaks[tuple(words)][int(text)] for words in texts])

    texts, out = {3: "3", 8: "8", 5: "5"}, tmp_path / "scores.jsonl"
    found = scored(given, texts, detect, out=out)
    assert found.kept.all() and len(asked) == 9
    # The area has no value where a feature fires in each of the 14 texts.
    area, scores = found.own("detection_auc"), found.scores["detection"]
    assert (found.own("detection") == 1).all() and area[0] == 1 and (np.isnan(area) | (area == 1)).all()
    others = scores[~np.eye(3, dtype=bool)].reshape(3, 2).mean(1)
    np.testing.assert_allclose(found.others("detection"), others)
    assert (found.difference("detection") > 0).all() and found.interval("detection").mean > 0
    assert found.p("detection", key=KEY) == 0.25  # 2 of 8 patterns
    rows = found.records()
    assert rows[1]["feature"] == 8 and rows[1]["detection_difference"] == found.difference("detection")[1]
    # The diagonal is what interpret gives, the same file continues, and a draw of others is a part of all.
    judges = ji.sae.Judges(explain=lambda shown: "8", detect=detect)
    (alone,) = ji.sae.interpret(*given, features=[8], judges=judges, site=SITE, key=KEY, settings=SETTINGS)
    assert alone["detection"] == found.own("detection")[1]
    lines = out.read_text().splitlines()
    assert len(lines) == 10
    out.write_text("\n".join(lines[:6]) + '\n{"feature": 8, "ke')  # a run that was killed
    asked.clear()
    again = scored(given, texts, detect, out=out)
    assert len(asked) == 4
    np.testing.assert_array_equal(again.scores["detection_auc"], found.scores["detection_auc"])
    few = scored(given, texts, detect, others=1).scores["detection"]
    there = np.isfinite(few)
    assert there.sum() == 6 and there.diagonal().all()
    np.testing.assert_array_equal(few[there], found.scores["detection"][there])
    with pytest.raises(ValueError, match="of another key"):
        scored(given, texts, detect, out=out, key=jax.random.key(1))
    assert json.loads(out.read_text().splitlines()[0])["study"] == "explanation scores"


def test_nonsense_is_refused(given: Any) -> None:
    texts = {3: "3", 8: "8"}
    with pytest.raises(ValueError, match="a finite score for each of 14 texts"):
        scored(given, texts, lambda text, texts: np.full(len(texts), np.nan))
    with pytest.raises(ValueError, match=r"indices 0\.\.13"):
        scored(given, texts, lambda text, texts: [0.5, 1.5])
    with pytest.raises(ValueError, match="that of feature 8 is ''"):
        scored(given, {3: "3", 8: ""}, None)
    with pytest.raises(ValueError, match="two features or more"):
        scored(given, {3: "3"}, None)
    with pytest.raises(ValueError, match="A judge that tests explanations is missing"):
        scored(given, texts, None)
    with pytest.raises(IndexError, match=r"the features 0\.\.31; got 40"):
        scored(given, {3: "3", 40: "40"}, lambda text, texts: [0])
    with pytest.raises(ValueError, match="measure is one of"):
        scored(given, texts, lambda text, texts: [0]).own("nothing")


@pytest.mark.parametrize("family", families("llama"))
def test_a_model_judges_by_its_probabilities(family: str) -> None:
    model, tokenizer = model_of(family), Spaced()
    judge = ji.sae.ModelJudge(
        model,
        tokenizer,
        chat="w3 {} w4",
        explains="{examples} w7",
        begins=" w9",
        asks="{text} w5 {explanation}",
        answers=("yes", "no"),
        neutral="w6",
        steps=4,
    )
    texts = [["w8 ", "w9 "], ["w10 "], ["w11 ", "w12 ", "w13 "]] * 6  # more than one program holds

    def alone(explanation: str, words: list[str]) -> float:
        ids = tokenizer(f"w3 {''.join(words)} w5 {explanation} w4")
        logits = np.asarray(ji.run(model, ids, logits=-1)[0]).ravel()
        return float(logits[0] - logits[1])

    wanted = [alone("w20", words) - alone("w6", words) for words in texts]
    np.testing.assert_allclose(judge.detect("w20", texts), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(judge.detect("w6", texts), 0, atol=1e-5)
    window = lambda kind, word: Window(kind, 0, 0, 0, [f"{word} "], np.ones(1), np.full(1, 9))
    shown = Shown([window("top", "w8"), window("random", "w30")], [], [])
    prompt = tokenizer("w3 - w8 w7 w4 w9")
    said = np.asarray(ji.generate(model, prompt, 4))[len(prompt) :]
    assert judge.judges().explain(shown) == "".join(tokenizer.tokens(said)).strip()


class Digits(Spaced):
    """The same with tokens for the digits, and none for 10."""

    def token_id(self, word: str) -> int:
        return DIGITS[word] if word in DIGITS else super().token_id(word)


@pytest.mark.parametrize("family", families("llama"))
def test_levels_are_the_probabilities_of_digits(family: str) -> None:
    """At each mark: what a run of the prompt up to there says, and 10 has the probability 0."""
    model, tokenizer = model_of(family), Digits()
    judge = ji.sae.ModelJudge(
        model, tokenizer, chat="w3 {}", simulates="{explanation}", marks=("w5", "w6 w7")
    )
    found = judge.simulate("w9", ["w8 ", "w10 ", "w8 "])
    assert found.shape == (3, 11) and (found[:, 10] == 0).all()
    np.testing.assert_allclose(found.sum(1), 1)
    prompt = ["w3", "w9", "w8", "w5", "w6", "w7", "w10", "w5", "w6", "w7", "w8", "w5"]
    for row, end in zip(found, (4, 8, 12), strict=True):
        logits = np.asarray(ji.run(model, tokenizer(" ".join(prompt[:end])), logits=-1)[0]).ravel()
        shares = np.exp(logits[20:30] - logits[20:30].max())
        np.testing.assert_allclose(row[:10], shares / shares.sum(), rtol=1e-4, atol=1e-6)


def test_a_planted_judge_simulates_what_a_feature_does(given: Any) -> None:
    """Of word 10 + v both have the level v, of others 0: all correlations are 1."""
    _, model, _, tokens = given
    level = np.where((np.arange(40) >= 10) & (np.arange(40) < 20), np.arange(40) - 10, 0).astype(np.float32)
    embed, unembed, v = np.zeros((40, 8), np.float32), np.zeros((8, 40), np.float32), np.arange(10)
    embed[:, 0], embed[:, 1] = level, 1
    unembed[0, 20:30], unembed[1, 20:30] = 40 * v, -20 * v**2  # the logit of digit v is largest at level v
    sizes = {"vocab": 40, "ctx": 64, "layers": 1, "d": 8, "heads": 2}
    judge_model = random_model(ji.models.GPT2Config(norm=False, tied=False, **sizes))
    silent = lambda m: (m.w_pos, m.blocks.attn.w_o, m.blocks.attn.b_o, m.blocks.mlp.w_out, m.blocks.mlp.b_out)
    judge_model = eqx.tree_at(silent, judge_model, replace_fn=np.zeros_like)
    judge_model = eqx.tree_at(lambda m: (m.w_embed, m.w_unembed), judge_model, (embed, unembed))
    judge = ji.sae.ModelJudge(judge_model, Digits(), chat="{}", simulates="w1", marks=("", "w2"))
    found = judge.simulate("w8", ["w8 ", "w13 ", "w1 ", "w17 "])
    np.testing.assert_allclose(found @ np.arange(11), [0, 5, 0, 9], atol=1e-5)
    # A model whose first stream has the level as a coordinate, and this coordinate as a feature.
    plain = eqx.tree_at(lambda m: (m.w_embed, m.w_pos), model, (embed, np.zeros_like(model.w_pos)))
    (record,) = ji.sae.interpret(
        ji.sae.Combinations(8, [[0]], [[1.0]]),
        plain,
        Digits(),
        tokens,
        site="resid_pre[0]",
        judges=ji.sae.Judges(explain=lambda shown: "w8", simulate=judge.judges(simulate=True).simulate),
        key=KEY,
        settings=SETTINGS,
    )
    for name in ("spearman", "pearson", "bills_correlation", "bills_r2"):
        assert record[name] > 0.999, (name, record[name])
