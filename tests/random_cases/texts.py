"""Generation with edits is a loop of runs on the growing text."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .calls import Call, Named
from .cases import Case, Pairs, draw_setting, masked, model_call
from .changes import Watched, draw_changes
from .draw import Draw
from .prompts import WIDTH
from .reference import forward

STEPS = 3


def digits(key: Any, logits: Any) -> Any:
    """A choice that turns on the last digits of the logits: the likeliest token hides small errors."""
    number = jnp.floor(jnp.abs(logits[..., 3] - logits[..., 5]) * 1e5)
    return jnp.mod(number, logits.shape[-1]).astype(jnp.int32)


def generate(draw: Draw) -> Case:
    """`generate`, each prompt against its own growing text."""
    on = draw_setting(draw, grows=True)
    changes = draw_changes(draw, on, draw.count(1, 2))
    wide = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    fine = draw.chance(0.7) and wide
    options: dict[str, Any] = {"choose": Named(digits, "digits")} if fine else {}
    call = Call(
        "generate",
        model_call(on),
        on.prompts.tokens,
        STEPS,
        edits=[change.call for change in changes],
        **options,
        **masked(on.prompts),
    )

    def chosen(logits: np.ndarray) -> int:
        if not fine:
            return int(logits.argmax())
        return int(np.floor(abs(logits[3] - logits[5]) * 1e5) % len(logits))

    def pairs(result: Any) -> Pairs:
        compared: Pairs = []
        for prompt in on.prompts:
            text = prompt.tokens
            for _ in range(STEPS):
                logits = forward(on.model, text, Watched(changes, prompt))[-1]
                text = np.append(text, chosen(logits))
            wanted = text[-STEPS:]
            compared.append(("tokens", np.asarray(result)[prompt.index][WIDTH:], wanted))
        return compared

    return Case(call, pairs, on.traced)
