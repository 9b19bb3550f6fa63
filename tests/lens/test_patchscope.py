"""Patchscopes: the four laws of methods 3.15, generation, and layer pairs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.lens import PatchPlace, fit_affine, fit_mapping, patchscope
from tests.models import zeros_of

from .conftest import CONFIGS, random_model


def test_onto_itself_changes_nothing(neox: Any, tokens: Any) -> None:
    """T1, for every layer and for positions per example."""
    own = np.asarray(ji.run(neox, tokens, logits=-1)[0])
    layers = np.arange(3)
    where = np.asarray([2, 4])
    found = patchscope(
        neox, tokens, neox, tokens, source=PatchPlace(layers, pos=where), target=PatchPlace(layers, pos=where)
    )
    assert found.shape == (3, 2, 40) and np.allclose(found, own[None], atol=1e-5)


def test_all_pairs_equal_activation_patching(neox: Any, gpt2: Any, tokens: Any) -> None:
    """T2: `ji.replace` of resid_post, pair by pair; the target prompt is shared and longer."""
    target = jnp.asarray([4, 4, 8, 1, 0, 2, 6], jnp.int32)
    found = np.asarray(
        patchscope(
            neox, tokens, neox, target, source=PatchPlace(pos=1), target=PatchPlace(pos=3), pairs_at_once=4
        )
    )
    assert found.shape == (3, 3, 2, 40)
    acts = ji.run(neox, tokens, capture="resid_post", logits=False)[1]["resid_post"]
    for source in range(3):
        for layer in range(3):
            edit = ji.replace(
                "resid_post", acts[source][:, 1:2], layer=jnp.asarray(layer), pos=jnp.asarray(3)
            )
            both = jnp.broadcast_to(target, (2, 7))
            expected, _ = ji.run(neox, both, edits=[edit], logits=-1)
            assert np.allclose(found[source, layer], expected, atol=1e-5)
    one = patchscope(neox, tokens[0], neox, target, source=PatchPlace(2, pos=1), target=PatchPlace(-2, pos=3))
    assert np.allclose(one, found[2, 1, 0], atol=1e-5)
    with pytest.raises(ValueError, match=r"target model has width 8; the states.*\(2, 16\)"):
        patchscope(neox, tokens, gpt2, target)
    with pytest.raises(IndexError, match="layer 3 is out of range"):
        patchscope(neox, tokens, neox, target, source=PatchPlace([0, 3]))
    with pytest.raises(ValueError, match=r"batches \(2,\) and \(3,\) differ"):
        patchscope(neox, tokens, neox, jnp.stack([target] * 3))
    with pytest.raises(ValueError, match=r"source=ji\.lens\.PatchPlace\(layer=2, pos=-1\); got a int"):
        patchscope(neox, tokens, neox, target, source=2)  # type: ignore[arg-type]


def copying() -> Any:
    """A model that says its last token: the stream is the embedding, and blocks add nothing."""
    config = ji.models.GPT2Config(vocab=12, ctx=8, d=12, layers=3, heads=1, ff=0)
    model = zeros_of(config)
    return eqx.tree_at(lambda m: (m.w_embed, m.ln_final.weight), model, (5 * jnp.eye(12), jnp.ones(12)))


def test_identity_prompt_recovers_the_token_at_every_layer() -> None:
    """T3, and generation: the state is put in at prefill only, edits of the target stay."""
    model = copying()
    source = jnp.asarray([3, 9, 5], jnp.int32)
    target = jnp.asarray([1, 1, 2, 2, 0], jnp.int32)
    layers = np.arange(3)
    options: Any = dict(source=PatchPlace(layers, pos=1), target=PatchPlace(layers))
    logits = patchscope(model, source, model, target, **options)
    assert (np.asarray(logits).argmax(-1) == 9).all()
    text = np.asarray(patchscope(model, source, model, target, steps=3, **options))
    assert text.shape == (3, 8)
    # The first new token is the state's; each later one repeats it, being read again itself.
    assert (text[:, 5:] == 9).all() and (text[:, :5] == np.asarray(target)).all()
    other = [ji.replace("resid_post", 5 * jnp.eye(12)[7], layer=2, pos=-1)]
    moved = patchscope(model, source, model, target, **options | {"target": PatchPlace(layers, edits=other)})
    # Edits of the target come first; only where the state is put in behind them does it win.
    assert np.asarray(moved).argmax(-1).tolist() == [7, 7, 9]


@pytest.mark.slow
def test_a_planted_rotation_between_two_models_is_found(tokens: Any) -> None:
    """T4: a copy whose stream is rotated, norms without gain so that it computes the same."""
    config = CONFIGS["llama"]
    model = random_model(config)
    where = lambda m: (m.blocks.ln1.weight, m.blocks.ln2.weight, m.ln_final.weight)
    model = eqx.tree_at(where, model, (jnp.ones((3, 16)), jnp.ones((3, 16)), jnp.ones(16)))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype(np.float32)
    rotated = jax.tree.map(lambda x: x, model)
    attn, mlp = model.blocks.attn, model.blocks.mlp

    def read(w: Any) -> jax.Array:  # (layer, ..., d, out): what reads the stream
        return jnp.einsum("ed,l...dk->l...ek", turn.T, w)

    rotated = eqx.tree_at(
        lambda m: (
            m.w_embed,
            m.w_unembed,
            m.blocks.attn.w_q,
            m.blocks.attn.w_k,
            m.blocks.attn.w_v,
            m.blocks.attn.w_o,
            m.blocks.mlp.w_in,
            m.blocks.mlp.w_gate,
            m.blocks.mlp.w_out,
        ),
        model,
        (
            model.w_embed @ turn,
            turn.T @ model.w_unembed,
            read(attn.w_q),
            read(attn.w_k),
            read(attn.w_v),
            attn.w_o @ turn,
            read(mlp.w_in),
            read(mlp.w_gate),
            mlp.w_out @ turn,
        ),
    )
    many = jax.random.randint(jax.random.key(1), (8, 10), 0, 30, jnp.int32)
    mapping = fit_mapping(model, rotated, many)
    assert mapping.weight.shape == (3, 16, 16)
    assert np.allclose(mapping.weight, turn[None], atol=1e-3)
    layers = np.arange(3)
    found = patchscope(
        model, tokens, rotated, tokens, source=PatchPlace(layers), target=PatchPlace(layers), mapping=mapping
    )
    own = np.asarray(ji.run(model, tokens, logits=-1)[0])
    assert np.allclose(found, own[None], atol=2e-2)


def test_fit_affine_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    y = rng.normal(size=(40, 3)).astype(np.float32)
    mapping = fit_affine(jnp.asarray(x), jnp.asarray(y))
    wide = np.c_[x, np.ones(40)]
    expected = np.linalg.lstsq(wide, y, rcond=None)[0]
    assert np.allclose(mapping.weight, expected[:-1], atol=1e-5)
    assert np.allclose(mapping.bias, expected[-1], atol=1e-5)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="y has NaN"):
            fit_affine(x, np.where(np.arange(y.shape[1]) == 1, wrong, y))
    ridge = fit_affine(jnp.asarray(x), jnp.asarray(y), ridge=10.0)
    centred = x - x.mean(0)
    solved = np.linalg.solve(centred.T @ centred + 10 * np.eye(5), centred.T @ (y - y.mean(0)))
    assert np.allclose(ridge.weight, solved, atol=1e-5)


@pytest.mark.slow
def test_padded_targets_and_named_prompts(gpt2: Any, tokens: Any) -> None:
    padded = jnp.asarray([[4, 8, 1, 0, 0], [4, 8, 1, 2, 6]], jnp.int32)
    mask = jnp.asarray([[True, True, True, False, False], [True] * 5])
    found = patchscope(
        gpt2, tokens, gpt2, padded, source=PatchPlace(1), target=PatchPlace(1, pos=1, mask=mask)
    )
    alone = patchscope(
        gpt2, tokens[0], gpt2, padded[0, :3], source=PatchPlace(1), target=PatchPlace(1, pos=1)
    )
    assert np.allclose(found[0], alone, atol=1e-5)
    _, tokenizer = ji.load("tiny")
    identity = ji.lens.target_prompt("identity", tokenizer)
    assert tokenizer.decode([int(identity[-1])]).strip() == "?"
    with pytest.raises(ValueError, match="named prompts are identity, describe"):
        ji.lens.target_prompt("what", tokenizer)
