"""The folder for Neuronpedia: what is written is what was given, and JSON that all can read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxinterp import sae

VOCAB = [" the", "\n", '"<b>&', "é", "日本", " x"]
EXAMPLES = [
    {
        "tokens": VOCAB[:3],
        "values": np.asarray([0, 0.1, 2.5], np.float32),
        "interval": (2, 3),
        "share": 0.25,
    },
    {"tokens": VOCAB[3:], "values": [1.0, float("nan"), 0.5], "token": 2},
]


def record(index: int = 0, **more: Any) -> sae.DashboardRecord:
    given: dict[str, Any] = {
        "examples": EXAMPLES,
        "active": [0.5, 1, 1, 2.5],
        "density": 0.01,
        "sizes": sae.DashboardSizes(top=2, bins=4),
        "logits": [1.0, -2, float("inf"), 0, float("nan"), -float("inf")],
        "vocab": VOCAB,
        "vector": np.arange(3),
        "neighbours": {"correlated_features_indices": [4, 2]},
    }
    return sae.dashboard_feature(index, **{**given, **more})


def strict(path: Path) -> Any:
    def no(name: str) -> None:
        raise AssertionError(f"{name} in {path}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=no)


def test_a_record_holds_what_was_given() -> None:
    found = record(logits=[1.0, -2, 3, 0, 0.5, -1])
    assert found["pos_str"] == ['"<b>&', " the"] and found["pos_values"] == [3, 1]
    assert found["neg_str"] == ["\n", " x"] and found["neg_values"] == [-2, -1]
    assert sum(found["freq_hist_data_bar_heights"]) == 4 == len(found["freq_hist_data_bar_values"])
    assert found["freq_hist_data_bar_values"][0] == 0.75 and found["vector"] == [0, 1, 2]
    assert found["correlated_features_indices"] == [4, 2] and found["neuron_alignment_l1"] == []
    first, second = found["activations"]
    assert first["tokens"] == VOCAB[:3] and first["values"] == [0, 0.1, 2.5]
    assert (first["bin_min"], first["bin_max"], first["bin_contains"]) == (2, 3, 0.25)
    assert first["qualifying_token_index"] == 2 == second["qualifying_token_index"]
    assert second["values"] == [1, 0, 0.5] and second["bin_max"] == 1


def test_the_folder_is_json_without_nan(tmp_path: Path) -> None:
    folder = sae.save_dashboard(
        tmp_path / "a",
        (record(i) for i in (5, 7, 9)),
        source=sae.DashboardSource(
            model="gpt2-small", layer=8, name="res", prompts=100, context=128, dataset="text"
        ),
        skipped=np.asarray([6, 8]),
        features_per_file=2,
        log_sparsity=[-1.0, -np.inf],
    )
    names = sorted(path.name for path in folder.iterdir())
    files = ["batch-0.json", "batch-1.json", "run_settings.json", "skipped_indexes.json"]
    assert names == sorted([*files, "jaxinterp-dashboard.json"])
    parts = [strict(folder / f"batch-{i}.json") for i in range(2)]
    assert [[f["feature_index"] for f in part["features"]] for part in parts] == [[5, 7], [9]]
    assert parts[0]["model_id"] == "gpt2-small" and parts[0]["sae_id_suffix"] is None
    feature = parts[1]["features"][0]
    assert feature["n_tokens_in_prompt"] == 128 and feature["dataset"] == "text"
    assert feature["activations"][1]["tokens"] == VOCAB[3:]
    assert feature["pos_values"] == [9999, 1] and feature["neg_values"] == [-9999, -2]
    left = strict(folder / "skipped_indexes.json")
    assert left["skipped_indexes"] == [6, 8] and left["log_sparsity"] == [-1, -9999]
    assert left["layer"] == "8" and strict(folder / "run_settings.json")["n_features"] == 3
    # Written again with less, nothing of the old remains.
    sae.save_dashboard(folder, [record(1)], source=sae.DashboardSource(model="m", layer=0, name="n"))
    assert not (folder / "batch-1.json").exists()


def test_what_breaks_off_leaves_the_old(tmp_path: Path) -> None:
    about: Any = {"source": sae.DashboardSource(model="m", layer=0, name="n")}
    folder = sae.save_dashboard(tmp_path, [record(1)], **about)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def broken() -> Any:
        yield record(0)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        sae.save_dashboard(folder, broken(), features_per_file=1, **about)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for bad, words in (
        ([record(1), record(1)], "feature 1 again"),
        ([{"index": 1}], "records of ji.sae.dashboard_feature"),
    ):
        with pytest.raises(ValueError, match=words):
            sae.save_dashboard(folder, bad, **about)
    with pytest.raises(ValueError, match="features_per_file is an int"):
        sae.save_dashboard(folder, [], features_per_file=0, **about)
    with pytest.raises(ValueError, match=r"folder of files is written, and 'x\.html' is the name of one"):
        sae.save_dashboard(tmp_path / "x.html", [], **about)
    with pytest.raises(ValueError, match="one value for each token"):
        record(examples=[{"tokens": ["a"], "values": [1, 2]}])
    with pytest.raises(ValueError, match="a weight for each string"):
        record(vocab=["a"])
    with pytest.raises(ValueError, match="lists by the names"):
        record(neighbours={"friends": [1]})
