"""Factual pairs: the same sentence about two subjects, for which the facts differ."""

from collections.abc import Mapping

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs
from ._prompt import Draft, Encoder, Prompt

CAPITALS = {
    "Afghanistan": "Kabul",
    "Austria": "Vienna",
    "Belgium": "Brussels",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Cuba": "Havana",
    "Denmark": "Copenhagen",
    "Egypt": "Cairo",
    "England": "London",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Lebanon": "Beirut",
    "Libya": "Tripoli",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Russia": "Moscow",
    "Scotland": "Edinburgh",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Syria": "Damascus",
    "Thailand": "Bangkok",
    "Turkey": "Ankara",
    "Ukraine": "Kiev",
    "Wales": "Cardiff",
}
LANGUAGES = {
    "Austria": "German",
    "Brazil": "Portuguese",
    "China": "Chinese",
    "Denmark": "Danish",
    "Egypt": "Arabic",
    "England": "English",
    "France": "French",
    "Germany": "German",
    "Greece": "Greek",
    "Iran": "Persian",
    "Italy": "Italian",
    "Japan": "Japanese",
    "Mexico": "Spanish",
    "Poland": "Polish",
    "Portugal": "Portuguese",
    "Russia": "Russian",
    "Spain": "Spanish",
    "Sweden": "Swedish",
    "Turkey": "Turkish",
}
CONTINENTS = {
    "Austria": "Europe",
    "Belgium": "Europe",
    "China": "Asia",
    "Egypt": "Africa",
    "Finland": "Europe",
    "France": "Europe",
    "Germany": "Europe",
    "India": "Asia",
    "Iraq": "Asia",
    "Italy": "Europe",
    "Japan": "Asia",
    "Kenya": "Africa",
    "Nigeria": "Africa",
    "Norway": "Europe",
    "Poland": "Europe",
    "Spain": "Europe",
    "Sudan": "Africa",
    "Sweden": "Europe",
    "Thailand": "Asia",
    "Uganda": "Africa",
    "Vietnam": "Asia",
}
LANDMARKS = {
    "Big Ben": "London",
    "the Alhambra": "Granada",
    "the Bolshoi Theatre": "Moscow",
    "the Brandenburg Gate": "Berlin",
    "the British Museum": "London",
    "the Charles Bridge": "Prague",
    "the Colosseum": "Rome",
    "the Eiffel Tower": "Paris",
    "the Kremlin": "Moscow",
    "the Louvre": "Paris",
    "the Opera House": "Sydney",
    "the Parthenon": "Athens",
    "the Prado": "Madrid",
    "the Sistine Chapel": "Rome",
    "the Tower Bridge": "London",
    "the White House": "Washington",
    "the Reichstag": "Berlin",
}
OPPOSITES = {
    "bad": "good",
    "big": "small",
    "black": "white",
    "clean": "dirty",
    "cold": "hot",
    "dark": "light",
    "day": "night",
    "dead": "alive",
    "down": "up",
    "dry": "wet",
    "early": "late",
    "empty": "full",
    "fast": "slow",
    "first": "last",
    "good": "bad",
    "happy": "sad",
    "hard": "soft",
    "high": "low",
    "hot": "cold",
    "in": "out",
    "large": "small",
    "left": "right",
    "long": "short",
    "new": "old",
    "north": "south",
    "old": "young",
    "open": "closed",
    "poor": "rich",
    "rich": "poor",
    "right": "wrong",
    "short": "long",
    "strong": "weak",
    "tall": "short",
    "weak": "strong",
    "west": "east",
    "white": "black",
}

RELATIONS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "capital": (
        CAPITALS,
        (
            "The capital of {SUBJECT} is",
            "The seat of government of {SUBJECT} is in the city of",
            "Every train in {SUBJECT} goes to its capital,",
        ),
    ),
    "language": (
        LANGUAGES,
        ("Most people in {SUBJECT} speak", "Children in {SUBJECT} learn to read and write in"),
    ),
    "continent": (
        CONTINENTS,
        ("Of the continents, {SUBJECT} belongs to", "On a map you find {SUBJECT} in"),
    ),
    "landmark": (
        LANDMARKS,
        ("You can visit {SUBJECT} in", "To see {SUBJECT}, we travelled to"),
    ),
    "opposite": (
        OPPOSITES,
        ("The opposite of {SUBJECT} is", "It is not {SUBJECT} at all; on the contrary, it is"),
    ),
}


@key_by_name("ji.tasks.facts(tokenizer, n, key=jax.random.key(0))")
def facts(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    relation: str | None = "capital",
    table: Mapping[str, str] | None = None,
    templates: tuple[str, ...] | None = None,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r""" "The capital of France is" $\mapsto$ Paris; corrupt: "The capital of Spain is" $\mapsto$ Madrid.

    After Meng et al. 2022 (https://arxiv.org/abs/2202.05262), with small tables of our own. The two
    subjects have equally many tokens, and each answer is one token.

    **Arguments:** `tokenizer`, `n`, `key`, `bos`, `pad` as in `ji.tasks.ioi`. `relation`: `"capital"`,
    `"language"`, `"continent"`, `"landmark"`, `"opposite"`, or None for all. For facts of your
    own give `table`, from subjects to answers, and `templates`, each with `{SUBJECT}` in it.

    **Returns:** a `Pairs`: `correct` is the clean subject's answer, `wrong` that of the corrupt one;
    positions `SUBJECT` (its last token) and `END`.

    ```python
    pairs = ji.tasks.facts(tokenizer, 8, key=jax.random.key(0), relation="opposite")
    ```

    Law: clean and corrupt differ only within the subject.
    """
    n = check_request("facts", n, pad)
    if (table is None) != (templates is None):
        raise ValueError(
            "ji.tasks.facts: facts of your own are a table and templates: table={'France': 'Paris'}, "
            "templates=('The capital of {SUBJECT} is',)."
        )
    if table is not None and templates is not None:
        bad = [one for one in templates if "{SUBJECT}" not in one]
        if bad or len(table) < 2:
            raise ValueError(
                "ji.tasks.facts: a table has two subjects at least, and every template a {SUBJECT}; "
                f"got {bad[0] if bad else dict(table)!r}."
            )
        chosen = {"own": (dict(table), tuple(templates))}
    else:
        one_of("facts", "relation", relation, (*RELATIONS, None))
        chosen = RELATIONS if relation is None else {relation: RELATIONS[relation]}
    rng = generator(key)
    encoder = Encoder(tokenizer, bos)
    kinds = list(chosen)

    def draw() -> Draft:
        kind = str(rng.choice(kinds))
        known, sentences = chosen[kind]
        clean, corrupt = rng.choice(list(known), 2, replace=False).tolist()
        number = int(rng.integers(len(sentences)))
        one, other = (Prompt.fill(sentences[number], {"SUBJECT": word}) for word in (clean, corrupt))
        return Draft(
            clean=one,
            corrupt=other,
            correct=(f" {known[clean]}",),
            wrong=(f" {known[corrupt]}",),
            kind=f"{kind} {number}",
        )

    return collect("facts", encoder, n, draw, pad=pad, corruption="another subject", dropped=[])
