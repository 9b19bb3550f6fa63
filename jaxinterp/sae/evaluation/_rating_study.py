"""A blind study of features and neurons: what raters see in one folder, what it was in a file beside it."""

import json
import secrets
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..._deprecations import check_path_first, respelled
from ..._disk import discard, put, sole, unit, write_json
from ..._random import host_generator
from ...core._check import check_key
from ...typing import (
    CorpusLike,
    IndexLike,
    KeyLike,
    MaskLike,
    ModelLike,
    PathLike,
    TokenizerLike,
)
from ...viz._place import check_folder
from ..features._example_settings import ExampleSettings
from ..features._examples import Examples, examples
from ..features._logits import logit_weights
from ..features._site import SiteReading
from ._study_files import check_key_file, key_path

INTERVALS, EXAMPLES, TOKENS = 11, 8, 10
LEAST = 20  # tokens on which a unit fires


@respelled(real="mask=padding_mask, and positions= for what counts", seed="key=jax.random.key(0)")
def rating_study(
    folder: PathLike,
    groups: Mapping[str, tuple[Any, str]],
    model: ModelLike,
    tokenizer: TokenizerLike,
    tokens: CorpusLike,
    *,
    units: int = 20,
    parts: int = 2,
    window: tuple[int, int] = (12, 4),
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    key: KeyLike,
    key_file: PathLike | None = None,
    progress: bool = True,
) -> Path:
    r"""$\{(u, j)\}$: writes a blind study of units u of several groups, with intervals j of their activations as items.

    An item is one of 11 intervals of a unit's activations. It shows examples from the interval, shaded by their share of
    the unit's maximum, and the tokens of the unit's logits. One item of each group makes a pair, in
    random order. Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features)
    rated features and neurons in this way.

    **Arguments:**

    - `folder`: the folder to write. It must not exist.
    - `groups`: a dictionary and the site that it reads, by the name of the group, such as
      `{"features": (sae, "resid_post[2]"), "neurons": (ji.sae.Neurons(640), "mlp_post[2]")}`.
    - `model`, `tokenizer`, `tokens`, `mask`, `positions`: as in `browse`.
    - `units`: how many units of each group, drawn from those that fire on 20 tokens or more. Default 20. Where too few
      do, a warning says how many pairs there are.
    - `parts`: how many intervals of each unit. Default 2.
    - `window`: the number of tokens before and after the middle token. Default (12, 4).
    - `key`: a `jax.random.key`, which draws units and intervals.
    - `key_file`: the file that says which unit each item belongs to. Default `<folder>.key.json`. Give a rater the folder
      without it.

    **Returns:** the folder, for `rate`. It is complete, or does not exist.

    **Raises:** FileExistsError for a folder or key file that exists; ValueError where a group has no
    unit that fires.

    ```python
    groups = {"features": (sae, "resid_post[2]"), "neurons": (ji.sae.Neurons(640), "mlp_post[2]")}
    ji.sae.rating_study("study", groups, model, tokenizer, corpus, key=jax.random.key(0))
    ```

    Law: nothing in the folder names a group, a site or a unit.
    """
    check_path_first("ji.sae.rating_study(folder, groups, model, tokenizer, tokens)", folder)
    folder = check_folder(folder)
    check_key_file(key, "ji.sae.rating_study(...)")
    key = check_key(key, "ji.sae.rating_study(..., key={})")
    answers = key_path(folder, key_file)
    _check_new(folder, answers)
    for path in (folder, answers):
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"There is no folder {str(path.parent)!r} to write {path.name!r} into. Create it first."
            )
    if not groups:
        raise ValueError('A study has groups: {"features": (sae, "resid_post[2]"), "neurons": ...}.')
    found = {}
    # All are checked before the first is read.
    reads = [SiteReading(sae, model, tokens, site, mask, positions) for sae, site in groups.values()]
    for read, (name, (sae, _)) in zip(reads, groups.items(), strict=True):
        site = read.name
        # One generator for every group: what is drawn does not depend on their order.
        rng = host_generator(key, "ji.sae.rating_study(..., key={})")
        drawn = rng.permutation(sae.features)[: 4 * units]
        seen = examples(
            sae,
            model,
            read.corpus,
            site=site,
            features=drawn,
            settings=ExampleSettings(top=1, intervals=INTERVALS, per=EXAMPLES, window=window),
            key=key,
            progress=progress,
        )
        items = [_item(seen, sae, model, site, tokenizer, *at) for at in _drawn(seen, units, parts, rng)]
        if not items:
            raise ValueError(
                f"No unit of {name!r} that was drawn fires on {LEAST} of {seen.count} tokens. Give more texts."
            )
        found[str(name)] = items
    pairs = min(map(len, found.values()))
    if pairs < units * parts:
        fewest = min(found, key=lambda name: len(found[name]))
        warnings.warn(
            f"The study has {pairs} pairs of items, and units={units} with parts={parts} asks for {units * parts}: of the "
            f"units of {fewest!r} that were drawn too few fire on {LEAST} tokens, or in enough intervals. Give more texts.",
            stacklevel=3,
        )
    items_hidden, items_shown = [], []
    for pair in range(pairs):
        names = list(found)
        for j in np.argsort([secrets.randbelow(2**60) for _ in names]):
            item, about = found[names[j]][pair]
            own = {"id": secrets.token_hex(8)}
            items_shown.append({**own, **item})
            items_hidden.append({**own, "pair": pair, "group": names[j], **about})
    text = "".join(json.dumps(item) + "\n" for item in items_shown).encode()
    with sole(folder, f"writes the study {folder}"):
        _check_new(folder, answers)
        # The key is there before the folder: a study that can be rated can be resolved.
        try:
            with unit(folder, "study", "items.jsonl", fresh=True) as part:
                put(part / "items.jsonl", text)
                write_json(
                    answers, {"kind": "jaxinterp rating key", "groups": list(found), "items": items_hidden}
                )
        except BaseException:
            if not folder.exists():
                discard(answers)
            raise
    return folder


def _check_new(folder: Path, key: Path) -> None:
    there = [path for path in (folder, key) if path.exists() or path.is_symlink()]
    if there == [key]:
        raise FileExistsError(
            f"{key} exists, and {folder} does not. Either the study was moved, or its write was "
            "interrupted (then delete the key). A new study needs a new name."
        )
    if there:
        raise FileExistsError(
            f"{there[0]} exists already. ji.sae.rate({str(folder)!r}) continues a study, and a new study needs a new name."
        )


def _drawn(seen: Examples, units: int, parts: int, rng: Any) -> list[tuple[int, int]]:
    """Places of units that fire, with intervals that have examples, in a random order."""
    drawn = []
    for i in np.flatnonzero(seen.fired >= LEAST)[:units]:
        there = np.flatnonzero((seen.interval_seq[i] >= 0).sum(1) >= 1)
        drawn += [(int(i), int(j)) for j in rng.permutation(there)[:parts]]
    return [drawn[j] for j in rng.permutation(len(drawn))]


def _item(
    seen: Examples, sae: Any, model: Any, site: Any, tokenizer: Any, i: int, interval: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    rows = []
    for j in np.flatnonzero(seen.interval_seq[i, interval] >= 0):
        ids = seen.window(seen.interval_seq[i, interval, j], seen.interval_pos[i, interval, j])
        there = ids >= 0
        share = np.abs(np.nan_to_num(seen.interval_activations[i, interval, j]))[there] / seen.maximum[i]
        rows.append({"tokens": tokenizer.tokens(ids[there]), "shares": [round(float(v), 3) for v in share]})
    unit = int(seen.features[i])
    weights = logit_weights(sae, model, site, [unit])
    high, _, low, _ = weights.top(None, min(TOKENS, weights.shape[1] // 2))
    item = {"examples": rows, "up": tokenizer.tokens(high[0]), "down": tokenizer.tokens(low[0])}
    return item, {"unit": unit, "site": site, "interval": interval}
