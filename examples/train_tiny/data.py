r"""Corpora -> token rows -> the batch of any step.

Each corpus is a file of documents separated by "\n\0\n". A document goes to training or validation by a hash of its
text, so the split does not depend on order or on which corpora are present. Documents of one corpus are joined by
`<|endoftext|>` and cut into rows of `context + 1` tokens; the rows of all corpora are shuffled anew each epoch.

`batch(step)` is a pure function of the step (all randomness is counted, none is carried), so a run that stops and
starts again sees exactly what an unbroken run would have seen.
"""

import hashlib
import lzma
from pathlib import Path

import numpy as np

END = 0
PIECE = 40_000  # characters: longer documents are cut, so that a few huge ones cannot decide the split


def documents(path: Path) -> list[str]:
    raw = path.read_bytes()
    text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode("utf-8")
    whole = text.split("\n\0\n")
    return [doc[i : i + PIECE] for doc in whole for i in range(0, len(doc), PIECE)]


def held_out(doc: str) -> bool:
    """True for one document in fifty."""
    return int.from_bytes(hashlib.blake2b(doc.encode(), digest_size=4).digest(), "little") % 50 == 0


def load_corpora(folder) -> dict[str, dict[str, list[str]]]:
    """{"train": {corpus: [document, ...]}, "valid": {...}}; a text present twice is always on one side only."""
    split = {"train": {}, "valid": {}}
    for path in sorted(Path(folder).glob("*.txt*")):
        docs = documents(path)
        name = path.name.split(".")[0]
        split["train"][name] = [doc for doc in docs if not held_out(doc)]
        split["valid"][name] = [doc for doc in docs if held_out(doc)]
    return split


def rows(tokenizer, docs: list[str], *, length: int) -> np.ndarray:
    """Documents joined by `<|endoftext|>` and cut into (row, length) uint16; the incomplete last row is dropped."""
    ids = []
    for encoded in tokenizer.encode_batch_fast(docs, add_special_tokens=False):
        ids.append(np.array([END, *encoded.ids], dtype=np.uint16))
    flat = np.concatenate(ids) if ids else np.zeros(0, np.uint16)
    return flat[: len(flat) // length * length].reshape(-1, length)


class Batches:
    """`batches(step)` -> (tokens, weight): int32 (batch, pos + 1) and float32 (batch, pos).

    The first rows of a batch are *repeat rows*: a short segment, of random tokens or of text, again and again until the
    row is full. They are what makes induction heads form early; their share falls from `repeat_share[0]` to
    `repeat_share[1]` over the first `repeat_steps` steps. The first pass through a random segment has weight 0
    because nothing could predict it. Every second text row begins with `<|endoftext|>`.
    """

    def __init__(self, train_rows, *, batch, vocab, seed=0, repeat_share=(0.4, 0.06), repeat_steps=800):
        self.rows, self.batch, self.vocab, self.seed = train_rows, batch, vocab, seed
        self.repeat_share, self.repeat_steps = repeat_share, repeat_steps
        self._epoch = (-1, None)

    def row_ids(self, step: int) -> np.ndarray:
        """Which training rows a step reads: consecutive entries of the epoch's permutation."""
        at = np.arange(step * self.batch, (step + 1) * self.batch)
        return np.array([self._permutation(i // len(self.rows))[i % len(self.rows)] for i in at])

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (
                epoch,
                np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.rows)),
            )
        return self._epoch[1]

    def repeat_rows(self, step: int) -> int:
        first, last = self.repeat_share
        share = last + (first - last) * max(0.0, 1 - step / self.repeat_steps)
        return int(np.random.default_rng([self.seed, 1, step]).random() + share * self.batch)

    def __call__(self, step: int):
        rng = np.random.default_rng([self.seed, 2, step])
        tokens = self.rows[self.row_ids(step)].astype(np.int32)
        weight = np.ones((self.batch, tokens.shape[1] - 1), np.float32)
        tokens[1::2, 0] = END
        # Few distinct tokens at first: matching them is easier to discover.
        alphabet = np.random.default_rng([self.seed, 3]).permutation(np.arange(1, self.vocab))
        known = int(len(alphabet) * min(1.0, 0.05 + step / self.repeat_steps))
        for i in range(self.repeat_rows(step)):
            period = int(rng.integers(8, max(9, tokens.shape[1] // 2)))
            segment = tokens[i, 1 : 1 + period].copy()
            if rng.random() < 0.6:
                segment = alphabet[rng.integers(0, known, period)]
                weight[i, :period] = 0.0
            tokens[i, 1:] = np.resize(segment, tokens.shape[1] - 1)
        return tokens, weight


def load_rows(path) -> dict[str, dict[str, np.ndarray]]:
    """The token rows that `train.py` keeps: {"train": {corpus: (row, length)}, "valid": {...}}."""
    split = {"train": {}, "valid": {}}
    with np.load(path) as file:
        for key in file.files:
            side, name = key.split("_", 1)
            split[side][name] = file[key]
    return split
