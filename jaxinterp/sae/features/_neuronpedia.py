"""A whole dictionary as the folder that Neuronpedia's uploader reads, in one call."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..._deprecations import check_path_first
from ..._settings import takes_settings
from ...corpus._progress import watched
from ...typing import CaptureLike, CorpusLike, DictionaryLike, IndexLike, ModelLike, PathLike, TokenizerLike
from ..files._origin import own_site
from ._dashboard import DashboardSource, save_dashboard
from ._dashboard_record import DashboardRecord, DashboardSizes, dashboard_feature, plain
from ._directions import directions
from ._example_settings import ExampleSettings
from ._examples import Examples, examples
from ._logits import logit_weights
from ._site import chosen

AT_ONCE = 64  # features whose logit weights are in memory


@takes_settings
def neuronpedia(
    path: PathLike,
    sae: DictionaryLike,
    model: ModelLike,
    tokenizer: TokenizerLike,
    tokens: CorpusLike | None = None,
    *,
    source: DashboardSource,
    site: CaptureLike | None = None,
    read: Examples | None = None,
    features: IndexLike | None = None,
    settings: ExampleSettings = ExampleSettings(),
    sizes: DashboardSizes = DashboardSizes(),
    progress: bool = True,
) -> Path:
    r"""$i \mapsto$ examples, histograms, logit weights, decoder row: a folder that Neuronpedia's uploader reads.

    **Arguments:**

    - `path`: the folder to write, as in `save_dashboard`.
    - `sae`, `model`, `tokenizer`, `tokens`, `site`: a dictionary, its model with the tokenizer, the corpus to read and
      the site, by default the dictionary's own.
    - `source`: the model and the dictionary of the features. By default prompts and context are those of the corpus.
    - `read`: the result of `examples`, in place of `tokens`.
    - `features`: numbers of features `(n,)`; by default all, or with `read` those that were read.
    - `settings`, `sizes`: how many examples, tokens and bars a feature has.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** the folder. It is complete, or does not exist. Features that never fire are listed as skipped.

    **Raises:** ValueError where both or neither of `tokens` and `read` are given; the errors of `examples` and
    `save_dashboard`.

    ```python
    source = ji.sae.DashboardSource(model="gpt2-small", layer=2, name="mine")
    ji.sae.neuronpedia("upload", sae, model, tokenizer, corpus, source=source)
    ```

    Law: each record equals `dashboard_feature` with the feature's examples, density, logit weights and
    decoder row; its histogram is that of `examples`.
    """
    check_path_first("ji.sae.neuronpedia(path, sae, model, tokenizer, tokens, source=source)", path)
    if (tokens is None) == (read is None):
        raise ValueError(
            "neuronpedia reads a corpus, or shows what examples returned: give tokens, or read=ji.sae.examples(...)."
        )
    site = own_site(sae, site, model)
    if read is None:
        assert tokens is not None
        read = examples(
            sae, model, tokens, site=site, features=features, settings=settings, progress=progress
        )
    elif features is not None:
        raise ValueError("features are those of read=; choose them in ji.sae.examples(..., features=...).")
    rows, width = read.tokens.shape
    known = {"prompts": source.prompts or rows, "context": source.context or width}
    with np.errstate(divide="ignore"):
        log_density = np.log10(read.density)
    return save_dashboard(
        path,
        _records(sae, model, tokenizer, site, read, sizes, progress),
        source=dataclasses.replace(source, **known),
        skipped=read.features[read.fired == 0],
        log_sparsity=log_density,
    )


def _records(
    sae: Any, model: Any, tokenizer: Any, site: Any, read: Examples, sizes: DashboardSizes, progress: bool
) -> Iterator[DashboardRecord]:
    """The record of each feature that fires."""
    weights = logit_weights(sae, model, site, read.features)
    vocab = tokenizer.tokens(np.arange(weights.shape[1], dtype=np.int32))
    rows = np.asarray(directions(sae))[chosen(sae, read.features)]
    places = np.flatnonzero(read.fired > 0)
    blocks = [places[i : i + AT_ONCE] for i in range(0, len(places), AT_ONCE)]
    for block in watched(blocks, len(blocks), "dashboard", progress):
        logits = weights[block]
        for row, i in zip(logits, block, strict=True):
            feature = int(read.features[i])
            record = dashboard_feature(
                feature,
                examples=_examples(read, tokenizer, feature, float(read.maximum[i])),
                density=read.density[i],
                logits=row,
                vocab=vocab,
                sizes=sizes,
                vector=rows[i],
            )
            heights, edges = read.histogram(feature)
            record["freq_hist_data_bar_heights"] = plain(heights)
            record["freq_hist_data_bar_values"] = plain((edges[:-1] + edges[1:]) / 2)
            yield record


def _examples(read: Examples, tokenizer: Any, feature: int, maximum: float) -> Iterator[dict[str, Any]]:
    """Examples as `dashboard_feature` takes them; those of an interval say which."""
    count = read.interval_seq.shape[1]
    for each in read.records(tokenizer, feature):
        interval = each["interval"]
        part = (0.0, maximum)
        if interval is not None:
            part = (interval * maximum / count, (interval + 1) * maximum / count)
        before = read.window(each["seq"], each["pos"])[: read.before]
        yield {
            "tokens": each["tokens"],
            "values": each["activations"],
            "interval": part,
            "token": int((before >= 0).sum()),
        }
