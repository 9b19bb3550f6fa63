"""Masks are of real tokens, positions are what counts, and nothing is guessed from values."""

from typing import Any

import numpy as np
import pytest

from jaxinterp.corpus import as_corpus


@pytest.mark.quick
def test_positions_as_bools_ints_slices_and_columns(padded: Any) -> None:
    tokens, mask = padded
    lengths = mask.sum(1)
    counted = lambda positions: np.asarray(as_corpus(tokens, mask=mask, positions=positions).positions)
    np.testing.assert_array_equal(as_corpus(tokens, mask=mask).positions, mask)
    np.testing.assert_array_equal(counted(slice(1, None)), mask & (np.arange(6) > 0))
    last = np.zeros_like(mask)
    last[np.arange(7), lengths - 1] = True
    for same in (-1, [-1], slice(-1, None), (lengths - 1)[:, None]):
        np.testing.assert_array_equal(counted(same), last)
    np.testing.assert_array_equal(counted(np.arange(6) == 0), mask & (np.arange(6) == 0))
    # Padding on the left: numbers are those of real tokens, wherever these stand.
    left = as_corpus(tokens, mask=mask[:, ::-1], positions=slice(1, None))
    np.testing.assert_array_equal(left.positions.sum(1), lengths - 1)
    assert not left.positions[np.arange(7), 6 - lengths].any()


def test_a_corpus_is_taken_as_it_is_and_hashed_by_its_content(padded: Any, tmp_path: Any) -> None:
    tokens, mask = padded
    corpus = as_corpus(tokens, mask=mask)
    assert as_corpus(corpus) is corpus and len(corpus) == 7
    assert corpus.content_hash == as_corpus(tokens.copy(), mask=mask.copy()).content_hash
    others = as_corpus(tokens + 1, mask=mask), as_corpus(tokens), as_corpus(corpus, positions=-1)
    assert len({corpus.content_hash, *(other.content_hash for other in others)}) == 4
    assert corpus.document[1].tolist() == [1, 1, 1, -1, -1, -1] and corpus.labels.tolist() == [None] * 7
    assert as_corpus((tokens, mask)).content_hash == corpus.content_hash
    np.save(tmp_path / "ids.npy", tokens)
    stored = as_corpus(np.load(tmp_path / "ids.npy", mmap_mode="r"), positions=np.arange(6) > 0)
    np.testing.assert_array_equal(stored.tokens[np.asarray([2, 0])], tokens[[2, 0]])
    assert stored.positions.sum() == 35 and "7 rows of 6" in repr(stored)


def test_what_is_no_padding_is_refused_with_the_call_for_positions(padded: Any) -> None:
    tokens, mask = padded
    holes = mask.copy()
    holes[3, 2] = False
    for wrong in (holes, np.ones_like(mask) & (np.arange(6) > 0)):
        with pytest.raises(ValueError, match="positions=chosen"):
            as_corpus(tokens, mask=wrong)
    for options, words in (
        ({"mask": mask, "positions": np.ones_like(mask)}, "selects padding"),
        ({"positions": np.zeros_like(mask)}, "selects no token"),
        ({"positions": mask[:, :3]}, "shape of the tokens"),
        ({"positions": 0.5}, "slice"),
        ({"mask": mask[:2]}, "shape of the tokens"),
    ):
        with pytest.raises(ValueError, match=words):
            as_corpus(tokens, **options)
    with pytest.raises(IndexError, match="the shortest has 1"):
        as_corpus(tokens, mask=mask, positions=[1])
    with pytest.raises(ValueError, match="int ids"):
        as_corpus(tokens.astype(np.float32))
    with pytest.raises(ValueError, match="has its own mask"):
        as_corpus(as_corpus(tokens), mask=mask)
