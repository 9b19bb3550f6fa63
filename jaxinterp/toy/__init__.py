"""Toy models whose weights are written by hand, planted data, and toy models of superposition: the truth is known."""

from ._bottleneck import BottleneckSettings as BottleneckSettings
from ._bottleneck import superposition as superposition
from ._dynamics import Dynamics as Dynamics
from ._dynamics import dynamics as dynamics
from ._fake_gelu import FakeGelu as FakeGelu
from ._fake_gelu import fake_gelu as fake_gelu
from ._fake_gelu import fake_gelu_trial as fake_gelu_trial
from ._induction import Planted as Planted
from ._induction import planted_induction as planted_induction
from ._library import Recovery as Recovery
from ._library import derivatives as derivatives
from ._library import polynomials as polynomials
from ._library import recovery as recovery
from ._library import smooth as smooth
from ._phases import PhaseDiagram as PhaseDiagram
from ._phases import phase_diagram as phase_diagram
from ._planted_geo import PlantedGeo as PlantedGeo
from ._planted_geo import planted_geo as planted_geo
from ._superposition import Superposed as Superposed
from ._superposition import SuperpositionSettings as SuperpositionSettings
from ._superposition import planted_superposition as planted_superposition
from ._superposition_result import Superposition as Superposition
