"""Numbers that stand in the documentation, computed anew: a page that has drifted fails here.

A claim is a sentence of a page with `{}` where its numbers are, and a function that gives them.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxinterp as ji

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NUMBER = r"([-+−]?[\d,]*\.?\d+(?:e-?\d+)?)"


class Claim(NamedTuple):
    """`within` is the tolerance of every number of the sentence; `slow` ones are left to .ci/run."""

    page: str
    text: str
    found: Callable[[], Sequence[float]]
    within: float = 0.0
    slow: bool = False


@functools.cache
def tiny() -> Any:
    return ji.load("tiny")


def config() -> list[float]:
    c = tiny()[0].config
    return [c.layers, c.d, c.heads, c.d // c.heads, c.ff]


def parameters() -> list[float]:
    return [sum(leaf.size for leaf in jax.tree.leaves(tiny()[0]) if hasattr(leaf, "size"))]


@functools.cache
def scores() -> tuple[np.ndarray, np.ndarray]:
    model, tokenizer = tiny()
    options: Any = {"bos": tokenizer.bos_id}
    prefix = ji.heads.prefix_matching_scores(model, key=jax.random.key(0), **options)
    previous = ji.heads.previous_token_scores(model, key=jax.random.key(0), **options)
    return np.asarray(prefix), np.asarray(previous)


def induction() -> list[float]:
    prefix, previous = scores()
    return [prefix[3, 0], prefix[3, 3], previous[2, 3]]


def rarely() -> list[float]:
    found = ji.neurons.weight_statistics(tiny()[0])
    return list(np.median(np.asarray(found.product), -1))


def null_shares() -> list[float]:
    """Rank and width of the null space; of two neurons the norm and the share in it."""
    model = tiny()[0]
    null = ji.neurons.null_space(model)
    out = np.asarray(model.blocks.mlp.w_out[3], np.float64)[[355, 348]]
    out = out - out.mean(1, keepdims=True)
    pairs = np.stack([np.linalg.norm(out, axis=1), null.share(out)], 1)
    return [null.rank, len(null.singular_values), *pairs.ravel()]


@functools.cache
def edges() -> Any:
    model, tokenizer = tiny()
    clean, corrupt = (tokenizer(t, bos=True) for t in ("Il aimait une autre", "Il aimait un autre"))
    metric = ji.metrics.logit_diff(tokenizer.token_id(" femme"), tokenizer.token_id(" homme"))
    return ji.circuits.direct_paths(model, clean, corrupt, metric)


def strongest() -> list[float]:
    return [number for edge in edges().top(4) for number in (edge.value, edge.effect)]


def cases() -> list[float]:
    counts = []
    for family in ("gpt2", "gpt_neox", "llama"):
        with np.load(ROOT / "tests" / "golden" / f"{family}.npz") as file:
            counts.append(len(json.loads(file["index"].tobytes())))
    return [sum(counts), *counts]


def features() -> list[float]:
    return [ji.sae.load("tiny").features]


def coverage(count: int, law: str) -> list[float]:
    """What the docstring of `statistics` says, which a test of its own measures."""
    row = re.search(
        rf"\| {count} \| {law} \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", ji.patching.statistics.__doc__ or ""
    )
    assert row
    student, corrected, percentile = (100 * float(each) for each in row.groups())
    return [student, percentile, corrected]


CLAIMS = [
    Claim(
        "embedded_model", "| layers, width, heads, MLP width | {}, {}, {} heads of {} channels, {} |", config
    ),
    Claim("embedded_model", "| parameters | {} |", parameters),
    Claim(
        "embedded_model",
        "| vocabulary, context | {} tokens, {} positions |",
        lambda: [tiny()[0].config.vocab, tiny()[0].config.ctx],
    ),
    Claim("heads", "prefix matching  3.0 {}, 3.3 {}\n  previous token   2.3 {}, 1.1", induction, 0.006),
    Claim("neurons", "norm times bias {}, {}, {} and {} in layers 0 to 3", rarely, 0.06),
    Claim(
        "entropy_neurons", "| embedded | {} of {} | 3.355 | {} | {} | 3.15", lambda: null_shares()[:4], 0.006
    ),
    Claim("entropy_neurons", "| | | 3.348 | {} | {} | 4.00", lambda: null_shares()[4:], 0.006),
    Claim(
        "circuits",
        "mlp0       {}  {}\n2.2     logits     {}  {}\nmlp0    mlp1       {}  {}\nmlp0    2.2.v     {}  {}",
        strongest,
        1e-3,
        slow=True,
    ),
    Claim("measured", "of `transformers` 5.23 on {} small random configs:\nGPT-2 ({}: ", lambda: cases()[:2]),
    Claim("measured", "GPT-NeoX ({}: parallel", lambda: cases()[2:3]),
    Claim("measured", "Llama ({}: grouped", lambda: cases()[3:]),
    Claim("measured", "TopK on `resid_post[1]`, {} features", features),
    Claim(
        "patching",
        "With 8 pairs and normally distributed effects, {}% of these intervals",
        lambda: coverage(8, "normal")[:1],
        0.51,
    ),
    Claim(
        "patching",
        'reaches {}%, and its corrected form (`"bca"`)\n{}%.',
        lambda: coverage(8, "normal")[1:],
        0.51,
    ),
]


def marked(claim: Claim) -> Any:
    marks = [pytest.mark.slow] if claim.slow else []
    return pytest.param(claim, marks=marks, id=f"{claim.page}: {claim.text[:40]}")


@pytest.mark.parametrize("claim", [marked(each) for each in CLAIMS])
def test_a_claim_holds(claim: Claim) -> None:
    text = (DOCS / f"{claim.page}.md").read_text()
    found = re.findall(re.escape(claim.text).replace(r"\{\}", NUMBER), text)
    assert len(found) == 1, f"{claim.page}.md says this {len(found)} times: {claim.text}"
    said = [number(each) for each in ([found[0]] if isinstance(found[0], str) else found[0])]
    np.testing.assert_allclose(said, np.asarray(claim.found(), float), rtol=0, atol=claim.within)


def number(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the table below a line that begins so."""
    text = (DOCS / f"{page}.md").read_text()
    assert text.count(heading) == 1
    rows = text[text.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_two_pages_tell_the_same_planted_directions() -> None:
    """docs/sae.md has the means, docs/measured.md those of three keys and the worst of them."""
    means = table("sae", "| kind | settings | MMCS | dead |")
    seeds = table("measured", "| kind | MMCS | dead, worst key |")
    assert [row[0] for row in means] == [row[0].split(",")[0] for row in seeds]
    for mean, seed in zip(means, seeds, strict=True):
        three = [float(each) for each in seed[1].split()]
        assert abs(np.mean(three) - float(mean[2])) < 1.01e-3, mean
        assert float(mean[4]) > float(seed[3]) - 5e-4, mean  # the worst is not above the mean


def test_two_pages_tell_the_same_lenses() -> None:
    rows = {row[0].split(" (")[0]: row[1:] for row in table("lenses", "| row | KL logit lens |")}
    for row in table("measured", "| | embedding | block 0 | block 1 | block 2 |"):
        column = {"logit lens": 0, "tuned lens": 1}[row[0]]
        said = [float(rows[name][column]) for name in ("embedding", "block 0", "block 1", "block 2")]
        np.testing.assert_allclose([float(each) for each in row[1:]], said, atol=0.0051)


def test_two_pages_tell_the_same_circuits() -> None:
    of_heads = {row[0]: row[1:] for row in table("heads", "| model | right | logit difference")}
    for name, *cells in table("measured", "| model | accuracy | logit difference"):
        other = of_heads[name]
        assert cells[:4] == other[:4]
        first = lambda text: number(re.findall(NUMBER, text)[0])
        assert first(cells[4]) == first(other[4])
