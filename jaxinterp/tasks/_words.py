"""A vocabulary of your own in place of a tokenizer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import overload

import numpy as np
from jaxtyping import Bool, Int

from ..typing import ArrayLike, MaskLike, TextLike, TextsLike


class UnknownWord(ValueError):
    """A text that the vocabulary cannot spell.

    ```python
    try:
        ji.tasks.Words([" Mary", " and"])(" Mary and John")
    except ji.tasks.UnknownWord as error:
        print(error)  # shows where it stops
    ```
    """


class Words:
    r"""A tokenizer from a list of pieces, by longest match: for toy models, with nothing to download.

    At each place of a text it takes the longest piece that fits. Pieces are written with
    their spaces, as byte-pair tokenizers do: `" Mary"`.

    **Arguments:**

    - `vocabulary`: pieces in the order of their ids, or a mapping of pieces to ids. `Words.of` makes the
      vocabulary of given texts.
    - `bos`: the piece that begins a prompt where `bos=True` is given.

    **Raises:** `UnknownWord` (a `ValueError`) where no piece fits.

    ```python
    words = ji.tasks.Words([",", " Mary", " and", " John", "When"])
    words("When Mary and John,")                        # [4 1 2 3 0]
    ```

    Law: `words.decode(words(text)) == text`.
    """

    def __init__(self, vocabulary: Iterable[str] | Mapping[str, int], *, bos: str | None = None) -> None:
        if isinstance(vocabulary, str):
            raise ValueError("A vocabulary is several pieces; for those of a text: Words.of(text).")
        if isinstance(vocabulary, Mapping):
            ids = {str(piece): int(i) for piece, i in vocabulary.items()}
        else:
            ids = {piece: i for i, piece in enumerate(dict.fromkeys(vocabulary))}
        if not ids or "" in ids:
            raise ValueError("A vocabulary holds at least one piece, and none is empty.")
        if len(set(ids.values())) < len(ids) or min(ids.values()) < 0:
            raise ValueError("Every piece has an id of its own, from 0 on.")
        if bos is not None and bos not in ids:
            raise ValueError(f"The piece that begins a prompt is in the vocabulary; {bos!r} is not.")
        self._ids = ids
        self._pieces = {i: piece for piece, i in ids.items()}
        self._longest = max(map(len, ids))
        self.bos_id: int | None = None if bos is None else ids[bos]
        self.eos_id: int | None = self.bos_id

    @staticmethod
    def of(*texts: str, bos: str | None = None) -> "Words":
        """The words of texts, in the order in which they come: ` Mary`, `,`, runs of spaces.

        ```python
        ji.tasks.Words.of("Then, Mary and John", bos="<s>")
        ```
        """
        found = [] if bos is None else [bos]
        for text in texts:
            found += re.findall(r" ?\w+| ?[^\w\s]+|\s", text)
        return Words(found, bos=bos)

    @property
    def vocab(self) -> int:
        """The number of ids, from 0 to the largest."""
        return max(self._pieces) + 1

    def __len__(self) -> int:
        return self.vocab

    @overload
    def __call__(self, text: str, bos: bool = False) -> Int[np.ndarray, " pos"]: ...
    @overload
    def __call__(
        self, text: TextsLike, bos: bool = False, *, pad: str = "right"
    ) -> tuple[Int[np.ndarray, "batch pos"], Bool[np.ndarray, "batch pos"]]: ...
    def __call__(
        self, text: TextLike, bos: bool = False, *, pad: str = "right"
    ) -> Int[np.ndarray, " pos"] | tuple[Int[np.ndarray, "batch pos"], Bool[np.ndarray, "batch pos"]]:
        """Ids of a text, int32 `(pos,)`; of a list of texts, ids and mask `(batch, pos)`."""
        if isinstance(text, str):
            return np.asarray(self._spell(text, bos), np.int32)
        if not isinstance(text, Sequence) or not text:
            raise ValueError(f"Words takes a text or a list of texts; got {text!r}.")
        rows = [self._spell(one, bos) for one in text]
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.eos_id or 0, np.int32)
        mask = np.zeros((len(rows), width), bool)
        for i, row in enumerate(rows):
            where = slice(width - len(row), None) if pad == "left" else slice(len(row))
            ids[i, where], mask[i, where] = row, True
        return ids, mask

    def _spell(self, text: str, bos: bool) -> list[int]:
        if bos and self.bos_id is None:
            raise ValueError("This vocabulary has no BOS: name it, Words(vocabulary, bos='<s>').")
        ids = [self.bos_id] if bos and self.bos_id is not None else []
        at = 0
        while at < len(text):
            for size in range(min(self._longest, len(text) - at), 0, -1):
                if text[at : at + size] in self._ids:
                    ids.append(self._ids[text[at : at + size]])
                    at += size
                    break
            else:
                raise UnknownWord(f"no piece of the vocabulary begins {text[at : at + 16]!r}")
        return ids

    def token_id(self, text: str) -> int:
        """The id of a text that is exactly one piece."""
        if text not in self._ids:
            raise UnknownWord(f"{text!r} is not one piece of this vocabulary")
        return self._ids[text]

    def tokens(self, ids: ArrayLike, *, visible: bool = False) -> list[str]:
        """The piece of each id."""
        pieces = [self._pieces.get(int(i), f"<{int(i)}>") for i in np.asarray(ids)]
        return [piece.replace(" ", "·") for piece in pieces] if visible else pieces

    def decode(self, ids: ArrayLike, mask: MaskLike | None = None) -> str | list[str]:
        """The text of ids `(pos,)`, or a list of texts for `(batch, pos)`."""
        ids = np.asarray(ids)
        if ids.ndim == 2:
            masks = [None] * len(ids) if mask is None else np.asarray(mask)
            return [str(self.decode(row, keep)) for row, keep in zip(ids, masks, strict=True)]
        return "".join(self.tokens(ids if mask is None else ids[np.asarray(mask)]))

    def __repr__(self) -> str:
        return f"Words(vocab={self.vocab}, bos_id={self.bos_id})"
