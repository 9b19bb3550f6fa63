"""Conversations as token ids, and where the parts of the template stand among them."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from .._arguments import as_int
from .._text import shown
from ._chat import conversations, render
from ._chat_parts import content_spans, contents_of
from ._token_ids import padded

if TYPE_CHECKING:
    from ._tokenizer import Tokenizer

PARTS = ("instruction", "last_instruction", "end_of_instruction", "template")


@dataclasses.dataclass(frozen=True, eq=False)
class ChatTokens:
    """Conversations as a padded batch, with the positions of their parts by name.

    - `tokens` `(batch, pos)` and `mask` `(batch, pos)`, True at real tokens; `(pos,)` each of one conversation.
    - `texts`: the tokenized text of each conversation; `roles`: the roles of its messages.
    - `contents` `(batch, pos)`: the number of the message whose content a token belongs to, -1 for the
      template's own tokens and for padding.

    ```python
    chat = tokenizer.chat_tokens([[{"role": "user", "content": "Hello"}]], template="chatml")
    chat.positions("end_of_instruction")          # (batch, pos), True at <|im_end|> and all that follows
    chat.counted("end_of_instruction")            # (-n, ..., -1): the same by number, for pos=
    chat.positions(0)                             # the content of the first message
    ```
    """

    tokens: Int[Array, "*batch pos"]
    mask: Bool[Array, "*batch pos"]
    texts: tuple[str, ...]
    roles: tuple[tuple[str, ...], ...]
    contents: Int[np.ndarray, "*batch pos"]

    def positions(self, part: str | int) -> Bool[np.ndarray, "*batch pos"]:
        """True at the tokens of a part, `(*batch, pos)`: for `positions=`, and for `pos=` of an edit.

        **Arguments:** `part`: the number of a message, -1 for the last, for its content; or

        - `"instruction"`: the content of the last message of the user;
        - `"last_instruction"`: the last token of it;
        - `"end_of_instruction"`: all tokens after it, where a model that was trained on the template has read
          the whole instruction;
        - `"template"`: all tokens that belong to no content.

        A token that holds characters of a content and of the template counts to the content.

        **Raises:** `ValueError` where a conversation has no token of the part.
        """
        contents, mask = (np.atleast_2d(x) for x in (self.contents, np.asarray(self.mask)))
        if part == "template":
            chosen = (contents < 0) & mask
        elif part in PARTS:
            last = [
                max((i for i, role in enumerate(row) if role == "user"), default=-2) for row in self.roles
            ]
            chosen = _around(part, contents == np.asarray(last)[:, None], mask)
        elif isinstance(part, str):
            raise ValueError(
                f"There is no part {part!r}; there are {', '.join(map(repr, PARTS))}, and the numbers of messages."
            )
        else:
            i = as_int(part, "part")
            numbers = [i % len(row) if -len(row) <= i < len(row) else -2 for row in self.roles]
            chosen = contents == np.asarray(numbers)[:, None]
        if not chosen.any(-1).all():
            row = int(np.flatnonzero(~chosen.any(-1))[0])
            raise ValueError(
                f"Conversation {row} has no token of the part {part!r}: its roles are {', '.join(self.roles[row])}, "
                f"and its text is {shown(self.texts[row])}."
            )
        return chosen.reshape(self.mask.shape)

    def counted(self, part: str | int) -> tuple[int, ...]:
        """The numbers from the end that a part has in every conversation, such as (-2, -1): shared ints for `pos=`.

        A function that takes one position for all prompts takes these.

        **Raises:** `ValueError` where there is none: then `positions(part)` selects.
        """
        chosen, mask = (np.atleast_2d(x) for x in (self.positions(part), np.asarray(self.mask)))
        rows = [
            {int(i) for i in np.flatnonzero(row[real]) - real.sum()}
            for row, real in zip(chosen, mask, strict=True)
        ]
        shared = set.intersection(*rows)
        if not shared:
            raise ValueError(
                f"No number from the end is of the part {part!r} in every conversation: they are {sorted(rows[0])} in "
                f"the first; select it by positions({part!r})."
            )
        return tuple(sorted(shared))


def _around(
    part: str, instruction: Bool[np.ndarray, "batch pos"], mask: Any
) -> Bool[np.ndarray, "batch pos"]:
    """The instruction, its last token, or all real tokens after it."""
    column = np.arange(mask.shape[1])
    end = np.where(instruction, column, -1).max(-1, keepdims=True)
    if part == "last_instruction":
        return instruction & (column == end)
    return mask & (column > end) & (end >= 0) if part == "end_of_instruction" else instruction


def chat_tokens(
    tokenizer: "Tokenizer",
    messages: Any,
    template: str,
    variables: Mapping[str, Any],
    *,
    prompt: bool,
    go_on: bool,
    pad: str,
) -> ChatTokens:
    """`Tokenizer.chat_tokens`, of the Jinja text of a template."""
    rows, alone = conversations(messages)
    texts, ids, contents = [], [], []
    for row in rows:
        text = render(row, template, variables, prompt=prompt, go_on=go_on)
        spans = content_spans(
            row, text, lambda marked: render(marked, template, variables, prompt=prompt, go_on=go_on)
        )
        found, offsets = tokenizer.with_offsets(text)
        texts.append(text)
        ids.append(found.tolist())
        contents.append(contents_of(spans, offsets))
    tokens, mask = padded(ids, tokenizer.eos_id or 0, pad)
    of, _ = padded(contents, -1, pad)
    if alone:
        tokens, mask, of = tokens[0], mask[0], of[0]
    roles = tuple(tuple(message["role"] for message in row) for row in rows)
    return ChatTokens(jnp.asarray(tokens), jnp.asarray(mask), tuple(texts), roles, of)
