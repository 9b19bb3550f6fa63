"""N-grams whose last token only a context neuron predicts, found in losses token by token."""

from dataclasses import dataclass

import numpy as np

from ..stats._results import Record, Result


@dataclass(frozen=True, eq=False)
class ContextNgrams(Result):
    """N-grams that need the context neuron, the most frequent first; a part of `ContextStudy`.

    - `ids (n, order)`: the tokens of each n-gram, the last of which is predicted; `text`: the n-gram as text if a
      tokenizer was given, else the ids.
    - `count (n,)`: how often each n-gram was found; `loss`, `total`, `without_indirect (n,)`: mean nats there.
    - `random_total`, `random_without_indirect`, `random_without_direct (n,)`: mean costs after random common
      tokens of the context; NaN where no prompts were drawn.

    ```python
    planted = ji.toy.planted_context_ngram()
    texts = {"in": [[1, 4, 5, 6, 3, 7, 8, 9]], "out": [[0, 4, 5, 6, 3, 7, 8, 9]]}
    found = ji.neurons.context_ngrams(planted.model, planted.context, texts, context="in",
                                      settings=ji.neurons.NgramSettings(least=1.0))
    len(found.ngrams), found.ngrams.ids, found.ngrams.total
    found.ngrams.records()
    ```
    """

    ids: np.ndarray
    text: tuple[str, ...]
    count: np.ndarray
    loss: np.ndarray
    total: np.ndarray
    without_indirect: np.ndarray
    random_total: np.ndarray
    random_without_indirect: np.ndarray
    random_without_direct: np.ndarray

    def __len__(self) -> int:
        return len(self.text)

    def records(self) -> list[Record]:
        """One dict for each n-gram."""
        names = (
            "loss",
            "total",
            "without_indirect",
            "random_total",
            "random_without_indirect",
            "random_without_direct",
        )
        return [
            {
                "ngram": text,
                "count": int(self.count[i]),
                **{name: float(getattr(self, name)[i]) for name in names},
            }
            for i, text in enumerate(self.text)
        ]


@dataclass
class Found:
    """N-grams as they are found, with sums of their costs."""

    order: int
    least: float
    most_loss: float
    words: np.ndarray | None
    sums: dict[tuple[int, ...], np.ndarray]

    def add(self, tokens: np.ndarray, counted: np.ndarray, losses: np.ndarray) -> None:
        """Looks at a batch: tokens `(row, pos)`, what counts and losses `(run, row, pos)` of each token."""
        original, _, ablated, direct, _ = losses
        total, without = ablated - original, direct - original
        hit = counted & (np.minimum(total, without) > self.least) & (original <= self.most_loss)
        hit[:, : self.order - 1] = False
        for row, pos in zip(*np.nonzero(hit), strict=True):
            ids = tuple(int(x) for x in tokens[row, pos - self.order + 1 : pos + 1])
            if self.words is None or self.words[list(ids)].all():
                new = np.array([1, original[row, pos], total[row, pos], without[row, pos]], np.float64)
                self.sums[ids] = self.sums.get(ids, np.zeros(4)) + new

    def best(self, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids `(n, order)` and (count, loss, total, without) `(n, 4)`, the most frequent first, then the dearest."""
        order = sorted(
            self.sums, key=lambda ids: (-self.sums[ids][0], -self.sums[ids][2] / self.sums[ids][0])
        )
        ids = np.array(order[:top], np.int32).reshape(-1, self.order)
        rows = np.array([self.sums[each] for each in order[:top]]).reshape(-1, 4)
        rows[:, 1:] /= np.maximum(rows[:, :1], 1)
        return ids, rows
