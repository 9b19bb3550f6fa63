"""What all commands share: errors of the library as one message, and `--debug`."""

import contextlib
import io
import math
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from .._text import plain
from ._shell import in_shell

MODEL = """MODEL is "tiny" (it comes with the package and needs no network), a name such as gpt2 (jaxinterp models
lists them), an id on the Hugging Face hub such as EleutherAI/pythia-70m, a folder with a checkpoint, or a
file (.gguf, or .bin of llama2.c)."""


class Command(click.Command):
    """A command whose library errors are one message, and that knows `--debug`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_keep,
                help="On an error, also show where in the code it was raised.",
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except (ValueError, LookupError, OSError, ImportError) as error:
            if ctx.meta.get("jaxinterp.debug"):
                raise
            message = in_shell(str(error) or type(error).__name__, self)
            raise Complaint(f"{message}\n(--debug shows where this was raised.)") from error


def choice(*names: str) -> "click.Choice[str]":  # as text: the oldest click has no Choice[...]
    """One of some words, in any case."""
    return click.Choice(names, case_sensitive=False)


class Number(click.FloatRange):
    """A finite number: what compares with NaN or infinity is wrong without an error."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            name = "It" if param is None else param.opts[0]
            self.fail(f"{name} is a finite number; got {value!r}.", param, ctx)
        return float(found)


class Complaint(click.ClickException):
    """What a user can mend: exit code 2, as for wrong arguments."""

    exit_code = 2


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning of the library as one line, without the place in its code."""
    running = click.get_current_context(silent=True)  # none in another thread
    known = set() if running is None else running.meta.setdefault("jaxinterp.warned", set())
    if (text := in_shell(str(message), running and running.command)) not in known:
        known.add(text)
        say(f"Warning: {text}", err=True)


def given(name: str) -> bool:
    """Whether an option of the running command was typed; otherwise its value is the default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def say(text: Any, *, err: bool = False) -> None:
    """Prints, with nothing in it that a terminal would obey or hide."""
    click.echo(plain(str(text)), err=err)


def draw(table: Any) -> None:
    """Prints a table of rich. No column is lost: where many need it, the table is wider than the terminal."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    least = Measurement.get(console, console.options.update(max_width=10**6), table).minimum
    Console(width=max(console.width, least)).print(table)


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """What click complains about quotes what was typed: the same holds for it."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = plain(error.message)
        raise


def _keep(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["jaxinterp.debug"] = True


class CommandGroup(click.Group):
    """A group of such commands. A terminal of few characters is no reason to fail."""

    command_class = Command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with _plainly():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _plainly():
            return super().invoke(ctx)
