"""The tuned lens: its laws (methods 3.13, T1 to T4), its training and its files."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.lens import TunedLens, _chunks, logit_lens, published_optimizer, summary, train_tuned_lens
from jaxinterp.lens._train import losses_and_grads
from tests import models
from tests.models import zeros_of
from tests.options import how

from .conftest import CONFIGS, random_model

KEY = jax.random.key(0)


def stream(key: Any) -> jax.Array:
    return jax.random.randint(key, (2, 6), 0, 30, jnp.int32)


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model(CONFIGS["neox"])


@pytest.fixture(scope="module")
def lens() -> TunedLens:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0, 0.2, (3, 16, 16)), rng.normal(0, 0.2, (3, 16))
    return TunedLens(jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))


def test_zero_is_the_logit_lens_to_the_last_bit(model: Any, tokens: Any) -> None:
    expected = np.asarray(logit_lens(model, tokens))
    for bias_only in (False, True):
        zero = TunedLens.init(model, bias_only=bias_only)
        assert (np.asarray(zero(model, tokens)) == expected).all()


def test_translators_are_affine_and_residual(model: Any, tokens: Any, lens: TunedLens) -> None:
    logits = np.asarray(lens(model, tokens))
    own, acts = ji.run(model, tokens, capture="resid_pre")
    streams = np.asarray(acts["resid_pre"])
    moved = streams + np.einsum("l...d,lde->l...e", streams, lens.weight)
    moved += np.asarray(lens.bias)[:, None, None]
    expected, _ = ji.resume(model, moved, 3)
    assert np.allclose(logits[:-1], expected, atol=1e-4) and (logits[-1] == np.asarray(own)).all()
    read = summary(model, tokens, lens=lens)
    assert np.allclose(read.entropy[-1], summary(model, tokens).entropy[-1], atol=1e-5)
    assert (np.asarray(read.top_ids[:, 0, 0, 0]) == logits[:, 0, 0].argmax(-1)).all()


def _drift(x: jax.Array, turn: jax.Array, shift: jax.Array) -> jax.Array:
    return x @ turn + jnp.broadcast_to(shift, x.shape)


@pytest.mark.slow
def test_a_planted_drift_is_learned() -> None:
    """T2: the last state is the first one turned and shifted, h Q + c."""
    config = ji.models.GPT2Config(vocab=16, ctx=8, d=8, layers=1, heads=1, ff=0, tied=False)
    model = zeros_of(config)
    rng = np.random.default_rng(0)
    embed, unembed, shift = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((16, 8), (8, 16), (8,))
    )
    turn = jnp.asarray(np.linalg.qr(rng.normal(size=(8, 8)))[0], jnp.float32)
    where = lambda m: (m.w_embed, m.w_unembed, m.ln_final.weight)
    model = eqx.tree_at(where, model, (embed, unembed, jnp.ones(8, jnp.float32)))
    model = ji.intervene(model, [ji.map("resid_post", _drift, turn, shift, layer=0)])
    tokens = jnp.arange(16, dtype=jnp.int32).reshape(2, 8)
    lens, history = train_tuned_lens(
        model,
        lambda key: tokens,
        optax.adam(0.03),
        key=KEY,
        steps=1000,
        settings=ji.fit.Settings(progress=False),
    )
    assert history["loss"][0, 0] > 0.5
    assert float(summary(model, tokens, lens=lens).kl[0].mean()) < 1e-3


def test_the_published_recipe_step_by_step(model: Any, tokens: Any) -> None:
    """T3: three steps of SGD written out; the gradient is large, so that clipping matters."""
    grad = jax.jit(lambda lens: losses_and_grads(lens, model, tokens, None, "kl")[1])
    lens, history = train_tuned_lens(
        model,
        [tokens] * 3,
        published_optimizer(3),
        key=KEY,
        steps=3,
        settings=ji.fit.Settings(progress=False),
    )
    theirs = [np.zeros((3, 16, 16), np.float32), np.zeros((3, 16), np.float32)]
    memory = [np.zeros_like(x) for x in theirs]
    for step in range(3):
        found = grad(TunedLens(*map(jnp.asarray, theirs)))
        grads = [np.asarray(found.weight), np.asarray(found.bias)]
        norm = np.sqrt(sum((g * g).sum() for g in grads))
        assert norm > 1 and history["grad_norm"][step] == pytest.approx(norm, rel=1e-4)
        for i, g in enumerate(grads):
            g = g / norm + 1e-3 * theirs[i]
            memory[i] = 0.9 * memory[i] + g
            theirs[i] = theirs[i] - 0.1 * (1 - step / 3) * (g + 0.9 * memory[i])
    assert np.allclose(lens.weight, theirs[0], atol=1e-5)
    assert np.allclose(lens.bias, theirs[1], atol=1e-5)


def test_kl_is_from_the_model_to_the_lens(model: Any, tokens: Any) -> None:
    """T4: a lens that says nothing is log V minus the model's entropy away."""
    # The translator takes the stream to a constant: behind the norm nothing is left of it.
    silent = TunedLens(
        jnp.broadcast_to(-jnp.eye(16, dtype=jnp.float32), (3, 16, 16)),
        jnp.zeros((3, 16), jnp.float32),
    )
    plain = eqx.tree_at(lambda m: m.ln_final.bias, model, jnp.zeros(16, jnp.float32))
    own = np.asarray(ji.run(plain, tokens)[0], np.float64)
    own = own - np.log(np.exp(own).sum(-1, keepdims=True))
    entropy = -(np.exp(own) * own).sum(-1)
    found = summary(plain, tokens, lens=silent)
    assert np.allclose(found.kl[:-1], np.log(40) - entropy, atol=1e-4)
    zero = TunedLens.init(model)
    losses, _ = losses_and_grads(zero, model, tokens, None, "kl")
    assert np.allclose(losses, summary(model, tokens).kl[:-1].mean((1, 2)), atol=1e-4)


@pytest.mark.slow
def test_masks_and_chunks_change_no_gradient(model: Any, tokens: Any, lens: TunedLens) -> None:
    mask = jnp.asarray([[True] * 4 + [False] * 2, [True] * 6])
    run = eqx.filter_jit(losses_and_grads)
    whole = run(lens, model, tokens, mask, "ce")
    parts = run(lens, model, tokens, mask, "ce", 1)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        assert np.allclose(one, other, atol=1e-5)
    read = summary(model, tokens, lens=lens)
    assert read.cross_entropy is not None
    ce = np.asarray(read.cross_entropy)[:-1]
    expected = (ce[:, 0, :3].sum(-1) + ce[:, 1, :5].sum(-1)) / 8
    # The mask also hides the two padding tokens, which come last: nothing before them changes.
    assert np.allclose(whole[0], expected, atol=1e-4)


@pytest.mark.parametrize(("loss", "wide", "size"), [("kl", True, 2), ("ce", False, 1)])
def test_chunks_of_positions_change_no_gradient(
    loss: str, wide: bool, size: int, tokens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: equal for every chunk, the last one shorter too, and no array has all positions and the vocabulary."""
    mask = jnp.asarray([[True] * 4 + [False], [True] * 5])
    with enable_x64(wide):
        dtype = jnp.float64 if wide else jnp.float32
        rng = np.random.default_rng(0)
        weight, bias = rng.normal(0, 0.2, (3, 16, 16)), rng.normal(0, 0.2, (3, 16))
        lens = TunedLens(jnp.asarray(weight, dtype), jnp.asarray(bias, dtype))
        model = models.random_model(CONFIGS["neox"], dtype=dtype, gain=1.0, embed=3.0)
        call = lambda lens: losses_and_grads(lens, model, tokens[:, :5], mask, loss)
        whole = jax.jit(lambda lens: call(lens))(lens)
        monkeypatch.setattr(_chunks, "CHUNK_BYTES", 2 * size * 40 * 4 + 7)
        chunked = jax.jit(lambda lens: call(lens))
        text = str(jax.make_jaxpr(chunked)(lens))
        assert "[2,5,40]" not in text and "[10,1,40]" not in text and f"[2,{size},40]" in text
        for got, want in zip(jax.tree.leaves(chunked(lens)), jax.tree.leaves(whole), strict=True):
            assert got.dtype == want.dtype == dtype
            np.testing.assert_allclose(got, want, atol=1e-10 if wide else 1e-5)


class Stopped(Exception):
    pass


@pytest.mark.slow
def test_stopped_and_resumed_is_uninterrupted(model: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = dict(steps=6, progress=False)
    whole, history = train_tuned_lens(model, stream, key=KEY, **how(options))
    file = tmp_path / "folder" / "lens.ckpt"
    calls = []

    def failing(key: Any) -> jax.Array:
        calls.append(key)
        if len(calls) == 6:
            raise Stopped
        return stream(key)

    options = dict(options, checkpoint=file, checkpoint_every=2)
    with pytest.raises(Stopped):
        train_tuned_lens(model, failing, key=KEY, **how(options))
    again, log = train_tuned_lens(model, stream, key=KEY, **how(options))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()
    assert (history["loss"] == log["loss"]).all() and history["loss"].shape == (6, 3)
    # Done is done; another training does not go on from it; nothing half-written is left.
    finished, _ = train_tuned_lens(model, [], key=KEY, **how(options))
    assert (np.asarray(finished.bias) == np.asarray(whole.bias)).all()
    with pytest.raises(ValueError, match=r"checkpoint of a run with steps=6; this one has steps=7"):
        train_tuned_lens(model, stream, key=KEY, **how(options, steps=7))
    moved = jax.tree.map(lambda leaf: leaf * 2, model)
    for other, given, rate, name in (
        (moved, stream, None, "model"),
        (model, lambda key: stream(key)[::-1], None, "data"),
        (model, stream, ji.lens.adam_optimizer(6), "optimizer"),
    ):
        with pytest.raises(ValueError, match=f"another {name}"):
            train_tuned_lens(other, given, rate, key=KEY, **how(options))
    train_tuned_lens(moved, stream, key=KEY, **how(options, resume="force"))
    assert [path.name for path in file.parent.iterdir()] == ["lens.ckpt"]


@pytest.mark.slow
def test_training_starts_from_a_lens_and_keeps_it(model: Any, lens: TunedLens) -> None:
    before = np.array(lens.bias)
    train_tuned_lens(model, stream, key=KEY, lens=lens, steps=1, settings=ji.fit.Settings(progress=False))
    assert (np.asarray(lens.bias) == before).all()
    small, history = train_tuned_lens(
        model,
        stream,
        ji.lens.adam_optimizer(4),
        key=KEY,
        steps=4,
        loss="ce",
        bias_only=True,
        settings=ji.fit.Settings(progress=False),
    )
    assert small.weight is None and np.isfinite(history["loss"]).all()


def test_bad_input_is_explained(model: Any, lens: TunedLens, gpt2: Any) -> None:
    with pytest.raises(ValueError, match="stream ended after 1 batches and the training has 2 steps"):
        train_tuned_lens(model, [stream(KEY)], key=KEY, steps=2, settings=ji.fit.Settings(progress=False))
    with pytest.raises(ValueError, match="loss is 'kl'"):
        train_tuned_lens(model, stream, key=KEY, loss="mse")
    with pytest.raises(ValueError, match="one batch again and again"):
        train_tuned_lens(model, stream(KEY), key=KEY, settings=ji.fit.Settings(progress=False))
    with pytest.raises(ValueError, match="must divide the batch"):
        train_tuned_lens(model, stream, key=KEY, rows_at_once=3, settings=ji.fit.Settings(progress=False))
    with pytest.raises(ValueError, match="no next token to predict"):
        train_tuned_lens(
            model,
            [jnp.ones((1, 4, 16))],
            key=KEY,
            steps=1,
            loss="ce",
            settings=ji.fit.Settings(progress=False),
        )
    with pytest.raises(ValueError, match="3 translators of width 16; the model has 4 layers"):
        lens.rows(4)
    with pytest.raises(ValueError, match="width 16, and the model 8"):
        ji.lens.from_tuned_lens_format(*ji.lens.to_tuned_lens_format(lens), gpt2)


def test_files_of_tuned_lens(model: Any, lens: TunedLens, tmp_path: Path) -> None:
    ji.lens.save(tmp_path / "lens", lens, model)
    config = json.loads((tmp_path / "lens" / "config.json").read_text())
    assert (config["d_model"], config["num_hidden_layers"], config["bias"]) == (16, 3, True)
    assert config["lens_type"] == "linear_tuned_lens" and len(config["unembed_hash"]) == 64
    params = ji.hub.read_torch(tmp_path / "lens" / "params.pt")
    assert list(params)[:2] == ["0.weight", "0.bias"]
    # A torch Linear: y = x W^T + b.
    assert (params["1.weight"] == np.asarray(lens.weight[1]).T).all()
    back = ji.lens.load(tmp_path / "lens", model)
    assert isinstance(back, TunedLens)
    assert (np.asarray(back.weight) == np.asarray(lens.weight)).all()
    assert (np.asarray(back.bias) == np.asarray(lens.bias)).all()
    other = eqx.tree_at(lambda m: m.w_unembed, model, model.w_unembed + 1)
    with pytest.warns(UserWarning, match="another hash"):
        ji.lens.load(tmp_path / "lens", other)
    early = {f"layer_translators.{name}": value for name, value in params.items()}
    assert ji.lens.from_tuned_lens_format(config, early).weight.shape == (3, 16, 16)
    with pytest.raises(ValueError, match=r"promises 3 translators.*lack '0\.weight'"):
        ji.lens.from_tuned_lens_format(config, {"weight": 1})
    with pytest.raises(ValueError, match=r"has num_hidden_layers and d_model.*this config has width"):
        ji.lens.from_tuned_lens_format({"width": 16}, params)
    for name, value in (("bias", "x"), ("bias", []), ("base_model_revision", 2.5)):
        with pytest.raises(ValueError, match=rf"{name}' must be"):
            ji.lens.from_tuned_lens_format({**config, name: value}, params)
    with pytest.raises(ValueError, match=r"params\.pt holds a list"):
        ji.lens.from_tuned_lens_format(config, [1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"has 'J', a matrix per layer; this one has 'list'"):
        ji.lens.from_jacobian_format([1])  # type: ignore[arg-type]
    (tmp_path / "lens" / "params.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no params\.pt"):
        ji.lens.load(tmp_path / "lens")
