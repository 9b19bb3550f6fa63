"""Text to token ids and back: a small wrapper over the `tokenizers` library.

Nothing is added behind the caller's back: whether a prompt begins with BOS is said at every call.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from .._disk import put, reading, unit
from .._read import TEXT, check, or_null, read_text, table_of
from ..typing import PathLike
from ._errors import BadCheckpoint
from ._fetch import SMALL
from ._tensors import read_json
from ._token_text import make_visible, spelled, text_of
from ._tokenizer_files import ID, read_beside

_END = "<|endoftext|>"
MAX_BYTES = 2**26
"""Of a tokenizer.json or a merges.txt; that of a vocabulary of 256,000 tokens has 33 MB."""
SAVED = {"tokenizer": TEXT, "bos": or_null(ID), "eos": or_null(ID)}


class Tokenizer:
    """Token ids of texts: `tokenizer("Hello")` is int32 `(pos,)`, a list of texts a padded batch.

    ```python
    model, tokenizer = ji.load("tiny")
    ids = tokenizer("When John and Mary", bos=False)      # (pos,)
    ids, mask = tokenizer(["a", "a longer one"], pad="left")     # (batch, pos) each
    tokenizer.tokens(ids[0])                              # pieces of text, for display
    ```

    Law: `tokenizer.decode(tokenizer(text)) == text` for a byte-level vocabulary.
    """

    def __init__(self, tokenizer: Any, *, bos_id: int | None = None, eos_id: int | None = None) -> None:
        """Wraps a `tokenizers.Tokenizer`; ids of BOS and EOS default to `<|endoftext|>`."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        end = tokenizer.token_to_id(_END)
        self.bos_id: int | None = end if bos_id is None else bos_id
        self.eos_id: int | None = end if eos_id is None else eos_id

    @staticmethod
    def from_folder(path: PathLike) -> "Tokenizer | None":
        """The tokenizer in a model's folder, or None where it has none.

        Reads `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt` (also under OpenAI's names
        `encoder.json` and `vocab.bpe`). Added tokens, BOS and EOS come from the files beside it:
        `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, `config.json`.
        """
        path = Path(path)
        with (
            reading(path, "tokenizer", wrong=BadCheckpoint),
            reading(path, "model", only=SMALL, wrong=BadCheckpoint),
        ):
            return Tokenizer._in_folder(path)

    @staticmethod
    def _in_folder(path: Path) -> "Tokenizer | None":
        pairs = [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")]
        if (path / "tokenizer.json").is_file():
            return Tokenizer.from_file(path / "tokenizer.json")
        for vocab, merges in pairs:
            if (path / vocab).is_file() and (path / merges).is_file():
                return Tokenizer.from_bpe(path / vocab, path / merges)
        return None

    @staticmethod
    def from_file(path: PathLike) -> "Tokenizer":
        """From a `tokenizer.json`."""
        import tokenizers

        path = Path(path)
        read_json(path, max_bytes=MAX_BYTES)
        inner = made(lambda: tokenizers.Tokenizer.from_file(str(path)), f"{path} is not a tokenizer.json")
        beside = read_beside(path.parent)
        beside.add_to(inner)
        prefix = beside.prefix_space
        if prefix is not None and type(inner.pre_tokenizer).__name__ == "ByteLevel":
            inner.pre_tokenizer.add_prefix_space = prefix  # pyright: ignore
        return _with_ids(inner, beside.ids(path.parent, inner))

    @staticmethod
    def from_bpe(vocab: PathLike, merges: PathLike) -> "Tokenizer":
        """From GPT-2's two files: byte-level BPE, `<|endoftext|>` as BOS and EOS.

        Files beside `vocab` that add tokens or name BOS and EOS are read too.
        """
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers

        vocab, merges = Path(vocab), Path(merges)
        ids = read_json(vocab)
        check(vocab, {"vocab": ids}, {"vocab": table_of(ID)}, error=BadCheckpoint)
        default = {role: _END for role in ("bos_token", "eos_token", "unk_token") if _END in ids}
        beside = read_beside(vocab.parent, default)
        taken = set(ids.values())
        # In the vocabulary an added token has the id that the file says, wherever that is.
        for i, token in beside.added.items():
            if i not in taken:
                ids.setdefault(token.content, i)
        lines = read_text(merges, max_bytes=MAX_BYTES, error=BadCheckpoint).split("\n")
        splits = [line.partition(" ") for line in lines if line and line[:8] != "#version"]
        pairs = [(left, right) for left, _, right in splits]
        model = made(
            lambda: models.BPE(vocab=ids, merges=pairs, fuse_unk=False),
            f"{vocab} and {merges.name} do not belong together",
        )
        inner = tokenizers.Tokenizer(model)
        prefix = beside.config.get("add_prefix_space") is True
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        inner.decoder = decoders.ByteLevel()
        beside.add_to(inner)
        return _with_ids(inner, beside.ids(vocab.parent, inner))

    @overload
    def __call__(self, text: str, bos: bool = False) -> Int[Array, " pos"]: ...
    @overload
    def __call__(
        self, text: Sequence[str], bos: bool = False, *, pad: str = "right"
    ) -> tuple[Int[Array, "batch pos"], Bool[Array, "batch pos"]]: ...
    def __call__(self, text: Any, bos: bool = False, *, pad: str = "right") -> Any:
        """The ids of a text, int32 `(pos,)`; of a list of texts, ids and mask `(batch, pos)`.

        **Arguments:** `bos` puts the BOS token first; `pad` is the side, "left" or "right", on
        which shorter texts of a list are filled up (with EOS; the mask is True on real tokens).

        **Raises:** `ValueError` for an empty text, or for `bos=True` without a BOS token.
        """
        if isinstance(text, str):
            return jnp.asarray(self._encode(text, bos), jnp.int32)
        if not isinstance(text, Sequence) or not all(isinstance(one, str) for one in text):
            raise ValueError(
                f"A tokenizer takes a text or a list of texts; got {type(text).__name__}. "
                "To read ids, call tokenizer.decode(ids)."
            )
        if pad not in ("left", "right"):
            raise ValueError(f"`pad` is the side to fill up, 'left' or 'right'; got {pad!r}.")
        if not text:
            raise ValueError("A batch needs at least one text; got an empty list.")
        rows = [self._encode(one, bos, f" (text {i} of the list)") for i, one in enumerate(text)]
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.eos_id or 0, np.int32)
        mask = np.zeros((len(rows), width), bool)
        for i, row in enumerate(rows):
            where = slice(width - len(row), None) if pad == "left" else slice(len(row))
            ids[i, where], mask[i, where] = row, True
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
        if self._adds_space and (found := self._exact(text)) is not None:
            return found
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._adds_space or len(ids) != 1:
            pieces = " + ".join(repr(piece) for piece in self.tokens(ids)) or "nothing"
            other = text[1:] if text.startswith(" ") else f" {text}"
            if self._adds_space:
                one = self._exact(other) is not None
            else:
                one = len(self._tokenizer.encode(other, add_special_tokens=False).ids) == 1
            hint = f" {other!r} is one token." if other.strip() and one else ""
            it_is = "its pieces are" if self._adds_space else f"it is {len(ids)}:"
            raise ValueError(f"{text!r} must be one token; {it_is} {pieces}.{hint}")
        return ids[0]

    def tokens(self, ids: Any, *, visible: bool = False) -> list[str]:
        """The text of each token, for display; bytes that are no text alone appear as `\\xe2`.

        `visible` writes spaces as `·`, ends of lines as `↵` and tabs as `→`. An id of the model
        beyond the vocabulary appears as `<50300>`.
        """
        array = _integers(ids, "tokens")
        if array.ndim != 1:
            raise ValueError(
                f"tokenizer.tokens takes integer ids of one text, (pos,); got shape {array.shape}. "
                + ("For one id: tokenizer.tokens([id])." if array.ndim == 0 else "Take one row.")
            )
        found = [self._piece(i) for i in _in_range(array, "tokens")]
        if visible:
            found = [make_visible(piece) for piece in found]
        return found

    def decode(self, ids: Any, mask: Any = None) -> Any:
        """The text of ids `(pos,)`, or a list of texts for `(batch, pos)`; `mask` leaves out padding."""
        array = _integers(ids, "decode")
        keep = np.ones(array.shape, bool) if mask is None else np.asarray(mask)
        if keep.dtype != bool or keep.shape != array.shape:
            raise ValueError(
                f"A mask is of bools and has the shape of the ids {array.shape}, True at real "
                f"tokens; got {keep.dtype} {keep.shape}."
            )
        if array.ndim == 2:
            return [self.decode(row[real]) for row, real in zip(array, keep, strict=True)]
        if array.ndim != 1:
            raise ValueError(
                "tokenizer.decode takes integer ids of one text, (pos,), or of several, "
                f"(batch, pos); got shape {array.shape}."
                + (" For one id: tokenizer.decode([id])." if array.ndim == 0 else "")
            )
        return self._tokenizer.decode(_in_range(array[keep], "decode"), skip_special_tokens=False)

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
        import json

        put(folder / "tokenizer.json", self._tokenizer.to_str(pretty=True).encode())
        about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        for name, i in (("bos_token", self.bos_id), ("eos_token", self.eos_id)):
            about[name] = None if i is None else self._tokenizer.id_to_token(i)
        # Tokens in full, so that files of an older vintage in the folder add none to them.
        about["added_tokens_decoder"] = {
            str(i): token.__getstate__()
            for i, token in sorted(self._tokenizer.get_added_tokens_decoder().items())
        }
        text = json.dumps(about, indent=2) + "\n"
        put(folder / "tokenizer_config.json", text.encode())

    def to_json(self) -> dict[str, Any]:
        """All of the tokenizer in one JSON value, for `from_json`."""
        return {"tokenizer": self._tokenizer.to_str(), "bos": self.bos_id, "eos": self.eos_id}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Tokenizer":
        import tokenizers

        check("The tokenizer", value, SAVED, required=SAVED, error=BadCheckpoint)
        inner = made(
            lambda: tokenizers.Tokenizer.from_str(value["tokenizer"]), "The tokenizer cannot be made"
        )
        return _with_ids(inner, {"bos_id": value["bos"], "eos_id": value["eos"]})

    def _piece(self, i: int) -> str:
        token = self._tokenizer.id_to_token(i)
        if token is None:
            return f"<{i}>"
        return text_of(token, self._byte_level)

    def _exact(self, text: str) -> int | None:
        """The id of the vocabulary's entry that is this text."""
        own = spelled(text) if self._byte_level else text.replace(" ", "▁")
        for spelling in (own, text):
            found = self._tokenizer.token_to_id(spelling)
            if found is not None:
                return found
        return None

    @functools.cached_property
    def _adds_space(self) -> bool:
        """Whether a text gets a space in front, as SentencePiece does: then "Mary" and " Mary" are
        two entries of the vocabulary that no text alone tells apart."""
        ids = self._tokenizer.encode("a", add_special_tokens=False).ids
        return "".join(self.tokens(ids)).startswith(" ")

    @functools.cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in repr(self._tokenizer.decoder)


def made(make: Callable[[], Any], wrong: str) -> Any:
    """What the tokenizers library makes; it raises bare Exceptions, and its panics are not even these."""
    try:
        return make()
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise BadCheckpoint(f"{wrong} ({str(error)[:300]}).") from error
        raise


def _with_ids(inner: Any, ids: dict[str, int | None]) -> Tokenizer:
    """BOS and EOS as files say them; None where they say that there is none."""
    found = Tokenizer(inner)
    for name, i in ids.items():
        setattr(found, name, i)
    return found


def _integers(ids: Any, caller: str) -> np.ndarray:
    """Ids of NumPy, JAX, torch or Python as an array of ints."""
    try:
        array = np.asarray(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"tokenizer.{caller} takes integer ids, (pos,); this {type(ids).__name__} is no array "
            f"of them ({error}). Give rows of one length, as NumPy, JAX or Python ints."
        ) from error
    if array.size and not np.issubdtype(array.dtype, np.integer):
        hint = " For the ids of a text: tokenizer(text)." if array.dtype.kind == "U" else ""
        raise ValueError(
            f"tokenizer.{caller} takes integer ids of one text, (pos,); got shape {array.shape} of "
            f"{array.dtype}.{hint}"
        )
    return array.astype(np.int64) if array.size == 0 else array


def _in_range(ids: np.ndarray, caller: str) -> list[int]:
    wrong = [i for i in ids.tolist() if not 0 <= i < 2**31]
    if wrong:
        raise IndexError(
            f"Token ids begin at 0; tokenizer.{caller} got {wrong[0]}. Where a negative id marks "
            f"positions that do not count, leave them out: tokenizer.{caller}(ids[ids >= 0])."
        )
    return ids.tolist()
