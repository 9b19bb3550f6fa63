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
from ._hub import factor_for, place
from ._loaded import Loaded
from ._origin import recorded, with_origin
from ._releases import hint, of_centred, on_the_hub
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
    """Reads a dictionary of this library, SAELens, sparsify, dictionary_learning, OpenAI or Gemma Scope.

    | files | written by |
    |---|---|
    | `dictionary.json` | `ji.sae.save` |
    | `cfg.json`, `sae_weights.safetensors` | SAELens, old and new configuration |
    | `cfg.json`, `sae.safetensors` | sparsify |
    | `config.json`, `ae.pt` | dictionary_learning |
    | `params.npz`, `params.safetensors` | Gemma Scope |
    | a torch file with `pre_bias`, or without | OpenAI's dictionaries of GPT-2, or dictionary_learning |
    | any other file with `w_enc`, `threshold` | Gemma Scope |

    `"tiny"` is the TopK dictionary of the embedded model `ji.load("tiny")`, which is part of the package.
    `"hf://owner/name/path"` is a folder or a file of the Hugging Face hub, and `"hf://owner/name@revision/path"` the same
    of a branch, tag or commit. Only the files of that dictionary are fetched; later they are read from the hub's cache.
    Names of SAELens's directory (`"gpt2-small-res-jb/blocks.8.hook_resid_pre"`) and of Gemma Scope
    (`"gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"`) stand for such addresses.
    Torch files are read without torch, and nothing in them is executed. The names of folders decide
    nothing, except in the hub's cache, where they are those of the repository.

    **Arguments:**

    - `path`: a folder or a file, an address on the hub, or a name of a published dictionary;
    - `about`: whether the config of the dictionary is returned too, by default False;
    - `factor`: the number by which activations were multiplied in training. SAELens files with
      `normalize_activations="expected_average_only_in"` that do not hold it need it, and dictionaries of Gemma
      Scope on the embedding;
    - `transcoder`: whether a file of Gemma Scope that does not say it is one, by default not;
    - `ignore`: keys of a config, or tensors, that do not change the dictionary;
    - `kinds`: classes of your own kinds, for a folder of `ji.sae.save` that names one. A file's name for a
      class is looked up here and among the kinds of this library; nothing is imported.

    **Returns:** the dictionary, or `Loaded(dictionary, config)`.

    **Raises:** `FileNotFoundError` where there are no such files; ValueError for files of another library, and for a key,
    a value or a tensor that is not known. For such files give the arrays yourself: `ji.sae.from_arrays`.

    ```python
    sae = ji.sae.load("tiny")
    ji.sae.save("folder", sae)
    sae, config = ji.sae.load("folder", about=True)
    # ji.sae.load("hf://jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre")
    # ji.sae.load("layer_3/width_16k/average_l0_54", transcoder=True), of gemma-scope-2b-pt-transcoders
    ```

    Law: latent values and reconstructions agree with those of the library that wrote the files.
    """
    address = on_the_hub(path)
    if address is not None:
        path = place(address)
        factor = factor_for(address, path) if factor is None else factor
    path = Path(path)
    if not isinstance(kinds, list | tuple) or not all(
        isinstance(k, type) and issubclass(k, Kind) for k in kinds
    ):
        raise ValueError(
            f"kinds is a list of classes that inherit from ji.sae.Kind, kinds=[MyKind]; got {shown(kinds)}."
        )
    with reading(path, "dictionary"):
        loaded = _load(path, factor, transcoder, ignore, kinds)
    if address is not None and address.centred:
        loaded = of_centred(loaded, address)
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
        raise FileNotFoundError(
            f"There is no dictionary at {path}: no such folder or file, no address on the hub (hf://owner/name/path) "
            f"and no name of a published one{hint(str(path)) or '.'}"
        )
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
