"""The one table of sites: every place where a model can be read or edited.

The documentation page, the error messages and the conformance tests are made from `SITES`.
A site is written `"z"` (all layers, stacked), `"z[3]"`, `"z[2:5]"` or `"z[-1]"`. Names of
TransformerLens (`"blocks.3.attn.hook_z"`) are understood wherever a site is.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any, Literal

Stage = Literal["start", "block", "end"]
"Where a site lies: before the blocks, in every block, or behind the last one."


@dataclasses.dataclass(frozen=True)
class Site:
    """One row of the table.

    - `axes`: the axes after the batch axes.
    - `stage`: before the blocks, in every block, or behind the last block.
    - `optional`: the model computes the site only when a capture or an edit names it.
    - `names`: what TransformerLens calls it; `{}` stands for the layer.
    """

    name: str
    axes: tuple[str, ...]
    meaning: str
    stage: Stage = "block"
    optional: bool = False
    names: tuple[str, ...] = ()

    @property
    def per_layer(self) -> bool:
        """Whether the site exists once per block."""
        return self.stage == "block"


_NAMES = {
    "embed": "hook_embed embed.hook_out",
    "pos_embed": "hook_pos_embed pos_embed.hook_out",
    "resid_pre": "hook_resid_pre hook_in",
    "q_in": "hook_q_input attn.hook_q_input",
    "k_in": "hook_k_input attn.hook_k_input",
    "v_in": "hook_v_input attn.hook_v_input",
    "ln1_scale": "ln1.hook_scale",
    "ln1_out": "ln1.hook_normalized attn.hook_in",
    "q": "attn.hook_q attn.q.hook_out",
    "k": "attn.hook_k attn.k.hook_out",
    "v": "attn.hook_v attn.v.hook_out",
    "q_rot": "attn.hook_rot_q",
    "k_rot": "attn.hook_rot_k",
    "scores": "attn.hook_attn_scores",
    "pattern": "attn.hook_pattern",
    "z": "attn.hook_z attn.o.hook_in",
    "head_out": "attn.hook_result",
    "attn_out": "hook_attn_out attn.hook_out",
    "resid_mid": "hook_resid_mid ln2.hook_in",
    "mlp_in": "hook_mlp_in",
    "ln2_scale": "ln2.hook_scale",
    "ln2_out": "ln2.hook_normalized mlp.hook_in",
    "mlp_pre": "mlp.hook_pre mlp.in.hook_out",
    "mlp_up": "mlp.hook_pre_linear",
    "mlp_post": "mlp.hook_post mlp.out.hook_in",
    "mlp_out": "hook_mlp_out mlp.hook_out",
    "resid_post": "hook_resid_post hook_out",
    "ln_final_scale": "ln_final.hook_scale",
    "ln_final_out": "ln_final.hook_normalized ln_final.hook_out unembed.hook_in",
    "logits": "unembed.hook_out",
}
"What TransformerLens calls each site, legacy and bridge; names in a block leave its number out."


def _site(name: str, axes: str, meaning: str, stage: Stage = "block", optional: bool = False) -> Site:
    """A row, its axes written with spaces between them."""
    prefix = "blocks.{}." if stage == "block" else ""
    names = tuple(prefix + theirs for theirs in _NAMES.get(name, "").split())
    return Site(name, tuple(axes.split()), meaning, stage, optional, names)


def _table(*rows: Site) -> dict[str, Site]:
    return {row.name: row for row in rows}


SITES: dict[str, Site] = _table(
    _site("embed", "pos d", "token embedding", stage="start"),
    _site("pos_embed", "pos d", "learned positions (absent with rotary)", stage="start"),
    _site("resid_pre", "pos d", "residual stream entering the block"),
    _site(
        "q_in", "pos head d", "residual stream as each head's queries read it, before the norm", optional=True
    ),
    _site(
        "k_in", "pos kv_head d", "residual stream as each head's keys read it, before the norm", optional=True
    ),
    _site(
        "v_in",
        "pos kv_head d",
        "residual stream as each head's values read it, before the norm",
        optional=True,
    ),
    _site("ln1_scale", "pos 1", "denominator of the norm before attention"),
    _site("ln1_out", "pos d", "output of the norm before attention"),
    _site("q", "pos head k", "queries, before rotary"),
    _site("k", "pos kv_head k", "keys, before rotary"),
    _site("v", "pos kv_head k", "values"),
    _site("q_rot", "pos head k", "queries after rotary (absent with learned positions)"),
    _site("k_rot", "pos kv_head k", "keys after rotary (absent with learned positions)"),
    _site("scores", "head query key", "scaled attention scores, before the mask is applied", optional=True),
    _site("pattern", "head query key", "attention after softmax", optional=True),
    _site("z", "pos head k", "mix of values that each head makes"),
    _site("head_out", "pos head d", "what each head writes, `z W_O`, without bias", optional=True),
    _site("attn_out", "pos d", "what attention writes: the sum of heads plus bias"),
    _site("resid_mid", "pos d", "residual stream after attention (absent in parallel blocks)"),
    _site("mlp_in", "pos d", "residual stream as the MLP reads it, before the norm"),
    _site("ln2_scale", "pos 1", "denominator of the norm before the MLP"),
    _site("ln2_out", "pos d", "output of the norm before the MLP"),
    _site("mlp_pre", "pos ff", "neurons before the nonlinearity"),
    _site("mlp_up", "pos ff", "linear branch of a gated MLP (absent otherwise)"),
    _site("mlp_post", "pos ff", "neurons after the nonlinearity (times the linear branch, if gated)"),
    _site("mlp_out", "pos d", "what the MLP writes"),
    _site("resid_post", "pos d", "residual stream leaving the block"),
    _site("ln_final_scale", "pos 1", "denominator of the last norm", stage="end"),
    _site("ln_final_out", "pos d", "output of the last norm", stage="end"),
    _site("logits", "pos vocab", "logits", stage="end"),
)
"Every site of a model by name, in the order in which a run meets them."

DICTIONARY_SITES = _table(
    _site("feature", "pos feature", "features that a spliced dictionary reads from its site"),
    _site("recon", "pos d", "what the dictionary writes back"),
    _site("error", "pos d", "what the dictionary misses: the site minus `recon`"),
)

TRANSFORMER_LENS = {theirs: site.name for site in SITES.values() for theirs in site.names}
"Names of TransformerLens, with `{}` for the layer."


class UnknownSite(ValueError):
    """The error for a name that is no site, or no site of this model. The message names the closest sites.

    ```python
    try:
        ji.run(model, tokens, capture=["resid_pst"])
    except ji.UnknownSite as error:
        print(error)  # names the closest sites
    ```
    """


def axes_of(name: str) -> tuple[str, ...]:
    """The axes of a site after the batch axes: `axes_of("z") == ("pos", "head", "k")`."""
    return row_of(name).axes


def row_of(name: str) -> Site:
    """What is known of a site, or of a site of a splice."""
    return SITES.get(name) or DICTIONARY_SITES[name.rsplit(".", 1)[-1]]


def stage_of(name: str) -> Stage:
    """Where a site lies; the sites of a splice lie where the spliced site does."""
    return SITES[name.split(".", 1)[0]].stage


def is_per_layer(name: str) -> bool:
    """Whether a site exists once per block."""
    return stage_of(name) == "block"


def position_axis(name: str, ndim: int) -> int:
    """The axis of positions in an array of a site with `ndim` axes, counted from the first."""
    return ndim - len(axes_of(name)) + axes_of(name).index("pos")


_TL_LAYER = re.compile(r"^blocks\.(\d+)\.")
_WRITTEN = re.compile(r"^(?P<name>[^\[\]]+)(?:\[(?P<index>[^\[\]]*)\])?$")


def parse(text: str | Any) -> tuple[str, int | slice | None]:
    """A written site as its name and layers: `parse("z[2:5]") == ("z", slice(2, 5))`.

    None stands for every layer, or for a site of the model. TransformerLens names carry their
    layer: `parse("blocks.3.attn.hook_z") == ("z", 3)`.
    """
    if not isinstance(text, str):
        raise UnknownSite(f"A site is written as a string such as 'z' or 'resid_post[3]'; got {text!r}.")
    layer = _TL_LAYER.match(text)
    alias = TRANSFORMER_LENS.get("blocks.{}." + text[layer.end() :] if layer else text)
    if alias is not None:
        return alias, int(layer[1]) if layer else None
    match = _WRITTEN.match(text)
    name = match["name"] if match else text
    first, _, last = name.partition(".")
    spliced = first in SITES and last.rsplit(".", 1)[-1] in DICTIONARY_SITES
    if layer or match is None or not (name in SITES or spliced):
        raise unknown(name if not layer else text)
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
