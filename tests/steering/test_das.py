"""Interchanges on subspaces and their search: laws, a planted truth, pyvene, and what bad input is told."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import steering
from jaxinterp.steering import Interchanges, SubspaceSettings
from jaxinterp.steering._frames import boundary_weights, frame, hard_weights
from tests.models import FAMILIES, families, model_of

TOKENS = np.array([[3, 1, 4, 1, 5, 0], [9, 2, 6, 12, 0, 7], [8, 8, 2, 1, 30, 4]])
OTHER = TOKENS[:, ::-1].copy()
LEFT = np.array([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def planted():
    return ji.toy.planted_subspace(key=KEY)


@pytest.fixture(scope="module")
def swaps(planted):
    return Interchanges(planted.base, planted.source, planted.answer, np.arange(25))


@pytest.fixture(scope="module")
def found(planted, swaps):
    return steering.das(KEY, planted.model, swaps, dim=2, positions=[-1, 0])


def cosines(a, b):
    """Of the principal angles of two subspaces, given by orthonormal rows."""
    return np.linalg.svd(a @ b.T)[1]


def test_frames_are_orthonormal_with_a_gradient():
    for k, d in ((1, 5), (3, 8), (8, 8)):
        rows = frame(jax.random.normal(jax.random.key(k), (k, d)))
        np.testing.assert_allclose(rows @ rows.T, np.eye(k), atol=1e-5)
    slope = jax.grad(lambda v: frame(v)[0, 0])(jax.random.normal(KEY, (8, 8)))
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_an_interchange_moves_its_subspace_alone(name):
    """Laws: the source's coordinates along the rows, the base's elsewhere; another basis of the span gives the same;
    k = d is the patch of the site; on the left and the right of padding."""
    model = model_of(name)
    d, rng = model.config.d, np.random.default_rng(0)
    whole = np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
    rows, turn = whole[:3], np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    for mask in (LEFT, LEFT[:, ::-1].copy()):
        read = ["resid_post[1]"]
        _, base = ji.run(model, TOKENS, mask=mask, capture=read)
        _, source = ji.run(model, OTHER, mask=mask, capture=read)
        s, x = source[read[0]], base[read[0]]

        def after(basis, weights=None, s=s, mask=mask, read=read):
            edit = steering.interchange("resid_post", s, basis, weights, layer=1)
            return ji.run(model, TOKENS, mask=mask, edits=[edit], capture=read)

        logits, acts = after(rows)
        moved = acts[read[0]]
        np.testing.assert_allclose((moved @ rows.T)[mask], (s @ rows.T)[mask], atol=1e-4)
        np.testing.assert_allclose((moved @ whole[3:].T)[mask], (x @ whole[3:].T)[mask], atol=1e-4)
        np.testing.assert_allclose(after(turn @ rows)[0][mask], logits[mask], atol=2e-3)
        patched, _ = ji.run(model, TOKENS, mask=mask, edits=[ji.replace("resid_post", s, layer=1)])
        np.testing.assert_allclose(after(whole)[0][mask], patched[mask], atol=2e-3)
        hard = np.asarray(hard_weights(jnp.float32(3 / d), d))
        np.testing.assert_allclose(after(whole, hard)[0][mask], logits[mask], atol=2e-3)
    soft = boundary_weights(jnp.float32(3 / d), d, jnp.float32(1e-3))
    np.testing.assert_allclose(soft, hard, atol=1e-6)


def test_pyvene_makes_the_same_interchange():
    """Oracle: `LowRankRotatedSpaceIntervention` of pyvene 0.1.8; `make_pyvene.py` writes what it gave."""
    stored = np.load(Path(__file__).parent / "pyvene.npz")
    state = {name.removeprefix("state."): stored[name] for name in stored.files if name.startswith("state.")}
    state.pop("lm_head.weight", None)
    config = dict(model_type="gpt2", vocab_size=20, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    model = ji.hub.build(ji.hub.all_ports()["gpt2"], config, state)
    plain, _ = ji.run(model, stored["base"])
    np.testing.assert_allclose(plain, stored["plain"], atol=1e-4)
    _, acts = ji.run(model, stored["source"], capture="resid_post[1]")
    edit = steering.interchange("resid_post", acts["resid_post[1]"], stored["basis"], layer=1, pos=3)
    logits, _ = ji.run(model, stored["base"], edits=[edit])
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-4)


def test_a_planted_subspace_is_found(planted, found):
    """Truth: the planted plane, at the last token of every layer, on pairs that did not train; no control finds it."""
    assert found.accuracy[:, 0].tolist() == [1, 0, 1, 0] and found.positions == (-1, 0, -1, 0)
    assert (found.whole == 0).all() and (found.none == 0).all()
    for control in (found.random_subspace, found.random_labels, found.random_model):
        assert control.max() < 0.5
    for layer in (0, 1):
        assert cosines(found.basis(layer, -1), planted.subspace).min() > 0.999
    edit = dict(basis=planted.subspace, layer=0, pos=-1)
    _, acts = ji.run(planted.model, planted.source, capture="resid_post[0]")
    exact = steering.interchange("resid_post", acts["resid_post[0]"], **edit)
    logits, _ = ji.run(planted.model, planted.base, edits=[exact], logits=-1)
    assert (logits.reshape(len(logits), -1).argmax(-1) == planted.answer).all()


def test_what_is_found_is_told(found):
    records = found.records()
    assert len(records) == 4 and records[0]["low"] < records[0]["accuracy"] <= records[0]["high"]
    assert {"whole", "none", "random_subspace", "random_labels", "random_model"} < set(records[0])
    assert found.trained_on + records[0]["n"] == 256 and found.loss.shape == (4, 200)
    assert "position" in found.figure()._repr_html_() and "<table" in found._repr_html_()
    with pytest.raises(KeyError, match=r"No subspace lies at layer 5"):
        found.basis(5)


def test_boundless_learns_the_dimension(planted, swaps):
    found = steering.boundless_das(KEY, planted.model, swaps, most=8)
    assert found.widths.tolist() == [2, 2] and (found.accuracy == 1).all()
    for layer in (0, 1):
        assert cosines(found.basis(layer), planted.subspace).min() > 0.99
    assert "random model" in found.figure()._repr_html_()


def test_side_by_side_is_one_by_one(planted, swaps, found):
    """Law: subspaces that are trained in one program are those that a loop over them trains."""
    alone = steering.das(
        KEY, planted.model, swaps, dim=2, positions=[-1, 0], settings=SubspaceSettings(cells_at_once=1)
    )
    np.testing.assert_allclose(alone.loss[:, :20], found.loss[:, :20], rtol=1e-3)
    assert (alone.accuracy == found.accuracy).all()
    for layer in (0, 1):
        assert cosines(alone.basis(layer, -1), found.basis(layer, -1)).min() > 0.999


@pytest.mark.parametrize("name", families("llama"))
def test_padding_changes_nothing(name):
    """Law: prompts padded on the left and on the right train the same subspaces, at counted and at named places."""
    model, results = model_of(name), []
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 7, size=(2, 12))
    texts = [[rng.integers(40, size=n) for n in row] for row in lengths]
    answer = rng.integers(4, size=12)
    settings = SubspaceSettings(steps=3, batch_size=8)
    for left in (True, False):
        (base, mask), (source, other) = (padded(rows, left) for rows in texts)
        pairs = Interchanges(base, source, answer, np.arange(4), mask, other)
        results.append(steering.das(KEY, model, pairs, dim=2, positions=[-1, 1], settings=settings))
    a, b = results
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-3)
    np.testing.assert_allclose(a.bases, b.bases, atol=5e-3)


@pytest.mark.slow
def test_a_subspace_of_each_head():
    """Laws: what is found, put in by `interchange`, gives the accuracy; each head is what it is alone; with all
    dimensions it is the patch of the head; grouped keys have a subspace for each key head."""
    model = model_of("llama")
    rng = np.random.default_rng(1)
    base, source = rng.integers(40, size=(2, 12, 5))
    logits, _ = ji.run(model, base, logits=-1)
    pairs = Interchanges(base, source, np.asarray(logits).reshape(12, -1)[:, :4].argmax(-1), np.arange(4))
    settings = SubspaceSettings(steps=3, batch_size=8)
    found = steering.das(KEY, model, pairs, site="z", layer=[0, 1], dim=2, head=[1, -1], settings=settings)
    heads = model.config.heads
    assert found.heads.tolist() == [1, heads - 1] * 2 and "head" in found.records()[0]
    assert "position and head" not in (page := found.figure()._repr_html_()) and "head" in page
    alone = steering.das(KEY, model, pairs, site="z", layer=1, dim=2, head=heads - 1, settings=settings)
    assert alone.loss.shape == (1, 3) and alone.bases.shape == (1, 2, found.bases.shape[-1])
    test = steering._das_setup.split_pairs(jax.random.split(KEY, 5)[0], pairs, None, 0.25)[1]["held out"]
    _, acts = ji.run(model, test.source, capture="z[1]")
    edit = steering.interchange(
        "z", acts["z[1]"], found.basis(1, -1, heads - 1), layer=1, pos=-1, head=heads - 1
    )
    after, _ = ji.run(model, test.base, edits=[edit], logits=-1)
    hits = np.asarray(after).reshape(len(test), -1)[:, :4].argmax(-1) == test.labels
    assert found.accuracy[3, 0] == hits.mean()
    d = found.bases.shape[-1]
    full = steering.das(KEY, model, pairs, site="k", layer=0, dim=d, settings=settings)
    assert full.heads.tolist() == list(range(model.config.kv_heads))
    np.testing.assert_array_equal(full.accuracy, full.whole)
    with pytest.raises(KeyError, match="heads"):
        found.basis(1, -1, 7)


def padded(rows, left):
    ids, mask = np.zeros((len(rows), 6), np.int64), np.zeros((len(rows), 6), bool)
    for i, row in enumerate(rows):
        where = slice(6 - len(row), None) if left else slice(len(row))
        ids[i, where], mask[i, where] = row, True
    return ids, mask


def test_pairs_of_tasks_swap_both_ways():
    tokenizer = ji.load("tiny")[1]
    pairs = ji.tasks.agreement(tokenizer, 8, key=KEY)
    swaps = steering._interchange.as_interchanges(pairs)
    assert len(swaps) == 16 and (swaps.answer == np.concatenate([pairs.correct, pairs.wrong])).all()
    assert (swaps.base[8:] == pairs.clean).all() and (swaps.source[8:] == pairs.corrupt).all()
    assert (swaps.labels[:8] == 0).all() and (swaps.labels[8:] == 1).all()
    assert (swaps.columns("END")[0] == swaps.columns(-1)[0]).all()
    sets = dataclasses.replace(pairs, correct=pairs.correct[:, None])
    with pytest.raises(ValueError, match="has a set of answers"):
        steering._interchange.as_interchanges(sets)
    few = swaps.rows([1, 3])
    assert len(few) == 2 and few.columns("END")[0].shape == (2,)


def test_tests_share_no_pair_with_training(planted, swaps):
    from jaxinterp.steering._das_setup import pair_bytes, split_pairs

    train, tests = split_pairs(KEY, swaps, None, 0.25)
    assert not set(pair_bytes(train)) & set(pair_bytes(tests["held out"]))
    _, tests = split_pairs(KEY, swaps.rows(slice(0, 40)), {"some": swaps}, 0.25)
    assert len(tests["some"]) == 216
    with pytest.raises(ValueError, match="All pairs of the test"):
        split_pairs(KEY, swaps, swaps, 0.25)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"site": "pattern"}, ValueError, "axes"),
        ({"site": "logits"}, ValueError, "one of each layer"),
        ({"site": "resid_post[1]"}, ValueError, "its layer stands in layer="),
        ({"dim": 17}, ValueError, "at most 16 dimensions"),
        ({"dim": 0}, ValueError, "dim"),
        ({"layer": 2}, IndexError, "layer"),
        ({"layer": []}, ValueError, "no layer"),
        ({"head": 0}, ValueError, "'resid_post' has none"),
        ({"site": "z", "head": 9}, IndexError, "head 9 is out of range"),
        ({"site": "z", "head": []}, ValueError, "no head"),
        ({"positions": 3}, IndexError, "token 3 is outside"),
        ({"positions": "END"}, ValueError, "no position 'END'"),
        ({"positions": []}, ValueError, "no position"),
        ({"settings": {"steps": 3}}, ValueError, "SubspaceSettings"),
        ({"pairs": [1, 2]}, ValueError, "pairs is a ji.steering.Interchanges"),
        ({"key": 0}, ValueError, "key"),
    ],
)
def test_bad_searches_teach(planted, swaps, options, error, match):
    options = {**options}
    key, pairs = options.pop("key", KEY), options.pop("pairs", swaps)
    with pytest.raises((error, TypeError), match=match):
        steering.das(key, planted.model, pairs, **options)


def test_bad_interchanges_teach(planted):
    with pytest.raises(ValueError, match=r"orthonormal rows.*np.linalg.qr"):
        steering.interchange("resid_post", 0.0, np.ones((2, 16)), layer=0)
    with pytest.raises(ValueError, match="one number for each of 2 rows"):
        steering.interchange("resid_post", 0.0, np.eye(2, 16), np.ones(3), layer=0)
    with pytest.raises(ValueError, match="token ids base"):
        Interchanges(planted.base, planted.source[:3], planted.answer)
    with pytest.raises(ValueError, match="none of"):
        Interchanges(planted.base, planted.source, planted.answer, [99])
    with pytest.raises(ValueError, match="columns"):
        Interchanges(planted.base, planted.source, planted.answer, positions={"x": planted.answer * 0 + 3})
    with pytest.raises(ValueError, match="temperature"):
        SubspaceSettings(temperature=(1.0, 0.0))
