"""Target prompts of Patchscopes, by name."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from ..typing import TokenizerLike

PROMPTS = {
    "identity": "cat -> cat\n1135 -> 1135\nhello -> hello\n?",
    "describe": (
        "Syria: Country in the Middle East, Leonardo DiCaprio: American actor, "
        "Samsung: South Korean multinational major appliance and consumer electronics "
        "corporation, x"
    ),
    "capital": "The capital city of x",
    "language": "The official language of x",
    "currency": "The official currency of x",
}
"""Target prompts whose last token is the place to patch. They name the token of the state (`"identity"`),
describe its subject (`"describe"`), or name one of its attributes (the others)."""


def target_prompt(name: str, tokenizer: TokenizerLike) -> Int[Array, " pos"]:
    """The tokens of a named target prompt. The last one is the place to patch, the default of `PatchPlace`.

    **Arguments:**

    - `name`: `"identity"`, `"describe"`, `"capital"`, `"language"` or `"currency"`.
    - `tokenizer`: the tokenizer of the target model.

    **Returns:** token ids `(pos,)`.

    **Raises:** ValueError for another name.

    ```python
    target = ji.lens.target_prompt("identity", tokenizer)
    tokenizer.decode(target)
    ```
    """
    if name not in PROMPTS:
        raise ValueError(f"The named prompts are {', '.join(PROMPTS)}; got {name!r}.")
    return jnp.asarray(tokenizer(PROMPTS[name]), jnp.int32)
