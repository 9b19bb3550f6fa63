"""Old spellings of what reads a corpus are refused with the corrected ones."""

from typing import Any

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


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("examples", {"top": 3}, r"settings=ji\.sae\.ExampleSettings\(top=20\)"),
        ("automata", {"least": 0.3}, r"settings=ji\.sae\.AutomataSettings\(least=0\.5\)"),
        ("dashboard_feature", {"bins": 4}, r"sizes=ji\.sae\.DashboardSizes\(bins=50\)"),
        ("save_dashboard", {"batch": 4}, "features_per_file=256"),
        ("save_dashboard", {"model": "m"}, r"source=ji\.sae\.DashboardSource\(model="),
    ],
)
def test_single_options_are_fields_of_settings(name: str, old: dict[str, Any], new: str) -> None:
    with pytest.raises(TypeError, match=rf"ji\.sae\.{name} has no argument {next(iter(old))}=. Write {new}"):
        getattr(ji.sae, name)(**old)


def test_logit_weights_take_a_batch_size() -> None:
    with pytest.raises(TypeError, match=r"LogitWeights\.top has no argument batch=\. Write batch_size="):
        ji.sae.LogitWeights(None, None).top(batch=4)  # type: ignore[call-arg]
