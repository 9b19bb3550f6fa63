"""Models of several sizes on the same labelled texts: how many neurons a feature needs, and what weights say."""

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._settings import takes_settings
from ..core._check import check_key
from ..core._intervene import config_of
from ..corpus._progress import watched
from ..data import Feature, save_activations
from ..probes import StudySettings, prove_best, study
from ..stats._results import Record
from ..typing import BoolLike, DocumentsLike, FeaturesLike, KeyLike, PathLike, SourcesLike
from ._scaling_result import TOKEN, ScalingStudy
from ._scaling_settings import ScalingSettings
from ._scaling_texts import ReadTexts, as_documents, as_labels_of, as_sources, loaded, read_texts_of
from ._sparsity import sparsity, splitting
from ._weights import weight_statistics


@takes_settings
def scaling(
    models: SourcesLike,
    corpus: DocumentsLike,
    features: FeaturesLike | None = None,
    *,
    key: KeyLike,
    settings: ScalingSettings = ScalingSettings(),
    out: PathLike | None = None,
    progress: BoolLike = True,
) -> ScalingStudy:
    r"""$k^* = \min\{k : b(k) \ge 0.95\, b_{\mathrm{dense}}\}$, $b(k) = F_1$ of the best k neurons of the best layer, by model size.

    Section 6 of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610) asks how features change in larger models: a
    feature gets a neuron of its own, its neuron splits into neurons of finer features, or nothing changes.
    Neurons, supports and layers are chosen on training documents. (The paper takes the layer with the best test
    F1, which makes its numbers slightly too high.)

    **Arguments:**

    - `models`: a dict from name to model, or a list; each is what `ji.load` takes, or the pair (model, tokenizer)
      that it returns. One of them is in memory at a time.
    - `corpus`: labelled texts, `ji.data.Document`s or pairs (text, label), or a `ji.data.pack` of them, whose
      documents are read anew: every model reads the same texts with its own tokenizer. A document is one row.
      Give short ones: of a long one each model reads its first `ctx` tokens, which are not the same text.
    - `features`: a dict from name to a label, to several labels, or to a function of a text to spans of
      characters, the last tokens of which are positive (`ji.data.features`). By default each label.
      Where the labels of one feature hold those of another, the pair is looked at for splitting.
    - `key`: draws the split of the documents, which is the same for all models, and samples of tokens.
    - `settings`: aggregates, layers, ks and more; see `ScalingSettings`.
    - `out`: a folder for activations and records. The same call goes on where it was stopped. By default
      activations are in a temporary folder, and nothing is kept.
    - `progress`: whether progress bars are shown.

    **Returns:** `ScalingStudy`, with `.records()`, `.sizes()`, `.table()` and `.figure()`.

    **Raises:** ValueError for a model without a tokenizer or without neurons, a corpus without labels, a label that
    no document has, a document of which no token counts; `ji.probes.BadRecords` and `ji.data.BadStore` for a
    folder that was begun with other models, texts or settings.

    Memory holds one model, a batch of its activations, and the rows of one layer; activations of all rows lie on
    disk.

    ```python
    found = ji.neurons.scaling({"random": (random, tokenizer), "trained": "tiny"}, documents, key=jax.random.key(0))
    found.sizes()[0]["dedicated"], [(row["feature"], row["needed"]) for row in found.records()]
    ```

    Laws: a feature with a neuron of its own needs k = 1, and the share of such features is 1; one that is the
    conjunction of m neurons needs k = m; another tokenizer for the same model changes nothing but tokens.
    """
    key = check_key(key, "ji.neurons.scaling(..., key={})")
    sources, documents = as_sources(models), as_documents(corpus)
    labels = as_labels_of(documents, features)
    tables: dict[str, list[Record]] = {
        name: [] for name in ("models", "features", "splits", "weights", "skipped")
    }
    for number, (name, source) in enumerate(
        watched(sources.items(), len(sources), "models", bool(progress), unit="model")
    ):
        model, tokenizer = loaded(name, source)
        chosen = _layers(model, name, settings)
        tables["models"].append(_about(model, name, chosen))
        tables["weights"] += _weights(model, name)
        texts = read_texts_of(name, model, tokenizer, documents, labels, settings, key)
        samples, skipped = texts.features(labels, settings, key)
        tables["skipped"] += [
            {"model": name, "feature": each, "reason": why} for each, why in skipped.items()
        ]
        run = _Run(model, name, texts, chosen, settings, key, bool(progress))
        with _folder(out, number, name) as folder:
            for reduce in settings.reduces if labels.documents else ():
                rows, splits = run.aggregate(folder, reduce, labels.documents, labels.finer())
                tables["features"] += rows
                tables["splits"] += splits
            if samples:
                tables["features"] += run.aggregate(folder, None, samples, [])[0]
    return ScalingStudy(**tables, share=float(settings.share))


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """One model on the texts."""

    model: Any
    name: str
    texts: ReadTexts
    layers: list[int]
    settings: ScalingSettings
    key: Any
    progress: bool

    def aggregate(
        self, folder: Path, reduce: str | None, labels: Any, pairs: list[tuple[str, str]]
    ) -> tuple[list[Record], list[Record]]:
        """The rows of features and of pairs for one aggregate, or for tokens."""
        settings, corpus = self.settings, self.texts.corpus
        index = np.unique(np.concatenate([f.index for f in labels.values()])) if reduce is None else None
        sites = [f"mlp_post[{layer}]" for layer in self.layers]
        options: dict[str, Any] = {"reduce": reduce} if index is None else {"index": index}
        store = save_activations(
            folder / (reduce or TOKEN),
            self.model,
            corpus,
            sites,
            batch_size=int(settings.batch_size),
            progress=self.progress,
            **options,
        )
        train, test = self.texts.sides(index)
        most = min(
            config_of(self.model).ff, *(len(np.intersect1d(f, train)) for f in self._rows(labels, index))
        )
        how = StudySettings(
            methods={"single": None, "adaptive": settings.grid("ks", most), "dense": None},
            resamples=int(settings.resamples),
            time_limit=settings.time_limit,
            name=self.name,
        )
        common: dict[str, Any] = {
            "key": self.key,
            "settings": how,
            "groups": corpus.groups if index is None else corpus.groups[index // corpus.tokens.shape[1]],
            "parts": (train, test),
            "out": folder / f"{reduce or TOKEN}.jsonl",
            "progress": self.progress,
        }
        records = study(self.model, store, labels, **common)
        exact = settings.grid("exact", most)
        if exact:
            records += prove_best(self.model, store, labels, records, ks=exact, **common)
        about = {"model": self.name, "reduce": reduce or TOKEN}
        of = {name: [r for r in records if r["feature"] == name] for name in labels}
        rows = [
            {**about, "feature": name, **sparsity(mine, settings.share, settings.readable)}
            for name, mine in of.items()
        ]
        read = lambda layer: np.asarray(store.read(f"mlp_post[{layer}]"), np.float32)
        splits = splitting(records, labels, pairs, test, read) if pairs else []
        return rows, [{**about, **row} for row in splits]

    @staticmethod
    def _rows(labels: Any, index: Any) -> Iterator[np.ndarray]:
        """The rows of each feature."""
        for one in labels.values():
            yield np.searchsorted(index, one.index) if isinstance(one, Feature) else np.arange(len(one))


@contextlib.contextmanager
def _folder(out: Any, number: int, name: str) -> Iterator[Path]:
    """Where the files of one model are."""
    if out is None:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
        return
    place = Path(out) / f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}"
    place.mkdir(parents=True, exist_ok=True)
    yield place


def _layers(model: Any, name: str, settings: ScalingSettings) -> list[int]:
    """The layers that are read: all, or some, evenly spread from the first to the last."""
    config = config_of(model)
    if not getattr(config, "ff", 0):
        raise ValueError(f"{name!r} has no MLP (ff=0), so it has no neurons to compare.")
    count = int(config.layers)
    wanted = count if settings.layers is None else min(count, int(settings.layers))
    return sorted({round(at) for at in np.linspace(0, count - 1, wanted)}) if wanted > 1 else [count // 2]


def _about(model: Any, name: str, layers: list[int]) -> Record:
    config = config_of(model)
    count = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    return {
        "model": name,
        "parameters": int(count),
        "layers": int(config.layers),
        "read": layers,
        "neurons": int(config.ff),
    }


def _weights(model: Any, name: str) -> list[Record]:
    """The weight statistic of each layer."""
    found = weight_statistics(model)
    kept = ("layer", "depth", "curve", "product_median", "in_norm_median", "cosine_median")
    return [
        {"model": name, **{what: row[what] for what in kept}, "reason": found.reason}
        for row in found.records()
    ]
