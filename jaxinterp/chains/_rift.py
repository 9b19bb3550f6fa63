"""The depth at which a model stops mixing the context and starts to write the answer."""

import dataclasses

import numpy as np

from .. import viz
from ..stats._results import Record, Result
from ._answer_writers import AnswerWriters
from ._mixing_probes import MixingProbes


@dataclasses.dataclass(frozen=True, eq=False)
class Rift(Result):
    """The depth at which mixing peaks and the depth at which writing begins, in blocks; made by `functional_rift`.

    - `layers`: how many blocks the model has.
    - `probe`: the name of the better probe.
    - `probe_peak`: the number of blocks after which this probe has its first maximum.
    - `probe_gain`: its accuracy there, minus chance. A peak without a gain means nothing.
    - `first_writing`: the first block with an answer writer, a mean over tasks; NaN without writers.
    - `half_writing`: the block up to which half of all writing is done.
    - `late`: the share of the writing in the second half of the blocks. `late_chance`: the same for wrong answers.

    ```python
    found = ji.chains.functional_rift(probes, writers)
    found.probe_peak, found.probe_gain, found.first_writing
    ```
    """

    layers: int
    probe: str
    probe_peak: int
    probe_gain: float
    first_writing: float
    half_writing: float
    late: float
    late_chance: float
    accuracy: np.ndarray
    writing: np.ndarray

    def records(self) -> list[Record]:
        """A row for each depth: the probe's accuracy after so many blocks, and how many heads of the next one write."""
        return [
            {
                "depth": depth,
                "accuracy": float(self.accuracy[depth]),
                "writers": float(self.writing[depth]) if depth < self.layers else None,
            }
            for depth in range(self.layers + 1)
        ]

    def figure(self, *, title: str = "Mixing and writing by depth") -> viz.Figure:
        """The probe's accuracy and the writers of each layer, both as shares of their maximum."""
        writing = np.append(self.writing, np.nan)
        return viz.lines(
            {
                "relation read": self.accuracy / self.accuracy.max(),
                "answer written": writing / max(np.nanmax(writing), 1e-12),
            },
            x_axis="depth in blocks",
            y_axis="share of the maximum",
            title=title,
        )


def functional_rift(probes: MixingProbes, writers: AnswerWriters) -> Rift:
    r"""$\arg\max_\ell \mathrm{acc}(\ell)$ beside $\min \{\ell : \text{a head writes the answer}\}$: the depths of mixing and of writing.

    Dutta et al. 2024 (https://arxiv.org/abs/2402.18312) find both at block 16 of 32 of Llama-2 7B.

    **Arguments:**

    - `probes`: the result of `mixing_probes`.
    - `writers`: the result of `answer_writers` for the same model.

    **Returns:** `Rift`.

    **Raises:** ValueError where the numbers of layers differ.

    ```python
    probes = ji.chains.mixing_probes(model, questions, entities, key=key, settings=settings)
    writers = ji.chains.answer_writers(model, tasks)
    ji.chains.functional_rift(probes, writers).figure()
    ```

    Law: where only the last block writes, `half_writing` is this block and `late` is 1.
    """
    layers = writers.count.shape[1]
    if probes.accuracy.shape[1] != layers + 1:
        raise ValueError(
            f"Probes and writers are of one model: {layers} layers have {layers + 1} streams, and these probes read "
            f"{probes.accuracy.shape[1]}."
        )
    best = int(probes.accuracy.max(1).argmax())
    accuracy = probes.accuracy[best]
    writing, wrong = writers.count.mean(0), writers.wrong.sum(-1).mean(0)
    known = writing.sum() > 0
    middle = layers // 2
    late = lambda x: float(x[middle:].sum() / x.sum()) if x.sum() > 0 else float("nan")
    first = writers.first[np.isfinite(writers.first)]
    return Rift(
        layers=layers,
        probe=probes.probes[best],
        probe_peak=int(accuracy.argmax()),
        probe_gain=float(accuracy.max() - probes.chance),
        first_writing=float(first.mean()) if len(first) else float("nan"),
        half_writing=float(np.searchsorted(writing.cumsum(), writing.sum() / 2)) if known else float("nan"),
        late=late(writing),
        late_chance=late(wrong),
        accuracy=accuracy,
        writing=writing,
    )
