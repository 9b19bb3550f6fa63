"""Passes, gradients, sweeps, paths, generation and lenses of language models."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from ..compiler import Chip
from ..program import Call, Program, Shape
from .models import block_work, gpt2, llama_1b, pass_work, pythia, tiny

DTYPES = (("bf16", jnp.bfloat16), ("f32", jnp.float32))
CAPTURED = ("resid_post", "z", "mlp_post")
LEANED = ("resid_pre", "z", "mlp_out")
HALF = int(Chip.memory / 2)  # what sweeps may use on a chip


def programs(smoke: bool) -> Iterator[Program]:
    """All programs of this file."""
    yield from _forward(smoke)
    yield from _grads(smoke)
    yield from _sweeps(smoke)
    yield from _paths(smoke)
    yield from _attention(smoke)
    yield from _generate(smoke)
    yield from _lens(smoke)


def one_model(smoke: bool, dtype: Any) -> Any:
    return tiny(dtype) if smoke else gpt2(dtype)


def tokens(batch: int, pos: int) -> Any:
    return Shape((batch, pos), jnp.int32)


def pairs(batch: int, pos: int, vocab: int) -> tuple[Any, Any, Any]:
    """Prompts that differ at one position, as names do, and the metric; sweeps plan by their values."""
    draw = np.random.default_rng(0)
    clean = draw.integers(0, vocab, (batch, pos)).astype(np.int32)
    corrupt = clean.copy()
    corrupt[:, pos // 3] = (corrupt[:, pos // 3] + 7) % vocab
    right, wrong = draw.integers(0, vocab, (2, batch)).astype(np.int32)
    return clean, corrupt, ji.metrics.logit_diff(right, wrong)


@contextlib.contextmanager
def visited(turns: dict[str, float], layers: int) -> Iterator[None]:
    """Notes the turns of a sweep's loops, whose bounds its compiled part does not show.

    At a layer the groups of cells that have begun are visited, a chunk of rows at a time. How many chunks
    there are is planned while tracing, by `patching.packed`.
    """
    from jaxinterp.patching.packed import _sweep

    rows = _sweep._rows

    def noted(layout: Any, piece: Any) -> Any:
        chunks = -(-piece.rows.used // layout.chunk_rows)
        turns["begins/while"] = max(chunks, turns.get("begins/while", 0))
        turns[""] = (layers + 1) / 2 * turns["begins/while"]
        return rows(layout, piece)

    _sweep._rows = noted
    try:
        yield
    finally:
        _sweep._rows = rows


def gap(logits: Any) -> Any:
    return logits[..., 11] - logits[..., 12]


def _forward(smoke: bool) -> Iterator[Program]:
    batch, pos = (2, 16) if smoke else (8, 1024)

    def run(dtype: Any, capture: Any = ()) -> Callable[[Any], Call]:
        def build(devices: Any) -> Call:
            model = one_model(smoke, dtype)
            call = lambda model, tokens: ji.run(model, tokens, logits=-1, capture=list(capture))
            work = pass_work(model.config, batch, pos, 1, dtype)
            return Call(call, (model, tokens(batch, pos)), work)

        return build

    for name, dtype in DTYPES:
        yield Program(f"forward-{name}", "forward", run(dtype))
        yield Program(f"capture-{name}", "forward", run(dtype, CAPTURED))

    def resume(devices: Any) -> Call:
        model = one_model(smoke, jnp.bfloat16)
        c = model.config
        stream = Shape((batch, pos, c.d), jnp.bfloat16)
        call = lambda model, stream, layer: ji.resume(model, stream, layer, logits=-1)
        work = pass_work(c, batch, pos, 1, jnp.bfloat16)
        return Call(call, (model, stream, Shape((), jnp.int32)), work, {"": c.layers})

    yield Program("resume-bf16", "forward", resume, "from a traced layer; all layers counted")
    if not smoke:
        for name, dtype in DTYPES:
            yield Program(f"pattern-{name}", "forward", run(dtype, ("pattern[5]",)))


def _grads(smoke: bool) -> Iterator[Program]:
    batch, pos = (2, 16) if smoke else (8, 1024)

    def grads(dtype: Any) -> Callable[[Any], Call]:
        def build(devices: Any) -> Call:
            model = one_model(smoke, dtype)
            call = lambda model, tokens: ji.site_grads(model, tokens, gap, at=list(LEANED), logits=-1)
            # Two products backward would also give the weights' gradients, which nobody asks for.
            work = 2 * pass_work(model.config, batch, pos, 1, dtype)
            return Call(call, (model, tokens(batch, pos)), work)

        return build

    for name, dtype in DTYPES:
        yield Program(f"site_grads-{name}", "grads", grads(dtype))


def _sweeps(smoke: bool) -> Iterator[Program]:
    batch, pos = (2, 8) if smoke else (16, 32)

    def sweep(dtype: Any, site: str, over: tuple[str, str], cells: int, share: float) -> Any:
        def build(devices: Any) -> Call:
            model = one_model(smoke, dtype)
            c = model.config
            clean, corrupt, metric = pairs(batch, pos, c.vocab)
            turns: dict[str, float] = {}

            def call(model: Any) -> Any:
                options = dict(site=site, over=over, progress=False, max_bytes=HALF)
                with visited(turns, c.layers):
                    return ji.patching.sweep(model, clean, corrupt, metric, **options)

            # A cell runs the layers from its own on: (layers + 1) / 2 on average; it unembeds one position.
            run = share * (c.layers + 1) / 2 / c.layers * pass_work(c, 1, pos, 0, dtype)
            return Call(call, (model,), batch * cells * (run + pass_work(c, 1, 0, 1, dtype)), turns)

        return build

    layers = 2 if smoke else 12
    heads = 2 if smoke else 12
    for name, dtype in DTYPES:
        # A patch at a position leaves those before it as they were: half of a row on average.
        residual = sweep(dtype, "resid_pre", ("layer", "pos"), layers * pos, 0.5)
        yield Program(f"sweep-residual-{name}", "sweeps", residual)
        of_heads = sweep(dtype, "z", ("layer", "head"), layers * heads, 1.0)
        yield Program(f"sweep-heads-{name}", "sweeps", of_heads)

    def attributed(function: Any, site: str, over: tuple[str, str]) -> Callable[[Any], Call]:
        def build(devices: Any) -> Call:
            model = one_model(smoke, jnp.float32)
            clean, corrupt, metric = pairs(batch, pos, model.config.vocab)
            call = lambda model: function(model, clean, corrupt, metric, site=site, over=over)
            return Call(call, (model,))

        return build

    over = ("layer", "head")
    yield Program("attribution-z-f32", "sweeps", attributed(ji.patching.attribution, "z", over))
    yield Program("atp_star-q-f32", "sweeps", attributed(ji.patching.atp_star, "q", over))


def _paths(smoke: bool) -> Iterator[Program]:
    batch, pos = (2, 8) if smoke else (8, 16)

    def build(devices: Any) -> Call:
        model = one_model(smoke, jnp.float32)
        c = model.config
        clean, corrupt, metric = pairs(batch, pos, c.vocab)
        turns: dict[str, float] = {}

        def call(model: Any) -> Any:
            with resumed(turns, c.layers):
                return ji.circuits.direct_paths(model, clean, corrupt, metric, max_bytes=HALF)

        return Call(lambda model: jax.tree.leaves(call(model)), (model,), paths_work(c, batch, pos), turns)

    yield Program("direct_paths-f32", "paths", build, "blocks behind a receiver are counted by the edges")


@contextlib.contextmanager
def resumed(turns: dict[str, float], layers: int) -> Iterator[None]:
    """Notes how many blocks run behind a receiver's own, a chunk of edges on average."""
    from jaxinterp.circuits import _paths

    chunked = _paths.chunked

    def noted(*args: Any) -> Any:
        chunks = chunked(*args)
        turns[""] = float(np.mean(layers - 1 - chunks.layer))
        return chunks

    _paths.chunked = noted
    try:
        yield
    finally:
        _paths.chunked = chunked


def paths_work(config: Any, batch: int, pos: int) -> float:
    """Operations of all edges of a GPT-2 in float32.

    An edge runs its receiver's block without the queries, keys and values, which are read once for every
    sender, and all blocks behind it; it unembeds one position.
    """
    c = config
    block = block_work(c, pos) / c.layers
    own = block - 2.0 * pos * 3 * c.d * c.heads * c.k
    unembedded = 2.0 * c.d * c.vocab
    work = 2 * c.layers * block + (1 + c.layers * (c.heads + 1)) * unembedded
    for layer in range(c.layers):
        before = 1 + layer * (c.heads + 1)
        edges = before * (3 * c.heads + 1) + c.heads
        work += before * (block - own) + edges * (own + (c.layers - 1 - layer) * block + unembedded)
    return 6 * batch * work


def _attention(smoke: bool) -> Iterator[Program]:
    """One block at a length, and whole models at lengths that hold no pattern."""

    def layer(pos: int) -> Callable[[Any], Call]:
        def build(devices: Any) -> Call:
            model = tiny(jnp.bfloat16) if smoke else gpt2(jnp.bfloat16, ctx=pos, layers=1)
            batch = max(1, 8192 // pos) if pos <= 1024 else 1
            batch = 1 if smoke else 8 if pos <= 2048 else 1
            call = lambda model, tokens: ji.run(model, tokens, logits=False, capture=["resid_post"])
            work = pass_work(model.config, batch, pos, 0, jnp.bfloat16)
            return Call(call, (model, tokens(batch, pos)), work)

        return build

    for pos in (16,) if smoke else (1024, 2048, 8192, 32768):
        yield Program(f"layer-bf16-{pos}", "attention", layer(pos))
    if smoke:
        return

    def long(make: Callable[..., Any], pos: int) -> Callable[[Any], Call]:
        def build(devices: Any) -> Call:
            model = make(dtype=jnp.bfloat16, ctx=pos)
            call = lambda model, tokens: ji.run(model, tokens, logits=-1)
            work = pass_work(model.config, 1, pos, 1, jnp.bfloat16)
            return Call(call, (model, tokens(1, pos)), work)

        return build

    for name, make in (("gpt2", gpt2), ("pythia-410m", pythia), ("llama-1b", llama_1b)):
        for pos in (8192, 32768):
            yield Program(f"long-{name}-{pos}", "attention", long(make, pos))


def _generate(smoke: bool) -> Iterator[Program]:
    batch, pos, steps = (2, 8, 4) if smoke else (8, 128, 128)

    def build(devices: Any) -> Call:
        model = one_model(smoke, jnp.bfloat16)
        call = lambda model, tokens: ji.generate(model, tokens, steps)
        # Every step reads the weights once: what that takes, in operations.
        weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(model))
        work = steps * weights / Chip.hbm_bytes_per_second * Chip.products
        return Call(call, (model, tokens(batch, pos)), work)

    yield Program("generate-bf16", "generate", build, "the floor is reading the weights at every step")


def _lens(smoke: bool) -> Iterator[Program]:
    batch, pos = (2, 16) if smoke else (8, 512)

    def summary(devices: Any) -> Call:
        model = one_model(smoke, jnp.float32)
        call = lambda model, tokens: jax.tree.leaves(ji.lens.summary(model, tokens))
        c = model.config
        read = 2.0 * batch * pos * c.d * c.vocab * (c.layers + 1) * 6
        work = pass_work(c, batch, pos, 0, jnp.float32) + read
        return Call(call, (model, tokens(batch, pos)), work)

    yield Program("lens-summary-f32", "lens", summary)

    def tuned(devices: Any) -> Call:
        from jaxinterp.fit._state import initial_state
        from jaxinterp.fit._step import step
        from jaxinterp.lens._train import LensTask

        model = one_model(smoke, jnp.float32)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype) if isinstance(s, Shape) else s, model)
        lens = ji.lens.TunedLens.init(zeros)
        optimizer = ji.lens.published_optimizer(250)
        task = LensTask(optimizer, None, "kl", None)
        state = eqx.filter_eval_shape(
            lambda lens: initial_state(lens, optimizer, task.is_trained(lens)), lens
        )

        def call(state: Any, model: Any, tokens: Any) -> Any:
            return step(LensTask(optimizer, model, "kl", None), state, (tokens, None))

        return Call(call, (state, model, tokens(batch, pos)), donated=True)

    yield Program("tuned-lens-step-f32", "lens", tuned)
