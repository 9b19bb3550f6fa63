"""Layers deleted, swapped and repeated: how much the predictions of a model change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import viz
from .._arguments import as_list, check_choice
from .._random import host_generator
from .._text import shown
from ..core._blocks import layer_count
from ..core._check import check_predicts_tokens
from ..core._intervene import config_of, split_edits
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._checkpoint import Checkpoint
from ..corpus._fold import folded
from ..stats._intervals import check_level, ratio_ends
from ..stats._results import Record, Result
from ..typing import CorpusLike, IndexLike, KeyLike, ModelLike, PathLike
from ..weights._layers import named_orders
from ._contexts import as_contexts
from ._layer_effects import MEASURES, LayerEffects
from ._layer_orders import KINDS, LayerOrders, layer_orders
from ._layer_table import LayerTable
from ._losses import check_losses


@dataclass(frozen=True, eq=False)
class LayerInterventions(Result):
    """The effects of interventions on layers; made by `ji.neurons.layer_interventions`.

    - `delete`, `swap`, `repeat`, `orders`: a `LayerTable` each, or None where the kind was not requested.
    - `loss`, `entropy`: nats and bits of the unchanged model; `predictions`, `documents`: how many were read.
    - `level`: coverage of the intervals.

    ```python
    found = ji.neurons.layer_interventions(model, corpus, kinds=["delete"])
    found.delete.agreement, found.loss                   # (4,), nats of the unchanged model
    found.figure("kl")
    ```
    """

    delete: LayerTable | None
    swap: LayerTable | None
    repeat: LayerTable | None
    orders: LayerTable | None
    loss: float
    entropy: float
    predictions: int
    documents: int
    level: float

    def records(self) -> list[Record]:
        """One dict for each intervention of each kind."""
        return [{"kind": kind, **row} for kind, table in self._tables().items() for row in table.records()]

    def _tables(self) -> dict[str, LayerTable]:
        """The tables that there are, by kind."""
        found = {kind: getattr(self, kind) for kind in (*KINDS, "orders")}
        return {kind: table for kind, table in found.items() if table is not None}

    def figure(self, measure: str = "agreement", *, title: str = "") -> viz.Figure:
        """A curve over layers for each kind, with its intervals; a swap stands at its first layer.

        **Arguments:**

        - `measure`: `"agreement"` (by default), `"kl"`, `"loss"` or `"entropy"`.
        - `title`: by default what the curves are.
        """
        check_choice(measure, "measure", MEASURES)
        tables = {kind: table for kind, table in self._tables().items() if kind in KINDS}
        if not tables:
            raise ValueError(
                "Curves over layers are of deleted, swapped or repeated layers; see .orders.records()."
            )
        longest, at = max(map(len, tables.values())), MEASURES.index(measure)
        full = lambda x: np.concatenate([x, np.full(longest - len(x), np.nan)])
        units = {"agreement": "share of predictions", "kl": "nats", "loss": "nats", "entropy": "bits"}
        return viz.lines(
            {kind: full(getattr(table, measure)) for kind, table in tables.items()},
            bands={kind: (full(t.low[:, at]), full(t.high[:, at])) for kind, t in tables.items()},
            title=title or f"Layers changed: {measure}",
            x_axis="layer",
            y_axis=units[measure],
            caption=f"{self.predictions} predictions in {self.documents} documents.",
        )


def layer_interventions(
    model: ModelLike,
    tokens: CorpusLike,
    *,
    kinds: Iterable[str] = ("delete", "swap"),
    orders: Mapping[str, IndexLike] | None = None,
    skip: int = 1,
    level: float | int = 0.95,
    key: KeyLike | None = None,
    batch_size: int | str | None = "auto",
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool = True,
) -> LayerInterventions:
    r"""$D\big(p(\cdot) \,\|\, p(\cdot \mid \mathrm{block}_i \leftarrow \mathrm{block}_{o_i})\big)$: predictions with layers deleted, swapped or repeated.

    Lad, Gurnee and Tegmark 2024 (https://arxiv.org/abs/2406.19384): middle layers keep 72 to 95% of the
    model's own predictions, the first layer next to none.

    **Arguments:**

    - `model`: of any family, with or without edits. An edit of a layer stays with the block that it names.
    - `tokens`: a `Corpus`, or ids `(row, pos)`. With a mask: `ji.corpus.as_corpus(tokens, mask=mask)`.
    - `kinds`: any of `"delete"` (each layer left out), `"swap"` (each layer exchanged with the next one)
      and `"repeat"` (each layer twice).
    - `orders`: other orders of layers by name, such as `{"reversed middle": [0, 2, 1, 3]}`. A layer may
      stand there twice or not at all.
    - `skip`: first tokens of a row, whose predictions do not count; 1 by default, the BOS token.
    - `level`: coverage of the intervals; 0.95 by default. Documents are resampled 1,000 times.
    - `key`: draws the resamples; `jax.random.key(0)` by default.
    - `batch_size`: rows of a pass; "auto" (by default) bounds what a pass holds by 256 MB.
    - `checkpoint`: a file from which an interrupted call goes on, or `ji.corpus.Checkpoint(path, every=...)`.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `LayerInterventions`. A prediction counts where its token counts in the corpus and a next
    token is there. Means are sums over predictions divided by their number.

    **Raises:** `ValueError` for another kind, for no intervention at all, or a corpus without predictions;
    `IndexError` for a layer that the model lacks.

    ```python
    model, tokenizer = ji.load("tiny")
    corpus = ji.data.pack(tokenizer, ["The old man walked along the river to the sea."], ctx=32)
    found = ji.neurons.layer_interventions(model, corpus)
    found.delete.agreement, found.swap.kl                # (4,), (3,)
    ```

    Laws: it is equal to a run of `ji.weights.take_layers(model, order)` (if attention divides scores by the number
    of its layer, the number stays here); to delete a block that adds nothing, or to swap equal
    neighbours, changes nothing. One program serves all interventions.
    """
    base, _ = split_edits(model)
    count, level = layer_count(base), check_level(level)
    check_predicts_tokens(config_of(model), "Interventions on layers are measured on next tokens")
    kinds = as_list(kinds, "kinds", 'kinds=("delete", "swap")')
    for kind in kinds:
        check_choice(kind, "kinds", KINDS)
    if orders is not None and not isinstance(orders, Mapping):
        raise ValueError(f'orders are named: orders={{"reversed": [2, 1, 0]}}; got {shown(orders)}.')
    extra = named_orders(count, orders or {})
    if not kinds and not extra:
        raise ValueError(
            'There is no intervention: give kinds=("delete", "swap"), or orders={"name": [...]}.'
        )
    if count < 2 and "swap" in kinds:
        raise ValueError(f'A swap exchanges two layers; this model has {count}: kinds=("delete",).')
    contexts = as_contexts(model, tokens, skip=skip)
    corpus = contexts.corpus
    made = corpus.positions[:, :-1] & corpus.mask[:, 1:]
    if not made.any():
        raise ValueError(
            f"No prediction counts: each row has at most skip + 1 = {skip + 1} tokens. Give longer rows."
        )
    plans = layer_orders(count, kinds, extra)
    config = config_of(model)
    wide = (count + 2) * int(config.d) + 4 * int(config.vocab)
    parts = CorpusBatches(corpus, model, batch_size, extra=contexts.document, padded=True, width=wide)
    many = int(contexts.document.max()) + 1
    state = np.zeros((2, many)), np.zeros((len(plans.names), len(MEASURES), many))

    def add_rows(state: Any, batch: Batch, sums: Any) -> Any:
        rows = parts.rows_of(int(batch.number))
        for total, new in zip(state, sums, strict=True):
            new = np.asarray(new, np.float64)[..., : len(rows)]
            np.add.at(np.moveaxis(total, -1, 0), contexts.document[rows], np.moveaxis(new, -1, 0))
        return state

    read = LayerEffects(model, *map(jnp.asarray, (plans.order, plans.start, plans.stop)))
    captures, name = ["resid_pre", "resid_post[-1]"], "layers" if progress else False
    as_is, effects = folded(
        parts, model, captures, state, add_rows, per_batch=read, checkpoint=checkpoint, progress=name
    )
    counts = np.bincount(contexts.document, made.sum(1), many)
    rng = host_generator(
        jax.random.key(0) if key is None else key, "ji.neurons.layer_interventions(..., key={})"
    )
    check_losses(as_is)
    mean = effects.sum(-1) / counts.sum()
    low, high = ratio_ends(effects, counts, level, rng)
    tables = {kind: _table(plans, plans.of(kind), mean, low, high) for kind in (*KINDS, "orders")}
    loss, entropy = as_is.sum(-1) / counts.sum()
    return LayerInterventions(
        **tables,
        loss=float(loss),
        entropy=float(entropy),
        predictions=int(counts.sum()),
        documents=int((counts > 0).sum()),
        level=level,
    )


def _table(plans: LayerOrders, rows: np.ndarray, *parts: np.ndarray) -> LayerTable | None:
    if not len(rows):
        return None
    mean, low, high = (part[rows] for part in parts)
    return LayerTable(
        tuple(plans.names[i] for i in rows), mean[:, 0], mean[:, 1], mean[:, 2], mean[:, 3], low, high
    )
