"""Where a dictionary comes from: the site it was trained at, and the hash of the model."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...core._blocks import layer_count
from ...core._intervene import split_edits
from ...core._sites import UnknownSite, parse
from ...data import model_hash
from ...typing import JSON, ModelLike
from ..kinds._coder import Coder, kind_name
from ..kinds._kind import check_coder


class Origin(NamedTuple):
    """The `site` that a dictionary reads, as it is written ("resid_post[2]"), and its `model`'s hash;
    None where it is not known."""

    site: str | None = None
    model: str | None = None


def origin_of(sae: Any) -> Origin:
    """What is known of a dictionary, or of the one inside of a view."""
    while not isinstance(origin := getattr(sae, "origin", None), Origin):
        if (sae := getattr(sae, "inner", None)) is None:
            return Origin()
    return origin


def with_origin(sae: Coder, origin: Origin) -> Any:
    """The same dictionary from another place; a view of one keeps it inside."""
    return sae.with_origin(origin)


def recorded(about: Mapping[str, JSON]) -> Origin:
    """What the record beside a dictionary says: ours, or a hook of SAELens's config."""
    more: Any = about.get("metadata")
    more = more if isinstance(more, dict) else {}
    named = about.get("site") or about.get("hook_name") or more.get("hook_name")
    known = about.get("model_hash")
    return Origin(_in_our_words(named), known if isinstance(known, str) else None)


def origin_of_stream(stream: Any) -> Origin:
    """The origin as a stream tells it; from a pair of sites the first, which is read."""
    own = getattr(stream, "described", None)
    record: Any = own() if callable(own) else {}
    site = record.get("site")
    site = site[0] if isinstance(site, list) and site else site
    return Origin(_in_our_words(site), record.get("model"))


def own_site(sae: Any, site: Any, model: ModelLike | None = None) -> Any:
    """The site to read a dictionary at: its own by default. It warns of another site or another model.

    Raises ValueError for a kind without weights, and for what is no dictionary.
    """
    check_coder(sae)
    origin, kind = origin_of(sae), kind_name(sae)
    if site is None and origin.site is None:
        raise ValueError(
            f"This {kind} does not say at which site it was trained: name it, site='resid_post[2]'."
        )
    sources: Any = getattr(sae, "sources", None)
    if site is None:
        base, layer = parse(origin.site)
        several = sources is not None and layer is None
        site = [f"{base}[{i}]" for i in range(sources or 0)] if several else origin.site
    elif origin.site is not None and not _same(site, origin.site, model):
        warnings.warn(
            f"This {kind} was trained at {origin.site!r} and is read at {site!r}: its features and numbers "
            "there are those of other activations. Without site= it is read at its own.",
            stacklevel=3,
        )
    if model is not None and origin.model is not None and model_hash(model) != origin.model:
        warnings.warn(
            f"This {kind} was trained on another model: weights {origin.model[:12]}, and these are "
            f"{model_hash(model)[:12]}. Edits that a model carries and its dtype count as well.",
            stacklevel=3,
        )
    return site


def _in_our_words(site: Any) -> str | None:
    """A site in our own words, None where it is none."""
    try:
        base, layer = parse(site)
    except (UnknownSite, ValueError, IndexError):
        return None
    return base if layer is None else f"{base}[{layer}]" if isinstance(layer, int) else site


def _same(site: Any, own: str, model: Any) -> bool:
    """Whether two sites are one. Without the model, a layer from the end may be any layer from the start."""
    base, layer = parse(own)
    if isinstance(site, list | tuple):
        return layer is None and all(parse(each)[0] == base for each in site)
    here, at = parse(site)
    if not (isinstance(layer, int) and isinstance(at, int)):
        return here == base
    if model is not None:
        count = layer_count(split_edits(model)[0])
        layer, at = layer % count, at % count
    return here == base and (layer == at or (layer < 0) != (at < 0))
