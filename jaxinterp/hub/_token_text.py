"""The text of one token, from the string that a vocabulary writes for it."""

import functools
import re

_VISIBLE = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}


def text_of(token: str, byte_level: bool) -> str:
    """The text of a vocabulary's entry; bytes that are no text by themselves appear as `\\xe2`."""
    alphabet = _byte_alphabet()
    if byte_level and all(char in alphabet for char in token):
        return _decode(bytes(alphabet[char] for char in token))
    if re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", token):
        return _decode(bytes([int(token[3:5], 16)]))
    return token.replace("▁", " ")


def spelled(text: str) -> str:
    """A text as a byte-level vocabulary writes it: the inverse of `text_of`."""
    stand_in = {byte: char for char, byte in _byte_alphabet().items()}
    return "".join(stand_in[byte] for byte in text.encode())


def make_visible(text: str) -> str:
    """Spaces as `·`, ends of lines as `↵`, tabs as `→`."""
    return "".join(_VISIBLE.get(char, char) for char in text)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(rest)}
