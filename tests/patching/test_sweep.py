"""A sweep is a loop over single patched runs, whatever its axes, family, direction or chunks."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.patching._grid import site_axes
from jaxinterp.patching.packed._rows import pack
from tests.models import model_of, sampled

sweep = ji.patching.sweep
RNG = np.random.default_rng(0)
CLEAN = jnp.asarray(RNG.integers(0, 40, (3, 6)), jnp.int32)
# They begin to differ at another position in each example, and one differs at a single position.
DIFFERS = np.asarray([[0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0]], bool)
CORRUPT = jnp.where(jnp.asarray(DIFFERS), (CLEAN + 7) % 40, CLEAN)
METRIC = ji.metrics.logit_diff(RNG.integers(0, 40, 3), RNG.integers(0, 40, 3))


def loop(model: Any, clean: Any, corrupt: Any, metric: Any, site: str, over: Any, mask: Any = None) -> Any:
    """Every cell as one run with one `ji.replace`."""
    _, acts = ji.run(model, clean, capture=[site], mask=mask, logits=False)
    axes, full = site_axes(site), acts[site]
    sizes = [full.shape[0] if axis == "layer" else full.shape[axes[axis]] for axis in over]

    @jax.jit
    def cell(model: Any, where: dict[str, Any]) -> Any:
        if mask is not None and "pos" in where:  # an int would count real tokens, a mask is of columns
            where = {**where, "pos": jnp.arange(clean.shape[-1]) == where["pos"]}
        value = full[where["layer"]] if "layer" in where else full
        edit = ji.replace(site, value, **where)
        return ji.metrics.measure(model, corrupt, metric, mask=mask, edits=[edit])

    found = np.zeros((*sizes, *clean.shape[:-1]))
    for place in itertools.product(*map(range, sizes)):
        where = {axis: jnp.asarray(i) for axis, i in zip(over, place, strict=True)}
        found[place] = cell(model, where)
    return found


def check(name: str, site: str, over: tuple[str, ...]) -> None:
    model = model_of(name)
    if name in (
        "relu",
        "toy",
    ):  # without norms logits or scores are in the tens and hundreds, and so is rounding
        model = jax.tree.map(lambda leaf: 0.4 * leaf, model)
    found = sweep(model, CLEAN, CORRUPT, METRIC, site=site, over=over, per_example=True)
    wanted = loop(model, CLEAN, CORRUPT, METRIC, site, over)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5)


DEFAULT = [
    ("gpt2", "resid_pre", ("layer", "pos")),
    ("gpt2", "pattern", ("layer", "head", "query", "key")),
    ("neox", "attn_out", ("pos", "layer")),
    ("neox", "q", ("layer", "head")),
    ("llama", "k", ("layer", "pos", "head")),
]
EVERY = [
    ("resid_pre", ("layer", "pos")),
    ("resid_mid", ("layer", "pos")),
    ("attn_out", ("layer", "pos")),
    ("mlp_out", ("layer", "pos")),
    ("z", ("layer", "pos", "head")),
    ("q", ("layer", "pos", "head")),
    ("k", ("layer", "pos", "head")),
    ("v", ("layer", "pos", "head")),
    ("pattern", ("layer", "head", "query")),
    ("pattern", ("layer", "head", "query", "key")),
    ("z", ("layer", "head")),
    ("q", ("layer", "head")),
    ("k", ("layer", "head")),
    ("v", ("layer", "head")),
    ("pattern", ("layer", "head")),
    ("scores", ("layer", "query", "key")),
    ("mlp_post", ("layer", "unit")),
    ("q_in", ("layer", "head")),
    ("k_in", ("head", "layer")),
    ("head_out", ("layer", "pos", "head")),
    ("ln1_scale", ("layer", "pos")),
    ("resid_post", ("pos",)),
    ("pattern", ("key",)),
    ("z", ("head",)),
    ("mlp_in", ("layer",)),
]

# The first fifteen are all that TransformerLens offers: both families take them, GPT-2 the rest too,
# Llama those where shared keys and values make a difference.
CASES = [
    *(("gpt2", *case) for case in EVERY),
    *(("neox", *case) for case in EVERY[:15] if case[0] != "resid_mid"),
    *(("llama", *case) for case in EVERY if case[0] in ("k", "v", "k_in", "pattern")),
]


@pytest.mark.parametrize(("name", "site", "over"), DEFAULT)
def test_equals_the_loop(name: str, site: str, over: tuple[str, ...]) -> None:
    check(name, site, over)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "site", "over"), CASES)
def test_equals_the_loop_everywhere(name: str, site: str, over: tuple[str, ...]) -> None:
    check(name, site, over)


@pytest.mark.parametrize("name", sampled("relu", slow=["toy"]))
def test_models_without_mlp_or_order(name: str) -> None:
    """Attention only; and one whose positions all see each other, where no suffix is left out."""
    check(name, "z", ("layer", "pos"))


@pytest.mark.parametrize("side", ["left", pytest.param("right", marks=pytest.mark.slow)])
def test_padded_prompts_with_positions_per_example(side: str) -> None:
    """Padding with a mask, patches and metric at another position in each example."""
    model = model_of("gpt2")
    keep = np.ones((3, 6), bool)
    keep[1, (slice(0, 2) if side == "left" else slice(4, 6))] = False
    last = np.where(keep, np.arange(6), 0).max(-1)[:, None]
    metric = ji.metrics.logit_diff(3, 5, pos=last)
    places = np.asarray([[2, 5], [3, 2], [-2, 4]])
    found = sweep(
        model,
        CLEAN,
        CORRUPT,
        metric,
        site="resid_pre",
        over={"pos": places, "layer": [2, 0]},
        mask=jnp.asarray(keep),
        per_example=True,
    )
    assert found.shape == (2, 2, 3)
    whole = loop(model, CLEAN, CORRUPT, metric, "resid_pre", ("layer", "pos"), jnp.asarray(keep))
    for example, row in enumerate(places):
        for j, pos in enumerate(row):
            np.testing.assert_allclose(found[j, :, example], whole[[2, 0], pos, example], atol=1e-5)


@pytest.mark.parametrize("side", sampled(slow=["left", "right"], exhaustive=["left, whole rows too"]))
def test_chosen_positions_of_padded_prompts_count_their_tokens(side: str) -> None:
    side, _, more = side.partition(", ")
    model = model_of("gpt2")
    keep = np.ones((3, 6), bool)
    keep[1, (slice(0, 2) if side == "left" else slice(4, 6))] = False
    metric = ji.metrics.logit_diff(3, 5)
    options: Any = {"over": {"pos": [0, -1], "layer": [2, 0]}, "per_example": True}
    found = sweep(model, CLEAN, CORRUPT, metric, mask=jnp.asarray(keep), **options)
    edited = ji.intervene(model, [ji.scale("mlp_out", 0.5, layer=0, pos=-1)])
    whole = sweep(edited, CLEAN, CORRUPT, metric, mask=jnp.asarray(keep), **options)
    estimate = ji.patching.attribution(model, CLEAN, CORRUPT, metric, mask=keep, **options)
    for row in range(1, 3):
        pair = CLEAN[row, keep[row]], CORRUPT[row, keep[row]]
        np.testing.assert_allclose(found[..., row], sweep(model, *pair, metric, **options), atol=1e-5)
        if keep[row].all() and not more:  # nothing to count by; each length is a program of its own
            continue
        np.testing.assert_allclose(whole[..., row], sweep(edited, *pair, metric, **options), atol=1e-5)
        alone = ji.patching.attribution(model, *pair, metric, **options)
        np.testing.assert_allclose(estimate[..., row], alone, atol=1e-5)
    with pytest.raises(IndexError, match="the shortest has 4"):
        sweep(model, CLEAN, CORRUPT, metric, over={"pos": [4]}, mask=keep)


def test_the_clean_run_comes_back() -> None:
    """All positions of the first stream restored give the clean run; at the last block's last, too."""
    model = model_of("neox")
    clean, corrupt = (ji.metrics.measure(model, x, METRIC) for x in (CLEAN, CORRUPT))
    whole = sweep(model, CLEAN, CORRUPT, METRIC, over=("layer",), per_example=True)
    np.testing.assert_allclose(whole, jnp.broadcast_to(clean, (3, 3)), atol=1e-5)
    last = sweep(
        model,
        CLEAN,
        CORRUPT,
        METRIC,
        site="resid_post",
        over={"layer": [-1], "pos": [-1, 0]},
        per_example=True,
    )
    np.testing.assert_allclose(last[0], jnp.stack([clean, corrupt]), atol=1e-5)
    # Noise and denoise are each other's mirror: what one run recovers the other loses.
    noised = sweep(model, CLEAN, CORRUPT, METRIC, over=("layer",), mode="noise", per_example=True)
    np.testing.assert_allclose(noised, jnp.broadcast_to(corrupt, (3, 3)), atol=1e-5)
    shares = ji.metrics.recovered(whole, clean, corrupt)
    np.testing.assert_allclose(shares.mean(-1), 1, atol=1e-5)


@pytest.mark.slow
def test_chunks_change_nothing_and_nothing_compiles_again() -> None:
    model, traces = model_of("gpt2"), []

    def metric(logits: Any) -> Any:
        traces.append(logits.shape)
        return logits[..., -1, 3] - logits[..., -1, 5]

    ask = dict(site="z", over=("layer", "pos", "head"), per_example=True, progress=False)
    whole = sweep(model, CLEAN, CORRUPT, metric, **ask)
    count = len(traces)
    other = sweep(model, CORRUPT, CLEAN[::-1], metric, **ask)
    assert len(traces) == count and not np.allclose(whole, other)
    with pytest.raises(ValueError, match=r"needs at least .* Raise max_bytes") as refused:
        sweep(model, CLEAN, CORRUPT, metric, **ask, max_bytes=1000)
    least = int(re.findall(r"max_bytes=(\d+)", str(refused.value))[0])
    cut = sweep(model, CLEAN, CORRUPT, metric, **ask, max_bytes=least)
    assert len(traces) > count  # smaller pieces are another program
    np.testing.assert_allclose(cut, whole, atol=1e-5)


@pytest.mark.slow
def test_long_prompts_keep_packed_suffixes_apart() -> None:
    """As long as attention has a kernel for: it knows no packed rows."""
    config = ji.models.GPT2Config(vocab=40, ctx=300, d=16, layers=2, heads=2)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    model = jax.tree.map(lambda leaf: 4 * leaf if leaf.ndim > 2 else leaf, model)
    clean = np.random.default_rng(0).integers(0, 40, (1, 260)).astype(np.int32)
    corrupt = np.where(np.arange(260) < 3, clean, (clean + 7) % 40)
    metric, at = ji.metrics.logit_diff([3], [5]), np.asarray([5, 200, 259])
    found = sweep(model, clean, corrupt, metric, over={"layer": None, "pos": at}, per_example=True)
    _, acts = ji.run(model, clean, capture=["resid_pre"], logits=False)

    @jax.jit
    def cell(layer: Any, pos: Any) -> Any:
        edit = ji.replace("resid_pre", acts["resid_pre"][layer], layer=layer, pos=pos)
        return ji.metrics.measure(model, corrupt, metric, edits=[edit])

    wanted = [[cell(jnp.asarray(layer), jnp.asarray(pos)) for pos in at] for layer in range(2)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
def test_lengths_of_one_bucket_share_their_programs() -> None:
    from jaxinterp.patching.packed import _sweep as _packed

    model, count = model_of("llama"), lambda: _packed._piece._cached._cache_size()
    for over in (("layer", "pos"), ("layer",)):
        short = sweep(model, CLEAN[:, :5], CORRUPT[:, :5], METRIC, over=over)
        before = count()
        found = sweep(model, CLEAN, CORRUPT, METRIC, over=over)
        assert count() == before
        assert (short.shape[1:], found.shape[1:]) == (((5,), (6,)) if "pos" in over else ((), ()))


@pytest.mark.slow
def test_windows_patch_adjacent_layers_together() -> None:
    model = model_of("gpt2")
    found = sweep(model, CLEAN, CORRUPT, METRIC, site="mlp_out", over=("layer", "pos"), adjacent=3)
    _, acts = ji.run(model, CLEAN, capture=["mlp_out"])
    for layer, together in enumerate([[0, 1], [0, 1, 2], [1, 2]]):
        edits = [ji.replace("mlp_out", acts["mlp_out"][i], layer=i, pos=4) for i in together]
        wanted = ji.metrics.measure(model, CORRUPT, METRIC, edits=edits).mean()
        np.testing.assert_allclose(found[layer, 4], wanted, atol=1e-5)


@pytest.mark.slow
def test_edited_models_and_sites_outside_the_blocks() -> None:
    """An intervened model is swept with its edits on; embeddings and logits are sites too."""
    model = model_of("gpt2")
    steered = ji.intervene(model, [ji.scale("mlp_out", 0.3, layer=1, pos=[1, -1])])
    found = sweep(steered, CLEAN, CORRUPT, METRIC, site="z", over=("layer", "head"), per_example=True)
    wanted = loop(steered, CLEAN, CORRUPT, METRIC, "z", ("layer", "head"))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    embed = sweep(model, CLEAN, CORRUPT, METRIC, site="embed", over=("pos",))
    stream = sweep(model, CLEAN, CORRUPT, METRIC, over={"pos": None, "layer": [0]})
    np.testing.assert_allclose(embed, stream[:, 0], atol=1e-5)
    both = sweep(model, CLEAN[0], CORRUPT[0], ji.metrics.prob(3), site=("q", "k"), over=("layer", "head"))
    assert both.shape == (2, 3, 2)


@pytest.mark.slow
def test_metrics_at_several_positions() -> None:
    model = model_of("neox")
    for metric in (ji.metrics.prob(3, pos=[2, 4]), ji.metrics.cross_entropy(CORRUPT)):
        found = sweep(model, CLEAN, CORRUPT, metric, over=("layer", "pos"), per_example=True)
        wanted = loop(model, CLEAN, CORRUPT, metric, "resid_pre", ("layer", "pos"))
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_packing_keeps_every_suffix() -> None:
    begin, stop = RNG.integers(0, 9, (4, 30)), np.asarray([9, 8, 9, 5])
    rows = pack(np.minimum(begin, stop[:, None]), stop, 10)
    for example, job in itertools.product(range(4), range(30)):
        row, slot, first = rows.row[example, job], rows.slot[example, job], rows.start[example, job]
        if first == stop[example]:
            assert row == -1
            continue
        here = slice(slot, slot + stop[example] - first)
        assert rows.example[row] == example and (rows.job[row, here] == job).all()
        assert (rows.column[row, here] == np.arange(first, stop[example])).all()
    lengths = np.maximum(stop[:, None] - np.minimum(begin, stop[:, None]), 0)
    assert (rows.job >= 0).sum() == lengths.sum()
    assert rows.used <= 1.3 * lengths.sum() / 10


ERRORS = [
    (dict(corrupt=CORRUPT[:, :-1]), "one length.* 6 and 5 tokens"),
    (dict(corrupt=CORRUPT[:2]), r"come in pairs: the batch axes \(3,\) and \(2,\)"),
    (dict(metric=ji.metrics.logit_diff(3, 40)), r"token ids lie in 0\.\.39; got 40"),
    (
        dict(metric=ji.metrics.logit_diff(np.arange(2), 1)),
        r"one per example, here the shape \(3,\)",
    ),
    (dict(metric=lambda logits: logits[..., 3]), r"one number per example.* returned \(3, 6\)"),
    (dict(metric="logit_diff"), "A metric is a function of logits"),
    (dict(metric=ji.metrics.prob(1, pos=9)), "pos 9 is out of range"),
    (dict(over=("layer", "head")), "'resid_pre' has no axis 'head'.* it has layer, pos, unit"),
    (dict(site="pattern", over=("layer", "pos")), "have query and key in place of pos"),
    (dict(site="embed", over=("layer", "pos")), "'embed' has no axis 'layer'"),
    (dict(site="z[1]"), "site='z'"),
    (dict(site="zz"), "zz"),
    (dict(over=()), "names each axis once"),
    (dict(over={"pos": [7]}), "pos 7 is out of range"),
    (dict(over={"layer": [3]}), "layer 3 is out of range"),
    (dict(over={"pos": [0.5]}), "are ints"),
    (dict(over=("pos",), adjacent=3), "with 'layer' in `over`"),
    (dict(mode="forward"), "'denoise'.* or 'noise'"),
    (dict(site=("q", "scores"), over=("layer", "head", "query")), "no axis 'query'"),
    (dict(mask=np.ones((3, 5), bool)), "shape of the tokens"),
]


@pytest.mark.parametrize(("wrong", "message"), ERRORS)
def test_errors_teach(wrong: dict[str, Any], message: str) -> None:
    ask: dict[str, Any] = {"clean": CLEAN, "corrupt": CORRUPT, "metric": METRIC, **wrong}
    with pytest.raises((ValueError, IndexError), match=message):
        sweep(model_of("gpt2"), ask.pop("clean"), ask.pop("corrupt"), ask.pop("metric"), **ask)
