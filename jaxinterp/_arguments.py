"""Arguments in one form: arrays that JAX can hold, ints, bools, keys. An error gives the rule and the call."""

import inspect
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._text import shown
from .mesh._automatic import on_auto_axes


def concrete(value: Any) -> bool:
    """Whether a value can be looked at: not while it is traced, nor where parts of it are of other processes."""
    if isinstance(value, Tracer):
        return False
    return not isinstance(value, jax.Array) or value.is_fully_addressable or value.is_fully_replicated


def as_selector(value: Any, what: str = "A selector") -> Any:
    """Ints or a mask as an array leaf, ints as int32."""
    value = as_numbers(value, what)
    return as_int32(value, what) if jnp.issubdtype(value.dtype, jnp.integer) else value


def as_mask(mask: Any) -> Any:
    """A mask as an array of JAX."""
    return jnp.asarray(as_numbers(mask, "A mask"))


def as_numbers(value: Any, what: str) -> Any:
    """`as_array` of numbers or bools; text, objects and all else that JAX cannot hold raise."""
    array = as_array(value, what)
    if not holds_numbers(array):
        given = f"dtype {array.dtype}" if hasattr(value, "dtype") else kind_of(value)
        raise ValueError(f"{what} is an array of numbers or bools; got {given}: {shown(value)}.")
    return array


def holds_numbers(array: Any) -> bool:
    return array.dtype == bool or jnp.issubdtype(array.dtype, np.number)


def kind_of(value: Any) -> str:
    """What a value is, for an error: `a string`, `None`, `an object of the class GPT2Config`."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    name = type(value).__name__
    plain = isinstance(value, bool | int | float | bytes | list | tuple | dict | set)
    return f"{'an' if name == 'int' else 'a'} {name}" if plain else f"an object of class {name}"


def as_array(value: Any, what: str = "A value") -> Any:
    """An array of JAX, on Auto axes of its mesh; anything else as one of NumPy, tensors of PyTorch too.

    Bytes are in the order of this machine, and floats of more than 64 bits have 64.
    """
    if isinstance(value, jax.Array):
        return on_auto_axes(value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none of its own to receive it
            return np.asarray(value.float()).astype(jnp.bfloat16)
    if isinstance(value, np.ma.MaskedArray) and value.mask.any():
        raise ValueError(
            f"{what}: this array hides entries behind a mask of its own, which an array of JAX cannot "
            "hold. Give value.filled(0), and where padding is by mask=."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{what}: rows of different lengths make no array. Pad them to one length; of texts the "
            "tokenizer does it, and says where: tokens, mask = tokenizer(texts)."
        ) from error
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array.astype(np.float64) if array.dtype == np.longdouble else array


def as_floats(value: Any, what: str) -> Any:
    """A value as an array leaf: floats of any precision, and single numbers of any type.

    Numbers keep all their digits: the dtype of the site decides, where the value meets it.
    """
    if isinstance(value, bool | int | float) or is_int(value):
        return np.asarray(value, np.float64)
    array = as_array(value)
    if isinstance(array, np.ndarray) and array.dtype == np.float64:
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"Activations are floats, so {what} must be: got dtype {array.dtype}. "
            f"Convert it: {what}.astype(jnp.float32)."
        )
    return array


def as_int32(value: Any, what: str) -> Any:
    """Ints as int32, the kind that selects and counts; those that do not fit raise, not wrap."""
    value = as_array(value)
    if value.dtype == np.int32:
        return value
    if value.size and not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{what} is an int; got dtype {value.dtype}.")
    least, most = -(2**31), 2**31 - 1
    if concrete(value):
        ints = np.asarray(value)
        if ints.size and not (least <= int(ints.min()) and int(ints.max()) <= most):
            wrong = int(ints.max()) if int(ints.max()) > most else int(ints.min())
            raise IndexError(f"{what} is an int of at most 32 bits; got {wrong}.")
        return ints.astype(np.int32) if isinstance(value, np.ndarray) else value.astype(np.int32)
    limits = jnp.iinfo(value.dtype)
    if limits.max > most:  # traced: what lies outside stays outside of every axis
        value = jnp.clip(value, max(limits.min, least), most)
    return value.astype(np.int32)


def is_int(value: Any) -> bool:
    """Whether a value is one int of Python, NumPy or JAX; bools, floats, text and tracers are none."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.dtype(bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def as_int(value: Any, what: str, least: int | None = None) -> int:
    """A Python int of what `is_int`."""
    if not concrete(value):
        raise ValueError(f"{what} decides what is compiled, so it cannot be traced: make it static.")
    if not is_int(value):
        raise ValueError(f"{what} is an int; got {value!r} of type {type(value).__name__}.")
    number = operator.index(value)
    if least is not None and number < least:
        raise ValueError(f"{what} is an int of {least} or more; got {number}.")
    return number


def as_bool(value: Any, what: str) -> bool:
    """A Python bool of True and False, of NumPy and JAX too."""
    if concrete(value) and getattr(value, "dtype", None) == np.dtype(bool) and np.ndim(value) == 0:
        return bool(value)
    if not isinstance(value, bool):
        given = repr(value) if concrete(value) else "a traced value"
        raise ValueError(f"{what} is True or False, known before anything runs; got {given}.")
    return value


def as_number(value: Any, what: str, least: float | int, most: float | int) -> float:
    """A Python float between two, both allowed; NaN, text and arrays are none."""
    number = as_array(value, what) if concrete(value) else None
    known = number is not None and not number.ndim and number.dtype.kind in "iuf"
    if number is None or not known or not least <= float(number) <= most:
        raise ValueError(f"{what} is a number between {least:g} and {most:g}; got {shown(value)}.")
    return float(number)


def as_list(value: Any, what: str, call: str) -> list[Any]:
    """Several of something, one text as one of them. `call` shows it."""
    if isinstance(value, str):
        return [value]
    if (
        isinstance(value, Mapping | bytes)
        or not isinstance(value, Iterable)
        or getattr(value, "ndim", 1) == 0
    ):
        raise ValueError(f"{what} is a list: {call}; got {shown(value)}.")
    return list(value)


def check_choice(value: Any, what: str, choices: Iterable[str]) -> None:
    """One of several names."""
    if not isinstance(value, str) or value not in tuple(choices):
        raise ValueError(f"{what} is one of {', '.join(map(repr, choices))}; got {shown(value)}.")


def check_function(fn: Any, what: str, names: tuple[str, ...], call: str) -> None:
    """A function that can be called with so many arguments. `call` shows one."""
    if isinstance(fn, type) or not callable(fn):
        raise ValueError(f"{what} is a function of {' and '.join(names)}; got {shown(fn)}. Write {call}.")
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some built-in functions do not say
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        raise ValueError(
            f"{what} is called as fn({', '.join(names)}), and this one has {signature}: {error}. Write {call}."
        ) from error


def check_key(key: Any, call: str) -> Any:
    """A key of `jax.random.key`, or of the older `PRNGKey`; an int is none. `call` shows where it goes."""
    array = isinstance(key, jax.Array | np.ndarray)
    typed = array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    if not typed and not (array and key.dtype == np.uint32 and key.ndim == 1):
        seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
        raise ValueError(
            f"Randomness comes from a key, and {key!r} is none: {call.format(f'jax.random.key({seed})')}."
        )
    return key
