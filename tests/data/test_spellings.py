"""Old spellings of arguments are refused with the corrected ones."""

from typing import Any

import numpy as np
import pytest

from jaxinterp import data


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("activations", {"real": None}, "mask=padding_mask, and positions= for what counts"),
        ("activations", {"batch": 4}, "batch_size="),
        ("save_activations", {"real": None}, "mask=padding_mask"),
        ("stream", {"seed": 0}, "key=jax.random.key"),
        ("stored", {"batch": 4}, "batch_size="),
        ("keep", {"real": None}, "mask"),
        ("samples", {"mask": None}, "positions="),
    ],
)
def test_old_spellings_are_refused(name: str, old: dict[str, Any], new: str) -> None:
    with pytest.raises(TypeError, match=rf"ji\.data\.{name} has no argument {next(iter(old))}=. Write {new}"):
        getattr(data, name)(*[None] * (1 if name == "keep" else 3), **old)


def test_an_int_is_no_key_and_a_corpus_has_no_real(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"ji\.data\.split\(\.\.\., key=jax\.random\.key\(3\)\)"):
        data.split(np.arange(4), key=3)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match=r"corpus\.mask is True at real tokens, corpus\.positions"):
        _ = data.pack(tokenizer, ["a b"], ctx=4).real
