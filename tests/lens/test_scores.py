"""Scores of Patchscopes, captions and maps, each beside its definition by hand."""

import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of


def test_next_tokens_and_attributes() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(5, 7))
    logits = np.stack([own, -own])
    found = ji.lens.next_token_scores(logits, own)
    np.testing.assert_array_equal(found.precision, [1, 0])
    p = np.exp(own) / np.exp(own).sum(-1, keepdims=True)
    np.testing.assert_allclose(found.surprisal[0], -np.log(p.max(-1)).mean(), atol=1e-6)
    assert (found.surprisal_low < found.surprisal_high).all() and len(found.records()) == 2
    assert np.isnan(ji.lens.next_token_scores(logits[:, :1], own[:1]).surprisal_low).all()
    with pytest.raises(ValueError, match="own is"):
        ji.lens.next_token_scores(own[0], own[0])
    # Two source layers, three target layers: the first tells it in one target layer for half of the prompts.
    pairs = np.zeros((2, 3, 4, 7))
    pairs[0, 2, :2, 5] = 1
    np.testing.assert_allclose(ji.lens.attribute_accuracy(pairs, [5, 5, 5, 5]), [0.5, 0])
    np.testing.assert_allclose(
        ji.lens.attribute_accuracy(pairs, [[5, -1], [5, 6], [5, 0], [5, 6]]), [0.75, 0.25]
    )
    tokens = np.where(pairs[..., :2].astype(int) == 0, 3, 3)
    tokens[1, 0, :, 1] = 6
    np.testing.assert_allclose(ji.lens.attribute_accuracy(tokens, [6, 6, 6, 2]), [0, 0.75])
    for wrong in ((pairs[0], [5] * 4), (pairs, [5] * 3), (pairs, [5.0] * 4)):
        with pytest.raises(ValueError):
            ji.lens.attribute_accuracy(*wrong)


def test_two_hops_of_a_prompt_into_itself() -> None:
    model = model_of("gpt2")
    ids = np.random.default_rng(0).integers(0, 40, (3, 5))
    own = np.asarray(ji.run(model, ids, logits=-1)[0])
    answers = own.argmax(-1)
    found = ji.lens.multi_hop(model, ids, ids, answers)
    assert found.baseline == 1 and found.best == 1 and found.accuracy.shape == (3, 3)
    np.testing.assert_array_equal(np.diag(found.accuracy), 1)
    assert len(found.records()) == 9 and found.figure().html
    other = ji.lens.multi_hop(model, ids, ids, (answers + 1) % 40, whole=ids[:, ::-1])
    assert (np.diag(other.accuracy) == 0).all() and other.baseline <= 1
    with pytest.raises(ValueError, match="an answer"):
        ji.lens.multi_hop(model, ids[0], ids[0], answers[:1])


def test_captions_and_maps() -> None:
    found = ji.lens.chair([["cat", "dog"], ["car"]], [{"cat"}, {"car", "tree"}])
    assert (found.sentence, found.instance, found.recall) == (0.5, 1 / 3, 2 / 3)
    same = ji.lens.chair([["a"]], [["a"]])
    assert (same.sentence, same.instance, same.recall) == (0, 0, 1)
    assert np.isnan(ji.lens.chair([[]], [["a"]]).instance)
    masks = np.array([[[True, False], [True, False]], [[False, False], [False, False]]])
    maps = np.array([[[0.9, 0.8], [0.1, 0.0]], [[0.0, 0.1], [0.0, 0.0]]])
    assert ji.lens.mean_iou(maps, masks, threshold=0.5) == pytest.approx((1 / 3 + 1) / 2)
    assert ji.lens.mean_iou(masks.astype(float), masks, threshold=0.5) == 1
    for call in (
        lambda: ji.lens.chair(["cat"], [["cat"]]),
        lambda: ji.lens.chair([["cat"]], []),
        lambda: ji.lens.mean_iou(maps, maps, threshold=0.5),
    ):
        with pytest.raises(ValueError):
            call()


def test_nan_is_no_answer() -> None:
    """The largest entry of NaN is the first, so that all of these were right, or wrong, without a word."""
    nan, zeros = np.full((2, 3), np.nan), np.zeros((2, 3))
    found, model = np.zeros((2, 2, 1, 5)), model_of("gpt2")
    prompts = np.array([[3, 1, 4]])
    for words, call in (
        ("logits has no NaN", lambda: ji.lens.next_token_scores(nan, zeros)),
        ("own has no NaN", lambda: ji.lens.next_token_scores(zeros, nan)),
        ("found has no NaN", lambda: ji.lens.attribute_accuracy(found * np.nan, [0])),
        ("token ids below 5", lambda: ji.lens.attribute_accuracy(found, [5])),
        ("one at least for each prompt", lambda: ji.lens.attribute_accuracy(found, [[-1, -1]])),
        ("answers are token ids", lambda: ji.lens.multi_hop(model, prompts, prompts, [1.5])),
        ("answers are token ids", lambda: ji.lens.multi_hop(model, prompts, prompts, [99])),
        ("not NaN", lambda: ji.lens.mean_iou(nan, zeros > 0, threshold=0.5)),
        ("not NaN", lambda: ji.lens.mean_iou(zeros, zeros > 0, threshold=np.nan)),
        (
            "finite",
            lambda: ji.lens.stimulus_response(model, prompts, np.full((1, model.config.d), np.nan), row=1),
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    broken = np.array([[[0.0, np.nan, 1.0]], [[0.0, 1.0, 2.0]]])
    for metric in (ji.metrics.accuracy(2), ji.metrics.accuracy(2, 0)):
        np.testing.assert_array_equal(metric(broken), [np.nan, 1])


def test_accuracy_and_sharpness() -> None:
    logits = np.log(np.array([[[0.1, 0.2, 0.3, 0.4]], [[0.4, 0.3, 0.2, 0.1]]]))
    m = ji.metrics
    np.testing.assert_array_equal(m.accuracy([3, 3])(logits), [1, 0])
    np.testing.assert_array_equal(m.accuracy([[3, 0], [3, 0]])(logits), [1, 1])
    np.testing.assert_array_equal(m.accuracy([2, 2], [0, 1])(logits), [1, 0])
    np.testing.assert_allclose(m.accuracy(3, pos=[0, 0])(logits), [1, 0])
    # Years 0..3 with YY = 2: 3 is the next, 1 the one before.
    np.testing.assert_allclose(
        m.sharpness([[3, -1], [3, -1]], [[0, 1, 2], [0, 1, 2]])(logits), [0.2, -0.2], atol=1e-6
    )
    with pytest.raises(ValueError, match="rising order"):
        m.sharpness([3], [0])
