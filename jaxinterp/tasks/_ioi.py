"""Indirect object identification: who receives what the subject gives."""

import dataclasses
from collections.abc import Sequence

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs, TooFewExamples
from ._prompt import Draft, Encoder, Prompt

_TEXT = """
Aaron Adam Alan Alex Alice Amanda Amber Amy Andrea Andrew Angela Anna Anne Anthony
Arthur Ashley Benjamin Brandon Brian Carl Carol Caroline Charles Charlotte Chris
Christian Claire Daniel David Diana Donald Edward Elizabeth Ellen Emily Emma Eric Eva
Frank Fred George Grace Greg Helen Henry Howard Ian Isaac Jack Jacob James Jane Jason
Jean Jeff Jennifer Jessica Jim Joan Joe John Jonathan Joseph Julia Justin Karen Kate
Keith Kelly Kevin Laura Lauren Leo Linda Lisa Louis Lucy Margaret Maria Mark Martha
Martin Mary Matthew Max Melissa Michael Michelle Nancy Nathan Nicole Oliver Oscar
Patrick Paul Peter Philip Rachel Ralph Rebecca Richard Robert Roger Rose Roy Ruth Ryan
Samuel Sara Sarah Scott Simon Stephen Steve Steven Susan Thomas Tim Tom Tony Victoria
Vincent Walter William
"""
NAMES = tuple(_TEXT.split())

PLACES = ("store", "garden", "restaurant", "school", "hospital", "office", "house", "station")
OBJECTS = ("ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack")

# The benchmark's fifteen: what is compared between papers. The names stand in the order B A (S1 first);
# the ABBA form exchanges the first two.
TEMPLATES = (
    "Then, {first} and {second} went to the {place}. {S2} gave a {object} to",
    "Then, {first} and {second} had a lot of fun at the {place}. {S2} gave a {object} to",
    "Then, {first} and {second} were working at the {place}. {S2} decided to give a {object} to",
    "Then, {first} and {second} were thinking about going to the {place}. {S2} wanted to give a {object} to",
    "Then, {first} and {second} had a long argument, and afterwards {S2} said to",
    "After {first} and {second} went to the {place}, {S2} gave a {object} to",
    "When {first} and {second} got a {object} at the {place}, {S2} decided to give it to",
    "When {first} and {second} got a {object} at the {place}, {S2} decided to give the {object} to",
    "While {first} and {second} were working at the {place}, {S2} gave a {object} to",
    "While {first} and {second} were commuting to the {place}, {S2} gave a {object} to",
    "After the lunch, {first} and {second} went to the {place}. {S2} gave a {object} to",
    "Afterwards, {first} and {second} went to the {place}. {S2} gave a {object} to",
    "Then, {first} and {second} had a long argument. Afterwards {S2} said to",
    "The {place} {first} and {second} went to had a {object}. {S2} gave it to",
    "Friends {first} and {second} found a {object} at the {place}. {S2} gave it to",
)

CORRUPTIONS = ("s2_io_flip", "abc", "io", "s1", "s2", "order")
ORDERS = ("mixed", "baba", "abba")


@dataclasses.dataclass(frozen=True)
class _Scene:
    """One choice of template, order, people and things."""

    template: int
    baba: bool
    place: str
    object: str

    def prompt(self, io: str, s1: str, s2: str) -> Prompt:
        first, second = ("S1", "IO") if self.baba else ("IO", "S1")
        text = TEMPLATES[self.template].replace("{first}", f"{{{first}}}")
        text = text.replace("{second}", f"{{{second}}}")
        return Prompt.fill(text, {"IO": io, "S1": s1, "S2": s2}, place=self.place, object=self.object)

    @property
    def swapped(self) -> "_Scene":
        return dataclasses.replace(self, baba=not self.baba)


@key_by_name("ji.tasks.ioi(tokenizer, n, key=jax.random.key(0))")
def ioi(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    corrupt: str = "s2_io_flip",
    order: str = "mixed",
    templates: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r""" "Then, S1 and IO went to the store. S2 gave a drink to" $\mapsto$ IO, rather than S.

    Wang et al. 2022 (https://arxiv.org/abs/2211.00593): fifteen templates, each with S1 first
    (BABA) or IO first (ABBA). The answer is `correct` = IO, compared with `wrong` = S.

    **Arguments:**

    - `tokenizer`: a tokenizer of `ji.load`, or `ji.tasks.Words`.
    - `n`: the number of pairs.
    - `key`: a `jax.random.key`.
    - `corrupt`: how the corrupt prompt differs. `"s2_io_flip"` puts IO in the place of S2, which exchanges the
      two answers by a change of one token. `"abc"` puts three new names. `"io"`, `"s1"` and `"s2"` put one new
      name in that place. `"order"` exchanges the first two names, and the answer stays.
    - `order`: `"mixed"`, `"baba"` or `"abba"`.
    - `templates`: which of the fifteen templates are used, ints from 0.
    - `names`: names of your own.
    - `bos`: whether prompts begin with BOS. The original work uses none.
    - `pad`: with None all prompts have one length, the first length for which `n` prompts have been drawn.
      `"left"` or `"right"` keeps all lengths, and `mask` marks the real tokens.

    **Returns:** a `Pairs`, with the positions `IO S1 S1+1 S2 END`, and `about["template"]`,
    `about["baba"]`.

    **Raises:** `TooFewExamples` where too few names are one token in the tokenizer.

    ```python
    pairs = ji.tasks.ioi(tokenizer, 100, key=jax.random.key(0))
    print(pairs)
    ```

    Laws: clean and corrupt differ exactly at the names that `corrupt` describes; equal keys give equal
    pairs.
    """
    n = check_request("ioi", n, pad)
    one_of("ioi", "corrupt", corrupt, CORRUPTIONS)
    one_of("ioi", "order", order, ORDERS)
    which = list(range(len(TEMPLATES)) if templates is None else templates)
    if not which or not all(0 <= i < len(TEMPLATES) for i in which):
        raise ValueError(f"ji.tasks.ioi: templates are numbered 0..{len(TEMPLATES) - 1}; got {which}.")
    rng = generator(key)
    encoder = Encoder(tokenizer, bos)
    pool = list(NAMES if names is None else names)
    kept = [name for name in pool if encoder.one(f" {name}") is not None]
    dropped = [(f" {name}", "a name that is not one token") for name in pool if name not in kept]
    fresh = 3 if corrupt == "abc" else 1
    if len(kept) < 2 + fresh:
        raise TooFewExamples(
            f"ji.tasks.ioi: names have to be one token, with the space before them; this tokenizer has "
            f"{len(kept)} of {len(pool)}, and {2 + fresh} are needed. Pass your own: names=[...]."
        )

    def draw() -> Draft:
        io, s, *others = rng.choice(kept, 2 + fresh, replace=False).tolist()
        baba = bool(rng.integers(2)) if order == "mixed" else order == "baba"
        scene = _Scene(int(rng.choice(which)), baba, str(rng.choice(PLACES)), str(rng.choice(OBJECTS)))
        return Draft(
            clean=scene.prompt(io, s, s),
            corrupt=_corrupted(scene, corrupt, io, s, others),
            correct=(f" {io}",),
            wrong=(f" {s}",),
            kind=f"{'BABA' if baba else 'ABBA'} {scene.template}",
            single=frozenset({"IO", "S1", "S2"}),
            after=("S1",),
            about={"template": scene.template, "baba": int(baba)},
        )

    pairs = collect("ioi", encoder, n, draw, pad=pad, corruption=corrupt, dropped=dropped)
    order_of = {role: pairs.positions[role] for role in ("IO", "S1", "S1+1", "S2", "END")}
    return dataclasses.replace(pairs, positions=order_of)


def _corrupted(scene: _Scene, how: str, io: str, s: str, others: list[str]) -> Prompt:
    if how == "order":
        # The names change places; the roles of a column are those of the clean prompt.
        prompt = scene.swapped.prompt(io, s, s)
        spans = {**prompt.spans, "IO": prompt.spans["S1"], "S1": prompt.spans["IO"]}
        return Prompt(prompt.text, spans)
    one = others[0] if others else ""
    names = {
        "s2_io_flip": (io, s, io),
        "abc": tuple(others[:3]),
        "io": (one, s, s),
        "s1": (io, one, s),
        "s2": (io, s, one),
    }[how]
    return scene.prompt(*names)
