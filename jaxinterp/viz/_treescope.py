"""Models, edits and activations opened up in a notebook: arrays as heat maps, sites by name.

A matrix by itself (the result of a sweep, scores of heads) is shown as a heat map of this package.

Treescope (https://treescope.readthedocs.io) renders; nothing is registered before `show` is
called, and nothing stays registered after it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core._acts import Acts
from ..core._intervene import Intervened
from ..core._select import Where
from ..core._sites import UnknownSite, axes_of, is_per_layer, parse
from ._figure import Figure
from ._heatmap import heatmap

_CELLS = 10_000


def show(obj: Any) -> None:
    """Shows a model, an edit, activations or any pytree as a tree that opens by clicks.

    In a notebook arrays are drawn as heat maps, with the axes of captured sites by name. In a
    terminal the same tree is printed as text. A figure of this package is shown as it is. A matrix of at most 10,000
    cells, such as a patching result, is drawn as a heat map; so are the statistics of `ji.patching.statistics`, with
    marks and intervals.

    !!! example
        ```python
        _, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]"])
        ji.viz.show(acts)
        ```
    """
    display = _notebook_display()
    if display is None:
        print(repr(obj) if isinstance(obj, Figure) else treescope_text(obj))
    elif (figure := figure_of(obj)) is not None:
        display(figure)
    else:
        import treescope

        with _views(), _opened(obj):
            treescope.display(obj, streaming=False)


def figure_of(obj: Any) -> Figure | None:
    """The figure that an object is, or None where it is a tree to unfold."""
    if isinstance(obj, Figure):
        return obj
    parts: list[Any] = [getattr(obj, name, None) for name in ("mean", "low", "high")]
    if callable(getattr(obj, "significant", None)) and all(map(_is_matrix, parts)):
        mean, low, high = parts
        return heatmap(mean, interval=(low, high), marks=obj.significant(), value="mean")
    return heatmap(obj) if _is_matrix(obj) else None


def _is_matrix(x: Any) -> bool:
    """A matrix of real numbers, small enough to see every cell."""
    array = isinstance(x, np.ndarray | jax.Array)
    return (
        array
        and x.ndim == 2
        and 0 < x.size <= _CELLS
        and (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer))
    )


def treescope_html(obj: Any) -> str:
    """The view of `show` as HTML that needs no network, to put into your own page.

    **Arguments:**

    - `obj`: a model, an edit, activations or any pytree.

    **Returns:** HTML as a string.

    ```python
    text = ji.viz.treescope_html(ji.zero("z", layer=1, head=3))
    ```
    """
    import treescope

    with _views(), _opened(obj):
        return treescope.render_to_html(obj, compressed=False)


def treescope_text(obj: Any) -> str:
    """The view of `show` as text, for terminals."""
    import treescope

    with _views():
        return treescope.render_to_text(obj)


@contextlib.contextmanager
def _views() -> Iterator[None]:
    import treescope

    renderer = treescope.active_renderer.get().extended_with(
        handlers=[_render_acts, _render_where, _render_components]
    )
    with (
        treescope.active_renderer.set_scoped(renderer),
        treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()),
    ):
        yield


@contextlib.contextmanager
def _opened(obj: Any) -> Iterator[None]:
    """A model opens as its parts, one line each, folded: a click unfolds a part, and its arrays are drawn then."""
    import treescope

    if not (isinstance(obj, Intervened) or hasattr(obj, "blocks")):
        yield
        return
    parts = len(getattr(obj, "__dataclass_fields__", vars(obj))) + 2
    with treescope.using_expansion_strategy(max_height=parts, recursive_expand_height=parts):
        yield


def _render_acts(node: Any, path: str | None, subtree_renderer: Any) -> Any:
    if not isinstance(node, Acts):
        return NotImplemented
    from treescope import repr_lib

    named = {name: _name_axes(name, value) for name, value in node.items()}
    return repr_lib.render_dictionary_wrapper(Acts, named, path, subtree_renderer)


def _render_where(node: Any, path: str | None, subtree_renderer: Any) -> Any:
    if not isinstance(node, Where):
        return NotImplemented
    from treescope import repr_lib

    chosen = {name: value for name, value in vars(node).items() if value is not None}
    return repr_lib.render_object_constructor(Where, chosen, path, subtree_renderer)


def _render_components(node: Any, path: str | None, subtree_renderer: Any) -> Any:
    """`ji.weights.Components`, known by its parts: arrays by label, without the component axis."""
    found: Any = getattr(node, "labels", None)
    values: Any = getattr(node, "values", None)
    named = isinstance(found, tuple) and all(isinstance(label, str) for label in found)
    if not named or getattr(values, "shape", ())[:1] != (len(found),):
        return NotImplemented
    from treescope import repr_lib

    parts = dict(zip(found, values, strict=True))
    return repr_lib.render_dictionary_wrapper(type(node), parts, path, subtree_renderer)


def _name_axes(key: str, array: Any) -> Any:
    """Names the axes that a capture is sure to have.

    `acts` does not remember whether a request dropped `pos`, so where that could be, the axes
    before it (`batch`, `pos`) keep their numbers.
    """
    from penzai.core import named_axes

    try:
        site, layers = parse(key)
    except UnknownSite:
        return array
    axes = axes_of(site)
    sure = axes[axes.index("pos") + 1 :] if "pos" in axes else axes
    first = ("layer",) if is_per_layer(site) and not isinstance(layers, int) else ()
    unnamed = getattr(array, "ndim", 0) - len(sure) - len(first)
    if unnamed < 0:
        return array
    passing = [f"axis {i}" for i in range(unnamed)]
    return named_axes.wrap(array, *first, *passing, *sure).untag(*passing)


def _notebook_display() -> Any:
    """The notebook's display function, or None in a script or a terminal."""
    try:
        from IPython import get_ipython  # pyright: ignore[reportMissingImports]
        from IPython.display import display  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    shell = get_ipython()
    return display if shell is not None and hasattr(shell, "kernel") else None
