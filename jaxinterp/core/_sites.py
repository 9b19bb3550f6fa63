"""The one table of sites: every place where a model can be read or edited.

The documentation page, the error messages and the conformance tests are generated from `SITES`.
A site is written `"z"` (all layers, stacked), `"z[3]"`, `"z[2:5]"` or `"z[-1]"`; names of
TransformerLens (`"blocks.3.attn.hook_z"`) are understood wherever a site is.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Site:
    """One row of the table: `axes` are those after the batch axes."""

    name: str
    axes: tuple[str, ...]
    meaning: str
    per_layer: bool = True
    optional: bool = False
    "Never materialised unless a capture or an edit names it."


def _row(name: str, axes: str, meaning: str, **options: bool) -> Site:
    return Site(name, tuple(axes.split()), meaning, **options)


SITES: dict[str, Site] = {
    site.name: site
    for site in [
        _row("embed", "pos d", "token embedding", per_layer=False),
        _row("pos_embed", "pos d", "learned positions (absent with rotary)", per_layer=False),
        _row("resid_pre", "pos d", "residual stream entering the block"),
        _row(
            "q_in",
            "pos head d",
            "residual stream as each head's queries read it, before the norm",
            optional=True,
        ),
        _row(
            "k_in",
            "pos kv_head d",
            "residual stream as each head's keys read it, before the norm",
            optional=True,
        ),
        _row(
            "v_in",
            "pos kv_head d",
            "residual stream as each head's values read it, before the norm",
            optional=True,
        ),
        _row("ln1_scale", "pos 1", "denominator of the norm before attention"),
        _row("ln1_out", "pos d", "output of the norm before attention"),
        _row("q", "pos head k", "queries, before rotary"),
        _row("k", "pos kv_head k", "keys, before rotary"),
        _row("v", "pos kv_head k", "values"),
        _row("q_rot", "pos head k", "queries after rotary (absent with learned positions)"),
        _row("k_rot", "pos kv_head k", "keys after rotary (absent with learned positions)"),
        _row(
            "scores", "head query key", "scaled attention scores, before the mask is applied", optional=True
        ),
        _row("pattern", "head query key", "attention after softmax", optional=True),
        _row("z", "pos head k", "mix of values that each head makes"),
        _row("head_out", "pos head d", "what each head writes, `z W_O`, without bias", optional=True),
        _row("attn_out", "pos d", "what attention writes: the sum of heads plus bias"),
        _row("resid_mid", "pos d", "residual stream after attention (absent in parallel blocks)"),
        _row("mlp_in", "pos d", "residual stream as the MLP reads it, before the norm"),
        _row("ln2_scale", "pos 1", "denominator of the norm before the MLP"),
        _row("ln2_out", "pos d", "output of the norm before the MLP"),
        _row("mlp_pre", "pos ff", "neurons before the nonlinearity"),
        _row("mlp_up", "pos ff", "linear branch of a gated MLP (absent otherwise)"),
        _row("mlp_post", "pos ff", "neurons after the nonlinearity (times the linear branch, if gated)"),
        _row("mlp_out", "pos d", "what the MLP writes"),
        _row("resid_post", "pos d", "residual stream leaving the block"),
        _row("ln_final_scale", "pos 1", "denominator of the last norm", per_layer=False),
        _row("ln_final_out", "pos d", "output of the last norm", per_layer=False),
        _row("logits", "pos vocab", "logits", per_layer=False),
    ]
}
"Every site of a model by name, in the order in which a run meets them."

DICTIONARY_SITES: dict[str, Site] = {
    site.name: site
    for site in [
        _row("feature", "pos feature", "features that a spliced dictionary reads from its site"),
        _row("recon", "pos d", "what the dictionary writes back"),
        _row("error", "pos d", "what the dictionary misses: the site minus `recon`"),
    ]
}

TRANSFORMER_LENS: dict[str, str] = {
    "hook_embed": "embed",
    "embed.hook_out": "embed",
    "hook_pos_embed": "pos_embed",
    "pos_embed.hook_out": "pos_embed",
    "blocks.{}.hook_resid_pre": "resid_pre",
    "blocks.{}.hook_in": "resid_pre",
    "blocks.{}.hook_q_input": "q_in",
    "blocks.{}.attn.hook_q_input": "q_in",
    "blocks.{}.hook_k_input": "k_in",
    "blocks.{}.attn.hook_k_input": "k_in",
    "blocks.{}.hook_v_input": "v_in",
    "blocks.{}.attn.hook_v_input": "v_in",
    "blocks.{}.ln1.hook_scale": "ln1_scale",
    "blocks.{}.ln1.hook_normalized": "ln1_out",
    "blocks.{}.attn.hook_in": "ln1_out",
    "blocks.{}.attn.hook_q": "q",
    "blocks.{}.attn.q.hook_out": "q",
    "blocks.{}.attn.hook_k": "k",
    "blocks.{}.attn.k.hook_out": "k",
    "blocks.{}.attn.hook_v": "v",
    "blocks.{}.attn.v.hook_out": "v",
    "blocks.{}.attn.hook_rot_q": "q_rot",
    "blocks.{}.attn.hook_rot_k": "k_rot",
    "blocks.{}.attn.hook_attn_scores": "scores",
    "blocks.{}.attn.hook_pattern": "pattern",
    "blocks.{}.attn.hook_z": "z",
    "blocks.{}.attn.o.hook_in": "z",
    "blocks.{}.attn.hook_result": "head_out",
    "blocks.{}.hook_attn_out": "attn_out",
    "blocks.{}.attn.hook_out": "attn_out",
    "blocks.{}.hook_resid_mid": "resid_mid",
    "blocks.{}.ln2.hook_in": "resid_mid",
    "blocks.{}.hook_mlp_in": "mlp_in",
    "blocks.{}.ln2.hook_scale": "ln2_scale",
    "blocks.{}.ln2.hook_normalized": "ln2_out",
    "blocks.{}.mlp.hook_in": "ln2_out",
    "blocks.{}.mlp.hook_pre": "mlp_pre",
    "blocks.{}.mlp.in.hook_out": "mlp_pre",
    "blocks.{}.mlp.hook_pre_linear": "mlp_up",
    "blocks.{}.mlp.hook_post": "mlp_post",
    "blocks.{}.mlp.out.hook_in": "mlp_post",
    "blocks.{}.hook_mlp_out": "mlp_out",
    "blocks.{}.mlp.hook_out": "mlp_out",
    "blocks.{}.hook_resid_post": "resid_post",
    "blocks.{}.hook_out": "resid_post",
    "ln_final.hook_scale": "ln_final_scale",
    "ln_final.hook_normalized": "ln_final_out",
    "ln_final.hook_out": "ln_final_out",
    "unembed.hook_in": "ln_final_out",
    "unembed.hook_out": "logits",
}
"""Names of TransformerLens, legacy and bridge, with `{}` for the layer."""


class UnknownSite(ValueError):
    """A name that is no site, or no site of this model."""


def axes_of(name: str) -> tuple[str, ...]:
    """The axes of a site after the batch axes: `axes_of("z") == ("pos", "head", "k")`."""
    if name in SITES:
        return SITES[name].axes
    return DICTIONARY_SITES[name.rsplit(".", 1)[-1]].axes


def is_per_layer(name: str) -> bool:
    """Whether a site exists once per block; sites of a splice follow the site they sit on."""
    return SITES[name.split(".", 1)[0]].per_layer


_TL_LAYER = re.compile(r"^blocks\.(\d+)\.")
_SUFFIX = re.compile(r"^(?P<name>[^\[\]]+)(?:\[(?P<index>[^\[\]]*)\])?$")


def parse(text: str | Any) -> tuple[str, int | slice | None]:
    """A written site to its name and layers: `parse("z[2:5]") == ("z", slice(2, 5))`.

    None stands for every layer (or for a site of the model). TransformerLens names carry their
    layer: `parse("blocks.3.attn.hook_z") == ("z", 3)`.
    """
    if not isinstance(text, str):
        raise UnknownSite(f"A site is written as a string such as 'z' or 'resid_post[3]'; got {text!r}.")
    if layer := _TL_LAYER.match(text):
        alias = TRANSFORMER_LENS.get("blocks.{}." + text[layer.end() :])
        if alias is None:
            raise unknown(text)
        return alias, int(layer[1])
    if text in TRANSFORMER_LENS:
        return TRANSFORMER_LENS[text], None
    match = _SUFFIX.match(text)
    name = match["name"] if match else text
    known = name in SITES or (
        "." in name and name.split(".")[0] in SITES and name.rsplit(".", 1)[-1] in DICTIONARY_SITES
    )
    if not known:
        raise unknown(name)
    assert match is not None
    return name, _layers(match["index"], text)


def _layers(index: str | None, text: str) -> int | slice | None:
    if index is None:
        return None
    parts = index.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None:
        return numbers[0]
    if len(numbers) in (2, 3):
        return slice(*numbers)
    raise UnknownSite(
        f"{text!r}: the brackets hold a layer or a slice of layers. "
        f"Write '{text.split('[', maxsplit=1)[0]}[3]' or '{text.split('[', maxsplit=1)[0]}[2:5]'."
    )


def unknown(name: str, emitted: Iterable[str] | None = None) -> UnknownSite:
    """The error for a name that is no site (of this model, when its sites are given)."""
    choices = list(emitted) if emitted is not None else [*SITES, *TRANSFORMER_LENS]
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    if name in SITES or emitted is not None:
        return UnknownSite(
            f"This model has no site {name!r} ({SITES[name].meaning}).{hint} It emits: {', '.join(choices)}."
            if name in SITES
            else f"This model has no site {name!r}.{hint} It emits: {', '.join(choices)}."
        )
    return UnknownSite(f"There is no site {name!r}.{hint} The sites are: {', '.join(SITES)}.")
