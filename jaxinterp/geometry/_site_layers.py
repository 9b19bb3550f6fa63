"""The layers of a site, checked against a corpus before anything runs."""

import dataclasses

import numpy as np

from ..core._blocks import layer_count
from ..core._captures import as_requests
from ..core._intervene import config_of, split_edits
from ..core._sites import is_per_layer
from ..data._reading import plan
from ..typing import AnyCorpus, ModelLike, StrLike


@dataclasses.dataclass(frozen=True)
class SideLayers:
    """One side of a comparison: what is captured, the numbers of its layers, and the width of a row."""

    name: str
    stacked: bool
    numbers: tuple[int, ...]
    width: int


def layers_at(model: ModelLike, corpus: AnyCorpus, site: StrLike) -> SideLayers:
    """The layers of a site that has a row for each token. **Raises:** ValueError for another."""
    if not isinstance(site, str):
        raise ValueError(f"site is one site by its name, as 'resid_post' or 'mlp_post[2:5]'; got {site!r}.")
    reading = plan(model, corpus, site)
    if len(reading.shapes) != 1 or not reading.by_token:
        raise ValueError(f"A row is a token, so site is one without positions; got {site!r}.")
    ((name, (layers, row, _)),) = reading.shapes.items()
    (request,) = as_requests(name)
    numbers = (0,)
    if is_per_layer(request.site):
        numbers = tuple(request.layer_range(layer_count(split_edits(model)[0])))
    return SideLayers(name, layers is not None, numbers, int(np.prod(row)))


def check_same_ids(model_a: ModelLike, model_b: ModelLike) -> None:
    """Raises ValueError where two models do not read the same ids."""
    vocab = [config_of(model).vocab for model in (model_a, model_b)]
    if vocab[0] != vocab[1]:
        raise ValueError(
            "Layers are compared token by token, so both models read the same ids of one tokenizer; these have "
            f"vocabularies of {vocab[0]} and {vocab[1]} tokens. Compare their means over each text instead: "
            "ji.geometry.cka(x, y) of ji.data.activations(model, tokens, site, reduce='mean')."
        )
