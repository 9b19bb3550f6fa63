"""How a sweep is cut to fit into `max_bytes`: on the host, from shapes alone; nothing is compiled."""

import re
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.patching._grid import make_grid
from jaxinterp.patching._pairs import make_pair
from jaxinterp.patching.packed._plan import plan
from jaxinterp.patching.packed._sweep import _suffixes, read_columns

MODEL, _ = ji.load("tiny")


def planned(site: str, over: tuple[str, ...], shape: tuple[int, int], max_bytes: Any) -> Any:
    clean, corrupt = np.random.default_rng(0).integers(1, 3000, (2, *shape)).astype(np.int32)
    pair = make_pair(MODEL, clean, corrupt, None, "denoise")
    grid, read = make_grid(site, over, pair), read_columns(pair.metric(ji.metrics.logit_diff(3, 4)), pair)
    return plan(grid, pair, *_suffixes(pair, grid, read, None), read.shape[-1], max_bytes)


@pytest.mark.quick
@pytest.mark.parametrize("shape", [(1, 8), (8, 32), (5, 40)])
@pytest.mark.parametrize(("site", "over"), [("mlp_post", ("layer", "pos")), ("z", ("layer", "head"))])
def test_the_memory_that_an_error_names_suffices(
    site: str, over: tuple[str, ...], shape: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="Raise max_bytes") as refused:
        planned(site, over, shape, 1)
    least = int(re.findall(r"max_bytes=(\d+)", str(refused.value))[0])
    found = planned(site, over, shape, least)
    assert sorted(set(found.order)) == list(range(len(set(found.order)))) and len(found.jobs) > 1
    with pytest.raises(ValueError, match=f"needs at least .*max_bytes={least}"):
        planned(site, over, shape, least - 1)


@pytest.mark.quick
def test_more_memory_is_fewer_or_larger_pieces() -> None:
    sizes = [2**23, 2**24, 2**26, "auto"]
    rows = [planned("resid_pre", ("layer", "pos"), (8, 32), size) for size in sizes]
    assert [len(one.jobs) for one in rows] == sorted((len(one.jobs) for one in rows), reverse=True)
    assert len(rows[-1].jobs) == 1
