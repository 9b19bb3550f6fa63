"""Runs the chapters, prints what they find, and writes the page."""

import os
import time
from collections.abc import Sequence
from typing import Any

import jaxinterp as ji

from .. import viz
from .._text import line, plain
from . import (
    _attribution,
    _chain,
    _circle,
    _circuit,
    _confidence,
    _dictionary,
    _direction,
    _generation,
    _induction,
    _layers,
    _lens,
    _model,
    _neurons,
    _patching,
    _paths,
    _similarity,
    _task,
)
from ._chapter import Chapter, Finding, NotForThisModel, Table
from ._shown import CodedFigure, first_lines

CHAPTERS: list[Chapter] = [
    _model.chapter,
    _lens.chapter,
    _patching.chapter,
    _attribution.chapter,
    _induction.chapter,
    _paths.chapter,
    _circuit.chapter,
    _task.chapter,
    _chain.chapter,
    _generation.chapter,
    _direction.chapter,
    _neurons.chapter,
    _confidence.chapter,
    _layers.chapter,
    _similarity.chapter,
    _circle.chapter,
    _dictionary.chapter,
]

SUMMARY = (
    "One sentence, one answer: how `{name}` comes to it, and what else its inside holds. "
    "Every number was measured by the run that wrote this page, with the code below each figure."
)


def run_tour(
    name: str = "tiny",
    out: str | os.PathLike[str] = "jaxinterp-tour.html",
    *,
    chapters: Sequence[Chapter] = CHAPTERS,
    console: Any = None,
) -> list[Finding]:
    """Loads a model, runs `chapters` on it, prints them and writes `out` (whole or not at all).

    A chapter that does not apply to the model says so and is left out.

    **Returns:** the findings, with their numbers.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = console or Console()
    out = viz.check_page(out)
    begun = time.perf_counter()
    findings, left_out = [], []
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(f"loading {name}", total=len(chapters) + 1)
        model, tokenizer = ji.load(name)
        if tokenizer is None:
            raise ValueError(
                f"The tour reads text, and {name} has no tokenizer. Give a folder with a tokenizer.json."
            )
        bar.advance(task)
        for number, chapter in enumerate(chapters, 1):
            bar.update(task, description=f"chapter {number} of {len(chapters)}")
            since = time.perf_counter()
            try:
                finding = chapter(model, tokenizer)
            except NotForThisModel as reason:
                what = chapter.__module__.rsplit(".", 1)[-1].lstrip("_")
                left_out.append(f"The chapter {what!r} is left out for this model: {reason}")
                console.print(plain(left_out[-1]), markup=False, style="yellow")
            else:
                findings.append(finding)
                show(finding, len(findings), time.perf_counter() - since, console)
            bar.advance(task)
    seconds = time.perf_counter() - begun
    path = viz.write(out, document(name, findings, left_out, seconds))
    console.print(
        f"\nDone in {seconds:.0f} s. The figures are in {line(path)}: open it in a browser.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return findings


def show(finding: Finding, number: int, seconds: float, console: Any) -> None:
    """A finding in the terminal: text and tables; figures are named and wait on the page."""
    from rich.text import Text

    console.print()
    console.rule(Text(f"{number}. {line(finding.title)}  ({seconds:.1f} s)"), align="left")
    console.print(Text(line(finding.question), style="bold"))
    console.print()
    for block in finding.body:
        if isinstance(block, Table) and not block.page_only:
            console.print(block.rich())
        elif isinstance(block, Table | viz.Figure | CodedFigure):
            console.print(Text(f"  [on the page] {line(block.title)}", style="dim"))
        else:
            console.print(Text(plain(block.replace("`", ""))))
            console.print()


def document(name: str, findings: Sequence[Finding], left_out: Sequence[str], seconds: float) -> str:
    """The page of all findings."""
    chapters = [
        viz.Chapter(
            finding.title,
            [f"{finding.question} {finding.shows}", *_blocks(finding, "" if number else first_lines(name))],
        )
        for number, finding in enumerate(findings)
    ]
    if left_out:
        chapters.append(viz.Chapter("Left out", left_out))
    import jax

    return viz.page(
        "A tour of a language model",
        chapters,
        summary=SUMMARY.format(name=name),
        footer=f"Written by `jaxinterp tour` in {seconds:.0f} s on {jax.default_backend()} (JAX {jax.__version__}).",
    )


def _blocks(finding: Finding, before: str) -> list[str | viz.Figure]:
    """The body of a chapter with the code of its figures; `before` stands above the first code."""
    blocks: list[str | viz.Figure] = []
    for block in finding.body:
        if isinstance(block, CodedFigure):
            blocks += block.blocks(before)
            before = ""
        else:
            blocks.append(block.figure() if isinstance(block, Table) else block)
    return blocks
