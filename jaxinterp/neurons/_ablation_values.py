"""What neurons are set to by an ablation, and which tokens its losses are of."""

import dataclasses
from typing import Any

import numpy as np

from ..corpus._batches import Batch
from ._contexts import Contexts, contexts_of
from ._moments import Moments, of_batch
from ._reading import fold_neurons


def values_of(
    model: Any,
    contexts: Contexts,
    neurons: np.ndarray,
    to: Any,
    site: str,
    batch_size: int | str | None,
    progress: bool,
) -> np.ndarray:
    """What each neuron is set to, float32 `(n,)`."""
    if isinstance(to, str):
        if to == "zero":
            return np.zeros(len(neurons), np.float32)
        if to != "mean":
            raise ValueError(
                f"to is 'zero', 'mean', a number, or a number for each neuron; got {to!r}. The mean "
                "over one class: to=ji.neurons.distribution(...).mean_of('en')."
            )
        many = len(contexts.names)

        def step(moments: Moments, batch: Batch, x: Any) -> Moments:
            one = of_batch(x, batch, many)
            for c in range(many):
                moments = moments.merged(Moments(*(x[[c]] for x in vars(one).values())))
            return moments

        how: dict[str, Any] = {"batch_size": batch_size, "progress": "means" if progress else False}
        moments = fold_neurons(model, contexts, neurons, site, Moments.nothing(1, len(neurons)), step, **how)
        return moments.mean[0].astype(np.float32)
    values: np.ndarray = np.asarray(to, np.float32)
    if values.shape not in ((), (len(neurons),)) or not np.isfinite(values).all():
        raise ValueError(
            f"to holds one finite number for each of the {len(neurons)} neurons, or one for all; got the shape "
            f"{values.shape}."
        )
    return np.broadcast_to(values, (len(neurons),)).copy()


def predicted(contexts: Contexts) -> Contexts:
    """The same, where the first position, which nothing predicts, does not count."""
    corpus = contexts.corpus
    counted = corpus.positions.copy()
    counted[:, 1:] &= corpus.mask[:, :-1]
    counted[:, 0] = False
    keep = counted.any(1)
    many = np.bincount(contexts.label, keep, len(contexts.names))
    lost = [each for c, each in enumerate(contexts.names) if not many[c]]
    if lost:
        raise ValueError(
            f"No token of {lost} is predicted from one before it: give longer contexts, or skip less."
        )
    document = np.unique(contexts.document[keep], return_inverse=True)[1].reshape(-1)
    counting = dataclasses.replace(corpus, positions=counted)
    return contexts_of(counting, keep, contexts.label[keep], document, contexts.names)
