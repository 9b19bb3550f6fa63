"""Every class of results has records, a DataFrame, a table for notebooks and a figure, of the same numbers."""

import importlib
import inspect
import numbers
import pkgutil
import re
from typing import Any

import pytest

import jaxinterp as ji
from jaxinterp._tabular import Tabular
from jaxinterp.stats import Result

from .results import MADE

PARTS = ("records", "to_pandas", "figure", "_repr_html_")

ACTS = {
    "models, dictionaries and probes, which are called": """GPT2 GPTNeoX Llama MLP Intervened Dictionary
        Combinations Joined Loaded JacobianLens TunedLens AffineMap Dense Bilinear Factored""",
    "requests, edits and graphs of edges, which are given to other functions": "At Edit Metric Graph Problem Port",
    "prompts, texts and activations, which are read": """Acts SiteGrads Corpus Document Feature Store Stored Stream
        Codes Pairs ModelSeries LazyTensor""",
    "states and solutions that a solver goes on from": "State EarlyStopped Solution",
    "files and pages": """JacobianFile TunedLensConfig DashboardRecord Evaluation Ratings RatingPage FeaturePages Figure""",
    "toy models and data, whose answers are planted": """Dynamics FakeGelu Planted PlantedChain PlantedContext
        PlantedDirection PlantedGeo PlantedIOI PlantedSubspace PlantedUnembed Program Rasp Superposed Recovery""",
    "a chapter of the tour": "Finding",
}


def public() -> dict[type | Any, str]:
    """Every public class and function by the name that users write."""
    found: dict[Any, str] = {}
    for module in pkgutil.walk_packages(ji.__path__, "jaxinterp."):
        private = any(part.startswith("_") for part in module.name.split("."))
        if private or ".cli" in module.name or not (module.ispkg or module.name.count(".") == 1):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            own = getattr(value, "__module__", "").startswith("jaxinterp")
            if own and name[0] != "_" and (inspect.isclass(value) or inspect.isfunction(value)):
                found.setdefault(value, f"{module.name}.{name}")
    return found


def test_every_result_has_all_parts() -> None:
    """A class that a public function returns is a result, or it stands in `ACTS` with what it is."""
    names = public()
    returned = set()
    for value in names:
        if inspect.isfunction(value):
            text = getattr(inspect.unwrap(value), "__annotations__", {}).get("return", "")
            returned |= set(
                re.findall(r"\w+", text if isinstance(text, str) else getattr(text, "__name__", str(text)))
            )
    acts = {name for each in ACTS.values() for name in each.split()}
    classes = [value for value in names if inspect.isclass(value)]
    results = [
        one
        for one in classes
        if issubclass(one, Tabular) or any(hasattr(one, part) for part in PARTS) or one.__name__ in returned
    ]
    results = [one for one in results if not {one.__name__, names[one].rpartition(".")[2]} & acts]
    assert len(results) > 150 and ji.neurons.Ablation in results and ji.patching.Statistics in results
    for one in results:
        missing = [part for part in PARTS if not callable(getattr(one, part, None))]
        assert not missing, f"{names[one]} has no {', '.join(missing)}: inherit from ji.stats.Result"
    assert acts <= {one.__name__ for one in classes} | {names[one].rpartition(".")[2] for one in classes}, (
        "ACTS names what is not there"
    )
    untested = [
        names[one]
        for one in results
        if issubclass(one, Tabular) and one not in (Tabular, Result, *MADE)
        if one.records is Tabular.records or one.figure is Tabular.figure
    ]
    assert not untested, f"made from their fields, and not in MADE of tests/viz/results.py: {untested}"


def is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (int, float, str, bool)


@pytest.mark.parametrize("cls", list(MADE), ids=lambda cls: cls.__name__)
def test_records_figure_and_table(cls: type) -> None:
    """All show the records: plain values, one set of columns, and the numbers of the first row in a notebook."""
    made = MADE[cls]()
    assert isinstance(made, cls)
    rows = made.records()
    assert rows and all(isinstance(row, dict) and row for row in rows)
    for row in rows:
        assert all(isinstance(name, str) and is_plain(value) for name, value in row.items()), row
    figure, table = made.figure(), made._repr_html_()
    assert isinstance(figure, ji.viz.Figure) and len(figure.html) > 100 and figure.title
    text = re.sub(r"<(style|script).*?</\1>", "", table, flags=re.S)
    for value in rows[0].values():
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            shown = str(value) if isinstance(value, int) else ji.viz.number(value)
            assert shown in text or cls in (ji.mesh.Estimate, ji.mesh.MeshPlan), (value, shown)


def test_no_edge_of_the_paths_is_left_out() -> None:
    """Two heads send to the queries of two, to an MLP and to the logits."""
    made = MADE[ji.circuits.DirectPaths]()
    assert len(made.records()) == 2 * 2 + 2 * 1 + 2 == len(made.top(10**6))
    assert len(made.top(3).records()) == 3
