"""Old spellings of arguments are refused with the corrected ones."""

from typing import Any

import pytest

import jaxinterp as ji


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("distribution", {"batch": 4}, "batch_size="),
        ("top_contexts", {"k": 4}, "top="),
        ("token_means", {"k": 4}, "top="),
        ("dissect", {"k": 4}, "top="),
        ("context_check", {"bootstrap": 9}, "resamples="),
        ("context_check", {"least": 9}, r"settings=ji\.neurons\.ContextCheckSettings\(least=21\)"),
        ("ablation", {"together": False}, r"result\.rows\[-1\]"),
        ("fact_ablation", {"jointly": False}, r"result\.rows\[-1\]"),
        ("fact_ablation", {"batch": 4}, "batch_size="),
    ],
)
def test_old_spellings_are_refused(name: str, old: dict[str, Any], new: str) -> None:
    with pytest.raises(
        TypeError, match=rf"ji\.neurons\.{name} has no argument {next(iter(old))}=. Write {new}"
    ):
        getattr(ji.neurons, name)(None, None, None, **old)
