"""Chains of reasoning: two planted hops exactly, and each measure beside runs by hand."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, model_of

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def planted() -> Any:
    return ji.toy.planted_chain()


@pytest.fixture(scope="module")
def pairs(planted: Any) -> Any:
    return planted.prompts(6, key=KEY)


def padded(pairs: Any, side: str, by: int = 3) -> Any:
    """The same prompts with padding on a side."""
    wide = ((0, 0), (by, 0) if side == "left" else (0, by))
    moved = by if side == "left" else 0
    return dataclasses.replace(
        pairs,
        clean=np.pad(pairs.clean, wide, constant_values=1),
        corrupt=np.pad(pairs.corrupt, wide, constant_values=1),
        mask=np.pad(pairs.mask, wide),
        positions={name: value + moved for name, value in pairs.positions.items()},
    )


def nats(p: np.ndarray, q: np.ndarray) -> float:
    p, q = (x - np.log(np.exp(x).sum()) for x in (p, q))
    return float((np.exp(p) * (p - q)).sum())


@pytest.mark.quick
def test_two_planted_heads_write_the_answer_and_either_is_enough(planted: Any, pairs: Any) -> None:
    rows = np.arange(6)

    def read(*edits: Any) -> np.ndarray:
        logits = np.asarray(ji.run(planted.model, pairs.clean, edits=list(edits), logits=-1)[0])
        return logits[rows, pairs.correct], logits[rows, pairs.wrong], logits.argmax(1)

    for cut, left in (((), 6), ((0,), 3), ((1,), 3), ((0, 1), 0)):
        right, wrong, best = read(*(ji.zero("z", layer=2, head=h) for h in cut))
        np.testing.assert_allclose([right, wrong], [[left] * 6, [0] * 6], atol=2e-3)
        assert (best == pairs.correct).all() == bool(left)
    with pytest.raises(ValueError, match="at most 12"):
        ji.toy.planted_chain(names=13)


def test_task_heads_of_the_planted_chain(planted: Any, pairs: Any) -> None:
    found = ji.chains.task_heads(planted.model, pairs, progress=False)
    zero = np.zeros(len(planted.tokens))
    right, wrong, both = (zero + np.isin(np.arange(len(zero)), ids) * 3 for ids in ([3], [4], [3, 4]))
    noise, left = nats(2 * right, 2 * wrong), nats(2 * right, both)
    expected = np.zeros((1, 3, 2))
    expected[0, 2] = 1 - left / noise
    np.testing.assert_allclose(found.score, expected, atol=2e-3)
    np.testing.assert_allclose(found.kl, [noise], rtol=2e-3)
    assert found.tasks == ["planted chain"] and {tuple(head) for head in found.order()[:2]} == {
        (2, 0),
        (2, 1),
    }
    assert (found.low <= found.score).all() and (found.score <= found.high).all()
    assert len(found.records()) == 6 and "score" in found.figure().html
    same = ji.chains.task_heads(planted.model, {"x": padded(pairs, "left")}, progress=False)
    np.testing.assert_allclose(same.score, found.score, atol=1e-4)
    first_order = ji.chains.task_heads(planted.model, pairs, method="attribution")
    assert {tuple(head) for head in first_order.order()[:2]} == {(2, 0), (2, 1)}
    alone = ji.chains.task_heads(planted.model, pairs[:1], method="attribution")
    assert np.isnan(alone.low).all() and np.isfinite(alone.score).all()
    with pytest.raises(ValueError, match="nothing to restore"):
        ji.chains.task_heads(planted.model, dataclasses.replace(pairs, corrupt=pairs.clean))
    with pytest.raises(ValueError, match="Tasks are pairs"):
        ji.chains.task_heads(planted.model, [pairs])


def test_knock_out_of_all_but_a_few_heads(planted: Any, pairs: Any) -> None:
    order = [(2, 0), (2, 1), (1, 0), (1, 1), (0, 0), (0, 1)]
    found = ji.chains.knock_out(planted.model, pairs, order, counts=(0, 2, 6), key=KEY, orders=2)
    np.testing.assert_array_equal(found.accuracy, [[0, 1, 1]])
    np.testing.assert_array_equal(found.first, [[0, 1, 1]])
    np.testing.assert_array_equal(found.random[:, [0, 2]], [[0, 1]])
    rows = found.records()
    assert found.full.tolist() == [1] and rows[1]["heads"] == 2 and found.figure().html
    assert rows[0]["low"] == 0 < rows[0]["high"] < rows[1]["low"] < rows[1]["high"] == 1
    for side in ("left", "right"):
        same = ji.chains.knock_out(planted.model, padded(pairs, side), order, counts=(0, 2))
        np.testing.assert_array_equal(same.accuracy, [[0, 1]])
        assert same.random is None
    for heads, counts, why in (
        ([(3, 0)], None, "different ones"),
        ([(0, 0), (0, 0)], None, "different ones"),
        ([0, 1], None, "pairs"),
        (order, (2, 1), "counts rise"),
        (order, (7,), "counts rise"),
    ):
        with pytest.raises(ValueError, match=why):
            ji.chains.knock_out(planted.model, pairs, heads, counts=counts)


def test_writers_and_their_sources_are_the_planted_ones(planted: Any, pairs: Any) -> None:
    for these in (pairs, padded(pairs, "left"), padded(pairs, "right")):
        writers = ji.chains.answer_writers(planted.model, these)
        share = np.zeros((1, 3, 2))
        share[0, 2] = 1
        np.testing.assert_array_equal(writers.share, share)
        np.testing.assert_array_equal(writers.wrong, 0 * share)
        assert sorted(map(tuple, writers.heads())) == [(2, 0), (2, 1)] and writers.first.tolist() == [2]
        rows = writers.records()
        assert writers.count.tolist() == [[0, 0, 2]] and len(rows) == 6 and writers.figure().html
        assert all(row["low"] <= row["share"] <= row["high"] for row in rows) and rows[0]["high"] < 1
        for by in ("attention", "alti"):
            found = ji.chains.trace_sources(planted.model, these, writers, by=by)
            assert found.segments == ["first token", "examples", "question", "answer so far"]
            np.testing.assert_allclose(found.share, [0, 0, 0.5, 0.5], atol=1e-3)
            np.testing.assert_allclose(found.chance, np.array([1, 0, 13, 7]) / 21, atol=1e-6)
            np.testing.assert_allclose(found.pathways, [0, 0, 1, 0])
            assert found.main.tolist() == [0, 0, 1, 1] and found.prompts == 6
            assert (
                found.answer > (0.99 if by == "attention" else 0.4)
                and abs(found.answer_chance - 2 / 21) < 1e-6
            )
    assert len(found.records()) == 4 and found.figure().html
    none = dataclasses.replace(writers, writing=[0 * each for each in writers.writing])
    none = dataclasses.replace(none, writing=[each.astype(bool) for each in none.writing])
    empty = ji.chains.trace_sources(planted.model, these, none)
    assert empty.prompts == 0 and np.isnan(empty.share).all() and empty.pathways.tolist() == [1, 0, 0, 0]
    half = np.arange(these.clean.shape[1])[None] < 5
    mine = {
        "early": np.broadcast_to(half, these.clean.shape),
        "late": np.broadcast_to(~half, these.clean.shape),
    }
    own = ji.chains.trace_sources(planted.model, these, writers, segments=mine)
    np.testing.assert_allclose(own.share.sum(), 1, atol=1e-5)
    for segments, why in (
        ({"a": half}, "masks of bools"),
        ({"a": mine["late"], "b": mine["late"]}, "disjoint"),
    ):
        with pytest.raises(ValueError, match=why):
            ji.chains.trace_sources(planted.model, these, writers, segments=segments)
    with pytest.raises(ValueError, match="same pairs"):
        ji.chains.trace_sources(planted.model, these[:2], writers)


@pytest.mark.parametrize("family", families("llama"))
def test_contributions_are_those_of_the_sum(family: str) -> None:
    model = model_of(family)
    ids = np.random.default_rng(0).integers(0, 40, (2, 5))
    found = np.asarray(ji.heads.contributions(model, ids))
    _, acts = ji.run(model, ids, capture=["pattern", "v", "resid_pre", "attn_out"])
    acts = {name: np.asarray(acts[name], np.float64) for name in ("pattern", "v", "resid_pre", "attn_out")}
    w_o = np.asarray(model.blocks.attn.w_o, np.float64)
    v = np.repeat(acts["v"], w_o.shape[1] // acts["v"].shape[-2], -2)
    parts = np.einsum("lbhqp,lbphk,lhkd->lbqpd", acts["pattern"], v, w_o)
    parts += np.eye(5)[..., None] * acts["resid_pre"][:, :, :, None]
    whole = acts["resid_pre"] + acts["attn_out"]
    near = np.abs(whole).sum(-1)[..., None] - np.abs(whole[..., None, :] - parts).sum(-1)
    near = np.maximum(near, 0)
    np.testing.assert_allclose(found, near / near.sum(-1, keepdims=True), atol=1e-4)
    rolled = np.asarray(ji.heads.rollout(found))
    np.testing.assert_allclose(rolled[2], found[2] @ found[1] @ found[0], atol=1e-5)
    np.testing.assert_allclose(rolled.sum(-1), 1, atol=1e-5)
    for side in (0, 2):
        wide = np.pad(ids, ((0, 0), (side, 2 - side)), constant_values=7)
        mask = np.pad(np.ones(ids.shape, bool), ((0, 0), (side, 2 - side)))
        same = np.asarray(ji.heads.contributions(model, wide, mask=mask))
        np.testing.assert_allclose(same[:, :, side : side + 5, side : side + 5], found, atol=1e-5)
        np.testing.assert_allclose(same.sum(-1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="layer"):
        ji.heads.rollout(np.ones((2, 3)))


@pytest.mark.slow
def test_probes_read_what_is_there(planted: Any) -> None:
    pairs = planted.prompts(60, key=KEY)
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(60), 6)
    first, second = rng.integers(1, 13, (2, 360))
    # The first token tells the label: at each layer, since the stream keeps it.
    label = pairs.clean[prompt, first] % 3
    entities = ji.chains.EntityPairs(prompt, first, second, label)
    settings = ji.probes.TrainSettings(epochs=60, batch_size=8)
    found = ji.chains.mixing_probes(planted.model, pairs, entities, key=KEY, hidden=16, settings=settings)
    assert found.accuracy.shape == (2, 4) and (found.accuracy[0] > 0.95).all()
    assert (found.shuffled < 0.65).all() and found.chance < 0.65
    assert (found.low <= found.high).all() and len(found.records()) == 8 and found.figure().html
    writers = ji.chains.answer_writers(planted.model, pairs)
    rift = ji.chains.functional_rift(found, writers)
    assert rift.layers == 3 and rift.first_writing == 2 and rift.half_writing == 2 and rift.late == 1
    assert len(rift.records()) == 4 and rift.figure().html and rift.probe_gain > 0.3
    with pytest.raises(ValueError, match="one model"):
        ji.chains.functional_rift(found, dataclasses.replace(writers, count=np.zeros((1, 5))))
    for bad, options, why in (
        (dataclasses.replace(entities, first=first + 30), {}, "real ones"),
        (dataclasses.replace(entities, label=0 * label), {}, "two relations"),
        (entities, {"held_out": 0.0}, "held out"),
    ):
        with pytest.raises(ValueError, match=why):
            ji.chains.mixing_probes(planted.model, pairs, bad, key=KEY, **options)


@pytest.mark.quick
def test_entity_pairs_follow_the_facts() -> None:
    from tests.tasks.test_ontology import VOCAB

    pairs = ji.tasks.ontology(VOCAB, 5, key=KEY, subtask=0, shots=0)
    found = ji.chains.entity_pairs(pairs, key=KEY)
    assert np.bincount(found.label).tolist() == [20, 20, 20]
    for row in found.records():
        facts = pairs.texts[row["prompt"]].split("Question")[0]
        a, b = (VOCAB.tokens([pairs.clean[row["prompt"], row[at]]])[0].strip() for at in ("first", "second"))
        told = [f"{word} {x} is a {y}." in facts for word in ("Every", "No") for x, y in ((a, b), (b, a))]
        assert row["relation"] == (
            "positive" if any(told[:2]) else "negative" if any(told[2:]) else "unrelated"
        )
    with pytest.raises(ValueError, match="ontology"):
        ji.chains.entity_pairs(ji.toy.planted_chain().prompts(2, key=KEY), key=KEY)
