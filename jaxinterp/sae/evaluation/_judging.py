"""What judges are asked about a feature, job by job, and the records of it on disk."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from ..._disk import BadRecords, LineWriter
from ..._random import key_numbers
from ..._read import check, integer
from ..._waiting import hidden
from ...data._files import fingerprint
from ...data._lines import read_lines
from ...stats import Record
from ...typing import KeyLike, PathLike
from ..features._site import SiteReading, sites_of
from ._detection import detection, text_scores
from ._interpret_settings import InterpretSettings, Judges
from ._simulation import bills_scores, expected, simulation_scores
from ._windows import Sheet

LEAST = 20  # examples on which a feature fires

Job = TypeVar("Job")


def study_of(
    name: str, sae: Any, read: SiteReading, key: KeyLike, settings: InterpretSettings
) -> dict[str, Any]:
    """What makes two files of records those of one study."""
    return {
        "study": name,
        "site": " ".join(sites_of(read.name)),
        "key": key_numbers(key),
        "window": list(settings.window),
        "corpus": fingerprint(np.asarray(read.corpus.tokens), np.asarray(read.corpus.positions)),
        "dictionary": fingerprint(*jax.tree.leaves(eqx.filter(sae, eqx.is_array))),
    }


def begun(out: PathLike | None, study: dict[str, Any]) -> list[Record]:
    """What a file already holds, where it is of this study."""
    path = None if out is None else Path(out)
    if path is None or not path.is_file() or not path.stat().st_size:
        return []
    first, *records = read_lines(path) or [{}]
    if "seed" in first:  # as files of earlier versions have it
        first["key"] = [0, first["seed"]]
    if not first:
        return []
    for name, value in study.items():
        if first.get(name) != value:
            raise BadRecords(
                f"{path} holds explanations of another {name}: {first.get(name)!r}, here {value!r}. "
                "Give another file."
            )
    for record in records:
        check(path, record, {"feature": integer()}, required=("feature",), error=BadRecords)
    return records


def recorded(
    ask: Callable[[Job], Record],
    jobs: Sequence[Job],
    out: PathLike | None,
    study: dict[str, Any],
    settings: InterpretSettings,
    unit: str,
) -> Iterator[Record]:
    """The record of each job, in the file `out` before it is given."""
    from tqdm.auto import tqdm

    bar: Any = {"total": len(jobs), "desc": study["study"], "unit": unit, **hidden(settings.progress)}
    if out is None:
        yield from tqdm(_each(ask, jobs, settings.workers), **bar)
        return
    with LineWriter(Path(out)) as file:
        if not file.path.stat().st_size:
            file.append([study])
        for record in tqdm(_each(ask, jobs, settings.workers), **bar):
            file.append([record])
            yield record


def _each(ask: Any, jobs: Sequence[Any], workers: int) -> Any:
    if workers == 1:
        yield from map(ask, jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(ask, job) for job in jobs]
        try:
            for each in as_completed(waiting):
                yield each.result()
        finally:
            for each in waiting:
                each.cancel()


def begun_record(sheet: Sheet) -> Record:
    """The number of a feature, and whether it fires often enough to be judged."""
    fires = [w for w in (*sheet.shown.examples, *sheet.tests) if w.kind in ("top", "interval")]
    return {"feature": sheet.feature, "kept": len(fires) >= LEAST, "examples": len(fires)}


def tested(sheet: Sheet, text: str, judges: Judges, key: KeyLike) -> Record:
    """What the judges predict from an explanation, and how well."""
    found: Record = {}
    if judges.simulate is not None:
        found |= _simulated(sheet, text, judges.simulate)
    if judges.predict_logits is not None:
        answers = np.asarray(judges.predict_logits(text, list(sheet.options)))
        if answers.shape != sheet.right.shape:
            raise ValueError(
                f"predict_logits answers for each of {len(sheet.right)} tokens, True or False; got "
                f"the shape {answers.shape}."
            )
        found["logits"] = float((answers.astype(bool) == sheet.right).mean())
    if judges.detect is not None:
        texts, firing = detection(sheet, key)
        found |= text_scores(judges.detect(text, texts), firing)
    return found


def _simulated(sheet: Sheet, text: str, simulate: Any) -> dict[str, Any]:
    predicted = []
    for window in sheet.tests:
        values = expected(simulate(text, list(window.tokens)))
        if values.shape != (len(window.tokens),) or not np.isfinite(values).all():
            raise ValueError(
                f"simulate answers with a finite number for each of {len(window.tokens)} tokens; got "
                f"{values.tolist()[:12]}."
            )
        predicted.append(values)
    blank = lambda w: np.isnan(w.activations)
    levels = [np.where(blank(w), np.nan, w.levels) for w in sheet.tests]
    plain = simulation_scores(predicted, levels)
    by = {"random": 1.0, "token": 0.0}
    weight = [by.get(w.kind, sheet.density * float(sheet.share[w.interval])) for w in sheet.tests]
    weighted = dict(simulation_scores(predicted, levels, weight)) if any(weight) else {}
    bills = bills_scores(predicted, [w.activations for w in sheet.tests])
    return {
        **plain,
        **{f"weighted_{name}": value for name, value in weighted.items()},
        **{f"bills_{name}": value for name, value in bills.items()},
        "predicted": [[float(f"{v:.4g}") for v in each] for each in predicted],
        "true": [each.levels.tolist() for each in sheet.tests],
    }
