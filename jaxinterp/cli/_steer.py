"""The commands `jaxinterp steer`: find a direction between two files of prompts, and write with or without it."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import line
from ._command import MODEL, CommandGroup, Number, say
from ._neurons import show, write
from ._texts import check_length, prompt, reader, waiting

_FILE = click.Path(dir_okay=False, path_type=Path)


_CHAT = click.option(
    "--chat",
    is_flag=True,
    help="Put each prompt in the model's own chat template, as a message of the user that is to be answered.",
)


@click.group(cls=CommandGroup, short_help="Find a direction between two kinds of prompts, and use it.")
def steer() -> None:
    """Find the direction in a model between two kinds of prompts, and write texts with it added or removed.

    Prompts are in text files, one on each line.
    """


@steer.command(epilog=MODEL, short_help="Find the direction between two kinds of prompts.")
@click.argument("model")
@click.argument("harmful", type=_FILE)
@click.argument("harmless", type=_FILE)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    required=True,
    metavar="TOKEN",
    help="A token with which the model answers the first kind of prompts, such as I. May be given several times.",
)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many positions to try, counted from the end of each prompt.",
)
@click.option(
    "--most",
    type=click.IntRange(min=2),
    default=160,
    show_default=True,
    help="How many prompts of each file to read.",
)
@click.option(
    "--around", default="{}", help='A text to put around each prompt, which stands for {}: "Q: {} A:".'
)
@_CHAT
@click.option(
    "--filter/--all",
    "only",
    default=True,
    help="Whether to leave out prompts that the model answers like the other kind, or to use all.",
)
@click.option(
    "--max-kl",
    type=Number(),
    default=0.1,
    show_default=True,
    help="How much the removal may change predictions on the second kind of prompts, in nats.",
)
@click.option(
    "--min-induce",
    type=Number(),
    default=0.0,
    show_default=True,
    help="The score that the second kind of prompts must reach when the direction is added.",
)
@click.option("--out", type=_FILE, help="Save the direction to this file (.npz), for jaxinterp steer write.")
@click.option(
    "--plot",
    type=_FILE,
    help="Also write a figure to this file: a web page (.html) or a picture (.png, .pdf, .svg).",
)
def find(model: str, harmful: Path, harmless: Path, **options: Any) -> None:
    """Find the direction in MODEL without which it answers the prompts in HARMFUL like those in HARMLESS.

    HARMFUL and HARMLESS are files with one prompt on each line. The score of a prompt is the log odds that
    the next token is one of the answers: high for HARMFUL, low for HARMLESS. bypass is the score of HARMFUL
    when the direction is removed, induce is that of HARMLESS when it is added, and kl is how much the
    removal changes predictions on HARMLESS, in nats. The direction with the lowest bypass is chosen.

    \b
    Example:
      jaxinterp steer find tiny french.txt english.txt --answer " la" --all --max-kl 9 --min-induce -9 --out french.npz
    """
    from .. import metrics, steering

    if options["plot"] is not None:
        from ..viz import check_figure

        check_figure(options["plot"])
    if options["out"] is not None and options["out"].suffix != ".npz":
        raise ValueError(
            f"A direction is kept as .npz; got {options['out'].name}. Write --out direction.npz."
        )
    loaded, tokenizer = reader(model)
    first, second = (
        tokenizer(
            _conversations(tokenizer, _prompts(file, options["most"], options["around"]), options["chat"])
        )
        for file in (harmful, harmless)
    )
    for file, (_, mask) in ((harmful, first), (harmless, second)):
        counts = np.asarray(mask).sum(1)
        check_length(loaded, int(counts.max()), f"the longest prompt of {line(file)}")
        if counts.min() < options["last"]:
            raise ValueError(
                f"The shortest prompt of {line(file)} has {counts.min()} tokens, so that many positions are tried at most; "
                f"got --last {options['last']}."
            )
    score = metrics.log_odds([tokenizer.token_id(text) for text in options["answers"]])
    rules = steering.SelectionSettings(
        filter=options["only"], max_kl=options["max_kl"], min_induce=options["min_induce"]
    )
    found = steering.select_direction(
        loaded, first, second, score, positions=range(-options["last"], 0), settings=rules
    )
    names = ("position", "layer", "bypass", "induce", "kl", "harmful", "harmless")
    show(found.records(), names, f"Chosen of {found.candidates.bypass.size} candidates")
    rows = sorted(found.candidates.records(), key=lambda row: (row["bypass"] != row["bypass"], row["bypass"]))
    show(rows[:10], ("position", "layer", "bypass", "induce", "kl", "norm"), "The lowest scores")
    if options["out"] is not None:
        from .._disk import write_whole

        arrays: dict[str, Any] = {"direction": found.direction, "layer": np.int32(found.layer)}
        write_whole(options["out"], lambda file: np.savez(file, **arrays))
        say(f"Wrote {line(options['out'])}.")
    write(found.figure, options["plot"])


@steer.command("write", epilog=MODEL, short_help="Continue a text with a direction added or removed.")
@click.argument("model")
@click.argument("text")
@click.option(
    "--direction",
    type=_FILE,
    required=True,
    help="A file with a direction, which jaxinterp steer find --out wrote.",
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=Number(),
    default=[0.0, 1.0],
    show_default=True,
    help="How much of the direction to add at its layer; 0 is the model as it is. May be given several times.",
)
@click.option("--without", is_flag=True, help="Also continue the text with the direction removed everywhere.")
@_CHAT
@click.option(
    "--tokens", type=click.IntRange(min=1), default=32, show_default=True, help="How many tokens to write."
)
def write_on(
    model: str,
    text: str,
    direction: Path,
    strengths: tuple[float, ...],
    without: bool,
    chat: bool,
    tokens: int,
) -> None:
    """Continue TEXT with MODEL, with a direction added or removed. The likeliest token is taken each time.

    \b
    Example:
      jaxinterp steer write tiny "The young man looked" --direction french.npz --strength 1 --strength 2 --without
    """
    from .. import add, generate, steering
    from .._read import read_npz
    from .._text import visible

    loaded, tokenizer = reader(model)
    arrays = read_npz(direction)
    kinds = {name: (array.dtype.kind, array.ndim) for name, array in arrays.items()}
    if kinds != {"direction": ("f", 1), "layer": ("i", 0)} or not _is_direction(arrays["direction"]):
        raise ValueError(
            f"{line(direction)} holds no direction. Make one: jaxinterp steer find MODEL HARMFUL HARMLESS --answer TOKEN --out FILE."
        )
    vector, layer = arrays["direction"], int(arrays["layer"])
    edits: dict[str, Any] = {
        f"strength {str(each).removesuffix('.0')}": [add("resid_pre", each * vector, layer=layer)]
        for each in strengths
    }
    if without:
        edits["without"] = steering.ablate(vector)
    ids = prompt(loaded, tokenizer, _conversations(tokenizer, [text], chat)[0], None)
    for name, each in edits.items():
        with waiting(f"Writing ({name}): compiling and running"):
            written = np.asarray(generate(loaded, ids, tokens, edits=each)[len(ids) :])
        say(f"{name}: {visible(tokenizer.decode(written))}")


def _is_direction(vector: np.ndarray) -> bool:
    return bool(np.isfinite(vector).all() and vector.any())


def _conversations(tokenizer: Any, texts: list[str], chat: bool) -> list[str]:
    """Prompts as given; with `chat` each is the message of a user, followed by the header of an answer."""
    if not chat:
        return texts
    if tokenizer.chat_template is None:
        raise ValueError(
            'The model has no chat template. Leave out --chat, or write the text around a prompt: --around "Q: {} A:".'
        )
    rows = [[{"role": "user", "content": text}] for text in texts]
    return tokenizer.chat(rows, add_generation_prompt=True)


def _prompts(file: Path, most: int, around: str) -> list[str]:
    """The prompts of a file, one a line, with the text around them."""
    from .._read import read_text

    if "{}" not in around:
        raise ValueError(f'--around holds {{}} where the prompt stands, as "Q: {{}} A:"; got {around!r}.')
    found = [each.strip() for each in read_text(file, max_bytes=2**26).splitlines() if each.strip()][:most]
    if len(found) < 2:
        raise ValueError(f"{line(file)} has {len(found)} prompts: give two or more, one on each line.")
    return [around.replace("{}", each) for each in found]
