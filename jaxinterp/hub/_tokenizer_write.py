"""Writes a tokenizer into a folder, in the files that other libraries read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._disk import put
from ._chat_files import ChatFormat, write_template


def write_tokenizer(folder: Path, tokenizer: Any, ids: Mapping[str, int | None], chat: ChatFormat) -> None:
    """`tokenizer.json` and `tokenizer_config.json` of a `tokenizers.Tokenizer`; `ids` of its roles.

    The chat template has files of its own, which later versions of other libraries read first.
    """
    put(folder / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    about |= chat.special or {}
    for name, i in ids.items():
        about[name] = None if i is None else tokenizer.id_to_token(i)
    # Tokens in full, so that files of an older vintage in the folder add none.
    about["added_tokens_decoder"] = {
        str(i): token.__getstate__() for i, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    text = json.dumps(about, indent=2) + "\n"
    put(folder / "tokenizer_config.json", text.encode())
    write_template(folder, chat.template)
