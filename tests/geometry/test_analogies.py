"""Words as vectors: planted sums, tables of human scores, and words of several tokens."""

from pathlib import Path

import jax
import numpy as np
import pytest
import scipy

import jaxinterp as ji
from tests.models import CONFIGS, families, model_of

g = ji.geometry
WORDS = ji.tasks.Words(
    [" king", " queen", " man", " woman", " cat", "s", *(f" w{i}" for i in range(30)), "x", "y"]
)


def planted(noise: float = 0.0) -> g.WordVectors:
    """Royalty and gender as two directions, and 30 words that are neither."""
    rng = np.random.default_rng(0)
    royal, female, base = np.linalg.qr(rng.normal(size=(40, 3)))[0].T
    people = [base + a * royal + b * female for a, b in ((1, 0), (1, 1), (0, 0), (0, 1))]
    rest = rng.normal(size=(30, 40)) / 6
    x = np.stack([*people, *rest]) + noise * rng.normal(size=(34, 40))
    return g.WordVectors(["king", "queen", "man", "woman", *(f"w{i}" for i in range(30))], x)


@pytest.mark.parametrize("method", ["add", "multiply"])
def test_planted_sums_are_found(method: str) -> None:
    words = planted()
    found = g.analogies(
        words, [("man", "king", "woman", "queen"), ("king", "man", "queen", "woman")], method=method
    )
    assert found.answers == ["queen", "woman"] and found.accuracy == 1 and found.rank.tolist() == [1, 1]
    assert found.records()[0] | {"baseline_rank": 0} == {
        **dict(zip("abcd", ("man", "king", "woman", "queen"), strict=True)),
        "answer": "queen",
        "rank": 1,
        "baseline_rank": 0,
    }
    open_question = g.analogies(words, [("man", "king", "woman")], method=method)
    assert open_question.answers == ["queen"] and np.isnan(open_question.accuracy)
    # With nothing excluded, an answer is among its own question.
    assert g.analogies(words, [("w0", "w1", "king", "queen")], exclude=False).answers[0] in ("king", "w1")


def test_neighbours_are_those_of_the_cosines() -> None:
    words = planted(0.02)
    x = np.asarray(words.vectors, np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    found = g.neighbours(words, list(words.words), top=3)
    order = np.argsort(-cosine, 1)[:, :3]
    assert found.words == [[words.words[i] for i in row] for row in order]
    np.testing.assert_allclose(found.cosines, np.take_along_axis(cosine, order, 1), atol=1e-6)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 40)))[0]
    turned = g.WordVectors(words.words, x @ turn * np.arange(1, 35)[:, None])
    assert g.neighbours(turned, list(words.words), top=3).words == found.words
    vector = words.of("king") - words.of("man") + words.of("woman")
    assert g.neighbours(words, vector, top=1).words == [["queen"]] and found.records()[0]["queries"] == "king"


@pytest.mark.parametrize("family", families("gpt2"))
@pytest.mark.parametrize("several", ["last", "mean"])
def test_vectors_are_those_of_each_word_alone(family: str, several: str) -> None:
    model = model_of(family)
    names, ids = ["king", "cats", "w3"], [[0], [4, 5], [9]]
    for site in ("embed", "resid_post[1]"):
        found = g.word_vectors(model, WORDS, names, site=site, several=several, template="x {word}y")
        for row, own in zip(np.asarray(found.vectors), ids, strict=True):
            tokens = np.array([36, *own, 37], np.int32)
            x = np.asarray(ji.run(model, tokens, capture=[site])[1][site])[1:-1]
            np.testing.assert_allclose(row, x[-1] if several == "last" else x.mean(0), atol=1e-5)
    every = g.word_vectors(model, WORDS)
    assert every.words[4] == " cat" and len(every.words) == 38 == len(every.records())


def test_human_scores_from_a_table(tmp_path: Path) -> None:
    words, rng = planted(0.1), np.random.default_rng(0)
    x = np.asarray(words.vectors, np.float64)
    a, b = np.stack(np.triu_indices(34, 1))[:, rng.choice(561, 40, replace=False)]
    cosine = (x[a] * x[b]).sum(1) / np.linalg.norm(x[a], axis=1) / np.linalg.norm(x[b], axis=1)
    scores = np.exp(3 * cosine) + rng.normal(size=40)
    lines = [f"{words.words[i]},{words.words[j]},{s}" for i, j, s in zip(a, b, scores, strict=True)]
    path = tmp_path / "pairs.csv"
    path.write_text("Word 1,Word 2,Human\n" + "\n".join(lines) + "\n\n")
    found = g.human_similarity(words, path)
    np.testing.assert_allclose(found.spearman, scipy.stats.spearmanr(cosine, scores).statistic, atol=1e-6)
    assert found.low < found.spearman < found.high and found.pairs == 40
    pairs = g.read_word_pairs(path, columns=("Word 2", "Word 1", "Human"))
    np.testing.assert_allclose(g.human_similarity(words, pairs).spearman, found.spearman, atol=1e-12)
    assert len(pairs.among(words.words[:10]).scores) < 40 and set(pairs.words) <= set(words.words)
    for text, why in (
        ("a,b,c,d\nw0,w1,2,3", "columns="),
        ("a,b,c\nw0,w1,much", "line 2"),
        ("a,b,c\nw0,,3", "line 2"),
        ("a,b,c\n", "no pairs"),
        ("", "three are read"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=why):
            g.read_word_pairs(path)
    with pytest.raises(ValueError, match="columns names three"):
        g.read_word_pairs(path, columns=("a", "b", "score"))
    path.write_text("a,b,c\nw0,zebra,3")
    with pytest.raises(ValueError, match="among"):
        g.human_similarity(words, path)


def test_bad_words_are_taught() -> None:
    words, model = planted(), model_of("gpt2")
    with pytest.raises(ValueError, match="several='last'"):
        g.word_vectors(model, WORDS, ["cats"])
    with pytest.raises(ValueError, match="one layer"):
        g.word_vectors(model, WORDS, ["cat"], site="z[0]")
    for call in (
        lambda: g.neighbours(words, "zebra"),
        lambda: g.neighbours(words, np.zeros(40)),
        lambda: g.neighbours(words, np.ones(3)),
        lambda: g.neighbours(words, "king", top=34),
        lambda: g.analogies(words, [("king", "man")]),
        lambda: g.analogies(words, [("king", "man", "queen", "man")]),
        lambda: g.WordVectors(["a", "a"], np.ones((2, 3))),
        lambda: g.neighbours(g.WordVectors(["a", "b"], np.array([[0.0, 0], [1, 1]])), "b", top=1),
        lambda: g.word_vectors(model, WORDS, [" cat"], template="word"),
        lambda: g.word_vectors(model, WORDS, []),
        lambda: g.word_vectors(model, WORDS, [" cat"]),
        lambda: g.word_vectors(model, WORDS, ["dog"]),
    ):
        with pytest.raises(ValueError):
            call()
    assert CONFIGS["gpt2"].vocab == 40 and jax.tree.leaves(words)[0].shape == (34, 40)
