"""Explanations of features, written by one judge and tested by others, feature by feature."""

from ..._deprecations import respelled
from ..._settings import takes_settings
from ...core._check import check_key
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
from ..features._site import SiteReading, chosen
from ._interpret_settings import JUDGES, InterpretSettings, Judges
from ._judging import begun, begun_record, recorded, study_of, tested
from ._windows import Sheet, sheets


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
@takes_settings
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
    r"""$r(\mathrm{simulate}(\mathrm{explain}(E_i), T_i), f_i(T_i))$: how well an explanation predicts the activations of a feature.

    `explain` sees 49 windows of 9 tokens with activations as levels 0..9: 10 of the top interval of activations, 2 of
    each of 12 other intervals, 5 random ones, and 10 around top tokens in other places. It also sees the tokens whose
    logits the feature raises and lowers most. The explanation is tested on 60 other windows (6, 2 of each interval, 10
    and 20), which share no token with the first. The judges are your own functions.

    **Arguments:**

    - `sae`, `model`, `tokens`, `site`, `mask`, `positions`: as in `evaluate`.
    - `tokenizer`: gives the strings of tokens.
    - `judges`: `Judges`, functions that explain a feature and are tested with the explanation.
    - `key`: a `jax.random.key`, which draws windows and tokens.
    - `features`: numbers of features. Default None: all.
    - `out`: a file of JSON lines. An interrupted run continues with it.
    - `settings`: `InterpretSettings`: windows, workers, batch size, progress.

    **Returns:** a dict for each feature:

    - `feature`, `explanation`, and `examples`, the number of windows that fire;
    - `kept`: False where fewer than 20 windows fire; there are no scores then;
    - with `simulate`: `spearman`, `pearson`, `weighted_spearman`, `weighted_pearson`, `bills_correlation`, `bills_r2`,
      `predicted` and `true`. In the weighted scores random windows have the weight 1, and windows of an interval the
      density times $P(\mathrm{interval} \mid \mathrm{active})$. True activations are levels 0..9, except in the scores of
      Bills;
    - with `predict_logits` and `detect`: the accuracies `logits` and `detection`, and `detection_auc` where `detect`
      gives scores.

    **Raises:** ValueError for judges that answer for other tokens; `BadRecords` for a file of
    another study. An error of a judge is raised here; the features before it are in `out`.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    ```python
    judges = ji.sae.Judges(explain=explain, simulate=simulate)  # your functions
    found = ji.sae.interpret(
        sae, model, tokenizer, corpus, site="resid_post[2]", features=[3, 8], judges=judges, key=key
    )
    found[0]["kept"], found[0]["examples"]              # where it is kept, also its explanation and scores
    ```

    Law: a judge that knows the levels has the score 1, a judge with a constant answer the score 0.
    """
    key = check_key(key, "ji.sae.interpret(..., key={})")
    which = chosen(sae, features)
    read = SiteReading(sae, model, tokens, site, mask, positions)
    study = study_of("interpret", sae, read, key, settings)
    done = {record["feature"]: record for record in begun(out, study)}
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
        ask = lambda sheet: _record(sheet, judges, key)
        for record in recorded(ask, made, out, study, settings, "feature"):
            done[record["feature"]] = record
    return [done[int(i)] for i in dict.fromkeys(which.tolist())]


def _record(sheet: Sheet, judges: Judges, key: KeyLike) -> Record:
    found = begun_record(sheet)
    if not found["kept"]:
        return found
    text = judges.explain(sheet.shown)
    if not isinstance(text, str):
        raise ValueError(f"explain answers with a text, str; got {type(text).__name__}.")
    return found | {"explanation": text} | tested(sheet, text, judges, key)
