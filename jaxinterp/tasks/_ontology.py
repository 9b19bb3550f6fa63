"""Questions about invented kinds of things, answered step by step: ten places at which a step is decided."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs, TooFewExamples
from ._prompt import Draft, Encoder, Misfit, Prompt

_NAMES = """
Max Sam Tom Ben Ann Eva Leo Kim Joe Amy Dan Bob Mark Paul Mary John Jack Anna Rose Carl
"""
_PROPERTIES = """
red blue green cold warm loud quiet small large soft hard sweet kind brave slow fast
"""
_ENTITIES = """
blen crom dask fimble gorp harl jund kipple lorn morb nolt pluk quib rilp sarn trock vorl wend yarp zint
brask clund drell fusp glim hest kurn lisk mipp nerf pask rund skelt tamm veck womb yolt zald borf dupple
"""
NAMES, PROPERTIES, ENTITIES = (tuple(text.split()) for text in (_NAMES, _PROPERTIES, _ENTITIES))
CHAIN = " {A9} is a {B9}. Every {B10} is a {C10}. {A11} is a {C11}. Every {C12} is {P12}. {A13} is {P13}."


@dataclasses.dataclass(frozen=True)
class Step:
    """One of the ten sub-tasks: its answer, a place of the chain, and what the corrupt prompt swaps."""

    kind: str
    answer: str
    swaps: str
    "The two words that change places in the corrupt prompt."
    facts: tuple[int, ...]
    "The facts in which they do; the question and the chain follow."

    @property
    def before(self) -> str:
        """The chain up to the answer."""
        return CHAIN.partition(f"{{{self.answer}}}")[0].rstrip()


STEPS = (
    Step("decision", "A9", "AN", (0, 3)),
    Step("copy", "B9", "BD", (0, 3)),
    Step("decision", "B10", "BD", (0, 3)),
    Step("copy", "C10", "CE", (1, 4)),
    Step("decision", "A11", "AN", (0, 3)),
    Step("induction", "C11", "CE", (1, 4)),
    Step("decision", "C12", "CE", (1, 4)),
    Step("copy", "P12", "PQ", (2, 5)),
    Step("decision", "A13", "AN", (0, 3)),
    Step("induction", "P13", "PQ", (2, 5)),
)
FACTS = (
    "{A1} is a {B1}.",
    "Every {B2} is a {C2}.",
    "Every {C3} is {P3}.",
    "{N4} is a {D4}.",
    "Every {D5} is a {E5}.",
    "Every {E6} is {Q6}.",
    "No {X7} is a {Y7}.",
)
SUBTASKS = tuple(f"{i} {step.kind}" for i, step in enumerate(STEPS))
"""The names of the subtasks of a fictional ontology in their order: a number and the kind of the step."""
APART = ("BD", "DB", "CE", "EC")
"Which kinds the fact with No sets apart."


@key_by_name("ji.tasks.ontology(tokenizer, n, key=jax.random.key(0))")
def ontology(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    subtask: int = 5,
    shots: int = 1,
    entities: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r""" "Max is a blen. Every blen is a crom. ... Answer: ... Max is a" $\mapsto$ crom: one step of a chain of reasoning.

    After PrOntoQA (Saparov & He 2023, https://arxiv.org/abs/2210.01240) and the ten sub-tasks of Dutta et al. 2024
    (https://arxiv.org/abs/2402.18312). Seven facts in a random order hold two chains of two hops, of which the
    question asks for one, and one pair that a fact sets apart. The answer is written as

    "A is a B. Every B is a C. A is a C. Every C is P. A is P."

    | subtask | decides | kind | the corrupt prompt swaps |
    |---|---|---|---|
    | 0, 4, 8 | A, where a sentence begins | decision | the names of both chains |
    | 1 | B, after "A is a" | copy | what both names are |
    | 2 | B, after "Every" | decision | the same |
    | 3 | C, after "Every B is a" | copy | what both kinds are |
    | 5 | C, after "A is a" | induction | the same |
    | 6 | C, after "Every" | decision | the same |
    | 7 | P, after "Every C is" | copy | both properties |
    | 9 | P, after "A is" | induction | the same |

    **Arguments:** `tokenizer`, `n`, `key`, `bos`, `pad` as in `ji.tasks.ioi`.

    - `subtask`: 0 to 9, 5 by default. One key gives the same questions for each.
    - `shots`: how many answered questions come before the question, 1 by default.
    - `entities`: invented nouns of your own; all nouns of one prompt have equally many tokens. `names`: the same for names.

    **Returns:** a `Pairs`. Clean and corrupt have the same words in other places, so the wrong answer stands in the
    context too, and a model that picks one of the two at random is right half of the time. Both answers are the first
    token of their word. `positions` are the last tokens of the words: `A1 B1` of the first fact up to `X7 Y7` of the
    last one, `A8 P8` of the question, `A9 B9` and so on of the answer; `SHOTS` and `QUESTION` are the last tokens of
    these parts, -1 without shots. `about["apart"]` says which pair the last fact sets apart: 0 (B, D), 1 (D, B),
    2 (C, E), 3 (E, C).

    **Raises:** `TooFewExamples` where fewer than four nouns of one length have different first tokens.

    ```python
    pairs = ji.tasks.ontology(tokenizer, 8, key=jax.random.key(0), subtask=3)
    ```

    Laws: clean and corrupt have the same tokens in another order up to the question; the answer of each is wrong
    for the other.
    """
    n = check_request("ontology", n, pad)
    one_of("ontology", "subtask", subtask, range(len(STEPS)))
    if isinstance(shots, bool) or not isinstance(shots, int | np.integer) or shots < 0:
        raise ValueError(
            f"ji.tasks.ontology: shots is how many examples stand before, 0 or more; got {shots!r}."
        )
    rng, encoder, step = generator(key), Encoder(tokenizer, bos), STEPS[subtask]
    dropped: list[tuple[str, str]] = []
    groups = {
        role: _of_one_length(encoder, words, least, dropped)
        for role, words, least in (
            ("entity", ENTITIES if entities is None else entities, 4),
            ("name", NAMES if names is None else names, 2),
            ("property", PROPERTIES, 2),
        )
    }

    def words() -> dict[str, str]:
        chosen = {
            role: rng.choice(found, least, replace=False).tolist() for role, (found, least) in groups.items()
        }
        return dict(zip("ANBCDEPQ", (*chosen["name"], *chosen["entity"], *chosen["property"]), strict=True))

    def draw() -> Draft:
        examples = [
            (words(), rng.permutation(7).tolist(), APART[rng.integers(4)], bool(rng.integers(2)))
            for _ in range(int(shots) + 1)
        ]
        (own, order, apart, other), before = examples[-1], examples[:-1]
        head = "".join(_example(*each) for each in before)
        swapped = {**own, step.swaps[0]: own[step.swaps[1]], step.swaps[1]: own[step.swaps[0]]}
        clean, corrupt = (_prompt(head, own, moved, order, apart, other, step) for moved in (own, swapped))
        right, wrong = (
            first_token(encoder, one.text, f" {words[step.answer[0]]}")
            for one, words in ((clean, own), (corrupt, swapped))
        )
        return Draft(
            clean=clean,
            corrupt=corrupt,
            correct=(right,),
            wrong=(wrong,),
            kind=SUBTASKS[subtask],
            about={"subtask": int(subtask), "apart": APART.index(apart), "other": int(other)},
        )

    return collect(
        "ontology",
        encoder,
        n,
        draw,
        pad=pad,
        corruption=f"{' and '.join(step.swaps)} change places",
        dropped=dropped,
    )


def _prompt(
    head: str,
    own: dict[str, str],
    moved: dict[str, str],
    order: Iterable[int],
    apart: str,
    other: bool,
    step: Step,
) -> Prompt:
    """One prompt. `moved` holds in the facts of the step, in the question and in the chain."""
    wanted = "Q" if other else "P"
    spoken = [FACTS[i] for i in order]
    text = f"Facts: {' '.join(spoken)} Question: is {{A8}} {{P8}}? Answer{{QUESTION}}" + step.before
    roles = {}
    for i, fact in enumerate(FACTS):
        source = moved if i in step.facts else own
        for role in _roles_of(fact):
            letter = {"X": apart[0], "Y": apart[1]}.get(role[0], role[0])
            roles[role] = source[letter]
    roles |= {"A8": moved["A"], "P8": own[wanted], "QUESTION": ":"}
    roles |= {role: moved[role[0]] for role in _roles_of(step.before)}
    if head:
        text, roles = head[:-1].replace("{", "{{") + "{SHOTS}" + text, roles | {"SHOTS": head[-1]}
    return Prompt.fill(text, roles)


def _example(words: dict[str, str], order: Iterable[int], apart: str, other: bool) -> str:
    """An answered question, for the beginning of a prompt."""
    text = _prompt("", words, words, order, apart, other, STEPS[0]).text
    chain = Prompt.fill(CHAIN, {role: words[role[0]] for role in _roles_of(CHAIN)}).text
    return text + chain + (" No." if other else " Yes.") + "\n\n"


def _roles_of(template: str) -> list[str]:
    return [part.partition("}")[0] for part in template.split("{")[1:]]


def first_token(encoder: Encoder, text: str, word: str) -> int:
    """The first token of a word after a text."""
    before, both = encoder.ids(text), encoder.ids(text + word)
    if both[: len(before)] != before:
        raise Misfit(f"the answer {word!r} changes the tokens before it")
    return both[len(before)]


def _of_one_length(
    encoder: Encoder, words: Sequence[str], least: int, dropped: list[tuple[str, str]]
) -> tuple[list[str], int]:
    """The words with the commonest count of tokens, of different first tokens, and how many a prompt needs."""
    found: dict[int, dict[int, str]] = {}
    for word in words:
        try:
            ids = encoder.ids(f"Facts: {word}")[len(encoder.ids("Facts:")) :]
        except Misfit as misfit:
            dropped.append((word, str(misfit)))
            continue
        found.setdefault(len(ids), {}).setdefault(ids[0] if ids else -1, word)
    best = max(found.values(), key=len, default={})
    if len(best) < least:
        raise TooFewExamples(
            f"ji.tasks.ontology: a prompt needs {least} of the words {tuple(words)[:3]}... that have equally many tokens "
            f"and different first ones; this tokenizer has {len(best)}. Give others: entities=, names=."
        )
    dropped += [(word, "another length or first token") for word in words if word not in best.values()]
    return list(best.values()), least
