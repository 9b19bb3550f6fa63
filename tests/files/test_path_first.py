"""What saves takes the path first; the other order is refused with the corrected call."""

from collections.abc import Callable
from pathlib import Path

import pytest

import jaxinterp as ji


@pytest.mark.parametrize(
    ("save", "call"),
    [
        (ji.save, r"ji.save\(path, model\)"),
        (ji.hub.export, r"ji.hub.export\(path, model\)"),
        (ji.hub.write_torch, r"ji.hub.write_torch\(path, value\)"),
        (ji.lens.save, r"ji.lens.save\(path, lens\)"),
        (ji.sae.save, r"ji.sae.save\(path, sae\)"),
        (ji.sae.save_saelens, r"ji.sae.save_saelens\(path, sae\)"),
    ],
)
def test_the_path_stands_first(save: Callable[..., object], call: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"takes the path first: {call}; got a dict"):
        save({}, tmp_path / "x")
