"""Subject-verb agreement: a verb has the number of its subject, whatever stands between."""

from collections.abc import Sequence

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs
from ._prompt import Draft, Encoder, Prompt

PEOPLE = {
    "actor": "actors",
    "artist": "artists",
    "baker": "bakers",
    "boy": "boys",
    "brother": "brothers",
    "child": "children",
    "cousin": "cousins",
    "doctor": "doctors",
    "driver": "drivers",
    "farmer": "farmers",
    "father": "fathers",
    "friend": "friends",
    "girl": "girls",
    "guard": "guards",
    "guest": "guests",
    "hunter": "hunters",
    "judge": "judges",
    "king": "kings",
    "lady": "ladies",
    "lawyer": "lawyers",
    "man": "men",
    "mother": "mothers",
    "neighbor": "neighbors",
    "nurse": "nurses",
    "officer": "officers",
    "painter": "painters",
    "pilot": "pilots",
    "player": "players",
    "poet": "poets",
    "prince": "princes",
    "queen": "queens",
    "sailor": "sailors",
    "servant": "servants",
    "singer": "singers",
    "sister": "sisters",
    "soldier": "soldiers",
    "son": "sons",
    "student": "students",
    "teacher": "teachers",
    "woman": "women",
    "worker": "workers",
    "writer": "writers",
}
THINGS = {
    "bed": "beds",
    "boat": "boats",
    "book": "books",
    "bridge": "bridges",
    "car": "cars",
    "chair": "chairs",
    "church": "churches",
    "door": "doors",
    "field": "fields",
    "flower": "flowers",
    "garden": "gardens",
    "gate": "gates",
    "horse": "horses",
    "house": "houses",
    "lamp": "lamps",
    "letter": "letters",
    "river": "rivers",
    "road": "roads",
    "ship": "ships",
    "stone": "stones",
    "street": "streets",
    "table": "tables",
    "tower": "towers",
    "tree": "trees",
    "wall": "walls",
    "window": "windows",
}
VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"))
BETWEEN = ("near", "behind", "beside", "by", "from", "with")
SEES = (("sees", "see"), ("knows", "know"), ("likes", "like"), ("hears", "hear"))

TEMPLATES = {
    "simple": "The {SUBJECT}",
    "nounpp": "The {SUBJECT} {between} the {OTHER}",
    "within_rc": "The {OTHER} that the {SUBJECT}",
    "across_rc": "The {SUBJECT} that the {OTHER} {sees}",
}


@key_by_name("ji.tasks.agreement(tokenizer, n, key=jax.random.key(0))")
def agreement(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    template: str = "nounpp",
    verbs: Sequence[tuple[str, str]] = VERBS,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r""" "The sisters near the car" $\mapsto$ are, rather than is: the verb has the number of its subject.

    Linzen et al. 2016 (https://arxiv.org/abs/1611.01368); the templates as in Marks et al. 2024
    (https://arxiv.org/abs/2403.19647). The corrupt prompt has the subject in the other number.

    **Arguments:**

    - `tokenizer`, `n`, `key`, `bos`, `pad` as in `ji.tasks.ioi`.
    - `template`: `"simple"`, `"nounpp"` (a noun stands between subject and verb), `"within_rc"` (the subject is
      that of a relative clause) or `"across_rc"` (a relative clause stands between).
    - `verbs`: pairs (singular, plural).

    **Returns:** a `Pairs` with the positions `SUBJECT OTHER END`. `about["plural"]` says whether the subject is
    plural, and `about["same"]` whether the other noun has the same number.

    ```python
    pairs = ji.tasks.agreement(tokenizer, 6, key=jax.random.key(0), template="nounpp")
    pairs.texts[0], pairs.corrupt_texts[0]
    ```

    Law: clean and corrupt differ at the subject alone.
    """
    n = check_request("agreement", n, pad)
    one_of("agreement", "template", template, TEMPLATES)
    rng = generator(key)
    encoder = Encoder(tokenizer, bos)
    others = THINGS if template == "nounpp" else PEOPLE

    def draw() -> Draft:
        subject = str(rng.choice(list(PEOPLE)))
        other = str(rng.choice([noun for noun in others if noun != subject]))
        plural, same = bool(rng.integers(2)), bool(rng.integers(2))
        other_plural = plural == same
        verb = verbs[int(rng.integers(len(verbs)))]
        between = str(rng.choice(BETWEEN))
        sees = SEES[int(rng.integers(len(SEES)))][other_plural]

        def prompt(many: bool) -> Prompt:
            roles = {
                "SUBJECT": PEOPLE[subject] if many else subject,
                "OTHER": others[other] if other_plural else other,
            }
            return Prompt.fill(TEMPLATES[template], roles, between=between, sees=sees)

        about: dict[str, int | tuple[int, ...]] = {"plural": int(plural)}
        if template != "simple":
            about["same"] = int(same)
        return Draft(
            clean=prompt(plural),
            corrupt=prompt(not plural),
            correct=(f" {verb[plural]}",),
            wrong=(f" {verb[not plural]}",),
            kind=f"{template} {verb[0]}/{verb[1]}",
            single=frozenset({"SUBJECT"}),
            about=about,
        )

    return collect("agreement", encoder, n, draw, pad=pad, corruption="the subject's number", dropped=[])
