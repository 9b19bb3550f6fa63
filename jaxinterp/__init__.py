"""jaxinterp: read, edit and understand language models in JAX.

Everything is a function of `run`, of captured activations and of edits; this page is the list.
"""

from typing import TYPE_CHECKING, Any

from . import hub as hub
from . import metrics as metrics
from . import models as models
from . import nn as nn
from . import testing as testing
from . import viz as viz
from . import weights as weights
from ._acts import Acts as Acts
from ._acts import At as At
from ._acts import at as at
from ._edit import Edit as Edit
from ._edits import add as add
from ._edits import map as map
from ._edits import project_out as project_out
from ._edits import replace as replace
from ._edits import scale as scale
from ._edits import zero as zero
from ._generate import generate as generate
from ._grads import site_grads as site_grads
from ._run import resume as resume
from ._run import run as run
from ._sites import SITES as SITES
from ._sites import UnknownSite as UnknownSite
from ._splice import splice as splice
from ._survey import intervene as intervene
from ._survey import sites as sites
from ._types import Context as Context
from ._types import Model as Model
from ._types import Source as Source
from .hub import load as load
from .hub import save as save

if TYPE_CHECKING:
    from . import data as data
    from . import heads as heads
    from . import lens as lens
    from . import neurons as neurons
    from . import patching as patching
    from . import probes as probes
    from . import sae as sae
    from . import tasks as tasks
    from . import toy as toy

METHODS = ("data", "heads", "lens", "neurons", "patching", "probes", "sae", "tasks", "toy")
"Packages that are imported when they are first used: `ji.lens.logit_lens`."


def __getattr__(name: str) -> Any:
    if name in METHODS:
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *METHODS])
