"""Pairs of words of a question, and how its facts relate them."""

import dataclasses

import numpy as np

from .._arguments import as_int, check_key
from .._random import host_generator
from ..stats._results import Result
from ..tasks import Pairs
from ..typing import IntLike, KeyLike

RELATIONS = ("unrelated", "positive", "negative")
WORDS = {"B": ("B1", "B2"), "C": ("C2", "C3"), "D": ("D4", "D5"), "E": ("E5", "E6")}
POSITIVE = ("BC", "DE")
APART = ("BD", "DB", "CE", "EC")  # as `ji.tasks.ontology` numbers them


@dataclasses.dataclass(frozen=True, eq=False)
class EntityPairs(Result):
    """Pairs of tokens of a prompt with the relation of each pair; made by `entity_pairs`, or by you.

    - `prompt (m,)`: the number of the prompt.
    - `first (m,)`, `second (m,)`: the columns of the two tokens.
    - `label (m,)`: the relation, an index of `relations`.
    - `relations`: the names of the relations.

    ```python
    found = ji.chains.entity_pairs(questions, key=key)
    found.relations[found.label[0]], found.prompt[0], found.first[0], found.second[0]
    ```
    """

    prompt: np.ndarray
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    relations: tuple[str, ...] = RELATIONS

    def records(self) -> list[dict]:
        """A row for each pair."""
        return [
            {"prompt": int(p), "first": int(a), "second": int(b), "relation": self.relations[int(y)]}
            for p, a, b, y in zip(self.prompt, self.first, self.second, self.label, strict=True)
        ]


def entity_pairs(pairs: Pairs, *, key: KeyLike, repeats: IntLike = 4) -> EntityPairs:
    r"""$(i, j) \mapsto$ "every i is a j" (positive), "no i is a j" (negative), or neither (unrelated).

    Each prompt gives the same number of pairs of each relation. The mentions of the two words and their order are drawn
    at random. So the relation cannot be read from a common sentence or from the order of the two tokens.

    **Arguments:**

    - `pairs`: the prompts of `ji.tasks.ontology`; the clean prompts are read.
    - `key`: a `jax.random.key`, which draws pairs and mentions.
    - `repeats`: how many pairs of each relation a prompt gives; 4 by default.

    **Returns:** `EntityPairs`.

    **Raises:** ValueError for prompts of another task.

    ```python
    questions = ji.tasks.ontology(tokenizer, 8, key=key, subtask=0, shots=0)
    ji.chains.entity_pairs(questions, key=key).records()[:3]
    ```

    Law: the relations are equally frequent in each prompt.
    """
    if "X7" not in pairs.positions:
        raise ValueError(f"Entity pairs are those of ji.tasks.ontology; got {pairs.name!r}.")
    rng = host_generator(check_key(key, "ji.chains.entity_pairs(pairs, key={})"))
    times = as_int(repeats, "repeats", 1)
    where = {role: pairs.positions[role] for roles in WORDS.values() for role in roles}
    rows = []
    for prompt in range(len(pairs)):
        apart = APART[int(pairs.about["apart"][prompt])]
        mentions = {word: [int(where[role][prompt]) for role in roles] for word, roles in WORDS.items()}
        for role, word in zip(("X7", "Y7"), apart, strict=True):
            mentions[word].append(int(pairs.positions[role][prompt]))
        every = ("BC", "BD", "BE", "CD", "CE", "DE")
        negative = "".join(sorted(apart))
        by_label = [[p for p in every if p not in (*POSITIVE, negative)], list(POSITIVE), [negative]]
        for _ in range(times):
            for label, choices in enumerate(by_label):
                words = rng.permutation(list(choices[rng.integers(len(choices))]))
                rows.append((prompt, *(int(rng.choice(mentions[str(word)])) for word in words), label))
    return EntityPairs(*np.array(rows, np.int64).T)
