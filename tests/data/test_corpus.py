"""Documents in contexts, labels on tokens, and no document in train and test at once."""

import re
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.data import Document

TEXTS = [
    "the old king slept well and long",
    "a new day",
    "König  sagt: nein.",
    "the old king slept well and long",
]


def test_every_token_of_a_document_in_order(tokenizer: Any) -> None:
    corpus = data.pack(tokenizer, TEXTS, ctx=4)
    for d, text in enumerate(TEXTS):
        here = corpus.document == d
        ids, _ = tokenizer.with_offsets(text)
        np.testing.assert_array_equal(corpus.tokens[here], ids)
        pieces = [corpus.text_of(i) for i in np.flatnonzero(here)]
        assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    assert (corpus.tokens[:, 0] == tokenizer.bos_id).all() and corpus.mask[:, 0].all()
    assert not corpus.positions[:, 0].any() and (corpus.positions == (corpus.document >= 0)).all()
    assert (corpus.positions <= corpus.mask).all() and "contexts of 4" in repr(corpus)
    assert len(data.pack(tokenizer, TEXTS, ctx=4, most=2)) == 2
    assert data.pack(tokenizer, TEXTS, ctx=4, least=3).positions.sum(1).min() == 3


def test_joined_contexts_are_full_and_hang_together(tokenizer: Any) -> None:
    corpus = data.pack(tokenizer, [*TEXTS[:3], "one two three four five"], ctx=5, join=True)
    assert corpus.mask.all()
    order = corpus.document[corpus.document >= 0]
    assert (np.diff(order) >= 0).all()
    between = np.flatnonzero(np.diff(order)) + 1
    flat = corpus.document[:, 1:].reshape(-1)
    assert len(between) == (flat < 0).sum() == 3  # a separator between any two
    shared = [set(row[row >= 0]) for row in corpus.document]
    for i in range(len(corpus)):
        for j in range(i):
            if shared[i] & shared[j]:
                assert corpus.groups[i] == corpus.groups[j]
    with pytest.raises(ValueError, match="join=False"):
        _ = data.pack(tokenizer, [("a b", "x"), ("c d", "y")], ctx=5, join=True).labels


def test_equal_texts_and_equal_groups_never_part(tokenizer: Any) -> None:
    documents = [
        Document(t, i % 2, g) for i, (t, g) in enumerate(zip(TEXTS, (None, "b", "b", None), strict=True))
    ]
    corpus = data.pack(tokenizer, documents, ctx=4)
    group = {d: set(corpus.groups[(corpus.document == d).any(1)]) for d in range(4)}
    assert group[0] == group[3] and group[1] == group[2] and group[0] != group[1]
    assert all(len(g) == 1 for g in group.values())
    np.testing.assert_array_equal(corpus.labels, [documents[row.max()].label for row in corpus.document])
    np.testing.assert_array_equal(
        corpus.label_of_tokens(1), np.isin(corpus.document, (1, 3)) & corpus.positions
    )
    with pytest.raises(ValueError, match="No document has the label 7"):
        corpus.label_of_tokens(7)


def test_a_token_is_chosen_where_one_of_its_characters_is(tokenizer: Any) -> None:
    corpus = data.pack(tokenizer, [Document(TEXTS[0], spans=((4, 12, "who"),)), TEXTS[2]], ctx=6)

    def texts(of: Any, at: str = "all") -> list[str]:
        return [corpus.text_of(i) for i in np.flatnonzero(corpus.spans(of, at=at))]

    def finds(pattern: str) -> Any:
        return lambda text: [m.span() for m in re.finditer(pattern, text)]

    assert texts("who") == ["old", "king"]
    assert texts("who", "last") == ["king"] and texts("who", "first") == ["old"]
    assert texts([[(1, 2)], [(7, 8)]]) == ["the", "sagt"]
    assert texts(finds("in")) == ["king", "nein"]
    assert texts(finds(r"t\b")) == ["slept", "sagt"]
    assert texts(finds(r"(?<=old) ")) == []  # the space alone is no part of a word
    for wrong in ([(3, 3)], [(-1, 2)], [(0, 99)]):
        with pytest.raises(ValueError, match="not empty"):
            corpus.spans(lambda _, wrong=wrong: wrong)
    with pytest.raises(ValueError, match="each of the 2 documents"):
        corpus.spans([[]])
    with pytest.raises(ValueError, match="'all', 'first' or 'last'"):
        corpus.spans("who", at="end")


def test_documents_that_cannot_be_packed(tokenizer: Any) -> None:
    for wrong, match in [
        ([], "no documents"),
        ("one text", r"Write \[text\]"),
        (["a", ""], "Document 1 is empty"),
        ([3], "Document 0 is a int"),
        ([Document("abc", spans=((0, 4, "x"),))], "3 characters"),
    ]:
        with pytest.raises(ValueError, match=match):
            data.pack(tokenizer, wrong, ctx=8)
    with pytest.raises(ValueError, match="at least one token beside BOS"):
        data.pack(tokenizer, ["a"], ctx=1)
    with pytest.raises(ValueError, match="No context came out"):
        data.pack(tokenizer, ["a b"], ctx=8, join=True)
    with pytest.raises(ValueError, match="no bos_id"):
        data.pack(type("T", (), {"with_offsets": None})(), ["a"], ctx=8)
    with pytest.raises(ValueError, match="with_offsets"):
        data.pack(object(), ["a"], ctx=8, bos=False)


def test_splits_keep_groups_whole_and_classes_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        groups = rng.integers(0, 40, 300)
        labels = (groups % 7 == 0) ^ (rng.random(300) < 0.05)
        train, test = data.split(groups, test=0.3, key=jax.random.key(seed), labels=labels)
        data.check_split(groups, train, test)
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(300))
        assert 0.2 < len(test) / 300 < 0.4
        assert 0 < labels[test].sum() < labels.sum()
        np.testing.assert_array_equal(
            test, data.split(groups, test=0.3, key=jax.random.key(seed), labels=labels)[1]
        )
    train, test = data.split(np.asarray(["a", "b"]), key=jax.random.key(0))
    assert len(train) == len(test) == 1
    with pytest.raises(data.Leak, match="2 groups are in train and in test"):
        data.check_split([0, 1, 1, 0, 2], [0, 1], [2, 3, 4])
    with pytest.raises(ValueError, match="there is 1"):
        data.split([3, 3, 3], key=jax.random.key(0))
    with pytest.raises(ValueError, match="is in group 2 alone"):
        data.split([0, 1, 2, 2], key=jax.random.key(0), labels=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="one entry for each row"):
        data.split([0, 1], key=jax.random.key(0), labels=[0])


def test_samples_are_balanced_and_depend_on_the_key_alone() -> None:
    rng = np.random.default_rng(0)
    positive, counts = rng.random((60, 50)) < 0.06, rng.random((60, 50)) < 0.9
    negative, mirror = counts & ~positive, rng.random((60, 50)) < 0.1
    got = data.sample(positive & counts, negative, n=500, key=jax.random.key(1), mirror=mirror)
    assert len(got) == 500 and got.labels.sum() == 100 and (np.diff(got.index) > 0).all()
    assert (positive & counts).reshape(-1)[got.index[got.labels]].all()
    assert negative.reshape(-1)[got.index[~got.labels]].all()
    assert mirror.reshape(-1)[got.index[~got.labels]].sum() >= 200
    again = data.sample(positive & counts, negative, n=500, key=jax.random.key(1), mirror=mirror)
    np.testing.assert_array_equal(got.index, again.index)
    assert data.sample(positive, n=2000, key=jax.random.key(0), share=0.4).labels.sum() == positive.sum()
    assert data.sample(np.arange(100) < 80, n=40, key=jax.random.key(0)).labels.mean() == 0.5  # the cap
    assert (
        data.sample(np.arange(100) < 30, n=50, key=jax.random.key(0)).labels.mean() == 0.3
    )  # the natural share
    with pytest.raises(data.TooFew, match="1 positives and 99 negatives for n=100"):
        data.sample(np.arange(100) < 1, n=100, key=jax.random.key(0))
    with pytest.raises(data.TooFew, match="0 negatives"):
        data.sample(np.ones(100, bool), n=10, key=jax.random.key(0))
    with pytest.raises(ValueError, match="at once"):
        data.sample(positive, np.ones_like(positive), n=10, key=jax.random.key(0))
    with pytest.raises(ValueError, match="bools"):
        data.sample(positive, negative[:3], n=10, key=jax.random.key(0))
    with pytest.raises(ValueError, match="n >= 2"):
        data.sample(positive, n=1, key=jax.random.key(0))
    with pytest.raises(ValueError, match="Randomness comes from a key"):
        data.sample(positive, n=10, key="0")


def test_many_features_share_their_rows() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((20, 10)) < 0.9
    labels = {"often": rng.random((20, 10)) < 0.3, "never": np.zeros((20, 10), bool)}
    made, skipped = data.samples(labels, mask, n=60, key=jax.random.key(0))
    assert list(made) == ["often"] and "0 positives" in skipped["never"]
    more, _ = data.samples(
        {"other": mask.copy() & labels["often"], **labels}, mask, n=60, key=jax.random.key(0)
    )
    np.testing.assert_array_equal(made["often"].index, more["often"].index)
    index, rows = data.union(more)
    for name, feature in more.items():
        np.testing.assert_array_equal(index[rows[name]], feature.index)
        np.testing.assert_array_equal(labels["often"].reshape(-1)[feature.index], feature.labels)
    with pytest.raises(ValueError, match="below the floor"):
        data.union({})
