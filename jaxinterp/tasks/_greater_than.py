"""Greater-than: an end year lies after its beginning."""

from collections.abc import Sequence

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs, TooFewExamples
from ._prompt import Draft, Encoder, Misfit, Prompt

_TEXT = """
affair agreement alliance argument attack ban battle blockade boom boycott campaign case
ceremony chase collaboration competition conference conflict confrontation congress
construction contest contract controversy crisis crusade custom debate decline delay
demonstration depression dialogue dispute drought duel dynasty emergency employment
empire engagement epidemic era escape event exchange exhibition exile expansion
expedition experiment exploration famine fashion fellowship feud fight flood friendship
hunt inquiry inspection insurgency invasion investigation journey kingdom leadership
marriage migration mission movement negotiation occupation operation opposition order
outbreak partnership peace period pilgrimage plague plan practice process program
project prosperity protest raid rebellion recession reform regime reign relationship
research resistance revolt revolution rivalry rule search season service session siege
strike struggle study survey talks tenure tour trade training treaty trial truce
tradition uprising venture voyage war work
"""
NOUNS = tuple(_TEXT.split())

TEMPLATES = {
    "hanna": "The {noun} lasted from the year {XX1}{YY} to the year {XX2}",
    "acdc": "The {noun} lasted from the year {XX1}{YY} to {XX2}",
}


@key_by_name("ji.tasks.greater_than(tokenizer, n, key=jax.random.key(0))")
def greater_than(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    template: str = "hanna",
    centuries: Sequence[int] = range(11, 18),
    nouns: Sequence[str] | None = None,
    two_pieces: bool = True,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r""" "The war lasted from the year 1732 to the year 17" $\mapsto$ a year $y > 32$.

    Hanna et al. 2023 (https://arxiv.org/abs/2305.00586). The corrupt prompt begins in the year 01,
    after which every end but 00 and 01 is possible.

    **Arguments:**

    - `tokenizer`, `n`, `key`, `bos`, `pad` as in `ji.tasks.ioi`.
    - `template`: `"hanna"`, or `"acdc"`, which ends in "to 17" (Conmy et al. 2023).
    - `centuries`: the first two digits of the years.
    - `nouns`: nouns of your own, in place of the built-in list.
    - `two_pieces`: the year has to be the two tokens " 17" and "32". With False the century may be
      several tokens.

    Years run from 02 to 98. In each century the first and the last year that the tokenizer writes in
    this way are left out.

    **Returns:** a `Pairs` for `ji.metrics.prob_diff`. `correct` holds the ids of the two-digit tokens above YY, and
    `wrong` those of the others; rows are filled up with -1. The positions are `XX1 YY XX2 END`. `about["year"]`
    and `about["century"]` hold numbers.

    **Raises:** `TooFewExamples` where the tokenizer does not write years as these tokens.

    ```python
    pairs = ji.tasks.greater_than(digits, 50, key=jax.random.key(0), nouns=["war"])  # digits: " 17" and "32" are tokens
    metric = ji.metrics.prob_diff(pairs.correct, pairs.wrong, pos=pairs.pos)
    ```

    Laws: clean and corrupt differ at `YY` alone; `correct` and `wrong` together are 00..99.
    """
    n = check_request("greater_than", n, pad)
    one_of("greater_than", "template", template, TEMPLATES)
    rng = generator(key)
    encoder = Encoder(tokenizer, bos)
    digits = [encoder.one(f"{year:02d}") for year in range(100)]
    missing = [f"{year:02d}" for year, token in enumerate(digits) if token is None]
    if missing:
        raise TooFewExamples(
            "ji.tasks.greater_than reads the two digits of a year as one token; in this tokenizer "
            f"{len(missing)} of the hundred are not, {missing[0]!r} among them. Use one whose "
            "vocabulary has them, as that of GPT-2 or Pythia."
        )
    years, dropped = [], []
    for century in centuries:
        fitting = []
        for year in range(2, 99):
            try:
                _check_year(encoder, century, year, two_pieces)
                fitting.append((century, year))
            except Misfit as misfit:
                dropped.append((f" {century}{year:02d}", str(misfit)))
        dropped += [
            (f" {c}{y:02d}", "first or last of its century") for c, y in {*fitting[:1], *fitting[-1:]}
        ]
        years += fitting[1:-1]
    if not years:
        raise TooFewExamples(
            f"ji.tasks.greater_than: no year of the centuries {list(centuries)} is two tokens here: "
            f"{dropped[0][1] if dropped else 'none was asked for'}. With two_pieces=False the century "
            "may be several tokens."
        )
    ids = [int(token) for token in digits if token is not None]
    things = list(NOUNS if nouns is None else nouns)

    def draw() -> Draft:
        noun = str(rng.choice(things))
        century, year = years[rng.integers(len(years))]

        def prompt(yy: int) -> Prompt:
            roles = {"XX1": f"{century}", "YY": f"{yy:02d}", "XX2": f"{century}"}
            return Prompt.fill(TEMPLATES[template], roles, noun=noun)

        return Draft(
            clean=prompt(year),
            corrupt=prompt(1),
            correct=tuple(ids[year + 1 :]),
            wrong=tuple(ids[: year + 1]),
            kind=template,
            single=frozenset({"YY"}),
            about={"century": century, "year": year},
        )

    return collect(
        "greater_than",
        encoder,
        n,
        draw,
        pad=pad,
        corruption="YY is 01",
        dropped=dropped,
        metric="prob_diff",
    )


def _check_year(encoder: Encoder, century: int, year: int, two: bool) -> None:
    """Raises Misfit where a year is not its century's tokens and those of its two digits."""
    before, both = encoder.ids(f" {century}"), encoder.ids(f" {century}{year:02d}")
    if both != [*before, encoder.one(f"{year:02d}")]:
        raise Misfit("a year that is not its century and two digits")
    if two and len(before) != 1 + encoder.bos:
        raise Misfit(f"a century of {len(before) - encoder.bos} tokens")
