"""Sums over the predictions of a batch: losses, entropies, divergences from counts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core._run import run
from ..corpus._batches import Batch
from ..corpus._bigrams import Bigrams
from ..corpus._corpus import TokenCorpus

MEASURES = ("loss", "entropy", "to_unigram", "from_unigram", "to_bigram", "from_bigram")
MOST = 2**30
"Bytes of the table of bigrams."


class PredictionSums(eqx.Module):
    """Nats of each measure, summed over the predictions of each row, `(measure, row)`.

    `unigram (vocab,)` and `bigram (token, vocab)` are log probabilities, `place (vocab,)` where the row of a
    token stands; None without counts.
    """

    model: Any
    unigram: Any
    bigram: Any
    place: Any

    def __call__(self, batch: Batch, acts: Any) -> Float[Array, "measure row"]:
        tokens, counted = batch.tokens, batch.positions[:, 1:]
        logits, _ = run(self.model, tokens, mask=batch.padding)
        logp = jax.nn.log_softmax(logits[:, :-1].astype(jnp.float32), -1)
        total = lambda each: jnp.sum(jnp.where(counted, each, 0), -1, dtype=jnp.float32)
        inner = lambda p, x: jnp.einsum("...v,...v->...", p, x, precision="highest")
        p = jnp.exp(logp)
        nats = -jnp.take_along_axis(logp, tokens[:, 1:, None], -1)[..., 0]
        found = [nats, -inner(p, logp)]
        if self.unigram is not None:
            before = self.bigram[self.place[tokens[:, :-1]]]
            for counts in (jnp.broadcast_to(self.unigram, logp.shape), before):
                gap = logp - counts
                found += [inner(p, gap), -inner(jnp.exp(counts), gap)]
        return jnp.stack([total(each) for each in found])


def tables(corpus: TokenCorpus, bigrams: Bigrams | None) -> tuple[Any, Any, Any]:
    """Log probabilities of counts, with a row for each token of this corpus, and where it stands."""
    if bigrams is None:
        return None, None, None
    vocab = len(bigrams.unigram)
    ids = np.unique(np.asarray(corpus.tokens)[corpus.mask])
    if len(ids) * vocab * 4 > MOST:
        raise ValueError(
            f"The bigrams behind {len(ids)} different tokens of {vocab} take {len(ids) * vocab * 4 / 2**30:.1f} GiB. "
            "Give fewer rows of text."
        )
    place = np.zeros(vocab, np.int32)
    place[ids] = np.arange(len(ids))
    logs = (np.log(x).astype(np.float32) for x in (bigrams.unigram, bigrams.rows(ids)))
    return *map(jnp.asarray, logs), jnp.asarray(place)
