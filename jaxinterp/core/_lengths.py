"""The shape of a site for prompts of another length, from that for short ones."""

from collections.abc import Sequence

import jax


def lengthened(
    struct: jax.ShapeDtypeStruct, axes: Sequence[str], short: tuple[int, ...], prompts: tuple[int, ...]
) -> jax.ShapeDtypeStruct | None:
    """The struct of a site with these axes for `prompts` (*batch, pos) in place of `short`.

    None where it has no such axes behind its batch, or they have other lengths than those of the short prompts.
    """
    extra = max(struct.ndim - len(axes), 0)
    batch, own = struct.shape[:extra], struct.shape[extra:]
    along = [axis in ("pos", "query", "key") for axis in axes]
    if batch not in ((), short[:-1]) or len(own) != len(axes):
        return None
    if any(size != short[-1] for here, size in zip(along, own, strict=True) if here):
        return None
    sizes = [prompts[-1] if here else size for here, size in zip(along, own, strict=True)]
    return jax.ShapeDtypeStruct((*(prompts[:-1] if batch else ()), *sizes), struct.dtype)
