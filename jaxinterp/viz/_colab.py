"""Google Colab: a page of the notebook's machine, or a document, shown below the cell."""

import sys
from html import escape

HEIGHT = 760


def in_colab() -> bool:
    """Whether this is a kernel of Colab, which loads its own package before any cell runs."""
    return "google.colab" in sys.modules


def show_port(port: int, path: str) -> bool:
    """Shows what a port of this machine serves, through Colab's proxy. Elsewhere nothing is shown, and False returned."""
    if not in_colab():
        return False
    from google.colab import output  # pyright: ignore[reportMissingImports]

    output.serve_kernel_port_as_iframe(port, path=path, height=str(HEIGHT))
    return True


def framed(document: str, title: str) -> str:
    """A whole document as one element of another: in a frame of its own, with nothing fetched."""
    return (
        f'<iframe srcdoc="{escape(document)}" title="{escape(title)}" width="100%" height="{HEIGHT}" '
        'style="border: 0"></iframe>'
    )
