"""The two columns of the pages "Coming from ...", live: prints a table, fails when a row does.

    pip install "torch==2.13.0"
    pip install transformers transformer-lens sae-lens nnsight
    python tests/parity/coming_from.py              # every page
    python tests/parity/coming_from.py nnsight      # or some, by name

Each page's code runs as it stands there, on one small random GPT-2 in both libraries.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import numpy as np
import torch  # noqa: TID251

import jaxinterp as ji
from tests.parity import columns

ALLOWED = 2e-5
CONFIG = ji.models.GPT2Config(vocab=11, ctx=16, d=16, layers=3, heads=4, ff=24)


def common() -> dict[str, Any]:
    """The model and prompts that every page has, for both libraries."""
    clean, corrupted = (np.asarray(each, np.int32) for each in (columns.CLEAN, columns.CORRUPTED))
    wide = lambda tokens: torch.from_numpy(tokens.astype(np.int64))
    vector = np.random.default_rng(1).normal(size=CONFIG.d).astype(np.float32)
    return {
        "torch": torch,
        "model": ji.models.GPT2.init(CONFIG, key=jax.random.key(0)),
        "tokens": clean,
        "clean": clean,
        "corrupted": corrupted,
        "vector": vector,
        "torch_tokens": wide(clean),
        "torch_clean": wide(clean),
        "torch_corrupted": wide(corrupted),
        "torch_vector": torch.from_numpy(vector),
    }


def hooked(folder: Path) -> dict[str, Any]:
    """A model of TransformerLens with the same weights."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from forward import make_models

    model, theirs = make_models(CONFIG)
    return common() | {"model": model, "hooked": theirs}


def dictionaries(folder: Path) -> dict[str, Any]:
    """The same, and a dictionary that SAELens saved."""
    from sae_lens import StandardSAE, StandardSAEConfig

    sae = StandardSAE(StandardSAEConfig(d_in=CONFIG.d, d_sae=32))
    torch.manual_seed(0)
    for weight in sae.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    sae.save_model(str(folder))
    rows = np.random.default_rng(0).normal(size=(20, CONFIG.d)).astype(np.float32)
    return hooked(folder) | {"folder": str(folder), "rows": rows, "torch_rows": torch.from_numpy(rows)}


def traced(folder: Path) -> dict[str, Any]:
    """A model of transformers, wrapped by nnsight."""
    import nnsight
    import transformers  # noqa: TID251

    names = common()
    ji.hub.export(folder, names["model"])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    return names | {"lm": nnsight.NNsight(model)}


PAGES: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "transformer_lens": ("transformer_lens.md", hooked),
    "sae_lens": ("coming_from/sae_lens.md", dictionaries),
    "nnsight": ("coming_from/nnsight.md", traced),
    "penzai": ("coming_from/penzai.md", lambda folder: columns.penzai()),
    "scikit_learn": ("coming_from/scikit_learn.md", lambda folder: columns.scikit_learn()),
}


def main(wanted: list[str]) -> int:
    failed = 0
    for name in wanted or PAGES:
        page, names = PAGES[name]
        with tempfile.TemporaryDirectory() as folder:
            for job, difference in columns.compared(page, names(Path(folder))):
                passed = difference <= ALLOWED
                failed += not passed
                print(f"{name:18} {job:45} {difference:8.1e}  {'ok' if passed else 'FAILED'}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
