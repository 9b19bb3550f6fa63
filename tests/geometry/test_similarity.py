"""All pairs of layers over a corpus: equal to CKA of activations in memory, whatever the batches and the padding."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, model_of

pytestmark = pytest.mark.quick

LENGTHS = np.array([9, 6, 9, 7, 9])
MASK = np.arange(9) < LENGTHS[:, None]
TOKENS = np.where(MASK, np.random.default_rng(0).integers(1, 40, (5, 9)), 0).astype(np.int32)


def rows_of(model: Any, tokens: np.ndarray, mask: np.ndarray, site: str = "resid_post") -> np.ndarray:
    """Activations `(layer, token, p)`, each row of tokens run alone, without padding."""
    found = [ji.run(model, t[m], capture=[site], logits=False)[1][site] for t, m in zip(tokens, mask)]
    return np.concatenate([np.asarray(x).reshape(*x.shape[:2], -1) for x in found], 1)


@pytest.mark.parametrize("family", families("llama"))
def test_streaming_is_what_memory_gives(family: str) -> None:
    a, b = model_of(family), model_of("gpt2")
    corpus = ji.corpus.as_corpus(TOKENS, mask=MASK)
    x, y = (rows_of(model, TOKENS, MASK) for model in (a, b))
    memory = np.array([[ji.geometry.cka(u, v, unbiased=True) for v in y] for u in x])
    for size in (2, 5):
        found = ji.geometry.similarity(a, b, corpus, points=None, batch_size=size, progress=False)
        np.testing.assert_allclose(found.cka, memory, atol=1e-5)
    one = ji.geometry.similarity(a, b, corpus, points=64, progress=False)
    np.testing.assert_allclose(one.cka, memory, atol=1e-5)
    turned = np.stack([np.roll(row, 9 - n) for row, n in zip(TOKENS, LENGTHS)])
    left = ji.corpus.as_corpus(turned, mask=np.arange(9) >= 9 - LENGTHS[:, None])
    other = ji.geometry.similarity(a, b, left, points=8, progress=False)
    right = ji.geometry.similarity(a, b, corpus, points=8, progress=False)
    np.testing.assert_allclose(other.cka, right.cka, atol=1e-5)
    assert len(found.records()) == 9 and "CKA" in found.figure().html and found.tokens == MASK.sum()


@pytest.mark.slow
def test_groups_are_means_of_hsic_and_itself_is_one(tmp_path: Path) -> None:
    model = model_of("gpt2")
    corpus = ji.corpus.as_corpus(TOKENS, mask=MASK)
    x = rows_of(model, TOKENS, MASK, "z")  # 40 tokens, of which batches of 3 rows hold 24 and 16
    found = ji.geometry.similarity(model, model, corpus, site="z", points=6, batch_size=3, progress=False)
    sums = np.zeros((3, 3))
    for part in (x[:, :24], x[:, 24:]):
        groups = -(-part.shape[1] // 6)
        for group in range(groups):
            own = [each[group::groups].astype(float) for each in part]
            if (n := len(own[0])) > 3:
                grams = [(z - z.mean(0)) @ (z - z.mean(0)).T for z in own]
                sums += n * np.array([[song(k, other) for other in grams] for k in grams])
    scale = np.sqrt(np.diag(sums))
    np.testing.assert_allclose(found.cka, sums / scale / scale[:, None], atol=1e-5)
    np.testing.assert_allclose(np.diag(found.cka), 1, atol=1e-6)
    how: Any = {"points": 64, "checkpoint": tmp_path / "rbf.npz", "progress": False}
    rbf = ji.geometry.similarity(model, model, corpus, kernel="rbf", **how)
    for other in ({"kernel": "linear"}, {"kernel": ji.geometry.Gaussian(0.5)}):
        with pytest.raises(ValueError, match="was written by a fold with"):
            ji.geometry.similarity(model, model, corpus, **other, **how)
    whole = rows_of(model, TOKENS, MASK)
    within = ji.geometry.cka(whole[0], whole[2], kernel="rbf", unbiased=True)
    np.testing.assert_allclose(rbf.cka[0, 2], within, atol=1e-5)
    one = ji.geometry.similarity(model, model, corpus, site="resid_post[1:]", points=None, progress=False)
    assert one.cka.shape == (2, 2) and one.layers_a == (1, 2)
    last = ji.geometry.similarity(model, model, corpus, site="resid_post[-1]", points=None, progress=False)
    assert last.layers_a == (2,)
    biased = ji.geometry.similarity(
        model, model, corpus, points=None, unbiased=False, checkpoint=tmp_path / "x.npz", progress=False
    )
    np.testing.assert_allclose(biased.cka[0, 2], ji.geometry.cka(whole[0], whole[2]), atol=1e-5)
    with pytest.raises(ValueError, match="another"):
        ji.geometry.similarity(
            model, model, corpus, points=None, batch_size=2, checkpoint=tmp_path / "x.npz", progress=False
        )


def song(k: np.ndarray, other: np.ndarray) -> float:
    """The unbiased HSIC as written in the paper."""
    n = len(k)
    k, other = (each - np.diag(np.diag(each)) for each in (k, other))
    cross = k.sum() * other.sum() / (n - 1) / (n - 2) - 2 * (k @ other).sum() / (n - 2)
    return ((k * other).sum() + cross) / (n * (n - 3))


def test_bad_input_is_taught() -> None:
    model = model_of("gpt2")
    small = ji.models.GPT2Config(vocab=9, ctx=16, layers=1, d=8, heads=2)
    other = ji.models.GPT2.init(small, key=jax.random.key(0))
    cases: list[tuple[Any, str, dict[str, Any]]] = [
        (other, "vocabularies of 40 and 9", {}),
        (model, "at least 4|of 4 or more", {"points": 3}),
        (model, "points=None", {"unbiased": False}),
        (model, "linear kernel", {"points": None, "kernel": "rbf"}),
        (model, "kernel is one of", {"kernel": "poly"}),
        (model, "no axis|row is a token|axes", {"site": "pattern"}),
        (model, "nothing|four tokens", {"batch_size": 1, "points": 8}),
    ]
    for second, message, options in cases:
        tokens = TOKENS[:, :3] if "batch_size" in options else TOKENS
        with pytest.raises((ValueError, KeyError), match=message):
            ji.geometry.similarity(model, second, tokens, progress=False, **options)
    with pytest.raises(ValueError, match="four tokens"):
        ji.geometry.similarity(model, model, TOKENS[:1, :3], progress=False)
