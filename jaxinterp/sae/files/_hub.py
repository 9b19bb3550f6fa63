"""Dictionaries on the Hugging Face hub: which repository and folder a name means, and its files fetched."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ...hub import UnknownModel, read_json
from ...hub._errors import listed
from ...hub._fetch import fetched

SCHEME = "hf://"
FILES = (
    "dictionary.json",
    "weights.safetensors",
    "training.json",
    "cfg.json",
    "sae_weights.safetensors",
    "activation_scaler.json",
    "activation_whitening.safetensors",
    "sae.safetensors",
    "config.json",
    "ae.pt",
    "params.npz",
    "params.safetensors",
)
"What the readers of this library look for in a folder; other files stay on the hub."
_PART = r"[\w][\w.-]*"


class Address(NamedTuple):
    """A folder or file of a repository: `hf://owner/name@revision/inside`.

    - `factor`: what a directory says that activations were multiplied by in training, or None.
    - `centred`: whether it says that the model had centred writing weights.
    """

    repository: str
    revision: str | None
    inside: str
    factor: float | None = None
    centred: bool = False


def parsed(text: str) -> Address:
    """The parts of `hf://owner/name`, with an optional `@revision` and a path. Raises ValueError."""
    found = re.fullmatch(rf"hf://({_PART}/{_PART})(?:@([^/\s]+))?(?:/(.*?))?/*", text)
    parts = (found[3] or "").split("/") if found else []
    if found is None or ".." in parts or "." in parts:
        raise ValueError(
            f"A dictionary on the hub is hf://owner/name/path, or hf://owner/name@revision/path; got {text!r}. For "
            "example: ji.sae.load('hf://jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre')."
        )
    return Address(found[1], found[2], found[3] or "")


def place(address: Address) -> Path:
    """The folder or file of an address in the hub's cache, downloaded where it is not there.

    **Raises:** `UnknownModel` for a repository, revision or path that is not there; FileNotFoundError where
    the hub cannot be reached and its cache does not hold it.
    """
    inside = address.inside
    snapshot = fetched(address.repository, address.revision, lambda names: chosen(address, names))
    return snapshot.folder / inside if inside else snapshot.folder


def factor_for(address: Address, folder: Path) -> float | None:
    """What a directory says that activations were multiplied by, where the dictionary's own config wants it."""
    config = folder / "cfg.json"
    if address.factor is None or not config.is_file():
        return None
    wants = read_json(config).get("normalize_activations") == "expected_average_only_in"
    return float(address.factor) if wants else None


def chosen(address: Address, names: Iterable[str]) -> list[str]:
    """The files that reading needs, of all names of a repository: those of the folder, or the one file."""
    names = sorted(names)
    inside = address.inside
    if inside in names:
        return [inside]
    prefix = f"{inside}/" if inside else ""
    found = [name for name in names if name.startswith(prefix) and name[len(prefix) :] in FILES]
    if not found:
        folders = sorted({name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in FILES})
        here = f"no dictionary at {inside!r}" if inside else "no dictionary at its root"
        raise UnknownModel(
            f"{address.repository} has {here}. It has dictionaries in {listed(folders) or 'no folder'}: "
            f"hf://{address.repository}/{folders[0] if folders else 'folder'}."
        )
    return found
