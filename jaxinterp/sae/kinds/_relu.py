"""The dictionary of a plain ReLU."""

from typing import final

import jax

from ...typing import JaxArray
from ._dictionary import Dictionary


@final
class ReLUDictionary(Dictionary):
    r"""$f = \mathrm{ReLU}((s x - b) W_e + b_e)$, $\hat x = (f W_d + b) / s$: of `Vanilla` and `Standard`."""

    def activate(self, pre: JaxArray) -> JaxArray:
        """What is above 0."""
        return jax.nn.relu(pre)
