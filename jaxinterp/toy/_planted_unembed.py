"""A model whose unembedding has a known null space, and neurons that write to known directions of it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, check_choice
from .._random import host_generator
from ..models import GPT2, GPT2Config, Llama, LlamaConfig
from ..typing import IntLike, KeyLike, StrLike

KINDS = ("entropy", "frequency", "prediction", "suppression", "partition")
EACH = 2
"Planted neurons of each kind."
FREQUENCY, HIGH, LOW = 16.0, 8.0, 2.0
"Singular values: of log frequencies, and the largest and smallest of the rest of those that are not zero."


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedUnembed:
    """A model whose last layer has known neurons and a known null space; made by `planted_unembed`.

    - `model`: a GPT-2 or a Llama of one layer, whose attention writes nothing.
    - `null_space (d, null)`: orthonormal directions that no logit reads. For a LayerNorm the all-ones vector,
      which the norm removes, is not one of them.
    - `counts (vocab,)`: how often each token occurs in the corpus of the model.
    - `direction (vocab,)`: log frequencies of `counts + 1`, centred, of norm 1.
    - `neurons`: for each kind the neurons of this kind. `"frequency"` holds one that writes along the
      direction and one that writes against it. The `"other"` neurons write in random directions.
    - `tokens`: the sets of token ids that `"prediction"`, `"suppression"` and `"partition"` neurons move.

    ```python
    planted = ji.toy.planted_unembed(key=jax.random.key(0))
    planted.neurons["frequency"], planted.null_space.shape
    ```
    """

    model: GPT2 | Llama
    null_space: np.ndarray
    counts: np.ndarray
    direction: np.ndarray
    neurons: dict[str, tuple[int, ...]]
    tokens: dict[str, np.ndarray]


def planted_unembed(
    *,
    key: KeyLike,
    vocab: IntLike = 96,
    d: IntLike = 32,
    ff: IntLike = 32,
    null: IntLike = 4,
    ctx: IntLike = 32,
    norm: StrLike = "layer",
) -> PlantedUnembed:
    r"""$\mathrm{diag}(g) W_U = Q \,\mathrm{diag}(s)\, R^\top$: an unembedding with a known null space, and known neurons.

    Columns of $R$ are orthonormal, and orthogonal to the constant vector. The first is the direction of log
    frequencies. Three more are the indicators of token sets, made orthogonal to the columns before. A neuron that writes
    along a column of $Q$ therefore moves the logits along the same column of $R$. Use it to test the methods of Stolfo
    et al. 2024 (https://arxiv.org/abs/2406.16254) and Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181).

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `vocab`, `d`, `ff`, `ctx`: sizes of the model. The singular value of log frequencies is 16; the others fall from
      8 to 2.
    - `null`: how many directions no logit reads.
    - `norm`: `"layer"` is a GPT-2 with LayerNorm; `"rms"` is a Llama with RMSNorm and a gated MLP. The gain of
      the last norm is uneven, so that the null space is that of gain and unembedding.

    **Returns:** `PlantedUnembed`.

    **Raises:** ValueError for sizes that are too small for the planted neurons and directions.

    ```python
    planted = ji.toy.planted_unembed(key=jax.random.key(0))
    found = ji.neurons.null_space(planted.model)
    found.share(planted.null_space.T)                       # 1 for each
    ```

    Laws: no logit reads the null space; a planted neuron moves logits along its direction alone.
    """
    check_choice(norm, "norm", ("layer", "rms"))
    vocab, d, ff = as_int(vocab, "vocab", 24), as_int(d, "d", 8), as_int(ff, "ff", EACH * len(KINDS) + 1)
    null, ctx = as_int(null, "null", 1), as_int(ctx, "ctx", 2)
    read = d - (norm == "layer") - null
    if not 5 <= read < vocab:
        raise ValueError(
            f"d - null directions are read by the logits, at least 5 and fewer than vocab={vocab}; got "
            f"d={d}, null={null}, which leaves {read}."
        )
    rng = host_generator(key, "ji.toy.planted_unembed(key={})")
    ones = np.ones((d, 1)) if norm == "layer" else np.zeros((d, 0))
    frame = np.linalg.qr(np.concatenate([ones, rng.normal(size=(d, null + read))], 1))[0][:, ones.shape[1] :]
    hidden, seen = frame[:, :null], frame[:, null:]
    counts = np.floor(20 * vocab / (1 + rng.permutation(vocab))).astype(np.int64)
    logs = np.log(counts + 1.0)
    direction = (logs - logs.mean()) / np.linalg.norm(logs - logs.mean())
    order = rng.permutation(vocab)
    size = max(2, vocab // 24)
    tokens = {
        "prediction": order[:size],
        "suppression": order[size : 2 * size],
        "partition": order[: vocab // 2],
    }
    columns = [np.ones(vocab), direction, *(np.isin(np.arange(vocab), ids) for ids in tokens.values())]
    wide = np.concatenate([np.stack(columns, 1), rng.normal(size=(vocab, read - 4))], 1)
    right, upper = np.linalg.qr(wide)
    right = (right * np.sign(np.diag(upper)))[:, 1:]
    spectrum = np.concatenate([[FREQUENCY], np.geomspace(HIGH, LOW, read - 1)])
    effective = (seen * spectrum) @ right.T
    gain = np.exp(0.3 * rng.normal(size=d))

    writes = 0.1 * rng.normal(size=(ff, null + read)) @ frame.T
    aims = {
        "entropy": [6.0 * hidden[:, 0], 4.0 * hidden[:, -1]],
        "frequency": [1.0 * seen[:, 0], -1.0 * seen[:, 0]],
        "prediction": [3.0 * seen[:, 1], 2.0 * seen[:, 1]],
        "suppression": [-3.0 * seen[:, 2], -2.0 * seen[:, 2]],
        "partition": [3.0 * seen[:, 3], -2.0 * seen[:, 3]],
    }
    neurons = {kind: tuple(range(EACH * i, EACH * (i + 1))) for i, kind in enumerate(KINDS)}
    for kind, units in neurons.items():
        writes[list(units)] = aims[kind]
    neurons["other"] = tuple(range(EACH * len(KINDS), ff))
    # Nothing but neurons writes along the log frequencies.
    embed = rng.normal(size=(vocab, null + read)) * (np.arange(null + read) != null) @ frame.T
    reads = rng.normal(size=(2, d, ff)) / np.sqrt(d)
    model = _model(norm, vocab, d, ff, ctx, gain, embed, reads, writes, effective / gain[:, None])
    return PlantedUnembed(model, hidden, counts, direction, neurons, tokens)


def _model(
    norm: str,
    vocab: int,
    d: int,
    ff: int,
    ctx: int,
    gain: np.ndarray,
    embed: np.ndarray,
    reads: np.ndarray,
    writes: np.ndarray,
    unembed: np.ndarray,
) -> Any:
    """The model of these weights, whose attention and positions write nothing."""
    sizes: dict[str, Any] = dict(vocab=vocab, ctx=ctx, d=d, layers=1, heads=2, ff=ff, tied=False)
    array = lambda x: jnp.asarray(np.asarray(x, np.float32))
    one = lambda x: array(x)[None]
    if norm == "layer":
        plain = GPT2.init(GPT2Config(act="relu", **sizes), key=jax.random.key(0))
        model: Any = eqx.tree_at(lambda m: m.w_pos, plain, array(np.zeros((ctx, d))))
    else:
        gated = Llama.init(LlamaConfig(act="relu", **sizes), key=jax.random.key(0))
        model = eqx.tree_at(lambda m: m.blocks.mlp.w_gate, gated, one(reads[1]))
    where = lambda m: [
        m.w_embed,
        m.w_unembed,
        m.ln_final.weight,
        m.blocks.attn.w_o,
        m.blocks.mlp.w_in,
        m.blocks.mlp.w_out,
    ]
    silent = np.zeros(model.blocks.attn.w_o.shape[1:])
    return eqx.tree_at(
        where, model, [array(embed), array(unembed), array(gain), one(silent), one(reads[0]), one(writes)]
    )
