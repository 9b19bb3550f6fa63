"""All scores of all heads, and the heads that score highest."""

from typing import Unpack

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._deprecations import key_by_name, respelled
from .._tabular import Tabular
from .._waiting import waiting
from ..core._intervene import config_of
from ..stats._results import Record
from ..typing import KeyLike, ModelLike
from ._attention import attention_scores
from ._copying import copying_behaviour, copying_scores
from ._prompts import Repeats, repeated_tokens
from ._scores import HeadScores

_NAMES = {
    "induction": "induction",
    "prefix": "prefix matching",
    "previous": "previous token",
    "duplicate": "duplicate token",
    "current": "current token",
    "first": "first position",
}


class Summary(Tabular, eqx.Module):
    """Scores `(layer, head)` of all kinds. Printed, it lists the heads that reach the threshold.

    `summary["induction"]` is the array of one kind.

    ```python
    found = ji.heads.summary(model, key=jax.random.key(0))
    found.named("previous", threshold=0.5), found["induction"]
    ```
    """

    scores: HeadScores
    "`induction prefix previous duplicate current first copying copying_behaviour`."
    threshold: float = eqx.field(static=True)
    "From which score on `named` lists a head."

    def __getitem__(self, kind: str) -> Float[Array, "layer head"]:
        return self.scores[kind]

    @respelled(bar="threshold=")
    def named(self, kind: str, *, threshold: float | None = None) -> list[tuple[int, int]]:
        """The heads (layer, head) that score `threshold` or more, best first.

        **Arguments:**

        - `kind`: one of the kinds of `scores`.
        - `threshold`: a score; None (the default) for that of the summary.

        **Raises:** ValueError for an unknown kind.
        """
        if kind not in self.scores:
            raise ValueError(f"A kind is one of {', '.join(self.scores)}; got {kind!r}.")
        values = np.asarray(self.scores[kind])
        order = np.argsort(-values, axis=None, kind="stable")
        heads = [tuple(map(int, np.unravel_index(i, values.shape))) for i in order]
        threshold = self.threshold if threshold is None else threshold
        return [(layer, head) for layer, head in heads if values[layer, head] >= threshold]

    def records(self) -> list[Record]:
        """A row for each head: `layer`, `head`, and a number for each kind."""
        return self.scores.records()

    def figure(self, *, title: str = "Scores of heads") -> viz.Figure:
        """A heat map (layer, head) for each kind, on one scale."""
        scores = {kind: np.asarray(values) for kind, values in self.scores.items()}
        return viz.heatmaps(scores, axis_names=("layer", "head"), value="score", title=title)

    def __repr__(self) -> str:
        layers, heads = self["current"].shape
        lines = [f"{layers} layers of {heads} heads; those that score {self.threshold:g} or more"]
        for kind, title in _NAMES.items():
            values = np.asarray(self.scores[kind])
            heads_named = self.named(kind)
            best = np.unravel_index(values.argmax(), values.shape)
            text = ", ".join(f"{a}.{b} {values[a, b]:.2f}" for a, b in heads_named[:6])
            rest = f" and {len(heads_named) - 6} more" if len(heads_named) > 6 else ""
            none = f"none (the best is {best[0]}.{best[1]} {values[best]:.2f})"
            lines.append(f"  {title:<16} {text + rest if heads_named else none}")
        best_heads = self.named("induction")[:6]
        if best_heads:
            shown = [
                f"{a}.{b} {float(self['copying'][a, b]):+.2f} / {float(self['copying_behaviour'][a, b]):+.2f}"
                for a, b in best_heads
            ]
            lines.append(f"  their copying    {', '.join(shown)} (eigenvalues / behaviour)")
        return "\n".join(lines)


@key_by_name("ji.heads.summary(model, key=jax.random.key(0))")
@respelled(bar="threshold=", batch="batch_size=")
@waiting("ji.heads.summary: compiling and running")
def summary(model: ModelLike, *, key: KeyLike, threshold: float = 0.4, **prompts: Unpack[Repeats]) -> Summary:
    r"""All scores of all heads on random tokens that come again, and the heads that reach `threshold`.

    Attention scores come from one run of the prompts. Copying comes from the weights and from a run of
    different tokens.

    **Arguments:**

    - `model`: a model of next tokens, with its weights.
    - `key`: a `jax.random.key`, for the prompts.
    - `threshold`: from which score on a head is listed; 0.4 by default, a convention.
    - `block`, `repeats`, `batch_size`, `bos`, `ids`: as in `repeated_tokens`.

    **Returns:** a `Summary`.

    ```python
    print(ji.heads.summary(model, key=jax.random.key(0), bos=tokenizer.bos_id))
    ```

    Law: its scores are those of the functions of the same names, on the same prompts.
    """
    tokens = repeated_tokens(config_of(model), key=key, **prompts)
    scores = dict(attention_scores(model, tokens, list(_NAMES)).items())
    scores["copying"] = copying_scores(model)
    scores["copying_behaviour"] = copying_behaviour(
        model,
        key=key,
        batch_size=prompts.get("batch_size", 8),
        bos=prompts.get("bos"),
        ids=prompts.get("ids"),
    )
    return Summary(HeadScores(scores), threshold)
