"""Questions about invented kinds: the chain, its ten sub-tasks, and prompts that swap two facts."""

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.tasks._ontology import CHAIN, ENTITIES, FACTS, NAMES, PROPERTIES

VOCAB = ji.tasks.Words.of(
    " ".join(("Facts:", *FACTS, CHAIN, "Question: is Answer: Yes. No.\n\n"))
    .replace("{", " ")
    .replace("}", " "),
    *(f" {word}" for word in (*ENTITIES, *NAMES, *PROPERTIES)),
    "Facts: Question: is x? Answer: A1: Every x. Every No x is a x? No.\n\nFacts",
    bos="<s>",
)
KEY = jax.random.key(3)


@pytest.mark.parametrize("subtask", range(10))
def test_each_subtask_asks_for_the_next_word_of_the_chain(subtask: int) -> None:
    pairs = ji.tasks.ontology(VOCAB, 6, key=KEY, subtask=subtask, shots=1)
    assert len(pairs) == 6 and pairs.kinds == [ji.tasks.SUBTASKS[subtask]] * 6 and pairs.mask.all()
    for i, text in enumerate(pairs.texts):
        assert text.count("Facts:") == 2 and text.count("Answer:") == 2
        for one, answer, ids in (
            (text, pairs.correct[i], pairs.clean[i]),
            (pairs.corrupt_texts[i], pairs.wrong[i], pairs.corrupt[i]),
        ):
            facts, chain = one.rpartition("Facts:")[2].split("Answer:")
            word = VOCAB.tokens([answer])[0].strip()
            named = f"{facts} {chain} {word}".replace(".", " ").replace("?", " ").split()
            # What the chain says next follows from the facts by one of its words alone.
            is_a = {
                w: named[j + 3]
                for j, w in enumerate(named)
                if named[j + 1 : j + 3] == ["is", "a"] and named[j - 1] != "No"
            }
            is_so = {
                w: named[j + 2]
                for j, w in enumerate(named)
                if named[j + 1 : j + 2] == ["is"] and named[j + 2 : j + 3] not in (["a"], [])
            }
            name = facts.split("is ")[-1].split()[0]
            b = next(f.split()[-1] for f in facts.split(".") if f.strip().startswith(f"{name} is a"))
            c = is_a[b]
            assert word == {"A": name, "B": b, "C": c, "P": is_so[c]}["ABBCACCPAP"[subtask]]
            assert VOCAB.decode(ids) == one
        same = (
            sorted(pairs.clean[i][: pairs.positions["QUESTION"][i]]),
            sorted(pairs.corrupt[i][: pairs.positions["QUESTION"][i]]),
        )
        if subtask not in (0, 4, 8):
            assert same[0] == same[1]
    where = pairs.positions
    words = {
        role: [VOCAB.tokens([pairs.clean[i, p]])[0] for i, p in enumerate(where[role])]
        for role in ("A1", "B1", "B2", "C2", "C3")
    }
    assert words["B1"] == words["B2"] and words["C2"] == words["C3"]
    assert (where["SHOTS"] < where["A1"]).all() and (where["A8"] < where["QUESTION"]).all()


def test_padding_moves_positions_and_one_key_gives_the_same_questions() -> None:
    early, late = (ji.tasks.ontology(VOCAB, 3, key=KEY, subtask=i, shots=0, bos=True) for i in (0, 9))
    assert [b.startswith(a) for a, b in zip(early.texts, late.texts, strict=True)] == [True] * 3
    for pad in ("left", "right"):
        padded = ji.tasks.ontology(VOCAB, 3, key=KEY, subtask=9, shots=0, bos=True, pad=pad)
        for i in range(3):
            np.testing.assert_array_equal(padded.clean[i][padded.mask[i]], late.clean[i])
    assert "SHOTS" not in early.positions and "QUESTION" in early.positions


def test_bad_requests_are_taught() -> None:
    for options, why in (
        ({"subtask": 10}, "subtask is one of"),
        ({"shots": -1}, "0 or more"),
        ({"entities": ["dask", "blen"]}, "needs 4"),
        ({"names": ["Zoe"]}, "needs 2"),
    ):
        with pytest.raises(ValueError, match=why):
            ji.tasks.ontology(VOCAB, 2, key=KEY, **options)
