"""Where a Patchscope reads or writes a state."""

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

from ..typing import EditsLike, IndexLike, LayersLike, MaskLike


@dataclasses.dataclass(frozen=True)
class PatchPlace:
    """Where a Patchscope reads or writes a state, and how that prompt is run.

    ```python
    ji.lens.PatchPlace(layer=2, pos=-1)
    ```
    """

    layer: LayersLike | None = None
    "Blocks at whose output the state is read or written: an int, or ints of any shape. None: all layers."
    pos: IndexLike = -1
    "A position, or one per example `(*batch,)`. With a mask an int counts real tokens."
    mask: MaskLike | None = None
    "True at the real tokens of this prompt, as in `ji.run`."
    edits: EditsLike = ()
    "Edits of this run, as in `ji.run`."


if TYPE_CHECKING:
    PlaceLike: TypeAlias = PatchPlace
    "A place. What is none is refused by `patchscope` itself."
else:
    PlaceLike = Any
