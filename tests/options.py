"""Options of a training, written flat and given as `ji.fit.Settings` where they belong to it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxinterp import fit

FIELDS = {field.name for field in dataclasses.fields(fit.Settings)}


def how(options: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """`steps` and so on as they are, and all fields of `ji.fit.Settings` as `settings`; quiet by default."""
    flat = {"progress": False, **(options or {}), **more}
    settings = fit.Settings(**{name: value for name, value in flat.items() if name in FIELDS})
    return {**{name: value for name, value in flat.items() if name not in FIELDS}, "settings": settings}
