"""Prompts with named roles: texts whose important words know where they stand, then tokens."""

import dataclasses
import string

import numpy as np

from ..typing import TokenizerLike


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A text, and the characters `[start, stop)` of each role in it."""

    text: str
    spans: dict[str, tuple[int, int]]

    @staticmethod
    def fill(template: str, roles: dict[str, str], **rest: str) -> "Prompt":
        """`"Then, {S1} and {IO} ..."` filled: names in `roles` are remembered, others are not."""
        text, spans = "", {}
        for literal, name, _, _ in string.Formatter().parse(template):
            text += literal
            if name is None:
                continue
            word = roles[name] if name in roles else rest[name]
            if name in roles:
                spans[name] = (len(text), len(text) + len(word))
            text += word
        return Prompt(text, spans)


@dataclasses.dataclass(frozen=True)
class Draft:
    """One pair as a builder proposes it, before the tokenizer is asked.

    `correct` and `wrong` are what would follow the clean prompt, one or several: texts, or ids that
    the builder has checked itself; `single` names the roles that have to be one token each; `after` the roles `NAME` for which the position behind,
    `NAME+1`, is wanted too.
    """

    clean: Prompt
    corrupt: Prompt
    correct: tuple[str | int, ...]
    wrong: tuple[str | int, ...]
    kind: str
    single: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()
    about: dict[str, int | tuple[int, ...]] = dataclasses.field(default_factory=dict)


class Misfit(ValueError):
    """Why a text does not serve in this tokenizer."""


class Encoder:
    """A tokenizer asked once for each text, and errors of its own turned into reasons."""

    def __init__(self, tokenizer: TokenizerLike, bos: bool) -> None:
        missing = [name for name in ("tokens", "token_id") if not hasattr(tokenizer, name)]
        if not callable(tokenizer) or missing:
            raise ValueError(
                "A tokenizer is called with a text and has the methods token_id and tokens, as that "
                f"of ji.load and ji.tasks.Words; got {type(tokenizer).__name__}."
            )
        if bos and getattr(tokenizer, "bos_id", None) is None:
            raise ValueError("This tokenizer has no BOS token: build the task with bos=False.")
        self.tokenizer, self.bos = tokenizer, bool(bos)
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Ids of a text, BOS first where asked for."""
        if text not in self._known:
            try:
                found = self.tokenizer(text, bos=True) if self.bos else self.tokenizer(text)
            except ValueError as error:
                raise Misfit(str(error)) from error
            self._known[text] = [int(i) for i in np.asarray(found)]
        return self._known[text]

    def one(self, text: str) -> int | None:
        """The id of a text that is one token, or None."""
        try:
            return int(self.tokenizer.token_id(text))
        except ValueError:
            pass
        # Tokenizers that put a space before every text see " Mary" as one only behind something.
        try:
            before, both = self.ids("a"), self.ids("a" + text)
        except Misfit:
            return None
        return both[-1] if both[:-1] == before else None

    def ends(self, text: str) -> list[int]:
        """Where each token ends, in characters; BOS ends at 0."""
        pieces = self.tokenizer.tokens(np.asarray(self.ids(text), np.int32))[self.bos :]
        spelled = "".join(pieces)
        # Tokenizers that put a space before every text count it as a character of the first piece.
        extra = len(spelled) - len(text)
        if extra not in (0, 1) or spelled[extra:] != text or spelled[:extra].strip():
            raise Misfit("its tokens do not spell it")
        return [0] * self.bos + (np.cumsum([len(piece) for piece in pieces]) - extra).tolist()

    def roles(self, prompt: Prompt, single: frozenset[str]) -> dict[str, int]:
        """The position of the last token of each role. A role ends where a token ends."""
        ends = self.ends(prompt.text)
        found = {}
        for name, (start, stop) in prompt.spans.items():
            where = int(np.searchsorted(ends, stop))
            word = prompt.text[start:stop]
            if where >= len(ends) or ends[where] != stop:
                raise Misfit(f"{name} {word!r} does not end where a token ends")
            begin = ends[where - 1] if where else 0
            if name in single and begin < start and prompt.text[begin:start].strip():
                raise Misfit(f"{name} {word!r} shares a token with the text before it")
            if name in single and begin > start:
                raise Misfit(f"{name} {word!r} is not one token")
            found[name] = where
        return found

    def answer(self, text: str, answer: str | int) -> int:
        """The one token that `answer` is after `text`."""
        if isinstance(answer, int | np.integer):
            return int(answer)
        before, both = self.ids(text), self.ids(text + answer)
        if both[: len(before)] != before:
            raise Misfit(f"the answer {answer!r} changes the tokens before it")
        if len(both) != len(before) + 1:
            raise Misfit(f"the answer {answer!r} is {len(both) - len(before)} tokens")
        return both[-1]
