r"""Many dictionaries on one stream in one program: seeds, settings, rates and sizes side by side."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ._batches import Batches
from ._constraint import unit_rows
from ._dictionary import Moment, unit
from ._resample import resample
from ._state import State, follow, slopes, trained
from ._topk import TopK
from ._train import _check, _check_width, _stops


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

    **Returns:** a list of `(sae, history)`, or of a dict of kinds a dict of such lists. A member that
    diverges has NaN in its history and harms no other.

    **Raises:** ValueError where the numbers of members differ, and as `train`.

    ```python
    x = jax.random.normal(jax.random.key(0), (4096, 32))
    kinds = [ji.sae.TopK(d=32, features=64, k=k) for k in (2, 4, 8)]
    found = ji.sae.sweep(jax.random.key(1), kinds, x, steps=50, batch=256, progress=False)
    [(sae.k, float(history["reconstruction"][-1])) for sae, history in found]
    ```

    Law: each member is what `train` gives for it alone, to 1e-5.
    """
    by_site = kinds if isinstance(kinds, Mapping) else {None: kinds}
    streams = _streams(stream, list(by_site)) if isinstance(kinds, Mapping) else {None: stream}
    members: list[_Member] = []
    _, later = jax.random.split(key)
    seed = int(np.asarray(jax.random.key_data(later)).ravel()[-1])
    batches = {site: Batches(given, batch, seed) for site, given in streams.items()}
    for site, some in by_site.items():
        x, y = batches[site].sample(sample)
        rows = batch if batches[site].arrays is not None else len(x)
        for one in _members(some, optimizers, seeds, rates):
            _check(one.kind, steps, batch, together, 0)
            _check_width(one.kind, x)
            one.begin(key, site, jnp.asarray(x), jnp.asarray(y), rows, steps)
            members.append(one)
    groups = _groups(members)
    told = _run(groups, batches, steps, together, average, later, sample, progress)
    results = {}
    for group, numbers in zip(groups, told, strict=True):
        for i, one in enumerate(group.members):
            results[id(one)] = group.result(i), {n: v[:, i] for n, v in numbers.items()}
    found: dict[Any, list[Any]] = {site: [] for site in by_site}
    for one in members:
        found[one.site].append(results[id(one)])
    return found if isinstance(kinds, Mapping) else found[None]


class _Member:
    """One dictionary of a sweep."""

    def __init__(self, kind: Any, optimizer: Any, seed: int | None, rate: float | int | None):
        self.kind, self.optimizer, self.seed, self.rate = kind, optimizer, seed, rate

    def begin(self, key: Any, site: Any, x: Any, y: Any, rows: int, steps: int) -> None:
        first = jax.random.split(key)[0]
        first = first if self.seed is None else jax.random.fold_in(key, self.seed)
        kind = self.kind
        self.site, self.dead_after = site, kind.dead_after(rows)
        new = isinstance(kind.encoder, jax.ShapeDtypeStruct)
        self.sae = kind.initialise(first, x, y) if new else kind
        transform = kind.optimizer(steps) if self.optimizer is None else self.optimizer
        transform = transform if self.rate is None else _rated(transform)
        self.transform = unit_rows(transform) if kind.UNIT else transform

    @property
    def signature(self) -> Any:
        """What members of one stack have in common."""
        kind = self.kind
        free = {"dead_tokens"} | ({"k"} if isinstance(kind, TopK) else set())
        fields = [f.name for f in dataclasses.fields(kind) if f.metadata.get("static")]
        settings = tuple((n, getattr(kind, n)) for n in fields if n not in free)
        # The draw of resampling depends on the number of features.
        size = kind.features if getattr(kind, "resample", ()) else None
        rest = tuple(kind.encoder.shape[:-1]), tuple(kind.decoder.shape[-1:]), size
        return self.site, type(kind), settings, rest, self.rate is None


class _Group:
    """Members of one stack: their state, and what tells them apart."""

    def __init__(self, members: list[_Member]) -> None:
        order = {id(one.transform): i for i, one in reversed(list(enumerate(members)))}
        self.members = sorted(members, key=lambda one: order[id(one.transform)])
        self.site = members[0].site
        largest = max(self.members, key=lambda one: one.sae.features).sae
        self.kind = jax.tree.map(lambda leaf: leaf, largest)
        limit = live = None
        sizes = np.asarray([one.sae.features for one in self.members])
        if isinstance(largest, TopK):
            limits = np.asarray([one.sae.k for one in self.members])
            object.__setattr__(self.kind, "k", int(limits.max()))
            limit = jnp.asarray(limits, jnp.int32) if len(set(limits)) > 1 else None
        if len(set(sizes)) > 1:
            live = jnp.arange(sizes.max())[None] < jnp.asarray(sizes)[:, None]
        after = jnp.asarray([one.dead_after for one in self.members], jnp.int32)
        self.apart = after, limit, live
        cuts, self.transforms = [0], []
        for i, one in enumerate(self.members):
            if not i or one.transform is not self.members[i - 1].transform:
                self.transforms.append(one.transform)
                cuts[-1:] = [i, i]
            cuts[-1] = i + 1
        self.cuts = tuple(cuts)

    def begin(self, average: Any) -> State:
        named = [
            [leaf for _, leaf in jax.tree_util.tree_leaves_with_path(one.sae)]
            for one in self.members
        ]
        paths = jax.tree_util.tree_leaves_with_path(self.kind)
        leaves = [
            jnp.stack([_padded(jax.tree_util.keystr(path), row[i], like) for row in named])
            for i, (path, like) in enumerate(paths)
        ]
        sae = jax.tree.unflatten(jax.tree.structure(self.kind), leaves)
        params, _ = eqx.partition(sae, trained(sae))
        moments = []
        for i, transform in enumerate(self.transforms):
            here = slice(self.cuts[i], self.cuts[i + 1])
            state = jax.vmap(transform.init)(_cut(params, here))
            if self.members[here.start].rate is not None:
                state = state[0], jnp.asarray([m.rate for m in self.members[here]], jnp.float32)
            moments.append(state)
        silent = jnp.zeros((len(self.members), *self.kind.encoder_bias.shape), jnp.int32)
        average = None if average is None else jax.tree.map(jnp.copy, params)
        return State(sae, tuple(moments), silent, average, jnp.zeros((), jnp.int32))

    def settings(self) -> Any:
        """For `several`: what is fixed."""
        return self.site, tuple(self.transforms), self.cuts, self.apart

    def result(self, i: int) -> Any:
        """Member i, cut to its size."""
        own = self.members[i].sae
        state = self.last
        sae = state.sae if state.average is None else eqx.combine(state.average, state.sae)
        pairs = zip(jax.tree.leaves(sae), jax.tree.leaves(own), strict=True)
        leaves = [a[(i, *(slice(n) for n in b.shape))] for a, b in pairs]
        found = jax.tree.unflatten(jax.tree.structure(own), leaves)
        if state.average is not None and own.UNIT:
            found = eqx.tree_at(lambda s: s.decoder, found, unit(found.decoder))
        return found

    last: Any = None

    def again(self, key: Any, x: Any) -> None:
        """Dead features of all members drawn anew."""
        state, after = self.last, self.apart[0]
        dead = state.silent >= after[:, None]
        made = []
        for i, moments in enumerate(state.moments):
            here = slice(self.cuts[i], self.cuts[i + 1])
            draw = eqx.filter_vmap(resample, in_axes=(None, 0, 0, 0, None))
            made.append(draw(key, _cut(state.sae, here), moments, dead[here], x))
        sae = jax.tree.map(lambda *parts: jnp.concatenate(parts), *(sae for sae, _ in made))
        silent = jnp.where(dead, 0, state.silent)
        self.last = State(sae, tuple(m for _, m in made), silent, state.average, state.step)


def _cut(tree: Any, here: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[here], tree)


def _padded(name: str, leaf: Any, like: Any) -> Any:
    """A leaf with the shape of the largest; rows of the decoder that are not there have norm 1."""
    short = [(0, n - m) for n, m in zip(like.shape, leaf.shape, strict=True)]
    value = leaf.shape[-1] ** -0.5 if name == ".decoder" else 0
    return jnp.pad(leaf, short, constant_values=value) if any(b for _, b in short) else leaf


@functools.lru_cache(32)
def _rated(transform: Any) -> Any:
    """The transform with its updates multiplied by a number that is kept in its state."""

    def init(params: Any) -> Any:
        return transform.init(params), jnp.ones(())

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        updates, inner = transform.update(updates, state[0], params)
        return jax.tree.map(lambda u: u * state[1], updates), (inner, state[1])

    return optax.GradientTransformation(init, update)


def _members(kinds: Any, optimizers: Any, seeds: Any, rates: Any) -> list[_Member]:
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
    return [_Member(*each) for each in zip(*full, strict=True)]


def _groups(members: list[_Member]) -> list[_Group]:
    found: dict[Any, list[_Member]] = {}
    for one in members:
        found.setdefault(one.signature, []).append(one)
    return [_Group(some) for some in found.values()]


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
        made = lambda site: SimpleNamespace(batch=lambda i: ask(i)[order[site]])
    else:
        there, made = [], None
    missing = [site for site in sites if site not in there]
    if missing:
        raise ValueError(
            f"The stream has no site {missing[0]!r}; it has {there}. Give a dict of arrays, an object "
            'whose batch(i) is a dict, or ji.data.stream(model, tokens, site=["resid_post[1]", ...]).'
        )
    return {site: made(site) for site in sites}  # pyright: ignore[reportOptionalCall]


def _run(
    groups: list[_Group], batches: dict[Any, Batches], steps: int, together: int, average: Any,
    key: Any, sample: int, progress: bool,
) -> list[dict[str, np.ndarray]]:  # fmt: skip
    for group in groups:
        group.last = group.begin(average)
    arrays = {
        site: None if b.arrays is None else tuple(jnp.asarray(a) for a in b.arrays)
        for site, b in batches.items()
    }
    decay = jnp.float32(0 if average is None else average)
    fixed = tuple(group.settings() for group in groups), arrays, steps, decay
    due = {group.site: set(getattr(group.kind, "resample", ())) for group in groups}
    stops = sorted(set().union(*due.values()))
    ends = _stops(0, steps, together, 0, None, SimpleNamespace(resample=stops))

    def fetch(start: int, end: int) -> Any:
        found: dict[Any, Any] = {site: [] for site in batches}
        for i in range(start, end):
            for site, b in batches.items():
                found[site].append((b.rows(i),) * 2 if b.arrays is not None else b.get(i))
        out = {}
        for site, pairs in found.items():
            same = all(x is y for x, y in pairs)
            xs = jnp.stack([jnp.asarray(x) for x, _ in pairs])
            out[site] = xs, None if same else jnp.stack([jnp.asarray(y) for _, y in pairs])
        return out

    told: list[dict[str, list[np.ndarray]]] = [{} for _ in groups]
    from tqdm.auto import tqdm

    with (
        ThreadPoolExecutor(1) as ahead,
        tqdm(total=steps, desc="sweep", delay=2.0, disable=not progress) as bar,
    ):
        start, coming = 0, ahead.submit(fetch, 0, ends[0])
        for i, end in enumerate(ends):
            data = coming.result()
            if i + 1 < len(ends):
                coming = ahead.submit(fetch, end, ends[i + 1])
            for group in groups:
                if start and start in getattr(group.kind, "resample", ()):
                    x, _ = batches[group.site].sample(sample)
                    group.again(jax.random.fold_in(key, start), jnp.asarray(x))
            states, numbers = several(fixed, [group.last for group in groups], data)
            finite = False
            for group, state, some, kept in zip(groups, states, numbers, told, strict=True):
                group.last = state
                for name, values in some.items():
                    kept.setdefault(name, []).append(np.asarray(values))
                finite |= bool(np.isfinite(kept["loss"][-1]).all(0).any())
            if not finite:
                raise ValueError(
                    f"No member's loss is finite between steps {start} and {end}. Either the stream "
                    "holds NaN or infinity (check np.isfinite(batch).all()), or all rates are too high."
                )
            bar.update(end - start)
            start = end
    return [{name: np.concatenate(v) for name, v in kept.items()} for kept in told]


@eqx.filter_jit(donate="all-except-first")
def several(fixed: tuple[Any, ...], states: list[State], data: Any) -> Any:
    """As many steps of all groups as there are batches."""
    groups, arrays, steps, decay = fixed

    def one(states: list[State], batch: Any) -> Any:
        read = {}
        for site, (x, y) in batch.items():
            held = arrays[site]
            if held is not None:
                x, y = held[0][x], held[1][x] if len(held) > 1 else None
            read[site] = x, x if y is None else y
        new, told = [], []
        for (site, *group), state in zip(groups, states, strict=True):
            x, y = read[site]
            state, numbers = _advance(group, state, x, y, steps, decay)
            new.append(state)
            told.append(numbers)
        return new, told

    return jax.lax.scan(one, states, data)


def _advance(
    group: Any, state: State, x: Any, y: Any, steps: int, decay: Any
) -> tuple[State, dict[str, Any]]:
    """One step of a stack: gradients under `vmap`, then each optimiser on its members."""
    transforms, cuts, (after, limit, live) = group
    params, fixed = eqx.partition(state.sae, trained(state.sae))
    dead = state.silent >= after.reshape(-1, *[1] * (state.silent.ndim - 1))
    if live is not None:
        dead &= live.reshape(len(live), *[1] * (dead.ndim - 2), -1)
    warm = state.sae.warm(state.step.astype(jnp.float32), steps)
    # One flag for all: under `vmap` a condition of each member's own would compute both sides.
    some = jnp.any(dead)

    def member(params: Any, fixed: Any, dead: Any, limit: Any, live: Any) -> Any:
        return slopes(params, fixed, x, y, Moment(state.step, warm, dead, limit, some), live)

    grads, (told, fired, updates) = jax.vmap(member)(params, fixed, dead, limit, live)
    changes, moments = [], []
    for i, transform in enumerate(transforms):
        here = slice(cuts[i], cuts[i + 1])
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            made = jax.vmap(transform.update)(
                _cut(grads, here), state.moments[i], _cut(params, here)
            )
        changes.append(made[0])
        moments.append(made[1])
    changes = jax.tree.map(lambda *parts: jnp.concatenate(parts), *changes)
    return follow(
        state, params, fixed, changes, tuple(moments), told, fired, updates, dead, decay, live
    )
