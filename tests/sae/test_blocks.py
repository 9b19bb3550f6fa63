"""Steps block of features by block are steps of all features at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp.fit._step import scan
from jaxinterp.sae.kinds._edges import between, candidates, edge_of_batch, edges_of_rows
from jaxinterp.sae.kinds._kept import kept
from jaxinterp.sae.training._blocks import BlocksTask, block_of
from jaxinterp.sae.training._separable import check_separable
from jaxinterp.sae.training._state import DictionaryTask, begin

K = ji.sae
D, M, ROWS, STEPS = 8, 48, 32, 4
KINDS: dict[str, Any] = {
    "TopK": K.TopK(d=D, features=M, k=4, dead_tokens=ROWS),
    "BatchTopK": K.BatchTopK(d=D, features=M, k=4, dead_tokens=ROWS),
    "Vanilla": K.Vanilla(d=D, features=M),
    "Matryoshka": K.Matryoshka(d=D, features=M, k=4, groups=(0.25, 0.25, 0.5), dead_tokens=ROWS),
    "JumpReLU": K.JumpReLU(d=D, features=M, bandwidth=0.1, threshold=0.05, sparsity=0.01),
    "JumpReLU with a target": K.JumpReLU(d=D, features=M, bandwidth=0.1, threshold=0.05, target=8.0),
    "Gated": K.Gated(d=D, features=M),
    "Standard": K.Standard(d=D, features=M),
    "Annealed": K.Annealed(d=D, features=M, begin=1, end=3),
    "Transcoder": K.Transcoder(d=D, features=M, d_out=6, skip=True),
    "Crosscoder": K.Crosscoder(d=D, features=M, sources=2),
    "CrossLayerTranscoder": K.CrossLayerTranscoder(d=D, features=M, layers=2),
    "TopK in bfloat16": K.TopK(d=D, features=M, k=4, dead_tokens=ROWS, matmul="bfloat16"),
}
QUICK = ("TopK", "BatchTopK", "Vanilla")


def rows(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in KINDS]
)
def test_steps_in_blocks_are_steps(name: str) -> None:
    kind = KINDS[name]
    x = rows(STEPS, ROWS, *((2, D) if name.startswith("Cross") else (D,)))
    y = rows(STEPS, ROWS, 6, seed=1) if name == "Transcoder" else x
    # A large epsilon: Adam divides differences of rounding by gradients that are nearly 0 otherwise.
    clip = {"Standard": 0.5, "Annealed": 1e6, "Crosscoder": 1.0, "CrossLayerTranscoder": 1.0}.get(name)
    optimizer = kind.constrain(K.adam(1e-2, 10**6, eps=1e-2, clip_norm=clip))
    sae = kind.start(jax.random.key(1), x[0], y[0])
    state = begin(sae, optimizer, x[0], y[0], False)
    given = optimizer, None, 100, 1

    @jax.jit
    def both(state: Any) -> Any:
        tasks = DictionaryTask(*given), BlocksTask(*given, 4, clip)
        return [scan(task, state, {None: (x, y)}) for task in tasks]

    (whole, numbers), (blocks, same) = both(state)
    assert set(numbers) == set(same) and float(numbers["l0"][-1]) > 1
    if name in ("TopK", "BatchTopK", "Matryoshka"):
        assert float(numbers["dead"].max()) > 0 and float(numbers["aux"].max()) > 0
    tolerance = 2e-3 if "bfloat16" in name else 2e-5
    for one, other in zip(jax.tree.leaves((whole, numbers)), jax.tree.leaves((blocks, same)), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_a_training_takes_max_bytes(tmp_path: Any) -> None:
    kind, x = KINDS["TopK"], rows(96, D)
    given: Any = {"key": jax.random.key(2), "batch_size": ROWS, "max_bytes": 4096}
    settings = ji.fit.Settings(checkpoint=tmp_path / "run", resume="longer", progress=False)
    whole, _ = K.train(kind, x, steps=6, **{**given, "max_bytes": None})
    blocks, _ = K.train(kind, x, steps=6, **given)
    K.train(kind, x, steps=3, settings=settings, **given)
    resumed, history = K.train(kind, x, steps=6, settings=settings, **given)
    assert history["loss"].shape == (6,)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(blocks), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for one, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(blocks), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Standard", "CrossLayerTranscoder", "Matryoshka"])
def test_a_kind_with_its_own_recipe(name: str) -> None:
    x = rows(96, 2, D) if name.startswith("Cross") else rows(96, D)
    data = (x, x) if name.startswith("Cross") else x
    given: Any = {"key": jax.random.key(2), "batch_size": ROWS, "steps": 4}
    whole, numbers = K.train(KINDS[name], data, **given)
    blocks, same = K.train(KINDS[name], data, max_bytes=10_000, **given)
    for one, other in zip(jax.tree.leaves((whole, numbers)), jax.tree.leaves((blocks, same)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_what_cannot_be_trained_in_blocks_says_why() -> None:
    x = rows(64, D)
    given: Any = {"key": jax.random.key(0), "steps": 1, "batch_size": ROWS}
    with pytest.raises(ValueError, match="treats each feature by itself"):
        K.train(KINDS["Standard"], x, CLIPPED, max_bytes=4096, **given)
    with pytest.raises(ValueError, match="treats each feature by itself"):
        K.train(KINDS["TopK"], x, K.adam(1e-3, 10, clip_norm=1.0), max_bytes=4096, **given)
    with pytest.raises(ValueError, match="treats each feature by itself"):  # a copy has lost its clip_norm
        copy = jax.tree.map(lambda leaf: leaf, K.adam(1e-3, 10, clip_norm=1.0))
        K.train(KINDS["Standard"], x, copy, max_bytes=4096, **given)
    with pytest.raises(ValueError, match="treats each feature by itself"):
        K.train(KINDS["TopK"], x, optax.adafactor(1e-3, min_dim_size_to_factor=4), max_bytes=4096, **given)
    with pytest.raises(ValueError, match=r"less than one feature .* max_bytes="):
        K.train(KINDS["TopK"], x, max_bytes=10, **given)
    with pytest.raises(ValueError, match="max_bytes"):
        K.train(KINDS["TopK"], x, max_bytes=0, **given)
    mesh = jax.make_mesh((1, 1), ("data", "feature"))
    with pytest.raises(ValueError, match="not both"):
        K.train(KINDS["TopK"], x, max_bytes=4096, mesh=mesh, **given)
    with pytest.raises(ValueError, match="no sum over features"):
        block_of(K.Temporal(d=D, features=M, heads=2, bottleneck=8), optax.adam(1e-3), None, ROWS, 4096)


CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-2))
TOGETHER: dict[str, Any] = {  # optimizers in which features meet, late or rarely
    "a warm-up": K.adam(5e-5, 10**6, warmup_steps=1000, clip_norm=1.0),
    "a large norm": optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(1e-2)),
    "a large norm of a leaf": optax.chain(optax.clip_by_block_rms(1e3), optax.sgd(1e-2)),
    "after several steps": optax.MultiSteps(CLIPPED, 5),
    "where a gradient is NaN": optax.apply_if_finite(optax.sgd(1e-2), 3),
    "the distance from the start": optax.contrib.prodigy(),
    "an array of all features": optax.stateless(
        lambda updates, _: jax.tree.map(lambda leaf: leaf * jnp.ones(M), updates)
    ),
}
ALONE: dict[str, Any] = {
    "decay with a mask": optax.adamw(1e-3, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)),
    "a rate from 0": optax.adam(optax.linear_schedule(0.0, 1e-3, 1000)),
    "a rate in the state": optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
    "sums of several steps": optax.MultiSteps(optax.adam(1e-3), 3),
    "two parts": optax.multi_transform(
        {True: optax.adam(1e-3), False: optax.sgd(1e-2, momentum=0.9)},
        lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree),
    ),
}
AT_ONCE = ("a warm-up", "a large norm", "an array of all features", "decay with a mask")


@pytest.mark.parametrize(
    "name", [n if n in AT_ONCE else pytest.param(n, marks=pytest.mark.slow) for n in TOGETHER | ALONE]
)
def test_an_optimizer_in_which_features_meet_is_refused(name: str) -> None:
    kind = KINDS["Vanilla"] if name == "decay with a mask" else KINDS["Standard"]
    sae = kind.start(jax.random.key(0), rows(ROWS, D))
    optimizer = kind.constrain((TOGETHER | ALONE)[name])
    if name in ALONE:
        check_separable(optimizer, sae)
    else:
        with pytest.raises(ValueError, match=r"treats each feature by itself.* leave max_bytes= out"):
            check_separable(optimizer, sae)


def test_features_with_few_divisors_are_refused() -> None:
    x = rows(64, D)
    given: Any = {"key": jax.random.key(0), "steps": 1, "batch_size": ROWS}
    with pytest.raises(ValueError, match=r"97 features.* have 1 at most.* max_bytes=6,271"):
        K.train(K.TopK(d=D, features=97, k=4), x, max_bytes=40_000, **given)
    with pytest.raises(ValueError, match="each group"):
        K.train(K.Matryoshka(d=D, features=100, k=4), x, max_bytes=10**6, **given)


def test_edges_choose_what_cuts_choose() -> None:
    pre = rows(16, M).at[0, :10].set(0.7).at[1].set(-1.0)  # ties at the cut, and a row below 0
    among = jnp.arange(M) % 3 > 0
    for k in (1, 5, M):
        for some in (None, among):
            cut = edges_of_rows(pre, k, some)
            moved = pre * (1 + 1e-6 * rows(16, M, seed=3)).at[0].set(1).at[1].set(1)
            expected = np.asarray(
                ji.sae.TopK(d=D, features=M, k=k).choose(
                    jnp.where(True if some is None else some[None], pre, -9)
                )
            )
            found = np.asarray(jax.nn.relu(kept(moved, cut, some)))
            np.testing.assert_array_equal(found > 0, expected > 0)


@pytest.mark.parametrize("crowded", [False, True])
def test_the_edge_of_a_batch_is_between_two_entries(crowded: bool) -> None:
    pre, k = rows(64, 16_384), 2
    if crowded:  # one row has nearly all of the largest, more than its cells keep
        pre = pre.at[3, ::512].add(20.0)
    found = candidates(pre, k)
    assert found.shape[1] < pre.shape[1]
    blocks = lambda function: jax.lax.map(function, pre.reshape(4, 16, -1))
    edge = jax.jit(lambda found: edge_of_batch(found, k * 64, pre.shape[1], blocks))(found)
    largest = np.sort(np.asarray(pre).ravel())[::-1]
    assert largest[k * 64] < edge < largest[k * 64 - 1]


def test_half_way_of_integers_does_not_overflow() -> None:
    low, high = jnp.asarray([-(2**31), -3, 4, 7], jnp.int32), jnp.asarray([2**31 - 1, 4, 9, 7], jnp.int32)
    np.testing.assert_array_equal(between(low, high), [-1, 0, 6, 7])
