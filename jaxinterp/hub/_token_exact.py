"""The id of a text that is one token, and what to say of one that is not."""

from typing import TYPE_CHECKING

from ._token_text import spelled

if TYPE_CHECKING:
    from ._tokenizer import Tokenizer


def token_id(tokenizer: "Tokenizer", text: str) -> int:
    """`Tokenizer.token_id`."""
    if tokenizer._adds_space and (found := _exact(tokenizer, text)) is not None:
        return found
    ids = tokenizer._tokenizer.encode(text, add_special_tokens=False).ids
    if tokenizer._adds_space or len(ids) != 1:
        pieces = " + ".join(repr(piece) for piece in tokenizer.tokens(ids)) or "nothing"
        other = text[1:] if text.startswith(" ") else f" {text}"
        if tokenizer._adds_space:
            one = _exact(tokenizer, other) is not None
        else:
            one = len(tokenizer._tokenizer.encode(other, add_special_tokens=False).ids) == 1
        hint = f" {other!r} is one token." if other.strip() and one else ""
        it_is = "its pieces are" if tokenizer._adds_space else f"it is {len(ids)}:"
        raise ValueError(f"{text!r} must be one token; {it_is} {pieces}.{hint}")
    return ids[0]


def _exact(tokenizer: "Tokenizer", text: str) -> int | None:
    """The id of the vocabulary's entry that is this text."""
    own = spelled(text) if tokenizer._byte_level else text.replace(" ", "▁")
    for spelling in (own, text):
        found = tokenizer._tokenizer.token_to_id(spelling)
        if found is not None:
            return found
    return None
