"""Features as JSON for Neuronpedia: the folder that SAEDashboard writes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._deprecations import check_path_first, respelled
from ..._disk import put, unit
from ...typing import ArrayLike, IndexLike, PathLike
from ...viz._place import check_folder
from ._dashboard_record import plain


@dataclass(frozen=True)
class DashboardSource:
    """The model and the dictionary of a dashboard, and the texts of its examples.

    - `model`: the model's name at Neuronpedia, such as `"gpt2-small"`.
    - `layer`: the layer of the dictionary.
    - `name`: the name of the set of dictionaries, such as `"res-jb"`.
    - `suffix`: the suffix of the dictionary's id; None (the default) for none.
    - `prompts`: how many prompts were searched; 0 by default.
    - `context`: how many tokens each prompt has; 0 by default.
    - `dataset`: the name of the texts; empty by default.

    ```python
    source = ji.sae.DashboardSource(model="gpt2-small", layer=8, name="res-mine", dataset="my texts")
    ```
    """

    model: str
    layer: int
    name: str
    suffix: str | None = None
    prompts: int = 0
    context: int = 0
    dataset: str = ""


@respelled(
    batch="features_per_file=256",
    model='source=ji.sae.DashboardSource(model="gpt2-small", layer=8, name="res-jb")',
    layer='source=ji.sae.DashboardSource(model="gpt2-small", layer=8, name="res-jb")',
    name='source=ji.sae.DashboardSource(model="gpt2-small", layer=8, name="res-jb")',
    suffix="source=ji.sae.DashboardSource(..., suffix=...)",
    prompts="source=ji.sae.DashboardSource(..., prompts=100)",
    context="source=ji.sae.DashboardSource(..., context=128)",
    dataset='source=ji.sae.DashboardSource(..., dataset="text")',
)
def save_dashboard(
    path: PathLike,
    features: Iterable[Mapping[str, Any]],
    *,
    source: DashboardSource,
    skipped: IndexLike = (),
    log_sparsity: ArrayLike | None = None,
    features_per_file: int = 256,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    r"""Writes `batch-{i}.json`, `skipped_indexes.json` and `run_settings.json`, all of them or none.

    The folder is what SAEDashboard (https://github.com/jbloomAus/SAEDashboard) writes and
    Neuronpedia's uploader reads. `run_settings.json` is written last: a folder with it is complete.

    **Arguments:**

    - `path`: the folder.
    - `features`: records of `dashboard_feature`, read one by one.
    - `source`: a `DashboardSource`, the model and the dictionary of the features.
    - `skipped`: numbers of features without a record, such as dead ones; none by default.
    - `log_sparsity (features,)`: logarithms of the shares of tokens on which features fire.
    - `features_per_file`: 256 by default.
    - `settings`: more entries for `run_settings.json`.

    **Returns:** the folder.

    **Raises:** ValueError for `features_per_file` below 1, a record that `dashboard_feature` did not make, or a feature given twice.
    FileExistsError where files of these names exist and do not belong to an earlier dashboard of this library.

    ```python
    shown = [{"tokens": [" a", " b"], "values": [0.0, 2.0]}]
    records = (ji.sae.dashboard_feature(i, examples=shown) for i in range(3))   # `neuronpedia` makes all of them
    source = ji.sae.DashboardSource(model="gpt2-small", layer=8, name="mine")
    ji.sae.save_dashboard("dashboard", records, source=source)
    ```

    Law: the files hold the same strings, and the same numbers to float32; every file is JSON without NaN.
    """
    check_path_first("ji.sae.save_dashboard(path, features, source=source)", path)
    most = features_per_file
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ValueError(f"features_per_file is an int of 1 or more; got {most!r}.")
    layer = int(source.layer)
    path = check_folder(path)
    head = {
        "model_id": source.model,
        "layer": layer,
        "sae_set": source.name,
        "sae_id_suffix": source.suffix,
    }
    shared = {
        "n_prompts_total": source.prompts,
        "n_tokens_in_prompt": source.context,
        "dataset": source.dataset,
    }
    # A folder without run_settings.json is not finished.
    own = ["run_settings.json", "skipped_indexes.json"]
    with unit(path, "dashboard", "run_settings.json", first=own) as folder:
        part: list[Any] = []
        seen: set[int] = set()
        count = 0
        for record in features:
            index = record.get("feature_index")
            if not isinstance(index, int) or "activations" not in record or index in seen:
                raise ValueError(
                    "features are records of ji.sae.dashboard_feature(index, ...), each feature once; "
                    f"got {'feature ' + str(index) + ' again' if index in seen else sorted(record)[:5]}."
                )
            seen.add(index)
            part.append({**record, **shared})
            if len(part) == most:
                own.append(f"batch-{count}.json")
                _write(folder / own[-1], {**head, "features": part})
                part, count = [], count + 1
        if part:
            own.append(f"batch-{count}.json")
            _write(folder / own[-1], {**head, "features": part})
        sparsity = [] if log_sparsity is None else np.asarray(log_sparsity, np.float64)
        _write(
            folder / "skipped_indexes.json",
            {
                "model_id": source.model,
                "layer": str(source.layer),
                "sae_set": source.name,
                "log_sparsity": sparsity,
                "skipped_indexes": [int(i) for i in np.asarray(skipped).reshape(-1)],
            },
        )
        about = {
            **head,
            **shared,
            "n_features_per_batch": int(most),
            "n_features": len(seen),
            **(settings or {}),
        }
        _write(folder / "run_settings.json", about)
    return path


def _write(path: Path, value: Any) -> None:
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    put(path, text.encode("utf-8", "replace"))
