"""Kinds: their mathematics against plain NumPy, and the laws that each one states."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import sae
from jaxinterp.sae.kinds._cut_of_batch import largest_above
from jaxinterp.sae.kinds._jumprelu import jump, step
from jaxinterp.sae.kinds._losses import Progress
from jaxinterp.sae.kinds._product import product, products_of_parts

pytestmark = [pytest.mark.wide, pytest.mark.finite]

D, M, B = 6, 16, 10
KEY = jax.random.key(0)


def made(kind: type, **more: Any) -> Any:
    return kind(d=D, features=M, **more).init(KEY)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)


def now(dead: Any = None, warm: float = 1.0) -> Progress:
    return Progress(jnp.int32(0), jnp.float32(warm), jnp.zeros(M, bool) if dead is None else dead)


def numpy(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, np.float64)


@pytest.mark.quick
def test_vanilla_is_its_formula(x: np.ndarray) -> None:
    kind = made(sae.Vanilla, sparsity=0.1)
    kind = eqx.tree_at(lambda k: k.bias, kind, jnp.linspace(-1, 1, D, dtype=jnp.float32))
    w_e, w_d, b = numpy(kind.encoder), numpy(kind.decoder), numpy(kind.bias)
    f = np.maximum(0, (x - b) @ w_e)
    xhat = f @ w_d + b
    np.testing.assert_allclose(kind.encode(x), f, atol=1e-5)
    np.testing.assert_allclose(kind(x), xhat, atol=1e-5)
    found = kind.loss(jnp.asarray(x), jnp.asarray(x), now(warm=0.5))
    want = ((x - xhat) ** 2).mean() + 0.5 * 0.1 * f.sum(1).mean()
    np.testing.assert_allclose(found.total, want, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(kind.decoder, axis=1), 1, atol=1e-6)


def test_standard_does_not_mind_how_encoder_and_decoder_share_a_scale(x: np.ndarray) -> None:
    kind = made(sae.Standard, sparsity=2.0)
    by = jnp.linspace(0.5, 2.0, M, dtype=jnp.float32)
    other = eqx.tree_at(
        lambda k: (k.encoder, k.decoder),
        kind,
        (kind.encoder * by[None], kind.decoder / by[:, None]),
    )
    both = [k.loss(jnp.asarray(x), jnp.asarray(x), now()) for k in (kind, other)]
    np.testing.assert_allclose(both[0].total, both[1].total, rtol=1e-5)
    f = np.maximum(0, x @ numpy(kind.encoder))
    want = 2.0 * (f * np.linalg.norm(numpy(kind.decoder), axis=1)).sum(1).mean()
    np.testing.assert_allclose(both[0].terms["sparsity"], want, rtol=1e-5)


def test_gated_without_a_gain_encodes_as_vanilla(x: np.ndarray) -> None:
    gated, plain = made(sae.Gated), made(sae.Vanilla)
    plain = eqx.tree_at(lambda k: k.encoder, plain, gated.encoder)
    np.testing.assert_allclose(gated.encode(x), plain.encode(x), atol=1e-6)
    moved = eqx.tree_at(
        lambda k: (k.gain, k.magnitude_bias, k.encoder_bias),
        gated,
        (jnp.full(M, 0.3), jnp.full(M, 0.1), jnp.full(M, -0.2)),
    )
    pre = x @ numpy(gated.encoder)
    want = np.where(pre - 0.2 > 0, np.maximum(0, pre * np.exp(0.3) + 0.1), 0)
    np.testing.assert_allclose(moved.encode(x), want, atol=1e-5)

    # The auxiliary reconstruction moves the gate, never the decoder.
    def aux(kind: Any) -> Any:
        return kind.loss(jnp.asarray(x), jnp.asarray(x), now()).terms["aux"]

    slopes = eqx.filter_grad(aux)(gated)
    assert float(jnp.abs(slopes.decoder).max()) == 0 < float(jnp.abs(slopes.encoder).max())


@pytest.mark.quick
def test_topk_keeps_k(x: np.ndarray) -> None:
    kind = made(sae.TopK, k=3)
    f, pre = np.asarray(kind.encode(x)), x @ numpy(kind.encoder)
    assert (f > 0).sum(1).max() <= 3
    for row, all_of in zip(f, pre, strict=True):
        largest = np.sort(all_of)[-3:]
        np.testing.assert_allclose(np.sort(row[row > 0]), largest[largest > 0], atol=1e-5)


def test_dead_features_explain_what_is_left(x: np.ndarray) -> None:
    kind = made(sae.TopK, k=1, aux=4)
    y = jnp.asarray(x)
    assert float(kind.loss(y, y, now()).terms["aux"]) == 0.0
    dead = jnp.arange(M) >= 8
    found = kind.loss(y, y, now(dead))
    f, pre = numpy(kind.encode(x)), x @ numpy(kind.encoder)
    error = x - f @ numpy(kind.decoder)
    hidden = np.where(np.asarray(dead), pre, -np.inf)
    kept = np.where(hidden >= np.sort(hidden, 1)[:, -4:-3], np.maximum(0, hidden), 0)
    rest = error - kept @ numpy(kind.decoder)
    want = (rest**2).sum() / ((error - error.mean(0)) ** 2).sum() / 32
    np.testing.assert_allclose(found.terms["aux"], want, rtol=1e-4)
    slopes = eqx.filter_grad(lambda k: k.loss(y, y, now(dead)).terms["aux"])(kind)
    assert float(jnp.abs(slopes.decoder[:8]).max()) == 0 < float(jnp.abs(slopes.decoder[8:]).max())


@pytest.mark.quick
def test_the_cut_of_a_batch_is_that_of_a_sort() -> None:
    rng = np.random.default_rng(3)
    cut = jax.jit(largest_above, static_argnums=1)
    for count in (1, 7, 50):
        for _ in range(3):
            f = np.maximum(0, rng.normal(size=(8, 25))).astype(np.float32)
            said = float(cut(jnp.asarray(f), count))
            assert (f > said).sum() == min(count, (f > 0).sum())
    ties = np.ones((4, 5), np.float32)
    assert (ties > float(cut(jnp.asarray(ties), 7))).sum() <= 7


def test_batchtopk_in_training_and_at_inference(x: np.ndarray) -> None:
    kind = made(sae.BatchTopK, k=2)
    y = jnp.asarray(x)
    found = kind.loss(y, y, now())
    assert int((np.asarray(found.features) > 0).sum()) == 2 * B
    least = float(found.features[found.features > 0].min())
    assert float(found.updates["threshold"]) == least
    later = kind.loss(y, y, now()._replace(step=jnp.int32(5000))).updates["threshold"]
    np.testing.assert_allclose(later, 0.001 * least, rtol=1e-5)
    sure = kind.calibrated(y)
    # A row alone gives what it gives in company.
    np.testing.assert_allclose(sure.encode(y)[3], sure.encode(y[3:4])[0], atol=1e-6)
    assert abs(float((sure.encode(y) > 0).sum(1).mean()) - 2) <= 0.2


def test_matryoshka_of_one_group_is_batchtopk(x: np.ndarray) -> None:
    y = jnp.asarray(x)
    one, plain = made(sae.Matryoshka, k=2, groups=(1.0,)), made(sae.BatchTopK, k=2)
    np.testing.assert_allclose(one.loss(y, y, now()).total, plain.loss(y, y, now()).total, rtol=1e-5)
    two = made(sae.Matryoshka, k=2, groups=(0.25, 0.75))
    f = np.asarray(two.loss(y, y, now()).features)
    spread = ((x - x.mean(0)) ** 2).sum()
    shares = [((x - f[:, :end] @ numpy(two.decoder)[:end]) ** 2).sum() / spread for end in (4, M)]
    np.testing.assert_allclose(two.loss(y, y, now()).terms["reconstruction"], np.mean(shares), rtol=1e-4)
    assert two.prefix(0).features == 4


@pytest.mark.parametrize("matmul", ["float32", "bfloat16"])
def test_prefixes_have_the_gradients_of_their_own_products(matmul: str) -> None:
    a, b = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((4, 12), (12, 3))))
    alone = lambda a, b: (product(a[:, :5], b[:5], matmul), product(a[:, 5:], b[5:], matmul))
    joined = lambda a, b: products_of_parts(a, b, (5, 12), matmul)
    both = lambda parts: lambda a, b: sum(jnp.sum(jnp.sin(part)) * i for i, part in enumerate(parts(a, b), 1))
    for got, want in zip(joined(a, b), alone(a, b), strict=True):
        np.testing.assert_array_equal(got, want)
    slopes = (jax.jit(jax.grad(both(parts), (0, 1)))(a, b) for parts in (joined, alone))
    for got, want in zip(*slopes, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("matmul", ["float32", "bfloat16", "float16"])
def test_chosen_features_of_prefixes_give_their_gradient_to_what_they_were_chosen_from(matmul: str) -> None:
    a, b = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((4, 12), (12, 3))))
    chosen = lambda a: jnp.where(a > 0.3, a, 0)

    def loss(a: jax.Array, b: jax.Array, is_given: bool) -> jax.Array:
        parts = products_of_parts(chosen(a), b, (5, 12), matmul, a if is_given else None)
        return sum((jnp.sum(jnp.sin(part)) * i for i, part in enumerate(parts, 1)), jnp.zeros(()))

    slope = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    for got, want in zip(slope(a, b, True), slope(a, b, False), strict=True):
        np.testing.assert_array_equal(got, want)


def test_thresholds_move_by_the_rectangle() -> None:
    """The expected straight-through gradient is the derivative of the smoothed loss."""
    rng = np.random.default_rng(5)
    pre = rng.normal(0.5, 0.5, size=200_000)
    width, theta = 0.2, 0.4
    weight = np.cos(pre)  # any smooth function that multiplies f

    def smoothed(theta: float) -> float:  # the step convolved with the rectangle
        soft = np.clip((pre - theta) / width + 0.5, 0, 1)
        return float((weight * pre * soft).mean()), float(soft.mean())  # type: ignore[return-value]

    ends: Any = [smoothed(theta + h) for h in (0.01, -0.01)]
    want = [(a - b) / 0.02 for a, b in zip(*ends, strict=True)]
    args = jnp.asarray(pre[:, None]), jnp.asarray([theta]), jnp.float32(width)
    f_slope = jax.grad(lambda t: jnp.mean(jnp.asarray(weight[:, None]) * jump(args[0], t, args[2])))
    l0_slope = jax.grad(lambda t: jnp.mean(step(args[0], t, args[2])))
    np.testing.assert_allclose(f_slope(args[1])[0], want[0], rtol=0.05)
    np.testing.assert_allclose(l0_slope(args[1])[0], want[1], rtol=0.05)
    slope = jax.grad(lambda p: jump(p, args[1], args[2]).sum())(args[0][:50])
    np.testing.assert_array_equal(slope, (args[0][:50] > theta).astype(np.float32))


@pytest.mark.quick
def test_jumprelu_counts(x: np.ndarray) -> None:
    kind = made(sae.JumpReLU, threshold=0.5, sparsity=0.1)
    f, pre = np.asarray(kind.encode(x)), x @ numpy(kind.encoder)
    np.testing.assert_allclose(f, np.where(pre > 0.5, pre, 0), atol=1e-5)
    y = jnp.asarray(x)
    found = kind.loss(y, y, now())
    np.testing.assert_allclose(found.terms["sparsity"], 0.1 * (pre > 0.5).sum(1).mean(), rtol=1e-5)
    own = sae.JumpReLU(d=D, features=M).init(KEY, 7 * y)  # published coefficients are of this scale
    np.testing.assert_allclose(np.square(own.scale * 7 * x).sum(1).mean(), 1, rtol=1e-5)
    aimed = made(sae.JumpReLU, threshold=0.5, sparsity=0.1, target=2)
    want = 0.1 * ((pre > 0.5).sum(1).mean() / 2 - 1) ** 2
    np.testing.assert_allclose(aimed.loss(y, y, now()).terms["sparsity"], want, rtol=1e-4)


def test_a_crosscoder_of_one_source_is_standard(x: np.ndarray) -> None:
    cross, plain = made(sae.Crosscoder, sources=1, sparsity=2.0), made(sae.Standard, sparsity=2.0)
    plain = eqx.tree_at(lambda k: (k.encoder, k.decoder), plain, (cross.encoder[0], cross.decoder[:, 0]))
    y = jnp.asarray(x)
    ours = cross.loss(y[:, None], y[:, None], now()).total
    np.testing.assert_allclose(ours, plain.loss(y, y, now()).total, rtol=1e-5)
    two = made(sae.Crosscoder, sources=2)
    lone = eqx.tree_at(lambda k: k.decoder, two, two.decoder.at[:4, 0].set(0))
    assert (np.asarray(lone.only())[:4] == 1).all()
    assert (np.abs(np.asarray(two.alike())) <= 1 + 1e-6).all()


def test_later_layers_do_not_write_to_earlier_ones(x: np.ndarray) -> None:
    kind = made(sae.CrossLayerTranscoder, layers=3, threshold=0.01)
    kind = eqx.tree_at(lambda k: k.decoder, kind, jnp.ones_like(kind.decoder))
    inputs = jnp.stack([jnp.asarray(x)] * 3, 1)
    moved = inputs.at[:, 2].add(1.0)
    before, after = kind(inputs), kind(moved)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert float(jnp.abs(before[:, 2] - after[:, 2]).max()) > 0


def test_a_transcoder_with_skip_holds_a_linear_map(x: np.ndarray) -> None:
    kind = made(sae.Transcoder, d_out=3, skip=True)
    a = jnp.asarray(np.random.default_rng(1).normal(size=(D, 3)), jnp.float32)
    kind = eqx.tree_at(lambda k: (k.skip, k.decoder), kind, (a, jnp.zeros_like(kind.decoder)))
    np.testing.assert_allclose(kind(jnp.asarray(x)), x @ numpy(a), atol=1e-5)
    with pytest.raises(ValueError, match="decode"):
        kind.decode(kind.encode(jnp.asarray(x)))


@pytest.mark.parametrize("name", ["Vanilla", "Standard", "Gated", "TopK", "JumpReLU", "Crosscoder"])
def test_folding_changes_nothing(name: str, x: np.ndarray) -> None:
    more = {"k": 3} if name == "TopK" else {}
    kind = made(getattr(sae, name), **more)
    y = jnp.asarray(x) if name != "Crosscoder" else jnp.stack([jnp.asarray(x)] * 2, 1)
    scale = jnp.full(kind.scale.shape, 3.0)
    kind = eqx.tree_at(lambda k: (k.scale, k.bias), kind, (scale, kind.bias + 0.5))
    np.testing.assert_allclose(kind.fold()(y), kind(y), atol=1e-5)
    np.testing.assert_allclose(kind.fold().encode(y), kind.encode(y), atol=1e-5)


def test_sizes_that_cannot_be() -> None:
    for bad in (
        lambda: sae.TopK(d=8, features=0, k=1),
        lambda: sae.TopK(d=8, features=4, k=5),
        lambda: sae.Vanilla(d=8, features=4, sparsity=float("nan")),
        lambda: sae.Matryoshka(d=8, features=8, k=2, groups=(0.5, 0.2)),
        lambda: sae.JumpReLU(d=8, features=8, threshold=0.0),
        lambda: sae.TopK(d=8, features=8, k=2, matmul="int8"),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(ValueError, match="no weights yet"):
        sae.TopK(d=8, features=16, k=2).encode(jnp.ones((1, 8)))
    with pytest.raises(ValueError, match="width d=6"):
        made(sae.TopK, k=2).encode(jnp.ones((1, 8)))
