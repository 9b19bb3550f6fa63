"""Streams: every batch by its number, contexts mixed, and no row twice in an epoch."""

from typing import Any

import numpy as np
import pytest

from jaxinterp import data


@pytest.fixture
def made(model: Any) -> Any:
    tokens = np.random.default_rng(0).integers(1, 40, (13, 6), dtype=np.int32)
    mask = np.random.default_rng(1).random(tokens.shape) > 0.3
    mask[5] = False
    options: Any = {"mask": mask, "real": np.ones_like(mask), "batch": 7, "buffer": 4, "passes": 4}
    rows = data.activations(
        model, tokens, "resid_post[1]", mask=mask, real=options["real"], progress=False
    )
    return tokens, options, rows


def test_an_epoch_holds_rows_of_the_activations_once(model: Any, made: Any) -> None:
    tokens, options, rows = made
    stream = data.stream(model, tokens, site="resid_post[1]", seed=3, **options)
    stream.batch(0)
    count = int(stream._ends[0][-1])
    epoch = np.concatenate([stream.batch(i) for i in range(count)])
    near = np.abs(epoch[:, None] - rows[None]).max(-1)
    at = near.argmin(1)
    assert near.min(1).max() < 1e-5 and len(np.unique(at)) == len(at) == 7 * count
    # Rows of one context do not follow each other.
    assert (np.abs(np.diff(at)) > 1).mean() > 0.5
    again = data.stream(model, tokens, site="resid_post[1]", seed=3, **options)
    for number in (count + 1, 0, count - 1):
        np.testing.assert_array_equal(again.batch(number), stream.batch(number))
    assert not np.array_equal(stream.batch(count), stream.batch(0))


def test_pairs_and_stacks_of_sites(model: Any, made: Any) -> None:
    tokens, options, _ = made
    pair = data.stream(model, tokens, site=["ln2_out[1]", "mlp_out[1]"], **options).batch(1)
    stack = data.stream(model, tokens, site="mlp_out", **options).batch(1)
    assert isinstance(pair, tuple) and pair[0].shape == pair[1].shape
    np.testing.assert_allclose(stack[:, 1], pair[1], atol=1e-6)


def test_requests_that_cannot_be(model: Any, made: Any) -> None:
    tokens, options, _ = made
    for change, words in (
        ({"batch": 1000}, "cannot be drawn"),
        ({"batch": 0}, "at least 1"),
        ({"seed": -1}, "A seed"),
        ({"buffer": 1, "batch": 40}, "No pool"),
    ):
        with pytest.raises(ValueError, match=words):
            data.stream(model, tokens, site="mlp_out[0]", **{**options, **change}).batch(0)
