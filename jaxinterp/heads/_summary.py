"""Every score of every head, and the heads that stand out, by name."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..core._intervene import config_of
from ._attention import attention_scores
from ._copying import copying_behaviour, copying_scores
from ._prompts import repeated_tokens

_NAMES = {
    "induction": "induction",
    "prefix": "prefix matching",
    "previous": "previous token",
    "duplicate": "duplicate token",
    "current": "current token",
    "first": "first position",
}


class Summary(eqx.Module):
    """Scores (layer, head) of every kind; printed, it names the heads that stand out."""

    scores: dict[str, Float[Array, "layer head"]]
    "`induction prefix previous duplicate current first copying copying_behaviour`."
    bar: float = eqx.field(static=True)

    def __getitem__(self, kind: str) -> Float[Array, "layer head"]:
        return self.scores[kind]

    def named(self, kind: str, *, bar: float | None = None) -> list[tuple[int, int]]:
        """The heads (layer, head) that score `bar` or more, best first."""
        if kind not in self.scores:
            raise ValueError(f"A kind is one of {', '.join(self.scores)}; got {kind!r}.")
        values = np.asarray(self.scores[kind])
        order = np.argsort(-values, axis=None, kind="stable")
        heads = [tuple(map(int, np.unravel_index(i, values.shape))) for i in order]
        bar = self.bar if bar is None else bar
        return [(layer, head) for layer, head in heads if values[layer, head] >= bar]

    def __repr__(self) -> str:
        layers, heads = next(iter(self.scores.values())).shape
        lines = [f"{layers} layers of {heads} heads; those that score {self.bar:g} or more"]
        for kind, title in _NAMES.items():
            values = np.asarray(self.scores[kind])
            found = self.named(kind)
            best = np.unravel_index(values.argmax(), values.shape)
            text = ", ".join(f"{a}.{b} {values[a, b]:.2f}" for a, b in found[:6])
            rest = f" and {len(found) - 6} more" if len(found) > 6 else ""
            none = f"none (the best is {best[0]}.{best[1]} {values[best]:.2f})"
            lines.append(f"  {title:<16} {text + rest if found else none}")
        strong = self.named("induction")[:6]
        if strong:
            shown = [
                f"{a}.{b} {float(self['copying'][a, b]):+.2f} / {float(self['copying_behaviour'][a, b]):+.2f}"
                for a, b in strong
            ]
            lines.append(f"  their copying    {', '.join(shown)} (eigenvalues / behaviour)")
        return "\n".join(lines)


def summary(model: Any, key: Any, *, bar: float = 0.4, **prompts: Any) -> Summary:
    r"""All scores of all heads on random tokens that come again, and the heads that reach `bar`.

    Attention scores come from one run of the prompts, copying from the weights and from a run of
    different tokens.

    **Arguments:** `key`, and `block`, `repeats`, `batch`, `bos`, `ids` as in `repeated_tokens`; `bar`:
    from which score on a head is named. It is a convention: 0.4 here.

    ```python
    print(ji.heads.summary(model, jax.random.key(0), bos=tokenizer.bos_id))
    ```

    Law: its scores are those of the functions of the same names, on the same prompts.
    """
    tokens = repeated_tokens(key, config_of(model), **prompts)
    scores = attention_scores(model, tokens, list(_NAMES))
    scores["copying"] = copying_scores(model)
    short = {name: value for name, value in prompts.items() if name in ("bos", "ids", "batch")}
    scores["copying_behaviour"] = copying_behaviour(model, key, **short)
    return Summary(scores, bar)
