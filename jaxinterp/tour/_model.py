"""Chapter 1: what the model is, and where it can be read and edited."""

from typing import Any

import equinox as eqx
import jax

import jaxinterp as ji

from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, Table, listed, prompt


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    text = "It was a dark night."
    tokens = prompt(tokenizer, text)
    sites = ji.sites(model, tokens)
    about = describe(model)
    return Finding(
        "The model and its sites",
        [
            about,
            "A site is a named place in the forward pass: `ji.run` reads any of them with `capture=`, and `edits=` change "
            f"them. This model emits {len(sites)} kinds. A site inside the blocks comes stacked, with a leading `layer` "
            f"axis. The shapes are those of the {len(tokens)} tokens of {text!r}.",
            sites_table(sites),
        ],
        {"parameters": parameters(model), "sites": len(sites), "layers": model.config.layers},
    )


def parameters(model: LoadedModel) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)))


def describe(model: LoadedModel, name: str | None = None) -> str:
    """One sentence on a model: its kind, sizes and origin."""
    config = model.config
    source = getattr(config, "source", None)
    name = name or (source.name if source else "a model")
    sizes = [
        f"{config.layers} layers",
        f"a residual stream of {config.d}",
        f"{config.heads} heads per layer",
        f"{config.ff} neurons per layer" if config.ff else "no MLPs",
        f"a vocabulary of {config.vocab}",
        f"a context of {config.ctx} tokens",
    ]
    return f"`{name}` is a {type(model).__name__} of {parameters(model):,} parameters: {listed(sizes)}."


def sites_table(sites: Any) -> Table:
    """The listing of `ji.sites` with what each site means."""
    rows = []
    for name, struct in sites.items():
        site = ji.SITES[name]
        axes = (["layer"] if site.per_layer else []) + list(site.axes)
        rows.append([name, " ".join(axes), " ".join(map(str, struct.shape)), site.meaning.replace("`", "")])
    return Table(["site", "axes", "shape", "meaning"], rows)
