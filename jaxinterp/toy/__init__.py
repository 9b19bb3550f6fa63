"""Toy models whose weights are written by hand, and planted data: the truth is known."""

from ._dynamics import Dynamics as Dynamics
from ._dynamics import dynamics as dynamics
from ._fake_gelu import FakeGelu as FakeGelu
from ._fake_gelu import fake_gelu as fake_gelu
from ._fake_gelu import fake_gelu_trial as fake_gelu_trial
from ._induction import Planted as Planted
from ._induction import planted_induction as planted_induction
from ._ioi import IOIPrompts as IOIPrompts
from ._ioi import PlantedIOI as PlantedIOI
from ._ioi import planted_ioi as planted_ioi
from ._library import Recovery as Recovery
from ._library import derivatives as derivatives
from ._library import polynomials as polynomials
from ._library import recovery as recovery
from ._library import smooth as smooth
from ._planted_geo import PlantedGeo as PlantedGeo
from ._planted_geo import planted_geo as planted_geo
from ._rasp import Program as Program
from ._rasp import Rasp as Rasp
from ._rasp import rasp as rasp
from ._superposition import Superposed as Superposed
from ._superposition import SuperpositionSettings as SuperpositionSettings
from ._superposition import planted_superposition as planted_superposition
from ._tracr import from_tracr as from_tracr
