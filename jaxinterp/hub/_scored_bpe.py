"""SentencePiece's BPE from pieces and scores, as llama.cpp and llama2.c store a vocabulary.

Text becomes characters; then the neighbours whose concatenation is the piece with the best score
are joined, the leftmost first, until no concatenation is a piece. A character without a piece of
its own becomes its UTF-8 bytes. Kudo & Richardson 2018 (https://arxiv.org/abs/1808.06226);
the same in llama2.c (https://github.com/karpathy/llama2.c, `encode` in run.c).
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ._errors import BadCheckpoint

MAX_PIECE = 2**10
BLANK = "▁"
"""SentencePiece's spelling of a space."""


def scored_bpe(
    pieces: Sequence[str],
    scores: Sequence[float],
    *,
    apart: Collection[int] = (),
    blank: str = BLANK,
    prefix: bool = True,
    unknown: int | None = 0,
) -> Any:
    """A `tokenizers.Tokenizer` that joins by score.

    **Arguments:** `pieces` by id, bytes spelled `<0x0A>`; `apart` are the ids that no join makes
    (control tokens, bytes); `blank` is how pieces spell a space; with `prefix` every text gets a
    space in front, which decoding takes away.

    Law: `decode(encode(text)) == text`.
    """
    import tokenizers
    from tokenizers import decoders, models, normalizers

    vocab = {piece: i for i, piece in enumerate(pieces)}
    if len(vocab) != len(pieces):
        twice = next(piece for i, piece in enumerate(pieces) if vocab[piece] != i)
        raise BadCheckpoint(f"A vocabulary has every piece once; this one has {twice!r} twice.")
    if long := next((piece for piece in pieces if len(piece) > MAX_PIECE), None):
        raise BadCheckpoint(
            f"A piece of a vocabulary has at most {MAX_PIECE:,} characters; {long[:40]!r}... has {len(long):,}."
        )
    model = models.BPE(
        vocab=vocab,
        merges=list(_joins(pieces, scores, vocab, set(apart))),
        byte_fallback=True,
        unk_token=None if unknown is None else pieces[unknown],
        fuse_unk=False,
    )
    inner = tokenizers.Tokenizer(model)
    steps: list[Any] = [normalizers.Prepend(blank)] if prefix else []
    back: list[Any] = [decoders.ByteFallback(), decoders.Fuse()]
    if blank != " ":
        steps.append(normalizers.Replace(" ", blank))
        back.insert(0, decoders.Replace(blank, " "))
    if prefix:
        back.append(decoders.Strip(" ", 1, 0))
    if steps:
        inner.normalizer = normalizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
    inner.decoder = decoders.Sequence(back)  # pyright: ignore[reportAttributeAccessIssue]
    return inner


def _joins(
    pieces: Sequence[str], scores: Sequence[float], vocab: dict[str, int], apart: set[int]
) -> Iterator[tuple[str, str]]:
    """Every way to make a piece of two, the best score first: a piece's rank is its merges' rank."""
    for i in sorted(range(len(pieces)), key=lambda i: (-scores[i], i)):
        if i in apart:
            continue
        for cut in range(1, len(pieces[i])):
            left, right = pieces[i][:cut], pieces[i][cut:]
            if vocab.get(left, -1) in apart or vocab.get(right, -1) in apart:
                continue
            if left in vocab and right in vocab:
                yield left, right
