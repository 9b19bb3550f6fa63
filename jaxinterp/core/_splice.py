"""Splicing a dictionary into a site, which makes its features, its output and its error sites."""

from typing import Any

import equinox as eqx
from jaxtyping import Array

from .._arguments import kind_of
from ..typing import DictionaryLike, IndexLike, StrLike
from ._edit import Aimed, Edit
from ._select import describe, selection


class Splice(Aimed):
    """The edit of `splice`."""

    dictionary: Any
    error: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def _run(self, tap: Any, x: Array) -> Array:
        at = f"{self.site}.{self.name}"
        # Some dictionaries decode with the inputs: they restore a row's own mean and deviation.
        more = (x,) if getattr(self.dictionary, "READS_INPUT", False) else ()
        feature = self.dictionary.encode(x)
        plain = self.dictionary.decode(feature, *more).astype(x.dtype)
        edited = tap(f"{at}.feature", feature)
        recon = tap(f"{at}.recon", self.dictionary.decode(edited, *more).astype(x.dtype))
        missed = tap(f"{at}.error", x - plain)
        # The difference that edits made is added to x: with none, x comes back bit for bit.
        return x + (recon - plain) + (missed - (x - plain)) if self.error else recon

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        return self.where_selected(tap, x, self._run(tap, x)), state

    def emit(self, tap: Any, site: str, x: Array) -> None:
        self._run(tap, x)

    def __repr__(self) -> str:
        return describe("splice", self.site, self.layers, self.where)


def splice(
    site: str,
    dictionary: DictionaryLike,
    *,
    error: bool = False,
    name: StrLike = "sae",
    **where: IndexLike | None,
) -> Edit:
    r"""$x \mapsto D(E(x))$, or with the error kept $x \mapsto D(E(x)') + (x - D(E(x)))$.

    Puts a dictionary (a sparse autoencoder, a basis) into a site. It makes three new sites,
    `{site}.{name}.feature`, `.recon` and `.error`, which are captured and edited like any other.
    $E(x)'$ are the features after such edits.

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `dictionary`: a module with `encode(x)` and `decode(feature)`.
    - `error`: adds the error of the dictionary to its reconstruction. By default the error is left out.
    - `name`: the middle part of the new names.

    **Returns:** an `Edit`.

    ```python
    edits = [ji.splice("resid_post", sae, layer=2), ji.zero("resid_post.sae.feature", unit=7)]
    logits, acts = ji.run(model, tokens, edits=edits, capture=["resid_post.sae.feature"])
    ```

    Law: with `error=True` and no edit of its sites it changes nothing, exactly.
    """
    aim, base, layers = selection(site, where)
    if isinstance(dictionary, type):
        raise ValueError(
            f"A dictionary has encode(x) and decode(feature); got {kind_of(dictionary)}. Train one, or load it: ji.sae.load(path)."
        )
    for method in ("encode", "decode"):
        if not callable(getattr(dictionary, method, None)):
            raise ValueError(
                f"A dictionary has encode(x) and decode(feature); {type(dictionary).__name__} "
                f"has no {method}."
            )
    return Splice(where=aim, site=base, layers=layers, dictionary=dictionary, error=error, name=name)
