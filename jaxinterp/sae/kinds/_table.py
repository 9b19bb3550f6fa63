"""The kinds that files may name. A kind of a user's own is given to `ji.sae.load` by `kinds=`."""

from ._annealed import Annealed
from ._batch_topk import BatchTopK
from ._cross_layer import CrossLayerTranscoder
from ._crosscoder import Crosscoder
from ._gated import Gated
from ._jumprelu import JumpReLU
from ._kind import Kind
from ._matryoshka import Matryoshka
from ._pursuit import MatchingPursuit
from ._selected import Selected, SelectedTranscoder
from ._standard import Standard
from ._temporal import Temporal
from ._topk import TopK
from ._transcoder import Transcoder
from ._vanilla import Vanilla

KINDS: dict[str, type[Kind]] = {
    kind.__name__: kind
    for kind in (
        Vanilla,
        Standard,
        Annealed,
        Gated,
        TopK,
        BatchTopK,
        JumpReLU,
        Matryoshka,
        Transcoder,
        CrossLayerTranscoder,
        Crosscoder,
        Selected,
        SelectedTranscoder,
        MatchingPursuit,
        Temporal,
    )
}
