"""Tasks: aligned pairs in real and made-up vocabularies, and what is said where they do not fit."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.hub import Tokenizer
from jaxinterp.tasks import _agreement, _greater_than, _ioi

BUILDERS: dict[str, Any] = {
    "ioi": ji.tasks.ioi,
    "greater_than": ji.tasks.greater_than,
    "docstring": ji.tasks.docstring,
    "induction": ji.tasks.induction,
    "agreement": ji.tasks.agreement,
    "facts": ji.tasks.facts,
}


@pytest.fixture(scope="module")
def words() -> Any:
    """A vocabulary of words that spells every task, with BOS."""
    from jaxinterp.tasks import _docstring, _facts

    texts = [
        *(re.sub(r"\{\w+\}", "", text) for text in (*_ioi.TEMPLATES, *_greater_than.TEMPLATES.values())),
        *(re.sub(r"\{\w+\}", "", text) for text in (*_agreement.TEMPLATES.values(), _docstring.TEMPLATE)),
        *(re.sub(r"\{\w+\}", "", text) for _, many in _facts.RELATIONS.values() for text in many),
        *(f" {word}" for word in (*_ioi.NAMES, *_ioi.PLACES, *_ioi.OBJECTS, *_greater_than.NOUNS)),
        *(f" {word}" for word in _docstring.ARGUMENTS),
        *(f" {word}" for pair in (*_agreement.PEOPLE.items(), *_agreement.THINGS.items()) for word in pair),
        *(f" {word}" for pair in (*_agreement.VERBS, *_agreement.SEES) for word in pair),
        *(f" {word}" for word in _agreement.BETWEEN),
        *(f" {word}" for table, _ in _facts.RELATIONS.values() for pair in table.items() for word in pair),
    ]
    found = ji.tasks.Words.of(*texts, "the", bos="<s>")
    pieces = [found.tokens([i])[0] for i in range(len(found))]
    extra = [
        *(f" {c}" for c in range(11, 18)),
        *(f"{y:02d}" for y in range(100)),
        "(",
        "self",
        "):",
    ]
    extra += ['"""', *_docstring.ARGUMENTS, " :", ":", "param", " (", "def", "."]
    return ji.tasks.Words(["<s>", *pieces, *extra], bos="<s>")


@pytest.fixture(scope="module")
def gpt2() -> Any:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    return Tokenizer.from_file(folder / "gpt2_tokenizer.json")


def check(pairs: ji.tasks.Pairs, tokenizer: Any, n: int) -> None:
    """What every task promises, stated on the arrays."""
    assert len(pairs) == n and pairs.clean.shape == pairs.corrupt.shape == pairs.mask.shape
    for ids in (pairs.clean, pairs.corrupt, pairs.correct, pairs.wrong):
        assert ids.dtype == np.int32
    changed = pairs.clean != pairs.corrupt
    assert changed.any(1).all() and not (changed & ~pairs.mask).any()
    assert (pairs.positions["END"] == np.where(pairs.mask, np.arange(pairs.mask.shape[1]), -1).max(1)).all()
    for where in pairs.positions.values():
        assert where.dtype == np.int32
        assert (where == -1).all() or pairs.mask[np.arange(n), np.maximum(where, 0)].all()
    for i in range(n):
        real = pairs.mask[i]
        for ids, text in ((pairs.clean, pairs.texts[i]), (pairs.corrupt, pairs.corrupt_texts[i])):
            assert tokenizer.decode(ids[i][real]).replace("<s>", "") == text
        right, wrong = (set(np.atleast_1d(x[i]).tolist()) - {-1} for x in (pairs.correct, pairs.wrong))
        assert right and wrong and not right & wrong


@pytest.mark.parametrize("name", BUILDERS)
def test_every_task_in_a_vocabulary_of_words(name: str, words: Any) -> None:
    """No tokenizer: ids that the caller supplies. Equal keys give equal pairs."""
    build = BUILDERS[name]
    pairs = build(words, 12, key=jax.random.key(3))
    check(pairs, words, 12)
    assert pairs.mask.all() and pairs.pos == -1
    again = build(words, 12, key=jax.random.PRNGKey(3))
    assert (again.clean == pairs.clean).all() and (again.corrupt == pairs.corrupt).all()
    assert (build(words, 12, key=jax.random.key(4)).clean.shape != pairs.clean.shape) or (
        build(words, 12, key=jax.random.key(4)).clean != pairs.clean
    ).any()
    with_bos = build(words, 12, key=jax.random.key(3), bos=True)
    assert (with_bos.clean[:, 0] == words.bos_id).all()
    assert (with_bos.clean[:, 1:] == pairs.clean).all()
    assert (with_bos.positions["END"] == pairs.positions["END"] + 1).all()
    assert f"{name}: 12 pairs of" in repr(pairs) and f"ji.metrics.{pairs.metric}" in repr(pairs)
    some = pairs[2:5]
    assert len(some) == 3 and (some.clean == pairs.clean[2:5]).all() and some.texts == pairs.texts[2:5]


@pytest.mark.parametrize("corrupt", _ioi.CORRUPTIONS)
def test_ioi_corruptions_change_what_they_say(corrupt: str, words: Any) -> None:
    pairs = ji.tasks.ioi(words, 30, key=jax.random.key(0), corrupt=corrupt)
    roles = {
        "s2_io_flip": {"S2"},
        "abc": {"IO", "S1", "S2"},
        "io": {"IO"},
        "s1": {"S1"},
        "s2": {"S2"},
        "order": {"IO", "S1"},
    }[corrupt]
    rows = np.arange(30)
    expected = np.zeros(pairs.clean.shape, bool)
    for role in roles:
        expected[rows, pairs.positions[role]] = True
    assert ((pairs.clean != pairs.corrupt) == expected).all()
    at = {role: pairs.clean[rows, where] for role, where in pairs.positions.items()}
    assert (at["IO"] == pairs.correct).all()
    assert (at["S1"] == pairs.wrong).all() and (at["S2"] == pairs.wrong).all()
    if corrupt == "s2_io_flip":
        assert (pairs.corrupt[rows, pairs.positions["S2"]] == pairs.correct).all()
    if corrupt == "abc":
        fresh = np.stack([pairs.corrupt[rows, pairs.positions[role]] for role in ("IO", "S1", "S2")])
        assert all(
            len({*column, right, wrong}) == 5
            for *column, right, wrong in zip(
                *fresh.tolist(), pairs.correct.tolist(), pairs.wrong.tolist(), strict=True
            )
        )
    if corrupt == "order":
        assert (pairs.corrupt[rows, pairs.positions["IO"]] == pairs.wrong).all()


@pytest.mark.quick
def test_ioi_orders_and_templates(words: Any) -> None:
    """All fifteen in both orders, with all lengths kept; BABA has S1 first."""
    pairs = ji.tasks.ioi(words, 400, key=jax.random.key(0), pad="left")
    check(pairs, words, 400)
    assert set(zip(pairs.about["template"].tolist(), pairs.about["baba"].tolist(), strict=True)) == {
        (template, baba) for template in range(15) for baba in range(2)
    }
    first = pairs.positions["S1"] < pairs.positions["IO"]
    assert (first == pairs.about["baba"].astype(bool)).all()
    assert (pairs.positions["END"] == pairs.clean.shape[1] - 1).all() and pairs.pos == -1
    assert (pairs.positions["S1+1"] == pairs.positions["S1"] + 1).all()
    right = ji.tasks.ioi(words, 400, key=jax.random.key(0), pad="right")
    check(right, words, 400)
    assert (right.pos[:, 0] == right.positions["END"]).all() and not right.mask[:, -1].all()
    assert right.texts == pairs.texts
    only = ji.tasks.ioi(words, 8, key=jax.random.key(0), order="abba", templates=[4])
    assert set(only.kinds) == {"ABBA 4"} and only.mask.all()


@pytest.mark.quick
def test_answers_are_read_where_the_metric_says(words: Any) -> None:
    """`pairs.pos` with padding on the right: the last real column of each prompt."""
    pairs = ji.tasks.ioi(words, 6, key=jax.random.key(0), pad="right")
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong, pos=pairs.pos)
    logits = np.random.default_rng(0).normal(size=(*pairs.clean.shape, words.vocab)).astype(np.float32)
    rows, end = np.arange(6), pairs.mask.sum(1) - 1
    expected = logits[rows, end, pairs.correct] - logits[rows, end, pairs.wrong]
    assert np.allclose(metric(logits), expected)


def test_greater_than_sets(words: Any) -> None:
    pairs = ji.tasks.greater_than(words, 20, key=jax.random.key(0))
    rows = np.arange(20)
    assert (pairs.clean != pairs.corrupt).sum() == 20
    assert (pairs.clean[rows, pairs.positions["YY"]] != pairs.corrupt[rows, pairs.positions["YY"]]).all()
    for i in rows:
        year = int(pairs.about["year"][i])
        right = [words.tokens([t])[0] for t in pairs.correct[i] if t >= 0]
        wrong = [words.tokens([t])[0] for t in pairs.wrong[i] if t >= 0]
        assert right == [f"{y:02d}" for y in range(year + 1, 100)]
        assert wrong == [f"{y:02d}" for y in range(year + 1)]
        assert 2 < year < 98  # first and last of the century are left out
    metric = ji.metrics.prob_diff(pairs.correct, pairs.wrong, pos=pairs.pos)
    flat = metric(jax.numpy.zeros((20, 12, words.vocab)))
    expected = (99 - 2 * pairs.about["year"] - 1) / words.vocab
    assert np.allclose(flat, expected, atol=1e-6)
    assert (" 1102", "first or last of its century") in pairs.dropped
    split = {piece: i for i, piece in enumerate([*" 17", *(f"{y:02d}" for y in range(100))])}
    split |= {
        word: 1000 + i for i, word in enumerate(["The", " lasted from the year", " to the year", " war"])
    }
    with pytest.raises(ji.tasks.TooFewExamples, match=r"two_pieces=False the century\s+may be several"):
        ji.tasks.greater_than(ji.tasks.Words(split), 10, key=jax.random.key(0), centuries=[17], nouns=["war"])
    loose = ji.tasks.greater_than(
        ji.tasks.Words(split), 10, key=jax.random.key(0), centuries=[17], nouns=["war"], two_pieces=False
    )
    assert set(loose.positions["YY"].tolist()) == {5}


@pytest.mark.quick
def test_induction_without_a_tokenizer() -> None:
    for corrupt in ("answer", "match", "block", "shuffle"):
        pairs = ji.tasks.induction(1000, 5, key=jax.random.key(0), block=7, repeats=3, corrupt=corrupt, bos=0)
        assert pairs.clean.shape == (5, 21) and (pairs.clean[:, 0] == 0).all()
        assert pairs.clean[:, 1:].min() >= 257 and pairs.clean.max() < 900
        rows = np.arange(5)
        follow = {(i, int(pairs.clean[i, t])): int(pairs.clean[i, t + 1]) for i in rows for t in range(1, 8)}
        full = np.concatenate([pairs.clean, pairs.correct[:, None]], 1)
        for i, t in np.argwhere(pairs.about["predictable"]):
            assert follow[i, int(full[i, t])] == full[i, t + 1]
        assert (pairs.clean[rows, pairs.positions["A"]] == pairs.clean[rows, pairs.positions["END"]]).all()
        assert (pairs.clean[rows, pairs.positions["B"]] == pairs.correct).all()
        if corrupt == "match":
            for i in rows:  # what followed the last token before, is now the wrong answer
                (before, *_) = np.flatnonzero(pairs.corrupt[i] == pairs.clean[i, -1])
                assert pairs.corrupt[i, before + 1] == pairs.wrong[i] != pairs.correct[i]
                assert sorted(pairs.corrupt[i]) == sorted(pairs.clean[i])
            assert (pairs.corrupt[:, -6:] == pairs.clean[:, -6:]).all()
        else:
            assert (pairs.corrupt[rows, pairs.positions["B"]] == pairs.wrong).all()
    assert ji.tasks.induction(26, 2, key=jax.random.key(0), block=3, corrupt="match").clean.shape == (2, 5)
    with pytest.raises(ValueError, match=r"draws 60 different tokens .* there are 26 .*at most 13"):
        ji.tasks.induction(26, 2, key=jax.random.key(0), block=30)
    with pytest.raises(ValueError, match="bos is an id: bos=0"):
        ji.tasks.induction(26, 2, key=jax.random.key(0), block=3, bos=True)


@pytest.mark.parametrize("template", _agreement.TEMPLATES)
def test_agreement_flips_the_subject(template: str, words: Any) -> None:
    pairs = ji.tasks.agreement(words, 24, key=jax.random.key(0), template=template)
    changed = pairs.clean != pairs.corrupt
    assert (changed.sum(1) == 1).all()
    assert changed[np.arange(24), pairs.positions["SUBJECT"]].all()
    singular = {f" {one}" for one, _ in _agreement.VERBS}
    right = [words.tokens([i])[0] in singular for i in pairs.correct]
    assert right == (pairs.about["plural"] == 0).tolist()


def test_facts_of_ones_own(words: Any) -> None:
    vocabulary = ji.tasks.Words(["<s>", "One", " and", " one", " two", " three", " four", " five"])
    pairs = ji.tasks.facts(
        vocabulary,
        4,
        key=jax.random.key(0),
        table={"one": "two", "two": "three", "three": "four", "four": "five"},
        templates=("One and {SUBJECT} and",),
    )
    known = {3: 4, 4: 5, 5: 6, 6: 7}
    subjects, others = pairs.clean[:, 2], pairs.corrupt[:, 2]
    assert [known[int(i)] for i in subjects] == pairs.correct.tolist()
    assert [known[int(i)] for i in others] == pairs.wrong.tolist()
    with pytest.raises(ValueError, match=r"every template a \{SUBJECT\}; got 'One'"):
        ji.tasks.facts(
            vocabulary, 1, key=jax.random.key(0), table={"one": "two", "two": "one"}, templates=("One",)
        )
    with pytest.raises(ValueError, match=r"a table and templates"):
        ji.tasks.facts(vocabulary, 1, key=jax.random.key(0), table={"one": "two"})
    everything = ji.tasks.facts(words, 40, key=jax.random.key(0), relation=None, pad="left")
    assert {kind.split()[0] for kind in everything.kinds} >= {"capital", "opposite", "landmark"}


def test_what_is_left_out_is_named() -> None:
    """Names of several tokens, answers of several tokens, pairs of unequal length."""
    model, tiny = ji.load("tiny")
    pairs = ji.tasks.ioi(tiny, 20, key=jax.random.key(0))
    check(pairs, tiny, 20)
    reasons = dict(pairs.dropped)
    assert reasons[" Amber"] == "a name that is not one token"
    assert any("tokens where the batch has" in reason for reason in pairs.reasons())
    assert pairs.clean.max() < model.config.vocab
    found = ji.tasks.agreement(tiny, 5, key=jax.random.key(0))
    assert any(re.fullmatch(r"\d tokens clean and \d corrupt", r) for r in found.reasons())
    with pytest.raises(ji.tasks.TooFewExamples, match="74 of the hundred are not, '02' among them"):
        ji.tasks.greater_than(tiny, 10, key=jax.random.key(0))
    with pytest.raises(
        ji.tasks.TooFewExamples,
        match=r"admits \d different pairs of one length in .* Left out: the answer|tokens",
    ):
        ji.tasks.facts(tiny, 1, key=jax.random.key(0), relation="continent")


def test_bad_input(words: Any) -> None:
    with pytest.raises(ValueError, match="n is the number of pairs, an int from 1 on; got 0"):
        ji.tasks.ioi(words, 0, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"corrupt is one of 's2_io_flip', 'abc'.*got 'abd'"):
        ji.tasks.ioi(words, 3, key=jax.random.key(0), corrupt="abd")
    with pytest.raises(ValueError, match=r"templates are numbered 0\.\.14; got \[15\]"):
        ji.tasks.ioi(words, 3, key=jax.random.key(0), templates=[15])
    with pytest.raises(ValueError, match=r"pad is None .* 'left' or 'right'; got 'both'"):
        ji.tasks.facts(words, 3, key=jax.random.key(0), pad="both")
    with pytest.raises(ValueError, match=r"A tokenizer is called with a text.*got str"):
        ji.tasks.ioi("gpt2", 3, key=jax.random.key(0))
    with pytest.raises(ji.tasks.TooFewExamples, match=r"has 2 of 2, and 3 are needed"):
        ji.tasks.ioi(words, 3, key=jax.random.key(0), names=["Mary", "John"])
    with pytest.raises(ji.tasks.TooFewExamples, match=r"one token.*names=\[\.\.\.\]"):
        ji.tasks.ioi(ji.tasks.Words(["a"]), 3, key=jax.random.key(0))
    with pytest.raises(ji.tasks.TooFewExamples, match="two digits of a year as one token"):
        ji.tasks.greater_than(ji.tasks.Words(["1", "2"]), 3, key=jax.random.key(0))
    with pytest.raises(ValueError, match="no BOS token: build the task with bos=False"):
        ji.tasks.ioi(ji.tasks.Words(["a"]), 3, key=jax.random.key(0), bos=True)
    with pytest.raises(ji.tasks.TooFewExamples, match=r"admits 43 different .* pad|at most"):
        ji.tasks.agreement(words, 5000, key=jax.random.key(0), template="simple", verbs=[("is", "are")])
    pairs = ji.tasks.ioi(words, 3, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"write pairs\[0:1\]"):
        pairs[0]


def test_keys(words: Any) -> None:
    """Typed and raw keys; a generator moves on; anything else is refused with the fix."""
    typed, raw = ji.tasks.generator(jax.random.key(7)), ji.tasks.generator(jax.random.PRNGKey(7))
    assert typed.integers(10**9) == raw.integers(10**9)
    rng = np.random.default_rng(0)
    assert ji.tasks.generator(rng) is rng
    one, two = ji.tasks.ioi(words, 4, key=rng), ji.tasks.ioi(words, 4, key=rng)
    assert one.texts != two.texts
    for bad in (None, "0", 1.5, True, np.zeros(2), 7, np.int64(7)):
        with pytest.raises(ValueError, match=r"key|JAX key"):
            ji.tasks.generator(bad)
    with pytest.raises(ValueError, match="One key makes one batch"):
        ji.tasks.generator(jax.random.split(jax.random.key(0), 3))
    with pytest.raises(
        ValueError, match=r"Randomness comes from a key, and 7 is none: key=jax.random.key\(7\)"
    ):
        ji.tasks.ioi(words, 4, key=7)
    with pytest.raises(ValueError, match="cannot be traced"):
        jax.jit(lambda key: ji.tasks.generator(key).integers(3))(jax.random.key(0))


def test_words() -> None:
    words = ji.tasks.Words({" ab": 5, "a": 0, "b": 2, " ": 3})
    assert words("a ab b").tolist() == [0, 5, 3, 2] and words.vocab == 6  # the longest piece first
    assert words.decode(words("a ab b")) == "a ab b" and words.token_id(" ab") == 5
    ids, mask = words(["a", "a ab"], pad="left")
    assert mask.tolist() == [[False, True], [True, True]] and words.decode(ids, mask) == [
        "a",
        "a ab",
    ]
    with pytest.raises(ji.tasks.UnknownWord, match="no piece of the vocabulary begins 'c'"):
        words("ac")
    with pytest.raises(ValueError, match="an id of its own"):
        ji.tasks.Words({"a": 0, "b": 0})
    with pytest.raises(ValueError, match=r"Words\.of\(text\)"):
        ji.tasks.Words("abc")
    of = ji.tasks.Words.of("Then, Mary and John", bos="<s>")
    assert of.tokens(of("Then, John", bos=True)) == ["<s>", "Then", ",", " John"]


@pytest.mark.slow
def test_numpy_only() -> None:
    """No module of the tasks imports jax; JAX is asked of only where a key of it was given."""
    folder = Path(ji.tasks.__file__).parent
    for file in folder.glob("*.py"):
        assert not re.search(r"^\s*(import|from) (jax|equinox)\b", file.read_text(), re.M), file
    code = (
        "import sys, types; package = types.ModuleType('jaxinterp'); "
        f"package.__path__ = [{str(folder.parent)!r}]; sys.modules['jaxinterp'] = package; "
        "import jaxinterp.tasks as t; print(len(t.induction(50, 3, key=t._induction.np.random.default_rng(0), block=4))); "
        "assert 'jax' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "3"


def test_published_ioi_prompts_have_our_columns(shared_data: Path) -> None:
    """EAP-IG's pairs: our templates; `corrupted` is our "s2", `corrupted_hard` our "s2_io_flip"."""
    forms = []
    for number, text in enumerate(_ioi.TEMPLATES):
        form = re.escape(text).replace(r"\{", "{").replace(r"\}", "}")
        seen: set[str] = set()

        def group(match: re.Match[str], seen: set[str] = seen) -> str:
            name = match[1]
            again = name in seen
            seen.add(name)
            return f"(?P={name})" if again else rf"(?P<{name}>\w+)"

        forms.append((number, re.compile(re.sub(r"\{(\w+)\}", group, form))))
    used = set()
    with (shared_data / "prompts" / "ioi_llama.csv").open() as file:
        for row in csv.DictReader(file):
            number, match = next(
                (number, match) for number, form in forms if (match := form.fullmatch(row["clean"]))
            )
            used.add(number)
            first, second, s2 = match["first"], match["second"], match["S2"]
            baba = first == s2
            io = second if baba else first
            rest = {name: match.groupdict().get(name) or "" for name in ("place", "object")}
            scene = _ioi._Scene(number, baba, rest["place"], rest["object"])
            assert scene.prompt(io, s2, s2).text == row["clean"]
            assert _ioi._corrupted(scene, "s2_io_flip", io, s2, []).text == row["corrupted_hard"]
            fresh = next(m for n, form in forms if n == number and (m := form.fullmatch(row["corrupted"])))
            assert _ioi._corrupted(scene, "s2", io, s2, [fresh["S2"]]).text == row["corrupted"]
    assert len(used) > 3


def test_published_years_have_our_columns(shared_data: Path, gpt2: Any) -> None:
    """EAP-IG's greater-than pairs are our "hanna" template; YY is token 7, and 01 is id 486."""
    with (shared_data / "prompts" / "greater_than_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    form = re.compile(r"The (\w+) lasted from the year (\d\d)(\d\d) to the year (\d\d)")
    for row in rows:
        match = form.fullmatch(row["clean"])
        assert match and match[2] == match[4] and int(match[3]) == int(row["label"])
        text = _greater_than.TEMPLATES["hanna"]
        ours = [text.format(noun=match[1], XX1=match[2], YY=y, XX2=match[2]) for y in (match[3], "01")]
        assert ours == [row["clean"], row["corrupted"]]
    pairs = ji.tasks.greater_than(gpt2, 64, key=jax.random.key(0))
    check(pairs, gpt2, 64)
    assert pairs.clean.shape == (64, 12)
    assert set(pairs.positions["YY"].tolist()) == {7} and (pairs.corrupt[:, 7] == 486).all()
    theirs = np.stack([np.asarray(gpt2(row["clean"])) for row in rows[:64]])
    assert theirs.shape == pairs.clean.shape
    same = (theirs == theirs[0]).all(0)  # the columns of the template
    assert (pairs.clean[:, same] == theirs[0][same]).all() and same.sum() == 8


def test_published_agreement_prompts_have_our_columns(shared_data: Path) -> None:
    for name in ("simple", "nounpp", "within_rc"):
        form = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>\\w+)", _agreement.TEMPLATES[name]))
        lines = (shared_data / "prompts" / f"sva_{name}_test.json").read_text().splitlines()
        for row in map(json.loads, lines):
            clean, patch = (form.fullmatch(row[f"{side}_prefix"]) for side in ("clean", "patch"))
            assert clean and patch
            differ = {key for key, value in clean.groupdict().items() if patch[key] != value}
            assert differ == {"SUBJECT"}


@pytest.mark.slow
def test_the_page_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
    exec(compile(code, page.name, "exec"), {})
