"""Lenses of padded prompts read each prompt's own tokens: integer positions count real ones."""

from typing import Any

import jax
import numpy as np

import jaxinterp as ji

from .conftest import model_of

PROMPTS = [[3, 4, 5], [1, 2, 20, 4, 5]]
TOKENS = {
    "left": np.asarray([[9, 9, 3, 4, 5], [1, 2, 20, 4, 5]], np.int32),
    "right": np.asarray([[3, 4, 5, 9, 9], [1, 2, 20, 4, 5]], np.int32),
}
MASKS = {
    "left": np.asarray([[False, False, True, True, True], [True] * 5]),
    "right": np.asarray([[True, True, True, False, False], [True] * 5]),
}


def readings(model: Any, tokens: Any, mask: Any) -> dict[str, Any]:
    """Everything read at chosen positions, with the axis of examples after that of rows."""
    both = np.asarray([0, -1])
    edited = ji.intervene(model, [ji.scale("ln_final_out", 0.5, pos=-1)])
    options: Any = {"mask": mask}
    return {
        "last": ji.lens.logit_lens(model, tokens, pos=-1, **options),
        "both": ji.lens.logit_lens(edited, tokens, pos=both, **options),
        "heads": ji.lens.logit_lens(model, tokens, site="head_out", pos=-1, **options),
        "summary": ji.lens.summary(model, tokens, pos=both, top=2, **options).cross_entropy,
        "attribution": ji.lens.direct_attribution(model, tokens, 3, by="head", **options).values,
        "components": ji.weights.by_layer(model, tokens, pos=both, **options).values,
        "pattern": ji.lens.attention_lens(model, tokens, pos=-1, top=2, **options).logits,
        "patchscope": ji.lens.patchscope(
            model,
            tokens,
            model,
            tokens,
            source=ji.lens.PatchPlace(1, pos=0, mask=mask),
            target=ji.lens.PatchPlace(2, pos=-1, mask=mask),
        )[None],
    }


def test_padded_is_alone() -> None:
    model = model_of("gpt2")
    alone = [jax.device_get(readings(model, np.asarray(p, np.int32), None)) for p in PROMPTS]
    for side in ("left", "right"):
        together = jax.device_get(readings(model, TOKENS[side], MASKS[side]))
        for row in range(2):
            for name, value in together.items():
                np.testing.assert_allclose(
                    value[:, row], alone[row][name], atol=2e-5, err_msg=f"{name} {side}"
                )


def test_padding_is_no_target() -> None:
    model = model_of("gpt2")
    read = ji.lens.summary(model, TOKENS["right"], mask=MASKS["right"])
    assert np.isnan(np.asarray(read.cross_entropy)[:, 0, 2:]).all()
    assert np.isfinite(np.asarray(read.cross_entropy)[:, 0, :2]).all()
