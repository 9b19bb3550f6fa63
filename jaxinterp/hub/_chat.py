"""Conversations as the text that a model was trained on: its chat template, rendered.

The reference is `apply_chat_template` of transformers, whose names and defaults these are.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from jinja2.sandbox import SecurityError

from .._text import shown
from ._chat_allowance import allowance
from ._chat_sandbox import sandbox

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the plainest format: a header with the role, the content, and an end."""
MOST_CHARACTERS = 2**20
"""The most characters of a template."""
END = "⁂CONTINUED⁂ "
"""Stands after a message that is to be continued, and shows where its text ends."""
EXAMPLE = 'tokenizer.chat([{"role": "user", "content": "Hello"}])'


def render(
    messages: Any, template: str, variables: Mapping[str, Any], *, prompt: bool = False, go_on: bool = False
) -> str:
    """One conversation as text.

    **Arguments:** `messages`: as `conversation` returns them; `template`: its Jinja text; `variables`: what
    else the template reads; `prompt`: the header of an answer comes last; `go_on`: the text ends within the
    last message.
    """
    if prompt and go_on:
        raise ValueError(
            "The text ends with the header of an answer or within the last message: give "
            "add_generation_prompt=True or continue_final_message=True, not both."
        )
    if not go_on:
        return _rendered(template, {**variables, "messages": messages, "add_generation_prompt": prompt})
    content, messages = _marked(messages)
    text = _rendered(template, {**variables, "messages": messages, "add_generation_prompt": False})
    at = text.rfind(END.strip())
    if at < 0 or content.strip() not in text:
        raise ValueError(
            "The template does not write the last message as it stands, so that it cannot be continued; its content "
            f"is {shown(content)}."
        )
    # A template that drops the space after the mark drops those after a content too.
    return text[:at] if text[at : at + len(END)] == END else text[:at].rstrip()


def _marked(messages: Any) -> tuple[str, Any]:
    """The text that ends the last message, and the messages with a mark after it."""
    *before, message = messages
    content = message.get("content")
    if isinstance(content, str):
        return content, [*before, {**message, "content": content + END}]
    blocks = content if isinstance(content, list) else []
    for i in reversed(range(len(blocks))):
        if isinstance(blocks[i], dict) and isinstance(text := blocks[i].get("text"), str):
            marked = [*blocks[:i], {**blocks[i], "text": text + END}, *blocks[i + 1 :]]
            return text, [*before, {**message, "content": marked}]
    raise ValueError(
        f"continue_final_message=True continues a last message whose content has text; got {shown(message)}."
    )


def _rendered(template: str, variables: Mapping[str, Any]) -> str:
    try:
        with allowance(variables):
            return _compiled(template).render(**variables)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"The chat template is not Jinja, line {error.lineno}: {error.message}.") from error
    except SecurityError as error:
        raise ValueError(f"The chat template is stopped: {error}.") from error
    except RecursionError as error:
        raise ValueError("The chat template calls itself without end.") from error
    except Exception as error:  # of whatever the template does with its messages
        raise ValueError(
            f"The chat template refuses these messages, or fails on them: {error}. A conversation is a list of "
            f"messages, each with a role and a content: {EXAMPLE}."
        ) from error


@functools.lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    if len(template) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(template)} characters, and {MOST_CHARACTERS} are read")
    return sandbox().from_string(template)


def chosen(own: str | Mapping[str, str] | None, template: Any, tools: bool) -> str:
    """The Jinja text of a tokenizer's template, of one of its named ones, of "chatml", or the text itself."""
    named = own if isinstance(own, Mapping) else {}
    if template is None:
        if isinstance(own, str):
            return own
        for name in ("tool_use", "default") if tools else ("default",):
            if name in named:
                return named[name]
        if named:
            raise ValueError(
                f"This tokenizer has several chat templates; name one: template={min(named)!r}.{_listed(named)}"
            )
        raise ValueError(
            "This tokenizer has no chat template: its model was not trained on conversations, or its files do not "
            'say how. Give one: template="chatml", or its Jinja text.'
        )
    if not isinstance(template, str):
        raise ValueError(f"template= is a name or Jinja text; got {type(template).__name__}.")
    if template in named:
        return named[template]
    if template == "chatml":
        return CHATML
    if "{" not in template:
        raise ValueError(
            f"There is no chat template {shown(template)}, and no Jinja in it.{_listed(named)} "
            'Every tokenizer has template="chatml".'
        )
    return template


def _listed(named: Mapping[str, str]) -> str:
    return f" There are {', '.join(map(repr, sorted(named)))}." if named else ""


def conversations(messages: Any) -> tuple[list[list[dict[str, Any]]], bool]:
    """Conversations as plain values, and whether there was one, which is not in a list."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not len(messages):
        raise ValueError(
            f"A conversation is a list of at least one message: {EXAMPLE}; got {shown(messages)}."
        )
    alone = isinstance(messages[0], Mapping)
    return [_conversation(one) for one in ([messages] if alone else messages)], alone


def _conversation(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not len(messages):
        raise ValueError(
            f"A conversation is a list of at least one message: {EXAMPLE}; got {shown(messages)}."
        )
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(
                f'A message is a dict with a text as its "role", and a "content": {EXAMPLE}; got {shown(message)}.'
            )
    return plain(list(messages), "messages")


def plain(value: Any, where: str) -> Any:
    """A copy of texts, numbers, lists and dicts; a template gets nothing else, so it reaches nothing else."""
    if value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): plain(entry, where) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, where) for entry in value]
    raise ValueError(
        f"{where} holds texts, whole and finite numbers, lists, and dicts with texts as keys, as JSON does; got "
        f"{type(value).__name__} {shown(value)}."
    )
