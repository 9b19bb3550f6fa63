r"""Attribution patching: every cell of a sweep at once, to first order, from one backward pass.

$$\hat m(\text{cell}) = m(R) + \sum_{i \in \text{cell}} (x'_i - x_i)\,
\frac{\partial m}{\partial x_i}\Big|_R$$

where $R$ is the run that is patched and $x'$ comes from the other one.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._deprecations import respelled
from .._settings import takes_settings
from ..typing import AxesLike, IntLike, MaskLike, MetricLike, ModelLike, SitesLike, StrLike, TokensLike
from ._attribution_cells import estimate
from ._attribution_settings import AttributionSettings
from ._pairs import make_pair

_RESPELLED = {
    "direction": "mode='denoise' or mode='noise'",
    "window": "adjacent=",
    **{
        name: f"settings=ji.patching.AttributionSettings({name}=...)"
        for name in ("qk_fix", "freeze_norms", "path", "steps")
    },
}


@respelled(**_RESPELLED)
@takes_settings
def attribution(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    *,
    site: SitesLike = "resid_pre",
    over: AxesLike = ("layer", "pos"),
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
    adjacent: IntLike = 1,
    settings: AttributionSettings = AttributionSettings(),
) -> Float[Array, "*cells"]:
    r"""$\hat m = m(R) + \sum (x' - x)\, \partial m / \partial x |_R$: an estimate of the result of `ji.patching.sweep`.

    $R$ is the run that is patched, $x$ the activation of a cell in it, and $x'$ the activation in the other run.
    All cells of all sites cost one forward and one backward pass on $R$, and one forward pass on the other
    prompt. Nanda 2023, "Attribution patching"; Kramar et al. 2024 (https://arxiv.org/abs/2403.00745).

    **Arguments:** as in `ji.patching.sweep`, and

    - `site`: several sites give a leading axis; they share one forward and one backward pass.
    - `settings`: how the gradient is taken, `ji.patching.AttributionSettings`.

    **Returns:** an array with the axes of `over`, in the units of the metric: compare it with `sweep` cell
    by cell. Where a cell spans several layers (`adjacent`, or `over` without "layer") the effects of the layers
    are added. Then an effect that passes through two of these layers is counted twice.
    `ji.patching.attribution_effects` leaves $m(R)$ out: it is the estimated change, and adds up over cells.

    **Warns** where the gradient is zero and the metric still changes, such as the gradient of `ji.metrics.kl` at
    its reference.

    ```python
    estimate = ji.patching.attribution(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    exact = ji.patching.sweep(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    print(ji.patching.agreement(estimate, exact))
    ```

    Law: equal to `sweep` where the metric is linear in the site (cells of one layer).
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    effects = estimate(pair, metric, site, over, adjacent, settings.options(), settings.progress)
    return effects.arranged(
        [e + jnp.broadcast_to(effects.value, e.shape) for e in effects.cells], per_example
    )


@respelled(**_RESPELLED)
@takes_settings
def attribution_effects(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    *,
    site: SitesLike = "resid_pre",
    over: AxesLike = ("layer", "pos"),
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
    adjacent: IntLike = 1,
    settings: AttributionSettings = AttributionSettings(),
) -> Float[Array, "*cells"]:
    r"""$\sum (x' - x)\, \partial m / \partial x |_R$: the estimated change of the metric, cell by cell.

    **Arguments:** those of `ji.patching.attribution`.

    **Returns:** an array with the axes of `over`. Where it is positive, the patch raises the metric.

    ```python
    by_head = ji.patching.attribution_effects(
        model, clean, corrupt, metric, site="z", over=("layer", "pos", "head")
    )
    by_head.sum(1)                    # what over=("layer", "head") gives
    ```

    Laws: it is `attribution` minus the metric of the unpatched run; effects over fewer axes are sums of
    effects over more axes.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    effects = estimate(pair, metric, site, over, adjacent, settings.options(), settings.progress)
    return effects.arranged(effects.cells, per_example)


@respelled(**_RESPELLED)
@takes_settings
def atp_star(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    *,
    site: SitesLike = "resid_pre",
    over: AxesLike = ("layer", "pos"),
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
    adjacent: IntLike = 1,
    grad_drop: bool = True,
    settings: AttributionSettings = AttributionSettings(qk_fix=True),
) -> Float[Array, "*cells"]:
    r"""$c = \mathbb{E}\, \frac{1}{L-1} \sum_\ell |\hat I_\ell|$: an estimate of how much each cell matters, for a ranking.

    AtP*, Kramar et al. 2024 (https://arxiv.org/abs/2403.00745). $\hat I_\ell$ is the estimated effect when
    the gradient through the attention and the MLP of layer $\ell$ is dropped (GradDrop). Where a direct and
    an indirect effect cancel, some of the $\hat I_\ell$ do not cancel. This takes $L$ backward passes in one
    program. The result is a mean of magnitudes over the batch: it estimates the mean magnitude of the
    effects, and not the numbers that `ji.patching.sweep` returns.

    **Arguments:** as in `ji.patching.attribution`, and

    - `grad_drop`: False gives $c = \mathbb{E}\,|\hat I|$.
    - `settings`: by default with `qk_fix`. It takes no `path`.

    **Returns:** an array with the axes of `over`; no number is negative.

    ```python
    order = ji.patching.atp_star(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    ```

    Law: without `grad_drop`, and for one prompt, it is the magnitude of `attribution_effects`.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    if settings.path is not None:
        raise ValueError(
            f"atp_star takes the gradient at the unpatched run; got path={settings.path!r}. "
            "For a path use ji.patching.attribution."
        )
    if grad_drop and pair.layers < 2:
        raise ValueError(
            "grad_drop averages over the layers that a cell is not in, and this model has one "
            "layer: write grad_drop=False."
        )
    effects = estimate(
        pair, metric, site, over, adjacent, settings.options(drop=grad_drop), settings.progress
    )
    return effects.arranged([jnp.abs(effect) for effect in effects.cells], per_example)
