"""One feature of a dashboard: the record that Neuronpedia reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import numpy as np

from ..._deprecations import respelled
from ...typing import ArrayLike

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


class DashboardRecord(TypedDict):
    """One feature of a dashboard; made by `dashboard_feature`. JSON can hold it: NaN is 0 and infinity 9999.

    - `feature_index`: its number.
    - `neuron_alignment_...`, `correlated_neurons_...`, `correlated_features_...`: lists of neighbours,
      empty where they are not known.
    - `neg_str`, `neg_values`, `pos_str`, `pos_values`: the tokens with the smallest and the largest
      logit weights, and those weights.
    - `frac_nonzero`: the share of tokens on which it fires.
    - `freq_hist_data_...`, `logits_hist_data_...`: heights and values of the bars of two histograms.
    - `vector`: its decoder row.
    - `activations`: its examples.

    ```python
    record = ji.sae.dashboard_feature(7, logits=[0.5, -1.0, 2.0], vocab=[" a", " b", " c"])
    record["pos_str"][0], record["neg_str"][0]          # " c", " b"
    ```
    """

    feature_index: int
    neuron_alignment_indices: list[int]
    neuron_alignment_values: list[float]
    neuron_alignment_l1: list[float]
    correlated_neurons_indices: list[int]
    correlated_neurons_l1: list[float]
    correlated_neurons_pearson: list[float]
    correlated_features_indices: list[int]
    correlated_features_l1: list[float]
    correlated_features_pearson: list[float]
    neg_str: list[str]
    neg_values: list[float]
    pos_str: list[str]
    pos_values: list[float]
    frac_nonzero: float
    freq_hist_data_bar_heights: list[float]
    freq_hist_data_bar_values: list[float]
    logits_hist_data_bar_heights: list[float]
    logits_hist_data_bar_values: list[float]
    decoder_weights_dist: list[float]
    vector: list[float]
    activations: list[dict[str, Any]]


@dataclass(frozen=True)
class DashboardSizes:
    """The size of the lists in a record of `dashboard_feature`.

    - `top`: how many tokens at either end of the logit weights; 10 by default.
    - `bins`: how many bars each histogram has; 50 by default.

    ```python
    record = ji.sae.dashboard_feature(7, active=[0.5, 2.0], sizes=ji.sae.DashboardSizes(bins=20))
    len(record["freq_hist_data_bar_heights"])           # 20
    ```
    """

    top: int = 10
    bins: int = 50


@respelled(
    top="sizes=ji.sae.DashboardSizes(top=10)",
    bins="sizes=ji.sae.DashboardSizes(bins=50)",
)
def dashboard_feature(
    index: int,
    *,
    examples: Iterable[Mapping[str, Any]] = (),
    active: ArrayLike = (),
    density: ArrayLike = 0.0,
    logits: ArrayLike = (),
    vocab: Sequence[str] = (),
    sizes: DashboardSizes = DashboardSizes(),
    vector: ArrayLike = (),
    neighbours: Mapping[str, Any] | None = None,
) -> DashboardRecord:
    r"""The record of one feature of a dashboard: histograms of activations and logit weights, tokens, examples.

    **Arguments:**

    - `index`: the number of the feature.
    - `examples`: dicts of `tokens` (strings) and `values` (of the same length). A dict may also have `interval`, the
      lowest and highest activation of its interval; `share`, the share of the activations in it; and `token`, the place
      of the token that the example was chosen for (by default the value with the largest magnitude).
    - `active`: the activations of a sample that are not 0, for the histogram.
    - `density`: the share of tokens on which it fires; 0 by default.
    - `logits (vocab,)`: its logit weights; `vocab`: the tokens as strings.
    - `sizes`: a `DashboardSizes`, how many tokens and bars the record holds.
    - `vector (d,)`: its decoder row.
    - `neighbours`: any of SAEDashboard's lists `neuron_alignment_...`, `correlated_neurons_...`,
      `correlated_features_...`.

    **Returns:** a `DashboardRecord`, a dict that JSON can hold, NaN as 0 and infinity as 9999.

    **Raises:** ValueError for tokens and values of different lengths, logits without a vocabulary of their length,
    and lists of neighbours by other names.

    ```python
    record = ji.sae.dashboard_feature(7, examples=[{"tokens": [" a", " b"], "values": [0.0, 2.0]}])
    ```

    Law: the record holds the numbers that were given, to float32.
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
    low, high = order[: sizes.top], order[::-1][: sizes.top]
    active = np.asarray(active, np.float64).ravel()
    words = lambda places: [str(vocab[i]) for i in places]
    record = plain(
        {
            "feature_index": int(index),
            **{name: [] for name in NEIGHBOURS},
            **(neighbours or {}),
            "neg_str": words(low),
            "neg_values": logits[low],
            "pos_str": words(high),
            "pos_values": logits[high],
            "frac_nonzero": density,
            **_histogram("freq_hist_data", active, sizes.bins),
            **_histogram("logits_hist_data", logits, sizes.bins),
            "decoder_weights_dist": [],
            "vector": np.asarray(vector, np.float64).ravel(),
            "activations": [_example(i, example) for i, example in enumerate(examples)],
        }
    )
    return cast(DashboardRecord, record)


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
