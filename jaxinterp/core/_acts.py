"""What a run captured: an immutable mapping and a pytree."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from jaxtyping import Array

from ..typing import AtLike
from ._captures import At


class NotCaptured(KeyError):
    """A name that `capture` did not list."""

    def __str__(self) -> str:
        return str(self.args[0])


@jax.tree_util.register_pytree_with_keys_class
class Acts(Mapping[str, Array]):
    """Captured activations by name: the second result of `ji.run`, an immutable mapping and a pytree.

    The keys are the names given as `capture=`, in that order. `acts["z"]` and `acts[request]` return
    an array, and `jax.tree.map` works on all arrays.

    ```python
    last = ji.at("resid_post", pos=-1)
    _, acts = ji.run(model, tokens, capture=["z[1]", last])
    acts["z[1]"], acts[last], list(acts)
    norms = jax.tree.map(jnp.linalg.norm, acts)
    ```
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: AtLike) -> Array:
        name = key.name if isinstance(key, At) else key
        if not isinstance(name, str) or name not in self._items:
            raise NotCaptured(
                f"{name!r} was not captured; this run captured {list(self._items)}. "
                f"Ask for it: ji.run(model, tokens, capture=[{name!r}])."
            )
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        rows = [
            f"  {name!r}: {getattr(value, 'dtype', type(value).__name__)}{list(getattr(value, 'shape', []))}"
            for name, value in self._items.items()
        ]
        return "Acts({\n" + ",\n".join(rows) + "\n})" if rows else "Acts({})"

    def tree_flatten_with_keys(self) -> tuple[Sequence[tuple[Any, Any]], tuple[str, ...]]:
        children = [(jax.tree_util.DictKey(name), value) for name, value in self._items.items()]
        return children, tuple(self._items)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], values: Sequence[Any]) -> "Acts":
        return cls(dict(zip(names, values, strict=True)))
