"""Old spellings of the options of lenses are refused with the corrected call."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

TOKENS = np.zeros((2, 3), np.int32)
OLD = [f"{side}_{name}" for side in ("source", "target") for name in ("layer", "pos", "mask", "edits")]


@pytest.mark.parametrize("old", OLD)
def test_places_of_a_patchscope(old: str) -> None:
    side, name = old.split("_")
    with pytest.raises(TypeError) as error:
        ji.lens.patchscope(None, TOKENS, None, TOKENS, **{old: 0})
    assert str(error.value) == (
        f"ji.lens.patchscope has no argument {old}=. Write {side}=ji.lens.PatchPlace({name}=...)."
    )


def test_the_target_of_an_attribution() -> None:
    with pytest.raises(
        TypeError, match=r"ji\.lens\.direct_attribution has no argument direction=\. Write target=\."
    ):
        ji.lens.direct_attribution(None, TOKENS, direction=3)


def test_an_attribution_is_a_table() -> None:
    parts = ji.lens.Attribution(jnp.asarray([0.5, -2.0], jnp.float32), ("attn_out[0]", "mlp_out[0]"))
    assert parts.records()[1] == {"component": "mlp_out[0]", "value": -2.0}
    assert "mlp_out[0]" in parts._repr_html_()
