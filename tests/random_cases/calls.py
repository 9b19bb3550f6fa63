"""Calls as data: one object is made (the library is called) and printed (what reproduces a failure)."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

import jaxinterp as ji


class Call(eqx.Module):
    """A call of `ji`, or of a builtin: `Call("zero", "z", layer=1)` prints as `ji.zero('z', layer=1)`."""

    name: str = eqx.field(static=True)
    args: tuple[Any, ...]
    options: dict[str, Any]

    def __init__(self, name: str, /, *args: Any, **options: Any) -> None:
        self.name, self.args, self.options = name, args, options

    def __str__(self) -> str:
        parts = [code(arg) for arg in self.args]
        parts += [f"{name}={code(value)}" for name, value in self.options.items()]
        return f"{'' if self.name == 'slice' else 'ji.'}{self.name}({', '.join(parts)})"


class Normal(eqx.Module):
    """Normal numbers that are printed by the seed that draws them; `least` bounds them from below."""

    seed: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    least: float | None = eqx.field(static=True, default=None)

    @property
    def array(self) -> np.ndarray:
        x = np.random.default_rng(self.seed).normal(size=self.shape)
        return np.asarray(x if self.least is None else self.least + np.abs(x))

    def __str__(self) -> str:
        drawn = f"np.random.default_rng({self.seed}).normal(size={self.shape})"
        return drawn if self.least is None else f"({self.least} + np.abs({drawn}))"


class Named(eqx.Module):
    """A value that is printed as the expression that makes it."""

    value: Any
    name: str = eqx.field(static=True)


def resolved(x: Any) -> Any:
    """The same call with arrays in place of what stands for them."""
    if isinstance(x, Call):
        options = {name: resolved(value) for name, value in x.options.items()}
        return Call(x.name, *(resolved(arg) for arg in x.args), **options)
    if isinstance(x, list | tuple):
        return type(x)(resolved(item) for item in x)
    if isinstance(x, dict):
        return {name: resolved(value) for name, value in x.items()}
    if isinstance(x, Normal):
        return x.array
    return x.value if isinstance(x, Named) else x


def made(x: Any) -> Any:
    """What a resolved call returns, calls among its arguments made first."""
    if isinstance(x, Call):
        fn: Any = slice
        if x.name != "slice":
            fn = ji
            for part in x.name.split("."):
                fn = getattr(fn, part)
        return fn(*(made(arg) for arg in x.args), **{k: made(v) for k, v in x.options.items()})
    if isinstance(x, list | tuple):
        return type(x)(made(item) for item in x)
    return {name: made(value) for name, value in x.items()} if isinstance(x, dict) else x


traced = eqx.filter_jit(made)
"""The same inside `jit`: every array of the call is traced, so nothing of it can be looked at."""


def code(x: Any) -> str:
    """Python that makes `x`."""
    if isinstance(x, Named):
        return x.name
    if isinstance(x, jax.Array):
        return f"jnp.asarray({np.asarray(x).tolist()}, '{x.dtype}')"
    if isinstance(x, np.ndarray):
        return f"np.asarray({x.tolist()}, '{x.dtype}')"
    if isinstance(x, list):
        return f"[{', '.join(map(code, x))}]"
    if isinstance(x, tuple):
        return f"({', '.join(map(code, x))}{',' * (len(x) == 1)})"
    if isinstance(x, dict):
        return f"{{{', '.join(f'{name!r}: {code(value)}' for name, value in x.items())}}}"
    if isinstance(x, Call | Normal):
        return str(x)
    return getattr(x, "__name__", None) or repr(x)
