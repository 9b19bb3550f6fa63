"""The core: sites, edits, captures, and the one function that runs a model with them.

| module | idea |
|---|---|
| `_types` | the axes, and what a model, a metric and a dictionary must offer |
| `_sites` | the one table of sites |
| `_positions`, `_select` | which entries of a site: padding, selectors, layers |
| `_tap` | what a model calls at its sites |
| `_check` | tokens, masks, indices and models are checked before anything runs |
| `_edit`, `_edits` | what an edit is; the constructors (`_arithmetic`, `_mapped`, `_splice`) |
| `_captures`, `_acts` | what a run reads, and what it returns |
| `_intervene`, `_blocks`, `_listing` | models with edits, their layers, the sites that they emit |
| `_request` | the arguments of a run, checked and in one form |
| `_engine` | the run itself |
| `_run`, `_grads`, `_generate` | the public functions |
"""

from ._acts import Acts as Acts
from ._captures import At as At
from ._captures import at as at
from ._edit import Edit as Edit
from ._edits import add as add
from ._edits import map as map
from ._edits import project_out as project_out
from ._edits import replace as replace
from ._edits import scale as scale
from ._edits import zero as zero
from ._generate import generate as generate
from ._grads import SiteGrads as SiteGrads
from ._grads import site_grads as site_grads
from ._intervene import Intervened as Intervened
from ._intervene import intervene as intervene
from ._listing import Listing as Listing
from ._listing import sites as sites
from ._run import resume as resume
from ._run import run as run
from ._sites import SITES as SITES
from ._sites import Site as Site
from ._sites import UnknownSite as UnknownSite
from ._splice import splice as splice
from ._types import Context as Context
from ._types import Model as Model
from ._types import Source as Source
