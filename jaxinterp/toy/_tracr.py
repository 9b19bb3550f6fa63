"""Programs that tracr compiled, as models of this library."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from .._arguments import as_list
from ..models import GPT2, GPT2Config
from ..nn import MLP, Attention, Block
from ..typing import StrLike
from ._rasp import Program


@runtime_checkable
class Compiled(Protocol):
    """What is read of tracr's `AssembledTransformerModel`: plain data, no code of tracr runs."""

    @property
    def params(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def model_config(self) -> Any: ...
    @property
    def residual_labels(self) -> list[str]: ...
    @property
    def input_encoder(self) -> Any: ...


def from_tracr(compiled: Compiled, *, outputs: StrLike | Iterable[str] | None = None) -> Program:
    r"""$x_0 = W_E[t] + W_{pos}$, then $x \mathrel{+}= \mathrm{attn}(x)$, $x \mathrel{+}= \mathrm{mlp}(x)$ per layer.

    Converts the result of `tracr.compiler.compiling.compile_rasp_to_model`. Only its arrays, sizes and names are
    read, so tracr need not be installed where they come from a file. Lindner et al. 2023
    (https://arxiv.org/abs/2301.05062).

    **Arguments:**

    - `compiled`: an object with `params`, `model_config`, `residual_labels` and `input_encoder`.
    - `outputs`: which coordinates of the residual stream are the logits: names of `residual_labels`, or the part
      of a name before the colon that all outputs share, such as `program.label` of the RASP program. By
      default all coordinates, in their order.

    **Returns:** a `Program`: the model, its tokens and the names of its coordinates.

    **Raises:** ValueError for a model with LayerNorm, with an MLP that is not ReLU, or for a name that is no
    coordinate.

    ```python
    from tracr.compiler import compiling, lib                # pip install tracr-pypi
    from tracr.rasp import rasp

    source = lib.make_reverse(rasp.tokens)
    compiled = compiling.compile_rasp_to_model(source, vocab={1, 2, 3}, max_seq_len=5, compiler_bos="BOS")
    program = ji.toy.from_tracr(compiled, outputs=source.label)
    logits, _ = ji.run(program.model, program.encode(["BOS", 3, 1, 2]))
    ```

    Law: residual streams equal those of tracr's own forward pass, after every block.
    """
    config, labels = compiled.model_config, tuple(compiled.residual_labels)
    _check(config)
    params = {name: {k: np.asarray(v) for k, v in part.items()} for name, part in compiled.params.items()}
    layers, heads, k = config.num_layers, config.num_heads, config.key_size
    d = len(labels)

    def stacked(part: str, name: str) -> np.ndarray:
        return np.stack([params[f"transformer/layer_{layer}/{part}"][name] for layer in range(layers)])

    def read(part: str) -> tuple[jnp.ndarray, jnp.ndarray]:
        w, b = stacked(f"attn/{part}", "w"), stacked(f"attn/{part}", "b")
        by_head = w.reshape(layers, d, heads, k).swapaxes(1, 2)
        return jnp.asarray(by_head), jnp.asarray(b.reshape(layers, heads, k))

    (w_q, b_q), (w_k, b_k), (w_v, b_v) = (read(part) for part in ("query", "key", "value"))
    w_o = jnp.asarray(stacked("attn/linear", "w").reshape(layers, heads, k, d))
    embed, pos = params["token_embed"]["embeddings"], params["pos_embed"]["embeddings"]
    chosen = _outputs(labels, outputs)
    model = GPT2(
        w_embed=jnp.asarray(embed),
        w_pos=jnp.asarray(pos),
        blocks=Block(
            ln1=None,
            attn=Attention(
                w_q=w_q,
                w_k=w_k,
                w_v=w_v,
                w_o=w_o,
                b_q=b_q,
                b_k=b_k,
                b_v=b_v,
                b_o=jnp.asarray(stacked("attn/linear", "b")),
                scale=k**-0.5,
            ),
            ln2=None,
            mlp=MLP(
                w_in=jnp.asarray(stacked("mlp/linear_1", "w")),
                w_gate=None,
                b_in=jnp.asarray(stacked("mlp/linear_1", "b")),
                b_gate=None,
                w_out=jnp.asarray(stacked("mlp/linear_2", "w")),
                b_out=jnp.asarray(stacked("mlp/linear_2", "b")),
                act="relu",
            ),
        ),
        ln_final=None,
        w_unembed=jnp.asarray(np.eye(d, dtype=embed.dtype)[:, chosen]),
        b_unembed=None,
        config=GPT2Config(
            vocab=len(embed),
            ctx=len(pos),
            d=d,
            layers=layers,
            heads=heads,
            k=k,
            ff=config.mlp_hidden_size,
            act="relu",
            norm=False,
            causal=bool(config.causal),
            vocab_out=len(chosen),
            tied=False,
        ),
    )
    tokens = sorted(compiled.input_encoder.encoding_map.items(), key=lambda item: item[1])
    return Program(model, tuple(token for token, _ in tokens), labels)


def _check(config: Any) -> None:
    if config.layer_norm:
        raise ValueError(
            "Compiled programs have no LayerNorm; this model's config has layer_norm=True. Give what "
            "tracr.compiler.compiling.compile_rasp_to_model returns."
        )
    probe = np.asarray([-2.0, -0.5, 0.5, 3.0], np.float32)
    if not np.array_equal(np.asarray(config.activation_function(probe)), np.maximum(probe, 0)):
        raise ValueError(
            f"The MLPs of compiled programs are ReLU; this config has {config.activation_function}. Give what "
            "tracr.compiler.compiling.compile_rasp_to_model returns."
        )


def _outputs(labels: tuple[str, ...], outputs: Any) -> list[int]:
    if outputs is None:
        return list(range(len(labels)))
    if isinstance(outputs, str):
        found = [i for i, label in enumerate(labels) if label == outputs or label.startswith(f"{outputs}:")]
        missing = [] if found else [outputs]
    else:
        names = as_list(outputs, "outputs", "['reverse_1:1', 'reverse_1:2']")
        missing = [name for name in names if name not in labels]
        found = [labels.index(name) for name in names if name in labels]
    if missing:
        raise ValueError(f"{missing[0]!r} is no coordinate of this program; they are {', '.join(labels)}.")
    return found
