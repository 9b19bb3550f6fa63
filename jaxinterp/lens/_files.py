"""Lenses on disk, in the formats of tuned-lens and of published Jacobian lenses."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .._deprecations import check_path_first
from .._disk import BadFolder, put, reading, settled, unit
from .._read import named
from ..typing import ModelLike, PathLike
from ._jacobian import JacobianLens
from ._jacobian_format import from_jacobian_format, to_jacobian_format
from ._read import Lens
from ._tuned import TunedLens
from ._tuned_format import from_tuned_lens_format, to_tuned_lens_format

if TYPE_CHECKING:
    LensLike: TypeAlias = Lens
    "A lens of `ji.lens`. What is no lens is refused by `save` itself."
else:
    LensLike = Any


def save(
    path: PathLike, lens: LensLike, model: ModelLike | None = None, *, prompts: int | None = None
) -> None:
    """Writes a lens in a published format: a `TunedLens` to a folder, a `JacobianLens` to a `.pt` file.

    **Arguments:**

    - `path`: the folder or file.
    - `lens`: a `TunedLens` or a `JacobianLens`.
    - `model`: a tuned lens records the name of this model and the hash of its unembedding; None by default.
    - `prompts`: how many prompts a Jacobian lens was fitted on; None by default.

    ```python
    ji.lens.save("lens", lens, model)                   # config.json and params.pt
    ```

    **Raises:** FileExistsError for a folder whose `config.json` belongs to something else.

    Law: `ji.lens.load` returns the same lens (a Jacobian lens rounded to float16), and tuned-lens
    and `torch.load` read the files.
    """
    from ..hub import write_torch

    check_path_first("ji.lens.save(path, lens)", path)
    path = Path(path)
    if isinstance(lens, TunedLens):
        config, params = to_tuned_lens_format(lens, model)
        # A config.json without params.pt is that of a model.
        first = () if (path / "params.pt").is_file() else ("config.json",)
        with unit(path, "lens", "config.json", first=first) as folder:
            write_torch(folder / "params.pt", params)
            put(folder / "config.json", json.dumps(config).encode())
    elif isinstance(lens, JacobianLens):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_torch(path, to_jacobian_format(lens, prompts=prompts))
    else:
        raise ValueError(
            f"ji.lens.save(path, lens) writes a TunedLens or a JacobianLens; got a {type(lens).__name__}."
        )


@settled
def load(path: PathLike, model: ModelLike | None = None) -> TunedLens | JacobianLens:
    """Reads a lens from disk: a folder of tuned-lens (`config.json`, `params.pt`), or a Jacobian `.pt` file.

    **Arguments:**

    - `path`: the folder or file.
    - `model`: the model that a tuned lens should belong to. Another unembedding is a warning. None (the
      default) checks nothing.

    **Returns:** a `TunedLens` or a `JacobianLens`.

    **Raises:** FileNotFoundError for a folder without one of the two files; ValueError for files of
    another form.

    ```python
    lens = ji.lens.load("lens", model)
    ```
    """
    from ..hub import read_json, read_torch

    path = Path(path)
    if not path.is_dir():
        with named(path):
            return from_jacobian_format(read_torch(path))
    try:
        with reading(path, "lens"):
            _check_there(path)
            config = read_json(path / "config.json")
            with named(path):
                return from_tuned_lens_format(config, read_torch(path / "params.pt"), model)
    except BadFolder:
        _check_there(path)  # the message names a missing file first
        raise


def _check_there(path: Path) -> None:
    for name in ("config.json", "params.pt"):
        if not (path / name).is_file():
            raise FileNotFoundError(
                f"A folder of tuned-lens has config.json and params.pt; {path} has no {name}."
            )
