"""How well each neuron alone tells one class of text from the others, token by token."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .. import viz
from .._arguments import as_int
from .._random import host_generator
from ..data._activations import activations
from ..data._split import split
from ..probes import single_neuron
from ..stats._results import Record, Result
from ..typing import ClassesLike, FloatLike, IntLike, KeyLike, ModelLike, NeuronsLike
from ._address import as_neurons, name
from ._contexts import Contexts, as_contexts, index_of


@dataclass(frozen=True, eq=False)
class ClassProbes(Result):
    """Probes of one neuron each for one class; made by `class_probes`.

    - `context`: the class; the probe tells it from all other classes.
    - `train_f1 f1 mcc (layer, ff)`: of each neuron's probe, on the tokens of its fit and on tokens of other documents.
    - `active inactive (layer, ff)`: the mean activation in the class, and in all others, over all tokens read.
    - `tokens (side, class)`: how many tokens were read, for the fit and for the test, of the class and of others.

    ```python
    found = ji.neurons.class_probes(model, corpus, "de")
    layer, neuron = found.best                     # the neuron with the largest MCC on the tokens of its fit
    found.f1[layer, neuron], found.active[layer, neuron] - found.inactive[layer, neuron]
    found.records()[:5]
    ```
    """

    context: str
    train_f1: np.ndarray
    f1: np.ndarray
    mcc: np.ndarray
    active: np.ndarray
    inactive: np.ndarray
    tokens: np.ndarray

    @property
    def best(self) -> tuple[int, int]:
        """The neuron with the largest F1 where the probes were fitted, among those active in the class."""
        score = np.where(self.active > self.inactive, self.train_f1, -1)
        layer, unit = np.unravel_index(int(np.argmax(score)), score.shape)
        return int(layer), int(unit)

    def records(self) -> list[Record]:
        """A row for each neuron, the largest F1 where the probes were fitted first."""
        order = np.argsort(-self.train_f1, axis=None, kind="stable")
        measures = ("train_f1", "f1", "mcc", "active", "inactive")
        where = np.stack(np.unravel_index(order, self.f1.shape), 1)
        return [
            {"neuron": name(at), **{m: float(getattr(self, m)[tuple(at)]) for m in measures}} for at in where
        ]

    def figure(self, *, title: str = "", caption: str = "") -> viz.Figure:
        """How F1 on other documents is distributed over neurons, a curve for each layer.

        **Arguments:**

        - `title`, `caption`: texts; by default the class and the best neuron, and none.
        """
        edges = np.linspace(0, 1, 41)
        return viz.histogram(
            {f"layer {i}": np.histogram(row, edges)[0] for i, row in enumerate(self.f1)},
            edges,
            title=title
            or f"{self.context}: the best neuron is {name(self.best)}, F1 {self.f1[self.best]:.3f}",
            x_axis="F1",
            y_axis="share of neurons",
            caption=caption,
        )


def class_probes(
    model: ModelLike,
    classes: ClassesLike,
    context: str,
    *,
    neurons: NeuronsLike | None = None,
    tokens: IntLike = 10_000,
    test: FloatLike = 0.2,
    skip: IntLike = 10,
    key: KeyLike | None = None,
    progress: bool = True,
) -> ClassProbes:
    r"""$F_1$ of $[\,w_j a_j(t) + b_j > 0\,]$ for every neuron j: how well a neuron tells at each token the class of the text.

    Each probe is a logistic regression on one standardised activation, as in Quirke et al. 2023
    (https://arxiv.org/abs/2311.00863), who call an F1 above 0.85 high. Here the test uses other documents than the fit.

    **Arguments:**

    - `model`, `classes`: as in `distribution`.
    - `context`: the class that is told from all others.
    - `neurons`: pairs `(layer, neuron)`; all by default. The result has NaN for others.
    - `tokens`: tokens of the class, and as many of the others, at most; 10,000 by default. They are drawn at random.
    - `test`: share of the documents that are held out; 0.2 by default.
    - `skip`: first tokens of a context that do not count; 10 by default.
    - `key`: draws tokens and documents; `jax.random.key(0)` by default.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `ClassProbes`, with `.best`.

    **Raises:** ValueError for a class that is not there, no other class, or a class of one document; as `distribution`.

    ```python
    found = ji.neurons.class_probes(model, corpus, "de")
    found.best, found.f1[found.best]
    ```

    Laws: each is `probes.single_neuron` of its standardised activations; a neuron that is active in the class
    alone has an F1 of 1.
    """
    contexts = as_contexts(model, classes, skip=as_int(skip, "skip", 0))
    own = contexts.label == index_of(contexts.names, context)
    if own.all():
        raise ValueError(
            f"A probe tells {context!r} from other classes, and there is no other one. Give a corpus with "
            "texts of other labels."
        )
    for here, what in ((True, f"{context!r}"), (False, "the other classes")):
        if (count := len(np.unique(contexts.document[own == here]))) < 2:
            raise ValueError(
                f"A probe needs two documents of each side, one to learn from and one to test on; {what} "
                f"{'has' if here else 'have'} {count}. Give more texts."
            )
    key = jax.random.key(0) if key is None else key
    rng = host_generator(key, "ji.neurons.class_probes(..., key={})")
    train, tested = split(contexts.document, key=key, test=test, labels=own)
    most = as_int(tokens, "tokens", 4)
    sides = [
        [
            _drawn(contexts, rows[own[rows] == here], max(2, round(most * share)), rng)
            for here in (True, False)
        ]
        for rows, share in ((train, 1 - float(test)), (tested, float(test)))
    ]
    index = [np.concatenate(each) for each in sides]
    labels = [np.repeat([1, 0], [len(part) for part in each]) for each in sides]
    x: Any = activations(
        model, contexts.corpus, "mlp_post", index=np.concatenate(index), dtype=np.float32, progress=progress
    )
    chosen = as_neurons(model, neurons)
    layers, _, units = x.shape
    columns = np.moveaxis(x[chosen[:, 0], :, chosen[:, 1]], 0, 1)
    fit, others = np.split(columns, [len(index[0])])
    middle, size = fit.mean(0), np.maximum(fit.std(0), 1e-6)
    fit, others = (fit - middle) / size, (others - middle) / size
    probes = single_neuron(fit, labels[0])
    measured = probes.evaluate(others, labels[1])
    both = np.concatenate(labels) > 0
    numbers = (probes.f1, measured.f1, measured.mcc, columns[both].mean(0), columns[~both].mean(0))

    def placed(part: Any) -> np.ndarray:
        out = np.full((layers, units), np.nan)
        out[chosen[:, 0], chosen[:, 1]] = np.asarray(part)
        return out

    counts = np.array([[len(part) for part in each] for each in sides])
    train_f1, f1, mcc, active, inactive = map(placed, numbers)
    return ClassProbes(context, train_f1, f1, mcc, active, inactive, counts)


def _drawn(contexts: Contexts, rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Some tokens that count in these rows, each `seq * ctx + pos`."""
    counted = contexts.corpus.positions
    row, pos = np.nonzero(counted[rows])
    index = rows[row].astype(np.int64) * counted.shape[1] + pos
    return np.sort(rng.permutation(index)[:most])
