"""What can be wrong with a checkpoint, by name. All are `ValueError`s that say what to do."""

import difflib
from collections.abc import Iterable


class UnknownModel(ValueError):
    """A name that is neither a folder, nor a known model, nor a hub id.

    ```python
    try:
        ji.load("pythia-70")
    except ji.hub.UnknownModel as error:
        print(error)  # did you mean 'pythia-70m'?
    ```
    """


class UnhandledConfig(ValueError):
    """The config of a checkpoint asks for a computation that the port does not have.

    ```python
    config = dict(ji.hub.read_json("my-model/config.json"), rotary_spiral=3)
    try:
        ji.hub.build("my_port.toml", config, {})
    except ji.hub.UnhandledConfig as error:
        print(error)  # names the key
    ```
    """


class BadCheckpoint(ValueError):
    """A checkpoint file that is missing, truncated or corrupt, or that holds other tensors than it must.

    ```python
    try:
        ji.hub.open_safetensors("my-model/config.json")
    except ji.hub.BadCheckpoint as error:
        print(error)
    ```
    """


class UnsafePickle(BadCheckpoint):
    """A pickle that holds more than tensors, numbers and texts in containers. No code of it was executed.

    ```python
    try:
        ji.hub.read_torch("whole_model.pt")  # a module, pickled with its class
    except ji.hub.UnsafePickle as error:
        print(error)  # names the class; save the module's state_dict() instead
    ```
    """


def near(name: str, known: Iterable[str], count: int = 3) -> str:
    """`"; did you mean 'a' or 'b'?"`, or nothing when no known name is near."""
    found = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def listed(names: Iterable[str], limit: int = 6) -> str:
    """`'a', 'b' and 7 more`."""
    names = list(names)
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
