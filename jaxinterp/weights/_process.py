"""All the surgery that applies to a model: the weights that published statistics are about."""

from ..typing import M
from ._center import center_unembed, center_writing, centring
from ._fold_norms import fold_norms
from ._leaves import check_layout
from ._value_bias import fold_value_bias


def process(model: M) -> M:
    r"""`fold_value_bias` $\circ$ `center_unembed` $\circ$ `center_writing` $\circ$ `fold_norms`.

    The result has the weights of `HookedTransformer.from_pretrained` with its defaults. Most published
    statistics of weights were computed on them. `ji.load` never does this: it gives the weights
    of the checkpoint.

    **Arguments:** `model`; `center_writing` is left out for RMSNorm and for models without norms, to which
    it does not apply.

    **Returns:** a new model.

    ```python
    processed = ji.weights.process(model)
    ```

    Law: log-probabilities stay what they were.
    """
    check_layout(model, "process")
    model = fold_norms(model)
    if centring(model):
        model = center_writing(model)
    return fold_value_bias(center_unembed(model))
