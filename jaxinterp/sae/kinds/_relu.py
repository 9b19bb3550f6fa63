"""The dictionary of a plain ReLU."""

from typing import final

import jax

from ...typing import JaxArray
from ._dictionary import Dictionary


@final
class ReLUDictionary(Dictionary):
    r"""$f = \mathrm{ReLU}((s x - b) W_e + b_e)$, $\hat x = (f W_d + b) / s$: a dictionary of `Vanilla` or `Standard`.

    ```python
    sae = ji.sae.Standard(d=160, features=320).init(key)
    sae.encode(x).shape, type(sae)                      # (token, 320), ReLUDictionary
    ```
    """

    def activate(self, pre: JaxArray) -> JaxArray:
        """The pre-activations, with 0 in place of numbers below 0."""
        return jax.nn.relu(pre)
