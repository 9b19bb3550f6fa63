"""Operations of the matrix products of a traced function, loops times their turns."""

import math
from collections import Counter
from typing import Any

import jax.numpy as jnp

PASSES = 6
"""Of a float32 product at `precision="highest"`, each at the rate of bfloat16."""

ATTENTION = {"mix": 2, "push": 5, "pull": 5}
"""Products (query, key) by the width of a head that attention in one pass takes, by its form."""


def count(jaxpr: Any, turns: float = 1.0) -> float:
    """Operations at the rate of bfloat16: an exact float32 product counts six times.

    `turns` is that of loops whose bounds are traced. Of a conditional the dearest branch counts.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name, options = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = options["dimension_numbers"]
            left = equation.invars[0].aval
            work = (
                2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left.shape[i] for i in contracted)
            )
            exact = left.dtype == jnp.float32 and "HIGHEST" in str(options["precision"])
            total += work * (PASSES if exact else 1)
            continue
        if name == "attention":
            q, k = (x.aval for x in equation.invars[:2])
            square = 2.0 * math.prod(q.shape) * k.shape[-3]
            total += ATTENTION[options["form"]] * square * (PASSES if q.dtype == jnp.float32 else 1)
            continue
        inner = [count(body, turns) for body in _bodies(options)]
        if not inner:
            continue
        if name == "cond":
            total += max(inner)
        elif name == "scan":
            total += options["length"] * sum(inner)
        elif name == "while":
            total += turns * sum(inner)
        elif name == "pallas_call":
            total += math.prod(options["grid_mapping"].grid) * sum(inner)
        else:
            total += sum(inner)
    return total


def _bodies(options: dict[str, Any]) -> list[Any]:
    found = []
    for value in options.values():
        for one in value if isinstance(value, tuple | list) else [value]:
            body = getattr(one, "jaxpr", one)
            if hasattr(body, "eqns"):
                found.append(body)
    return found


def primitives(jaxpr: Any) -> Counter[str]:
    """How often each primitive stands in a function and in what it calls."""
    found: Counter[str] = Counter()
    for equation in jaxpr.eqns:
        found[equation.primitive.name] += 1
        for body in _bodies(equation.params):
            found += primitives(body)
    return found
