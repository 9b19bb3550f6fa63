"""Labels, groups and splits of the rows of a study."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...data import Feature, check_split, split
from ...stats._examples import as_labels
from ...typing import KeyLike
from ._rows import StudyRows


def labelled_rows(rows: StudyRows, labels: Any, data: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name the rows of each feature and its labels, one bool per row."""
    if labels is None:
        if not hasattr(data, "documents"):
            raise ValueError(
                "labels are (row,), or a dict from names to bools (row,). They may be left out "
                "only for a corpus, which has labels."
            )
        labels = data.labels
    everywhere = np.arange(rows.count)
    if not isinstance(labels, Mapping):
        kinds_of = np.asarray(labels)
        if kinds_of.shape != (rows.count,):
            raise ValueError(f"There is one label per row ({rows.count},); got the shape {kinds_of.shape}.")
        # A row without a label belongs to no class, and is no negative of a class either.
        labelled = np.flatnonzero([label is not None for label in kinds_of.tolist()])
        texts = kinds_of[labelled].astype(str)
        kinds = np.unique(texts).tolist()
        if len(kinds) < 2:
            raise ValueError(
                f"A probe needs two classes, and each row has the label {kinds[0] if kinds else None!r}."
            )
        return {kind: (labelled, texts == kind) for kind in kinds}
    out = {}
    for name, one in labels.items():
        if isinstance(one, Feature):
            where = np.searchsorted(rows.index, one.index)
            here = np.minimum(where, rows.count - 1)
            if (rows.index[here] != one.index).any():
                raise IndexError(f"The feature {name!r} has rows that the activations do not have.")
            y = np.asarray(one.labels)
        else:
            where, y = everywhere, np.asarray(one)
            if y.shape != (rows.count,):
                raise ValueError(
                    f"The feature {name!r} has one label per row ({rows.count},); got the shape {y.shape}."
                )
        out[str(name)] = where, as_labels(y, len(where)) > 0
    if not out:
        raise ValueError("Name at least one feature: {'German': labels == 'de'}.")
    return out


def groups_of_rows(rows: StudyRows, groups: Any, data: Any) -> np.ndarray:
    if groups is None:
        if not hasattr(data, "groups"):
            raise ValueError(
                "groups= is the group of each row (row,), such as its document; the split keeps groups "
                "whole. When rows are independent: groups=np.arange(n)."
            )
        groups = data.groups
        if rows.reduce is None:
            groups = groups[rows.index // data.tokens.shape[1]]
    groups = np.asarray(groups)
    if groups.shape != (rows.count,):
        raise ValueError(f"groups has one entry for each row ({rows.count},); got {groups.shape}.")
    return groups


def split_rows(
    groups: np.ndarray,
    where: np.ndarray,
    y: np.ndarray,
    name: str,
    parts: Any,
    test: float | int,
    key: KeyLike,
    all_groups: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Train and test of one feature, as numbers of its own rows."""
    if parts is None:
        try:
            return split(groups, test=test, key=key, labels=y)
        except ValueError as error:
            raise ValueError(f"The feature {name!r}: {error}") from error
    sides = [np.asarray(part) for part in parts]
    if len(sides) != 2:
        raise ValueError("parts is the pair of rows (train, test).")
    check_split(all_groups, *sides)
    marked = [np.zeros(len(all_groups), bool) for _ in sides]
    for mark, side in zip(marked, sides, strict=True):
        mark[side] = True
    return np.flatnonzero(marked[0][where]), np.flatnonzero(marked[1][where])
