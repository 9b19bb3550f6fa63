"""Reading a dictionary, whoever wrote it."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from ..._disk import reading, settled
from ..._read import named, open_regular, open_zip, regular
from ..._text import shown
from ...typing import FloatLike, PathLike
from ..kinds._coder import Coder
from ..kinds._from_arrays import WAY_IN
from ..kinds._kind import Kind
from ._dictionary_learning import load_dictionary_learning
from ._folding import check_number
from ._gemma_scope import load_gemma_scope
from ._loaded import Loaded
from ._origin import recorded, with_origin
from ._saelens import load_saelens
from ._save import load_own
from ._sparsify import load_openai, load_sparsify

FOLDERS: tuple[tuple[str, tuple[str, ...], Callable[..., Loaded]], ...] = (
    ("jaxinterp", ("dictionary.json",), load_own),
    ("SAELens", ("cfg.json", "sae_weights.safetensors"), load_saelens),
    ("sparsify", ("cfg.json", "sae.safetensors"), load_sparsify),
    ("dictionary_learning", ("config.json", "ae.pt"), load_dictionary_learning),
)
PARAMS = ("params.npz", "params.safetensors")
OPTIONS: dict[Any, tuple[str, ...]] = {
    load_saelens: ("factor", "ignore"),
    load_sparsify: ("ignore",),
    load_openai: ("ignore",),
    load_dictionary_learning: ("ignore",),
    load_gemma_scope: ("factor", "transcoder", "ignore"),
}


@overload
def load(
    path: PathLike,
    *,
    about: Literal[False] = False,
    factor: FloatLike | None = None,
    transcoder: bool | None = None,
    ignore: Sequence[str] = (),
    kinds: Sequence[type[Kind]] = (),
) -> Coder: ...


@overload
def load(
    path: PathLike,
    *,
    about: Literal[True],
    factor: FloatLike | None = None,
    transcoder: bool | None = None,
    ignore: Sequence[str] = (),
    kinds: Sequence[type[Kind]] = (),
) -> Loaded: ...


@settled
def load(
    path: PathLike,
    *,
    about: bool = False,
    factor: FloatLike | None = None,
    transcoder: bool | None = None,
    ignore: Sequence[str] = (),
    kinds: Sequence[type[Kind]] | Any = (),
) -> Coder | Loaded:
    """A dictionary from disk: ours, SAELens, sparsify, dictionary_learning, OpenAI's, Gemma Scope.

    | what is there | whose it is |
    |---|---|
    | `dictionary.json` | `ji.sae.save` |
    | `cfg.json`, `sae_weights.safetensors` | SAELens, old and new configuration |
    | `cfg.json`, `sae.safetensors` | sparsify |
    | `config.json`, `ae.pt` | dictionary_learning |
    | `params.npz`, `params.safetensors` | Gemma Scope |
    | a torch file with `pre_bias`, or without | OpenAI's dictionaries of GPT-2, or dictionary_learning |
    | any other file with `w_enc`, `threshold` | Gemma Scope |

    `"tiny"` is the TopK dictionary of the embedded model, `ji.load("tiny")`, that the package carries.
    Torch files are read without torch, and nothing in them is executed. Names of folders decide
    nothing, except in the hub's cache, where they are the repository's own.

    **Arguments:**

    - `path`: a folder or a file;
    - `about`: whether to return the config that came with it too, by default False;
    - `factor`: what activations were multiplied by in training, for SAELens files of
      `normalize_activations="expected_average_only_in"` that do not hold it, and for dictionaries of Gemma
      Scope on the embedding;
    - `transcoder`: whether a file of Gemma Scope that does not say it is one, by default not;
    - `ignore`: keys of a config, or tensors, that you know cannot matter;
    - `kinds`: classes of your own kinds, for a folder of `ji.sae.save` that names one. A file's name for a
      class is looked up here and among the kinds of this library; nothing is imported.

    **Returns:** the dictionary, or `Loaded(dictionary, config)`.

    **Raises:** `FileNotFoundError` where there is nothing, ValueError for what none of these wrote,
    for a key, a value or a tensor that is not known. What nothing here reads is given by its arrays:
    `ji.sae.from_arrays`.

    ```python
    sae = ji.sae.load("folder")
    sae, config = ji.sae.load("folder", about=True)
    sae = ji.sae.load("layer_3/width_16k/average_l0_54", transcoder=True)  # of gemma-scope-2b-pt-transcoders
    ```

    Law: forwards agree with those of the library that wrote it.
    """
    path = Path(path)
    if not isinstance(kinds, list | tuple) or not all(
        isinstance(k, type) and issubclass(k, Kind) for k in kinds
    ):
        raise ValueError(
            f"kinds is a list of classes that inherit from ji.sae.Kind, kinds=[MyKind]; got {shown(kinds)}."
        )
    with reading(path, "dictionary"):
        loaded = _load(path, factor, transcoder, ignore, kinds)
    return loaded if about else loaded.dictionary


def _load(
    path: Path, factor: Any, transcoder: bool | None, ignore: Sequence[str], kinds: Sequence[type[Kind]]
) -> Loaded:
    reader, path = _reader(path)
    ignore = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    options = {"factor": factor, "transcoder": transcoder, "ignore": ignore or None}
    options = {name: value for name, value in options.items() if value is not None}
    known = OPTIONS.get(reader, ())
    if "factor" in options and "factor" not in known:
        raise ValueError(
            f"Only SAELens files need a factor, and Gemma Scope's of the embedding; {path} is of "
            "another library."
        )
    for name in options:
        if name not in known:
            raise ValueError(f"{path} needs no {name}=: load it without.")
    if factor is not None:
        check_number(factor)
    if reader is load_own:
        options = {"kinds": tuple(kinds)}
    with named(path):
        sae, config = reader(path, **options)
    return Loaded(with_origin(sae, recorded(config)), config)


def _packaged(_: Path) -> Loaded:
    """The dictionary of the embedded model, which is stored in float16."""
    sae, about = load_own(Path(__file__).resolve().parent.parent.parent / "_tiny" / "dictionary")
    return Loaded(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), sae), about)


def _reader(path: Path) -> tuple[Callable[..., Loaded], Path]:
    """Who reads what is there, and the path to read."""
    if str(path) == "tiny" and not path.exists():
        return _packaged, path
    if not path.exists():
        raise FileNotFoundError(f"There is no dictionary at {path}: no such folder or file.")
    if not path.is_dir():
        regular(path)
        return _file(path), path
    for name in PARAMS:
        if (path / name).is_file():
            return load_gemma_scope, path / name
    for _, names, reader in FOLDERS:
        if all((path / name).is_file() for name in names):
            return reader, path
    there = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    contents = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if there[12:] else "")
    tried = [f"{who} ({', '.join(names)})" for who, names, _ in FOLDERS]
    tried.append(f"Gemma Scope ({' or '.join(PARAMS)})")
    raise ValueError(
        f"{path} holds no dictionary that is known here: it has {contents or 'nothing'}. Looked for were "
        f"{', '.join(tried)}; OpenAI's is a torch file, given itself. {WAY_IN}"
    )


def _file(path: Path) -> Callable[..., Loaded]:
    """Who reads a file, by what it holds."""
    from ...hub import open_safetensors, read_torch

    if zipfile.is_zipfile(path):
        try:
            archive = open_zip(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise ValueError(f"{path} is truncated or corrupt ({error}); fetch it again.") from error
        with archive:
            arrays = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        if not arrays:
            state = read_torch(path)
            openai = isinstance(state, dict) and {"pre_bias", "latent_bias"} & {*state}
            return load_openai if openai else load_dictionary_learning
        contents = arrays
    else:
        with open_regular(path) as file:
            start = file.read(9)
        if start[:1] == b"\x80":  # a pickle, from before torch wrote archives
            read_torch(path)
        contents = list(open_safetensors(path)) if start[8:] == b"{" else []
    if {"w_enc", "threshold"} <= {name.lower() for name in contents}:
        return load_gemma_scope
    raise ValueError(
        f"Give the folder of the dictionary, not {path.name}: ji.sae.load({str(path.parent)!r}). "
        "Alone are read torch files of OpenAI and dictionary_learning, and arrays of Gemma Scope; "
        f"this one has {', '.join(contents[:12]) or 'no tensors'}. {WAY_IN}"
    )
