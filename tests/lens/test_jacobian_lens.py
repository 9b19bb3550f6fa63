"""The Jacobian lens against full Jacobians, and in the files of others."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.lens import JacobianLens, fit_jacobian_lens, jacobian_rows, logit_lens
from tests.models import zeros_of

OPTIONS: dict[str, Any] = dict(skip=1, skip_last=1, progress=False)


@pytest.fixture(scope="module")
def full() -> Any:
    """The Jacobian of one prompt by one backward pass per entry, (pos, d, pos, d)."""

    @eqx.filter_jit
    def jacobian(model: Any, x: jax.Array, layer: int) -> jax.Array:
        def last(x: jax.Array) -> jax.Array:
            return ji.resume(model, x, layer, capture="resid_post[-1]", logits=False)[1]["resid_post[-1]"]

        return jax.jacrev(last)(x)

    return jacobian


def test_it_is_the_full_jacobian_summed_and_averaged(gpt2: Any, tokens: Any, full: Any) -> None:
    lens = fit_jacobian_lens(gpt2, [tokens], layers=[-1, 1], dims_at_once=4, **OPTIONS)
    assert lens.matrices.shape == (2, 8, 8) and lens.rows(3) == (0, 2)
    same = fit_jacobian_lens(gpt2, [tokens], layers=[-1], reach="same", **OPTIONS)
    streams = ji.run(gpt2, tokens, capture="resid_pre[0]", logits=False)[1]["resid_pre[0]"]
    valid = slice(1, 5)
    of = np.stack([np.asarray(full(gpt2, x, 0)) for x in streams])
    of = of[:, valid, :, valid, :]  # (batch, later pos, d, pos, d)
    assert np.allclose(lens.matrices[0], of.sum(1).mean(2).mean(0), atol=1e-4)
    own = np.einsum("bpipj->bpij", of).mean((0, 1))
    assert np.allclose(same.matrices[0], own, atol=1e-4)
    # Causal: what a position does to earlier ones is nothing, so "later" needs no mask of its own.
    assert abs(of[:, 0, :, 1:]).max() == 0


@pytest.mark.slow
def test_batches_masks_and_parts_change_nothing(gpt2: Any, tokens: Any) -> None:
    lens = fit_jacobian_lens(gpt2, [tokens[:1], tokens[1:]], dims_at_once=3, **OPTIONS)
    assert lens.layers == (0, 1)
    padded = np.concatenate([np.zeros((2, 2), np.int32), np.asarray(tokens)], 1)
    mask = np.asarray([[False] * 2 + [True] * 6] * 2)
    rows = jacobian_rows(gpt2, [(padded, mask)], [5, 2], **OPTIONS)
    assert np.allclose(rows, np.asarray(lens.matrices)[:, [5, 2]], atol=1e-4)


def test_identity_is_the_logit_lens(gpt2: Any, tokens: Any) -> None:
    lens = JacobianLens(jnp.broadcast_to(jnp.eye(8), (2, 8, 8)), (-1, 1))
    logits = np.asarray(lens(gpt2, tokens))
    assert np.allclose(logits, np.asarray(logit_lens(gpt2, tokens))[[0, 2, 3]], atol=1e-5)
    read = ji.lens.summary(gpt2, tokens, lens=lens)
    assert read.rows == (0, 2, 3)


@pytest.mark.slow
def test_linear_blocks_are_read_exactly() -> None:
    """Without attention and norm, and with a linear MLP, the lens is the model at every row."""
    config = ji.models.GPT2Config(vocab=9, ctx=6, d=6, layers=3, heads=1, ff=0, norm=False)
    model = zeros_of(config)
    rng = np.random.default_rng(0)
    model = eqx.tree_at(lambda m: m.w_embed, model, jnp.asarray(rng.normal(size=(9, 6)), jnp.float32))
    turns = [jnp.asarray(rng.normal(size=(6, 6)), jnp.float32) for _ in range(3)]
    edits = [ji.map("resid_post", jnp.matmul, turn, layer=i) for i, turn in enumerate(turns)]
    model = ji.intervene(model, edits)
    tokens = jnp.arange(6, dtype=jnp.int32)
    lens = fit_jacobian_lens(model, [tokens], layers=[-1, 0, 1], skip=0, skip_last=0, progress=False)
    logits = np.asarray(lens(model, tokens))
    assert np.allclose(logits, logits[-1:], atol=1e-4, rtol=1e-4)


def test_files(gpt2: Any, tokens: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lens = JacobianLens(jnp.asarray(rng.normal(size=(2, 8, 8)), jnp.float32), (0, 1))
    ji.lens.save(tmp_path / "lens.pt", lens, prompts=7)
    state = ji.hub.read_torch(tmp_path / "lens.pt")
    assert (state["n_prompts"], state["source_layers"], state["d_model"]) == (7, [0, 1], 8)
    assert state["J"][1].dtype == np.float16
    back = ji.lens.load(tmp_path / "lens.pt")
    assert isinstance(back, JacobianLens) and back.layers == (0, 1)
    assert np.allclose(back.matrices, lens.matrices, atol=2e-3)
    with pytest.raises(ValueError, match="no place for the embedding"):
        ji.lens.to_jacobian_format(JacobianLens(lens.matrices, (-1, 0)))
    with pytest.raises(ValueError, match="a fit that did not finish"):
        ji.lens.from_jacobian_format({"jacobian_sum": {}, "n_done": 3})


@pytest.mark.slow
def test_the_published_lens(shared_data: Path) -> None:
    """Its axes: rows are the last stream's. What it says of itself holds; no model is needed."""
    folder = shared_data / "lenses" / "jacobian-stories15m"
    hundred, thousand = (ji.lens.load(folder / f"lens_C_{n}.pt") for n in (100, 1000))
    assert isinstance(hundred, JacobianLens) and isinstance(thousand, JacobianLens)
    assert thousand.layers == (0, 1, 2, 3, 4) and thousand.matrices.shape == (5, 288, 288)
    gap = np.linalg.norm(hundred.matrices - thousand.matrices, axis=(1, 2))
    assert (gap < 0.2 * np.linalg.norm(thousand.matrices, axis=(1, 2))).all()


def test_bad_input_is_explained(gpt2: Any, tokens: Any) -> None:
    with pytest.raises(ValueError, match=r"blocks before the last, 0\.\.1"):
        fit_jacobian_lens(gpt2, [tokens], layers=[2])
    with pytest.raises(ValueError, match="no position left of 6 after skip=16"):
        fit_jacobian_lens(gpt2, [tokens], progress=False)
    with pytest.raises(ValueError, match="reach is"):
        fit_jacobian_lens(gpt2, [tokens], reach="all")
    lens = JacobianLens(jnp.zeros((1, 8, 8)), (2,))
    with pytest.raises(ValueError, match=r"those before the last, 0\.\.1"):
        lens(gpt2, tokens)
