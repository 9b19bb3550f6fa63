"""Pages made from the code are in step with it, and the README's example runs."""

import ast
import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

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


def test_every_entry_of_the_reference_links_to_its_definition() -> None:
    reference = hooks()._reference
    address = reference.repository()
    for page in reference.pages():
        made = page.markdown()
        for name in page.names:
            where, line = name.address.removeprefix(f"{address}/blob/main/").split("#L")
            text = (ROOT / where).read_text().splitlines()[int(line) - 1]
            assert re.search(rf"\b{name.node_name}\b", text), name.path
            assert f"::: {name.place}\n" in made and f"]({name.address})" in made, name.path
            if name.is_class and not name.examples:
                assert re.search(r"^(Returned by|Taken by|Part of|See) ", name.markdown(), re.M), name.path


def test_the_address_of_the_repository_is_that_of_the_project() -> None:
    """`[project.urls]` is the one place of it: what else names it in full says the same."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    owner = urls["Repository"].removesuffix("/jaxinterp")
    files = [*ROOT.glob("*.*"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.ipynb")]
    for path in (path for path in files if path.suffix in (".md", ".toml", ".yml", ".cff", ".ipynb")):
        for found in re.findall(r"[\w./:-]*/jaxinterp(?:\.git)?\b", path.read_text(encoding="utf-8")):
            if "github.com" in found:
                assert found.split("https://")[-1].startswith(owner.split("https://")[-1]), (path.name, found)


def test_the_site_carries_what_draws_equations() -> None:
    """KaTeX with the fonts that its style sheet names, and its licence: nothing is fetched."""
    katex = ROOT / "docs" / "theme" / "katex"
    fonts = set(re.findall(r"url\(fonts/([\w-]+\.woff2)\)", (katex / "katex.min.css").read_text()))
    assert fonts == {path.name for path in (katex / "fonts").iterdir()} and len(fonts) > 10
    assert "The MIT License" in (katex / "LICENSE").read_text()


def test_every_page_of_methods_has_a_picture_that_the_build_makes() -> None:
    pictures = hooks()._pictures
    nav = (ROOT / "mkdocs.yml").read_text().split("- Methods:", 1)[1].split("\n  - ", 1)[0]
    methods = set(re.findall(r"- (\w+\.md)", nav)) - {"how_to_choose.md", "levels.md"}
    assert len(methods) > 25 and methods <= {page for page, _ in pictures.pages(ROOT / "docs")}


PAGE = """
```python
import jax
count, unused = 2, print("not run")
kept = {}
kept.update(a=[letter for letter in "abc"])
for letter in "xyz":
    print(letter)
```

<!-- picture -->
```python
import jaxinterp as ji
ji.viz.heatmap([[count, 1]], rows=kept["a"][:1], title="First").save("first.html")
print("no picture")
```

Text.

<!-- picture -->
```python
count += 1
ji.viz.lines({"one": [count, 4]}, title="Second")
```
"""


def test_a_picture_is_made_from_the_code_above_it(capsys: Any) -> None:
    pictures = hooks()._pictures
    statements = [
        part for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) for part in ast.parse(code).body
    ]
    read = [ast.unparse(part) for part in pictures.needed(statements[:-3])]
    assert len(read) == 5 and "import jax" not in read and not any("xyz" in line for line in read)
    first, second = pictures.drawn(PAGE, "page.md")
    assert "First" in first and "Second" in second and "not run" not in capsys.readouterr().out
    assert not Path("first.html").exists()
    places = pictures.placed(PAGE, "page.md")
    assert places.count("<!--") == 0 and places.count('class="ji-picture"') == 2
    made = pictures.filled(places, "page.md", [first, second])
    assert made.index("kept.update") < made.index(first) < made.index("Text.") < made.index(second)
    with pytest.raises(ValueError, match=r"page\.md asks for the picture of a block that makes no figure"):
        pictures.drawn("<!-- picture -->\n```python\nprint(1)\n```\n", "page.md")


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
    own = {name for name in known if re.fullmatch(r"(geometry|steering|chains)\.[a-z]\w*", name)}
    assert own <= named, sorted(own - named)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ji.__version__ == project["version"] and "__version__" in dir(ji)


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: Any) -> None:
    """The thirty lines, which draw the picture above them: the stored one has the same tokens and cells."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(code.splitlines()) <= 30
    exec(compile(code, "README.md", "exec"), {})
    drawn, stored = (path.read_text() for path in (Path("patching.svg"), ROOT / "docs/pictures/patching.svg"))
    assert drawn.count("<rect") == stored.count("<rect") and "une" in stored


def test_the_project_says_how_it_is_cited_and_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = dict(
        line.split(": ", 1)
        for line in (ROOT / "CITATION.cff").read_text().splitlines()
        if re.match(r"[\w-]+: ", line)
    )
    assert cited["version"] == project["version"] and cited["license"] == project["license"]
    assert cited["repository-code"] == project["urls"]["Repository"]
    environment = (ROOT / "environment.yml").read_text()
    assert f"python{project['requires-python']}" in environment
    extras = re.findall(r"-e \.\[([\w,]+)\]", environment)[0].split(",")
    assert set(extras) <= set(project["optional-dependencies"])
    assert project["urls"]["Repository"] in (ROOT / "README.md").read_text()


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
        "layers",
        "neurons",
        "patching",
        "circles",
        "circuits",
        "probes",
        "probe_controls",
        "probe_studies",
        "reasoning_chains",
        "sae_features",
        "scale",
        "space_probes",
        "superposition",
        "ten_jobs",
        "sparse_regression",
        "steering",
        "subspaces",
        "training_time",
        "universal_neurons",
    ],
)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    exec(compile(code, f"{page}.md", "exec"), {})


def test_the_gpt_of_torch_may_have_no_biases(tmp_path: Path, monkeypatch: Any) -> None:
    """nanoGPT trains without biases by default; the job of docs/ten_jobs.md reads that file too, as biases of zero."""
    monkeypatch.chdir(tmp_path)
    config = ji.models.GPT2Config(vocab=11, ctx=8, d=8, layers=2, heads=2, act="gelu")
    made = ji.models.GPT2.init(config, key=jax.random.key(0))
    ji.hub.export("made", made)
    linear = ("attn.c_attn.weight", "c_proj.weight", "mlp.c_fc.weight")
    tensors = safetensors.numpy.load_file("made/model.safetensors")
    state = {n: x.T.copy() if n.endswith(linear) else x for n, x in tensors.items() if not n.endswith("bias")}
    assert len(state) < len(tensors) and not any(x.any() for n, x in tensors.items() if n.endswith("bias"))
    args = dict(vocab_size=11, block_size=8, n_embd=8, n_layer=2, n_head=2, bias=False, dropout=0.0)
    ji.hub.write_torch("ckpt.pt", {"model": state, "model_args": args})
    job = (ROOT / "docs" / "ten_jobs.md").read_text().partition("## 10.")[2]
    code = re.findall(r"```python\n(.*?)```", job, re.S)[0]
    names: dict[str, Any] = {"jax": jax, "np": np, "ji": ji, "linear": linear}
    exec(code[code.index("saved = ") :], names)
    tokens = np.array([[1, 2, 3]])
    np.testing.assert_allclose(names["logits"], ji.run(made, tokens)[0], atol=1e-6)
