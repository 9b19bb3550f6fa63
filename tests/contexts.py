"""One MLIR context for many small programs: a fifth of the time of a test that makes many, and most of their memory.

JAX makes a new context, with all dialects, for each program that it lowers: about 10 ms and 1.5 MB, more than
most programs of a test. What is lowered in a shared one is the same text. Another version of JAX, whose
modules take no context, is left as it is.
"""

import inspect
import threading
from typing import Any

MOST = 500
"Programs of one context: what it has seen stays in it."


class Contexts(threading.local):
    """The context of a thread, and how many programs it has served."""

    held: Any = None
    served: int = 0

    def next(self, make: Any) -> Any:
        if self.held is None or self.served >= MOST:
            self.held, self.served = make(), 0
        self.served += 1
        return self.held


def share_contexts() -> None:
    """From now on programs of a thread are lowered in contexts that `MOST` of them share."""
    from jax._src.interpreters import mlir

    begin, contexts = mlir.ModuleContext.__init__, Contexts()
    if "context" not in inspect.signature(begin).parameters or not hasattr(mlir, "make_ir_context"):
        return

    def shared(self: Any, *arguments: Any, context: Any = None, **settings: Any) -> None:
        # While one program is lowered, another one that its values need would be written into it.
        if context is None and mlir.ir.Context.current is None:
            context = contexts.next(mlir.make_ir_context)
        begin(self, *arguments, context=context, **settings)

    mlir.ModuleContext.__init__ = shared
