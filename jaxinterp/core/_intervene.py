"""Models with edits of their own."""

from typing import Any

import equinox as eqx

from ..mesh._automatic import check_automatic
from ..typing import EditsLike, ModelLike
from ._check import check_model
from ._edit import Edit, as_edits


class Intervened(eqx.Module):
    """A model whose every run applies some edits: what `intervene` returns."""

    model: Any
    edits: tuple[Edit, ...]

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def blocks(self) -> Any:
        return self.model.blocks


def intervene(model: ModelLike, edits: EditsLike | None) -> Intervened:
    r"""$M \mapsto M_{e_1, \dots, e_n}$: a model whose every run applies the edits.

    **Arguments:**

    - `model`: a model, with or without edits of its own.
    - `edits`: one edit or several. They are applied in order, before the edits of a run.

    **Returns:** a model: pass it to `run`, `generate`, `sites` or `intervene`.

    ```python
    steered = ji.intervene(model, [ji.add("resid_post", 4.0 * direction, layer=2)])
    ```

    Law: `run(intervene(model, a), t, edits=b)` is `run(model, t, edits=a + b)`.
    """
    base, own, new = gather_edits(model, edits)
    return Intervened(base, own + new)


def split_edits(model: ModelLike) -> tuple[Any, tuple[Edit, ...]]:
    """A model without its own edits, and these."""
    if isinstance(model, Intervened):
        return model.model, model.edits
    check_model(model)
    return model, ()


def gather_edits(model: ModelLike, edits: EditsLike | None) -> tuple[Any, tuple[Edit, ...], tuple[Edit, ...]]:
    """A model without its own edits, these, and the edits of a call, which come after them."""
    base, own = split_edits(model)
    check_automatic(base)
    return base, own, as_edits(edits)


def config_of(model: ModelLike) -> Any:
    """The config of a model, with or without edits of its own."""
    return split_edits(model)[0].config
