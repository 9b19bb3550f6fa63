"""What `jaxinterp sae train` does: texts to contexts, to activations, to a dictionary in a folder."""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._text import line
from ._texts import contexts, reader, unused, waiting

KINDS = ("TopK", "BatchTopK", "Matryoshka", "JumpReLU", "Gated", "Standard", "Vanilla")


def kind_named(name: str) -> str:
    """A kind by its name in any case: `topk` is TopK."""
    found = {kind.lower(): kind for kind in KINDS}.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise ValueError(f"--kind is one of {', '.join(KINDS)}, in any case; got {name!r}.")
    return found


def train_dictionary(
    name: str,
    data: tuple[Path, ...],
    *,
    site: str,
    out: Path,
    store: Path | None,
    batch: int,
    steps: int,
    seed: int,
    every: int,
    held_contexts: int,
    checkpoint: Path | None,
    checkpoint_every: int,
    average: float | None,
    **options: Any,
) -> Iterator[str]:
    """Trains, writes, and says in lines what came out."""
    options["kind"] = kind_named(options["kind"])
    import jax

    from .. import data as reading
    from .. import fit, sae
    from ..sae.files._save import save_with

    if not data and store is None:
        raise ValueError("There is nothing to train on: give texts, or --store FOLDER.")
    if not data:
        unused("it is for texts, and there are none.", "ctx", "most", "field", "held_contexts", "every")
    model, tokenizer = reader(name, tokens=False)
    train, test = _parts(model, tokenizer, data, options, held_contexts, store is not None)
    if store is not None:
        stream: Any = reading.stored(
            store, site=site, batch_size=batch, key=jax.random.key(seed), model=model
        )
    else:
        tokens, positions = train
        stream = reading.stream(
            model, tokens, site=site, batch_size=batch, key=jax.random.key(seed), positions=positions
        )
    with waiting("First activations: compiling and running"):
        shape = stream.batch(0).shape
    if len(shape) != 2:
        raise ValueError(
            f"The command trains on one vector of each token, and {line(site)} has several. Name one layer of a site "
            'without heads: --site "resid_post[2]", "mlp_out[2]" or "attn_out[2]".'
        )
    d = shape[-1]
    kind, optimizer = _kind(sae, d, steps, options), None
    if options["rate"] is not None:
        optimizer = sae.adam(options["rate"], steps, warmup_steps=steps // 20, decay_share=0.2)
    judge = None
    if test is not None:
        tokens, positions = test
        judge = sae.evaluation(model, tokens, site=site, positions=positions, cosines=False)
    yield f"{options['kind']}: {kind.features} features of {site} ({d}), from {stream}"
    out.mkdir(parents=True, exist_ok=True)
    found, history = sae.train(
        kind,
        stream,
        optimizer,
        key=jax.random.key(seed),
        steps=steps,
        batch_size=batch,
        settings=fit.Settings(
            average=average,
            every=every,
            evaluate=judge,
            checkpoint=out / "checkpoint" if checkpoint is None else checkpoint,
            checkpoint_every=checkpoint_every,
            resume="longer",
        ),
    )
    last = {n: float(v[-1]) for n, v in history.items() if len(v) == steps}
    if judge is not None:
        last |= {n: v for n, v in judge(found).items() if isinstance(v, float)}
    settings = {
        "model": name,
        "site": site,
        "data": [str(p) for p in data],
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "average": average,
        "store": None if store is None else str(store),
        "held": held_contexts,
        **options,
        "features": kind.features,
    }
    points = {n: v.tolist() for n, v in history.items() if len(v) != steps}
    report = {"settings": settings, "numbers": last, "evaluated": points}
    save_with(out, found, settings, {"training.json": report})
    for key, value in last.items():
        yield f"{key:20} {value:.5g}"
    yield f"Wrote {line(out)}: ji.sae.load({str(out)!r}), or jaxinterp sae browse {line(out)} TEXTS"


def _parts(
    model: Any,
    tokenizer: Any,
    data: Sequence[Path],
    options: dict[str, Any],
    held_contexts: int,
    only_test: bool,
) -> tuple[Any, Any]:
    """Tokens and the positions that count, to train on and to evaluate on (None where there are none)."""
    if not data:
        return None, None
    tokens, counted = contexts(
        model, tokenizer, data, ctx=options["ctx"], most=options["most"], field=options["field"]
    )
    cut = len(tokens) - held_contexts
    if cut < 1 and not only_test:
        raise ValueError(
            f"There are {len(tokens)} contexts, and {held_contexts} of them are kept for evaluation: nothing is left to "
            f"train on. Give more text, or --held {max(0, len(tokens) // 10)}."
        )
    several = counted.ndim > 1  # positions of each context, or one row for all
    rows = np.asarray(tokens[max(cut, 0) :])
    held_positions = counted[max(cut, 0) :] if several else np.broadcast_to(counted, rows.shape)
    test = (rows, held_positions) if held_contexts else None
    return (tokens[: max(cut, 0)], counted[: max(cut, 0)] if several else counted), test


def _kind(sae: Any, d: int, steps: int, options: dict[str, Any]) -> Any:
    """The kind with the settings that were given and that it has."""
    name = options["kind"]
    made = getattr(sae, name)
    known = inspect.signature(made.__init__).parameters
    settings_of_kind = {"features": options["features"] if options["features"] is not None else 8 * d}
    for setting, default in (("k", 32), ("sparsity", None)):
        value = options[setting]
        if setting in known and (value is not None or default is not None):
            settings_of_kind[setting] = default if value is None else value
        elif value is not None:
            other = "--k" if "k" in known else "--sparsity"
            raise ValueError(f"{name} has no --{setting}; how sparse it is follows from {other}.")
    return made(d=d, matmul=options["matmul"], **settings_of_kind)
