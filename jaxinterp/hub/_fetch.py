"""Folders of the Hugging Face hub: downloaded, or found in its cache."""

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from .._disk import write_whole
from .._read import read_text
from ..typing import PathLike
from ._chat_files import of_files
from ._errors import UnknownModel, listed, near
from ._weights import FLAX, INDEX, SAFETENSORS, TORCH

SMALL = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A folder with one revision of a repository (or a file), and the commit that it is."""

    folder: Path
    commit: str


def fetch(
    hub_id: str,
    revision: str | None = None,
    *,
    cache_dir: PathLike | None = None,
    offline: bool = False,
) -> Snapshot:
    """Downloads the files of a repository of the hub that loading needs, and no others.

    Weights are taken in one format: safetensors where there are any, else torch, else Flax.
    Without a network, or with `offline`, the files come from the hub's cache.

    **Arguments:**

    - `hub_id`: the repository, "owner/name".
    - `revision`: a branch, tag or commit; the main branch by default.
    - `cache_dir`, `offline`: the hub's cache, and whether only the cache is used.

    **Returns:** a snapshot with the `folder` of the files and their `commit`.

    **Raises:** `UnknownModel` when there is no such repository or revision.

    ```python
    found = ji.hub.fetch("EleutherAI/pythia-70m")
    config = ji.hub.read_json(found.folder / "config.json")
    ```
    """
    return fetched(hub_id, revision, wanted, cache_dir=cache_dir, offline=offline)


def fetched(
    hub_id: str,
    revision: str | None,
    choose: Callable[[Iterable[str]], list[str]],
    *,
    cache_dir: PathLike | None = None,
    offline: bool = False,
) -> Snapshot:
    """Some files of a repository: those that `choose` names, of all names there."""
    from huggingface_hub import constants, errors

    if offline or constants.HF_HUB_OFFLINE:
        return _cached(hub_id, revision, cache_dir)
    try:
        return _download(hub_id, revision, choose, cache_dir)
    except UnknownModel:
        raise
    except errors.GatedRepoError as error:
        raise UnknownModel(
            f"{hub_id} is gated: accept its licence on its page, then log in (`hf auth login`)."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownModel(
            f"{hub_id} has no revision {revision!r}; a revision is a branch, a tag or a commit "
            '(Pythia: "step0", "step1", "step512", "step1000", ... "step143000").'
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownModel(
            f"The hub has no model {hub_id!r} (or it is private). A short name, a folder or a hub "
            'id "organisation/name" is expected.'
        ) from error
    except Exception as error:  # what a failing network raises depends on the hub's HTTP library
        try:
            return _cached(hub_id, revision, cache_dir)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{hub_id} could not be fetched ({type(error).__name__}: {str(error)[:200]}), and "
                "the cache does not hold it. Check the network, or give a local folder."
            ) from error


def _download(
    hub_id: str,
    revision: str | None,
    choose: Callable[[Iterable[str]], list[str]],
    cache_dir: PathLike | None,
) -> Snapshot:
    from huggingface_hub import HfApi, snapshot_download

    about = HfApi().model_info(hub_id, revision=revision)
    names = choose(file.rfilename for file in about.siblings or [])
    folder = snapshot_download(
        hub_id,
        revision=about.sha,
        allow_patterns=names,
        cache_dir=None if cache_dir is None else Path(cache_dir),
    )
    _remember(Path(folder), revision or "main")
    return Snapshot(Path(folder), str(about.sha))


def wanted(names: Iterable[str]) -> list[str]:
    """The files of a repository that loading reads: configs, tokenizer, one checkpoint."""
    names = set(names)
    found = [name for name in SMALL if name in names]
    found += [name for name in of_files(names) if name not in found]
    if "tokenizer.json" in found:
        found = [name for name in found if name not in ("vocab.json", "merges.txt")]
    shard = {
        SAFETENSORS: re.compile(r"model-\d+-of-\d+\.safetensors"),
        TORCH: re.compile(r"pytorch_model-\d+-of-\d+\.bin"),
        FLAX: None,
    }
    for base, pattern in shard.items():
        if base in names:
            return [*found, base]
        if base + INDEX in names and pattern is not None:
            return [*found, base + INDEX, *sorted(n for n in names if pattern.fullmatch(n))]
    return found


def _remember(folder: Path, revision: str) -> None:
    """Records which commit a branch or tag was, so that the cache answers for it offline."""
    if folder.parent.name == "snapshots" and not re.fullmatch(r"[0-9a-f]{40}", revision):
        ref = folder.parent.parent / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        write_whole(ref, folder.name.encode())


def _cached(hub_id: str, revision: str | None, cache_dir: PathLike | None) -> Snapshot:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir)
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    if not repository.is_dir():
        raise FileNotFoundError(
            f"{hub_id} is not in the cache {cache}, and this is offline. Download it once with a "
            "network, or give a local folder."
        )
    return from_cache(repository, revision)


def is_cache(folder: Path) -> bool:
    """Whether a folder is a repository in the hub's cache layout, and not a model that has a folder
    called `snapshots`."""
    return (folder / "snapshots").is_dir() and not (folder / "config.json").is_file()


def from_cache(repository: Path, revision: str | None = None) -> Snapshot:
    """The snapshot of a revision in `models--org--name`: by branch or tag, or by (short) commit.

    Raises `FileNotFoundError` that lists what is there.
    """
    revision = "main" if revision is None else revision
    snapshots = sorted(path.name for path in (repository / "snapshots").iterdir())
    refs_folder = repository / "refs"
    refs = {
        path.relative_to(refs_folder).as_posix(): read_text(path, max_bytes=2**12).strip()
        for path in (sorted(refs_folder.rglob("*")) if refs_folder.is_dir() else [])
        if path.is_file()
    }
    commit = refs.get(revision)
    if commit is None:
        starts = [name for name in snapshots if len(revision) >= 7 and name.startswith(revision)]
        commit = starts[0] if len(starts) == 1 else None
    if commit is None or commit not in snapshots:
        known = [*refs, *snapshots]
        raise FileNotFoundError(
            f"The cache {repository.name} has no revision {revision!r}{near(revision, known)}; it "
            f"holds {listed(known)}. Download the revision once with a network."
        )
    return Snapshot(repository / "snapshots" / commit, commit)
