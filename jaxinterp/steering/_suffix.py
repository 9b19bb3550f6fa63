"""What a suffix of an instruction does to a direction: cosines, heads that write it, and what they attend to."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, as_mask
from .._waiting import waiting
from ..core import at, run
from ..core._check import check_choice
from ..stats._results import Record, Result
from ..typing import BatchLike, IndexLike, IntLike, MaskLike, MasksLike, ModelLike, ValueLike
from ._interventions import as_direction
from ._prompts import Prompts, as_prompts, places_of
from ._scan import cosines

if TYPE_CHECKING:
    from ..viz import Figure

WITHOUT, WITH = 0, 1


@dataclasses.dataclass(frozen=True, eq=False)
class SuffixEffect(Result):
    """The writing of a direction without and with a suffix; made by `suffix_effect`.

    The axis of size 2 holds the prompts without the suffix, then those with it.

    - `cosine (2, layer, n, p)`: the cosine of the stream with the direction, at the positions.
    - `written (2, layer, head, n)`: the output of each head along the direction, at the last of the positions.
    - `instruction (2, layer, head, n)`: the attention of each head, at this position, to the tokens of the instruction.
    - `suffix (layer, head, n)`: its attention to the tokens of the suffix.
    - `heads (k, 2)`: layer and head of the heads that write most along the direction without the suffix.
    - `positions (p,)`: the positions.

    ```python
    found = ji.steering.suffix_effect(
        model, direction, plain, attacked, instruction=(in_plain, in_attacked), suffix=in_suffix
    )
    found.cosine.mean((-2, -1)), found.heads[0]         # (2, layer), and the head that writes most
    ```
    """

    cosine: np.ndarray
    written: np.ndarray
    instruction: np.ndarray
    suffix: np.ndarray
    heads: np.ndarray
    positions: np.ndarray

    def records(self) -> list[Record]:
        """A row for each of the heads that write most: means over prompts."""
        rows: list[Record] = []
        for layer, head in self.heads.tolist():
            place: Record = {"layer": layer, "head": head}
            for name in ("written", "instruction"):
                values = getattr(self, name)[:, layer, head].mean(-1)
                place |= {f"{name}_without": float(values[WITHOUT]), f"{name}_with": float(values[WITH])}
            rows.append({**place, "suffix": float(self.suffix[layer, head].mean())})
        return rows

    def figure(self, name: str = "cosine") -> "Figure":
        """Mean cosines at the last position by layer; or with `"attention"` those of the heads, a curve for each kind."""
        from ..viz import lines

        check_choice(name, "name", ("cosine", "attention"))
        if name == "cosine":
            means = self.cosine[..., -1].mean(-1)
            return lines(
                {"without": means[WITHOUT], "with suffix": means[WITH]}, x_axis="layer", y_axis="cosine"
            )
        rows = self.records()
        names = {
            "instruction_without": "to the instruction, without",
            "instruction_with": "to the instruction, with",
        }
        names["suffix"] = "to the suffix"
        series = {label: np.array([row[key] for row in rows]) for key, label in names.items()}
        return lines(series, x_axis="head, by what it writes", y_axis="attention")


@waiting("ji.steering.suffix_effect: compiling and running")
def suffix_effect(
    model: ModelLike,
    direction: ValueLike,
    prompts: BatchLike,
    suffixed: BatchLike,
    *,
    instruction: MasksLike,
    suffix: MaskLike,
    positions: IndexLike = -1,
    top: IntLike = 8,
    batch_size: IntLike = 16,
) -> SuffixEffect:
    r"""$\cos(h_\ell, r),\; (z W_O)_h \cdot \hat r,\; \sum_{t \in S} A_h$: how a suffix changes which heads write a direction.

    Section 5 of Arditi et al. 2024 (https://arxiv.org/abs/2406.11717). They find that adversarial suffixes lower the
    cosine, and that the heads that write the direction attend to the suffix and not to the instruction.

    **Arguments:**

    - `model`: a model, with or without edits of its own.
    - `direction`: `(d,)`.
    - `prompts`, `suffixed`: the same n prompts without and with a suffix, each tokens or a pair of tokens and mask.
    - `instruction`: two masks, True at the tokens of the instruction in `prompts` and in `suffixed`.
    - `suffix`: True at the tokens of the suffix in `suffixed`.
    - `positions`: ints that count the tokens of a prompt, -1 by default. Take the positions after the suffix.
    - `top`: how many heads are listed; 8 by default.
    - `batch_size`: prompts in one run; 16 by default.

    **Returns:** `SuffixEffect`.

    **Raises:** ValueError where the numbers of prompts differ, and for masks of other shapes or without a token.

    ```python
    found = ji.steering.suffix_effect(
        model, direction, plain, attacked, instruction=(in_plain, in_attacked), suffix=in_suffix, positions=[-2, -1]
    )
    found.records()
    ```

    Laws: without an edit at heads, the outputs of all heads and the bias sum to `attn_out` along the direction; the same
    prompts in place of those with a suffix change nothing.
    """
    both = [as_prompts(prompts, "prompts"), as_prompts(suffixed, "suffixed")]
    if len(both[0]) != len(both[1]):
        raise ValueError(f"prompts and suffixed are the same prompts: got {len(both[0])} and {len(both[1])}.")
    if not isinstance(instruction, tuple | list) or len(instruction) != 2:
        raise ValueError("instruction is a pair of masks: instruction=(in_prompts, in_suffixed).")
    parts = [_part(mask, each, "instruction") for mask, each in zip(instruction, both, strict=True)]
    added = _part(suffix, both[1], "suffix")
    vector = as_direction(direction)
    size = as_int(batch_size, "batch_size", 1)
    places = places_of(positions, both)
    cosine = [
        cosines(model, (each.tokens, each.mask), vector, positions=places, batch_size=size) for each in both
    ]
    last = int(places[-1])
    written, patterns = zip(*(_heads(model, each, vector, last, size) for each in both), strict=True)
    to = lambda pattern, part: np.moveaxis((pattern * part[:, None, None]).sum(-1), 0, -1)
    attended = [to(pattern, part) for pattern, part in zip(patterns, parts, strict=True)]
    means = written[WITHOUT].mean(-1)
    order = np.argsort(-means, axis=None)[: as_int(top, "top", 1)]
    heads = np.stack(np.unravel_index(order, means.shape), -1)
    return SuffixEffect(
        cosine=np.stack(cosine),
        written=np.stack(written),
        instruction=np.stack(attended),
        suffix=to(patterns[WITH], added),
        heads=heads,
        positions=places,
    )


def _part(mask: Any, prompts: Prompts, what: str) -> np.ndarray:
    """Checked tokens of a part of each prompt, `(n, pos)`."""
    found = np.asarray(as_mask(mask))
    if found.shape != prompts.mask.shape or found.dtype != bool:
        raise ValueError(
            f"{what} is a mask of the shape of its prompts, {prompts.mask.shape}, of bools; got {found.dtype} "
            f"{found.shape}."
        )
    if not (found & np.asarray(prompts.mask)).any(-1).all():
        raise ValueError(
            f"{what}: every prompt has a token of it; row {int((~found.any(-1)).argmax())} has none."
        )
    return found & np.asarray(prompts.mask)


def _heads(model: Any, prompts: Prompts, vector: Any, last: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What heads write along the unit direction at a position `(layer, head, n)`, and attend to there `(n, layer, head, key)`."""
    axis = jnp.asarray(
        np.asarray(vector, np.float64) / np.linalg.norm(np.asarray(vector, np.float64)), jnp.float32
    )
    out = at("head_out", pos=last)

    def part(prompts: Prompts) -> Any:
        _, acts = run(model, prompts.tokens, mask=prompts.mask, capture=[out, "pattern"], logits=False)
        inner = jnp.einsum("lnhd,d->nlh", acts[out].astype(jnp.float32), axis, precision="highest")
        # The column of the position in each prompt.
        real = np.asarray(prompts.mask)
        number = np.cumsum(real, -1) - 1
        wanted = last if last >= 0 else real.sum(-1, keepdims=True) + last
        query = ((number == wanted) & real).argmax(-1)
        pattern = jnp.moveaxis(acts["pattern"], 0, 1)  # (n, layer, head, query, key)
        return inner, jnp.take_along_axis(pattern, query[:, None, None, None, None], 3)[:, :, :, 0]

    inner, pattern = prompts.read(size, part)
    return np.moveaxis(inner, 0, -1), pattern
