r"""`evaluate` inside of a training: what does not change is kept, and the rest is a part of the model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...data._activations import watched
from ..evaluation._eval import ablated, add, fits, reading, standing, summed
from ..evaluation._reconstruction import finished
from ..features._suffix import reached
from ..files._origin import own_site


class Evaluation:
    """See `evaluation`."""

    def __init__(
        self,
        model: Any,
        tokens: Any,
        site: str,
        mask: Any,
        real: Any,
        batch: int,
        cosines: bool,
        progress: bool,
    ) -> None:
        self.model, self.cosines = model, cosines
        self.read, size, self.place = reading(model, tokens, site, mask, real, batch)
        held, mean = [], np.zeros(self.read.width)
        steps = -(-len(self.read.rows) // size)
        for part in watched(self.read.batches(size), steps, "evaluation", progress):
            one = reached(model, self.read, part, self.place)
            mean += summed(one)
            held.append(jax.tree.map(np.asarray, one))
        self.mean = jnp.asarray(mean / self.read.counted.sum(), jnp.float32)
        self.known: dict[str, Any] = {}
        self.held = []
        for one in held:
            known, clean = ablated(model, _back(one), self.mean, self.place)
            add(self.known, known)
            self.held.append((one, np.asarray(clean)))

    def __repr__(self) -> str:
        seq, pos = len(self.read.rows), self.read.tokens.shape[1]
        return f"Evaluation({self.read.name!r}: {seq} contexts of {pos})"

    def __call__(self, sae: Any, step: int | Any = None) -> dict[str, Any]:
        """The numbers of `evaluate` for a dictionary."""
        fits(sae, self.read)
        own_site(sae, self.read.name, self.model)
        total = dict(self.known)
        for one, clean in self.held:
            add(total, standing(sae, self.model, _back(one), self.mean, self.place, clean))
        return finished(sae, total, self.cosines)


def evaluation(
    model: Any,
    tokens: Any,
    *,
    site: str,
    mask: Any = None,
    real: Any = None,
    batch: int = 16,
    cosines: bool = True,
    progress: bool = True,
) -> Evaluation:
    r"""$(\theta, t) \mapsto (D \mapsto \mathrm{evaluate}(D))$: the same tokens for many dictionaries.

    The run up to the site, and the losses of the clean and the ablated model, are worked out once. A
    call then runs the dictionary and the layers after the site alone. Activations are held in the
    host's memory, 2 d numbers a token (3 d where the site is not `resid_post`).

    **Arguments:** as in `evaluate`; `cosines`: also `max_cosine`, which costs `features` squared
    times `d` on the host: with very many features give False.

    **Returns:** a function of `(sae, step)`, for `train(..., evaluate=, every=)` and `sweep`; the
    step is not looked at.

    ```python
    judge = ji.sae.evaluation(model, held_out, site="resid_post[2]")
    settings = ji.fit.Settings(every=1000, evaluate=judge)
    sae, history = ji.sae.train(kind, stream, key=key, steps=20_000, settings=settings)
    history["evaluated"], history["recovered"]
    ```

    Law: equal to `evaluate(sae, model, tokens, site=site)`.
    """
    return Evaluation(model, tokens, site, mask, real, batch, cosines, progress)


def _back(held: Any) -> Any:
    return jax.tree.map(jnp.asarray, held)
