"""What Patchscopes say, scored: next tokens, attributes, and answers in two hops."""

import dataclasses

import numpy as np
import scipy

from .. import viz
from .._arguments import as_numbers
from .._waiting import waiting
from ..core._run import run
from ..stats import mean_interval
from ..stats._results import Record, Result
from ..typing import ArrayLike, MaskLike, ModelLike, TokensLike
from ._patch_place import PatchPlace, PlaceLike
from ._patchscope import patchscope


@dataclasses.dataclass(frozen=True, eq=False)
class NextTokenScores(Result):
    """How well the state of each layer predicts the model's own next token; made by `next_token_scores`.

    - `precision (*layers)`: how often the likeliest token of the lens is that of the model. `precision_low`,
      `precision_high`: its interval.
    - `surprisal (*layers)`: minus the log-probability of the model's likeliest token, in nats. `surprisal_low`,
      `surprisal_high`: its interval.

    Intervals are NaN for one example.

    ```python
    own, _ = ji.run(model, prompts, logits=-1)
    scores = ji.lens.next_token_scores(ji.lens.logit_lens(model, prompts, pos=-1), own)
    scores.precision[2], scores.surprisal[2]            # row 2: the output of block 1
    ```
    """

    precision: np.ndarray
    precision_low: np.ndarray
    precision_high: np.ndarray
    surprisal: np.ndarray
    surprisal_low: np.ndarray
    surprisal_high: np.ndarray

    def figure(self, *, title: str = "The next token, read from each layer") -> viz.Figure:
        """Curves by layer with intervals; of pairs of layers a heat map of the precision."""
        if self.precision.ndim == 2:
            return viz.heatmap(
                self.precision, axis_names=("layer", "target layer"), value="precision", title=title
            )
        names = ("precision", "surprisal")
        bands = {name: {name: (self[f"{name}_low"], self[f"{name}_high"])} for name in names}
        panels = {name: {name: self[name]} for name in names}
        axes = {"precision": "share", "surprisal": "nats"}
        return viz.line_panels(panels, bands=bands, y_axes=axes, x_axis="layer", title=title)


def next_token_scores(logits: ArrayLike, own: ArrayLike) -> NextTokenScores:
    r"""$[\arg\max p_\ell = \arg\max p]$ and $-\log p_\ell(\arg\max p)$: precision@1 and surprisal of a lens or Patchscope.

    Ghandeharioun et al. 2024 (https://arxiv.org/abs/2401.06102), section 4.1.

    **Arguments:**

    - `logits (*layers, batch, vocab)`: the logits of `ji.lens.patchscope`, or of a lens at one position.
    - `own (batch, vocab)`: the logits of the model itself at the source position: `ji.run(model, source, logits=-1)[0]`.

    **Returns:** `NextTokenScores`.

    **Raises:** ValueError where the shapes do not fit, and for NaN.

    ```python
    own, _ = ji.run(model, prompts, logits=-1)
    logits = ji.lens.logit_lens(model, prompts, pos=-1)
    ji.lens.next_token_scores(logits, own).precision    # (layer + 1,)
    ```

    Law: the model's own logits have precision 1, and the surprisal of their likeliest token.
    """
    x, y = (np.asarray(as_numbers(each, name)) for each, name in ((logits, "logits"), (own, "own")))
    if y.ndim != 2 or x.ndim < 2 or x.shape[-2:] != y.shape:
        raise ValueError(
            f"own is (batch, vocab), and logits end in these two axes; got {y.shape} and {x.shape}. One prompt: "
            "logits[..., None, :] and own[None]."
        )
    check_no_nan(logits=x, own=y)
    best = y.argmax(-1)
    logp = scipy.special.log_softmax(x.astype(np.float64), -1)
    right = (x.argmax(-1) == best).astype(np.float64)
    surprisal = -logp[..., np.arange(len(best)), best]
    return NextTokenScores(*_interval(right), *_interval(surprisal))


def check_no_nan(**arrays: np.ndarray) -> None:
    """Raises for NaN, of which the largest entry would be the first."""
    for name, x in arrays.items():
        if np.isnan(x).any():
            bad = np.argwhere(np.isnan(x))[0].tolist()
            raise ValueError(f"{name} has no NaN; {name}{bad} is NaN. Did a run overflow? Run it in float32.")


def check_answers(sets: np.ndarray, vocab: int | None) -> None:
    """Raises for answers `(batch, n)` that are no tokens, or where a row has none."""
    if not np.issubdtype(sets.dtype, np.integer):
        raise ValueError(f"answers are token ids; got dtype {sets.dtype}.")
    if sets.min() < -1 or (vocab is not None and sets.max() >= vocab) or (sets < 0).all(1).any():
        most = "" if vocab is None else f" below {vocab}"
        raise ValueError(
            f"answers are token ids{most}, one at least for each prompt; got {sets.tolist()}. Take them from the "
            "tokenizer: tokenizer.token_id(' Mary')."
        )


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean = values.mean(-1)
    if values.shape[-1] < 2:
        return mean, np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    found = mean_interval(values)
    return mean, np.asarray(found.low), np.asarray(found.high)


def attribute_accuracy(found: ArrayLike, answers: ArrayLike) -> np.ndarray:
    r"""$\mathbb{E} \max_{\ell^*} [a \in \text{answer}_{\ell, \ell^*}]$: how often the answer holds the attribute at some target layer, for each source layer.

    Ghandeharioun et al. 2024 (https://arxiv.org/abs/2401.06102), section 4.2.

    **Arguments:**

    - `found`: the result of `ji.lens.patchscope` over all pairs of layers: logits `(source, target, batch, vocab)`, or
      with `steps=` the tokens `(source, target, batch, pos)`. Give the generated tokens alone: `found[..., -steps:]`.
    - `answers (batch,)` or `(batch, n)`: the token of the attribute, or several tokens of which each is right; -1 fills
      rows with fewer tokens.

    **Returns:** `(source,)`.

    **Raises:** ValueError where the shapes do not fit, for NaN, and for answers that are no tokens.

    ```python
    countries, mask = tokenizer(["The king of France", "The streets of Spain"])
    target, source = ji.lens.target_prompt("capital", tokenizer), ji.lens.PatchPlace(mask=mask)
    found = ji.lens.patchscope(model, countries, model, target, source=source)
    ji.lens.attribute_accuracy(found, [tokenizer(" Paris")[0], tokenizer(" Madrid")[0]])
    ```

    Law: more target layers never lower it. Compare it with a control that has as many target layers.
    """
    x, wanted = np.asarray(as_numbers(found, "found")), np.asarray(as_numbers(answers, "answers"))
    if x.ndim != 4 or wanted.shape[:1] != x.shape[2:3] or wanted.ndim not in (1, 2):
        raise ValueError(
            "found is (source, target, batch, vocab or pos), as patchscope returns for all pairs of layers, and answers "
            f"(batch,) or (batch, n); got {x.shape} and {wanted.shape}."
        )
    sets = wanted.reshape(len(wanted), -1)
    generated = np.issubdtype(x.dtype, np.integer)
    check_no_nan(found=x)
    check_answers(sets, None if generated else x.shape[-1])
    answered = x if generated else x.argmax(-1)[..., None]
    hit = (answered[..., None] == np.where(sets < 0, -2, sets)[:, None]).any((-1, -2))
    return hit.any(1).mean(-1)


@dataclasses.dataclass(frozen=True, eq=False)
class MultiHop(Result):
    """How often a question with two hops is answered, with and without a patch; made by `multi_hop`.

    - `accuracy (source, target)`: how often the answer is right after patching from and to each layer.
    - `baseline`: how often it is right without patching.
    - `best`: how often it is right with the best pair of layers of each prompt. The answer chooses this pair, so it is
      no fair estimate of one pair.

    ```python
    inner, outer = jnp.stack([tokenizer("the author of the old book")]), tokenizer("The name of the wife of x")
    found = ji.lens.multi_hop(model, inner, outer, [mary])
    found.accuracy[1, 2], found.baseline                # from block 1 to block 2, and without a patch
    ```
    """

    accuracy: np.ndarray
    baseline: float
    best: float

    def records(self) -> list[Record]:
        """A row for each pair of layers."""
        return [
            {"source": s, "target": t, "accuracy": float(value), "baseline": self.baseline}
            for (s, t), value in np.ndenumerate(self.accuracy)
        ]

    def figure(self, *, title: str = "Answers in two hops") -> viz.Figure:
        """A heat map of the accuracy by source and target layer."""
        return viz.heatmap(
            self.accuracy, axis_names=("source layer", "target layer"), value="accuracy", title=title
        )


@waiting("ji.lens.multi_hop: compiling and running")
def multi_hop(
    model: ModelLike,
    inner: TokensLike,
    outer: TokensLike,
    answers: ArrayLike,
    *,
    source: PlaceLike = PatchPlace(),
    target: PlaceLike = PatchPlace(),
    whole: TokensLike | None = None,
    whole_mask: MaskLike | None = None,
) -> MultiHop:
    r"""$x^{outer}_{\ell^*, i^*} \leftarrow x^{inner}_{\ell, i}$: the state of the inner answer is written into the outer question.

    Ghandeharioun et al. 2024 (https://arxiv.org/abs/2401.06102), section 5. An example of a question with two hops is
    "the current CEO of the company that made the iPhone". The state at the end of "the company that made the iPhone" is
    patched into "the current CEO of".

    **Arguments:**

    - `model`: any model of the protocol.
    - `inner (batch, pos)`: prompts that end with the inner description.
    - `outer (batch, pos)` or `(pos,)`: prompts of the outer question, with a token in the place of its subject.
    - `answers (batch,)`: the token of the final answer.
    - `source`, `target`: positions and masks of both, `ji.lens.PatchPlace`; by default all pairs of layers at the last
      tokens.
    - `whole`, `whole_mask`: the question in one prompt, without patching, for the baseline; `inner` by default.

    **Returns:** `MultiHop`.

    **Raises:** ValueError where there is not one answer for each prompt; the errors of `ji.lens.patchscope`.

    ```python
    inner, outer = jnp.stack([tokenizer("the author of the old book")]), tokenizer("The name of the wife of x")
    whole = jnp.stack([tokenizer("The name of the wife of the author of the old book")])
    ji.lens.multi_hop(model, inner, outer, [mary], whole=whole).baseline
    ```

    Law: patching a prompt into itself at the same layer and position is the baseline of that prompt.
    """
    logits = np.asarray(patchscope(model, inner, model, outer, source=source, target=target))
    wanted = np.asarray(as_numbers(answers, "answers"))
    if logits.ndim != 4 or wanted.shape != logits.shape[2:3]:
        raise ValueError(
            f"Prompts are (batch, pos), with an answer (batch,) for each and all pairs of layers; got answers "
            f"{wanted.shape} and logits {logits.shape}. One prompt: inner[None], outer[None], [answer]."
        )
    check_no_nan(logits=logits)
    check_answers(wanted[:, None], logits.shape[-1])
    right = logits.argmax(-1) == wanted
    if whole is None:
        whole, whole_mask = inner, source.mask
    own = np.asarray(run(model, whole, mask=whole_mask, logits=-1)[0])
    return MultiHop(right.mean(-1), float((own.argmax(-1) == wanted).mean()), float(right.any((0, 1)).mean()))
