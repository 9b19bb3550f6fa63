"""Attention in one pass beside the formula and beside the form that holds scores and patterns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.core._types import Reads
from jaxinterp.nn import _one_pass, in_one_pass
from jaxinterp.nn._linear import like
from tests.models import model_of, random_model, sampled

CASES: dict[str, Any] = {
    "causal": dict(causal=True),
    "everything": dict(),
    "left": dict(causal=True, real=slice(5, None)),
    "right": dict(causal=True, real=slice(0, 30)),
    "both ways": dict(real=slice(3, 30)),
    "later": dict(causal=True, first=14, queries=23),
    "traced": dict(causal=True, first=jnp.asarray(14), queries=23, real=slice(4, None)),
    "table": dict(table=True),
}

KERNELS = ("Softmax", "SoftmaxBackward", "ScaleBiasSoftmax", "ScaleBiasSoftmaxBackward")
"Names of the calls of cuDNN."


def inputs(case: str, dtype: Any, kv_heads: int = 2, keys: int = 37) -> tuple[Any, Any, Any, Any, np.ndarray]:
    """Queries, keys, values, which keys are read, and the same as an array (batch, query, key)."""
    rng = np.random.default_rng(3)
    given = dict(CASES[case])
    queries = given.pop("queries", keys)
    q, k, v = (
        jnp.asarray(rng.normal(size=(2, n, heads, 5)), dtype)
        for n, heads in ((queries, 4), (keys, kv_heads), (keys, kv_heads))
    )
    allowed = np.ones((2, queries, keys), bool)
    if given.get("causal"):
        own = np.arange(queries)[:, None] + int(given.get("first", 0))
        allowed &= np.arange(keys) <= own
    if "real" in given:
        real = np.zeros((2, keys), bool)
        real[0, given["real"]], real[1] = True, True
        given["real"] = jnp.asarray(real)
        allowed &= real[:, None]
    if "table" in given:
        allowed &= (rng.random((2, queries, keys)) < 0.3) | np.eye(queries, keys, dtype=bool)
        given["table"] = jnp.asarray(allowed)
    return 2 * q, k, v, Reads(queries, keys, **given), allowed


def formula(q: Any, k: Any, v: Any, allowed: np.ndarray) -> np.ndarray:
    """Softmax attention in NumPy, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[2] // x.shape[2], axis=2) for x in (k, v))
    scores = np.where(allowed[:, None], np.einsum("bqhk,bshk->bhqs", q, k), -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqs,bshk->bqhk", weights / weights.sum(-1, keepdims=True), v)


def computed(monkeypatch: Any, rows: int, q: Any, k: Any, v: Any, reads: Any) -> np.ndarray:
    """`one_pass` with `rows` queries in a chunk."""
    row = q.shape[0] * q.shape[2] * k.shape[1] * max(q.dtype.itemsize, 4)
    monkeypatch.setattr(_one_pass, "CHUNK_BYTES", row * rows)
    monkeypatch.setattr(_one_pass, "LEAST", 1)
    return np.asarray(jax.jit(lambda *a: _one_pass.one_pass(*a))(q, k, v, reads))


@pytest.mark.parametrize("case", CASES)
def test_chunks_equal_the_formula(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, reads, allowed = inputs(case, jnp.float32)
    want, reached = formula(q, k, v, allowed), allowed.any(-1)
    for rows in (4, 64):
        got = computed(monkeypatch, rows, q, k, v, reads)
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got[reached], want[reached], atol=2e-5)


# All cases in float32 above, and the two that differ most here.
@pytest.mark.parametrize(
    "case", sampled(slow=["traced", "table"], exhaustive=[c for c in CASES if c not in ("traced", "table")])
)
def test_chunks_in_float64(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-10, with one key/value head for all queries."""
    with enable_x64(True):
        q, k, v, reads, allowed = inputs(case, jnp.float64, kv_heads=1)
        want, reached = formula(q, k, v, allowed), allowed.any(-1)
        for rows in (1, 7, 64):
            got = computed(monkeypatch, rows, q, k, v, reads)
            np.testing.assert_allclose(got[reached], want[reached], atol=1e-10)


@pytest.mark.parametrize("case", ["causal", pytest.param("left", marks=pytest.mark.slow)])
def test_derivatives_of_chunks(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reverse mode, forward mode and one over the other, beside the same of scores held at once."""
    q, k, v, reads, allowed = inputs(case, jnp.float32)
    weight = jnp.asarray(allowed.any(-1)[..., None, None], jnp.float32)

    def derivatives(rows: int) -> Any:
        row = 2 * 4 * 37 * 4
        monkeypatch.setattr(_one_pass, "CHUNK_BYTES", row * rows)
        monkeypatch.setattr(_one_pass, "LEAST", 1)

        def f(q: Any, k: Any, v: Any) -> Any:
            return (jnp.sin(_one_pass.one_pass(q, k, v, reads)) * weight).sum()

        grad = jax.grad(f, argnums=(0, 1, 2))
        both = jax.jit(lambda *xs: jax.jvp(grad, xs, tuple(jnp.cos(x) for x in xs)))
        return both(q, k, v), jax.jit(jax.vmap(lambda s: f(s * q, k, v)))(jnp.arange(3.0))

    for a, b in zip(jax.tree.leaves(derivatives(5)), jax.tree.leaves(derivatives(64)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


def test_nothing_holds_query_by_key() -> None:
    """Of no array of a run the two last axes are all queries and all keys, until a site is named."""
    model, tokens = long_model(), jnp.zeros((4, 512), jnp.int32)

    def held(**asked: Any) -> bool:
        jaxpr = jax.make_jaxpr(lambda t: ji.run(model, t, logits=-1, **asked)[0])(tokens)
        return "512,512]" in str(jaxpr)

    assert not held() and not held(mask=np.ones((4, 512), bool)) and held(capture=["pattern"])


def long_model() -> Any:
    config = ji.models.GPT2Config(vocab=40, ctx=512, layers=2, d=16, heads=8)
    return random_model(config, embed=5.0)


@pytest.mark.slow
def test_laws_of_a_long_prompt() -> None:
    """Naming scores or patterns changes no bit where queries are taken in chunks."""
    model = long_model()
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 40, (8, 512)), jnp.int32)
    plain, _ = ji.run(model, tokens)
    _, acts = ji.run(model, tokens, capture=["pattern"])
    edits = [[ji.replace("pattern", acts["pattern"])], [ji.map("scores", lambda x: x)]]
    for asked in (dict(capture=["pattern", "scores"]), *(dict(edits=e) for e in edits)):
        np.testing.assert_array_equal(ji.run(model, tokens, **asked)[0], plain)
    held, _ = ji.run(in_one_pass(model, False), tokens)
    np.testing.assert_allclose(plain, held, atol=1e-4)


PROMPTS = np.asarray([[1, 7, 3, 7, 3], [9, 2, 39, 0, 5]], np.int32)


def test_an_edited_pattern_is_honoured_exactly() -> None:
    model = model_of("llama")
    _, acts = ji.run(model, PROMPTS, capture=["z", "pattern"])
    _, cut = ji.run(model, PROMPTS, capture=["z"], edits=[ji.zero("pattern", layer=1, head=2, query=3)])
    assert (cut["z"][1, :, 3, 2] == 0).all()
    same = np.ones(cut["z"].shape[:-1], bool)
    same[1, :, 3, 2] = same[2] = False
    np.testing.assert_array_equal(np.asarray(cut["z"])[same], np.asarray(acts["z"])[same])
    _, moved = ji.run(model, PROMPTS, capture=["v", "z"], edits=[ji.replace("pattern", 1.0, query=4)])
    want = np.repeat(np.asarray(moved["v"]).sum(2), 2, axis=2)
    np.testing.assert_allclose(moved["z"][:, :, 4], want, atol=1e-4)


EDITS: dict[str, Any] = {
    "none": [],
    "replace": [ji.replace("pattern", 0.25, layer=1, head=0, query=[1, 2])],
    "add": [ji.add("scores", np.float32([0.5, -1, 0, 2, 0]), head=1)],
    "scale": [ji.scale("pattern", 0.5, layer=0, head=1), ji.scale("scores", 1.5, layer=1)],
    "map": [ji.map("scores", jnp.sin, layer=1), ji.map("pattern", jnp.square, layer=2, key=0)],
    "hidden": [ji.replace("scores", -np.inf, layer=0, head=0, query=2, key=1)],
}


# Each edit on one family, and one edit on both.
@pytest.mark.parametrize(
    ("kind", "name"),
    sampled(
        ("add", "gpt2"),
        slow=[
            ("none", "llama"),
            ("map", "llama"),
            ("hidden", "gpt2"),
            ("replace", "gpt2"),
            ("scale", "gpt2"),
        ],
        exhaustive=[
            ("none", "gpt2"),
            ("map", "gpt2"),
            *((k, "llama") for k in ("add", "hidden", "replace", "scale")),
        ],
    ),
)
def test_gradients_equal_those_of_held_patterns(kind: str, name: str) -> None:
    """At patterns, scores, queries, keys and values at once; a prompt is padded."""
    model, at = model_of(name), ["pattern", "scores", "q", "k", "v", "resid_pre"]
    real = np.asarray([[False, False, True, True, True], [True] * 5])
    metric = lambda logits: jnp.sin(logits[..., -1, :7]).sum(-1)
    asked = dict(at=at, edits=EDITS[kind], mask=real)
    value, acts, grads = ji.site_grads(model, PROMPTS, metric, **asked)
    held_value, held_acts, held = ji.site_grads(in_one_pass(model, False), PROMPTS, metric, **asked)
    np.testing.assert_allclose(value, held_value, atol=2e-5)
    for site in at:
        keep = np.isfinite(held_acts[site])
        np.testing.assert_allclose(acts[site][keep], held_acts[site][keep], atol=1e-4, rtol=1e-4)
        scale = max(float(np.abs(held[site]).max()), 1.0)
        np.testing.assert_allclose(grads[site], held[site], atol=1e-4 * scale)


@pytest.mark.slow
def test_gradients_equal_finite_differences() -> None:
    """Of an edited pattern and edited scores, in float64."""
    with enable_x64(True):
        model = jax.tree.map(lambda x: x.astype(jnp.float64), model_of("gpt2"))
        edits = [ji.scale("scores", 1.5, layer=1), ji.scale("pattern", 0.5, head=1)]
        metric = lambda logits: jnp.sin(logits[..., -1, :7]).sum(-1)
        tokens = jnp.asarray(PROMPTS)
        at = ["pattern", "scores", "q", "k", "v"]
        _, _, grads = ji.site_grads(model, tokens, metric, at=at, edits=edits)
        rng = np.random.default_rng(1)
        for site in at:
            along = rng.normal(size=grads[site].shape)
            up, down = (
                metric(ji.run(model, tokens, edits=[*edits, ji.add(site, t * along)])[0]).sum()
                for t in (1e-6, -1e-6)
            )
            np.testing.assert_allclose((up - down) / 2e-6, (grads[site] * along).sum(), rtol=1e-5)


def long_inputs(queries: int = 260, width: int = 8) -> tuple[Any, Any, Any, Any]:
    """Grouped queries, keys, values, and which keys are real, long enough for a kernel."""
    rng = np.random.default_rng(3)
    q, k, v = (jnp.asarray(rng.normal(size=(2, queries, h, width)), jnp.float32) for h in (4, 2, 2))
    real = np.ones((2, queries), bool)
    real[0, :7] = real[1, -9:] = False
    return q, k, v, jnp.asarray(real)


@pytest.mark.slow
def test_derivatives_of_the_operation() -> None:
    """The operation that may become a kernel has the derivatives of the plain form, nested and mapped."""
    q, k, v, real = long_inputs()
    reads = Reads(260, 260, causal=True, real=real)
    assert _one_pass.suits_kernel(q, k, reads)

    def derivatives(mix: Any) -> Any:
        f = lambda q, k, v: jnp.where(like(real[..., None, None], q), jnp.sin(mix(q, k, v, reads)), 0).sum()
        grad, along = jax.grad(f, argnums=(0, 1, 2)), tuple(jnp.cos(x) for x in (q, k, v))
        scaled = lambda s: f(s * q, k, v)
        every = lambda *xs: (
            jax.jvp(grad, xs, along),
            jax.grad(lambda q: jax.jvp(f, (q, k, v), along)[1])(q),
            jax.vmap(jax.grad(scaled))(jnp.arange(3.0)),
            jax.grad(lambda q: jax.vmap(lambda s: f(s * q, k, v))(jnp.arange(3.0)).sum())(q),
        )
        return jax.jit(every)(q, k, v)

    pairs = zip(
        *(jax.tree.leaves(derivatives(f)) for f in (_one_pass.one_pass, _one_pass.chunked)), strict=True
    )
    for one, plain in pairs:
        np.testing.assert_allclose(one, plain, atol=1e-4 * max(float(jnp.abs(plain).max()), 1.0))


# Each option both ways, and their eight products by hand.
@pytest.mark.parametrize(
    ("causal", "padded", "whole"),
    sampled(
        slow=[(True, True, 0), (False, False, 1024)],
        exhaustive=[
            (True, True, 1024),
            (True, False, 0),
            (True, False, 1024),
            (False, True, 0),
            (False, True, 1024),
            (False, False, 0),
        ],
    ),
)
def test_the_kernel_for_tpu(causal: bool, padded: bool, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated: float32 within 2e-5 of the plain form, lengths that are no multiples of a block."""
    from jaxinterp.nn import _tpu_kernel

    monkeypatch.setattr(_tpu_kernel, "WHOLE", whole)
    q, k, v, real = long_inputs(300, 16)
    reads = Reads(300, 300, causal=causal, real=real if padded else None)
    run = jax.jit(lambda *x: _tpu_kernel.attention(*x, causal=causal, interpret=True)[0])
    got, want = run(q, k, v, reads.real), jax.jit(_one_pass.chunked)(q, k, v, reads)
    allowed = reads.rows(0, 300)
    reached = np.ones((2, 300), bool) if allowed is None else np.broadcast_to(allowed.any(-1), (2, 300))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[reached], want[reached], atol=2e-5)


@pytest.mark.parametrize("causal", (True, False))
@pytest.mark.parametrize("padded", (True, False))
def test_the_call_for_gpu(causal: bool, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By XLA in place of cuDNN: mixes and their derivatives are those of the plain form."""
    from jaxinterp.nn import _gpu_kernel

    monkeypatch.setattr(_gpu_kernel, "IMPLEMENTATION", "xla")
    q, k, v, real = long_inputs(300, 16)
    reads = Reads(300, 300, causal=causal, real=real if padded else None)
    allowed = reads.rows(0, 300)
    reached = np.ones((2, 300), bool) if allowed is None else np.broadcast_to(allowed.any(-1), (2, 300))
    z = jnp.where(reached[..., None, None], jnp.cos(q), 0)

    def both(q: Any, k: Any, v: Any) -> Any:
        mixed = _gpu_kernel.attention(q, k, v, reads.real, causal=causal)
        pulled = _gpu_kernel.attention(q, k, v, reads.real, z, causal=causal)
        plain, pull = jax.vjp(lambda *x: _one_pass.chunked(*x, reads), q, k, v)
        return (*mixed, *pulled), (plain, *pull(z))

    got, want = jax.jit(both)(q, k, v)
    np.testing.assert_allclose(got[0][reached], want[0][reached], atol=2e-5)
    for a, b in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_gpu_runs_kernels(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exported program, as if cuDNN and a card were here; a gradient has a kernel of its own."""
    from jax._src.cudnn import fused_attention_stablehlo as calls

    from jaxinterp.nn import _gpu_kernel

    monkeypatch.setattr(_gpu_kernel, "_has_card", lambda: True)
    monkeypatch.setattr(calls, "check_cudnn_version", lambda: 91000)
    q, k, v, real = (x.astype(dtype) for x in long_inputs(256, 64))
    reads = Reads(256, 256, causal=True, real=real.astype(bool))

    def text(f: Any) -> str:
        checks = [jax.export.DisabledSafetyCheck.custom_call(f"__cudnn$fmha{name}") for name in KERNELS]
        return jax.export.export(jax.jit(f), platforms=["cuda"], disabled_checks=checks)(
            q, k, v
        ).mlir_module()

    mix = lambda q, k, v: _one_pass.one_pass(q, k, v, reads)
    assert text(mix).count('"__cudnn$fmha') + text(mix).count("@__cudnn$fmha") == 1
    pulled = text(jax.grad(lambda *x: mix(*x).astype(jnp.float32).sum(), argnums=(0, 1, 2)))
    assert "Backward" in pulled and text(mix).count("stablehlo.while") == 0


def test_a_card_that_is_not_here_takes_the_plain_form_in_wider_chunks() -> None:
    q = jax.ShapeDtypeStruct((4, 1024, 8, 64), jnp.bfloat16)
    mix = lambda q: _one_pass.one_pass(q, q, q, Reads(1024, 1024, causal=True))

    def text(platform: str) -> str:
        return jax.export.export(jax.jit(mix), platforms=[platform])(q).mlir_module()

    assert "cudnn" not in text("cuda")
    assert text("cuda").count("stablehlo.while") < text("cpu").count("stablehlo.while")


def test_float16_takes_the_plain_form_on_a_tpu() -> None:
    """A TPU has no products of float16, and the plain form is there what it is elsewhere."""
    q = jax.ShapeDtypeStruct((1, 256, 2, 64), jnp.float16)
    mix = lambda q: _one_pass.one_pass(q, q, q, Reads(256, 256, causal=True))
    assert "tpu_custom_call" not in jax.export.export(jax.jit(mix), platforms=["tpu"])(q).mlir_module()
    x = long_inputs(256, 64)[0].astype(jnp.float16)
    np.testing.assert_array_equal(mix(x), _one_pass.chunked(x, x, x, Reads(256, 256, causal=True)))


@pytest.mark.slow
def test_a_tpu_runs_kernels() -> None:
    """By the exported program; a gradient has kernels of its own."""
    q, k, v, _ = long_inputs(256, 64)
    reads = Reads(256, 256, causal=True)
    mix = lambda q, k, v: _one_pass.one_pass(q, k, v, reads)

    def text(f: Any) -> str:
        return jax.export.export(jax.jit(f), platforms=["tpu"])(q, k, v).mlir_module()

    assert text(mix).count("tpu_custom_call") == 1
    mapped = lambda q, k, v: jax.vmap(lambda s: mix(s * q, k, v))(jnp.arange(3.0))
    assert text(mapped).count("tpu_custom_call") == 1
    assert text(jax.grad(lambda *x: mix(*x).sum(), argnums=(0, 1, 2))).count("tpu_custom_call") == 3


@pytest.mark.slow
def test_chunks_are_of_what_a_device_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a mesh whose axis "data" spreads the rows, a chunk has more queries; where they do not divide, as many."""
    monkeypatch.setattr(_one_pass, "CHUNK_BYTES", 8 * 2 * 64 * 4 * 4)  # four queries of eight prompts
    monkeypatch.setattr(_one_pass, "LEAST", 1)
    mesh = jax.sharding.AbstractMesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def turns(batch: int) -> int:
        x = jax.ShapeDtypeStruct((batch, 64, 2, 8), np.float32)
        call = lambda q: _one_pass.chunked(q, q, q, Reads(64, 64, causal=False))
        text = str(jax.make_jaxpr(call)(x))
        return int(text.partition("length=")[2].split(maxsplit=1)[0]) if "length=" in text else 1

    assert turns(8) == 16 and turns(6) == 13
    with jax.sharding.use_abstract_mesh(mesh):
        assert turns(8) == 4 and turns(6) == 13
