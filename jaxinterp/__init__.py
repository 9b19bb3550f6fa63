"""jaxinterp: read, edit and understand language models in JAX.

Everything is a function of `run`, of captured activations and of edits; this page is the list.
"""

from typing import TYPE_CHECKING, Any

from . import hub as hub
from . import mesh as mesh
from . import metrics as metrics
from . import models as models
from . import nn as nn
from . import testing as testing
from . import viz as viz
from . import weights as weights
from ._buckets import bucket as bucket
from ._cite import cite as cite
from ._compiled import compilation_cache as compilation_cache
from .core import SITES as SITES
from .core import Acts as Acts
from .core import At as At
from .core import Context as Context
from .core import Edit as Edit
from .core import Model as Model
from .core import Source as Source
from .core import UnknownSite as UnknownSite
from .core import add as add
from .core import at as at
from .core import generate as generate
from .core import intervene as intervene
from .core import map as map
from .core import project_out as project_out
from .core import replace as replace
from .core import resume as resume
from .core import run as run
from .core import scale as scale
from .core import site_grads as site_grads
from .core import sites as sites
from .core import splice as splice
from .core import zero as zero
from .hub import load as load
from .hub import save as save

if TYPE_CHECKING:
    __version__: str
    from . import chains as chains
    from . import circuits as circuits
    from . import corpus as corpus
    from . import data as data
    from . import fit as fit
    from . import geometry as geometry
    from . import heads as heads
    from . import lens as lens
    from . import neurons as neurons
    from . import patching as patching
    from . import probes as probes
    from . import sae as sae
    from . import stats as stats
    from . import steering as steering
    from . import tasks as tasks
    from . import toy as toy

METHODS = (
    "chains",
    "circuits",
    "corpus",
    "data",
    "fit",
    "geometry",
    "heads",
    "lens",
    "neurons",
    "patching",
    "probes",
    "sae",
    "stats",
    "steering",
    "tasks",
    "toy",
)
"Packages that are imported when they are first used: `ji.lens.logit_lens`."


def __getattr__(name: str) -> Any:
    if name in METHODS:
        import importlib

        return importlib.import_module(f".{name}", __name__)
    if name == "__version__":
        from ._version import package_version

        return package_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *METHODS, "__version__"])
