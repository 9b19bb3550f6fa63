"""The training loop of the library: any parameters, any loss, any optimizer. See `docs/fit.md`."""

from ._descend import EarlyStopped as EarlyStopped
from ._descend import Plateau as Plateau
from ._descend import descend as descend
from ._descend import early_stopping as early_stopping
from ._members import rated as rated
from ._rows import Rows as Rows
from ._settings import Settings as Settings
from ._settings import Stop as Stop
from ._state import Now as Now
from ._state import State as State
from ._sweep import sweep as sweep
from ._train import FitResult as FitResult
from ._train import train as train
