"""What forms when: curves over the checkpoints of one training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .. import viz
from .._settings import takes_settings
from .._text import shown
from ..corpus._bigrams import Bigrams
from ..stats._results import Record, Result
from ..typing import ClassesLike, KeyLike, ModelLike, NeuronsLike, PathLike
from ._address import as_neurons, name
from ._checkpoints import ModelSeries, checkpoints
from ._contexts import as_contexts, index_of
from ._training_step import TrainingSettings, TrainingStep

PATHS = ("both paths", "indirect path", "direct path")
BY_CLASS = ("loss", "entropy", "to_unigram", "from_unigram", "to_bigram", "from_bigram")


@dataclass(frozen=True, eq=False)
class TrainingCurves(Result):
    """Numbers over the checkpoints of one training; made by `training_curves`.

    - `labels`, `steps`: of the checkpoints; `classes` of texts; `contexts`, `neurons`: classes with a neuron each,
      and the neurons as `"3.669"`.
    - `values`: arrays by name, the first axis is of checkpoints:

    | name | axes after it | what |
    |---|---|---|
    | `loss loss_low loss_high entropy` | class | nats per token of each kind of text |
    | `to_unigram from_unigram to_bigram from_bigram` | class | KL(model to counts) and back, where there are counts |
    | `tokens` | class | how many predictions were read |
    | `without_mlp` | layer, class | nats by which the loss rises without the MLP of a layer |
    | `f1 mcc` | context | of the neuron's probe, on other documents |
    | `best best_f1` | context | the neuron that is chosen at this checkpoint, `(layer, neuron)`, and its F1 |
    | `active inactive` | context | the neuron's mean in its class and in the others |
    | `ablation ablation_low ablation_high` | context, class | nats by which the loss rises with the neuron inactive |
    | `costs costs_low costs_high` | context, path | the same by what is removed: both paths, the indirect, the direct one |
    | `ngrams` | context | different n-grams that need the neuron |
    | `induction previous` | | the largest score of a head |

    ```python
    series = ji.neurons.checkpoints(["runs/tiny/step1000", "runs/tiny/step2000"])
    found = ji.neurons.training_curves(series, corpus, {"de": (1, 362)})
    found.values["loss"], found.steps                    # (checkpoint, class), (checkpoint,)
    found.mean("f1")
    ```
    """

    labels: tuple[str, ...]
    steps: np.ndarray
    classes: tuple[str, ...]
    contexts: tuple[str, ...]
    neurons: tuple[str, ...]
    values: dict[str, np.ndarray]

    def mean(self, measure: str) -> np.ndarray:
        """A measure of classes, over all tokens read, `(checkpoint,)`.

        **Raises:** KeyError for a measure that is not there.
        """
        weight = self.values["tokens"]
        return (self.values[measure] * weight).sum(1) / weight.sum(1)

    def records(self) -> list[Record]:
        """A row for each checkpoint: `loss.German`, `f1.German`, `ablation.German.French`, `costs.German.direct path`."""
        axes = {"class": self.classes, "context": self.contexts, "path": PATHS}
        rows: list[Record] = [
            {"checkpoint": label, "step": int(step)}
            for label, step in zip(self.labels, self.steps, strict=True)
        ]
        for each, x in self.values.items():
            names = [axes[a] for a in _axes(each)]
            names += [tuple(map(str, range(size))) for size in x.shape[1 + len(names) :]]
            names = names if each != "without_mlp" else [tuple(map(str, range(x.shape[1]))), self.classes]
            for at in np.ndindex(*x.shape[1:]):
                column = ".".join([each, *(axis[i] for axis, i in zip(names, at, strict=True))])
                for row, value in zip(rows, x, strict=True):
                    row[column] = value[at].item()
        return rows

    def figure(self, *, title: str = "Over training", caption: str = "") -> viz.Figure:
        """All curves over steps, as panels: losses, KL, F1, costs by class and by path, heads, MLPs.

        **Arguments:**

        - `title`, `caption`: texts.
        """
        v = self.values
        panels: dict[str, dict[str, Any]] = {
            "Loss by kind of text": dict(zip(self.classes, v["loss"].T, strict=True))
        }
        ends = zip(v["loss_low"].T, v["loss_high"].T, strict=True)
        bands: dict[str, dict[str, Any]] = {
            "Loss by kind of text": {
                each: pair for each, pair in zip(self.classes, ends, strict=True) if np.isfinite(pair).all()
            }
        }
        units = {"Loss by kind of text": "nats per token"}
        if "to_bigram" in v:
            heading = "KL from the model to counts"
            panels[heading] = {each: self.mean(f"to_{each}") for each in ("unigram", "bigram")}
            units[heading] = "nats"
        if self.contexts:
            panels["F1 of one neuron, token by token"] = {
                f"{each} {what}": v[key][:, i]
                for i, (each, own) in enumerate(zip(self.contexts, self.neurons, strict=True))
                for key, what in (("f1", own), ("best_f1", "best"))
            }
            units["F1 of one neuron, token by token"] = "F1"
        for i, (each, own) in enumerate(zip(self.contexts, self.neurons, strict=True)):
            for key, names, heading in (
                ("ablation", self.classes, f"Without {own} ({each}): by kind of text"),
                ("costs", PATHS, f"Without {own} ({each}): in {each}, by path"),
            ):
                panels[heading] = dict(zip(names, v[key][:, i].T, strict=True))
                ends = zip(v[f"{key}_low"][:, i].T, v[f"{key}_high"][:, i].T, strict=True)
                bands[heading] = {
                    one: pair for one, pair in zip(names, ends, strict=True) if np.isfinite(pair).all()
                }
                units[heading] = "nats per token"
        panels["Heads"] = {"induction": v["induction"], "previous token": v["previous"]}
        units["Heads"] = "largest score"
        if "without_mlp" in v:
            weight = v["tokens"][:, None]
            rise = (v["without_mlp"] * weight).sum(-1) / weight.sum(-1)
            panels["Without the MLP of a layer"] = {f"layer {i}": x for i, x in enumerate(rise.T)}
            units["Without the MLP of a layer"] = "nats per token"
        return viz.line_panels(
            panels, x=self.steps, title=title, x_axis="step", y_axes=units, bands=bands, caption=caption
        )


def _axes(value: str) -> tuple[str, ...]:
    """The named axes of an array of `values`."""
    part = value.removesuffix("_low").removesuffix("_high")
    if part in BY_CLASS or part == "tokens":
        return ("class",)
    paths = {"ablation": ("context", "class"), "costs": ("context", "path")}
    alone = ("induction", "previous", "without_mlp")
    return paths.get(part, () if part in alone else ("context",))


@takes_settings
def training_curves(
    models: ModelSeries | Sequence[ModelLike],
    classes: ClassesLike,
    neurons: Mapping[str, NeuronsLike],
    *,
    bigrams: Bigrams | None = None,
    settings: TrainingSettings = TrainingSettings(),
    key: KeyLike | None = None,
    checkpoint: PathLike | None = None,
    progress: bool = True,
) -> TrainingCurves:
    r"""$t \mapsto \ell_c,\ D(p_t \| q),\ F_1,\ \Delta_c,\ \text{paths},\ \text{heads}$: measures over the steps of a training.

    Quirke et al. 2023 (https://arxiv.org/abs/2311.00863) study a context neuron over the checkpoints of
    Pythia-70m in this way. The losses, the comparison with counts and the heads show what changes at the same time.

    **Arguments:**

    - `models`: `ji.neurons.checkpoints(...)`, or models in memory, all of the same shapes.
    - `classes`: a labelled `Corpus`, or a dict from class to texts, as in `distribution`.
    - `neurons`: the context neuron of each class, `{"German": (3, 669)}`; `{}` for none.
    - `bigrams`: counts of the training text, of `ji.corpus.bigrams`; none by default.
    - `settings`: `TrainingSettings`.
    - `key`: draws tokens, documents and prompts, the same at each checkpoint; `jax.random.key(0)` by default.
    - `checkpoint`: a file from which an interrupted call goes on, checkpoint by checkpoint.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `TrainingCurves`, with `.values`, `.figure()` and `.records()`.

    **Raises:** ValueError for a class that is not there, texts without labels, checkpoints of other shapes;
    IndexError for a neuron that the model lacks; FileNotFoundError as `checkpoints`.

    ```python
    series = ji.neurons.checkpoints(["runs/tiny/step1000", "runs/tiny/step2000"])
    found = ji.neurons.training_curves(series, corpus, {"de": (1, 362)})
    found.figure().save("training.svg")
    ```

    Law: each number is that of `class_losses`, `class_probes`, `ablation`, `context_ngrams` or `heads` on the model.
    """
    if not isinstance(neurons, Mapping):
        raise ValueError(f"neurons has a neuron of each class: {{'German': (3, 669)}}; got {shown(neurons)}.")
    if bigrams is not None and not isinstance(bigrams, Bigrams):
        raise ValueError("bigrams are those of ji.corpus.bigrams(corpus, model.config.vocab).")
    series = models if isinstance(models, ModelSeries) else checkpoints(models)
    first = series[0]
    contexts = as_contexts(first, classes, skip=int(settings.skip))
    chosen = {}
    for each, neuron in neurons.items():
        index_of(contexts.names, each)
        own = as_neurons(first, neuron)
        if len(own) != 1:
            raise ValueError(f"{each!r} has one context neuron, as (3, 669); got {len(own)} of them.")
        chosen[each] = (int(own[0, 0]), int(own[0, 1]))
    key = jax.random.key(0) if key is None else key
    step = TrainingStep(classes, chosen, bigrams, settings, key)
    found = series.map(step, checkpoint=checkpoint, progress=progress)
    named = tuple(map(name, chosen.values()))
    return TrainingCurves(found.labels, found.steps, contexts.names, tuple(chosen), named, dict(found.values))
