"""The metric of a reconstruction: logit-space losses without logits, in every kind and everywhere it goes."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp.sae.kinds._losses import Progress
from tests.models import sampled
from tests.options import how

D, M, B, V = 8, 16, 12, 40
CONFIG = ji.models.GPT2Config(vocab=V, ctx=12, layers=2, d=D, heads=2)
RNG = np.random.default_rng(0)
A = RNG.normal(size=(D, V)).astype(np.float32)
G = A @ A.T
X = RNG.normal(size=(B, D)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def model() -> Any:
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(CONFIG, key=KEY))
    rng = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), leaf.dtype)
    return jax.tree.map(draw, shapes)


def test_the_metric_of_a_site_is_that_of_its_logits(model: Any) -> None:
    gain, unembed = np.asarray(model.ln_final.weight), np.asarray(model.w_embed).T
    behind = (np.eye(D) - 1 / D) * gain[None] @ unembed  # the mean off, the gain, the unembedding
    down = np.asarray(model.blocks.mlp.w_out[1])
    for site, a in (
        ("resid_post[1]", behind),
        ("mlp_out[0]", behind),
        ("mlp_post[1]", down @ behind),
    ):
        found = np.asarray(ji.sae.logit_metric(model, site))
        error = np.random.default_rng(1).normal(size=(5, len(a))).astype(np.float32)
        want = np.square(error @ a).sum(-1)
        np.testing.assert_allclose(np.einsum("bi,ij,bj->b", error, found, error), want, rtol=1e-4)
    with pytest.raises(ValueError, match="residual stream"):
        ji.sae.logit_metric(model, "z[1]")


def made(name: str) -> Any:
    more: Any = {
        "TopK": {"k": 2, "aux": 4},
        "BatchTopK": {"k": 2},
        "Crosscoder": {"sources": 2},
        "Matryoshka": {"k": 2, "groups": (0.25, 0.75)},
        "CrossLayerTranscoder": {"layers": 2},
    }
    return getattr(ji.sae, name)(d=D, features=M, **more.get(name, {})).init(KEY)


@pytest.mark.parametrize(
    "name",
    sampled(
        "Vanilla",
        "TopK",
        "CrossLayerTranscoder",
        slow=["Standard", "Gated", "BatchTopK", "Matryoshka", "JumpReLU", "Transcoder", "Crosscoder"],
    ),
)
def test_the_loss_is_the_explicit_one_of_logits(name: str) -> None:
    kind = made(name)
    several = name.startswith("Cross")
    x = jnp.asarray(np.stack([X, X[::-1]], 1) if several else X)
    dead = jnp.arange(M) >= 8
    now = Progress(jnp.int32(0), jnp.float32(1), jnp.stack([dead] * 2) if "Layer" in name else dead)
    found = ji.sae.with_metric(kind, G).loss(x, x, now)
    f = found.features
    xhat = kind.decode(f, x) if name == "Transcoder" else kind.decode(f)
    image = np.square(np.asarray(x - xhat, np.float64) @ A).sum()
    spread = np.square(np.asarray(x - x.mean(0, keepdims=True), np.float64) @ A).sum()
    want = image / spread if name in ("TopK", "BatchTopK") else image / B
    if name == "Matryoshka":
        cut = kind.prefix(0)
        first = np.square(np.asarray(x - cut.decode(f[:, : cut.features]), np.float64) @ A).sum()
        want = (first + image) / spread / 2
    want = want / D if name == "Vanilla" else want
    np.testing.assert_allclose(found.terms["reconstruction"], want, rtol=1e-4)
    if name == "Gated":
        gate = jax.nn.relu(kind.pre(x))
        aside = np.square(np.asarray(x - kind.decode(gate), np.float64) @ A).sum() / B
        np.testing.assert_allclose(found.terms["aux"], aside, rtol=1e-4)
    if name == "TopK":
        hidden = np.where(np.asarray(dead), np.asarray(kind.pre(x)), -np.inf)
        kept = np.where(hidden >= np.sort(hidden, 1)[:, -4:-3], np.maximum(0, hidden), 0)
        error = np.asarray(x - xhat, np.float64)
        rest = error - kept @ np.asarray(kind.decoder, np.float64)
        aux = np.square(rest @ A).sum() / np.square((error - error.mean(0)) @ A).sum() / 32
        np.testing.assert_allclose(found.terms["aux"], aux, rtol=1e-4)


@pytest.mark.slow
def test_a_dictionary_keeps_its_metric_in_training_sweeps_and_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2000, D)).astype(np.float32)
    strong = np.diag([30.0] * 2 + [0.1] * (D - 2)).astype(np.float32)
    plain = ji.sae.TopK(d=D, features=M, k=2)
    kind = ji.sae.with_metric(plain, strong)
    options: Any = {"steps": 60, "batch_size": 128, "steps_per_dispatch": 30, "progress": False}
    optimizer = optax.adam(1e-2)
    alone, history = ji.sae.train(kind, x, optimizer, key=KEY, **how(options))
    np.testing.assert_array_equal(alone.metric, strong)
    members = ji.sae.sweep([plain, kind, kind], x, optimizer, key=KEY, **how(options))
    np.testing.assert_allclose(members[1][0].decoder, alone.decoder, atol=1e-5)
    np.testing.assert_allclose(members[1][1]["loss"], history["loss"], atol=1e-5)
    assert members[0][0].metric is None

    def missed(sae: Any) -> float:  # what the metric counts
        error = x - np.asarray(sae(jnp.asarray(x)))
        return float(np.einsum("bi,ij,bj->", error, strong, error))

    assert missed(alone) < 0.7 * missed(members[0][0])
    again = ji.sae.load(ji.sae.save(tmp_path / "kept", alone))
    np.testing.assert_array_equal(again.metric, strong)
    np.testing.assert_array_equal(again(jnp.asarray(x[:3])), alone(jnp.asarray(x[:3])))
    assert ji.sae.with_metric(alone, None).metric is None


def test_metrics_that_cannot_be() -> None:
    kind = ji.sae.TopK(d=D, features=M, k=2)
    for bad, words in (
        (G[:4, :4], "the width it writes"),
        (np.triu(G), "symmetric"),
        (-G, "no eigenvalue below 0"),
        (G * np.nan, "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            ji.sae.with_metric(kind, bad)
    with pytest.raises(ValueError, match="takes a kind"):
        ji.sae.with_metric(ji.sae.TopK, G)
