"""The command `jaxinterp patch`: where in a model an answer is decided."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import line, number
from ._command import MODEL, Command, choice, say
from ._neurons import show, write
from ._texts import checked_plot, prompt, reader, waiting


def _axes(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """`layer,pos` as its two words."""
    if text is None:
        return None
    found = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    if not found or len(set(found)) < len(found):
        raise click.BadParameter(f"axes such as layer,pos, each once; not {text!r}")
    return found


@click.command(
    cls=Command, epilog=MODEL, short_help="Find the layers, tokens or heads that decide an answer."
)
@click.argument("model")
@click.argument("clean")
@click.argument("corrupt")
@click.option(
    "--answer",
    required=True,
    metavar="TOKEN",
    help='The token that is right after CLEAN, with its leading space: " Mary".',
)
@click.option(
    "--wrong",
    metavar="TOKEN",
    help='The token that is right after CORRUPT, such as " John". [default: only the answer is measured]',
)
@click.option(
    "--site",
    default="resid_pre",
    show_default=True,
    metavar="SITE",
    help='What is patched: "resid_pre" is the stream before each layer, "z" the output of heads, "mlp_out" '
    "that of MLPs. All names: jaxinterp sites MODEL.",
)
@click.option(
    "--over",
    callback=_axes,
    metavar="AXIS,AXIS",
    help="What one patch is: layer,pos (a layer at one token), layer,head, or pos. "
    "[default: layer,head where the site has heads, else layer,pos]",
)
@click.option(
    "--mode",
    type=choice("denoise", "noise"),
    default="denoise",
    show_default=True,
    help="denoise runs CORRUPT and puts in values of CLEAN; noise runs CLEAN and puts in values of CORRUPT.",
)
@click.option(
    "--estimate",
    is_flag=True,
    help="Estimate all patches from one gradient (attribution patching): quicker, and not exact.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many patches the table shows.",
)
@click.option(
    "--bos/--no-bos",
    default=False,
    show_default=True,
    help="Whether the model's first-token marker stands before both prompts.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a heat map of all patches: a web page (.html) or a picture (.png, .pdf, .svg).",
)
def patch(model: str, clean: str, corrupt: str, **options: Any) -> None:
    """Find where MODEL decides between two prompts, by activation patching.

    CLEAN and CORRUPT are two prompts of equally many tokens with different answers. MODEL runs on one of
    them again and again, each time with one of its activations replaced by the value from the other. The
    effect of a patch is the share of the difference between the two answers that it moves: 0 is the
    answer to CORRUPT, 1 the answer to CLEAN. With --wrong the answer is measured by the logit of the right
    token minus that of the wrong one, else by the log probability of the right token.

    \b
    Examples:
      jaxinterp patch tiny "He was so tired" "He was more tired" --answer " that" --wrong " than" --plot patch.html
      jaxinterp patch gpt2 "When John and Mary went out, John called" "When John and Mary went out, Mary called" \\
          --answer " Mary" --wrong " John" --site z
    """
    from .. import metrics, patching, viz
    from .._text import visible
    from ..core import SITES
    from ..core._sites import parse

    checked_plot(options["plot"])
    site, over = options["site"], options["over"]
    if over is not None and len(over) > 2 and options["plot"] is not None:
        raise ValueError(
            f"A heat map has two axes; got --over {','.join(map(line, over))}. Leave out --plot, or an axis."
        )
    if clean == corrupt:
        raise ValueError(
            f"CLEAN and CORRUPT are two prompts with different answers; both are {line(clean)!r}. Exchange a word of one."
        )
    if options["answer"] == options["wrong"]:
        raise ValueError(f"--wrong is another token than --answer; both are {line(options['answer'])!r}.")
    if "[" in site:
        raise ValueError(
            f"All layers of a site are patched; got --site {line(site)}. Write --site {line(site.partition('[')[0])}."
        )
    loaded, tokenizer = reader(model)
    first, second = (prompt(loaded, tokenizer, text, options["bos"]) for text in (clean, corrupt))
    _check_lengths(tokenizer, first, second)
    answer, wrong = options["answer"], options["wrong"]
    metric = (
        metrics.log_prob(tokenizer.token_id(answer))
        if wrong is None
        else metrics.logit_diff(tokenizer.token_id(answer), tokenizer.token_id(wrong))
    )
    if over is None:
        place = SITES.get(parse(site)[0])
        axes = () if place is None else place.axes
        over = ("head",) if "head" in axes or "kv_head" in axes else ("pos",)
        over = over if place is not None and not place.per_layer else ("layer", *over)
    with waiting("The two prompts: compiling and running"):
        high, low = (float(metrics.measure(loaded, ids, metric)) for ids in (first, second))
    unit = "log probability of the answer" if wrong is None else "logit of the answer minus the wrong one"
    say(f"{unit}: {number(high)} after the clean prompt, {number(low)} after the corrupt one")
    settings: Any = {"site": site, "over": over, "mode": options["mode"]}
    if options["estimate"]:
        with waiting("Estimating patches: compiling and running"):
            heat = np.asarray(patching.attribution(loaded, first, second, metric, **settings))
    else:
        heat = np.asarray(patching.sweep(loaded, first, second, metric, **settings))
    effects = np.asarray(metrics.recovered(heat, high, low))
    tokens = [visible(name) for name in tokenizer.tokens(first)]
    base = 0.0 if options["mode"] == "denoise" else 1.0
    rows = []
    for i in np.argsort(-np.abs(effects - base), axis=None, kind="stable")[: options["top"]]:
        place = [int(n) for n in np.unravel_index(i, effects.shape)]
        row: dict[str, Any] = dict(zip(over, place, strict=True))
        row |= {"token": tokens[row["pos"]]} if "pos" in row else {}
        rows.append(row | {"effect": float(effects.flat[i])})
    names = [name for axis in over for name in ((axis, "token") if axis == "pos" else (axis,))]
    kind = "estimated patches" if options["estimate"] else "patches"
    say(f"Of {effects.size:,} {kind} of {line(site)}, those that move the answer most:")
    show(rows, (*names, "effect"), "")
    write(lambda: _figure(viz, effects, over, tokens, site, model), options["plot"])


def _check_lengths(tokenizer: Any, clean: Any, corrupt: Any) -> None:
    from .._text import visible

    if len(clean) != len(corrupt):
        shown = [" | ".join(map(visible, tokenizer.tokens(ids))) for ids in (clean, corrupt)]
        raise ValueError(
            f"CLEAN and CORRUPT have equally many tokens, so that each has a counterpart; they have {len(clean)} and "
            f"{len(corrupt)}:\n  {shown[0]}\n  {shown[1]}\nExchange words for others of the same length in tokens."
        )


def _figure(
    viz: Any, effects: np.ndarray, over: tuple[str, ...], tokens: list[str], site: str, model: str
) -> Any:
    """A heat map of the effects, with tokens as labels of positions; one axis makes one row."""
    rows, cols = (("", *over) if effects.ndim == 1 else over)[-2:]
    labels = {"pos": tokens}
    return viz.heatmap(
        effects.reshape(-1, effects.shape[-1]),
        rows=labels.get(rows),
        cols=labels.get(cols),
        axis_names=tuple("token" if name == "pos" else name or "all layers" for name in (rows, cols)),
        value="effect",
        title=f"Effect of patching {site}: {model}",
        settings=viz.HeatmapSettings(
            caption="0 is the answer to the corrupt prompt, 1 the answer to the clean one."
        ),
    )
