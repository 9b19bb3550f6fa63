"""Explanations of features, written by one judge and tested on others, feature by feature."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..._deprecations import respelled
from ..._disk import BadRecords, Writer
from ..._read import check, integer
from ...data._files import fingerprint
from ...data._lines import read_lines
from ...typing import IndexLike, MaskLike
from ..features._site import SiteReading, chosen, sites_of
from ._detection import detection, detection_score
from ._simulation import bills_scores, expected, simulation_scores
from ._windows import Sheet, sheets

LEAST = 20  # examples on which a feature fires


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def interpret(
    sae: Any,
    model: Any,
    tokenizer: Any,
    tokens: Any,
    *,
    site: Any = None,
    explain: Callable[[Any], str],
    simulate: Callable[[str, list[str]], Any] | None = None,
    predict_logits: Callable[[str, list[str]], Any] | None = None,
    detect: Callable[[str, list[list[str]]], Any] | None = None,
    features: Any = None,
    out: Any = None,
    window: tuple[int, int] = (4, 4),
    workers: int = 1,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = "auto",
    seed: int = 0,
    progress: bool = True,
) -> list[dict[str, Any]]:
    r"""$r(\mathrm{simulate}(\mathrm{explain}(E_i), T_i), f_i(T_i))$: does an explanation foretell the feature?

    `explain` sees 49 windows of 9 tokens: 10 of the top interval of activations, 2 of each of 12
    others, 5 random ones, 10 around top tokens elsewhere, activations as levels 0..9; and the tokens
    whose logits the feature raises and lowers most. It is judged on 60 others (6, 2 of each,
    10, 20), which share no token with the first. The judges are functions of yours.

    **Arguments:** `sae`, `model`, `tokens`, `site`, `mask`, `positions` as in `evaluate`; `tokenizer`;

    - `explain(shown) -> str`: `str(shown)` is all of it for a prompt; `shown.examples` have `tokens`,
      `levels`, `activations`; `shown.up`, `shown.down` are the tokens of the logits;
    - `simulate(explanation, tokens)`: a number for each token `(pos,)`, or a distribution over
      0..10, `(pos, 11)`; called for each of the 60 windows;
    - `predict_logits(explanation, tokens)`: whether the feature raises each of 100 tokens, 50 of
      them ranked 10 to 60 among its logits and 50 random: chance is 0.5;
    - `detect(explanation, texts)`: the indices, from 0, of the texts in which it fires, of 14 (2 top,
      2 by importance, 10 random; as SAEBench);

    `features`, numbers, None for all; `out`, a file of JSON lines to go on with where it was
    interrupted; `workers` features at a time, in threads, for judges that wait for a network.

    **Returns:** a dict for each feature: `feature`, `kept` (False, and no scores, where fewer than
    20 windows fire), `examples` (how many do), `explanation`; of `simulate` `spearman`, `pearson`,
    `weighted_spearman`, `weighted_pearson` (random windows weigh 1, those of an interval density
    times $P(\mathrm{interval} \mid \mathrm{active})$), `bills_correlation`, `bills_r2`, `predicted`
    and `true`; `logits` and `detection`, accuracies. True activations are levels 0..9 but in Bills's.

    **Raises:** ValueError for judges that answer for other tokens; `BadRecords` for a file of
    another study. What a judge raises is raised here, and everything before is in `out`.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    ```python
    found = ji.sae.interpret(sae, model, tokenizer, corpus, site="resid_post[2]", explain=explain,
                             simulate=simulate, out="explained.jsonl", workers=8)
    ```

    Law: a judge that knows the levels scores 1, one that says the same of all tokens 0.
    """
    which = chosen(sae, features)
    read = SiteReading(sae, model, tokens, site, mask, positions)
    study = {
        "study": "interpret",
        "site": " ".join(sites_of(read.name)),
        "seed": int(seed),
        "window": list(window),
        "corpus": fingerprint(np.asarray(read.corpus.tokens), np.asarray(read.corpus.positions)),
        "dictionary": fingerprint(*jax.tree.leaves(eqx.filter(sae, eqx.is_array))),
    }
    done = {} if out is None else _begun(Path(out), study)
    left = [int(i) for i in dict.fromkeys(which.tolist()) if int(i) not in done]
    judges = simulate, predict_logits, detect
    if left:
        made = sheets(
            sae,
            model,
            tokenizer,
            read.corpus,
            left,
            site=read.name,
            batch_size=batch_size,
            window=window,
            seed=seed,
            progress=progress,
            logits=predict_logits is not None,
        )
        for record in _judged(made, explain, judges, out, study, workers, seed, progress):
            done[record["feature"]] = record
    return [done[int(i)] for i in dict.fromkeys(which.tolist())]


def _begun(path: Path, study: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What a file already holds, where it is of this study."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    first, *records = read_lines(path) or [{}]
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


def _judged(
    made: Sequence[Sheet],
    explain: Any,
    judges: Any,
    out: Any,
    study: Any,
    workers: int,
    seed: int,
    progress: bool,
) -> Any:
    from tqdm.auto import tqdm

    bar: Any = {"total": len(made), "desc": "interpret", "unit": "feature", "disable": not progress}
    task = lambda sheet: _record(sheet, explain, judges, seed)
    if out is None:
        for record in tqdm(_each(task, made, workers), **bar):
            yield record
        return
    with Writer(out) as file:
        if not file.path.stat().st_size:
            file.append([study])
        for record in tqdm(_each(task, made, workers), **bar):
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


def _record(sheet: Sheet, explain: Any, judges: Any, seed: int) -> dict[str, Any]:
    simulate, predict_logits, detect = judges
    fires = [w for w in (*sheet.shown.examples, *sheet.asked) if w.kind in ("top", "interval")]
    found: dict[str, Any] = {"feature": sheet.feature, "kept": len(fires) >= LEAST, "examples": len(fires)}
    if not found["kept"]:
        return found
    text = explain(sheet.shown)
    if not isinstance(text, str):
        raise ValueError(f"explain answers with a text, str; got {type(text).__name__}.")
    found["explanation"] = text
    if simulate is not None:
        found |= _simulated(sheet, text, simulate)
    if predict_logits is not None:
        said = np.asarray(predict_logits(text, list(sheet.options)))
        if said.shape != sheet.right.shape:
            raise ValueError(
                f"predict_logits answers for each of {len(sheet.right)} tokens, True or False; got "
                f"the shape {said.shape}."
            )
        found["logits"] = float((said.astype(bool) == sheet.right).mean())
    if detect is not None:
        texts, fires = detection(sheet, seed)
        found["detection"] = detection_score(detect(text, texts), fires)
    return found


def _simulated(sheet: Sheet, text: str, simulate: Any) -> dict[str, Any]:
    predicted = []
    for window in sheet.asked:
        said = expected(simulate(text, list(window.tokens)))
        if said.shape != (len(window.tokens),) or not np.isfinite(said).all():
            raise ValueError(
                f"simulate answers with a finite number for each of {len(window.tokens)} tokens; got "
                f"{said.tolist()[:12]}."
            )
        predicted.append(said)
    blank = lambda w: np.isnan(w.activations)
    levels = [np.where(blank(w), np.nan, w.levels) for w in sheet.asked]
    plain = simulation_scores(predicted, levels)
    by = {"random": 1.0, "token": 0.0}
    weight = [by.get(w.kind, sheet.density * float(sheet.share[w.interval])) for w in sheet.asked]
    weighted = simulation_scores(predicted, levels, weight) if any(weight) else {}
    bills = bills_scores(predicted, [w.activations for w in sheet.asked])
    return {
        **plain,
        **{f"weighted_{name}": value for name, value in weighted.items()},
        **{f"bills_{name}": value for name, value in bills.items()},
        "predicted": [[float(f"{v:.4g}") for v in each] for each in predicted],
        "true": [each.levels.tolist() for each in sheet.asked],
    }
