"""Dictionaries as a run of the training loop: what they read, and how they are renewed and returned."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...fit._loop import Run
from ...fit._state import State
from ...typing import KeyLike, PyTree
from ._batches import Batches
from ._members import Group, Member
from ._resample import resample
from ._state import Counts, DictionaryTask


class SiteRows(eqx.Module):
    """Inside the program: inputs and targets of each site, from rows or from row numbers.

    - `arrays`: for each site (inputs,) or (inputs, targets) that stay on the device, or None.
    """

    arrays: Mapping[Any, tuple[Array, ...] | None]

    def __call__(self, entry: PyTree) -> dict[Any, tuple[Array, Array]]:
        found = {}
        for site, own in entry.items():
            arrays = self.arrays[site]
            if arrays is None:
                x, y = own
            else:
                x, y = arrays[0][own], arrays[1][own] if len(arrays) > 1 else None
            found[site] = x, x if y is None else y
        return found


def site_rows(batches: Mapping[Any, Batches], *, resident: bool = True) -> SiteRows:
    """What `entry` needs: arrays in memory stay on the device where they are `resident`."""
    return SiteRows(
        {
            site: tuple(jnp.asarray(a) for a in b.arrays) if resident and b.arrays is not None else None
            for site, b in batches.items()
        }
    )


def entry(batches: Mapping[Any, Batches], read: SiteRows, number: int) -> dict[Any, Any]:
    """The data of one step: of each site row numbers, or inputs with targets (None: the inputs)."""
    found = {}
    for site, b in batches.items():
        if read.arrays[site] is not None:
            found[site] = b.rows(number)
        else:
            x, y = b.get(number)
            found[site] = x, None if x is y else y
    return found


class DictionaryRun(Run):
    """A run of one dictionary.

    - `source`: where `sample_rows` rows are read for resampling.
    - `key`: folded with the step, for resampling.
    - `options`: those of `Run`.
    """

    def __init__(
        self,
        task: DictionaryTask,
        state: State,
        source: Batches,
        *,
        key: KeyLike,
        sample_rows: int,
        name: str,
        **options: Any,
    ) -> None:
        self.source, self.key, self.sample_rows = source, key, sample_rows
        read = site_rows({None: source}, resident=options.get("mesh") is None)
        super().__init__(
            name, [task], [state], functools.partial(entry, {None: source}, read), read=read, **options
        )

    def renew(self, step: int) -> None:
        """Draws dead features anew from a sample of the data."""
        (state,), (task,) = self.states, self.tasks
        assert isinstance(task, DictionaryTask)
        x, _ = self.source.sample(self.sample_rows)
        dead = state.extra.silent >= task.dead_after
        key = jax.random.fold_in(self.key, step)
        sae, memory = resample(state.params, state.optimizer_state, dead, jnp.asarray(x), key=key)
        counts = Counts(jnp.where(dead, 0, state.extra.silent))
        self.states = [State(sae, memory, state.step, counts, state.average)]

    def result(self, member: int) -> Any:
        """The dictionary as it is now."""
        sae = self.params(member)
        return sae if self.states[0].average is None else sae.kind.project(sae)


class SweepRun(Run):
    """A run of stacks of dictionaries.

    - `members`: the members in the order of the caller.
    - `groups`: the stacks of these members.
    - `sources`: for each site where its rows are read.
    - `by_site`: whether results are a list for each site.
    """

    def __init__(
        self,
        members: Sequence[Member],
        groups: Sequence[Group],
        sources: Mapping[Any, Batches],
        *,
        by_site: bool,
        key: KeyLike,
        sample_rows: int,
        decay: float | int | None,
    ) -> None:
        self.groups, self.sources, self.by_site = list(groups), sources, by_site
        self.key, self.sample_rows = key, sample_rows
        places = {id(one): (g, i) for g, group in enumerate(groups) for i, one in enumerate(group.members)}
        read = site_rows(sources)
        super().__init__(
            "sweep",
            [group.task for group in groups],
            [group.begin(decay is not None) for group in groups],
            functools.partial(entry, sources, read),
            read=read,
            members=[places[id(one)] for one in members],
            labels=[one.site for one in members],
            decay=decay,
            renewals={step for group in groups for step in group.renewals},
        )

    def renew(self, step: int) -> None:
        """Draws dead features of the members of a kind anew, from a sample of its site."""
        for i, group in enumerate(self.groups):
            if step in group.renewals:
                x, _ = self.sources[group.site].sample(self.sample_rows)
                key = jax.random.fold_in(self.key, step)
                self.states[i] = group.renew(self.states[i], key, jnp.asarray(x))

    def result(self, member: int) -> Any:
        """A dictionary as it is now, cut to its size."""
        stack, i = self.members[member]
        assert i is not None
        return self.groups[stack].result(self.states[stack], i)

    def arranged(self, values: list[Any]) -> Any:
        """A list, or a list for each site."""
        if not self.by_site:
            return values
        return {
            site: [v for s, v in zip(self.labels, values, strict=True) if s == site]
            for site in dict.fromkeys(self.labels)
        }
