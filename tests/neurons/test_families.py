"""The family of a neuron by the reduction in variance, and labels of tokens."""

import numpy as np
import pytest

import jaxinterp as ji
from tests.models import small_model


def test_reduction_in_variance_is_the_definition(capsys: pytest.CaptureFixture[str]) -> None:
    model, rng = small_model(), np.random.default_rng(0)
    real = np.arange(12)[None] < np.array([12, 5, 9, 12, 8])[:, None]
    tokens = rng.integers(1, 40, (5, 12))
    labels = {
        "parity": tokens % 2,
        "few": np.where(tokens < 6, tokens, -1),
        "row": np.arange(5)[:, None] + 0 * tokens,
    }
    corpus = ji.corpus.as_corpus(tokens, mask=real)
    found = ji.neurons.families(model, corpus, labels, batch_size=2)
    capsys.readouterr()
    ji.neurons.families(model, corpus, labels, batch_size=2, progress=False)
    assert capsys.readouterr().err == ""
    x = np.concatenate(
        [
            np.moveaxis(
                np.asarray(ji.run(model, row[m], capture=["mlp_post"], logits=False)[1]["mlp_post"]), 1, 0
            )
            for row, m in zip(tokens, real, strict=True)
        ]
    ).reshape(real.sum(), -1)
    for i, (name, label) in enumerate(labels.items()):
        flat, best = label[real], np.zeros(x.shape[1])
        for value in np.unique(flat[flat >= 0]):
            s = flat == value
            within = (1 - s.mean()) * x[~s].var(0) + s.mean() * x[s].var(0)
            best = np.maximum(best, 1 - within / x.var(0))
        np.testing.assert_allclose(found.reduction[:, i], best, atol=1e-4)
        assert found.names[i] == name and np.isin(found.value[:, i], flat).all()
    assert set(found.best(0.0)) <= set(labels) and set(found.best(1.1)) == {""}
    assert len(found.records()) == 3 * len(found.neurons)


def test_labels_of_tokens() -> None:
    _, tokenizer = ji.load("tiny")
    corpus = ji.data.pack(tokenizer, ["The cat saw a dog.", "A dog ran and ran and ran."], ctx=16)
    labels = ji.neurons.token_families(corpus, tokenizer)
    text = tokenizer.tokens(np.asarray(corpus.tokens[0]))
    real = np.asarray(corpus.mask)
    assert all((x[~real] == -1).all() for _, x in labels.items())
    for i, piece in enumerate(text[: real[0].sum()]):
        first = piece.strip()[:1].lower()
        assert labels["alphabet"][0, i] == ("abcdefghijklmnopqrstuvwxyz".find(first) if first else -1)
        assert labels["space"][0, i] == piece.startswith(" ")
    assert labels["previous"][0, 3] == corpus.tokens[0, 2]
    assert labels["position"][0, 0] == 0 and labels["previous"][0, 0] == -1


def test_bad_labels_are_told() -> None:
    tokens = np.ones((2, 5), np.int32)
    for labels, words in (
        ({}, "at least one family"),
        ({"a": np.ones(5, int)}, "ints"),
        ({"a": tokens}, "one value"),
    ):
        with pytest.raises(ValueError, match=words):
            ji.neurons.families(small_model(), tokens, labels)
