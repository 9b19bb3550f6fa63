"""Reading a dictionary, whoever wrote it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ._foreign import load_dictionary_learning, load_gemma_scope, load_openai, load_sparsify
from ._origin import recorded, with_origin
from ._saelens import load_saelens
from ._save import load_own


def load(path: str | Path, *, about: bool = False, factor: Any = None) -> Any:
    """A dictionary from disk: ours, SAELens, sparsify, dictionary_learning, OpenAI's, Gemma Scope.

    | what is there | whose it is |
    |---|---|
    | `dictionary.json` | `ji.sae.save` |
    | `cfg.json`, `sae_weights.safetensors` | SAELens, old and new configuration |
    | `cfg.json`, `sae.safetensors` | sparsify |
    | `config.json`, `ae.pt` | dictionary_learning |
    | `params.npz`, `params.safetensors` | Gemma Scope |
    | a torch file `.pt` | OpenAI's dictionaries of GPT-2 |

    `"tiny"` is the TopK dictionary of the embedded model, `ji.load("tiny")`, that the package carries.
    Torch files are read without torch, and nothing in them is executed.

    **Arguments:** `path`: a folder or a file; `about`: also the config that came with it; `factor`:
    what activations were multiplied by in training, for SAELens files of
    `normalize_activations="expected_average_only_in"` that do not hold it.

    **Returns:** the dictionary, or `(dictionary, config)`.

    **Raises:** `FileNotFoundError` where there is nothing, ValueError for what none of these wrote.

    ```python
    sae = ji.sae.load("folder")
    sae, config = ji.sae.load("folder", about=True)
    ```

    Law: forwards agree with those of the library that wrote it.
    """
    path = Path(path)
    reader = _packaged if str(path) == "tiny" and not path.exists() else _reader(path)
    if factor is not None:
        if reader is not load_saelens:
            raise ValueError(f"Only SAELens files need a factor; {path} is of another library.")
        reader = lambda folder: load_saelens(folder, factor)
    sae, config = reader(path)
    found = with_origin(sae, recorded(config)), config
    return found if about else found[0]


def _packaged(_: Path) -> Any:
    """The dictionary of the embedded model, which lies there in float16."""
    sae, about = load_own(Path(__file__).resolve().parent.parent / "_tiny" / "dictionary")
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), sae), about


def _reader(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"There is no dictionary at {path}: no such folder or file.")
    if path.is_file():
        if path.suffix == ".pt":
            return load_openai
        if path.name in ("params.npz", "params.safetensors"):
            return load_gemma_scope
        raise ValueError(
            f"Give the folder of the dictionary, not {path.name}: ji.sae.load({str(path.parent)!r})."
        )
    for name in ("params.npz", "params.safetensors"):
        if (path / name).is_file():
            return lambda folder: load_gemma_scope(folder / name)
    for names, reader in (
        (("dictionary.json",), load_own),
        (("cfg.json", "sae_weights.safetensors"), load_saelens),
        (("cfg.json", "sae.safetensors"), load_sparsify),
        (("config.json", "ae.pt"), load_dictionary_learning),
    ):
        if all((path / name).is_file() for name in names):
            return reader
    there = sorted(p.name for p in path.iterdir())[:8]
    raise ValueError(
        f"{path} holds no dictionary that is known here: it has {', '.join(there) or 'nothing'}. "
        "A SAELens folder has cfg.json and sae_weights.safetensors."
    )
