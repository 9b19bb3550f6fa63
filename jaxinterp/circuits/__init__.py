"""Circuits: which parts of a model carry an answer, and along which paths. See `docs/circuits.md`."""

from ._acdc import acdc as acdc
from ._acdc_result import Acdc as Acdc
from ._acdc_settings import AcdcSettings as AcdcSettings
from ._circuit import Circuit as Circuit
from ._graph import Graph as Graph
from ._graph import graph as graph
from ._paths import direct_paths as direct_paths
from ._paths_classic import path_patch as path_patch
from ._paths_classic import paths_into as paths_into
from ._paths_result import DirectPaths as DirectPaths
from ._paths_result import Edges as Edges
from ._run import run as run
