"""Pages made from the code are in step with it, and the README's example runs."""

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jaxinterp as ji

ROOT = Path(__file__).resolve().parents[1]


def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "_hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_site_is_in_the_generated_tables() -> None:
    made = hooks()
    page = made.on_page_markdown((ROOT / "docs" / "sites.md").read_text())
    names = made.on_page_markdown((ROOT / "docs" / "transformer_lens.md").read_text())
    for site in ji.SITES:
        assert f"| `{site}` |" in page and f"| `{site}` |" in names
    assert "<!--" not in page + names


def test_every_public_name_is_in_the_reference() -> None:
    """One page a package, made from its page of contents; a name without a docstring fails the build."""
    reference = hooks()._reference
    assert not reference.undocumented()
    pages = {page.room: {name.path for name in page.names} for page in reference.pages()}
    assert {"", "metrics", "probes", "mesh", *ji.METHODS} <= set(pages)
    for room, names in pages.items():
        module = importlib.import_module(f"jaxinterp.{room}".rstrip("."))
        if hasattr(module, "__path__") and room:
            public = {n for n, v in vars(module).items() if n[0] != "_" and not isinstance(v, ModuleType)}
            public -= {"Moved", "moved_getattr"}  # the mechanism of old names
            assert {f"jaxinterp.{room}.{name}" for name in public} <= names, room
    assert "jaxinterp.viz.mpl.heatmap" in pages["viz"] and "jaxinterp.run" in pages[""]
    assert "[heads](../heads.md)" in next(page.about for page in reference.pages() if page.room == "heads")


def test_how_to_choose_covers_every_family_and_names_what_exists() -> None:
    text = (ROOT / "docs" / "how_to_choose.md").read_text()
    known = {
        name.path.removeprefix("jaxinterp.") for page in hooks()._reference.pages() for name in page.names
    }
    named = re.findall(r"`((?:data\.features|[a-z]+)\.[A-Za-z_]+)[`(]", text)
    assert set(named) <= known, sorted(set(named) - known)
    families = ("probes", "neurons", "sae", "circuits", "heads", "lens", "weights", "tasks", "data", "toy")
    assert {*families, "patching", "corpus", "stats", "mesh"} <= {name.split(".")[0] for name in named}


def test_levels_name_every_package_of_methods_and_what_exists() -> None:
    text = (ROOT / "docs" / "levels.md").read_text()
    known = {
        name.path.removeprefix("jaxinterp.") for page in hooks()._reference.pages() for name in page.names
    }
    named = set(re.findall(r"`([a-z]+(?:\.[A-Za-z_]+)?)`", text))
    assert named <= known, sorted(named - known)
    assert set(ji.METHODS) <= {name.split(".")[0] for name in named}
    own = {name for name in known if re.fullmatch(r"geometry\.[a-z]\w*", name)}
    assert own <= named, sorted(own - named)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ji.__version__ == project["version"] and "__version__" in dir(ji)


def test_the_example_of_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.slow  # the README's example makes nearly the same calls
def test_the_quickstart_runs() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "quickstart.md").read_text(), re.S))
    exec(compile(code, "quickstart.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "attribution",
        "entropy_neurons",
        "explaining_neurons",
        "geometry",
        "mesh",
        "neurons",
        "patching",
        "circuits",
        "probes",
        "probe_controls",
        "probe_studies",
        "sae_features",
        "scale",
        "space_probes",
        "superposition",
        "sparse_regression",
        "training_time",
        "universal_neurons",
    ],
)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    exec(compile(code, f"{page}.md", "exec"), {})
