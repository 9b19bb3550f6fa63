"""`push`: a dictionary to the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path

from ...hub._push import Upload, uploaded
from ...typing import JSON, BoolLike, CoderLike, StrLike
from ..kinds._coder import kind_name
from ._origin import origin_of
from ._saelens_write import save_saelens
from ._save import save

FORMATS = ("jaxinterp", "saelens")


def push(
    address: StrLike,
    sae: CoderLike,
    *,
    about: Mapping[str, JSON] | None = None,
    format: str = "jaxinterp",
    private: BoolLike = True,
    message: str | None = None,
    dry_run: BoolLike = True,
) -> Upload:
    """Uploads a dictionary to the Hugging Face hub, as one commit. By default a dry run, which sends nothing.

    **Arguments:**

    - `address`: the repository, `"owner/name"`, or a folder in it, `"hf://owner/name/folder"`.
    - `sae`: the dictionary.
    - `about`: facts about the dictionary, such as `{"model": "gpt2", "site": "resid_post[2]"}`.
    - `format`: "jaxinterp", the layout of `save` (the default); or "saelens", that of `save_saelens`.
    - `private`: whether a new repository is private; True by default.
    - `message`: the message of the commit.
    - `dry_run`: True (the default) writes the files to a temporary folder, lists them and sends nothing.
      False needs a login: `hf auth login`.

    **Returns:** a `ji.hub.Upload`, which prints the files with their sizes.

    **Raises:** ValueError for a bad address and for a kind that the format cannot hold. `PermissionError`
    where the hub refuses.

    ```python
    print(ji.sae.push("hf://me/dictionaries/layer-2", sae, about={"model": "tiny", "site": "resid_post[2]"}))
    # ji.sae.push(..., dry_run=False), and then anywhere: ji.sae.load("hf://me/dictionaries/layer-2")
    ```

    Law: `load` of the address returns the same dictionary, bit for bit (in the format of this library).
    """
    if format not in FORMATS:
        raise ValueError(f"format is 'jaxinterp' or 'saelens'; got {format!r}.")
    known = {**(about or {})}
    site, model = known.get("site", origin_of(sae).site), known.get("model")

    def write(folder: Path) -> object:
        if format == "jaxinterp":
            return save(folder, sae, about=about)
        text = lambda value: value if isinstance(value, str) else None
        return save_saelens(folder, sae, site=text(site), model_name=text(model))

    reads = f"It reads `{site}`" + (f" of `{model}`" if model else "") + ".\n\n" if site else ""
    card = (
        f"A sparse dictionary (`{kind_name(sae)}`, {int(sae.features):,} features). {reads}"
        f'```python\nimport jaxinterp as ji\n\nsae = ji.sae.load("hf://{str(address).removeprefix("hf://")}")\n```\n'
    )
    return uploaded(address, write, card, private=private, message=message, dry_run=dry_run)
