"""Where the Jinja text of a chat template runs: it reaches no attribute of an object, and it ends.

A template comes with a checkpoint, so it is the text of a stranger. Jinja's sandbox keeps it from private
attributes and from changing what it is given. An allowance bounds it: each round of a loop, each call and each
character that is made counts. Filters that no chat needs are not there.
"""

import functools
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

import jinja2
from jinja2 import ext, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ._chat_allowance import (
    STEP,
    charge,
    charged,
    each,
    formatted,
    length,
    replaced,
    size,
    to_json,
    together,
    widened,
    written,
)

FILTERS = frozenset(
    [
        "abs",
        "attr",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "first",
        "float",
        "format",
        "groupby",
        "indent",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "sort",
        "string",
        "title",
        "trim",
        "truncate",
        "unique",
        "upper",
    ]
)
WIDENING = {"center", "ljust", "rjust", "zfill", "expandtabs", "encode", "translate", "maketrans"}
"""Methods of texts that make long ones of short ones, or that no template needs."""


def raise_exception(message: Any) -> None:
    """What a template calls where it refuses a conversation."""
    raise jinja2.TemplateError(str(message))


def strftime_now(format: str) -> str:
    """The time of now, as templates write the date of today."""
    return datetime.now().strftime(written(format))


class Generation(ext.Extension):
    """`{% generation %}`, which marks what a model says; here it is its contents."""

    tags: ClassVar[set[str]] = {"generation"}  # pyright: ignore[reportIncompatibleVariableOverride]

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Any) -> str:
        return caller()


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with an allowance: everything that can make something long asks first."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        """The template with a count at each loop, filter, slice and `~`."""
        tree = super()._parse(source, name, filename)
        for node in list(tree.find_all((nodes.For, nodes.Filter, nodes.Getitem, nodes.Concat))):
            if isinstance(node, nodes.For):
                node.iter = _through("_each", node.iter)
            elif isinstance(node, nodes.Concat):
                node.nodes = [_through("_written", one) for one in node.nodes]
            elif (isinstance(node, nodes.Filter) and node.node is not None) or (
                isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
            ):
                node.node = _through("_charged", node.node)
        return tree

    def concat(self, parts: Iterable[Any]) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return together(parts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        both = [left, right]
        many = next((x for x in both if isinstance(x, str | list | tuple)), None)
        times = next((x for x in both if isinstance(x, int)), None)
        if operator == "%" and isinstance(left, str):
            formatted(left, right)
        elif operator == "*" and many is not None and times is not None:
            charge(len(many) * max(times, 0))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            charge(left.bit_length() * max(right, 0))
        elif operator in "+*":
            charge(sum(len(x) if isinstance(x, str | list | tuple) else size(x) for x in both))
        return self.binop_table[operator](left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return super().is_safe_attribute(obj, attr, value) and not (
            isinstance(obj, str | bytes) and attr in WIDENING
        )

    def call(self, context: Any, function: Any, /, *args: Any, **options: Any) -> Any:  # pyright: ignore
        its = getattr(getattr(function, "__wrapped__", function), "__self__", None)
        charge(STEP + sum(length(x) for x in (its, *args)))
        name = getattr(function, "__name__", "")
        if isinstance(its, str) and name == "replace":
            return replaced(its, *args)
        if isinstance(its, str) and name == "join":
            parts = written(list(*args))
            charge(len(parts) * len(its))
            return its.join(parts)
        if isinstance(its, str) and name in ("format", "format_map"):
            formatted(its, (*args, options))
        return charged(super().call(context, function, *args, **options))

    def call_filter(self, name: str, value: Any, *args: Any, **options: Any) -> Any:
        """A filter that `map` calls."""
        return super().call_filter(name, charged(value), *args, **options)


def _through(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _guarded(own: dict[str, Any]) -> dict[str, Any]:
    """Jinja's filters that can make something long, with a bound."""

    @jinja2.pass_eval_context
    def join(context: Any, values: Any, d: Any = "", attribute: Any = None) -> str:
        values = list(values)
        charge(size(values) + len(values) * size(d))
        return own["join"](context, values, d, attribute)

    def indent(text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
        return own["indent"](written(text), widened(text, width), first, blank)

    def round_(value: Any, precision: int = 0, method: Any = "common") -> float:
        return own["round"](value, max(min(precision, 20), -20), method)

    def format_(text: Any, *args: Any, **options: Any) -> str:
        formatted(str(text), (*args, options))
        return own["format"](text, *args, **options)

    def string(value: Any) -> str:
        return own["string"](written(value))

    return dict(
        join=join,
        indent=indent,
        round=round_,
        format=format_,
        string=string,
        replace=replaced,
        tojson=to_json,
        _each=each,
        _charged=charged,
        _written=written,
    )


@functools.cache
def sandbox() -> Sandbox:
    """The one environment of all templates."""
    made = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # what is folded would run while the template is compiled
        finalize=written,
        extensions=[Generation, ext.loopcontrols],
    )
    made.filters = {name: made.filters[name] for name in FILTERS} | _guarded(made.filters)
    made.globals.pop("lipsum")
    made.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return made
