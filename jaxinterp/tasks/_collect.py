"""From proposals to a batch: draw, ask the tokenizer, keep what is aligned, say what is not."""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np

from ._pairs import Pairs, TooFewExamples
from ._prompt import Draft, Encoder, Misfit

PADS = (None, "left", "right")
PATIENCE = 400


def check_request(name: str, n: Any, pad: Any) -> int:
    """The number of examples, as an int."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"ji.tasks.{name}: n is the number of pairs, an int from 1 on; got {n!r}.")
    if pad not in PADS:
        raise ValueError(
            f"ji.tasks.{name}: pad is None (all prompts of one length), 'left' or 'right'; got {pad!r}."
        )
    return int(n)


def one_of(name: str, what: str, value: Any, allowed: Any) -> None:
    """Raises with the choices where an option is none of them."""
    if value not in tuple(allowed):
        choices = ", ".join(repr(one) for one in allowed)
        raise ValueError(f"ji.tasks.{name}: {what} is one of {choices}; got {value!r}.")


def collect(
    name: str,
    encoder: Encoder,
    n: int,
    draw: Callable[[], Draft],
    *,
    pad: str | None,
    corruption: str,
    dropped: list[tuple[str, str]],
    metric: str = "logit_diff",
) -> Pairs:
    """Draws until `n` distinct pairs are there: of one length, or of any where they are padded."""
    rows: dict[int, list[tuple[Draft, dict[str, Any]]]] = collections.defaultdict(list)
    seen: set[tuple[str, str]] = set()
    out = dict.fromkeys(dropped)
    draws = repeats = 0
    full: list[tuple[Draft, dict[str, Any]]] = []
    # Enough is when everything that comes has come before, or nothing seems to fit.
    while repeats < PATIENCE and len(seen) < 40 * n + PATIENCE:
        draft, draws = draw(), draws + 1
        texts = (draft.clean.text, draft.corrupt.text)
        repeats = repeats + 1 if texts in seen else 0
        if repeats:
            continue
        seen.add(texts)
        try:
            row = _row(encoder, draft)
        except Misfit as misfit:
            out[(draft.clean.text, str(misfit))] = None
            continue
        bucket = rows[0 if pad else len(row["clean"])]
        bucket.append((draft, row))
        if len(bucket) == n:
            full = bucket
            break
    if not full:
        raise TooFewExamples(_too_few(name, n, rows, out, draws, pad))
    size = max(len(row["clean"]) for _, row in full)
    for length, bucket in rows.items():
        if bucket is not full:
            reason = f"{length} tokens where the batch has {size}: pad keeps them"
            out.update({(draft.clean.text, reason): None for draft, _ in bucket})
    return _batch(name, encoder, full, pad, corruption, list(out), metric)


def _row(encoder: Encoder, draft: Draft) -> dict[str, Any]:
    """Ids, answers and positions of one pair; raises Misfit where they do not fit each other."""
    clean, corrupt = encoder.ids(draft.clean.text), encoder.ids(draft.corrupt.text)
    if len(clean) != len(corrupt):
        raise Misfit(f"{len(clean)} tokens clean and {len(corrupt)} corrupt")
    where = encoder.roles(draft.clean, draft.single)
    other = encoder.roles(draft.corrupt, draft.single)
    for role in where:
        if where[role] != other[role]:
            raise Misfit(f"{role} is token {where[role]} clean and {other[role]} corrupt")
    where |= {f"{role}+1": where[role] + 1 for role in draft.after}
    where["END"] = len(clean) - 1
    correct, wrong = (
        [encoder.answer(draft.clean.text, text) for text in texts] for texts in (draft.correct, draft.wrong)
    )
    if set(correct) & set(wrong):
        raise Misfit("a right and a wrong answer are the same token")
    return {"clean": clean, "corrupt": corrupt, "where": where, "correct": correct, "wrong": wrong}


def _batch(
    name: str,
    encoder: Encoder,
    pairs: list[tuple[Draft, dict[str, Any]]],
    pad: str | None,
    corruption: str,
    dropped: list[tuple[str, str]],
    metric: str,
) -> Pairs:
    drafts, rows = [draft for draft, _ in pairs], [row for _, row in pairs]
    lengths = np.array([len(row["clean"]) for row in rows])
    width = int(lengths.max())
    shift = width - lengths if pad == "left" else np.zeros_like(lengths)
    columns = np.arange(width)
    mask = (columns >= shift[:, None]) & (columns < (shift + lengths)[:, None])
    filler = getattr(encoder.tokenizer, "eos_id", None) or 0
    clean, corrupt = (np.full((len(rows), width), filler, np.int32) for _ in range(2))
    clean[mask] = np.concatenate([row["clean"] for row in rows])
    corrupt[mask] = np.concatenate([row["corrupt"] for row in rows])
    roles = list(dict.fromkeys(role for row in rows for role in row["where"]))
    positions = {role: np.array([row["where"].get(role, -1) for row in rows], np.int32) for role in roles}
    for role, value in positions.items():
        positions[role] = np.where(value >= 0, value + shift, -1).astype(np.int32)
    return Pairs(
        name=name,
        clean=clean,
        corrupt=corrupt,
        correct=as_sets([row["correct"] for row in rows]),
        wrong=as_sets([row["wrong"] for row in rows]),
        mask=mask,
        positions=positions,
        texts=[draft.clean.text for draft in drafts],
        corrupt_texts=[draft.corrupt.text for draft in drafts],
        kinds=[draft.kind for draft in drafts],
        dropped=dropped,
        corruption=corruption,
        metric=metric,
        about={key: np.array([draft.about[key] for draft in drafts], np.int32) for key in drafts[0].about},
    )


def as_sets(answers: list[list[int]]) -> np.ndarray:
    """Answers `(n,)` where each pair has one, else `(n, most)` with -1 where there are fewer."""
    most = max(map(len, answers))
    if most == 1 and min(map(len, answers)) == 1:
        return np.array([ids[0] for ids in answers], np.int32)
    return np.array([ids + [-1] * (most - len(ids)) for ids in answers], np.int32)


def _too_few(name: str, n: int, rows: Any, dropped: Any, draws: int, pad: str | None) -> str:
    found = max((len(bucket) for bucket in rows.values()), default=0)
    every = sum(map(len, rows.values()))
    reasons = collections.Counter(reason for _, reason in dropped).most_common(2)
    why = "; ".join(f"{reason} ({count} times)" for reason, count in reasons) or "none was left out"
    hint = f"Ask for at most {found}" if found else "Another tokenizer, or other options, may"
    if every > found and pad is None:
        hint += f", or keep all lengths ({every} pairs) with pad='left'"
    return (
        f"ji.tasks.{name}: this tokenizer admits {found} different pairs"
        f"{' of one length' if pad is None else ''} in {draws} draws; {n} were asked for. "
        f"Left out: {why}. {hint}."
    )
