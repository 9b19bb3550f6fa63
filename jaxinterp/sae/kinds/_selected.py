r"""Kinds of other libraries that choose features in their own ways: read, used, not trained here."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp

from ...typing import JaxArray
from ._dictionary import Dictionary
from ._kind import Shapes
from ._selection import check_rule, select
from ._transcoder import AcrossDictionary, across_shapes
from ._untrained import UntrainedKind


@final
class SelectedDictionary(Dictionary["Selected"]):
    r"""$f = \mathrm{select}_k((x - b) W_e + b_e)$, $\hat x = f W_d + b$."""

    def activate(self, pre: JaxArray) -> JaxArray:
        """The entries that the rule chooses."""
        return select(pre, self.kind.k, self.kind.rule)


@final
class Selected(UntrainedKind):
    r"""$f = \mathrm{select}_k((x - b) W_e + b_e)$, $\hat x = f W_d + b$, by a `rule` other than TopK's.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `k`: the number of features per row;
    - `rule`: `"abstopk"`, the k largest by magnitude, with their signs, so that a feature has two
      directions (SAELens; https://arxiv.org/abs/2510.00404); or `"groupmax"`, one of each of k groups
      (sparsify);
    - `centred`: whether the bias is subtracted from inputs, by default True.

    ```python
    kind = ji.sae.Selected(d=160, features=320, k=8, rule="abstopk")
    sae = ji.sae.from_arrays(kind, encoder=W_enc, encoder_bias=0, decoder=W_dec, bias=0)    # or `ji.sae.load`
    sae.encode(x)                                       # k entries of a row are not zero, some of them below 0
    ```

    Law: features and reconstructions are those of the library that wrote it, to 1e-6.
    """

    k: int = eqx.field(static=True)
    rule: str = eqx.field(static=True)

    def __init__(self, *, d: int, features: int, k: int, rule: str, centred: bool = True) -> None:
        super().__init__(d, features, centred=centred)
        check_rule("Selected", features, k, rule)
        self.k, self.rule = k, rule

    def dictionary(self, **arrays: Any) -> SelectedDictionary:
        """The dictionary of these arrays."""
        return SelectedDictionary(kind=self, **arrays)


@final
class SelectedTranscoderDictionary(AcrossDictionary["SelectedTranscoder"]):
    r"""$f = \mathrm{select}_k((x - b_{in}) W_e + b_e)$, $\hat y = f W_d + b\; (+\, x W_s)$."""

    def activate(self, pre: JaxArray) -> JaxArray:
        """The entries that the rule chooses."""
        return select(pre, self.kind.k, self.kind.rule)


@final
class SelectedTranscoder(UntrainedKind):
    r"""$\hat y = \mathrm{select}_k((x - b_{in}) W_e + b_e) W_d + b\; (+\, x W_s)$: `Transcoder` by a `rule`.

    The transcoders of sparsify are of this kind.

    **Arguments:**

    - `d`, `features`: the width of the inputs, and the number of features;
    - `k`: the number of features per row;
    - `rule`: `"topk"`, the default, or `"groupmax"`;
    - `d_out`: the width of the outputs, by default d;
    - `skip`: whether there is a linear path, by default False;
    - `centred`: whether `input_bias` is subtracted from inputs, by default False.

    ```python
    kind = ji.sae.SelectedTranscoder(d=160, features=320, k=8)
    arrays = {name: jnp.zeros(shape) for name, shape in kind.shapes().items()}
    sae = ji.sae.from_arrays(kind, **arrays)            # or `ji.sae.load("layers.2.mlp")`
    sae(x)                                              # the output of the MLP, for its input x
    ```

    Law: features and outputs are those of the library that wrote it, to 1e-6.
    """

    d_out: int = eqx.field(static=True)
    sparsity: JaxArray  # of no use; it stands in the files of this kind
    skip: bool = eqx.field(static=True)
    k: int = eqx.field(static=True)
    rule: str = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        rule: str = "topk",
        d_out: int | None = None,
        skip: bool = False,
        centred: bool = False,
    ) -> None:
        super().__init__(d, features, centred=centred)
        check_rule("SelectedTranscoder", features, k, rule)
        self.k, self.rule = k, rule
        self.d_out, self.skip = d if d_out is None else d_out, skip
        self.sparsity = jnp.ones((), jnp.float32)

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {**super().shapes(), **across_shapes(self.d, self.features, self.d_out, self.skip)}

    def dictionary(self, **arrays: Any) -> SelectedTranscoderDictionary:
        """The dictionary of these arrays."""
        return SelectedTranscoderDictionary(kind=self, **arrays)
