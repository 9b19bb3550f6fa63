"""Text to token ids and back: a small wrapper over the `tokenizers` library.

BOS is added only where a call asks for it with `bos=True`.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from .._disk import unit
from ..typing import ArrayLike, MaskLike, PathLike, TextLike, TextsLike
from ._chat_files import ChatFormat
from ._chats import Chats
from ._token_exact import token_id
from ._token_ids import check_texts, checked_mask, in_range, integers, padded
from ._token_text import make_visible, text_of
from ._tokenizer_read import (
    END,
    ReadTokenizer,
    SavedTokenizer,
    read_bpe,
    read_tokenizer_folder,
    read_tokenizer_json,
    tokenizer_of_json,
)
from ._tokenizer_write import write_tokenizer

if TYPE_CHECKING:
    import tokenizers


class Tokenizer(Chats):
    """Token ids of texts: `tokenizer("Hello")` is int32 `(pos,)`, a list of texts a padded batch.

    ```python
    model, tokenizer = ji.load("tiny")
    ids = tokenizer("When John and Mary", bos=False)      # (pos,)
    ids, mask = tokenizer(["a", "a longer one"], pad="left")     # (batch, pos) each
    tokenizer.tokens(ids[0])                              # pieces of text, for display
    ```

    Law: `tokenizer.decode(tokenizer(text)) == text` for a byte-level vocabulary.
    """

    def __init__(
        self, tokenizer: "tokenizers.Tokenizer", *, bos_id: int | None = None, eos_id: int | None = None
    ) -> None:
        """Wraps a `tokenizers.Tokenizer`; ids of BOS and EOS default to `<|endoftext|>`."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        end = tokenizer.token_to_id(END)
        self.bos_id: int | None = end if bos_id is None else bos_id
        self.eos_id: int | None = end if eos_id is None else eos_id

    @staticmethod
    def from_folder(path: PathLike) -> "Tokenizer | None":
        """The tokenizer in a model's folder, or None where it has none.

        Reads `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt` (also under OpenAI's names
        `encoder.json` and `vocab.bpe`). Added tokens, BOS and EOS come from the files beside it:
        `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, `config.json`.
        """
        found = read_tokenizer_folder(Path(path))
        return None if found is None else Tokenizer._of(found)

    @staticmethod
    def from_file(path: PathLike) -> "Tokenizer":
        """The tokenizer in a `tokenizer.json`."""
        return Tokenizer._of(read_tokenizer_json(Path(path)))

    @staticmethod
    def from_bpe(vocab: PathLike, merges: PathLike) -> "Tokenizer":
        """The tokenizer in GPT-2's two files: byte-level BPE, `<|endoftext|>` as BOS and EOS.

        Files beside `vocab` that add tokens or name BOS and EOS are read too.
        """
        return Tokenizer._of(read_bpe(Path(vocab), Path(merges)))

    @overload
    def __call__(self, text: str, bos: bool = False) -> Int[Array, " pos"]: ...
    @overload
    def __call__(
        self, text: TextsLike, bos: bool = False, *, pad: str = "right"
    ) -> tuple[Int[Array, "batch pos"], Bool[Array, "batch pos"]]: ...
    def __call__(
        self, text: TextLike, bos: bool = False, *, pad: str = "right"
    ) -> Int[Array, " pos"] | tuple[Int[Array, "batch pos"], Bool[Array, "batch pos"]]:
        """The ids of a text, int32 `(pos,)`; of a list of texts, ids and mask `(batch, pos)`.

        **Arguments:**

        - `text`: a text, or a list of texts.
        - `bos`: puts the BOS token first; False by default.
        - `pad`: the side, "left" or "right", on which shorter texts of a list are filled up with EOS.
          The mask is True at real tokens.

        **Raises:** `ValueError` for an empty text, or for `bos=True` without a BOS token.
        """
        if isinstance(text, str):
            return jnp.asarray(self._encode(text, bos), jnp.int32)
        check_texts(text, pad)
        rows = [self._encode(one, bos, f" (text {i} of the list)") for i, one in enumerate(text)]
        ids, mask = padded(rows, self.eos_id or 0, pad)
        return jnp.asarray(ids), jnp.asarray(mask)

    def _encode(self, text: str, bos: bool, which: str = "") -> list[int]:
        start = [self.bos_id] if bos and self.bos_id is not None else []
        if bos and not start:
            raise ValueError("This tokenizer has no BOS token: call it with bos=False.")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not ids and not bos:
            raise ValueError(
                f"A prompt has at least one token; got the empty text{which}. Give some text, or "
                "bos=True for a prompt of BOS alone."
            )
        return [*start, *ids]

    def with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids `(pos,)` of a text without BOS, and the characters of each, `(pos, 2)`: start, end.

        Whether a leading space belongs to its token is the tokenizer's own rule.
        """
        found = self._tokenizer.encode(text, add_special_tokens=False)
        offsets = np.asarray(found.offsets, np.int32).reshape(-1, 2)
        return np.asarray(found.ids, np.int32), offsets

    def token_id(self, text: str) -> int:
        """The id of a text that is exactly one token; the leading space matters.

        Raises `ValueError` that shows the pieces otherwise.

        ```python
        tokenizer.token_id(" Mary")
        ```
        """
        return token_id(self, text)

    def tokens(self, ids: ArrayLike, *, visible: bool = False) -> list[str]:
        """The text of each token, for display; bytes that are no text alone appear as `\\xe2`.

        `visible` writes spaces as `·`, ends of lines as `↵` and tabs as `→`. An id of the model
        beyond the vocabulary appears as `<50300>`.
        """
        array = integers(ids, "tokens")
        if array.ndim != 1:
            raise ValueError(
                f"tokenizer.tokens takes integer ids of one text, (pos,); got shape {array.shape}. "
                + ("For one id: tokenizer.tokens([id])." if array.ndim == 0 else "Take one row.")
            )
        found = [self._piece(i) for i in in_range(array, "tokens")]
        if visible:
            found = [make_visible(piece) for piece in found]
        return found

    def decode(self, ids: ArrayLike, mask: MaskLike | None = None) -> str | list[str]:
        """The text of ids `(pos,)`, or a list of texts for `(batch, pos)`; `mask` leaves out padding."""
        array = integers(ids, "decode")
        real = np.ones(array.shape, bool) if mask is None else checked_mask(mask, array.shape)
        if array.ndim == 2:
            return [str(self.decode(row[at])) for row, at in zip(array, real, strict=True)]
        if array.ndim != 1:
            raise ValueError(
                "tokenizer.decode takes integer ids of one text, (pos,), or of several, "
                f"(batch, pos); got shape {array.shape}."
                + (" For one id: tokenizer.decode([id])." if array.ndim == 0 else "")
            )
        return self._tokenizer.decode(in_range(array[real], "decode"), skip_special_tokens=False)

    @property
    def vocab(self) -> int:
        """How many tokens there are. A model may have a few more rows, for round numbers."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __len__(self) -> int:
        return self.vocab

    def __repr__(self) -> str:
        return f"Tokenizer(vocab={self.vocab}, bos_id={self.bos_id}, eos_id={self.eos_id})"

    def save(self, path: PathLike) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json` into a folder, both or neither."""
        with unit(Path(path), "tokenizer", "tokenizer.json") as folder:
            self._write(folder)

    def _write(self, folder: Path) -> None:
        write_tokenizer(
            folder, self._tokenizer, {"bos_token": self.bos_id, "eos_token": self.eos_id}, self._format
        )

    def to_json(self) -> SavedTokenizer:
        """All of the tokenizer in one JSON value, for `from_json`."""
        saved: SavedTokenizer = {
            "tokenizer": self._tokenizer.to_str(),
            "bos": self.bos_id,
            "eos": self.eos_id,
        }
        if self.chat_template is not None:
            saved["chat_template"] = self.chat_template
        if self.special_tokens is not None:
            saved["special_tokens"] = self.special_tokens
        return saved

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer of a value of `to_json`."""
        return Tokenizer._of(tokenizer_of_json(value))

    @staticmethod
    def _of(read: ReadTokenizer) -> "Tokenizer":
        """BOS and EOS are as files name them; None where they say that there is none."""
        made = Tokenizer(read.tokenizer)
        for name, i in read.ids.items():
            setattr(made, name, i)
        made.chat_template, made.special_tokens = read.chat
        return made

    @property
    def _format(self) -> ChatFormat:
        return ChatFormat(self.chat_template, self.special_tokens)

    def _piece(self, i: int) -> str:
        token = self._tokenizer.id_to_token(i)
        if token is None:
            return f"<{i}>"
        return text_of(token, self._byte_level)

    @functools.cached_property
    def _adds_space(self) -> bool:
        """Whether a text gets a space in front, as SentencePiece does: then "Mary" and " Mary" are
        two entries of the vocabulary that encoding cannot distinguish."""
        ids = self._tokenizer.encode("a", add_special_tokens=False).ids
        return "".join(self.tokens(ids)).startswith(" ")

    @functools.cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in repr(self._tokenizer.decoder)
