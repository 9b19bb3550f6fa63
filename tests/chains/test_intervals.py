"""Intervals of chains of reasoning: mean scores over tasks, and where writers read."""

from typing import Any

import jax
import numpy as np
from scipy import stats

import jaxinterp as ji


def test_mean_scores_over_tasks() -> None:
    rng = np.random.default_rng(0)
    sizes = [5, 5, 4, 1]
    each = [0.2 + rng.normal(size=(n, 3, 2)) for n in sizes]
    score = np.stack([x.mean(0) for x in each])

    def heads(*tasks: int) -> Any:
        chosen = score[list(tasks)]
        return ji.chains.TaskHeads(
            [str(t) for t in tasks], chosen, chosen, chosen, chosen[:, 0, 0], [each[t] for t in tasks]
        )

    # The same number of prompts: questions are the sample, each with the mean over its tasks.
    paired = heads(0, 1).mean()
    want = ji.stats.mean_interval(np.moveaxis((each[0] + each[1]) / 2, 0, -1))
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(getattr(paired, name), getattr(want, name), atol=1e-5)
    # The same prompts twice tell no more than once, and other prompts of their own tell more.
    twice = heads(0, 0).mean()
    alone = heads(0).mean()
    np.testing.assert_allclose([twice.low, twice.high], [alone.low, alone.high])
    apart = heads(0, 2).mean(level=0.9)
    half = [ji.stats.mean_interval(np.moveaxis(each[t], 0, -1)) for t in (0, 2)]
    errors = [(x.high - x.mean) / stats.t.ppf(0.975, n - 1) for x, n in zip(half, (5, 4), strict=True)]
    np.testing.assert_allclose(
        apart.high - apart.mean, stats.t.ppf(0.95, 3) * np.hypot(*errors) / 2, rtol=1e-5
    )
    for found in (paired, twice, apart):
        assert (found.low < found.mean).all() and (found.mean < found.high).all()
    for one in (heads(3), heads(0, 3)):
        assert np.isnan(one.mean().low).all() and np.isfinite(one.mean().mean).all()


def test_scores_and_sources_of_the_planted_chain() -> None:
    planted = ji.toy.planted_chain()
    pairs = planted.prompts(6, key=jax.random.key(0))
    # Where there is one task, its interval is the mean's.
    found = ji.chains.task_heads(planted.model, pairs, method="attribution")
    np.testing.assert_allclose(found.mean().low, found.low[0])
    np.testing.assert_allclose(np.mean(found.by_prompt[0], 0), found.score[0])
    writers = ji.chains.answer_writers(planted.model, pairs)
    for by in ("attention", "alti"):
        read = ji.chains.trace_sources(planted.model, pairs, writers, by=by)
        assert read.answer_low <= read.answer + 1e-6 and read.answer <= read.answer_high + 1e-6
        assert (read.low <= read.share + 1e-6).all() and (read.share <= read.high + 1e-6).all()
        assert (read.main_low <= read.main).all() and (read.main <= read.main_high).all()
        assert read.main_low[2] > 0.6 and read.records()[2]["main_high"] == 1
        one = ji.chains.trace_sources(
            planted.model, pairs[:1], ji.chains.answer_writers(planted.model, pairs[:1]), by=by
        )
        assert one.prompts == 1 and np.isfinite(one.answer)
        assert np.isnan([*one.low, *one.high, one.answer_low, one.answer_high]).all()
