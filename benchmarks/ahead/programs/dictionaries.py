"""Training steps of dictionaries, as `ji.sae.train` compiles them, and encoding.

`ji.sae.train` draws and moves data besides; its compiled part is `fit.run_steps`, which is called here
through the package's own modules.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from ..program import Call, Program, Shape

STEPS = 2


class Setting(NamedTuple):
    """A kind of dictionary, the products of (batch, d, features) that one step needs, and its rows."""

    name: str
    make: Callable[..., Any]
    products: float
    sources: int = 0
    pairs: bool = False


def settings() -> list[Setting]:
    """The kinds.

    One product decodes and one encodes; backward there are three, since nobody asks for the gradient of
    the rows. AuxK decodes once more and goes back through it twice. Gated decodes its gate too, with
    the decoder held, and goes back once.
    """
    K, low = ji.sae, "bfloat16"
    return [
        Setting("vanilla", lambda d, m: K.Vanilla(d=d, features=m, matmul=low), 5),
        Setting("standard", lambda d, m: K.Standard(d=d, features=m, matmul=low), 5),
        Setting("jumprelu", lambda d, m: K.JumpReLU(d=d, features=m, matmul=low), 5),
        Setting("gated", lambda d, m: K.Gated(d=d, features=m, matmul=low), 7),
        Setting("topk", lambda d, m: K.TopK(d=d, features=m, k=32, matmul=low), 8),
        Setting("batch_topk", lambda d, m: K.BatchTopK(d=d, features=m, k=32, matmul=low), 8),
        Setting("matryoshka", lambda d, m: K.Matryoshka(d=d, features=m, k=32, matmul=low), 8),
        Setting("transcoder", lambda d, m: K.Transcoder(d=d, features=m, matmul=low), 5, pairs=True),
        Setting("crosscoder", lambda d, m: K.Crosscoder(d=d, features=m, sources=2, matmul=low), 10, 2),
    ]


def programs(smoke: bool) -> Iterator[Program]:
    """Every kind at every size; the cross-layer transcoder at one."""
    sizes = ((16, 256),) if smoke else ((768, 24_576), (768, 131_072), (2304, 24_576), (2304, 131_072))
    rows = 64 if smoke else 4096
    for d, m in sizes:
        for setting in settings():
            yield Program(f"{setting.name}-{d}-{m}", "dictionaries", training(setting, d, m, rows))
            share = 24 * d * m * (setting.sources or 1) // 8  # of weights and moments
            build = training(setting, d, m, rows, share)
            yield Program(f"{setting.name}-{d}-{m}-blocks", "dictionaries", build)
    layers, d, m, rows = (2, 16, 32, 16) if smoke else (12, 768, 2048, 1024)
    yield Program(f"cross_layer-{d}-{m}", "dictionaries", cross_layer(layers, d, m, rows))
    share = 12 * d * m * layers * (layers + 1) // 8
    yield Program(f"cross_layer-{d}-{m}-blocks", "dictionaries", cross_layer(layers, d, m, rows, share))
    for d, m in sizes[:1]:
        for shape in ((64, d),) if smoke else ((4096, d), (32, 128, d)):
            yield Program(f"encode-topk-{d}-{m}-rank{len(shape)}", "dictionaries", encoding(d, m, shape))


def training(
    setting: Setting, d: int, m: int, rows: int, max_bytes: int | None = None
) -> Callable[[Any], Call]:
    def build(devices: Any) -> Call:
        shape = (rows, setting.sources, d) if setting.sources else (rows, d)
        work = 2.0 * setting.products * rows * d * m
        return steps(setting.make(d, m), shape, setting.pairs, work, max_bytes)

    return build


def cross_layer(
    layers: int, d: int, m: int, rows: int, max_bytes: int | None = None
) -> Callable[[Any], Call]:
    def build(devices: Any) -> Call:
        kind = ji.sae.CrossLayerTranscoder(d=d, features=m, layers=layers, matmul="bfloat16")
        # Encoding and its gradient at each layer; decoding to this layer and all later ones, three times.
        work = 2.0 * rows * d * m * (2 * layers + 3 * layers * (layers + 1) / 2)
        return steps(kind, (rows, layers, d), True, work, max_bytes)

    return build


def steps(
    kind: Any, shape: tuple[int, ...], pairs: bool, work: float, max_bytes: int | None = None, **place: Any
) -> Call:
    """Two steps of a kind on rows of this shape, the state donated. Cells that are crowded count as none."""
    from jaxinterp.fit._step import scan
    from jaxinterp.sae.training._blocks import BlocksTask, block_of
    from jaxinterp.sae.training._optimizers import parts_of
    from jaxinterp.sae.training._state import DictionaryTask, begin

    x = Shape(shape, jnp.float32)
    optimizer = kind.constrain(kind.optimizer(10_000))
    sae = eqx.filter_eval_shape(lambda x: kind.start(jax.random.key(0), x, x), x)
    state = eqx.filter_eval_shape(lambda sae, x: begin(sae, optimizer, x, x, False), sae, x)
    given = optimizer, None, 10_000, kind.dead_after(shape[0])
    task: Any = DictionaryTask(*given)
    if max_bytes is not None:
        like = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), sae)
        block = block_of(kind, optimizer, like, shape[0], max_bytes)
        task = BlocksTask(*given, block, parts_of(optimizer)[1])
    data = Shape((STEPS, *shape), jnp.float32)

    def call(state: Any, *batches: Any) -> Any:
        return scan(task, state, {None: (batches[0], batches[-1])})

    arguments = (state, data, data) if pairs else (state, data)
    return Call(call, arguments, STEPS * work, turns={"crowded/while": 0}, donated=True, **place)


def encoding(d: int, m: int, shape: tuple[int, ...]) -> Callable[[Any], Call]:
    def build(devices: Any) -> Call:
        kind = ji.sae.TopK(d=d, features=m, k=32, matmul="bfloat16")
        sae = eqx.filter_eval_shape(lambda: kind.init(jax.random.key(0)))
        rows = 1
        for side in shape[:-1]:
            rows *= side
        return Call(lambda sae, x: sae.encode(x), (sae, Shape(shape, jnp.float32)), 2.0 * rows * d * m)

    return build
