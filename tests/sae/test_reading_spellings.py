"""Old spellings of what reads a corpus are refused with the corrected ones."""

import pytest

import jaxinterp as ji

READERS = (
    "evaluate",
    "evaluation",
    "examples",
    "automata",
    "feature_effects",
    "nearest_neurons",
    "interpret",
)


@pytest.mark.parametrize("name", READERS)
def test_real_and_batch_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"no argument real=\. Write mask=padding_mask, and positions="):
        getattr(ji.sae, name)(real=None)
    with pytest.raises(TypeError, match=r"no argument batch=\. Write .*batch_size="):
        getattr(ji.sae, name)(batch=8)


def test_two_dictionaries_take_a_batch_size_and_a_key() -> None:
    with pytest.raises(TypeError, match=r"no argument batch=\. Write .*batch_size="):
        ji.sae.universality(batch=8)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"no argument seed=\. Write key="):
        ji.sae.examples(seed=0)  # type: ignore[call-arg]
