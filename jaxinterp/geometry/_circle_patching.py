"""Patching on a circle: does the model's answer follow the angle that is set, at which layers?"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import viz
from .._arguments import as_bool, as_int, check_choice
from ..core._intervene import config_of
from ..core._run import resume, run
from ..corpus._progress import watched
from ..stats import mean_interval
from ..stats._results import Record, Result
from ..tasks import Pairs
from ..typing import BoolLike, IntLike, LayersLike, ModelLike, StrLike
from ._circle import CircularProbe, fit_circle
from ._circle_edit import GIVEN, MODES, TURNED, circle_state
from ._circle_explanation import circle_explanation

WANTED = ("exact", "donor", "subspace", "average", "only", "without")
ON = {"start": "START", "answer": "END"}


@dataclasses.dataclass(frozen=True, eq=False)
class CirclePatching(Result):
    """The change of answers when an angle is set; made by `circle_patching`.

    - `effect (mode, layer)`: the logit of the old answer minus that of the new one, a mean over prompts and targets. The
      lower it is, the stronger is the intervention. `low`, `high`: its interval over prompts.
    - `hits (mode, layer)`: the share of prompts and targets where the new answer has the largest logit of all names.
    - `unpatched`: the same difference of logits without an intervention.
    - `r2 (layer, 2)`: the R2 of the probe for the cosine and the sine, on the prompts of the fit.
    - `modes`, `layers`, `prompts`: the modes, the layers and the number of prompts.

    ```python
    found = ji.geometry.circle_patching(model, pairs, on="start", layers=[1], components=2)
    found.effect - found.unpatched, found.hits          # (mode, 1) each
    ```
    """

    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray
    hits: np.ndarray
    unpatched: float
    r2: np.ndarray
    modes: tuple[str, ...]
    layers: tuple[int, ...]
    prompts: int

    def records(self) -> list[Record]:
        """One dict for each mode and layer."""
        return [
            {"mode": mode, "layer": layer}
            | {name: float(getattr(self, name)[i, j]) for name in ("effect", "low", "high", "hits")}
            | {"r2_cos": float(self.r2[j, 0]), "r2_sin": float(self.r2[j, 1])}
            for i, mode in enumerate(self.modes)
            for j, layer in enumerate(self.layers)
        ]

    def figure(self, *, title: str = "Patching on a circle") -> viz.Figure:
        """The effect of each mode over layers."""
        series = {mode: self.effect[i] for i, mode in enumerate(self.modes)}
        series["unpatched"] = np.full(len(self.layers), self.unpatched)
        axis = "logit of the old answer less the new"
        return viz.lines(series, x=np.asarray(self.layers), title=title, x_axis="layer", y_axis=axis)


def circle_patching(
    model: ModelLike,
    pairs: Pairs,
    *,
    on: StrLike = "start",
    layers: LayersLike | None = None,
    probe: StrLike = "fitted",
    components: IntLike | None = None,
    modes: Sequence[str] = WANTED,
    progress: BoolLike = True,
) -> CirclePatching:
    r"""$m = \mathbb E_{i,\, t \ne v_i} \big[\text{logit}_{c} - \text{logit}_{c'}\big]$ after the state of prompt i is set to the angle of t.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860). In each layer a circular probe is fitted on the states of
    all prompts after that layer, at one token. Then each prompt continues with every other value of the variable set
    there, in each of the modes of `circle_edit`. c is the answer of the prompt, c' the answer for the new value.

    **Arguments:**

    - `model`: a model, with or without edits.
    - `pairs`: prompts of `ji.tasks.calendar`; all of them, so that each donor is among them.
    - `on`: "start" sets the name that the prompt begins with, at its token; a donor is the prompt with the same
      count. "answer" sets the answer, at the last token; a donor is the prompt with this answer and the count 3.
    - `layers`: the layers after which the stream is set; all by default.
    - `probe`: "fitted" (the default), which is `circular_probe` of the variable; or "regression", for the answer, which
      is the probe of `circle_explanation`.
    - `components`: principal components of the probe; 5 by default, 20 for "regression". With p - 1 components, for p
      values, a probe reads the values in any order as a circle: see `circle_test`.
    - `modes`: modes of `circle_edit`; all but "published" and "in_place" by default.
    - `progress`: whether a progress bar is shown after two seconds; True by default.

    **Returns:** `CirclePatching`. Targets whose donor is not among the prompts are left out of "donor" and "subspace".

    **Raises:** ValueError for pairs of another task, fewer prompts than a probe needs, and other modes or layers.

    ```python
    names = ("North", "East", "South", "West")          # each is one token; see `ji.tasks.calendar` for weekdays
    numbers = [f"{a}{b}" for a in ("", " ") for b in ("One", "Two", "Three", "Four", "after", "is", *names)]
    words = ji.tasks.Words(numbers)
    pairs = ji.tasks.calendar(words, 16, key=key, names=names, template="{COUNT} after {START} is")
    ji.geometry.circle_patching(model, pairs, on="start", layers=[1], components=2).figure()
    ```

    Laws: each cell is the result of one run with `circle_edit`; "donor" at the first layer on "start" gives the logits
    of the donor; padding changes nothing.
    """
    check_choice(on, "on", ON)
    if not {"start", "count", "answer", "answers"} <= set(pairs.about):
        raise ValueError(
            "circle_patching takes pairs of ji.tasks.calendar: ji.tasks.calendar(tokenizer, 49, key=jax.random.key(0))."
        )
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    for mode in modes:
        check_choice(mode, "modes", MODES)
    count = config_of(model).layers
    chosen = [int(i) for i in np.atleast_1d(np.arange(count)[slice(None) if layers is None else layers])]
    check_choice(probe, "probe", ("fitted", "regression"))
    if probe == "regression" and on != "answer":
        raise ValueError(
            "The regression's probe is of the answer: ji.geometry.circle_patching(model, pairs, on='answer', probe='regression')."
        )
    wanted = (5 if probe == "fitted" else 20) if components is None else components
    k, n = as_int(wanted, "components", 2), len(pairs)
    value = pairs.about[on]
    if n <= k + 1 or len(set(value.tolist())) < 3:
        raise ValueError(
            f"A probe of {k} components needs more than {k + 1} prompts with three values of {on!r} or more; got {n} "
            f"with {len(set(value.tolist()))}. Give all prompts: ji.tasks.calendar(tokenizer, 49, key=...)."
        )
    ids, p = pairs.about["answers"], pairs.about["answers"].shape[1]
    moved = (np.arange(p)[None] + pairs.about["count"][:, None]) % p
    new = np.take_along_axis(ids, moved, 1) if on == "start" else ids
    donors = _donors(pairs, on, p)
    where = jnp.asarray(pairs.positions[ON[on]])
    tokens, mask = jnp.asarray(pairs.clean), None if pairs.mask.all() else jnp.asarray(pairs.mask)
    logits, acts = run(model, tokens, capture=["resid_post"], mask=mask, logits=-1)
    stream = acts["resid_post"]
    jobs = [(i, o) for i, mode in enumerate(modes) for o in range(1, p if mode in TURNED + GIVEN else 2)]
    which, offset = (jnp.asarray(column, jnp.int32) for column in zip(*jobs, strict=True))
    given = jnp.asarray(value, jnp.int32), jnp.asarray(np.maximum(donors, 0)), jnp.asarray(new)
    found, r2 = [], []
    for layer in watched(chosen, len(chosen), "circle_patching", as_bool(progress, "progress"), unit="layer"):
        at = jnp.int32(layer)
        x = jnp.take_along_axis(stream[layer], where[:, None, None], 1)[:, 0].astype(jnp.float32)
        if probe == "fitted":
            fitted = fit_circle(x, 2 * jnp.pi * jnp.asarray(value, jnp.float32) / p, k)
        else:
            parts = (pairs.about[name] for name in ("start", "count", "answer"))
            fitted = circle_explanation(x, *parts, period=p, components=k).probe
        one = _layer(model, stream[layer], at, x, fitted, where, mask, given, (which, offset), modes)
        found.append(np.asarray(one))
        r2.append(np.asarray(fitted.r2))
    scores = np.stack(found)  # (layer, job, prompt, value): the logit of the answer of each value
    rows = np.arange(n)
    before = np.take_along_axis(np.asarray(logits.reshape(n, -1), np.float32), new, 1)
    others = np.arange(p)[None] != value[:, None]
    unpatched = (before[rows, value][:, None] - before)[others].mean()
    effect, low, high, hits = (np.full((len(modes), len(chosen)), np.nan) for _ in range(4))
    for i, mode in enumerate(modes):
        part = scores[:, np.asarray(which) == i]
        target = (value[:, None] + np.arange(1, p)) % p  # (prompt, offset)
        there = donors[rows[:, None], target] >= 0 if mode in GIVEN else np.ones(target.shape, bool)
        part = np.broadcast_to(part, (len(chosen), p - 1, n, p))
        old = part[:, :, rows, value].transpose(0, 2, 1)
        fresh = part.transpose(0, 2, 1, 3)[:, rows[:, None], np.arange(p - 1)[None], target]
        lead = fresh >= part.max(-1).transpose(0, 2, 1)
        kept = there.any(1)
        means = np.stack(
            [np.where(there, z, 0).sum(-1)[:, kept] / there.sum(1)[kept] for z in (old - fresh, lead)]
        )
        ends = mean_interval(means[0])
        effect[i], low[i], high[i], hits[i] = ends.mean, ends.low, ends.high, means[1].mean(-1)
    return CirclePatching(effect, low, high, hits, float(unpatched), np.stack(r2), modes, tuple(chosen), n)


def _donors(pairs: Pairs, on: str, p: int) -> np.ndarray:
    """The prompt whose state each value takes, `(prompt, value)`; -1 where there is none."""
    start, count, answer = (pairs.about[name] for name in ("start", "count", "answer"))
    found = np.full((len(pairs), p), -1)
    for t in range(p):
        if on == "start":
            same = (start[None] == t) & (count[None] == count[:, None])
        else:
            same = np.broadcast_to((answer == t) & (count == 3), (len(pairs),) * 2)
        found[:, t] = np.where(same.any(1), same.argmax(1), -1)
    return found


@eqx.filter_jit
def _layer(
    model: ModelLike,
    stream: Array,
    layer: Array,
    x: Array,
    probe: CircularProbe,
    where: Array,
    mask: Array | None,
    given: tuple[Array, Array, Array],
    jobs: tuple[Array, Array],
    modes: tuple[str, ...],
) -> Array:
    value, donors, new = given
    p, n = new.shape[1], len(stream)
    here = (jnp.arange(stream.shape[1])[None] == where[:, None])[..., None]

    def job(one: tuple[Array, Array]) -> Array:
        target = (value + one[1]) % p
        donor = x[donors[jnp.arange(n), target]]
        angle = 2 * jnp.pi * target.astype(jnp.float32) / p
        states = jnp.stack([circle_state(mode, x, probe, angle, donor) for mode in modes])
        state = jnp.take(states, one[0], axis=0).astype(stream.dtype)
        patched = jnp.where(here, state[:, None], stream)
        logits, _ = resume(model, patched, layer + 1, mask=mask, logits=-1)
        return jnp.take_along_axis(logits.reshape(n, -1), new, 1).astype(jnp.float32)

    return jax.lax.map(job, jobs)
