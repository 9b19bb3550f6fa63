"""From which layer on two tokens know how they are related: probes of both streams at once."""

import dataclasses

import numpy as np

from .. import viz
from .._arguments import as_int, as_number, check_key
from .._random import host_generator
from .._settings import takes_settings
from .._waiting import waiting
from ..data import activations
from ..probes import TrainSettings, mlp
from ..stats import mean_interval
from ..stats._results import Record, Result
from ..tasks import Pairs
from ..typing import FloatLike, IntLike, KeyLike, ModelLike
from ._entity_pairs import EntityPairs

PROBES = ("linear", "four hidden layers")


@dataclasses.dataclass(frozen=True, eq=False)
class MixingProbes(Result):
    """The accuracy of probes that read the relation of two tokens from their streams; made by `mixing_probes`.

    - `probes`: the names of the two probes, "linear" and "four hidden layers".
    - `accuracy (probe, layer)`: the accuracy on held-out prompts. Layer 0 is the embedding, layer l the output of block
      l - 1. `low`, `high`: its interval over prompts.
    - `shuffled (probe, layer)`: the accuracy of probes trained with shuffled labels.
    - `chance`: the share of the most frequent relation in the held-out prompts.

    ```python
    found = ji.chains.mixing_probes(model, questions, entities, key=key, settings=settings)
    found.accuracy - found.chance                       # (2, layer + 1)
    ```
    """

    probes: tuple[str, ...]
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shuffled: np.ndarray
    chance: float

    def records(self) -> list[Record]:
        """A row for each probe and layer."""
        return [
            {
                "probe": self.probes[probe],
                "layer": layer,
                "accuracy": float(self.accuracy[probe, layer]),
                "low": float(self.low[probe, layer]),
                "high": float(self.high[probe, layer]),
                "shuffled": float(self.shuffled[probe, layer]),
                "chance": self.chance,
            }
            for probe, layer in np.ndindex(*self.accuracy.shape)
        ]

    def figure(self, *, title: str = "The relation of two tokens, read from their streams") -> viz.Figure:
        """Accuracy by layer of both probes, with intervals, beside shuffled labels."""
        names = dict(enumerate(self.probes))
        return viz.lines(
            {name: self.accuracy[i] for i, name in names.items()}
            | {f"{name}, shuffled": self.shuffled[i] for i, name in names.items()},
            bands={name: (self.low[i], self.high[i]) for i, name in names.items()},
            x_axis="layer",
            y_axis="accuracy",
            title=title,
        )


@takes_settings
@waiting("ji.chains.mixing_probes: reading the model and training probes")
def mixing_probes(
    model: ModelLike,
    pairs: Pairs,
    entities: EntityPairs,
    *,
    key: KeyLike,
    held_out: FloatLike = 0.3,
    hidden: IntLike = 64,
    settings: TrainSettings = TrainSettings(batch_size=32),
    batch_size: IntLike = 8,
) -> MixingProbes:
    r"""$\mathrm{softmax}(W [h_i; h_j])$ at each layer, and the same with four hidden layers: the relation of two tokens.

    Dutta et al. 2024 (https://arxiv.org/abs/2402.18312). Where a probe reads the relation from the streams of two words,
    the model has mixed it into them from the context. Whole prompts are held out. A fact may stand after a mention; a
    causal model cannot know it there, so the accuracy stays below 1.

    **Arguments:**

    - `model`: any model of the protocol.
    - `pairs`: prompts of `ji.tasks.ontology`; the clean prompts are read.
    - `entities`: pairs of tokens of `entity_pairs`, or your own.
    - `key`: a `jax.random.key`, which draws the held-out prompts, the first weights and the shuffled labels.
    - `held_out`: the share of prompts held out; 0.3 by default.
    - `hidden`: the width of the hidden layers; 64 by default.
    - `settings`: how probes are trained, `ji.probes.TrainSettings`; batches of 32 by default.
    - `batch_size`: prompts per pass; 8 by default.

    **Returns:** `MixingProbes`.

    **Raises:** ValueError for fewer than four prompts, one relation only, and columns that are padding.

    ```python
    questions = ji.tasks.ontology(tokenizer, 8, key=key, subtask=0, shots=0)
    entities = ji.chains.entity_pairs(questions, key=key)
    settings = ji.probes.TrainSettings(epochs=2, batch_size=32)
    ji.chains.mixing_probes(model, questions, entities, key=key, settings=settings).figure()
    ```

    Laws: a relation that the two tokens alone determine is read at layer 0; shuffled labels are not read.
    """
    rng = host_generator(check_key(key, "ji.chains.mixing_probes(..., key={})"))
    width = as_int(hidden, "hidden", 1)
    share = as_number(held_out, "held_out", 0, 1)
    prompts = np.unique(entities.prompt)
    count = round(share * len(prompts))
    if len(prompts) < 4 or not 2 <= count <= len(prompts) - 2:
        raise ValueError(
            f"Two prompts or more are trained on, and two or more held out; got {len(prompts)} prompts, of which "
            f"{count} are held out."
        )
    for columns in (entities.first, entities.second):
        inside = (columns >= 0) & (columns < pairs.clean.shape[1])
        if not inside.all() or not pairs.mask[entities.prompt, columns].all():
            raise ValueError("Both tokens of a pair are real ones of their prompt.")
    test = np.isin(entities.prompt, rng.choice(prompts, count, replace=False))
    if len(np.unique(entities.label[~test])) < 2:
        raise ValueError("Probes tell two relations or more apart; the training prompts have one.")
    size = as_int(batch_size, "batch_size", 1)
    width_of_rows = pairs.clean.shape[1]
    x = []
    for columns in (entities.first, entities.second):
        index = entities.prompt * width_of_rows + columns
        read = activations(
            model,
            pairs.clean,
            ["resid_pre[0]", "resid_post"],
            mask=pairs.mask,
            index=index,
            batch_size=size,
            dtype=np.float32,
            progress=False,
        )
        x.append(np.concatenate([read["resid_pre[0]"][None], read["resid_post"]]))
    both = np.concatenate(x, -1)  # (layer, m, 2 d)
    labels = entities.label
    shuffled = labels.copy()
    shuffled[~test] = rng.permutation(labels[~test])
    found = {"accuracy": [], "low": [], "high": [], "shuffled": []}
    for shape in ((), (width,) * 4):
        right = [
            np.asarray(
                mlp(both[:, ~test], y[~test], shape, key=key, settings=settings).predict(both[:, test])
                == labels[test]
            )
            for y in (labels, shuffled)
        ]
        of_prompt = np.stack(
            [right[0][:, entities.prompt[test] == p].mean(1) for p in np.unique(entities.prompt[test])], 1
        )
        interval = mean_interval(of_prompt)
        found["accuracy"].append(right[0].mean(1))
        found["low"].append(interval.low)
        found["high"].append(interval.high)
        found["shuffled"].append(right[1].mean(1))
    chance = np.bincount(labels[test]).max() / test.sum()
    return MixingProbes(
        PROBES, **{name: np.stack(values) for name, values in found.items()}, chance=float(chance)
    )
