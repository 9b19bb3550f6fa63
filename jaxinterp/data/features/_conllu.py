"""Treebanks in the CoNLL-U format: parts of speech, dependency roles, morphology."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._read import read_text
from .._document import Document

if TYPE_CHECKING:
    from .._corpus import TextCorpus as LabelledCorpus
else:
    LabelledCorpus = Any


def read_conllu(path: str | Path, *, max_bytes: int = 2**27) -> list[Document]:
    """Reads a treebank as documents with a span for every tag of every word.

    **Arguments:**

    - `path`: a `.conllu` file of Universal Dependencies.
    - `max_bytes`: largest size of the file in bytes; 128 MiB by default.

    **Returns:** one `Document` for each `# newdoc` (or for the file). Labels of its spans are
    `"upos=NOUN"`, `"deprel=nsubj"` (without subtypes), `"Number=Plur"` and so on for each
    morphological feature, `"eos"` at the last word of a sentence; for `corpus.spans("upos=NOUN")`.
    Words of a contraction share its span.

    **Raises:** `ValueError` for a line that is not of the format, with its number.

    https://universaldependencies.org/format.html

    ```python
    documents = ji.data.features.read_conllu("en_ewt-ud-train.conllu")
    treebank = ji.data.pack(tokenizer, documents, ctx=128)
    plural = treebank.spans("Number=Plur")              # True at the tokens of plural words
    ```

    Law: the text of a span is the form of its word.
    """
    documents: list[Document] = []
    text, spans, words = "", [], []
    group: Any = None
    lines = read_text(path, max_bytes=max_bytes).split("\n")

    def finish() -> None:
        nonlocal text, spans
        if text.strip():
            documents.append(Document(text.rstrip(), None, group, tuple(spans)))
        text, spans = "", []

    for number, line in enumerate([*lines, ""], 1):
        if line.startswith("# newdoc"):
            finish()
            group = line.partition("=")[2].strip() or len(documents)
        elif line.startswith("#"):
            continue
        elif not line.strip():
            if words:
                spans.append((words[-1][0], words[-1][1], "eos"))
                text, words = text.rstrip() + " ", []
        else:
            fields = line.split("\t")
            if len(fields) != 10:
                raise ValueError(
                    f"{path}, line {number}: a word of CoNLL-U has 10 fields with tabs between "
                    f"them; this has {len(fields)}."
                )
            if "." in fields[0]:
                continue  # a word that is not in the text
            if not re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})?", fields[0]):
                raise ValueError(
                    f"{path}, line {number}: a word has a number, as 3 or 3-4; got {fields[0][:40]!r}."
                )
            first = int(fields[0].split("-")[0])
            shared = next((w for w in words if w[2] <= first <= w[3]), None)
            if shared is None or "-" in fields[0]:
                start, text = len(text), text + fields[1]
                last = int(fields[0].split("-")[-1])
                shared = (start, len(text), first, last)
                words.append(shared)
                if "SpaceAfter=No" not in fields[9]:
                    text += " "
            if "-" not in fields[0]:
                spans += [(shared[0], shared[1], tag) for tag in _tags(fields)]
    finish()
    if not documents:
        raise ValueError(f"{path} holds no sentence.")
    return documents


def _tags(fields: list[str]) -> list[str]:
    tags = [f"upos={fields[3]}", f"deprel={fields[7].split(':')[0]}"]
    return tags + ([] if fields[5] == "_" else fields[5].split("|"))


OPPOSITES = {
    "Number=Plur": ("Number=Sing",),
    "Mood=Imp": ("Mood=Ind",),
    "Tense=Past": ("Tense=Pres",),
    "Voice=Pass": ("upos=VERB", "upos=AUX"),
}
"Features of morphology whose negatives are words of another value, and not all other words."


def morphology(corpus: LabelledCorpus, name: str) -> tuple[np.ndarray, np.ndarray]:
    r"""$(P, N)$: the tokens with a feature of morphology, and the tokens that serve as its negatives.

    | feature | negatives |
    |---|---|
    | "Number=Plur", "Mood=Imp", "Tense=Past" | words with "Number=Sing", "Mood=Ind", "Tense=Pres" |
    | "Voice=Pass" | verbs and auxiliaries |
    | "first_eos", the first end of a sentence of a document | all other ends |
    | any other, such as "Person=3" or "eos" | all other tokens that count |

    Appendix B of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `corpus`: `ji.data.pack` of the documents of `read_conllu`.
    - `name`: a feature as the treebank writes it, "eos" or "first_eos".

    **Returns:** bools `(seq, pos)` twice, for `ji.data.sample(positive, negative, n=..., key=key)`.

    **Raises:** `ValueError` for a feature that no word has.

    ```python
    treebank = ji.data.pack(tokenizer, ji.data.features.read_conllu("en_ewt-ud-train.conllu"), ctx=128)
    positive, negative = ji.data.features.morphology(treebank, "Tense=Past")
    feature = ji.data.sample(positive, negative, n=40, share=0.2, key=jax.random.key(0))
    ```

    Law: no token is both.
    """
    if name == "first_eos":
        ends = [[span[:2] for span in document.spans if span[2] == "eos"] for document in corpus.documents]
        positive, negative = (
            corpus.spans([each[:1] for each in ends]),
            corpus.spans([each[1:] for each in ends]),
        )
    else:
        positive = corpus.spans(name)
        others = [corpus.spans(other) for other in OPPOSITES.get(name, ())]
        negative = np.logical_or.reduce(others) if others else np.asarray(corpus.positions).copy()
    if not positive.any():
        known = sorted({span[2] for document in corpus.documents for span in document.spans})
        raise ValueError(f"No token of the corpus has {name!r}; it has {', '.join(known[:12])}, ...")
    return positive, negative & ~positive
