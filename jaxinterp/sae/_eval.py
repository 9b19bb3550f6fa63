r"""How good a dictionary is: what it keeps of the activations, and of the model's predictions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._edits import replace, zero
from .._run import run
from .._sites import parse
from .._splice import splice
from .._survey import split_edits
from ..data import activations, keep
from ._dictionary import Dictionary, squares, unit


def evaluate(
    sae: Any,
    model: Any,
    tokens: Any,
    *,
    site: str,
    mask: Any = None,
    real: Any = None,
    batch: int = 16,
    progress: bool = True,
) -> dict[str, Any]:
    r"""$\mathrm{recovered} = (CE_{zero} - CE_{sae}) / (CE_{zero} - CE_{clean})$ and the rest of the usual numbers.

    Next-token losses are in nats over real tokens; sums run in float32 on the device and in float64
    over batches. The dictionary stands in at positions of `mask`; elsewhere (BOS) the model's own
    activations stay, in the ablations too, so that all four losses are of the same places.

    **Arguments:** `sae`; `model`; `tokens` ids `(seq, pos)` or a `Corpus`; `site`, one layer of a
    site of the width that the dictionary reads (`"resid_post[2]"`); `mask`, where it stands in: by
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

    **Raises:** ValueError for a site of another width, or without a layer.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features); the pooled
    variance is not the per-token ratio of other suites.

    ```python
    found = ji.sae.evaluate(sae, model, tokens, site="resid_post[2]")
    found["recovered"], found["l0"], found["explained_variance"]
    ```

    Law: a dictionary that returns its input recovers exactly 1, one that returns 0 exactly 0.
    """
    if hasattr(tokens, "tokens") and hasattr(tokens, "real"):
        mask = tokens.mask if mask is None else mask
        real = tokens.real if real is None else real
        tokens = tokens.tokens
    tokens = np.asarray(tokens)
    real = np.ones(tokens.shape, bool) if real is None else np.asarray(real, bool)
    mask = keep(real) if mask is None else np.asarray(mask, bool) & real
    if tokens.ndim != 2 or mask.shape != tokens.shape or not mask.any():
        raise ValueError(
            f"evaluate takes tokens (seq, pos) and a mask of that shape with some position; got "
            f"{tokens.shape} and {mask.shape}."
        )
    base, layer = parse(site)
    if layer is None or not isinstance(layer, int):
        raise ValueError(f"A dictionary stands in at one layer: site='{base}[2]'; got {site!r}.")
    rows = mask.any(-1)
    tokens, real, mask = tokens[rows], real[rows], mask[rows]
    x = activations(
        model, tokens[:batch], site, mask=mask[:batch], real=real[:batch], batch=batch,
        progress=False,
    )  # fmt: skip
    if x.shape[-1] != sae.d:
        raise ValueError(
            f"{site!r} has the width {x.shape[-1]}, and this dictionary reads d={sae.d}. Which site "
            "was it trained on?"
        )
    mean = _mean(model, tokens, real, mask, site, batch)
    # A model that reads backwards only never looks at padding on the right.
    padded = not real[:, 0].all() or not (split_edits(model)[0].config.causal or real.all())
    from tqdm.auto import tqdm

    total: dict[str, Any] = {}
    starts = range(0, len(tokens), batch)
    for start in tqdm(starts, desc="evaluate", unit="batch", delay=2.0, disable=not progress):
        part = slice(start, start + batch)
        ids, here, chosen = _padded(batch, tokens[part], real[part], mask[part])
        found = _sums(sae, model, ids, here, chosen, jnp.asarray(mean), base, layer, padded)
        for name, value in found.items():
            total[name] = total.get(name, 0) + np.asarray(value, np.float64)
    return _numbers(sae, total, mean)


def _padded(batch: int, tokens: Any, real: Any, mask: Any) -> Any:
    """The last batch filled up, so that one program serves all; its extra rows count nowhere."""
    short = batch - len(tokens)
    tokens = np.concatenate([tokens, np.repeat(tokens[-1:], short, 0)])
    real_rows = np.concatenate([real, np.repeat(real[-1:], short, 0)])
    nowhere = np.zeros((short, tokens.shape[1]), bool)
    return jnp.asarray(tokens), jnp.asarray(real_rows), jnp.asarray(np.r_[mask, nowhere])


def _mean(model: Any, tokens: Any, real: Any, mask: Any, site: str, batch: int) -> np.ndarray:
    """The mean activation over the mask, `(d,)`, in one streaming pass."""
    total, count = np.zeros(()), 0
    for start in range(0, len(tokens), batch):
        part = slice(start, start + batch)
        x = activations(
            model, tokens[part], site, mask=mask[part], real=real[part], batch=batch,
            progress=False,
        )  # fmt: skip
        total, count = total + x.astype(np.float64).sum(0), count + len(x)
    return (total / count).astype(np.float32)


@eqx.filter_jit
def _sums(
    sae: Any,
    model: Any,
    tokens: Any,
    real: Any,
    mask: Any,
    mean: Any,
    site: str,
    layer: int,
    padded: bool,
) -> dict[str, Any]:
    name = f"{site}[{layer}]"
    told = real if padded else None
    clean, acts = run(model, tokens, capture=[name], mask=told)
    x = acts[name].astype(jnp.float32)
    f = sae.encode(x)
    xhat = sae.decode(f)
    counted = mask[..., None]
    where = {"layer": layer, "pos": mask}
    nats = {"": clean}
    for which, edit in (
        ("_sae", splice(site, sae, **where)),
        ("_zero", zero(site, **where)),
        ("_mean", replace(site, mean.astype(acts[name].dtype), **where)),
    ):
        nats[which], _ = run(model, tokens, edits=[edit], mask=told)
    # A token is predicted where it and the one before are real, in contexts that count.
    predicted = real[:, 1:] & real[:, :-1] & mask.any(-1)[:, None]
    loss = {}
    logs = {w: jax.nn.log_softmax(v[:, :-1].astype(jnp.float32)) for w, v in nats.items()}
    for which, log in logs.items():
        said = jnp.take_along_axis(log, tokens[:, 1:, None], -1)[..., 0]
        loss[f"loss{which}"] = -jnp.sum(jnp.where(predicted, said, 0))
    for which in ("_sae", "_zero"):
        kl = jnp.sum(jnp.exp(logs[""]) * (logs[""] - logs[which]), -1)
        loss[f"kl{which}"] = jnp.sum(jnp.where(predicted, kl, 0))
    some = lambda v: jnp.sum(jnp.where(mask, v, 0), dtype=jnp.float32)
    norm, norm_hat = jnp.sqrt(squares(x)), jnp.sqrt(squares(xhat))
    dot = jnp.sum(x * xhat, -1)
    firing = counted & (f > 0)
    return {
        **loss,
        "predicted": jnp.sum(predicted, dtype=jnp.float32),
        "tokens": jnp.sum(mask, dtype=jnp.float32),
        "error": some(squares(x - xhat)),
        "square": some(squares(x)),
        "spread": some(squares(x - mean[None, None])),
        "square_hat": some(squares(xhat)),
        "dot": some(dot),
        "cosine": some(dot / jnp.maximum(norm * norm_hat, 1e-20)),
        "ratio": some(norm_hat / jnp.maximum(norm, 1e-20)),
        "fired": jnp.sum(firing, (0, 1), dtype=jnp.float32),
        "amount": jnp.sum(jnp.where(firing, f, 0), (0, 1), dtype=jnp.float32),
    }


def _numbers(sae: Any, total: dict[str, Any], mean: np.ndarray) -> dict[str, Any]:
    count, predicted = float(total["tokens"]), float(total["predicted"])
    over = lambda a, b: float(a / b) if b else 0.0
    losses = {n: over(total[n], predicted) for n in total if n.startswith(("loss", "kl"))}
    density = total["fired"] / count
    decoder = np.asarray(unit(jnp.asarray(sae.decoder, jnp.float32)))
    zero_gap = losses["loss_zero"] - losses["loss"]
    mean_gap = losses["loss_mean"] - losses["loss"]
    return {
        "l0": float(density.sum()),
        "explained_variance": 1 - over(total["error"], total["spread"]),
        "normalised_mse": over(total["error"], total["square"]),
        "cosine": over(total["cosine"], count),
        "l2_ratio": over(total["ratio"], count),
        "reconstruction_bias": over(total["square_hat"], total["dot"]),
        **losses,
        "recovered": over(losses["loss_zero"] - losses["loss_sae"], zero_gap),
        "recovered_mean": over(losses["loss_mean"] - losses["loss_sae"], mean_gap),
        "kl_recovered": 1 - over(losses["kl_sae"], losses["kl_zero"]),
        "dead": float((density == 0).mean()),
        "ultra_low": float(((density > 0) & (density < 1e-6)).mean()),
        "dense": float((density > 0.1).mean()),
        "max_cosine": float(largest_cosines(decoder).mean()),
        "tokens": count,
        "density": density,
        "mean_active": total["amount"] / np.maximum(total["fired"], 1),
    }


def largest_cosines(rows: np.ndarray, others: np.ndarray | None = None, step: int = 2048) -> Any:
    """Of each unit row the largest cosine with another row, or with the rows of another set."""
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step] @ (rows if others is None else others).T
        if others is None:
            part[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        found[start : start + step] = part.max(-1)
    return found


def mmcs(sae: Any, truth: Any) -> float:
    r"""$\frac1M \sum_j \max_i \cos(d_i, t_j)$: how well known directions `truth (m, d)` are found.

    **Arguments:** `sae`, or its decoder rows `(features, d)`; `truth`: the planted directions.

    ```python
    ji.sae.mmcs(sae, planted.directions)
    ```

    Law: 1 for a dictionary that holds every direction, whatever else it holds.
    """
    decoder = sae.decoder if isinstance(sae, Dictionary) else jnp.asarray(sae)
    rows = np.asarray(unit(jnp.asarray(decoder, jnp.float32)))
    wanted = np.asarray(unit(jnp.asarray(truth, jnp.float32)))
    return float(largest_cosines(wanted, rows).mean())
