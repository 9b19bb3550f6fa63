r"""`evaluate` inside a training: what does not change is computed once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ...corpus._batches import Batch
from ...corpus._suffix import Reached, suffix_of
from ...typing import CorpusLike, DictionaryLike, IndexLike, IntLike, MaskLike, ModelLike
from ..evaluation._eval import ReachedAt, ablated, add_activations, added, fits, reading, with_reconstruction
from ..evaluation._reconstruction import Quality, finished
from ..files._origin import own_site


class Evaluation:
    """The numbers of `evaluate` for any dictionary of one site; made by `evaluation`.

    ```python
    judge = ji.sae.evaluation(model, held_out, site="resid_post[2]")
    judge(sae)["recovered"]
    ```
    """

    def __init__(
        self,
        model: ModelLike,
        tokens: CorpusLike,
        site: str,
        mask: MaskLike | None,
        positions: IndexLike | None,
        batch_size: int | str | None,
        cosines: bool,
        progress: bool,
    ) -> None:
        self.model, self.cosines = model, cosines
        self.read = reading(model, tokens, site, mask, positions)
        self.suffix = suffix_of(model, str(self.read.name))

        def step(state: tuple[Any, list[Any]], batch: Batch, at_site: Reached) -> tuple[Any, list[Any]]:
            total, batches = state
            return add_activations(total, batch, at_site), [*batches, jax.tree.map(np.asarray, at_site)]

        total, batches = self.read.fold(
            self.read.batches(batch_size),
            (np.zeros(self.read.width), []),
            step,
            captures=self.suffix.captures,
            per_batch=ReachedAt(self.suffix),
            progress="evaluation" if progress else False,
        )
        self.mean = jnp.asarray(total / self.read.count, jnp.float32)
        self.known: dict[str, Any] = {}
        self.batches = []
        for one in batches:
            known, clean = ablated(model, _back(one), self.mean, self.suffix)
            self.known = added(self.known, known)
            self.batches.append((one, np.asarray(clean)))

    def __repr__(self) -> str:
        seq, pos = len(self.read.rows), self.read.corpus.tokens.shape[1]
        return f"Evaluation({self.read.name!r}: {seq} contexts of {pos})"

    def __call__(self, sae: DictionaryLike, step: IntLike | None = None) -> Quality:
        """The numbers of `evaluate` for a dictionary."""
        fits(sae, self.read)
        own_site(sae, self.read.name, self.model)
        total = dict(self.known)
        for one, clean in self.batches:
            own = with_reconstruction(sae, self.model, _back(one), self.mean, self.suffix, clean)
            total = added(total, own)
        return finished(sae, total, self.cosines)


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def evaluation(
    model: ModelLike,
    tokens: CorpusLike,
    *,
    site: str,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = 16,
    cosines: bool = True,
    progress: bool = True,
) -> Evaluation:
    r"""$(\theta, t) \mapsto (D \mapsto \mathrm{evaluate}(D))$: `evaluate` of many dictionaries on the same tokens.

    The run up to the site, and the losses of the clean and the ablated model, are computed once. A call
    then runs only the dictionary and the layers after the site. Activations stay in the memory of the
    host: 2 d numbers for each token (3 d where the site is not `resid_post`).

    **Arguments:**

    - `model`, `tokens`, `site`, `mask`, `positions`, `batch_size`: as in `evaluate`.
    - `cosines`: whether `max_cosine` is computed too; True by default. It costs `features` squared times
      `d` on the host: with very many features give False.
    - `progress`: whether a progress bar is shown on stderr; True by default.

    **Returns:** a function of `(sae, step)`, for `ji.fit.Settings(evaluate=, every=)`. It does not read
    the step.

    ```python
    judge = ji.sae.evaluation(model, held_out, site="resid_post[2]")
    settings = ji.fit.Settings(every=5, evaluate=judge)         # every=1000 in a long training
    kind = ji.sae.TopK(d=160, features=320, k=16)
    sae, history = ji.sae.train(kind, x, key=key, steps=20_000, batch_size=64, settings=settings)
    history["evaluated"], history["recovered"]
    ```

    Law: equal to `evaluate(sae, model, tokens, site=site)`.
    """
    return Evaluation(model, tokens, site, mask, positions, batch_size, cosines, progress)


def _back(one: Any) -> Any:
    return jax.tree.map(jnp.asarray, one)
