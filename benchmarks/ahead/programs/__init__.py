"""The central programs, by groups. `all_programs` lists them in the order of the table."""

from ..program import Program
from . import dictionaries, language, sharded

GROUPS = ("forward", "grads", "sweeps", "paths", "attention", "generate", "lens", "dictionaries", "sharded")


def all_programs(smoke: bool = False) -> list[Program]:
    """Every program; with `smoke` at tiny shapes."""
    return [*language.programs(smoke), *dictionaries.programs(smoke), *sharded.programs(smoke)]
