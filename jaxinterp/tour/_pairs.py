"""Clean and corrupt prompts that differ in one place, which decides the next token.

Many kinds, because a small model knows some and not others: the chapter measures which.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TourPair:
    """After `clean` the next token should be `answer`, after `corrupt` it should be `wrong`."""

    what: str
    clean: str
    corrupt: str
    answer: str
    wrong: str


def _pairs(what: str, *rows: tuple[str, str, str, str, str]) -> list[TourPair]:
    """From rows of (text with {} in it, clean filling, corrupt filling, answer, wrong)."""
    return [
        TourPair(what, row[0].replace("{}", row[1]), row[0].replace("{}", row[2]), *row[3:]) for row in rows
    ]


PAIRS: list[TourPair] = [
    *_pairs(
        "a pronoun agrees with the person named before",
        ("The {} was very angry, and at last", "queen", "king", " she", " he"),
        ("The old {} came into the room, and", "woman", "man", " she", " he"),
        ("When {} came into the room,", "Mary", "John", " she", " he"),
        ("That night {} was very tired, and", "Elizabeth", "William", " she", " he"),
        ("The young {} opened the door, and when", "lady", "gentleman", " she", " he"),
        ("Her {} was not at home, and", "mother", "father", " she", " he"),
    ),
    *_pairs(
        "a verb agrees with its subject",
        ("The {} of the house", "doors", "door", " were", " was"),
        ("The {} in the garden", "trees", "tree", " were", " was"),
        ("In the evening the {} here", "children", "child", " were", " was"),
        ("It is certain that these {} there", "men", "man", " were", " was"),
    ),
    *_pairs(
        "a word calls for its partner",
        ("He was {} tired", "so", "more", " that", " than"),
        ("The road {} London", "between", "from", " and", " to"),
        ("I have {} seen him", "neither", "either", " nor", " or"),
        ("Er war {} müde", "so", "mehr", " daß", " als"),
        ("Il {} savait", "ne", "le", " pas", " bien"),
    ),
    *_pairs(
        "a name said before comes again",
        ("Mary and {} went home. It was late when Mary and", "John", "James", " John", " James"),
        ("I met {} and Anna in the street. I said good evening to", "Peter", "Paul", " Peter", " Paul"),
        ("Old George and {} were friends. One day old George and", "Henry", "Charles", " Henry", " Charles"),
        ("His name was Tom {}. Everybody in the village knew Tom", "Martin", "Scott", " Martin", " Scott"),
        ("Dear {}, I thank you for your letter. I am, dear", "Alice", "Emma", " Alice", " Emma"),
    ),
    *_pairs(
        "a German word agrees with the one named before",
        ("Da kam {} herein, und", "die Frau", "der Mann", " sie", " er"),
        ("Da saß {} junge", "die", "der", " Frau", " Mann"),
        ("Es war {} alte", "eine", "der", " Frau", " Mann"),
    ),
    *_pairs(
        "a French word agrees with the one named before",
        ("Le soir, {} était fatigué, et", "elle", "il", " elle", " il"),
        ("C'était {} pauvre", "une", "un", " femme", " homme"),
        ("Il aimait {} autre", "une", "un", " femme", " homme"),
        ("Il y avait là {} jeune", "une", "un", " fille", " homme"),
    ),
    *_pairs(
        "a variable of a program comes again",
        ("for {} in range(10):\n    print(", "i", "x", "i", "x"),
        ("def f({}):\n    return", "x", "n", " x", " n"),
        ("  for({}=0; ", "i", "j", "i", "j"),
        ("  if( {}==0 ) return 0;\n  return", "p", "n", " p", " n"),
        ("def __init__(self, {}):\n        self.{} =", "name", "value", " name", " value"),
    ),
]
