"""Rows of activations are those of single runs, in the order that an index says."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import data


@pytest.fixture(scope="module")
def whole(model: Any, tokens: np.ndarray) -> Any:
    _, acts = ji.run(model, tokens, capture=["mlp_post", "z[1]", "embed"], logits=False)
    return {name: np.asarray(x) for name, x in acts.items()}


def test_a_row_for_every_token_that_counts(model: Any, tokens: Any, mask: Any, whole: Any) -> None:
    got = data.activations(model, tokens, ["mlp_post", "z[1]", "embed"], positions=mask, batch_size=3)
    assert list(got) == ["mlp_post", "z[1]", "embed"]
    np.testing.assert_allclose(got["mlp_post"], whole["mlp_post"][:, mask], atol=1e-6)
    np.testing.assert_allclose(got["z[1]"], whole["z[1]"][mask], atol=1e-6)
    np.testing.assert_allclose(got["embed"], whole["embed"][mask], atol=1e-6)
    # Everything, and one batch that the last sequences do not fill.
    every = data.activations(model, tokens, "mlp_post[-1]", batch_size=3, dtype="float16")
    assert every.dtype == np.float16 and every.shape == (tokens.size, 32)
    np.testing.assert_allclose(every, whole["mlp_post"][1].reshape(-1, 32), atol=0.02)


def test_tokens_by_index_in_any_order(model: Any, tokens: Any, whole: Any) -> None:
    index = np.asarray([31, 4, 4, 17])
    got = data.activations(model, tokens, "mlp_post", index=index, batch_size=3)
    np.testing.assert_allclose(got, whole["mlp_post"].reshape(2, -1, 32)[:, index], atol=1e-6)
    before = data.activations(model, tokens, "mlp_post", index=index, next_token=True, batch_size=3)
    np.testing.assert_allclose(before, whole["mlp_post"].reshape(2, -1, 32)[:, index - 1], atol=1e-6)


def test_the_position_before_by_mask(model: Any, tokens: Any, mask: Any, whole: Any) -> None:
    got = data.activations(model, tokens, "z[1]", positions=mask, next_token=True, batch_size=7)
    np.testing.assert_allclose(got, whole["z[1]"][np.roll(mask, -1, 1)], atol=1e-6)


@pytest.mark.slow
def test_reductions_over_what_counts(model: Any, tokens: Any, mask: Any, whole: Any) -> None:
    x, on = whole["mlp_post"], mask[None, :, :, None]
    last = tokens.shape[1] - 1 - mask[:, ::-1].argmax(1)
    expected = {
        "mean": np.where(on, x, 0).sum(2) / on.sum(2),
        "max": np.where(on, x, -np.inf).max(2),
        "last": x[:, np.arange(7), last],
    }
    for reduce, wanted in expected.items():
        got = data.activations(model, tokens, "mlp_post", positions=mask, reduce=reduce, batch_size=3)
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_given_positions(model: Any, tokens: Any, whole: Any) -> None:
    x = whole["mlp_post"]
    rows = np.arange(7)
    per = np.stack([rows % 6, (rows + 2) % 6], 1)
    read = data.activations
    np.testing.assert_allclose(read(model, tokens, "mlp_post", pos=-1, batch_size=7), x[:, :, -1], atol=1e-6)
    np.testing.assert_allclose(
        read(model, tokens, "mlp_post", pos=per, batch_size=7), x[:, rows[:, None], per], atol=1e-6
    )
    np.testing.assert_allclose(
        read(model, tokens, "mlp_post", pos=per, reduce="max", batch_size=7),
        x[:, rows[:, None], per].max(2),
        atol=1e-6,
    )
    own = read(model, tokens, [ji.at("mlp_post", layer=0, reduce="sum")], batch_size=7)
    np.testing.assert_allclose(own["mlp_post[0]"], x[0].sum(1), atol=1e-5)


def test_padding_on_either_side_is_as_if_it_were_not_there(model: Any, tokens: Any) -> None:
    lengths = np.asarray([6, 3, 4, 6, 2, 5, 1])
    right = np.arange(6) < lengths[:, None]
    left = right[:, ::-1]
    moved = np.zeros_like(tokens)
    moved[left] = tokens[right]
    want = data.activations(model, tokens, "mlp_post", mask=right, reduce="mean", batch_size=7)
    got = data.activations(model, moved, "mlp_post", mask=left, reduce="mean", batch_size=7)
    np.testing.assert_allclose(got, want, atol=1e-5)
    # A choice among the real tokens.
    chosen, same = data.keep(left & (lengths > 1)[:, None]), data.keep(right)
    rows = lengths > 1
    kept = data.activations(
        model, moved[rows], "mlp_post", mask=left[rows], positions=chosen[rows], reduce="max", batch_size=6
    )
    want = data.activations(model, tokens[rows], "mlp_post", positions=same[rows], reduce="max", batch_size=6)
    np.testing.assert_allclose(kept, want, atol=1e-5)
    assert (same.sum(1) == lengths - 1).all()
    # What is no padding is refused, and nothing is guessed from it.
    with pytest.raises(ValueError, match="positions=chosen"):
        data.activations(model, moved[rows], "mlp_post", mask=same[rows] & (tokens[rows] != tokens[0, 2]))


@pytest.mark.slow
def test_one_program_serves_all_batches_and_one_batch_is_held(
    model: Any, tokens: Any, mask: Any, monkeypatch: Any
) -> None:
    data.activations(model, tokens, "mlp_pre", positions=mask, batch_size=2)
    live: list[int] = []
    reading = data._reading.plan(model, tokens, "mlp_pre", positions=mask)
    before = sum(x.nbytes for x in jax.live_arrays())
    traced = []
    embed = type(model).embed
    monkeypatch.setattr(type(model), "embed", lambda *a: traced.append(1) or embed(*a))
    reading.read(lambda *_: live.append(sum(x.nbytes for x in jax.live_arrays()) - before), 2)
    assert not traced
    assert max(live) <= live[0] + 1024  # does not grow with the batches


def test_an_intervened_model_is_read_with_its_edits(model: Any, tokens: Any) -> None:
    off = ji.intervene(model, ji.zero("mlp_post", layer=1))
    got = data.activations(off, tokens, "mlp_post", reduce="max", batch_size=7)
    assert (got[1] == 0).all() and (got[0] != 0).any()


def test_bad_input_is_caught_before_anything_runs(model: Any, tokens: Any, mask: Any) -> None:
    def wrong(match: str, *args: Any, error: Any = ValueError, **options: Any) -> None:
        with pytest.raises(error, match=match):
            data.activations(*args, **options)

    wrong("int ids", model, tokens.astype(np.float32), "mlp_post")
    wrong("no sequence", model, tokens[:0], "mlp_post")
    wrong("Token ids lie in", model, tokens + 40, "mlp_post", error=IndexError)
    wrong("at most 16 positions", model, np.ones((1, 17), np.int32), "mlp_post")
    wrong("no site 'mlp_pots'", model, tokens, "mlp_pots")
    wrong("no axis pos", model, tokens, "pattern[0]")
    wrong("at least one site", model, tokens, [])
    wrong("shape of the tokens", model, tokens, "mlp_post", positions=mask[:, :3])
    wrong("shape of the tokens", model, tokens, "mlp_post", mask=mask[:, :3])
    wrong("selects no token", model, tokens, "mlp_post", positions=np.zeros_like(mask))
    none = mask.copy()
    none[3] = False
    wrong("sequence 3", model, tokens, "mlp_post", positions=none, reduce="mean")
    wrong("reduce is one of", model, tokens, "mlp_post", reduce="median")
    wrong("give one", model, tokens, "mlp_post", positions=mask, pos=1, reduce="max")
    wrong("seq \\* ctx \\+ pos", model, tokens, "mlp_post", index=[42], error=IndexError)
    wrong("drop positions=", model, tokens, "mlp_post", index=[4], positions=mask)
    wrong("none before it", model, tokens, "mlp_post", index=[6], next_token=True)
    wrong("which tokens", model, tokens, "mlp_post", next_token=True)
    wrong("selects padding", model, tokens, "mlp_post", positions=mask, mask=np.arange(6) < 3 + 0 * tokens)
    wrong("at least 1; got 0", model, tokens, "mlp_post", batch_size=0)
    wrong("already says", model, tokens, ji.at("mlp_post", reduce="mean"), reduce="max")
    wrong("row per sequence", model, tokens, [ji.at("mlp_post", reduce="mean"), "z"])


def test_activations_that_are_not_finite(model: Any, tokens: Any) -> None:
    import equinox as eqx

    broken = eqx.tree_at(lambda m: m.w_embed, model, model.w_embed.at[3].set(np.nan))
    bad = tokens.copy()
    bad[4, 2] = 3
    with pytest.raises(ValueError, match="'mlp_post' are NaN or infinite"):
        data.activations(broken, bad, "mlp_post", reduce="last", batch_size=7)


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_count_the_real_tokens_of_each_sequence(model: Any, side: str) -> None:
    prompts = [[3, 4, 5], [1, 2, 30, 4, 5]]
    short = [9, 9, 3, 4, 5] if side == "left" else [3, 4, 5, 9, 9]
    padded = np.asarray([short, prompts[1]], np.int32)
    mask = np.ones((2, 5), bool)
    mask[0, slice(0, 2) if side == "left" else slice(3, 5)] = False
    last = data.activations(model, padded, "resid_post", mask=mask, pos=-1)
    both = data.activations(model, padded, ji.at("resid_post", pos=[0, -1]), mask=mask)
    for row, prompt in enumerate(prompts):
        _, acts = ji.run(model, np.asarray(prompt), capture="resid_post", logits=False)
        alone = np.asarray(acts["resid_post"])
        np.testing.assert_allclose(last[:, row], alone[:, -1], atol=1e-5)
        np.testing.assert_allclose(both[:, row], alone[:, [0, -1]], atol=1e-5)
    with pytest.raises(IndexError, match="the shortest has 3"):
        data.activations(model, padded, "resid_post", mask=mask, pos=3)
