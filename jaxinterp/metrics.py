r"""Metrics: one number per example from the logits, $m(\text{logits}) \in \mathbb{R}$.

A metric is a pure function of logits that knows which positions it reads (`pos`, the last one by
default), so that runs and sweeps unembed only these. It is a pytree: its tokens are leaves, and
another batch of answers uses the same compiled program.

| metric | per example |
|---|---|
| `logit_diff` | logit of the right token minus that of the wrong one |
| `prob`, `log_prob` | of one token |
| `log_odds` | of one set of tokens against all others |
| `prob_diff` | probability of one set of tokens minus that of another |
| `kl` | nats from a reference distribution to this one |
| `cross_entropy` | nats per next token of a text |
| `rank` | how many tokens are likelier than this one |
| `accuracy` | whether it is the likeliest, or likelier than others |
| `sharpness` | probability of the next year minus that of the year before |
| `recovered` | any of these, rescaled: 0 is the corrupt run, 1 the clean one |
| `custom` | any function of the logits at some positions |

A function that takes a metric also takes a plain function of all logits `(*batch, pos, vocab)`. This
function gets the padded array as it is; `custom(fn, pos=-1)` gets each prompt's last token.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._arguments import as_mask, as_numbers, as_selector, check_function, concrete
from ._waiting import finished, waiting
from .core import Model, run
from .core._check import as_padding, check_selector
from .core._positions import take_positions
from .typing import (
    ArrayLike,
    EditsLike,
    FunctionLike,
    IndexLike,
    LogitsLike,
    MaskLike,
    MetricLike,
    ModelLike,
    PyTree,
    StrLike,
    TokenLike,
    TokensLike,
)


class Metric(eqx.Module):
    """A function of logits to one number per example; made by the functions of this module.

    `metric(logits)` takes all logits `(*batch, pos, vocab)`. `metric.of(chosen)` takes only the logits at
    `metric.pos`: `(*batch, vocab)` for one position, `(*batch, n, vocab)` for several. Both
    return `(*batch,)`, float32 at least, and the mean over several positions.

    With padded prompts, `metric(logits, mask=mask)` counts real tokens: `pos=-1` is the last token of each
    prompt. Every function that takes a metric and a mask does this.

    ```python
    metric = ji.metrics.logit_diff(right, wrong)
    metric(logits), metric.of(logits[..., -1, :])       # twice the same number
    ```
    """

    pos: Any
    args: tuple[Any, ...]
    fn: Callable[..., Array] = eqx.field(static=True)
    ids: tuple[int, ...] = eqx.field(static=True, default=())
    "Which of `args` are token ids."
    name: str = eqx.field(static=True, default="metric")
    real: Any = None
    "The padding mask of prompts that are read at all positions: the mean is over real tokens."

    def __call__(
        self,
        logits: LogitsLike,
        *,
        mask: MaskLike | None = None,
    ) -> Float[Array, "*batch"]:
        values = _floats(logits)
        real = as_padding(mask, values.shape[:-1])
        self.check_positions(values.shape[:-1], real)
        metric = self.padded(real)
        if self.pos is None:
            return metric.of(values)
        return metric.of(take_positions(values, self.pos, values.ndim - 2, real))

    def check_positions(self, shape: tuple[int, ...], mask: MaskLike | None) -> None:
        """Raises where prompts of the shape `(*batch, pos)` lack the positions that it reads."""
        if self.pos is not None:
            check_selector("pos", self.pos, shape[-1], shape[:-1], self.name, mask)

    def padded(self, mask: MaskLike | None) -> "Metric":
        """The same metric for prompts with a padding mask."""
        if mask is None:
            return self
        real = as_mask(mask)
        if self.fn is _recovered:
            return dataclasses.replace(self, args=(self.args[0].padded(real), *self.args[1:]))
        if self.fn is _cross_entropy and self.args[1].shape == real.shape:
            return dataclasses.replace(self, args=(self.args[0], self.args[1] & real))
        if self.pos is None:
            return dataclasses.replace(self, real=real) if self.fn in _EACH else self
        if self.fn is _kl and self.args[0].shape[:-1] == real.shape:
            whole = self.args[0]
            return dataclasses.replace(
                self, args=(take_positions(whole, self.pos, whole.ndim - 2, real), self.pos)
            )
        return self

    def of(self, chosen: ArrayLike) -> Float[Array, "*batch"]:
        """The metric of the logits at its positions."""
        values = _floats(chosen)
        # Of the whole vocabulary where it reads all of it, and of what it picks otherwise.
        wide = values if self.fn is _logit_diff else _wide(values)
        batch = values.shape[: -1 if self.one else -2]
        self.check(values.shape[-1], batch)
        value = self.fn(wide, self.one, *self.args)
        if self.fn in _EACH and not self.one:
            value = _mean(value, self.real)
        shape = getattr(value, "shape", None)
        if shape != batch:
            raise ValueError(
                f"A metric gives one number per example, here the shape {batch}; {self.name} "
                f"returned {shape if shape is not None else type(value).__name__}. Reduce over "
                "positions and vocabulary only: logits[..., -1, token]."
            )
        return value

    @property
    def one(self) -> bool:
        """Whether it reads one position, whose axis is dropped."""
        return self.pos is not None and jnp.ndim(self.pos) == 0

    def check(self, vocab: int, shape: tuple[int, ...]) -> None:
        """Raises where an answer is no token of `vocab`, or is not one per example of a batch of this shape."""
        for number in self.ids:
            ids = self.args[number]
            if ids.dtype == bool:
                if ids.shape[-1] != vocab:
                    raise ValueError(
                        f"{self.name}: a mask of tokens has the vocabulary's length {vocab}; got "
                        f"the shape {ids.shape}."
                    )
                continue
            if concrete(ids) and ids.size:
                low, high = int(np.min(np.asarray(ids))), int(np.max(np.asarray(ids)))
                if low < (-1 if self.fn in _SETS else 0) or high >= vocab:
                    raise IndexError(
                        f"{self.name}: token ids lie in 0..{vocab - 1}; got "
                        f"{high if high >= vocab else low}. Take them from this model's "
                        "tokenizer: tokenizer.token_id(' Mary')."
                    )
            if self.fn is _cross_entropy:
                continue  # a whole text, not one token per example
            sets = self.fn in _SETS
            allowed = ((), shape) if not sets else ()
            rank = ids.ndim - len(shape)
            fits = ids.shape in allowed or (
                (rank == 1 and ids.shape[:-1] == shape) or (sets and ids.ndim <= 1)
            )
            if not fits:
                raise ValueError(
                    f"{self.name}: a token is an id, or one per example, here the shape {shape} "
                    f"(a set of tokens has one more axis, the last); got the shape {ids.shape}."
                )

    def __repr__(self) -> str:
        return f"Metric({self.name}, pos={None if self.pos is None else np.shape(self.pos) or int(self.pos) if concrete(self.pos) else '?'})"


def _wide(values: Array) -> Array:
    return values.astype(np.promote_types(values.dtype, np.float32))


def _floats(logits: Any) -> Array:
    logits = jnp.asarray(as_numbers(logits, "logits"))
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"A metric is a function of logits, which are floats; got {logits.dtype}.")
    if not logits.ndim:
        raise ValueError("A metric is a function of logits (*batch, pos, vocab); got one number.")
    return logits


def _ids(value: Any, what: str) -> Any:
    ids = as_selector(value, what)
    if ids.dtype != bool and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"{what} is a token id or several, ints; got dtype {ids.dtype}. "
            "tokenizer.token_id(' Mary') gives the id of a text that is one token."
        )
    return ids


def _positions(pos: Any) -> Any:
    if pos is None:
        return None
    pos = as_selector(pos, "pos")
    if not np.issubdtype(pos.dtype, np.integer):
        raise ValueError(f"pos is an int, ints (n,) or ints per example (*batch, n); got {pos!r}.")
    return pos


def logit_diff(correct: TokenLike, wrong: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = \text{logit}_{r} - \text{logit}_{r'}$: how much the right answer leads.

    Wang et al. 2022 (https://arxiv.org/abs/2211.00593).

    **Arguments:**

    - `correct`, `wrong`: a token id, or one per example `(*batch,)`. With one more axis they are sets of
      tokens, and the largest logit of each set counts.
    - `pos`: the positions to read, by default -1. An int or ints `(n,)` count real tokens where
      prompts are padded. Ints per example `(*batch, n)` are columns of the padded array (one for each
      example: `end[:, None]`). The result is the mean over several positions.

    ```python
    metric = ji.metrics.logit_diff(tokenizer.token_id(" Mary"), tokenizer.token_id(" John"))
    metric(logits)                                      # (*batch,)
    ```

    Law: to exchange the answers changes the sign.
    """
    args = (_ids(correct, "correct"), _ids(wrong, "wrong"))
    return Metric(_positions(pos), args, _logit_diff, (0, 1), "logit_diff")


def _logit_diff(chosen: Array, one: bool, correct: Any, wrong: Any) -> Array:
    return _wide(_best(chosen, correct, one)) - _wide(_best(chosen, wrong, one))


def prob(token: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = p_r = \mathrm{softmax}(\text{logits})_r$: the probability of a token.

    **Arguments:**

    - `token`: a token id, or one per example `(*batch,)`.
    - `pos`: as in `logit_diff`.

    ```python
    ji.metrics.prob(tokenizer.token_id(" Mary"))(logits)
    ```

    Law: summed over the vocabulary it is 1.
    """
    return Metric(_positions(pos), (_ids(token, "token"),), _prob, (0,), "prob")


def _prob(chosen: Array, one: bool, token: Any) -> Array:
    return jnp.exp(_best(jax.nn.log_softmax(chosen), token, one))


def log_prob(token: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = \log p_r$: the log-probability of a token, in nats.

    **Arguments:**

    - `token`: a token id, or one per example `(*batch,)`.
    - `pos`: as in `logit_diff`.

    ```python
    ji.metrics.measure(model, tokens, ji.metrics.log_prob(right))
    ```

    Law: `exp` of it is `prob` (at one position).
    """
    return Metric(_positions(pos), (_ids(token, "token"),), _log_prob, (0,), "log_prob")


def _log_prob(chosen: Array, one: bool, token: Any) -> Array:
    return _best(jax.nn.log_softmax(chosen), token, one)


def log_odds(tokens: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = \log(P + \epsilon) - \log(1 - P + \epsilon),\; P = \sum_{t \in T} p_t$: the log odds of a set of tokens.

    The refusal score of Arditi et al. 2024 (https://arxiv.org/abs/2406.11717), where $T$ are the tokens that
    a refusal begins with, and $\epsilon = 10^{-8}$.

    **Arguments:**

    - `tokens`: the set, as in `prob_diff`: a token id, ids `(n,)`, or a mask `(vocab,)`.
    - `pos`: as in `logit_diff`.

    ```python
    score = ji.metrics.log_odds([tokenizer.token_id(" Mary"), tokenizer.token_id(" John")])
    ```

    Law: for the complement of the set it is the negative; it is 0 where the set has half of the probability.
    """
    ids = _ids(tokens, "tokens")
    return Metric(_positions(pos), (ids.reshape(1) if ids.ndim == 0 else ids,), _log_odds, (0,), "log_odds")


def _log_odds(chosen: Array, one: bool, tokens: Any) -> Array:
    probs = jax.nn.softmax(chosen)
    members = jnp.asarray(tokens)
    if members.dtype != jnp.bool_:
        members = jax.nn.one_hot(members, probs.shape[-1], dtype=bool).any(-2)
    # 1 - P loses its digits where P is near 1: the others are summed by themselves.
    inside, outside = (_total(probs, chosen, one) for chosen in (members, ~members))
    return jnp.log(inside + 1e-8) - jnp.log(outside + 1e-8)


def prob_diff(correct: TokenLike, wrong: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = \sum_{r \in R} p_r - \sum_{r' \in R'} p_{r'}$: probability of one set minus another.

    The metric of greater-than, Hanna et al. 2023 (https://arxiv.org/abs/2305.00586), where $R$ holds
    the years after the one in the prompt.

    **Arguments:**

    - `correct`, `wrong`: sets of tokens: ids `(n,)` or per example `(*batch, n)`, where -1 stands for
      no token (sets of different sizes), or masks `(vocab,)` or `(*batch, vocab)`.
    - `pos`: as in `logit_diff`.

    ```python
    metric = ji.metrics.prob_diff([right, tokenizer.token_id(" the")], [wrong])
    metric(logits)
    ```

    Law: for a set and its complement, it is twice the probability of the set minus 1.
    """
    sets = (_ids(correct, "correct"), _ids(wrong, "wrong"))
    args = tuple(ids.reshape(1) if ids.ndim == 0 else ids for ids in sets)
    return Metric(_positions(pos), args, _prob_diff, (0, 1), "prob_diff")


def _prob_diff(chosen: Array, one: bool, correct: Any, wrong: Any) -> Array:
    probs = jax.nn.softmax(chosen)
    return _total(probs, correct, one) - _total(probs, wrong, one)


def accuracy(correct: TokenLike, wrong: TokenLike | None = None, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = [\max_{r \in R} z_r > \max_{v \notin R} z_v]$: 1 where the answer is the likeliest token, else 0.

    **Arguments:**

    - `correct`: the right token, or a set of tokens, as in `logit_diff`; one of the set is enough.
    - `wrong`: compares the right answer with these tokens only, as in a choice between two; None, the default,
      compares it with all other tokens.
    - `pos`: as in `logit_diff`.

    The metric is a step function, so its gradient is 0: attribution needs another metric.

    ```python
    ji.metrics.measure(model, tokens, ji.metrics.accuracy(right, wrong)).mean()
    ```

    Law: with `wrong`, whether `logit_diff` is above 0.
    """
    ids = (_ids(correct, "correct"), *(() if wrong is None else (_ids(wrong, "wrong"),)))
    return Metric(_positions(pos), ids, _accuracy, tuple(range(len(ids))), "accuracy")


def _accuracy(chosen: Array, one: bool, correct: Any, wrong: Any = None) -> Array:
    if wrong is not None:
        right = (_best(chosen, correct, one) > _best(chosen, wrong, one)).astype(chosen.dtype)
    else:
        likeliest = jax.nn.one_hot(chosen.argmax(-1), chosen.shape[-1], dtype=chosen.dtype)
        right = _best(likeliest, correct, one)
    # The largest of NaN would be the first token.
    return jnp.where(jnp.isnan(chosen).any(-1), jnp.nan, right)


def sharpness(above: TokenLike, below: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = p_{YY + 1} - p_{YY - 1}$: how sharply a model cuts between the years after the one in the prompt and those before.

    Hanna et al. 2023 (https://arxiv.org/abs/2305.00586).

    **Arguments:**

    - `above`: the years after YY in rising order, ids `(n,)` or `(*batch, n)`, -1 for none; the first one is used.
    - `below`: the years up to YY in rising order, in the same form; the one before the last is used.
    - `pos`: as in `logit_diff`.

    ```python
    pairs = ji.tasks.greater_than(digits, 50, key=jax.random.key(0), nouns=["war"])
    metric = ji.metrics.sharpness(pairs.correct, pairs.wrong)
    ```

    Law: the difference of two probabilities, between -1 and 1.
    """
    after, before = np.asarray(_ids(above, "above")), np.asarray(_ids(below, "below"))
    if not after.ndim or not before.ndim or (after[..., 0] < 0).any() or ((before >= 0).sum(-1) < 2).any():
        raise ValueError(
            "sharpness reads the first year above and the last but one below, so above has one year and below two or "
            f"more, in rising order; got the shapes {after.shape} and {before.shape}."
        )
    last = (before >= 0).sum(-1, keepdims=True) - 2
    nearest = np.take_along_axis(before, last, -1)
    args = (jnp.asarray(after[..., :1]), jnp.asarray(nearest))
    return Metric(_positions(pos), args, _prob_diff, (0, 1), "sharpness")


def kl(reference_logits: ArrayLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = D_\mathrm{KL}(p_\text{ref} \,\|\, p) = \sum_v p_\text{ref}(v)\,(\log p_\text{ref}(v) - \log p(v))$, in nats.

    **Arguments:**

    - `reference_logits`: all logits of the reference run `(*batch, pos, vocab)`, or those at `pos`
      only (`(*batch, vocab)` for one position).
    - `pos`: as in `logit_diff`.

    ```python
    reference, _ = ji.run(model, clean)
    ji.metrics.measure(model, corrupt, ji.metrics.kl(reference))
    ```

    Law: it is 0 at the reference itself, and positive elsewhere. Its gradient at the reference is 0 too, so
    attribution there finds no effect.
    """
    return Metric(_positions(pos), (_floats(reference_logits), _positions(pos)), _kl, (), "kl")


def _kl(chosen: Array, one: bool, reference: Array, pos: Any) -> Array:
    if reference.ndim > chosen.ndim or (not one and pos is not None and reference.shape != chosen.shape):
        reference = take_positions(reference, pos, reference.ndim - 2)
    if reference.shape != chosen.shape:
        raise ValueError(
            f"kl: the reference logits have the shape of the run's, {chosen.shape} at the positions "
            f"read; got {reference.shape}."
        )
    p = jax.nn.log_softmax(reference.astype(chosen.dtype))
    return (jnp.exp(p) * (p - jax.nn.log_softmax(chosen))).sum(-1)


def cross_entropy(tokens: TokensLike, *, mask: MaskLike | None = None) -> Metric:
    r"""$m = -\frac{1}{n}\sum_t \log p(x_{t+1} \mid x_{\le t})$: nats per next token of a text.

    **Arguments:**

    - `tokens`: the text that is run, `(*batch, pos)`.
    - `mask`: True at real tokens, `(*batch, pos)`.

    It reads all positions.

    ```python
    ji.metrics.measure(model, tokens, ji.metrics.cross_entropy(tokens))
    ```

    Law: for uniform logits it is the logarithm of the size of the vocabulary.
    """
    ids = _ids(tokens, "tokens")
    real = jnp.ones(ids.shape, bool) if mask is None else as_mask(mask).astype(bool)
    return Metric(None, (ids, real), _cross_entropy, (0,), "cross_entropy")


def _cross_entropy(logits: Array, one: bool, tokens: Any, real: Any) -> Array:
    if tokens.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: tokens have the shape of the run's, {logits.shape[:-1]}; got {tokens.shape}."
        )
    index = jnp.asarray(tokens)[..., 1:, None]
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits[..., :-1, :]), index, -1)[..., 0]
    counted = (real[..., 1:] & real[..., :-1]).astype(nats.dtype)
    return (nats * counted).sum(-1) / jnp.maximum(counted.sum(-1), 1)


def rank(token: TokenLike, *, pos: IndexLike | None = -1) -> Metric:
    r"""$m = |\{v : \text{logit}_v > \text{logit}_r\}|$: how many tokens are likelier; 0 is the first.

    **Arguments:**

    - `token`: a token id, or one per example `(*batch,)`.
    - `pos`: as in `logit_diff`.

    ```python
    ji.metrics.rank(tokenizer.token_id(" Mary"))(logits)
    ```

    Law: it is 0 exactly where the token is the answer of the model (ties count in its favour).
    """
    return Metric(_positions(pos), (_ids(token, "token"),), _rank, (0,), "rank")


def _rank(chosen: Array, one: bool, token: Any) -> Array:
    own = _best(chosen, token, one)[..., None]
    likelier = (chosen > jnp.broadcast_to(own, chosen.shape)).sum(-1, dtype=chosen.dtype)
    # Nothing is above NaN, which would make it the first.
    return jnp.where(jnp.isnan(chosen).any(-1), jnp.nan, likelier)


@overload
def recovered(  # pyright: ignore[reportOverlappingOverload]
    metric: Metric | Callable[[Array], Array], clean: ArrayLike, corrupt: ArrayLike
) -> Metric: ...


@overload
def recovered(metric: ArrayLike, clean: ArrayLike, corrupt: ArrayLike) -> Float[Array, "..."]: ...


def recovered(
    metric: MetricLike | ArrayLike, clean: ArrayLike, corrupt: ArrayLike
) -> Metric | Float[Array, "..."]:
    r"""$m' = \dfrac{m - \bar m_\text{corrupt}}{\bar m_\text{clean} - \bar m_\text{corrupt}}$: 0 is the corrupt run, 1 the clean one.

    Means over the batch are taken before the ratio: ratios of single examples explode where clean and
    corrupt agree.

    **Arguments:**

    - `metric`: a metric, or the values of a metric, such as those of a sweep.
    - `clean`, `corrupt`: the metric of both runs, a number or one per example.

    **Returns:** a metric, or numbers. Where clean and corrupt do not differ it warns and gives NaN.

    ```python
    clean_value = ji.metrics.measure(model, clean, metric)
    corrupt_value = ji.metrics.measure(model, corrupt, metric)
    ji.metrics.recovered(heat, clean_value, corrupt_value)
    ```

    Law: it is 0 at the corrupt value and 1 at the clean value; other values may lie outside of that interval.
    """
    high, low = (
        jnp.asarray(as_numbers(x, name)).mean() for x, name in ((clean, "clean"), (corrupt, "corrupt"))
    )
    gap = high - low
    small = jnp.abs(gap) <= 1e-6 * jnp.maximum(jnp.maximum(jnp.abs(high), jnp.abs(low)), 1e-6)
    if concrete(small) and bool(small):
        warnings.warn(
            f"The metric is {float(high):.4g} on the clean and {float(low):.4g} on the corrupt run: "
            "there is nothing to recover (NaN). Choose prompts on which the model answers differently.",
            stacklevel=2,
        )
    gap = jnp.where(small, jnp.nan, gap)
    if callable(metric):
        inner = as_metric(metric)
        return Metric(inner.pos, (inner, low, gap), _recovered, (), f"recovered {inner.name}")
    values = jnp.asarray(metric)
    return (values - low.astype(values.dtype)) / gap.astype(values.dtype)


def _recovered(chosen: Array, one: bool, inner: Metric, low: Array, gap: Array) -> Array:
    value = inner.of(chosen)
    return (value - low.astype(value.dtype)) / gap.astype(value.dtype)


def custom(
    fn: FunctionLike, *args: PyTree, pos: IndexLike | None = -1, name: StrLike | None = None
) -> Metric:
    r"""$m = f(\text{logits at } pos, \text{args})$: a metric of your own.

    **Arguments:**

    - `fn`: a function of logits and `args` to `(*batch,)`. The logits are `(*batch, vocab)` for one
      position, `(*batch, n, vocab)` for several, and all of them for `pos=None`.
    - `args`: arrays.
    - `pos`: as in `logit_diff`, or None.
    - `name`: for messages.

    ```python
    entropy = ji.metrics.custom(lambda x: -(jax.nn.softmax(x) * jax.nn.log_softmax(x)).sum(-1))
    ```

    Law: with `pos=None` it is the function itself.
    """
    names = ("logits", *(f"args[{i}]" for i in range(len(args))))
    check_function(fn, "A metric", names, "ji.metrics.logit_diff(correct, wrong), or a function of your own")
    return Metric(_positions(pos), tuple(args), _Plain(fn), (), name or getattr(fn, "__name__", "custom"))


class _Plain:
    """A user's function in the form that `Metric` calls; equal when the function is the same."""

    def __init__(self, fn: Callable[..., Array]) -> None:
        self.fn = fn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Plain) and self.fn == other.fn

    def __hash__(self) -> int:
        return hash(self.fn)

    def __call__(self, chosen: Array, one: bool, *args: Any) -> Array:
        return self.fn(chosen, *args)


def as_metric(metric: MetricLike, mask: MaskLike | None = None) -> Metric:
    """The metric that functions use for `metric=`: for prompts with a padding mask, or from a function of all logits.

    ```python
    entropy = lambda logits: -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1).mean(-1)
    ji.metrics.as_metric(entropy)(logits)
    ```
    """
    if isinstance(metric, Metric):
        return metric.padded(mask)
    if not callable(metric):
        raise ValueError(
            "A metric is a function of logits, made by ji.metrics.logit_diff(correct, wrong) and its "
            f"siblings, or your own; got {type(metric).__name__}."
        )
    return custom(metric, pos=None)


@waiting("ji.metrics.measure: compiling and running")
def measure(
    model: ModelLike,
    tokens: TokensLike,
    metric: MetricLike,
    *,
    mask: MaskLike | None = None,
    edits: EditsLike | None = (),
) -> Float[Array, "*batch"]:
    r"""$m(M(t))$: a metric of one run, `(*batch,)`. Only the positions that it reads are unembedded.

    **Arguments:**

    - `model`, `tokens`, `mask`, `edits`: as in `ji.run`. With a mask the metric's integer positions
      count real tokens.
    - `metric`: a metric of this module, or a function of all logits.

    ```python
    ji.metrics.measure(model, tokens, ji.metrics.logit_diff(right, wrong))
    ```

    Laws: equal to `metric(ji.run(model, tokens)[0])`; for padded prompts, to each prompt alone.
    """
    if callable(model) and not isinstance(model, Model):
        raise ValueError(
            "The model comes first, then the tokens, then the metric. "
            "Write ji.metrics.measure(model, tokens, metric)."
        )
    padding = None if mask is None else as_mask(mask)
    checked = as_metric(metric, padding)
    positions = True if checked.pos is None else checked.pos
    chosen, _ = run(model, tokens, edits=edits, mask=padding, logits=positions)
    checked.check(chosen.shape[-1], chosen.shape[: -1 if checked.one else -2])
    return finished(_of(checked, chosen))


@eqx.filter_jit
def _of(metric: Metric, chosen: Array) -> Array:
    return metric.of(chosen)


def _best(values: Array, ids: Any, one: bool) -> Array:
    """Of `values` (*batch [n] vocab) those at tokens; of a set, the largest: (*batch [n])."""
    lead = values.shape[:-1]
    batch = lead if one else lead[:-1]
    ids = jnp.asarray(ids)
    if ids.ndim <= len(batch):
        ids = ids[..., None]
    if not one and ids.ndim > 1:
        ids = ids[..., None, :]
    ids = jnp.broadcast_to(ids.reshape((1,) * (values.ndim - ids.ndim) + ids.shape), (*lead, ids.shape[-1]))
    return jnp.take_along_axis(values, ids, -1).max(-1)


def _total(probs: Array, members: Any, one: bool) -> Array:
    """Probability of a set, ids or a mask: (*batch [n])."""
    members = jnp.asarray(members)
    if not one and members.ndim > 1:
        members = members[..., None, :]
    members = members.reshape((1,) * (probs.ndim - members.ndim) + members.shape)
    if members.dtype == jnp.bool_:
        return jnp.where(jnp.broadcast_to(members, probs.shape), probs, 0).sum(-1)
    members = jnp.broadcast_to(members, (*probs.shape[:-1], members.shape[-1]))
    probabilities = jnp.take_along_axis(probs, jnp.maximum(members, 0), -1)
    return jnp.where(members >= 0, probabilities, 0).sum(-1)


def _mean(values: Array, real: Any) -> Array:
    """Over positions `(*batch, n)`, those of real tokens."""
    if real is None:
        return values.mean(-1)
    return jnp.where(real, values, 0).sum(-1) / real.sum(-1).astype(values.dtype)


_SETS = (_prob_diff, _log_odds)
"Metrics of sets of tokens, ids `(n,)` or masks."
_EACH = (_accuracy, _logit_diff, _prob, _log_prob, _log_odds, _prob_diff, _kl, _rank)
"Metrics of each position, of which the mean is returned."
