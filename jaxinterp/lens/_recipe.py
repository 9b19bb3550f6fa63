"""Optimizers for a tuned lens: the published recipe, and its Adam alternative."""

import optax

from ..typing import FloatLike, IntLike


def published_optimizer(
    steps: IntLike, *, scale: FloatLike = 1.0, weight_decay: FloatLike = 1e-3
) -> optax.GradientTransformation:
    r"""SGD with Nesterov momentum 0.9, rate $0.1\,s\,(1 - t/T)$, decay $10^{-3}$, gradient norm at most 1.

    The recipe of the published lenses (https://github.com/AlignmentResearch/tuned-lens). In the
    convention of torch the rate is 1 times $1 - 0.9$. The decay is added to the clipped gradient before
    momentum. The published lenses are trained for 250 steps of 262,144 tokens.

    **Arguments:**

    - `steps`: $T$, the number of steps after which the rate is 0.
    - `scale`: $s$, which multiplies the rate; 1 by default.
    - `weight_decay`: 1e-3 by default.

    **Returns:** an optimizer of optax.

    ```python
    optimizer = ji.lens.published_optimizer(250)
    ```

    Law: three steps equal the same arithmetic written out in NumPy.
    """
    rate = optax.linear_schedule(0.1 * scale, 0.0, steps)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_decayed_weights(weight_decay),
        optax.sgd(rate, momentum=0.9, nesterov=True),
    )


def adam_optimizer(
    steps: IntLike, *, scale: FloatLike = 1.0, weight_decay: FloatLike = 1e-3
) -> optax.GradientTransformation:
    r"""AMSGrad, rate $10^{-3} s$, warm-up over $\min(1000, T/5)$ steps, then linear to 0.

    It needs fewer tokens than `published_optimizer`. Clipping of gradients and weight decay are those of
    `published_optimizer`.

    **Arguments:**

    - `steps`: $T$, the number of steps after which the rate is 0.
    - `scale`: $s$, which multiplies the rate; 1 by default.
    - `weight_decay`: 1e-3 by default.

    **Returns:** an optimizer of optax.

    ```python
    lens, history = ji.lens.train_tuned_lens(model, stream, ji.lens.adam_optimizer(100), key=key, steps=100)
    ```
    """
    warm = min(1000, steps // 5)
    rate = optax.join_schedules(
        [
            optax.linear_schedule(0.0, 1e-3 * scale, max(warm, 1)),
            optax.linear_schedule(1e-3 * scale, 0.0, max(steps - warm, 1)),
        ],
        [warm],
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_decayed_weights(weight_decay),
        optax.amsgrad(rate, b1=0.9, b2=0.999),
    )
