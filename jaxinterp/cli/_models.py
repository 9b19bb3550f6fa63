"""The command `jaxinterp models`: which models there are, by name."""

from collections.abc import Iterator
from typing import Any

import click

from .._text import grid, line
from ._command import Command, draw, say


@click.command(cls=Command, short_help="List the models that are known by name.")
@click.argument("text", required=False)
def models(text: str | None) -> None:
    """List the models that every command and ji.load know by name, or those whose name contains TEXT.

    Models are grouped by their family. Each row shows the name, the id on the Hugging Face hub that it
    stands for, and whether the model is on this machine already. Any other model of these families can be
    given by its id, or as a folder or a file.

    \b
    Examples:
      jaxinterp models
      jaxinterp models pythia
    """
    count = 0
    for family, licence, rows in _families():
        rows = [row for row in rows if text is None or text.lower() in f"{row[0]} {row[1]}".lower()]
        count += len(rows)
        if rows:
            title = f"{family} (licence of the weights: {licence})"
            draw(grid(["name", "what it stands for", "on this machine"], rows, title=title))
    if not count:
        raise ValueError(
            f"No known model has {line(text)!r} in its name. All names: jaxinterp models. Any model of these "
            "families on the hub can be given as organisation/name."
        )
    if text is None:
        say("In Python: model, tokenizer = ji.load(NAME). Where it can be read: jaxinterp sites NAME.")


Row = tuple[str, str, str]
"The name of a model, its id on the hub, and whether it is on this machine."


def _families() -> Iterator[tuple[str, str, list[Row]]]:
    """Families of models with the licence of their weights, and the models of each."""
    from .. import hub
    from ..hub._packaged import packaged

    yield (
        "with this package",
        "as the package",
        [("tiny", "a small GPT-NeoX that the project trained", "yes")],
    )
    for port in hub.all_ports().values():
        rows: list[Row] = []
        for name, hub_id in port.source.get("names", {}).items():
            package = packaged(name)
            what = hub_id if package is None else package.what
            rows.append((name, what, "yes" if package or _is_cached(hub_id) else "no"))
        if rows:
            yield port.family, str(port.source.get("licence", "see the checkpoint")), rows


def _is_cached(hub_id: str) -> bool:
    """Whether the hub's cache has the configuration of a model, which is fetched with its weights."""
    from huggingface_hub import try_to_load_from_cache

    found: Any = try_to_load_from_cache(hub_id, "config.json")
    return isinstance(found, str)
