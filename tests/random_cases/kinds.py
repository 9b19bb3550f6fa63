"""Every kind of case by its name, and how one case is run and compared."""

from collections.abc import Callable

import jax
import numpy as np

from . import calls
from .cases import Case
from .draw import Draw
from .lenses import attribution, lens
from .measures import metrics
from .runs import edits, gradients, positions, resume
from .sweeps import sweep
from .texts import generate

KINDS: dict[str, Callable[[Draw], Case]] = {
    kind.__name__: kind
    for kind in (edits, positions, metrics, lens, attribution, resume, gradients, generate, sweep)
}
# Derivatives in the reference are differences.
TOLERANCES = {"gradients": 1e-6}


class Disagreement(AssertionError):
    """The library and the reference differ."""


def run_case(kind: str, seed: int, group: int, member: int) -> float:
    """The largest error of a case, relative where numbers are large; raises above the tolerance."""
    case = KINDS[kind](Draw(seed, kind, group, member))
    wide = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    tolerance = TOLERANCES.get(kind, 1e-9) if wide else 3e-3
    worst = 0.0
    try:
        result = (calls.traced if case.traced else calls.made)(calls.resolved(case.call))
        for what, found, wanted in case.pairs(result):
            worst = max(worst, _error(what, np.asarray(found), np.asarray(wanted), tolerance))
    except Exception as error:
        case_id = f"--seed {seed} --only {kind} --case {group}.{member}"
        raise Disagreement(
            f"{error}\n\npython -m tests.random_cases {case_id}{'' if wide else ' --float32'}\n\n"
            f"{reproduction(case, wide)}"
        ) from error
    return worst


def _error(what: str, found: np.ndarray, wanted: np.ndarray, tolerance: float) -> float:
    if found.shape != wanted.shape:
        raise Disagreement(f"{what}: the shape is {found.shape}, and must be {wanted.shape}")
    if (np.isnan(found) != np.isnan(wanted)).any():
        raise Disagreement(f"{what}: NaN where the other is a number")
    if not found.size or np.isnan(found).all():
        return 0.0
    error = float(np.nanmax(np.abs(found - wanted)) / max(1.0, np.nanmax(np.abs(wanted))))
    if not error <= tolerance:
        raise Disagreement(f"{what}: off by {error:.1e}\nfound  {_some(found)}\nwanted {_some(wanted)}")
    return error


def _some(x: np.ndarray) -> str:
    return np.array2string(x.reshape(-1)[:6], precision=5, separator=", ")


def reproduction(case: Case, wide: bool) -> str:
    """The call of a case as code."""
    lines = ["import jax, jax.numpy as jnp, numpy as np, jaxinterp as ji"]
    lines += ["jax.config.update('jax_enable_x64', True)"] * wide
    lines += ["from tests.random_cases.changes import *", "from tests.random_cases.models import model_of"]
    return "\n".join([*lines, f"{case.call}" + "   # inside jax.jit" * case.traced])
