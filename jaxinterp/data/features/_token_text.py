"""Predicates of the text of a token."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core._check import as_int32

TOKEN_TEXT: dict[str, Callable[[str], bool]] = {
    "contains_digit": lambda s: any(c.isdigit() for c in s),
    "all_digits": lambda s: s.strip().isdigit(),
    "contains_capital": lambda s: any(c.isupper() for c in s),
    "leading_capital": lambda s: s.strip()[:1].isupper(),
    "all_capitals": lambda s: s.strip().isalpha() and s.isupper() and s.strip() not in ("I", "A"),
    "contains_whitespace": lambda s: any(c.isspace() for c in s),
    "has_leading_space": lambda s: s.startswith(" "),
    "no_leading_space_lowercase": lambda s: s.isalpha() and s.islower(),
    "all_whitespace": lambda s: s.isspace(),
    "no_alphanumeric": lambda s: bool(s) and not any(c.isalnum() for c in s),
    "non_ascii": lambda s: not s.isascii(),
}
"""The eleven text features of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610)."""

_BYTE = re.compile(r"(\\x[0-9a-f]{2})+")


def of_tokens(
    tokenizer: Any, tokens: Any, predicates: Mapping[str, Callable[[str], bool]] | None = None
) -> dict[str, np.ndarray]:
    r"""$y_{ip} = f(\text{text of } t_{ip})$: predicates of tokens, evaluated once for each vocabulary entry.

    **Arguments:**

    - `tokenizer`: has `tokens(ids)`, which gives pieces of text.
    - `tokens`: ids `(seq, pos)`.
    - `predicates`: functions of a piece of text, by name; by default `TOKEN_TEXT`. A token that is a part
      of a character becomes `"\ufffd"`.

    **Returns:** name to bools of the tokens' shape. Leave out what does not count: `& corpus.positions`.

    ```python
    labels = ji.data.features.of_tokens(tokenizer, corpus.tokens)
    labels["leading_capital"] & corpus.positions
    ```

    Law: two equal tokens have equal labels.
    """
    tokens = np.asarray(tokens)
    if not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"of_tokens takes token ids of ints; got {tokens.dtype}.")
    ids, where = np.unique(tokens, return_inverse=True)
    pieces = [_BYTE.sub("\ufffd", piece) for piece in tokenizer.tokens(as_int32(ids, "A token id"))]
    return {
        name: np.asarray([bool(ask(piece)) for piece in pieces], bool)[where].reshape(tokens.shape)
        for name, ask in (TOKEN_TEXT if predicates is None else predicates).items()
    }
