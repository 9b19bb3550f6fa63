r"""How good a dictionary is: the quality of its reconstructions, and of the model's predictions with them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ...corpus._batches import Batch
from ...corpus._suffix import Reached, Suffix, losses, reached, suffix_of
from ...typing import ArrayLike, CorpusLike, DictionaryLike, IndexLike, MaskLike, ModelLike
from ..features._directions import check_same_site
from ..features._site import SiteReading
from ..files._origin import own_site
from ..kinds._dictionary import Dictionary
from ..kinds._rows import align, unit_norm
from ._reconstruction import Quality, finished, largest_cosines, reconstructed


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def evaluate(
    sae: DictionaryLike,
    model: ModelLike,
    tokens: CorpusLike,
    *,
    site: str | None = None,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = 16,
    progress: bool = True,
) -> Quality:
    r"""$\mathrm{recovered} = (CE_{zero} - CE_{sae}) / (CE_{zero} - CE_{clean})$ and the other common numbers.

    Next-token losses are in nats over real tokens. Sums are in float32 on the device and in float64 over
    batches. At `positions` the reconstruction replaces the activation. Elsewhere (at BOS) the model's own
    activations stay, in the ablations too, so that all four losses are about the same positions. Layers up
    to the site run once, those after it once for each loss.

    **Arguments:**

    - `sae`: a dictionary that reads and writes one site.
    - `model`: a model of next tokens.
    - `tokens`: token ids `(seq, pos)` or a `Corpus`.
    - `site`: one layer of a site (`"resid_post[2]"`); None (the default) for the site of its training. A
      different site or model is a warning.
    - `mask`: True at real tokens `(seq, pos)`; None (the default): all are real.
    - `positions`: where the reconstruction replaces the activation: bools, ints or a slice, as in
      `ji.corpus.as_corpus`. By default all real tokens but the first, or the positions that a `Corpus`
      counts.
    - `batch_size`: contexts in one pass; 16 by default.
    - `progress`: shows a progress bar on stderr; True by default.

    **Returns:** a `Quality`, a dict of floats:

    - `l0`, `l1` (active features, and the sum of their magnitudes, per token); `explained_variance` $1 - \mathbb E \lVert x - \hat x \rVert^2 / \mathbb E \lVert x - \bar x
      \rVert^2$, pooled over tokens and dimensions; `normalised_mse` over $\mathbb E \lVert x \rVert^2$;
    - `cosine`, `l2_ratio` $\mathbb E \lVert \hat x \rVert / \lVert x \rVert$ (below 1 under shrinkage),
      `reconstruction_bias` $\mathbb E \lVert \hat x \rVert^2 / \mathbb E [x \cdot \hat x]$;
    - `loss`, `loss_sae`, `loss_zero`, `loss_mean`; `recovered`, `recovered_mean` against each
      ablation; `kl_sae`, `kl_zero` and `kl_recovered`;
    - shares of features: `dead`, `ultra_low` (below 1e-6), `dense` (above 0.1), `dense_1_percent`
      (above 0.01); `max_cosine`, the
      mean over features of the largest cosine with another;
    - `tokens`; and two arrays `(features,)`: `density`, `mean_active`.

    **Raises:** ValueError for a site of another width, or without a layer, and for a transcoder,
    whose outputs are of another site.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features); the pooled
    variance is not the per-token ratio of other suites.

    ```python
    quality = ji.sae.evaluate(sae, model, corpus, site="resid_post[2]")
    quality["recovered"], quality["l0"], quality["explained_variance"]
    ```

    Law: a dictionary that returns its input recovers exactly 1, one that returns 0 exactly 0.
    """
    site = own_site(sae, site, model)
    read = reading(model, tokens, site, mask, positions)
    fits(sae, read)
    parts, suffix = read.batches(batch_size), suffix_of(model, read.name)
    how: dict[str, Any] = {"captures": suffix.captures, "per_batch": ReachedAt(suffix)}
    mean = read.fold(
        parts, np.zeros(read.width), add_activations, progress="mean" if progress else False, **how
    )
    mean = jnp.asarray(mean / read.count, jnp.float32)

    def step(total: dict[str, Any], batch: Batch, at_site: Reached) -> dict[str, Any]:
        known, clean = ablated(model, at_site, mean, suffix)
        return added(total, known, with_reconstruction(sae, model, at_site, mean, suffix, clean))

    return finished(sae, read.fold(parts, {}, step, progress="evaluate" if progress else False, **how))


class ReachedAt(eqx.Module):
    """A batch whose run ended at the site, as a fold returns it."""

    suffix: Suffix

    def __call__(self, batch: Batch, acts: Any) -> Reached:
        return reached(self.suffix, batch, acts)


def reading(model: Any, tokens: Any, site: Any, mask: Any, positions: Any) -> SiteReading:
    """The corpus at one site; no dictionary is checked yet."""
    return SiteReading(None, model, tokens, site, mask, positions)


def fits(sae: Any, read: SiteReading) -> None:
    """Checks that a dictionary reads and writes the site of the corpus."""
    check_same_site(sae, "evaluate")
    read.check(sae)


def add_activations(total: np.ndarray, batch: Batch, at_site: Reached) -> np.ndarray:
    """The sum `(d,)` over tokens that count, in float64."""
    return total + np.asarray(at_site.x)[np.asarray(batch.positions)].astype(np.float64).sum(0)


def ablated(model: Any, at_site: Reached, mean: Any, suffix: Suffix) -> tuple[dict[str, Any], Any]:
    """Losses that no dictionary changes: clean, with zero, with the mean; and the clean last stream."""
    none = jnp.zeros_like(at_site.x)
    loss, _, clean = losses(model, at_site, at_site.x, suffix)
    zero, kl, _ = losses(model, at_site, none, suffix, clean)
    average, _, _ = losses(model, at_site, none + align(mean, none).astype(none.dtype), suffix, clean)
    sums = {"loss": loss, "loss_zero": zero, "loss_mean": average, "kl_zero": kl}
    return sums | {"predicted": np.asarray(at_site.predicted).sum()}, clean


def with_reconstruction(
    sae: Any, model: Any, at_site: Reached, mean: Any, suffix: Suffix, clean: Any
) -> dict[str, Any]:
    """The sums of the reconstruction of a batch, and the loss with the reconstruction in place."""
    sums, value = reconstructed(sae, at_site, mean)
    loss, kl, _ = losses(model, at_site, value, suffix, clean)
    return {**sums, "loss_sae": loss, "kl_sae": kl}


def added(total: dict[str, Any], *parts: dict[str, Any]) -> dict[str, Any]:
    """Sums over batches, in float64."""
    for part in parts:
        total = total | {n: total.get(n, 0) + np.asarray(v, np.float64) for n, v in part.items()}
    return total


def mmcs(sae: DictionaryLike | ArrayLike, truth: ArrayLike) -> float:
    r"""$\frac1M \sum_j \max_i \cos(d_i, t_j)$: the mean over known directions of the largest cosine.

    **Arguments:**

    - `sae`: a dictionary, or its decoder rows `(features, d)`.
    - `truth`: the known directions `(m, d)`.

    **Returns:** a number, at most 1.

    ```python
    planted = ji.toy.planted_superposition(key=jax.random.key(0))       # 30 directions of 12 neurons
    sae = ji.sae.TopK(d=12, features=60, k=3).init(jax.random.key(1))   # better: `ji.sae.train`
    ji.sae.mmcs(sae, planted.directions)
    ```

    Law: 1 for a dictionary that has all the directions, whatever other features it has.
    """
    decoder = sae.decoder if isinstance(sae, Dictionary) else jnp.asarray(sae)
    rows = np.asarray(unit_norm(jnp.asarray(decoder, jnp.float32)))
    wanted = np.asarray(unit_norm(jnp.asarray(truth, jnp.float32)))
    return float(largest_cosines(wanted, rows).mean())
