"""Patching: where in a model an answer is made. Each function is one compiled program.

See `docs/patching.md` for which one to choose.
"""

from ._sweep import sweep as sweep
