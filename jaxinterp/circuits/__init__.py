"""Circuits: which parts of a model carry an answer, and along which paths. See `docs/circuits.md`."""

from ._acdc import acdc as acdc
from ._acdc_result import Acdc as Acdc
from ._acdc_settings import AcdcSettings as AcdcSettings
from ._circuit import Circuit as Circuit
from ._completeness import Completeness as Completeness
from ._completeness import Minimality as Minimality
from ._completeness import completeness as completeness
from ._completeness import minimality as minimality
from ._curve import FaithfulnessCurve as FaithfulnessCurve
from ._curve import curve as curve
from ._evaluate import Judgement as Judgement
from ._evaluate import evaluate as evaluate
from ._graph import Graph as Graph
from ._graph import graph as graph
from ._paths import direct_paths as direct_paths
from ._paths_classic import path_patch as path_patch
from ._paths_classic import paths_into as paths_into
from ._paths_result import DirectPaths as DirectPaths
from ._paths_result import Edges as Edges
from ._random import random_circuits as random_circuits
from ._roc import Roc as Roc
from ._roc import pessimistic_auc as pessimistic_auc
from ._roc import roc as roc
from ._run import run as run
from ._select import prune_dangling as prune_dangling
from ._select import select as select
