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


def test_the_path_stands_first_before_a_model(tmp_path: Path) -> None:
    model, _ = ji.load("tiny")
    records: list[dict[str, int]] = [{"layer": 1}]
    for save in (ji.probes.append_records, ji.probes.write_records):
        with pytest.raises(TypeError, match=r"records\(path, records\); got a list"):
            save(records, tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ji.hub.save_safetensors\(path, arrays\); got a dict"):
        ji.hub.save_safetensors({}, tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ji.sae.browse\(path, sae, model, tokenizer, tokens\); got a dict"):
        ji.sae.browse({}, model, None, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"ji.data.save_activations\(path, model, corpus, site\); got a GPTNeoX"
    ):
        ji.data.save_activations(model, tmp_path, [[1]], "resid_post[0]")  # type: ignore[arg-type]
