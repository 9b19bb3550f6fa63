"""Stages of inference: curves of plain runs, planted heads, and CKA of all points from batches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.stats._hsic import unbiased_hsic
from tests.models import model_of

MASK = np.arange(9) < np.array([9, 6, 9, 6])[:, None]
TOKENS = np.where(MASK, np.random.default_rng(0).integers(1, 40, (4, 9)), 0).astype(np.int32)


@pytest.mark.wide
def test_curves_of_plain_runs() -> None:
    model, corpus = model_of("neox"), ji.corpus.as_corpus(TOKENS, mask=MASK)
    starts = np.arange(40) % 3 == 0
    found = ji.neurons.stages(model, corpus, starts=starts, batch_size=3, progress=False)
    counted = np.asarray(MASK[:, :-1] & MASK[:, 1:])
    counted[:, 0] = False
    where = np.pad(counted, ((0, 0), (0, 1)))
    _, acts = ji.run(model, TOKENS, capture=["pattern", "mlp_out"], logits=False)
    read = ji.lens.summary(model, TOKENS)
    mean = lambda x: np.asarray(x)[:, where].mean(-1)
    np.testing.assert_allclose(found.lens_entropy, mean(read.entropy) / np.log(2), atol=1e-5)
    np.testing.assert_allclose(found.lens_kl, mean(read.kl), atol=1e-5)
    assert found.lens_kl[-1] == 0 and found.predictions == where.sum() == 22
    np.testing.assert_allclose(found.mlp_norm, mean(jnp.linalg.norm(acts["mlp_out"], axis=-1)), rtol=1e-5)
    before, within, queries, words = 0, 0, 0, 0
    for row, pos in zip(*np.nonzero(where), strict=True):
        pattern = np.asarray(acts["pattern"][:, row, :, pos])
        if pos >= 2:
            before, queries = before + pattern[..., max(1, pos - 5) : pos].sum(-1), queries + 1
        begin = max([p for p in range(pos + 1) if starts[TOKENS[row, p]]], default=0)
        ends = starts[TOKENS[row, pos + 1]] or not MASK[row, pos + 1]
        if ends and begin < pos:
            within, words = within + pattern[..., begin:pos].sum(-1), words + 1
    np.testing.assert_allclose(found.previous, before / queries, atol=1e-5)
    np.testing.assert_allclose(found.joined, within / words, atol=1e-5)
    assert found.words == words > 0
    np.testing.assert_allclose(np.diag(found.cka), 1)
    turned = np.stack([np.roll(x, 9 - n) for x, n in zip(TOKENS, MASK.sum(1), strict=True)])
    left = ji.corpus.as_corpus(turned, mask=np.arange(9) >= 9 - MASK.sum(1)[:, None])
    other = ji.neurons.stages(model, left, starts=starts, batch_size=3, progress=False)
    for name in ("lens_kl", "previous", "joined", "attn_norm", "prediction"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name), atol=1e-5)
    assert len(found.records()) == 3 and "lens entropy" in found.figure().html


def test_a_head_that_reads_the_token_before() -> None:
    planted = ji.toy.planted_induction(vocab=12, ctx=16)
    tokens = np.random.default_rng(1).integers(0, 12, (3, 12))
    found = ji.neurons.stages(planted.model, tokens, progress=False)
    np.testing.assert_allclose(found.previous[planted.previous], 1, atol=1e-4)
    assert found.prediction is None and found.joined is None and (found.mlp_norm == 0).all()


def test_hsic_of_batches() -> None:
    """The estimate is the mean over subsets, and is the same as the biased one of centred points for many points."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 3))
    y = x @ rng.normal(size=(3, 5)) + 0.5 * rng.normal(size=(40, 5))
    grams = [jnp.asarray(each @ each.T, jnp.float32)[None] for each in (x, y)]
    counted = jnp.asarray(np.arange(40) < 37)
    got = jax.jit(unbiased_hsic)(*grams, counted)
    a, b = (np.asarray(g[0], np.float64)[:37, :37] for g in grams)
    np.fill_diagonal(a, 0), np.fill_diagonal(b, 0)
    n = 37
    want = (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a.sum(0) * b.sum(0)).sum() / (n - 2)
    np.testing.assert_allclose(got, want / (n * (n - 3)), rtol=1e-5)
    whole = np.linalg.norm((x - x.mean(0)).T @ (y - y.mean(0))) ** 2 / 39**2
    many = jax.jit(unbiased_hsic)(*grams, jnp.ones(40, bool))
    assert abs(float(many[0, 0]) - whole) < 0.2 * whole


def test_words_and_bad_input() -> None:
    _, tokenizer = ji.load("tiny")
    starts = ji.neurons.word_starts(tokenizer)
    ids = tokenizer(" unbelievably walked")
    assert starts[int(ids[0])] and not starts[np.asarray(ids)].all() and len(starts) == 3072
    model: Any = model_of("gpt2")
    few = ji.neurons.stages(model, TOKENS[:1, :4], starts=np.ones(40, bool))
    assert (
        np.isnan(few.cka).all() and few.words == 0 and few.joined is not None and np.isnan(few.joined).all()
    )
    assert "within words" not in few.figure().html and np.isfinite(few.previous).all()
    with pytest.raises(ValueError, match="word_starts"):
        ji.neurons.stages(model, TOKENS, starts=np.ones(41, bool))
    with pytest.raises(ValueError, match="Nothing counts"):
        ji.neurons.stages(model, TOKENS[:, :2])
