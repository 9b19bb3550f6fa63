"""What no LayerNorm and no softmax can see, subtracted: means over `d` and over the vocabulary."""

from typing import Any

from ..typing import M
from ._leaves import WRITERS, check_layout, leaf, put, untied, wide


def center_writing(model: M) -> M:
    r"""$w' = w - \bar w$ over `d`, for every vector that is written to the residual stream.

    These vectors are the rows of `w_embed`, `w_pos`, `w_o`, `w_out`, and `b_o`, `b_out`. Every reader of the stream
    has a LayerNorm before it, which subtracts the mean anyway. This is `center_writing_weights` of
    TransformerLens.

    **Arguments:** `model`, with LayerNorm. A tied unembedding gets its own copy first, because the mean of
    an embedding has no effect where it is written to the stream, but has one where logits are computed.

    **Returns:** a new model; the stream at every site has mean zero over `d`.

    **Raises:** `ValueError` for RMSNorm and for models without norms, which do see the mean.

    ```python
    centred = ji.weights.center_writing(model)
    ```

    Law: log-probabilities stay what they were.
    """
    last = check_layout(model, "center_writing").ln_final
    if not centring(model):
        norm = type(last).__name__ if last is not None else "no norm"
        raise ValueError(
            "center_writing needs a LayerNorm before every reader of the residual stream: it is "
            f"LayerNorm that cannot see the mean over d. This {type(model).__name__} has {norm}, so "
            "its log-probabilities would change. Use ji.weights.process(model), which does only "
            "what applies to a model."
        )
    model = untied(model)
    found = {path: leaf(model, path) for path in WRITERS}
    return put(model, {path: _centred(w, -1) for path, w in found.items() if w is not None})


def center_unembed(model: M) -> M:
    r"""$W_U' = W_U - \overline{W_U},\; b_U' = b_U - \overline{b_U}$ over the vocabulary.

    All logits of a position change by the same number, so softmax gives the same probabilities. A direction in the
    stream then raises or lowers tokens relative to the average token. This is `center_unembed` of TransformerLens.

    **Arguments:** `model`; a tied unembedding gets its own copy.

    **Returns:** a new model; its logits have mean zero over the vocabulary.

    ```python
    centred = ji.weights.center_unembed(model)
    ```

    Law: log-probabilities stay what they were.
    """
    check_layout(model, "center_unembed")
    model = untied(model)
    found = {path: leaf(model, path) for path in ("w_unembed", "b_unembed")}
    return put(model, {path: _centred(w, -1) for path, w in found.items() if w is not None})


def centring(model: Any) -> bool:
    """Whether every reader of the residual stream stands behind a norm that centres."""
    norms = [model.blocks.ln1, model.ln_final]
    norms += [model.blocks.ln2] if model.blocks.mlp is not None else []
    return all(norm is not None and norm.centres for norm in norms)


def _centred(w: Any, axis: int) -> Any:
    full = wide(w)
    return (full - full.mean(axis, keepdims=True)).astype(w.dtype)
