"""Files of every kind have the same bytes as those of the first release that wrote them."""

import hashlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import sae

# The settings of each kind, and the digests of our files and of SAELens's, None where it has no layout.
# Thresholds of JumpReLU go through an exponential, whose last bit depends on the machine.
FILES: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "Vanilla": ({"resample": (3,)}, "d3ee0227550a8078", "d90aedaa37061c1f"),
    "Standard": ({}, "9a06d3a26135ad7c", "3393fdb299221435"),
    "Gated": ({}, "2ae65a2834669601", "dc3d63eb74fc333c"),
    "TopK": ({"k": 2}, "d9dd8fc33b81e023", "de40e44d2197409e"),
    "BatchTopK": ({"k": 2, "alpha": 0.1}, "4daac3dca89162f5", "ab867d23637393c1"),
    "Matryoshka": ({"k": 2, "groups": (0.25, 0.75)}, "de4b23b670217c91", "9b64f3bc0b1382c7"),
    "JumpReLU": ({"target": 3}, "10e4466072210fba", None),
    "Transcoder": ({"d_out": 5, "skip": True}, "b28c665949da6be6", "b2aa8a04ca02b334"),
    "CrossLayerTranscoder": ({"layers": 2}, "ffe9b811887e7d92", None),
    "Crosscoder": ({"sources": 3}, "5a5d0a19f655828f", None),
    "Selected": ({"k": 2, "rule": "abstopk"}, "1d9085494a5cb060", "9e467053c08d5e11"),
    "SelectedTranscoder": ({"k": 2, "skip": True}, "3f0568eb30efb1d8", None),
    "MatchingPursuit": ({"turns": 3}, "dcfcbdf52ac94998", "ae2d778b0d555bc8"),
    "Temporal": ({"heads": 2, "bottleneck": 2, "tied": False}, "75c4f66b37a11661", "0175ac88bd5efa0b"),
}


def array(shape: tuple[int, ...]) -> Any:
    return jnp.asarray(1 + np.arange(int(np.prod(shape))).reshape(shape) / 64, jnp.float32)


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".safetensors") and not file.name.startswith("jaxinterp-"):
            total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("name", FILES)
def test_the_bytes_of_a_file(name: str, tmp_path: Path) -> None:
    settings, ours, theirs = FILES[name]
    kind = getattr(sae, name)(d=4, features=8, **settings)
    made = kind.dictionary(**{part: array(shape) for part, shape in kind.shapes().items()})
    assert digest(sae.save(tmp_path / "ours", made, about={"site": "resid_post[2]"})) == ours
    if theirs is not None:
        assert digest(sae.save_saelens(tmp_path / "theirs", made, site="resid_post[2]")) == theirs
