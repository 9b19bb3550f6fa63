"""A case: a call, and what it must return."""

import dataclasses
from collections.abc import Callable
from typing import Any

from .calls import Call, Named
from .changes import Setting
from .draw import Draw
from .models import CONFIGS, model_of, numbers_of
from .prompts import Prompts, draw_prompts

Pairs = list[tuple[str, Any, Any]]
"""What was compared, what the library returned, what is right."""


@dataclasses.dataclass(frozen=True)
class Case:
    """`pairs` takes what the call returned. A traced case runs inside `jit`."""

    call: Call
    pairs: Callable[[Any], Pairs]
    traced: bool = False


def draw_setting(draw: Draw, *, batched: bool = False, grows: bool = False) -> Setting:
    """A model, prompts for it, and whether the call is traced."""
    name = draw.one_of(*CONFIGS)
    masked, traced = draw.chance(0.6), draw.chance(0.3)
    prompts = draw_prompts(draw, numbers_of(name).config.vocab, masked=masked, batched=batched)
    return Setting(name, numbers_of(name), prompts, traced, grows)


def model_call(on: Setting) -> Named:
    """The library's model, as an argument."""
    return Named(model_of(on.name), f"model_of({on.name!r})")


def masked(prompts: Prompts) -> dict[str, Any]:
    """The option `mask`, where prompts are padded."""
    return {} if prompts.mask is None else {"mask": prompts.mask}
