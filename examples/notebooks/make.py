"""Makes the notebooks from their scripts: each `NAME.py` in jupytext's percent format becomes `NAME.ipynb` with outputs.

    pip install -e ".[viz]" --group notebooks
    python examples/notebooks/make.py              # all of them; or some, by name: 03_lenses
    python examples/notebooks/make.py --check      # fails where a notebook is not that of its script

Edit the script, never the notebook. `@REPOSITORY@` and `@BADGE@` stand for the address in pyproject.toml and for the button
that opens the notebook in Colab.
"""

import argparse
import json
import sys
import tempfile
import tomllib
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
PROJECT = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
SITE = "https://colab.research.google.com"
KEPT = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook_of(script):
    """The notebook of a script, without outputs."""
    place = (
        f"{REPOSITORY.removeprefix('https://github.com/')}/blob/main/examples/notebooks/{script.stem}.ipynb"
    )
    badge = f"[![Open in Colab]({SITE}/assets/colab-badge.svg)]({SITE}/github/{place})"
    text = script.read_text(encoding="utf-8").replace("@BADGE@", badge).replace("@REPOSITORY@", REPOSITORY)
    made = jupytext.reads(text, fmt="py:percent")
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
    made.metadata = nbformat.from_dict({"kernelspec": KEPT})
    return made


def run(made):
    """Runs a notebook in a folder of its own; bars and warnings of the run are not stored."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(made, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            kept = [out for out in cell.outputs if out.get("name") != "stderr"]
            own = json.dumps(f"{HERE.parents[1]}/")[
                1:-1
            ]  # where the project lies on this machine is no result
            cell.outputs = [nbformat.from_dict(json.loads(json.dumps(out).replace(own, ""))) for out in kept]
    made.metadata = nbformat.from_dict({"kernelspec": KEPT})


def in_step(script):
    """Whether the stored notebook has the cells of its script."""
    stored = script.with_suffix(".ipynb")
    if not stored.exists():
        return False
    cells = lambda book: [
        (cell.cell_type, cell.source, list(cell.metadata.get("tags", []))) for cell in book.cells
    ]
    return cells(nbformat.read(stored, as_version=4)) == cells(notebook_of(script))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="Names of notebooks; all by default.")
    parser.add_argument(
        "--check", action="store_true", help="Only check that notebooks are in step with scripts."
    )
    args = parser.parse_args()
    scripts = [HERE / f"{name}.py" for name in args.names] or sorted(HERE.glob("[0-9]*.py"))
    if args.check:
        stale = [script.stem for script in scripts if not in_step(script)]
        if stale:
            sys.exit(
                f"Not made from their scripts: {', '.join(stale)}. Run python examples/notebooks/make.py {' '.join(stale)}"
            )
        return
    for script in scripts:
        made = notebook_of(script)
        run(made)
        nbformat.write(made, script.with_suffix(".ipynb"))
        print(script.with_suffix(".ipynb").name, flush=True)


if __name__ == "__main__":
    main()
