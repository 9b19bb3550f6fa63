r"""How good a dictionary is: what it keeps of the activations, and of the model's predictions."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ...data._activations import watched
from ..features._corpus import Corpus
from ..features._directions import check_same_site
from ..features._suffix import losses, place_of, reached
from ..files._origin import own_site
from ..kinds._dictionary import Dictionary
from ..kinds._rows import align, unit_norm
from ._reconstruction import finished, kept, largest_cosines


def evaluate(
    sae: Any,
    model: Any,
    tokens: Any,
    *,
    site: str | None = None,
    mask: Any = None,
    real: Any = None,
    batch: int = 16,
    progress: bool = True,
) -> dict[str, Any]:
    r"""$\mathrm{recovered} = (CE_{zero} - CE_{sae}) / (CE_{zero} - CE_{clean})$ and the rest of the usual numbers.

    Next-token losses are in nats over real tokens; sums run in float32 on the device and in float64
    over batches. The dictionary stands in at positions of `mask`; elsewhere (BOS) the model's own
    activations stay, in the ablations too, so that all four losses are of the same places. Layers up
    to the site run once, those after it once for each loss.

    **Arguments:** `sae`; `model`; `tokens` ids `(seq, pos)` or a `Corpus`; `site`, one layer of a
    site of the width that the dictionary reads (`"resid_post[2]"`), by default the one it was trained
    at: another site than that is warned of, and so is another model; `mask`, where it stands in: by
    default all real tokens but the first; `real`, what is not padding; `batch` contexts a pass.

    **Returns:** a dict of floats:

    - `l0`; `explained_variance` $1 - \mathbb E \lVert x - \hat x \rVert^2 / \mathbb E \lVert x - \bar x
      \rVert^2$, pooled over tokens and dimensions; `normalised_mse` over $\mathbb E \lVert x \rVert^2$;
    - `cosine`, `l2_ratio` $\mathbb E \lVert \hat x \rVert / \lVert x \rVert$ (below 1 under shrinkage),
      `reconstruction_bias` $\mathbb E \lVert \hat x \rVert^2 / \mathbb E [x \cdot \hat x]$;
    - `loss`, `loss_sae`, `loss_zero`, `loss_mean`; `recovered`, `recovered_mean` against each
      ablation; `kl_sae`, `kl_zero` and `kl_recovered`;
    - shares of features: `dead`, `ultra_low` (below 1e-6), `dense` (above 0.1); `max_cosine`, the
      mean over features of the largest cosine with another;
    - `tokens`; and two arrays `(features,)`: `density`, `mean_active`.

    **Raises:** ValueError for a site of another width, or without a layer, and for a transcoder,
    whose outputs are of another site.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features); the pooled
    variance is not the per-token ratio of other suites.

    ```python
    found = ji.sae.evaluate(sae, model, tokens, site="resid_post[2]")
    found["recovered"], found["l0"], found["explained_variance"]
    ```

    Law: a dictionary that returns its input recovers exactly 1, one that returns 0 exactly 0.
    """
    site = own_site(sae, site, model)
    read, size, place = reading(model, tokens, site, mask, real, batch)
    fits(sae, read)
    mean = np.zeros(read.width)
    for part in read.batches(size):
        mean += summed(reached(model, read, part, place))
    mean = jnp.asarray(mean / read.counted.sum(), jnp.float32)
    total: dict[str, Any] = {}
    steps = -(-len(read.rows) // size)
    for part in watched(read.batches(size), steps, "evaluate", progress):
        held = reached(model, read, part, place)
        known, clean = ablated(model, held, mean, place)
        add(total, known)
        add(total, standing(sae, model, held, mean, place, clean))
    return finished(sae, total)


def reading(model: Any, tokens: Any, site: Any, mask: Any, real: Any, batch: int) -> Any:
    """The corpus, contexts of a pass, and where the rest of a run begins."""
    if hasattr(tokens, "tokens") and hasattr(tokens, "real"):
        mask = tokens.mask if mask is None else mask
        real = tokens.real if real is None else real
        tokens = tokens.tokens
    if mask is not None and real is not None and np.shape(mask) == np.shape(real):
        mask = np.asarray(mask, bool) & np.asarray(real, bool)
    read = Corpus(None, model, tokens, site, mask, real)
    return read, read.size(batch, 1), place_of(model, read)


def fits(sae: Any, read: Corpus) -> None:
    """A dictionary that reads what the corpus has there, and writes it again."""
    check_same_site(sae, "evaluate")
    read.check(sae)


def summed(held: Any) -> np.ndarray:
    """The sum of what counts of a batch, `(d,)`."""
    return np.asarray(held.x)[np.asarray(held.part.counted)].astype(np.float64).sum(0)


def ablated(model: Any, held: Any, mean: Any, place: Any) -> tuple[dict[str, Any], Any]:
    """Losses that no dictionary changes: clean, with zero, with the mean; and the clean last stream."""
    none = jnp.zeros_like(held.x)
    loss, _, clean = losses(model, held, held.x, place)
    zero, kl, _ = losses(model, held, none, place, clean)
    average, _, _ = losses(model, held, none + align(mean, none).astype(none.dtype), place, clean)
    found = {"loss": loss, "loss_zero": zero, "loss_mean": average, "kl_zero": kl}
    return found | {"predicted": np.asarray(held.predicted).sum()}, clean


def standing(sae: Any, model: Any, held: Any, mean: Any, place: Any, clean: Any) -> dict[str, Any]:
    """What a dictionary keeps of a batch, and the loss with it in place."""
    found, value = kept(sae, held, mean)
    loss, kl, _ = losses(model, held, value, place, clean)
    return {**found, "loss_sae": loss, "kl_sae": kl}


def add(total: dict[str, Any], found: dict[str, Any]) -> None:
    """Sums over batches, in float64."""
    for name, value in found.items():
        total[name] = total.get(name, 0) + np.asarray(value, np.float64)


def mmcs(sae: Any, truth: Any) -> float:
    r"""$\frac1M \sum_j \max_i \cos(d_i, t_j)$: how well known directions `truth (m, d)` are found.

    **Arguments:** `sae`, or its decoder rows `(features, d)`; `truth`: the planted directions.

    ```python
    ji.sae.mmcs(sae, planted.directions)
    ```

    Law: 1 for a dictionary that holds every direction, whatever else it holds.
    """
    decoder = sae.decoder if isinstance(sae, Dictionary) else jnp.asarray(sae)
    rows = np.asarray(unit_norm(jnp.asarray(decoder, jnp.float32)))
    wanted = np.asarray(unit_norm(jnp.asarray(truth, jnp.float32)))
    return float(largest_cosines(wanted, rows).mean())
