"""A command as a test calls it."""

from click.testing import CliRunner

from jaxinterp.cli import main


def call(*args, code=0, columns="120"):
    result = CliRunner(env={"COLUMNS": columns, "TERM": "dumb"}).invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout  # bars go to the other stream
