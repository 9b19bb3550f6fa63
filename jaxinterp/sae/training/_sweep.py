r"""Many dictionaries on one stream in one program: keys, settings, rates and sizes side by side."""

import functools
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import key_by_name, respelled
from ...core._check import check_key
from ...fit._identity import optimizer_print
from ...fit._loop import drive
from ...fit._rows import seed_of
from ...fit._settings import OPTIONS, SettingsLike, check_counts, check_settings
from ...typing import ActivationsLike, FloatLike, IntLike, KeyLike, KindLike, OptimizerLike
from ..files._origin import with_origin
from ..kinds._dictionary import Dictionary
from ._batches import Batches
from ._members import Member, grouped
from ._request import check_kind, check_rows, described
from ._run import SweepRun
from ._train import PER_DISPATCH, History

Trained: TypeAlias = tuple[Dictionary, History]
"A dictionary and its history."


@key_by_name("ji.sae.sweep(kinds, stream, optimizers, key=key, steps=..., batch_size=...)")
@respelled(**OPTIONS, batch="batch_size=", seeds="keys=[jax.random.fold_in(key, seed) for seed in seeds]")
def sweep(
    kinds: KindLike | Sequence[KindLike] | Mapping[Any, KindLike | Sequence[KindLike]],
    stream: ActivationsLike | Mapping[Any, ActivationsLike],
    optimizers: OptimizerLike | list[OptimizerLike] | None = None,
    *,
    key: KeyLike,
    steps: IntLike,
    batch_size: IntLike = 4096,
    keys: Sequence[KeyLike] | KeyLike | None = None,
    rates: Sequence[FloatLike] | None = None,
    settings: SettingsLike | None = None,
) -> list[Trained] | dict[Any, list[Trained]]:
    r"""$\min_{\theta_i} \mathbb E_x L_i(x; \theta_i)$ for many i: each batch is read once for all of them.

    Members of one kind are stacked and run under one `vmap`. Their coefficients are numbers of the program, a
    smaller k is a mask over the largest k, and in a smaller dictionary the features that it lacks are masked. Members
    that differ in other settings (the kind, a warm-up, nested groups) run side by side in one program.

    **Arguments:**

    - `kinds`: a list of kinds; or one kind, for the members that `keys`, `rates` or `optimizers` name.
      A dict from site to such a list (or kind) trains on many sites of one forward pass: `stream` is
      then a dict of arrays, has `batch(i)` that gives a dict, or is `ji.data.stream(..., site=[...])`.
    - `stream`, `key`, `steps`, `batch_size`: as in `train`.
    - `optimizers`: one optimizer of optax for all members, or a list; by default each kind's own recipe. Members
      with the same object share one update. Use `rates` where optimizers differ only in the rate.
    - `keys`: a list of `jax.random.key`s; the first weights of member i are drawn with `keys[i]`. Without
      keys all members begin with the weights that `train` draws from `key`.
    - `rates`: a list of numbers; the updates of member i are multiplied by `rates[i]`, as by
      `optax.chain(optimizer, optax.scale(rate))`.
    - `settings`: as in `train`, for each member. With many sites `evaluate` may be a dict from site to
      function. `callback(step, numbers)` gets a dict of numbers for each member, in a list (with many
      sites, in a dict of lists).

    **Returns:** a list of `(sae, history)`; with a dict of kinds, a dict of such lists. A member that
    diverges has NaN in its history and harms no other.

    **Raises:** ValueError where the numbers of members differ; the errors of `train`.

    ```python
    x = jax.random.normal(jax.random.key(0), (4096, 32))
    kinds = [ji.sae.TopK(d=32, features=64, k=k) for k in (2, 4, 8)]
    found = ji.sae.sweep(kinds, x, key=jax.random.key(1), steps=50, batch_size=256)
    [(sae.k, float(history["reconstruction"][-1])) for sae, history in found]
    ```

    Laws: each member equals the result of `train` for it alone, to 1e-5; a sweep that was killed and started
    again ends with the weights of one that was not, bit for bit.
    """
    settings = check_settings(settings)
    by_site = kinds if isinstance(kinds, Mapping) else {None: kinds}
    streams = _streams(stream, list(by_site)) if isinstance(kinds, Mapping) else {None: stream}
    check_counts(steps=steps, batch_size=batch_size)
    steps, batch_size = int(steps), int(batch_size)
    members: list[Member] = []
    records = []
    _, later = jax.random.split(check_key(key, "ji.sae.sweep(kinds, stream, key={}, ...)"))
    seed = seed_of(later)
    batches = {site: Batches(own, batch_size, seed) for site, own in streams.items()}
    for site, of_site in by_site.items():
        x, y = batches[site].sample(settings.sample)
        rows = len(batches[site].first()[0])
        for one in _members(of_site, optimizers, keys, rates):
            check_kind(one.kind)
            check_rows(one.kind, x)
            own = described(one.kind, steps, rows, seed, settings.average)
            one.begin(key, site, jnp.asarray(x), jnp.asarray(y), rows, steps)
            members.append(one)
            drawn = None if one.key is None else np.asarray(jax.random.key_data(one.key)).tolist()
            records.append({**own, "site": site, "weights": drawn, "rate": one.rate})
    about: dict[str, Any] = {"members": len(records), "sweep": records}
    if settings.checkpoint is not None:
        about["data"] = {str(site): own.described() for site, own in batches.items()}
        about["optimizer"] = _optimizers(members, steps)
    run = SweepRun(
        members,
        grouped(members, steps),
        batches,
        by_site=isinstance(kinds, Mapping),
        key=later,
        sample_rows=settings.sample,
        decay=settings.average,
    )
    histories = drive(run, settings, steps=steps, per_dispatch=PER_DISPATCH, about=about)
    origins = {site: own.origin() for site, own in batches.items()}
    made = lambda i, site: with_origin(run.result(i), origins[site])
    pairs = enumerate(zip(run.labels, histories, strict=True))
    return run.arranged([(made(i, site), history) for i, (site, history) in pairs])


def _members(kinds: Any, optimizers: Any, keys: Any, rates: Any) -> list[Member]:
    lists = {
        "kinds": list(kinds) if isinstance(kinds, list | tuple) else None,
        "optimizers": optimizers if isinstance(optimizers, list) else None,
        "keys": None
        if keys is None
        else [check_key(k, "ji.sae.sweep(kinds, stream, key=key, keys=[{}], ...)") for k in keys],
        "rates": None if rates is None else list(rates),
    }
    counts = {name: len(each) for name, each in lists.items() if each is not None}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(
            f"A sweep has as many of each as it has members, at least one; got {counts}. For every "
            "pair of two settings list the pairs: kinds = [TopK(..., k=k) for k in ks for _ in keys]."
        )
    count = next(iter(counts.values()), 1)
    one = {"kinds": kinds, "optimizers": optimizers, "keys": None, "rates": None}
    full = [lists[n] if lists[n] is not None else [one[n]] * count for n in one]
    return [Member(*each) for each in zip(*full, strict=True)]


def _optimizers(members: list[Member], steps: int) -> list[list[float]]:
    """What each member's optimizer does; tried once for members that share it."""
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
        ask = functools.lru_cache(2)(stream.batch)  # one batch serves all sites
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
