"""Streams: every batch by its number, contexts mixed, and no row twice in an epoch."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import data

pytestmark = pytest.mark.wide


@pytest.fixture
def made(model: Any) -> Any:
    tokens = np.random.default_rng(0).integers(1, 40, (13, 6), dtype=np.int32)
    mask = np.random.default_rng(1).random(tokens.shape) > 0.3
    mask[5] = False
    options: Any = {"positions": mask, "batch_size": 7, "buffer": 4, "passes": 4}
    rows = data.activations(model, tokens, "resid_post[1]", positions=mask, progress=False)
    return tokens, options, rows


@pytest.mark.quick
def test_an_epoch_holds_rows_of_the_activations_once(model: Any, made: Any) -> None:
    tokens, options, rows = made
    stream = data.stream(model, tokens, site="resid_post[1]", key=jax.random.key(3), **options)
    stream.batch(0)
    count = int(stream.pools.ends[0][-1])
    epoch = np.concatenate([stream.batch(i) for i in range(count)])
    near = np.abs(epoch[:, None] - rows[None]).max(-1)
    at = near.argmin(1)
    assert near.min(1).max() < 1e-5 and len(np.unique(at)) == len(at) == 7 * count
    # Rows of one context do not follow each other.
    assert (np.abs(np.diff(at)) > 1).mean() > 0.5
    again = data.stream(model, tokens, site="resid_post[1]", key=jax.random.key(3), **options)
    for number in (count + 1, 0, count - 1):
        np.testing.assert_array_equal(again.batch(number), stream.batch(number))
    assert not np.array_equal(stream.batch(count), stream.batch(0))


def test_pairs_and_stacks_of_sites(model: Any, made: Any) -> None:
    tokens, options, _ = made
    pair = data.stream(model, tokens, site=["ln2_out[1]", "mlp_out[1]"], **options).batch(1)
    stack = data.stream(model, tokens, site="mlp_out", **options).batch(1)
    assert isinstance(pair, tuple) and pair[0].shape == pair[1].shape
    np.testing.assert_allclose(stack[:, 1], pair[1], atol=1e-6)


@pytest.mark.parametrize("site", ["resid_post[1]", "mlp_out"])
def test_what_fits_in_memory_is_read_once(model: Any, made: Any, site: str) -> None:
    tokens, options, rows = made
    layers = 1 if "[" in site else model.config.layers
    size = len(rows) * rows.shape[-1] * layers * 4
    runs: dict[int, list[int]] = {}

    def counted(max_bytes: int) -> Any:
        stream = data.stream(model, tokens, site=site, key=jax.random.key(3), max_bytes=max_bytes, **options)
        run, seen = stream._run, runs.setdefault(max_bytes, [])
        stream._run = lambda contexts: seen.append(len(contexts)) or run(contexts)
        return stream

    held, anew = counted(size), counted(size - 1)
    numbers = range(20)
    for number in numbers:
        # The same rows in the same places; of another pass, to rounding.
        np.testing.assert_allclose(held.batch(number), anew.batch(number), atol=1e-5)
    assert runs[size] == [12] and len(runs[size - 1]) >= 8
    # Whatever is asked for first, to the bit.
    again = counted(size)
    np.testing.assert_array_equal(again.batch(19), held.batch(19))
    np.testing.assert_array_equal(again.batch(0), held.batch(0))


@pytest.mark.parametrize("max_bytes", [0, 2**30])
def test_a_choice_of_tokens_is_no_padding_in_any_pool(model: Any, max_bytes: int) -> None:
    tokens = np.random.default_rng(0).integers(0, model.config.vocab, (6, 6), dtype=np.int32)
    mask = np.ones((6, 6), bool)
    mask[0, :2] = mask[1, :1] = mask[4, :3] = False  # alone, these would be padding on the left
    for chosen in (False, [True, False, True, True, True, True]):
        mask[2] = chosen
        rows = data.activations(model, tokens, "resid_post[1]", positions=mask, progress=False)
        stream = data.stream(
            model, tokens, site="resid_post[1]", positions=mask, batch_size=1, buffer=2, max_bytes=max_bytes
        )
        epoch = np.concatenate([stream.batch(i) for i in range(len(rows))])
        assert np.abs(epoch[:, None] - rows[None]).max(-1).min(1).max() < 1e-5


@pytest.mark.slow
def test_a_stream_says_what_it_is_of(model: Any, made: Any, tmp_path: Any) -> None:
    tokens, options, _ = made
    said = lambda **more: data.stream(
        model, more.pop("tokens", tokens), site="mlp_out[0]", **{**options, **more}
    ).described()
    other = tokens.copy()
    other[-1, -1] += 1
    fewer = options["positions"].copy()
    fewer[np.nonzero(fewer)[0][0], np.nonzero(fewer)[1][0]] = False
    changes: dict[str, Any] = {
        "tokens": other,
        "positions": fewer,
        "key": jax.random.key(1),
        "batch_size": 6,
        "buffer": 3,
    }
    plain = said()
    assert said(max_bytes=0) == plain
    for name, value in changes.items():
        differs = {n for n, v in said(**{name: value}).items() if v != plain[n]}
        assert differs == {name}
    # Of ids in a mapped file too, without reading all of it.
    np.save(tmp_path / "ids.npy", tokens)
    ids = np.load(tmp_path / "ids.npy", mmap_mode="r")
    row = np.arange(6) > 0
    mapped = data.stream(model, ids, site="mlp_out[0]", positions=row, batch_size=7)
    assert (
        mapped.described()
        == data.stream(model, ids, site="mlp_out[0]", positions=row, batch_size=7).described()
    )
    assert mapped.batch(3).shape == (7, model.config.d)


def test_requests_that_cannot_be(model: Any, made: Any) -> None:
    tokens, options, _ = made
    for change, words in (
        ({"batch_size": 1000}, "cannot be drawn"),
        ({"batch_size": 0}, "at least 1"),
        ({"key": -1}, "Randomness comes from a key"),
        ({"max_bytes": -1}, "max_bytes is an int"),
        ({"buffer": 1, "batch_size": 40}, "No pool"),
    ):
        with pytest.raises(ValueError, match=words):
            data.stream(model, tokens, site="mlp_out[0]", **{**options, **change}).batch(0)
