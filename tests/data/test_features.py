"""Labels from text alone, on texts whose labels can be seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.data import features

LATEX = r"""\title{On $x$ and y} \author[1]{A. Person}
\begin{abstract} Short. \end{abstract}
Costs \$5 % not $math$ here
We have $\frac{a_1}{b^{2}}$ and \[ x_{i_j} = \dfrac12 \] by \eqref{eq:1} and \cite[p.~1]{knuth}.
\begin{align*} E &= m \\ F &= G \end{align*} $a$$b$ \(c\) $$ D $$ $lost

new paragraph $z$"""


def test_latex_by_sight() -> None:
    found = {name: [LATEX[a:b] for a, b in spans] for name, spans in features.latex(LATEX).items()}
    assert found["title"] == ["On $x$ and y"] and found["author"] == ["A. Person"]
    assert found["abstract"] == [" Short. "] and found["reference"] == ["eq:1", "knuth"]
    assert found["frac"] == [r"\frac", r"\dfrac"]
    assert found["numerator"] == ["a_1", "1"] and found["denominator"] == ["b^{2}", "2"]
    assert found["subscript"] == ["1", "i_j", "j"] and found["superscript"] == ["2"]
    assert found["inline_math"] == ["x", r"\frac{a_1}{b^{2}}", "a", "b", "c", "lost", "z"]
    assert found["display_math"] == [
        r" x_{i_j} = \dfrac12 ",
        r" E &= m \\ F &= G ",
        " D ",
    ]
    assert len(found["start_math"]) == 10 and len(found["end_math"]) == 9
    assert sorted(found["math"]) == sorted(found["inline_math"] + found["display_math"])
    assert features.latex("") == {name: [] for name in found}
    assert set(features.LATEX_MIRRORS) <= set(found)


def test_latex_of_a_real_book(shared_data: Path) -> None:
    import lzma

    with lzma.open(shared_data / "corpora" / "latex.txt.xz", "rt", encoding="utf-8") as file:
        text = file.read(200_000)
    found = features.latex(text)
    for spans in found.values():
        assert all(0 <= a < b <= len(text) for a, b in spans)
    for name in ("subscript", "superscript", "numerator"):
        for a, b in found[name]:
            inside = text[a:b].replace(r"\{", "").replace(r"\}", "")
            assert inside.count("{") == inside.count("}")
    assert len(found["math"]) > 500 and len(found["reference"]) > 50
    closed = len(found["end_math"]) / len(found["start_math"])
    assert closed > 0.99


def test_compound_words_and_near_misses() -> None:
    text = "High School, high\n school. My school is far; high time, highschool and high-school."
    found = features.compound_word(text, "high school")
    kinds = [[text[a:b] for a, b in spans] for spans in found]
    assert kinds == [["School", "school"], ["school", "school"], ["time"]]
    assert len(features.COMPOUND_WORDS) == 21
    assert all(len(words.split()) == 2 for words in features.COMPOUND_WORDS)
    with pytest.raises(ValueError, match="two words"):
        features.compound_word(text, "high")


def test_ngrams_of_tokens() -> None:
    tokens = np.asarray([[1, 2, 3, 2, 3], [2, 3, 3, 1, 2]])
    np.testing.assert_array_equal(features.ngram(tokens, [3]), tokens == 3)
    assert np.argwhere(features.ngram(tokens, [2, 3])).tolist() == [[0, 2], [0, 4], [1, 1]]
    assert np.argwhere(features.ngram(tokens, [3, -1, 3])).tolist() == [[0, 4]]
    assert not features.ngram(tokens, [1] * 6).any()
    with pytest.raises(ValueError, match="at least one token id"):
        features.ngram(tokens, [])


def test_words_endings_capitals_and_sentences() -> None:
    text = 'Mr. Smith slowly walked home. He didn\'t see Anna! "Why?" asked the red Queen.\nOld J. King died.'

    def of(spans: Any) -> list[str]:
        return [text[a:b] for a, b in spans]

    assert "didn't" in of(features.words(text))
    assert of(features.suffix(text, "past_ed")) == ["walked", "asked"]
    assert of(features.suffix(text, "ly")) == ["slowly"]
    assert of(features.sentence_ends(text)) == [".", "!", ".", "."]
    assert of(features.capitalised(text)) == ["Smith", "Anna", "Queen", "J", "King"]
    assert of(features.capitalised(text, inside=False))[:3] == ["Mr", "Smith", "He"]
    with pytest.raises(ValueError, match="made of letters"):
        features.suffix(text, "e d")


def test_the_text_of_tokens(tokenizer: Any) -> None:
    corpus = data.pack(tokenizer, ["The year 1984 ÖL\n NASA x1"], ctx=16)
    labels = features.of_tokens(tokenizer, corpus.tokens)
    assert len(labels) == len(features.TOKEN_TEXT) == 11

    def of(name: str) -> list[str]:
        chosen = np.flatnonzero(labels[name] & corpus.positions)
        return [corpus.text_of(i).strip() for i in chosen]

    assert of("all_digits") == ["1984"] and of("contains_digit") == ["1984", "x1"]
    assert of("all_capitals") == ["ÖL", "NASA"] and of("non_ascii") == ["ÖL"]
    assert of("leading_capital") == ["The", "ÖL", "NASA"] and of("all_whitespace") == [""]
    assert of("has_leading_space") == ["year", "1984", "ÖL", "NASA", "x1"]
    mine = features.of_tokens(tokenizer, corpus.tokens, {"long": lambda s: len(s) > 4})
    assert (mine["long"] & corpus.positions).sum() == 3  # BOS is a piece of text too: the mask leaves it out


def test_places_in_a_sequence_whatever_the_padding() -> None:
    real = np.asarray([[1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 0]], bool)
    found = features.position(real)
    np.testing.assert_array_equal(found["absolute"], [[0, 1, 2, 0], [0, 0, 1, 2], [0, 0, 0, 0]])
    np.testing.assert_array_equal(found["relative"][1], [0, 0, 0.5, 1])
    np.testing.assert_allclose(found["log"][0], np.log([1, 2, 3, 1]), rtol=1e-6)


CONLLU = """# newdoc id = d1
# sent_id = 1
1\tDogs\tdog\tNOUN\tNNS\tNumber=Plur\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\tMood=Ind|Tense=Pres\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod:neg\t_\t_
4\tbark\tbark\tVERB\tVB\tVerbForm=Inf\t0\troot\t_\tSpaceAfter=No
4.1\tx\tx\tVERB\t_\t_\t_\t_\t_\t_
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_

# newdoc id = d2
1\tStop\tstop\tVERB\tVB\tMood=Imp\t0\troot\t_\t_
"""


def test_a_treebank(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "en.conllu"
    path.write_text(CONLLU)
    first, second = features.read_conllu(path)
    path.write_text(CONLLU, encoding="utf-8-sig")
    assert features.read_conllu(path)[0].text == first.text
    assert first.text == "Dogs don't bark. Yes" and first.group == "d1" and second.text == "Stop"
    tags = {label: first.text[a:b] for a, b, label in first.spans}
    assert tags["Number=Plur"] == "Dogs" and tags["upos=AUX"] == "don't"
    assert tags["deprel=advmod"] == "don't" and tags["upos=VERB"] == "bark"
    assert [first.text[a:b] for a, b, label in first.spans if label == "eos"] == [".", "Yes"]
    corpus = data.pack(tokenizer, [first, second], ctx=12)
    chosen = np.flatnonzero(corpus.spans("deprel=root"))
    assert [corpus.text_of(i) for i in chosen] == ["bark", "Yes", "Stop"]
    path.write_text("1\tbroken\n")
    with pytest.raises(ValueError, match="line 1: a word of CoNLL-U has 10 fields"):
        features.read_conllu(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="no sentence"):
        features.read_conllu(path)


def test_names_of_a_table_and_what_it_says_of_them() -> None:
    table = {"Marie Curie": "chemist", "Ada Lovelace": "writer", "Ann": "none"}
    texts = ["She met Marie Curie, and Marie Curieux, and later Marie Curie again.", "Ann. Ada Lovelace"]
    found = features.mentions(texts, table, before=12)
    assert [d.text for d in found] == ["She met Marie Curie", "and later Marie Curie", "Ann. Ada Lovelace"]
    assert [d.label for d in found] == ["chemist", "chemist", "writer"]
    assert [d.group for d in found] == ["Marie Curie", "Marie Curie", "Ada Lovelace"]
    for d in found:
        spans = {label: d.text[a:b] for a, b, label in d.spans}
        assert spans == {"name": d.group, "surname": d.group.split()[-1]}
    assert len(features.mentions(texts, table, most=1)) == 2
    with pytest.raises(ValueError, match="Lower least="):
        features.mentions(texts, {"Ann": 1})


def test_tables_of_places(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text(
        'name,latitude,longitude,kind,is_test\n"Rome, Italy",41.9,12.5,city,False\nLima,-12,-77,,True\n'
    )
    places = features.read_places(path)
    assert places.names == ["Rome, Italy", "Lima"] and places.columns == {"kind": ["city", ""]}
    np.testing.assert_array_equal(places.is_test, [False, True])
    np.testing.assert_allclose(places.targets, [[41.9, 12.5], [-12, -77]], rtol=1e-6)
    assert places[places.is_test].names == ["Lima"] and len(places[:1]) == 1
    assert "Places(2" in repr(places)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert features.read_places(path).names == places.names
    path.write_text("name,latitude,longitude\nNowhere,91,0\n")
    with pytest.raises(ValueError, match="row 2: the latitude of 'Nowhere' is '91'"):
        features.read_places(path)
    path.write_text("name,lat\nRome,41\n")
    with pytest.raises(ValueError, match="needs name"):
        features.read_places(path)


def test_the_published_tables(shared_data: Path) -> None:
    for name in ("us_place.csv", "world_place.csv"):
        places = features.read_places(shared_data / "places" / name)
        assert len(places) > 10_000 and 0.1 < places.is_test.mean() < 0.3
