r"""Many dictionaries on one stream in one program: seeds, settings, rates and sizes side by side."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...core._check import check_key
from ...data._identity import optimizer_print
from ..files._origin import with_origin
from ._batches import Batches
from ._loop import History, Run, drive
from ._members import Member, grouped
from ._request import about, check_counts, check_kind, check_rows
from ._stack import several


def sweep(
    key: Any,
    kinds: Any,
    stream: Any,
    optimizers: Any = None,
    *,
    steps: int,
    batch: int = 4096,
    seeds: Sequence[int] | None = None,
    rates: Sequence[float | int] | None = None,
    average: float | int | None = None,
    together: int = 16,
    every: int = 0,
    evaluate: Any = None,
    callback: Callable[[int, Any], Any] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: Literal["same", "force"] = "same",
    sample: int = 32_768,
    progress: bool = True,
) -> Any:
    r"""$\min_{\theta_i} \mathbb E_x L_i(x; \theta_i)$ for many i, every batch read once for all of them.

    Members of one kind are stacked and run as one (`vmap`): other coefficients are other numbers, a
    smaller k is a mask of the largest, and a smaller dictionary hides the features it does not have.
    Members that differ in more (the kind, a warm-up, nested groups) run side by side in one program.

    **Arguments:**

    - `key`, `stream`, `steps`, `batch`, `average`, `together`, `sample`: as in `train`.
    - `kinds`: a list of kinds; or one, for the members that `seeds`, `rates` or `optimizers` name.
      A dict from site to such a list (or kind) trains on many sites of one forward pass: `stream` is
      then a dict of arrays, has `batch(i)` that gives a dict, or is `ji.data.stream(..., site=[...])`.
    - `optimizers`: one of optax for all, or a list; by default each kind's own recipe. Members with
      the same object share one update: prefer `rates` to a list of optimisers that differ in the rate.
    - `seeds`: weights of member i come from `jax.random.fold_in(key, seeds[i])`; without seeds all
      begin from the key, as `train` does.
    - `rates`: member i's updates are multiplied by `rates[i]`, `optax.chain(optimizer, optax.scale(rate))`.
    - `every`, `evaluate(sae, step)`, `checkpoint`, `checkpoint_every`, `resume`: as in `train`, for each member; of
      many sites `evaluate` may be a dict from site to function. `callback(step, numbers)` gets a dict of
      numbers for each member, in a list (of many sites, a dict of lists).

    **Returns:** a list of `(sae, history)`, or of a dict of kinds a dict of such lists. A member that
    diverges has NaN in its history and harms no other.

    **Raises:** ValueError where the numbers of members differ, and as `train`.

    ```python
    x = jax.random.normal(jax.random.key(0), (4096, 32))
    kinds = [ji.sae.TopK(d=32, features=64, k=k) for k in (2, 4, 8)]
    found = ji.sae.sweep(jax.random.key(1), kinds, x, steps=50, batch=256, progress=False)
    [(sae.k, float(history["reconstruction"][-1])) for sae, history in found]
    ```

    Laws: each member is what `train` gives for it alone, to 1e-5; a sweep that was killed and begun
    again ends with the weights of one that was not.
    """
    by_site = kinds if isinstance(kinds, Mapping) else {None: kinds}
    streams = _streams(stream, list(by_site)) if isinstance(kinds, Mapping) else {None: stream}
    check_counts(steps=steps, batch=batch, together=together, every=every, checkpoint_every=checkpoint_every)
    members: list[Member] = []
    records = []
    _, later = jax.random.split(check_key(key, "ji.sae.sweep({}, kinds, stream, ...)"))
    seed = int(np.asarray(jax.random.key_data(later)).ravel()[-1])
    batches = {site: Batches(given, batch, seed) for site, given in streams.items()}
    for site, some in by_site.items():
        x, y = batches[site].sample(sample)
        rows = len(batches[site].first()[0])
        for one in _members(some, optimizers, seeds, rates):
            check_kind(one.kind)
            check_rows(one.kind, x)
            own = about(one.kind, steps, rows, seed, average)
            one.begin(key, site, jnp.asarray(x), jnp.asarray(y), rows, steps)
            members.append(one)
            records.append({**own, "site": site, "weights": one.seed, "rate": one.rate})
    known = (
        {}
        if checkpoint is None
        else {
            "data": {str(site): some.described() for site, some in batches.items()},
            "optimizer": _optimizers(members, steps),
        }
    )
    run = Many(members, batches, steps, average, later, sample, isinstance(kinds, Mapping))
    histories = drive(
        run,
        steps=steps,
        together=together,
        every=every,
        evaluate=evaluate,
        callback=callback,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
        about={"members": len(records), "sweep": records, **known},
        resume=resume,
    )
    origins = {site: some.origin() for site, some in batches.items()}
    made = lambda i, site: with_origin(run.result(i), origins[site])
    sites = enumerate(zip(run.sites, histories, strict=True))
    return run.form([(made(i, site), history) for i, (site, history) in sites])


class Many(Run):
    """A run of stacks; `state` is a list, a `State` of each."""

    name = "sweep"

    def __init__(
        self,
        members: list[Member],
        batches: dict[Any, Batches],
        steps: int,
        average: Any,
        key: Any,
        sample: int,
        by_site: bool,
    ) -> None:
        self.groups = grouped(members)
        where = {id(m): (g, i) for g, group in enumerate(self.groups) for i, m in enumerate(group.members)}
        self.members = [where[id(one)] for one in members]
        self.sites = [one.site for one in members]
        self.by_site, self.batches, self.key, self.rows = by_site, batches, key, sample
        self.renewals = {n for group in self.groups for n in group.kind.renewals}
        self.state = [group.begin(average) for group in self.groups]
        arrays = {
            site: None if b.arrays is None else tuple(jnp.asarray(a) for a in b.arrays)
            for site, b in batches.items()
        }
        decay = jnp.float32(0 if average is None else average)
        self.fixed = tuple(group.settings() for group in self.groups), arrays, steps, decay

    def fetch(self, start: int, end: int) -> Any:
        found: dict[Any, Any] = {site: [] for site in self.batches}
        for i in range(start, end):
            for site, b in self.batches.items():
                found[site].append((b.rows(i),) * 2 if b.arrays is not None else b.get(i))
        out = {}
        for site, pairs in found.items():
            same = all(x is y for x, y in pairs)
            xs = jnp.stack([jnp.asarray(x) for x, _ in pairs])
            out[site] = xs, None if same else jnp.stack([jnp.asarray(y) for _, y in pairs])
        return out

    def renew(self, step: int) -> None:
        for i, group in enumerate(self.groups):
            if step in group.kind.renewals:
                x, _ = self.batches[group.site].sample(self.rows)
                key = jax.random.fold_in(self.key, step)
                self.state[i] = group.again(self.state[i], key, jnp.asarray(x))

    def advance(self, start: int, end: int, data: Any) -> list[History]:
        self.state, told = several(self.fixed, self.state, data)
        numbers = [{name: np.asarray(v) for name, v in some.items()} for some in told]
        if not any(np.isfinite(some["loss"]).all(0).any() for some in numbers):
            raise ValueError(
                f"No member's loss is finite between steps {start} and {end}. Either the stream "
                "holds NaN or infinity (check np.isfinite(batch).all()), or all rates are too high."
            )
        return numbers

    def result(self, member: int) -> Any:
        stack, i = self.members[member]
        assert i is not None
        return self.groups[stack].result(self.state[stack], i)

    def form(self, each: list[Any]) -> Any:
        if not self.by_site:
            return each
        return {
            site: [e for s, e in zip(self.sites, each, strict=True) if s == site]
            for site in dict.fromkeys(self.sites)
        }


def _members(kinds: Any, optimizers: Any, seeds: Any, rates: Any) -> list[Member]:
    lists = {
        "kinds": list(kinds) if isinstance(kinds, list | tuple) else None,
        "optimizers": optimizers if isinstance(optimizers, list) else None,
        "seeds": None if seeds is None else list(seeds),
        "rates": None if rates is None else list(rates),
    }
    counts = {name: len(some) for name, some in lists.items() if some is not None}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(
            f"A sweep has as many of each as it has members, at least one; got {counts}. For every "
            "pair of two settings list the pairs: kinds = [TopK(..., k=k) for k in ks for _ in seeds]."
        )
    count = next(iter(counts.values()), 1)
    one = {"kinds": kinds, "optimizers": optimizers, "seeds": None, "rates": None}
    full = [lists[n] if lists[n] is not None else [one[n]] * count for n in one]
    return [Member(*each) for each in zip(*full, strict=True)]


def _optimizers(members: list[Member], steps: int) -> list[list[float]]:
    """What each member's optimiser does; tried once for members that share it."""
    tried: dict[Any, list[float]] = {}
    found = []
    for one in members:
        same = id(one.plain), one.signature
        if same not in tried:
            weights = eqx.filter(one.sae, one.sae.trainable())
            tried[same] = optimizer_print(one.plain, weights, steps)
        found.append(tried[same])
    return found


def _streams(stream: Any, sites: list[Any]) -> dict[Any, Any]:
    """A stream for each site, of one that gives all of them."""
    if isinstance(stream, Mapping):
        there = list(stream)
        made = lambda site: stream[site]
    elif callable(getattr(stream, "batch", None)):
        names = getattr(stream, "site", None)
        ask = functools.lru_cache(2)(stream.batch)  # each batch is asked for once per site
        first = ask(0)
        if not isinstance(first, Mapping) and isinstance(names, list | tuple):
            order = {name: i for i, name in enumerate(names)}
        else:
            order = {name: name for name in first} if isinstance(first, Mapping) else {}
        there = list(order)
        own: Any = getattr(stream, "described", None)

        tell = lambda site: {} if own is None else {"described": lambda: {**own(), "site": site}}
        made = lambda site: SimpleNamespace(batch=lambda i: ask(i)[order[site]], **tell(site))
    else:
        there, made = [], None
    missing = [site for site in sites if site not in there]
    if missing:
        raise ValueError(
            f"The stream has no site {missing[0]!r}; it has {there}. Give a dict of arrays, an object "
            'whose batch(i) is a dict, or ji.data.stream(model, tokens, site=["resid_post[1]", ...]).'
        )
    return {site: made(site) for site in sites}  # pyright: ignore[reportOptionalCall]
