"""Calendar: counting on from a day of the week or a month, which is addition on a circle."""

from collections.abc import Sequence

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs, TooFewExamples
from ._prompt import Draft, Encoder, Prompt

CYCLES = {
    "weekdays": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "months": (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
}
TEMPLATES = {
    "weekdays": "Let's do some day of the week math. {COUNT} days from {START} is",
    "months": "Let's do some calendar math. {COUNT} months from {START} is",
}
COUNTS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


@key_by_name("ji.tasks.calendar(tokenizer, 49, key=jax.random.key(0))")
def calendar(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    cycle: str = "weekdays",
    names: Sequence[str] | None = None,
    template: str | None = None,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r""" "Two days from Monday is" $\mapsto$ Wednesday: $c = a + k \bmod p$.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860). Every start comes with every count from 1 to p once, in a
    random order: 7 by 7 prompts for days of the week, 12 by 12 for months. The corrupt prompt begins at another
    name, so its answer is another one.

    **Arguments:**

    - `tokenizer`, `n`, `key`, `bos`, `pad` as in `ji.tasks.ioi`. There are 49 prompts for days and 144 for months.
    - `cycle`: `"weekdays"` or `"months"`.
    - `names`: p names of your own, 3 to 12, in their order on the circle, in place of the English ones.
    - `template`: a prompt with `{COUNT}` and `{START}` in place of the published one.

    **Returns:** a `Pairs` for `ji.geometry.circle_patching`. `correct` is the answer, and `wrong` the answer to the
    corrupt prompt. The positions are `COUNT START END`. `about["start"]`, `about["count"]` and `about["answer"]` hold
    a, k and c as numbers, a and c from 0 to p - 1 and k from 1 to p; `about["answers"] (n, p)` the ids of all names.

    **Raises:** `TooFewExamples` where a name is several tokens, because the answer must be one token. ValueError for
    another cycle, for names that are not 3 to 12 different ones, and for a template without its two parts.

    ```python
    pairs = ji.tasks.calendar(words, 49, key=jax.random.key(0))  # words: each name of a day is one token
    pairs.texts[0], pairs.about["answer"][0]
    ```

    Laws: `answer` is `start + count` modulo p; no clean prompt comes twice; each start comes equally often with n = p * p.
    """
    n = check_request("calendar", n, pad)
    one_of("calendar", "cycle", cycle, CYCLES)
    circle = CYCLES[cycle] if names is None else tuple(names)
    text = TEMPLATES[cycle] if template is None else template
    if isinstance(names, str) or not 3 <= len(circle) <= len(COUNTS) or len(set(circle)) < len(circle):
        raise ValueError(f"names are 3 to 12 different names in their order on the circle; got {names!r}.")
    if not all(isinstance(text, str) and text.count(part) == 1 for part in ("{COUNT}", "{START}")):
        raise ValueError(f"template is a prompt with {{COUNT}} and {{START}} once each; got {template!r}.")
    rng, encoder, p = generator(key), Encoder(tokenizer, bos), len(circle)
    ids = {name: encoder.one(f" {name}") for name in circle}
    if split := [name for name, token in ids.items() if token is None]:
        shown = ", ".join(repr(f" {name}") for name in split[:3])
        raise TooFewExamples(
            f"ji.tasks.calendar reads a name as one token; in this tokenizer {len(split)} of {p} are several or "
            f"unknown, {shown} among them. Use a tokenizer that has them, as that of GPT-2, Pythia or SmolLM2, or give "
            "names that it has: names=('North', 'East', 'South', 'West')."
        )
    answers = tuple(int(token) for token in ids.values() if token is not None)
    grid = [divmod(int(i), p) for i in rng.permutation(p * p)]
    # Those that have come come again: the collector then knows that there are no more.
    moves = rng.integers(1, p, p * p)
    turn = iter(range(10**9))

    def draw() -> Draft:
        at = next(turn) % len(grid)
        (start, extra), other = grid[at], (grid[at][0] + int(moves[at])) % p
        count = extra + 1

        def prompt(begin: int) -> Prompt:
            return Prompt.fill(text, {"COUNT": COUNTS[extra], "START": circle[begin]})

        return Draft(
            clean=prompt(start),
            corrupt=prompt(other),
            correct=(f" {circle[(start + count) % p]}",),
            wrong=(f" {circle[(other + count) % p]}",),
            kind=cycle,
            single=frozenset({"START"}),
            about={"start": start, "count": count, "answer": (start + count) % p, "answers": answers},
        )

    return collect("calendar", encoder, n, draw, pad=pad, corruption="START is another name", dropped=[])
