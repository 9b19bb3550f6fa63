"""`push`: a folder as one commit to a repository of the Hugging Face hub, and what it would be."""

import dataclasses
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from .._disk import discard, manifest_name, put
from .._tabular import Record, Tabular
from .._text import line
from ..typing import BoolLike, ModelLike, PathLike, StrLike
from ._export import export
from ._port import PortLike
from ._tokenizer import Tokenizer

CARD = "README.md"
_ADDRESS = re.compile(r"(?:hf://)?([\w][\w.-]*/[\w][\w.-]*)(?:/(.+?))?/*")


@dataclasses.dataclass(frozen=True)
class Upload(Tabular):
    """The files that `ji.hub.push` has uploaded, or would upload.

    - `repository`: the repository, "owner/name"; `inside`: the folder in it, "" for its root.
    - `files`: names and bytes of the files.
    - `private`: whether a repository that is made for them is private.
    - `commit`: the address of the commit; None after a dry run.

    ```python
    found = ji.hub.push("me/my-model", model, tokenizer=tokenizer)      # a dry run
    found.address, found.records()
    ```
    """

    repository: str
    inside: str
    files: tuple[tuple[str, int], ...]
    private: bool
    commit: str | None = None

    @property
    def address(self) -> str:
        """What reads it again: `hf://owner/name/inside`."""
        return f"hf://{self.repository}" + (f"/{self.inside}" if self.inside else "")

    def records(self) -> list[Record]:
        """A row for each file: `file` and `bytes`."""
        return [{"file": name, "bytes": size} for name, size in self.files]

    def __repr__(self) -> str:
        rows = [f"  {size:>14,} bytes  {name}" for name, size in self.files]
        kind = "private" if self.private else "public"
        if self.commit is None:
            first = f"A dry run: nothing was sent. To {self.address} (made as a {kind} repository where it is not there) would go"
            return "\n".join([f"{first}:", *rows, "To send it: push(..., dry_run=False)."])
        return "\n".join([f"Sent to {self.address}, {self.commit}:", *rows])


def push(
    address: StrLike,
    model: ModelLike,
    *,
    tokenizer: Tokenizer | None = None,
    port: PortLike | None = None,
    private: BoolLike = True,
    message: str | None = None,
    dry_run: BoolLike = True,
) -> Upload:
    """Uploads a model in the layout of its family to the Hugging Face hub, as one commit. By default a dry run.

    **Arguments:**

    - `address`: the repository, `"owner/name"`, or a folder in it, `"hf://owner/name/folder"`.
    - `model`, `tokenizer`, `port`: as in `ji.hub.export`, which writes the files.
    - `private`: whether a repository that is not there yet is made private; True by default.
    - `message`: of the commit.
    - `dry_run`: True (the default) writes the files to a temporary folder, lists them and sends nothing.
      False needs a login: `hf auth login`.

    **Returns:** an `Upload`, which prints the files with their sizes.

    **Raises:** ValueError for an address that is none, and what `ji.hub.export` raises. `PermissionError` where the
    hub refuses.

    ```python
    print(ji.hub.push("me/my-pythia", model, tokenizer=tokenizer))                # a dry run
    # ji.hub.push("me/my-pythia", model, tokenizer=tokenizer, dry_run=False)
    ```

    Law: `ji.load` reads the same model from the repository, bit for bit.
    """
    card = f"A `{type(model).__name__}` in the layout of its reference implementation.\n"
    write = lambda folder: export(folder, model, tokenizer=tokenizer, port=port)
    return uploaded(address, write, card, private=private, message=message, dry_run=dry_run)


def uploaded(
    address: StrLike,
    write: Callable[[Path], object],
    card: str,
    *,
    private: BoolLike,
    message: str | None,
    dry_run: BoolLike,
) -> Upload:
    """What `write` writes to a folder, uploaded; at the root of a repository without a card with this one."""
    repository, inside = parts(address)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "files"
        write(folder)
        for left in folder.glob(manifest_name("*")):
            discard(left)  # a commit is whole or absent by itself
        if not inside:
            head = "---\nlibrary_name: jaxinterp\ntags:\n- interpretability\n---\n\n"
            put(folder / CARD, f"{head}# {repository.partition('/')[2]}\n\n{card}".encode())
        plan = Upload(repository, inside, _listed(folder), bool(private))
        return plan if dry_run else _sent(plan, folder, message or "Upload with jaxinterp")


def parts(address: StrLike) -> tuple[str, str]:
    """The repository and the folder in it that an address names. Raises ValueError."""
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    inside = (found[2] or "") if found else ""
    if found is None or {"", ".", ".."} & set(inside.split("/") if inside else []):
        raise ValueError(
            f"address is a repository of the hub, 'owner/name', or a folder in it, 'hf://owner/name/folder'; got {line(address)!r}."
        )
    return found[1], inside


def _listed(folder: Path) -> tuple[tuple[str, int], ...]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((path.relative_to(folder).as_posix(), path.stat().st_size) for path in files)


def _sent(plan: Upload, folder: PathLike, message: str) -> Upload:
    from huggingface_hub import HfApi, errors

    api, folder = HfApi(), Path(folder)
    try:
        api.create_repo(plan.repository, private=plan.private, exist_ok=True)
        if (folder / CARD).is_file() and api.file_exists(plan.repository, CARD):
            discard(folder / CARD)  # the repository's own card stays
        commit = api.upload_folder(
            repo_id=plan.repository,
            folder_path=folder,
            path_in_repo=plan.inside or None,
            commit_message=message,
        )
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError) as error:
        raise PermissionError(
            f"The hub refused the upload to {plan.repository} ({type(error).__name__}: {str(error)[:200]}). Log in "
            "with a token that may write: hf auth login."
        ) from error
    return dataclasses.replace(plan, files=_listed(folder), commit=str(commit.commit_url))
