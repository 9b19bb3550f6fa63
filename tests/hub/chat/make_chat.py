"""Writes `expected.json`: what `apply_chat_template` of transformers makes of the templates of this folder.

    python tests/hub/chat/make_chat.py        # needs transformers

The templates are of the forms that public models use, in words of their own. Each is rendered for every
conversation and every option of `cases`; where the reference raises, the value is null.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
HELLO = {"role": "user", "content": "Hello, who are you?"}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one": [HELLO],
    "system": [{"role": "system", "content": "Be brief.\n"}, HELLO],
    "turns": [
        HELLO,
        {"role": "assistant", "content": "  I am a user of words. \n\n"},
        {"role": "user", "content": " user\n\n<b>bold</b> & 'quoted' \"text\" — Größe, 日本語 🙂 "},
    ],
    "answered": [HELLO, {"role": "assistant", "content": "<think>\nWho am I?\n</think>\n\nA model. "}],
    "empty": [{"role": "system", "content": ""}, {"role": "user", "content": ""}],
    "tools": [
        {"role": "user", "content": "What is 2 + 2?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": "é<"}}}
            ],
        },
        {"role": "tool", "name": "add", "content": "4"},
        {"role": "assistant", "content": "It is 4."},
    ],
    "blocks": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is it? "}]}],
    "wrong": [HELLO, {**HELLO}],
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds <two> numbers & says 'é'.",
            "parameters": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
        },
    }
]
DOCUMENTS = [{"Title": "Ice", "text": "Ice floats."}, {"Title": "Oil", "text": "Oil floats too."}]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prompt": {"add_generation_prompt": True},
    "continue": {"continue_final_message": True},
    "tools": {"tools": TOOLS, "add_generation_prompt": True},
    "documents": {"documents": DOCUMENTS, "add_generation_prompt": True},
    "more": {
        "variables": {"enable_thinking": False, "today": "2020", "effort": "low", "date_string": "1 May"}
    },
}


def templates() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted((HERE / "templates").glob("*.jinja"))}


def cases() -> Iterator[tuple[str, str, str, str]]:
    """Names of a template, a conversation and options, and the template's text."""
    for name, template in templates().items():
        for conversation in CONVERSATIONS:
            for option in OPTIONS:
                yield name, conversation, option, template


def reference() -> dict[str, str | None]:
    """What transformers makes of all cases."""
    import tokenizers
    import transformers
    from tokenizers import models

    inner = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL)
    found: dict[str, str | None] = {}
    for name, conversation, option, template in cases():
        options = {"today": "2024"} | OPTIONS[option]
        options |= options.pop("variables", {})
        try:
            text = tokenizer.apply_chat_template(
                CONVERSATIONS[conversation], chat_template=template, tokenize=False, **options
            )
        except Exception:
            text = None
        found[f"{name} {conversation} {option}"] = text
    return found


if __name__ == "__main__":
    made = reference()
    (HERE / "expected.json").write_text(json.dumps(made, ensure_ascii=False, indent=0) + "\n")
    none = sum(text is None for text in made.values())
    print(f"{len(made)} texts, {none} refused, by {len(templates())} templates", file=sys.stderr)
