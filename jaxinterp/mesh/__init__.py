"""Meshes of devices: how models, dictionaries and batches are laid on them. See `docs/mesh.md`."""

from ._automatic import automatic as automatic
from ._automatic import automatic_sharding as automatic_sharding
from ._dictionaries import dictionary_mesh as dictionary_mesh
from ._estimate import Chip as Chip
from ._estimate import Estimate as Estimate
from ._estimate import estimate as estimate
from ._models import shard_model as shard_model
from ._models import sharding_rule as sharding_rule
from ._models import tensor_parallel as tensor_parallel
from ._plan_table import LeafPlan as LeafPlan
from ._plan_table import MeshPlan as MeshPlan
from ._plan_table import plan as plan
from ._plans import PLANS as PLANS
from ._rows import placed as placed
from ._rows import rows_on as rows_on
