"""Layers deleted, swapped and repeated: equal to models of the blocks in that order."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of

ORDERS = {"backwards": [2, 1, 0], "only the last": [2]}
MASK = np.arange(9) < np.array([9, 6, 9, 6])[:, None]
TOKENS = np.where(MASK, np.random.default_rng(0).integers(1, 40, (4, 9)), 0).astype(np.int32)


def corpus(side: str = "right") -> Any:
    if side == "right":
        return ji.corpus.as_corpus(TOKENS, mask=MASK)
    turned = [np.roll(x, 9 - n) for x, n in zip(TOKENS, MASK.sum(1), strict=True)]
    return ji.corpus.as_corpus(np.stack(turned), mask=np.arange(9) >= 9 - MASK.sum(1)[:, None])


@eqx.filter_jit
def measures(model: Any, changed: Any, rows: Any) -> Any:
    """Sums of kl, loss, entropy, agreement over whole prompts, as the formulas say."""
    clean, new = (jax.nn.log_softmax(ji.run(m, rows)[0][:, 1:-1]) for m in (model, changed))
    nats = lambda logp: -jnp.take_along_axis(logp, rows[:, 2:, None], -1).sum()
    kl = (jnp.exp(clean) * (clean - new)).sum()
    same = (clean.argmax(-1) == new.argmax(-1)).sum(dtype=jnp.float32)
    return jnp.stack([kl, nats(new) - nats(clean), -(jnp.exp(new) * jnp.log2(jnp.exp(new))).sum(), same])


def by_hand(model: Any, order: Any) -> np.ndarray:
    """The four means of the changed model, of prompts without padding."""
    changed, sizes = ji.weights.take_layers(model, order), MASK.sum(1)
    parts = [TOKENS[sizes == size, :size] for size in np.unique(sizes)]
    return sum(np.asarray(measures(model, changed, jnp.asarray(rows))) for rows in parts) / (sizes - 2).sum()


@pytest.mark.wide
@pytest.mark.parametrize("family", ["gpt2", "neox", pytest.param("llama", marks=pytest.mark.slow)])
def test_equals_models_of_these_blocks(family: str) -> None:
    model = model_of(family)
    kinds, orders = ("delete", "swap", "repeat"), ORDERS
    if family == "neox":  # fewer orders, each of which compiles its own reference
        kinds, orders = ("delete", "swap"), {}
    found = ji.neurons.layer_interventions(model, corpus(), kinds=kinds, orders=orders, batch_size=3)
    wanted = {
        "delete": [[1, 2], [0, 2], [0, 1]],
        "swap": [[1, 0, 2], [0, 2, 1]],
        "repeat": [[0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2]],
        "orders": list(ORDERS.values()),
    }
    assert found._tables().keys() == {*kinds, *(["orders"] if orders else [])}
    for kind, table in found._tables().items():
        got = np.stack([table.kl, table.loss, table.entropy, table.agreement], 1)
        np.testing.assert_allclose(got, [by_hand(model, order) for order in wanted[kind]], atol=2e-5)
        assert (table.low <= got + 1e-9).all() and (got <= table.high + 1e-9).all()
    left = ji.neurons.layer_interventions(model, corpus("left"), kinds=kinds, orders=orders, batch_size=4)
    for mine, other in zip(found.records(), left.records(), strict=True):
        assert mine["layer"] == other["layer"] and abs(mine["kl"] - other["kl"]) < 2e-5
    assert found.predictions == left.predictions == int(MASK.sum()) - 2 * len(MASK)
    assert "agreement" in found.figure().html and found.swap is not None and np.isnan(found.swap.middle)


def test_blocks_that_change_nothing() -> None:
    """A block without output weights is deleted at no cost, and equal neighbours are swapped at none."""
    model = model_of("gpt2")
    zero = lambda leaf: leaf.at[1].set(0)
    writers = lambda m: [m.blocks.attn.w_o, m.blocks.attn.b_o, m.blocks.mlp.w_out, m.blocks.mlp.b_out]
    idle = eqx.tree_at(writers, model, [zero(leaf) for leaf in writers(model)])
    found = ji.neurons.layer_interventions(idle, corpus(), batch_size=4)
    assert found.delete is not None and found.delete.kl[1] == 0 and found.delete.agreement[1] == 1
    assert found.delete.kl[0] > 0 and found.delete.loss[1] == 0
    twins = ji.weights.take_layers(model, [0, 1, 1])
    found = ji.neurons.layer_interventions(twins, corpus(), batch_size=4)
    assert found.swap is not None and found.swap.kl[1] == 0 and found.swap.kl[0] > 0


def test_one_layer_deleted_is_the_lens_of_its_input() -> None:
    one = ji.weights.drop_layers(model_of("gpt2"), [1, 2])
    alone, beside = (
        ji.neurons.layer_interventions(one, corpus(), kinds=kinds, batch_size=4).delete
        for kinds in (["delete"], ["delete", "repeat"])
    )
    assert alone is not None and beside is not None and alone.kl[0] > 0
    np.testing.assert_allclose(alone.kl, beside.kl, rtol=1e-6)


def test_orders_of_layers() -> None:
    model = model_of("neox")
    same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(a), jax.tree.leaves(b))
    swapped = ji.weights.permute_layers(model, [0, 2, 1])
    same(ji.weights.permute_layers(swapped, [0, 2, 1]), model)
    same(ji.weights.permute_layers(ji.weights.permute_layers(model, [1, 2, 0]), [2, 0, 1]), model)
    assert ji.weights.drop_layers(model, -1).config.layers == 2
    gone = [ji.zero("attn_out", layer=1), ji.zero("mlp_out", layer=1)]
    wanted, _ = ji.run(model, TOKENS, edits=gone)
    got, _ = ji.run(ji.weights.drop_layers(model, 1), TOKENS)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    orders = jnp.asarray([[0, 1, 2], [2, 1, 0]])
    both = jax.vmap(lambda order: ji.run(ji.weights.permute_layers(model, order), TOKENS[0])[0])(orders)
    np.testing.assert_allclose(both[0], ji.run(model, TOKENS[0])[0], atol=1e-5)
    np.testing.assert_allclose(
        both[1], ji.run(ji.weights.take_layers(model, [2, 1, 0]), TOKENS[0])[0], atol=1e-5
    )
    edited = ji.intervene(model, [ji.scale("mlp_out", 0.5, layer=0)])
    assert len(ji.weights.permute_layers(edited, [1, 0, 2]).edits) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: ji.weights.permute_layers(m, [0, 1, 1]), "permutation of 0..2"),
        (lambda m: ji.weights.permute_layers(m, [0, 1]), "permutation of 0..2"),
        (lambda m: ji.weights.take_layers(m, []), "numbers of layers"),
        (lambda m: ji.weights.take_layers(m, [0.5]), "numbers of layers"),
        (lambda m: ji.weights.drop_layers(m, [0, 1, 2]), "at least one"),
        (lambda m: ji.neurons.layer_interventions(m, TOKENS, kinds="drop"), "kinds"),
        (lambda m: ji.neurons.layer_interventions(m, TOKENS, kinds=()), "no intervention"),
        (lambda m: ji.neurons.layer_interventions(m, TOKENS[:, :2]), "No prediction"),
    ],
)  # fmt: skip
def test_bad_input(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(model_of("gpt2"))
    with pytest.raises(IndexError, match=r"0\.\.2"):
        ji.weights.take_layers(model_of("gpt2"), [0, 3])


def test_a_file_of_other_interventions_and_weights_that_are_not_finite(tmp_path: Any) -> None:
    """Deleted and repeated layers are as many: the file knows which they are, and whose documents."""
    model, path = model_of("gpt2"), tmp_path / "layers.npz"
    how: Any = {"batch_size": 4, "checkpoint": path, "progress": False}
    first = ji.neurons.layer_interventions(model, corpus(), kinds=("delete",), **how)
    again = ji.neurons.layer_interventions(model, corpus(), kinds=("delete",), **how)
    assert first.records() == again.records()
    with pytest.raises(ValueError, match="written by a fold with"):
        ji.neurons.layer_interventions(model, corpus(), kinds=("repeat",), **how)
    joined = dataclasses.replace(corpus(), document=np.where(MASK, np.array([[0], [1], [2], [2]]), -1))
    with pytest.raises(ValueError, match="written by a fold with"):
        ji.neurons.layer_interventions(model, joined, kinds=("delete",), **how)
    broken = eqx.tree_at(lambda m: m.blocks.mlp.w_out, model, model.blocks.mlp.w_out.at[1].set(jnp.nan))
    with pytest.raises(ValueError, match="losses of the model are NaN"):
        ji.neurons.layer_interventions(broken, corpus(), kinds=("delete",), batch_size=4, progress=False)


def test_a_pair_is_no_model() -> None:
    pair: Any = (model_of("gpt2"), None)
    for call in (
        lambda: ji.weights.permute_layers(pair, [0, 1, 2]),
        lambda: ji.weights.drop_layers(pair, 0),
        lambda: ji.neurons.entropy_neurons(pair, TOKENS),
        lambda: ji.neurons.layer_interventions(pair, TOKENS),
    ):
        with pytest.raises(ValueError, match="the model is its first half"):
            call()
