"""Edits that act only where a probe fires."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_floats, concrete
from ..core import Edit
from ..core._check import Shapes
from ..core._edit import as_edits
from ..typing import EditsLike, FloatLike, ValueLike
from ._interventions import as_direction, coordinate


class Conditional(Edit):
    """An edit that acts where $w \\cdot x + b > 0$; made by `when`."""

    edit: Any
    weights: Any
    bias: Any

    @property
    def sites(self) -> tuple[str, ...]:
        return self.edit.sites

    @property
    def layers(self) -> Any:
        return self.edit.layers

    def init(self, shapes: Shapes, count: int) -> Any:
        return self.edit.init(shapes, count)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        new, state = self.edit.apply(tap, site, x, state)
        wide = np.promote_types(x.dtype, np.float32)
        score = coordinate(x.astype(wide), self.weights.astype(wide)) + jnp.asarray(self.bias).astype(wide)
        return jnp.where(score > 0, new, x), state

    def per_layer(self, shapes: Shapes) -> Any:
        inner = self.edit.per_layer(shapes)
        return Conditional(inner, False, False)

    def resolve(self, count: int) -> Edit:
        return Conditional(self.edit.resolve(count), self.weights, self.bias)

    def traced_layers(self) -> Edit:
        return Conditional(self.edit.traced_layers(), self.weights, self.bias)

    def check(self, shapes: Shapes, count: int) -> None:
        for site in self.sites:
            if shapes[site].shape[-1] != len(self.weights):
                raise ValueError(
                    f"The probe reads {len(self.weights)} numbers, and {site!r} has {shapes[site].shape[-1]} on its "
                    "last axis: fit it on activations of this site."
                )
        self.edit.check(shapes, count)

    def check_padding(self, shapes: Shapes, real: Any) -> None:
        self.edit.check_padding(shapes, real)

    def __repr__(self) -> str:
        return f"when({self.edit!r}, weights of {len(self.weights)})"


def when(edits: EditsLike, weights: ValueLike, bias: ValueLike | FloatLike = 0.0) -> list[Edit]:
    r"""$x \mapsto e(x)$ where $w \cdot x + b > 0$, and $x$ elsewhere: edits at the positions where a probe says yes.

    Conditional steering, Lee et al. 2024 (https://arxiv.org/abs/2409.05907). The probe reads each position
    as it is before the edit, at the site of the edit.

    **Arguments:**

    - `edits`: one edit or several, of sites whose last axis the probe reads.
    - `weights (d,)`, `bias`: the weights and the bias of a probe, such as `ji.probes.fit(x, y)`.

    **Returns:** a list with an edit for each of `edits`.

    **Raises:** ValueError for weights of another width, for zeros, and for a bias that is not one number.

    ```python
    probe = ji.probes.fit(x, y)                         # x (n, d) at resid_pre[2], y (n,)
    edits = ji.steering.when(ji.add("resid_pre", planted.direction, layer=2), probe.weights, probe.bias)
    logits, _ = ji.run(planted.model, planted.harmful[0], edits=edits)
    ```

    Laws: with a bias of plus infinity the edits act everywhere, with minus infinity nowhere; the activations of other
    positions do not matter.
    """
    probe, offset = as_direction(weights), as_floats(bias, "bias")
    if offset.size != 1 or (concrete(offset) and np.isnan(np.asarray(offset, np.float64)).any()):
        raise ValueError(
            f"bias is one number, and not NaN; got {offset if offset.size == 1 else f'the shape {offset.shape}'}. A probe "
            "has one: when(edits, probe.weights, probe.bias)."
        )
    return [Conditional(edit, probe, offset.reshape(())) for edit in as_edits(edits)]
