"""Explanations of features, written by one judge and tested by others, feature by feature."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..._deprecations import respelled
from ..._disk import BadRecords, LineWriter
from ..._random import key_numbers
from ..._read import check, integer
from ...core._check import check_key
from ...data._files import fingerprint
from ...data._lines import read_lines
from ...stats import Record
from ...typing import (
    CaptureLike,
    CorpusLike,
    DictionaryLike,
    IndexLike,
    KeyLike,
    MaskLike,
    ModelLike,
    PathLike,
    TokenizerLike,
)
from ..features._site import SiteReading, chosen, sites_of
from ._detection import detection, detection_score
from ._interpret_settings import JUDGES, InterpretSettings, Judges
from ._simulation import bills_scores, expected, simulation_scores
from ._windows import Sheet, sheets

LEAST = 20  # examples on which a feature fires


@respelled(
    real="mask=padding_mask, and positions= for what counts",
    explain=JUDGES,
    simulate=JUDGES,
    predict_logits=JUDGES,
    detect=JUDGES,
    seed="key=jax.random.key(0)",
    window="settings=ji.sae.InterpretSettings(window=(4, 4))",
    workers="settings=ji.sae.InterpretSettings(workers=8)",
    batch="settings=ji.sae.InterpretSettings(batch_size=8)",
    batch_size="settings=ji.sae.InterpretSettings(batch_size=8)",
    progress="settings=ji.sae.InterpretSettings(progress=False)",
)
def interpret(
    sae: DictionaryLike,
    model: ModelLike,
    tokenizer: TokenizerLike,
    tokens: CorpusLike,
    *,
    judges: Judges,
    key: KeyLike,
    site: CaptureLike | None = None,
    features: IndexLike | None = None,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    out: PathLike | None = None,
    settings: InterpretSettings = InterpretSettings(),
) -> list[Record]:
    r"""$r(\mathrm{simulate}(\mathrm{explain}(E_i), T_i), f_i(T_i))$: does an explanation predict the feature?

    `explain` sees 49 windows of 9 tokens: 10 of the top interval of activations, 2 of each of 12
    others, 5 random ones, 10 around top tokens elsewhere, activations as levels 0..9; and the tokens
    whose logits the feature raises and lowers most. The explanation is tested on 60 others (6, 2 of each,
    10, 20), which share no token with the first. The judges are your own functions.

    **Arguments:**

    - `sae`, `model`, `tokens`, `site`, `mask`, `positions`: as in `evaluate`.
    - `tokenizer`: gives the strings of tokens.
    - `judges`: `Judges`, functions that explain a feature and are tested with the explanation.
    - `key`: draws windows and tokens.
    - `features`: numbers of features. Default None: all.
    - `out`: a file of JSON lines. An interrupted run continues with it.
    - `settings`: `InterpretSettings`: windows, workers, batch size, progress.

    **Returns:** a dict for each feature: `feature`, `kept` (False, and no scores, where fewer than
    20 windows fire), `examples` (how many do), `explanation`; of `simulate` `spearman`, `pearson`,
    `weighted_spearman`, `weighted_pearson` (random windows weigh 1, those of an interval density
    times $P(\mathrm{interval} \mid \mathrm{active})$), `bills_correlation`, `bills_r2`, `predicted`
    and `true`; `logits` and `detection`, accuracies. True activations are levels 0..9 but in Bills's.

    **Raises:** ValueError for judges that answer for other tokens; `BadRecords` for a file of
    another study. What a judge raises is raised here, and everything before is in `out`.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    ```python
    found = ji.sae.interpret(sae, model, tokenizer, corpus, site="resid_post[2]", out="explained.jsonl",
                             judges=ji.sae.Judges(explain=explain, simulate=simulate), key=jax.random.key(0))
    ```

    Law: a judge that knows the levels scores 1, one with a constant answer scores 0.
    """
    key = check_key(key, "ji.sae.interpret(..., key={})")
    which = chosen(sae, features)
    read = SiteReading(sae, model, tokens, site, mask, positions)
    study = {
        "study": "interpret",
        "site": " ".join(sites_of(read.name)),
        "key": key_numbers(key),
        "window": list(settings.window),
        "corpus": fingerprint(np.asarray(read.corpus.tokens), np.asarray(read.corpus.positions)),
        "dictionary": fingerprint(*jax.tree.leaves(eqx.filter(sae, eqx.is_array))),
    }
    done = {} if out is None else _begun(Path(out), study)
    left = [int(i) for i in dict.fromkeys(which.tolist()) if int(i) not in done]
    if left:
        made = sheets(
            sae,
            model,
            tokenizer,
            read.corpus,
            left,
            site=read.name,
            batch_size=settings.batch_size,
            window=settings.window,
            key=key,
            progress=settings.progress,
            logits=judges.predict_logits is not None,
        )
        for record in _scored_records(made, judges, out, study, key, settings):
            done[record["feature"]] = record
    return [done[int(i)] for i in dict.fromkeys(which.tolist())]


def _begun(path: Path, study: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What a file already holds, where it is of this study."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    first, *records = read_lines(path) or [{}]
    if "seed" in first:  # as files of earlier versions have it
        first["key"] = [0, first["seed"]]
    if not first:
        return {}
    for name, value in study.items():
        if first.get(name) != value:
            raise BadRecords(
                f"{path} holds explanations of another {name}: {first.get(name)!r}, here {value!r}. "
                "Give another file."
            )
    for record in records:
        check(path, record, {"feature": integer()}, required=("feature",), error=BadRecords)
    return {record["feature"]: record for record in records}


def _scored_records(
    made: Sequence[Sheet],
    judges: Judges,
    out: PathLike | None,
    study: dict[str, Any],
    key: KeyLike,
    settings: InterpretSettings,
) -> Iterator[Record]:
    from tqdm.auto import tqdm

    bar: Any = {"total": len(made), "desc": "interpret", "unit": "feature", "disable": not settings.progress}
    task = lambda sheet: _record(sheet, judges, key)
    if out is None:
        for record in tqdm(_each(task, made, settings.workers), **bar):
            yield record
        return
    with LineWriter(Path(out)) as file:
        if not file.path.stat().st_size:
            file.append([study])
        for record in tqdm(_each(task, made, settings.workers), **bar):
            file.append([record])
            yield record


def _each(task: Any, made: Sequence[Sheet], workers: int) -> Any:
    if workers == 1:
        yield from map(task, made)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(task, sheet) for sheet in made]
        try:
            for each in as_completed(waiting):
                yield each.result()
        finally:
            for each in waiting:
                each.cancel()


def _record(sheet: Sheet, judges: Judges, key: KeyLike) -> Record:
    fires = [w for w in (*sheet.shown.examples, *sheet.tests) if w.kind in ("top", "interval")]
    found: dict[str, Any] = {"feature": sheet.feature, "kept": len(fires) >= LEAST, "examples": len(fires)}
    if not found["kept"]:
        return found
    text = judges.explain(sheet.shown)
    if not isinstance(text, str):
        raise ValueError(f"explain answers with a text, str; got {type(text).__name__}.")
    found["explanation"] = text
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
        found["detection"] = detection_score(judges.detect(text, texts), firing)
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
