"""Features as JSON for Neuronpedia: the folder that SAEDashboard writes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._disk import put, unit
from ...viz._place import check_folder

LARGEST = 9999.0  # what stands for infinity: JSON has no word for it
NEIGHBOURS = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_l1",
    "correlated_neurons_pearson",
    "correlated_features_indices",
    "correlated_features_l1",
    "correlated_features_pearson",
)


def dashboard_feature(
    index: int,
    *,
    examples: Iterable[Mapping[str, Any]] = (),
    active: Any = (),
    density: Any = 0.0,
    logits: Any = (),
    vocab: Sequence[str] = (),
    top: int = 10,
    bins: int = 50,
    vector: Any = (),
    neighbours: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    r"""One feature's record: histograms of its activations and logit weights, its tokens, its examples.

    **Arguments:**

    - `index`: the number of the feature.
    - `examples`: dicts with `tokens` (strings) and `values` (of the same length). Optional entries are
      `interval` (low, high) of activation, `share` (the share of activations in the interval) and `token`
      (the place of the example; by default its largest value by magnitude).
    - `active`: activations of a sample that are not 0, for the histogram; none by default.
    - `density`: share of tokens on which the feature fires; 0 by default.
    - `logits`: logit weights `(vocab,)`; none by default.
    - `vocab`: the tokens as strings `(vocab,)`; none by default.
    - `top`: number of largest and of smallest logit weights in the record; 10 by default.
    - `bins`: bins of a histogram; 50 by default.
    - `vector`: the decoder row `(d,)`; none by default.
    - `neighbours`: any of SAEDashboard's lists `neuron_alignment_...`, `correlated_neurons_...`,
      `correlated_features_...`; none by default.

    **Returns:** a dict that JSON can hold, NaN as 0 and infinity as 9999.

    **Raises:** ValueError for tokens and values of different lengths, logits without a vocabulary of their length,
    and lists of neighbours by other names.

    ```python
    record = ji.sae.dashboard_feature(7, examples=[{"tokens": [" a", " b"], "values": [0.0, 2.0]}])
    ```

    Law: what is read back is what was given, to float32.
    """
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 1 or len(vocab) != len(logits):
        raise ValueError(
            f"logits is (vocab,), a weight for each string of vocab; got {logits.shape} and "
            f"{len(vocab)} strings."
        )
    strange = sorted(set(neighbours or ()) - set(NEIGHBOURS))
    if strange:
        raise ValueError(f"neighbours are lists by the names {', '.join(NEIGHBOURS)}; got {strange}.")
    order = np.argsort(np.where(np.isnan(logits), 0, logits), kind="stable")
    low, high = order[:top], order[::-1][:top]
    active = np.asarray(active, np.float64).ravel()
    words = lambda places: [str(vocab[i]) for i in places]
    return plain(
        {
            "feature_index": int(index),
            **{name: [] for name in NEIGHBOURS},
            **(neighbours or {}),
            "neg_str": words(low),
            "neg_values": logits[low],
            "pos_str": words(high),
            "pos_values": logits[high],
            "frac_nonzero": density,
            **_histogram("freq_hist_data", active, bins),
            **_histogram("logits_hist_data", logits, bins),
            "decoder_weights_dist": [],
            "vector": np.asarray(vector, np.float64).ravel(),
            "activations": [_example(i, example) for i, example in enumerate(examples)],
        }
    )


def save_dashboard(
    path: str | Path,
    features: Iterable[Mapping[str, Any]],
    *,
    model: str,
    layer: int | Any,
    name: str,
    suffix: str | None = None,
    prompts: int = 0,
    context: int = 0,
    dataset: str = "",
    skipped: Iterable[int] | Any = (),
    log_sparsity: Any = None,
    batch: int = 256,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    r"""Writes `batch-{i}.json`, `skipped_indexes.json` and `run_settings.json`, all of them or none.

    The folder is what SAEDashboard (https://github.com/jbloomAus/SAEDashboard) writes and
    Neuronpedia's uploader reads. `run_settings.json` is written last: a folder with it is complete.

    **Arguments:**

    - `path`: the folder to write.
    - `features`: records of `dashboard_feature`, read one by one.
    - `model`, `layer`, `name`: the set of dictionaries, such as "gpt2-small", 8 and "res-jb".
    - `suffix`: suffix of its id; none by default.
    - `prompts`: number of prompts that were searched; 0 by default.
    - `context`: their length in tokens; 0 by default.
    - `dataset`: the name of their data set; empty by default.
    - `skipped`: numbers of features without a record, such as dead ones; none by default.
    - `log_sparsity`: `(features,)`; none by default.
    - `batch`: features in one file; 256 by default.
    - `settings`: further entries of `run_settings.json`; none by default.

    **Returns:** the folder.

    **Raises:** ValueError for a batch below 1, a record that `dashboard_feature` did not make, or a feature given twice.
    FileExistsError where files of these names are there and are none of an earlier dashboard of this library.

    ```python
    records = (ji.sae.dashboard_feature(i, examples=found[i]) for i in range(sae.features))
    ji.sae.save_dashboard("dashboard", records, model="gpt2-small", layer=8, name="mine")
    ```

    Law: strings come back to the letter, numbers to float32, and every file is JSON without NaN.
    """
    if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
        raise ValueError(f"batch is an int of 1 or more, features a file; got {batch!r}.")
    path = check_folder(path)
    head = {"model_id": model, "layer": int(layer), "sae_set": name, "sae_id_suffix": suffix}
    shared = {"n_prompts_total": prompts, "n_tokens_in_prompt": context, "dataset": dataset}
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
            if len(part) == batch:
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
                "model_id": model,
                "layer": str(layer),
                "sae_set": name,
                "log_sparsity": sparsity,
                "skipped_indexes": [int(i) for i in skipped],
            },
        )
        about = {
            "model_id": model,
            "layer": int(layer),
            "sae_set": name,
            "sae_id_suffix": suffix,
            **shared,
            "n_features_per_batch": int(batch),
            "n_features": len(seen),
            **(settings or {}),
        }
        _write(folder / "run_settings.json", about)
    return path


def _write(path: Path, value: Any) -> None:
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    put(path, text.encode("utf-8", "replace"))


def plain(value: Any) -> Any:
    """What JSON can hold: arrays as lists, numbers of float32, NaN as 0 and infinity as 9999."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if hasattr(value, "dtype"):
        value = np.asarray(value)
        value = value.astype(np.float64) if value.dtype.kind == "V" else value
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        if not np.isfinite(value):
            return 0.0 if np.isnan(value) else float(np.copysign(LARGEST, value))
        # The shortest decimal that is the same in float32: half the file.
        return float(str(np.float32(value))) if abs(value) < 3e38 else float(np.copysign(LARGEST, value))
    return value


def _histogram(name: str, values: np.ndarray, bins: int) -> dict[str, Any]:
    """Middles and heights of bins over what is finite."""
    values = values[np.isfinite(values)]
    heights, edges = np.histogram(values, bins) if values.size else (np.zeros(0, int), np.zeros(1))
    return {f"{name}_bar_values": (edges[:-1] + edges[1:]) / 2, f"{name}_bar_heights": heights}


def _example(i: int, given: Mapping[str, Any]) -> dict[str, Any]:
    tokens, values = [str(t) for t in given["tokens"]], np.asarray(given["values"], np.float64)
    if values.shape != (len(tokens),) or not tokens:
        raise ValueError(
            f"Example {i} has {len(tokens)} tokens and values of the shape {values.shape}: one "
            "value for each token."
        )
    known = np.nan_to_num(values)
    low, high = given.get("interval", (min(0.0, known.min()), known.max()))
    place = given.get("token", int(np.abs(known).argmax()))
    return {
        "bin_min": float(low),
        "bin_max": float(high),
        "bin_contains": float(given.get("share", 0)),
        "qualifying_token_index": int(place),
        "tokens": tokens,
        "values": values,
        "dfa_values": [],
        "dfa_maxValue": 0.0,
        "dfa_targetIndex": 0,
    }
