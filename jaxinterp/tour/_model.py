"""Chapter 1: one sentence, token by token, and where the model can be read and edited."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._case import clearest
from ._chapter import Finding, NotForThisModel, Table, code, listed, prompt
from ._shown import shown

TEXT = "The old man looked at his wife, and she looked at him; and then they went out of the"


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    text, bos = "".join(story(model, tokenizer)), tokenizer.bos_id is not None
    # <surprise>
    tokens = tokenizer(text, bos=bos)
    logits, _ = ji.run(model, tokens)
    log_probs = jax.nn.log_softmax(logits[:-1].astype(jnp.float32))
    surprise = -jnp.take_along_axis(log_probs, tokens[1:, None], axis=-1)[:, 0]
    figure = ji.viz.token_strip(
        tokenizer.tokens(tokens[1:]),
        surprise,
        value="surprise (nats)",
        title="How much each token surprises the model",
    )
    # </surprise>
    nats = np.asarray(surprise)
    last = code(tokenizer.tokens(tokens[-1:])[0])
    earlier = np.flatnonzero(np.asarray(tokens[1:-1] == tokens[-1]))
    first = f", and {ji.viz.number(nats[earlier[0]])} where it stands first" if len(earlier) else ""
    sites = ji.sites(model, tokens)
    return Finding(
        "What the model foresees",
        "Which words of a sentence does the model foresee?",
        "The figure shades each token by its surprise: minus the logarithm of the probability that the model gave it.",
        [
            shown(chapter, "surprise", figure, text=text),
            f"The last token, {last}, costs {ji.viz.number(nats[-1])} nats{first}. The mean of the sentence is {ji.viz.number(nats.mean())}, and a uniform guess costs "
            f"{ji.viz.number(np.log(model.config.vocab))}. The next chapters ask how the model comes to that last token.",
            describe(model),
            "A site is a named place in the forward pass: `ji.run` reads any of them with `capture=`, and `edits=` change "
            f"them. This model emits {len(sites)} kinds. A site inside the blocks comes stacked, with a leading `layer` "
            f"axis. The shapes are those of the {len(tokens)} tokens of the sentence.",
            sites_table(sites),
        ],
        {
            "parameters": parameters(model),
            "sites": len(sites),
            "layers": model.config.layers,
            "surprise": nats,
        },
    )


def story(model: LoadedModel, tokenizer: Tokenizer) -> tuple[str, str]:
    """The prompt that the first chapters follow, and its answer; a fixed one where the model solves none."""
    try:
        pair = clearest(model, tokenizer)[0].pair
    except NotForThisModel:
        fits = len(prompt(tokenizer, TEXT + " house")) <= model.config.ctx
        return (TEXT, " house") if fits else ("It was a dark", " night")
    return pair.clean, pair.answer


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
    return Table(["site", "axes", "shape", "meaning"], rows, title="Sites of the model")
