"""Which papers stand behind what a study uses: `ji.cite`."""

from ._citations import Citations as Citations
from ._citations import cite as cite
from ._paper import Paper as Paper
