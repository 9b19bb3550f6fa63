"""What a tokenizer does with conversations: their text, and their tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ..typing import JSON, ConversationLike, StrLike
from ._chat import chosen, conversations, plain, render
from ._chat_tokens import ChatTokens, chat_tokens

if TYPE_CHECKING:
    from ._tokenizer import Tokenizer


class Chats:
    """The part of a tokenizer that reads conversations.

    - `chat_template`: the Jinja text of the model's template, a dict of several by name, or None.
    - `special_tokens`: the texts of special tokens by role, such as `{"bos_token": "<s>"}`, as its files say; None
      for those of `bos_id` and `eos_id`.
    """

    chat_template: str | Mapping[str, str] | None = None
    special_tokens: Mapping[str, str] | None = None

    def chat(
        self,
        messages: ConversationLike,
        *,
        template: StrLike | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tools: JSON = None,
        documents: JSON = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str | list[str]:
        """A conversation as the text that the model was trained on, by its own template.

        The names and defaults are those of `apply_chat_template` of
        [transformers](https://huggingface.co/docs/transformers/chat_templating).

        **Arguments:**

        - `messages`: a list of messages, each a dict with a "role" and a "content"; or a list of such lists.
        - `template`: the name of one of the tokenizer's templates, "chatml", or Jinja text; by default the
          tokenizer's own.
        - `add_generation_prompt`: whether the header of an answer comes last.
        - `continue_final_message`: whether the text ends within the last message, which a model then continues.
        - `tools`, `documents`: what the template calls so, as JSON.
        - `variables`: whatever else the template reads, by name, such as `{"enable_thinking": False}`.

        **Returns:** the text, or a list of texts. `tokenizer(text)` adds nothing to it: BOS is in the text where the
        template writes it.

        **Raises:** `ValueError` without a template, for messages that are none, and where the template refuses them,
        fails, reaches for what it may not, or does not end.

        ```python
        tokenizer.chat([{"role": "user", "content": "Hello"}], template="chatml", add_generation_prompt=True)
        ```

        Law: equal to `apply_chat_template(messages, tokenize=False)` with the same template.
        """
        text = chosen(self.chat_template, template, tools is not None)
        rows, alone = conversations(messages)
        known = self._variables(tools, documents, variables)
        texts = [
            render(row, text, known, prompt=add_generation_prompt, go_on=continue_final_message)
            for row in rows
        ]
        return texts[0] if alone else texts

    def chat_tokens(
        self,
        messages: ConversationLike,
        *,
        pad: str = "left",
        template: StrLike | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: JSON = None,
        variables: Mapping[str, Any] | None = None,
    ) -> ChatTokens:
        """Conversations as token ids with the positions of their parts, for a model that is to answer.

        **Arguments:** as of `chat`; here the header of an answer comes last unless you say otherwise, and `pad` is
        the side on which shorter conversations are filled up.

        **Returns:** a `ChatTokens`; `positions("end_of_instruction")` of it goes where a function takes
        `positions=`.

        **Raises:** `ValueError` as `chat`, and where the template changes the contents, so that they have no place.

        ```python
        chat = tokenizer.chat_tokens([{"role": "user", "content": "Hello"}], template="chatml")
        logits, _ = ji.run(model, chat.tokens, mask=chat.mask)
        ```

        Law: padding on the left and on the right selects the same tokens.
        """
        own = cast("Tokenizer", self)
        text = chosen(self.chat_template, template, tools is not None)
        known = self._variables(tools, None, variables)
        if continue_final_message:
            add_generation_prompt = False
        return chat_tokens(
            own, messages, text, known, prompt=add_generation_prompt, go_on=continue_final_message, pad=pad
        )

    def _variables(self, tools: Any, documents: Any, more: Mapping[str, Any] | None) -> dict[str, Any]:
        """What a template reads besides the messages."""
        own = cast("Tokenizer", self)
        special = self.special_tokens
        if special is None:
            ids = {"bos_token": own.bos_id, "eos_token": own.eos_id}
            texts = {name: None if i is None else own._tokenizer.id_to_token(i) for name, i in ids.items()}
            special = {name: text for name, text in texts.items() if text is not None}
        return plain(
            {**special, "tools": tools, "documents": documents, **dict(more or {})},
            "What a template reads",
        )
