"""Models, edits and activations opened up in a notebook: arrays as heat maps, sites by name.

Treescope (https://treescope.readthedocs.io) renders; nothing is registered before `show` is
called, and nothing stays registered after it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from .._acts import Acts
from .._sites import UnknownSite, axes_of, is_per_layer, parse
from .._where import Where
from ._figure import Figure


def show(obj: Any) -> None:
    """Shows a model, an edit, activations or any pytree, to be unfolded by clicks.

    In a notebook arrays are drawn as heat maps, with the axes of captured sites by name; in a
    terminal the same tree is printed as text. A figure of this package is shown as it is.

    !!! example
        ```python
        _, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]"])
        ji.viz.show(acts)
        ```
    """
    display = _notebook_display()
    if display is None:
        print(repr(obj) if isinstance(obj, Figure) else treescope_text(obj))
    elif isinstance(obj, Figure):
        display(obj)
    else:
        import treescope

        with _views():
            treescope.display(obj, streaming=False)


def treescope_html(obj: Any) -> str:
    """The view of `show` as HTML that needs no network, to put into a page of one's own."""
    import treescope

    with _views():
        return treescope.render_to_html(obj, compressed=False)


def treescope_text(obj: Any) -> str:
    """The view of `show` as text, for terminals."""
    import treescope

    with _views():
        return treescope.render_to_text(obj)


@contextlib.contextmanager
def _views() -> Iterator[None]:
    import treescope

    renderer = treescope.active_renderer.get().extended_with(handlers=[_render_acts, _render_where])
    with (
        treescope.active_renderer.set_scoped(renderer),
        treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()),
    ):
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
