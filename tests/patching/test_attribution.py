"""Attribution patching: exact where the model is linear, and a gradient everywhere."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxinterp as ji
from jaxinterp.patching import _attribution_drop
from jaxinterp.patching._attribution_qk import key_effects
from tests.models import sampled
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, frozen_patterns, model_of

PAIR = (CLEAN, CORRUPT, METRIC)
Settings = ji.patching.AttributionSettings
FAMILIES = ["gpt2", "neox", "llama"]


def close(value: Any, expected: Any, rtol: float = 1e-5) -> None:
    value, expected = np.asarray(value), np.asarray(expected)
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() <= rtol * max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize("name", [pytest.param("linear gpt2", marks=pytest.mark.slow), "linear neox"])
def test_equals_the_sweep_in_a_linear_model(name: str) -> None:
    model = frozen_patterns(model_of(name), CLEAN)
    sites: Any = ("resid_pre", "mlp_out") if name == "linear gpt2" else "head_out"
    over: Any = (
        ("layer", "pos")
        if name == "linear gpt2"
        else {"pos": [[0, 4], [2, 2]], "layer": [1, 0], "head": None}
    )
    options: Any = {"site": sites, "over": over, "mask": MASK, "per_example": True}
    estimate = ji.patching.attribution(model, *PAIR, **options)
    close(estimate, ji.patching.sweep(model, *PAIR, **options))


@pytest.mark.quick
def test_is_gradient_times_difference() -> None:
    model = model_of("llama")
    sites = ["v", "head_out", "mlp_in", "q_in"]
    value, here, grads = ji.site_grads(model, CORRUPT, METRIC.of, at=sites, mask=MASK, logits=-1)
    _, there = ji.run(model, CLEAN, capture=sites, mask=MASK, logits=False)
    options: Any = {"site": sites, "over": ("pos", "layer"), "mask": MASK, "per_example": True}
    got = ji.patching.attribution_effects(model, *PAIR, **options)
    for row, site in zip(got, sites, strict=True):
        product = np.asarray(there[site] - here[site]) * np.asarray(grads[site])
        product = product.reshape(*product.shape[:3], -1).sum(-1)
        close(row, product.transpose(2, 0, 1))
    # With the metric of the unpatched run, from the same compiled program.
    close(ji.patching.attribution(model, *PAIR, **options), got + np.asarray(value)[None, None, None])


@pytest.mark.slow
def test_effects_over_fewer_axes_are_sums() -> None:
    model = model_of("neox")
    axes = ("layer", "pos", "head", "unit")
    finest = np.asarray(ji.patching.attribution_effects(model, *PAIR, site="k", over=axes))
    assert finest.shape == (2, 5, 2, 4)
    by_unit = ji.patching.attribution_effects(model, *PAIR, site="k", over=("unit", "layer"))
    close(by_unit, finest.sum((1, 2)).T)
    close(ji.patching.attribution_effects(model, *PAIR, site="k", over="head"), finest.sum((0, 1, 3)))
    some = {"head": [1], "pos": [-1, 0], "unit": None, "layer": [1]}
    chosen = ji.patching.attribution_effects(model, *PAIR, site="k", over=some)
    close(chosen[0, :, :, 0], finest[1, [4, 0], 1])


@pytest.mark.slow
def test_one_prompt_without_a_batch_axis() -> None:
    model, metric = model_of("gpt2"), ji.metrics.logit_diff(3, 5)
    one = ji.patching.attribution(model, CLEAN[0], CORRUPT[0], metric, per_example=True)
    both = ji.patching.attribution(model, CLEAN, CORRUPT, metric, per_example=True)
    close(one, both[..., 0])


@pytest.mark.slow
def test_half_precision_and_features_of_a_dictionary() -> None:
    class Doubled(eqx.Module):
        def encode(self, x: jax.Array) -> jax.Array:
            return 2 * x

        def decode(self, feature: jax.Array) -> jax.Array:
            return feature / 2

    model = model_of("gpt2")
    edited = ji.intervene(model, [ji.splice("resid_post", Doubled())])
    options: Any = {"over": ("layer", "unit"), "per_example": True}
    features = ji.patching.attribution(edited, *PAIR, site="resid_post.sae.feature", **options)
    units = ji.patching.attribution(model, *PAIR, site="resid_post", **options)
    close(features, units)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model)
    rough = ji.patching.attribution(half, *PAIR, site="resid_post", **options)
    assert rough.dtype == jnp.float32
    close(rough, units, 5e-2)


@pytest.mark.parametrize(
    ("name", "sites", "over"),
    [
        ("scaled", ("q", "k"), ("layer", "head")),
        pytest.param("attention", ("k_rot",), ("layer", "pos", "head"), marks=pytest.mark.slow),
        pytest.param("attention", ("q_rot",), ("layer", "pos", "head"), marks=pytest.mark.slow),
    ],
)
def test_the_correction_is_exact_where_the_rest_is_linear_in_the_pattern(
    name: str, sites: Any, over: Any
) -> None:
    """In the last layer, without norms, only the softmax is between a key and the logits."""
    # Saturated attention, where the plain gradient is far off.
    model = eqx.tree_at(lambda m: m.blocks.attn.w_q, model_of(name), replace_fn=lambda w: 6 * w)
    options: Any = {"site": sites, "over": over, "mask": MASK, "per_example": True}
    exact = np.asarray(ji.patching.sweep(model, *PAIR, **options))[:, -1]
    fixed = np.asarray(ji.patching.attribution(model, *PAIR, settings=Settings(qk_fix=True), **options))[
        :, -1
    ]
    close(fixed, exact)


def test_single_keys_through_the_softmax_by_hand() -> None:
    rng = np.random.default_rng(0)
    scores, exchanged = 9 * rng.normal(size=(2, 2, 3, 6, 6)).astype(np.float32)
    gradient = rng.normal(size=(2, 3, 6, 6)).astype(np.float32)
    scores[0, 0, :, 2] += 60  # saturated
    for allowed in [None, np.tril(np.ones((6, 6), bool))]:
        got = key_effects(jnp.asarray(gradient), jnp.asarray(scores), jnp.asarray(exchanged), allowed)
        seen = np.ones((6, 6), bool) if allowed is None else allowed
        for key in range(6):
            patched = np.where(np.arange(6) == key, exchanged, scores).astype(np.float64)
            before, after = (
                np.asarray(jax.nn.softmax(np.where(seen, s, -np.inf), axis=-1))
                for s in (scores.astype(np.float64), patched)
            )
            close(got[..., key], ((after - before) * gradient).sum((-1, -2)))


@pytest.mark.slow
def test_integrated_gradients_are_complete() -> None:
    model = model_of("llama")
    clean, corrupt = (ji.metrics.measure(model, x, METRIC) for x in (CLEAN, CORRUPT))
    along = ji.patching.attribution_effects(
        model, *PAIR, site="embed", over="pos", settings=Settings(path="input", steps=64), per_example=True
    )
    close(along.sum(0), clean - corrupt, 1e-2)
    exact = ji.patching.sweep(model, *PAIR, site="mlp_pre", over=("layer",))
    by_unit = ji.patching.attribution_effects(
        model, *PAIR, site="mlp_pre", over=("layer", "unit"), settings=Settings(path="site", steps=64)
    )
    close(by_unit.sum(1), exact - corrupt.mean(), 1e-2)


@pytest.mark.slow
def test_grad_drop_by_hand() -> None:
    model = model_of("gpt2")
    _, there = ji.run(model, CORRUPT, capture=["v"], logits=False)

    @jax.jit
    def slopes(t: Any, layer: Any) -> Any:
        def value(t: Any) -> Any:
            leans = [ji.map("v", lean, t[i], there["v"][i], layer=i) for i in range(2)]
            stops = [ji.map(site, stop, layer=layer) for site in ("attn_out", "mlp_out")]
            return METRIC.of(ji.run(model, CLEAN, edits=[*leans, *stops], logits=-1)[0]).sum()

        return jax.grad(value)(t)

    zero = jnp.zeros((2, 2, 1, 2, 1))
    by_hand = sum(np.abs(slopes(zero, jnp.asarray(layer, jnp.int32))) for layer in range(2))
    options: Any = {"site": "v", "over": ("layer", "head"), "mode": "noise"}
    close(ji.patching.atp_star(model, *PAIR, **options), by_hand.mean(1)[:, 0, :, 0])
    plain = ji.patching.atp_star(model, *PAIR, grad_drop=False, **options)
    effects = ji.patching.attribution_effects(model, *PAIR, per_example=True, **options)
    close(plain, np.abs(effects).mean(-1))


@pytest.mark.parametrize("at_once", sampled(2, slow=[1, 4, 99]))
def test_drops_in_steps_equal_all_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"attn_out": jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)}
    monkeypatch.setattr(_attribution_drop, "BACKWARD_BYTES", at_once * 96)
    slopes = np.arange(10, dtype=np.float32).reshape(5, 2) + 1

    def gradients(edits: Any) -> Any:
        open_ones = jnp.where(edits[0].shut[:, None], 0.0, slopes)
        return {"v": jnp.square(open_ones.sum(0))}

    by_hand = sum(np.square(slopes.sum(0) - slopes[layer]) for layer in range(5)) / 4
    close(_attribution_drop.mean_over_drops(gradients, shapes, 5)["v"], by_hand)


def stop(x: jax.Array) -> jax.Array:
    return lax.stop_gradient(x)


def lean(x: jax.Array, t: jax.Array, source: jax.Array) -> jax.Array:
    return x + jnp.broadcast_to(t, x.shape) * (source - lax.stop_gradient(x))


@pytest.mark.slow
def test_frozen_norms_have_no_gradient() -> None:
    model = model_of("gpt2")
    scales = ["ln1_scale", "ln2_scale", "ln_final_scale"]
    _, acts = ji.run(model, CORRUPT, capture=scales)
    fixed = [ji.replace(site, acts[site]) for site in scales]
    _, here, grads = ji.site_grads(model, CORRUPT, METRIC.of, at="z", edits=fixed, logits=-1)
    _, there = ji.run(model, CLEAN, capture="z", logits=False)
    got = ji.patching.attribution_effects(
        model,
        *PAIR,
        site="z",
        over=("layer", "pos", "head", "unit"),
        settings=Settings(freeze_norms=True),
        per_example=True,
    )
    close(np.moveaxis(got, -1, 1), np.asarray(there["z"] - here["z"]) * np.asarray(grads["z"]))


@pytest.mark.slow
def test_a_divergence_at_its_reference_warns() -> None:
    model = model_of("gpt2")
    metric = ji.metrics.kl(ji.run(model, CLEAN, logits=-1)[0])
    with pytest.warns(UserWarning, match="gradient of 'kl' vanishes"):
        ji.patching.attribution(model, CLEAN, CORRUPT, metric, mode="noise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ji.patching.attribution(model, CLEAN, CORRUPT, metric)


@pytest.mark.quick
def test_other_prompts_compile_nothing() -> None:
    from jaxinterp.patching._attribution_program import attribute

    model, prompts = model_of("gpt2"), (CLEAN, CORRUPT)
    ji.patching.attribution(model, *prompts, METRIC)
    before = attribute._cached._cache_size()
    ji.patching.attribution(model, prompts[1], 2 + prompts[0], ji.metrics.logit_diff(*METRIC.args))
    assert attribute._cached._cache_size() == before


@pytest.mark.quick
def test_agreement() -> None:
    exact = np.asarray([[1.0, -6.0, 2.0], [0.5, 3.0, 2.0]])
    same = ji.patching.agreement(exact, exact, top=2)
    assert (same.spearman, same.pearson, same.overlap, same.needed) == pytest.approx((1, 1, 1, 2))
    rough = ji.patching.agreement(np.asarray([[1, 0, 2], [3, 2, 2]]), exact, top=1, baseline=0)
    assert (rough.needed, rough.overlap, rough.cells) == (6, 0.0, 6)
    ranks = ji.patching.agreement(exact**3, exact)
    assert ranks.spearman == pytest.approx(1) and ranks.pearson < 1
    assert "rank correlation 1.000" in repr(ranks)
    with pytest.raises(ValueError, match="one shape"):
        ji.patching.agreement(exact, exact[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "back"}, "mode is 'denoise'"),
        ({"site": "q", "over": ("layer", "unit"), "settings": {"qk_fix": True}}, "drop 'unit'"),
        ({"site": "pattern"}, "no axis 'pos'"),
        ({"site": ("z", "mlp_out"), "over": ("layer", "head")}, "no axis 'head'"),
        ({"site": ("q", "k"), "over": ("layer", "head")}, "one by one|equal axes"),
        ({"settings": {"path": "straight"}}, "path is None, 'input' or 'site'"),
        ({"settings": {"path": "input", "steps": 0}}, "1 or more"),
        ({"site": "q_in", "settings": {"freeze_norms": True}}, "use the site 'q'"),
        ({"metric": ji.metrics.logit_diff(99, 1)}, "token ids lie in"),
        ({"metric": ji.metrics.logit_diff(1, 2, pos=9)}, "out of range"),
    ],
)
def test_errors_teach(options: dict[str, Any], message: str) -> None:
    metric = options.pop("metric", METRIC)
    with pytest.raises((ValueError, IndexError), match=message):
        if "settings" in options:
            options["settings"] = Settings(**options["settings"])
        ji.patching.attribution(model_of("llama"), CLEAN, CORRUPT, metric, **options)
