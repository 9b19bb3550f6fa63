"""The logit lens, and direct attribution."""

from typing import Any

import numpy as np

import jaxinterp as ji

from .calls import Call
from .cases import Case, Pairs, draw_setting, masked, model_call
from .changes import Change, Setting, Watched, draw_changes
from .draw import Draw
from .prompts import Prompt
from .reference import forward, unembed
from .runs import at_positions, draw_positions


def _inside(draw: Draw, on: Setting, count: int) -> list[Change]:
    """Edits of blocks: those of the last norm and of logits change how a lens reads."""
    return [c for c in draw_changes(draw, on, count) if ji.SITES[c.site.split(".")[0]].per_layer]


def _plain(site: str, layer: int | None, x: np.ndarray) -> np.ndarray:
    return x


def lens(draw: Draw) -> Case:
    """`lens.logit_lens` of streams and of components."""
    on = draw_setting(draw)
    changes = _inside(draw, on, draw.count(0, 1))
    sites = [None, None, "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "head_out", "embed"]
    site = draw.one_of(*(s for s in sites if s is None or s in on.sites))
    pos = None if draw.chance(0.3) else draw_positions(draw, on.prompts)
    options: dict[str, Any] = {} if site is None else {"site": site}
    options |= {} if pos is None else {"pos": pos}
    call = Call(
        "lens.logit_lens",
        model_call(on),
        on.prompts.tokens,
        **options,
        edits=[change.call for change in changes],
        **masked(on.prompts),
    )

    def pairs(result: Any) -> Pairs:
        compared: Pairs = []
        for prompt in on.prompts:
            watched = Watched(changes, prompt)
            logits = forward(on.model, prompt.tokens, watched)
            rows = _rows(on, watched.seen, site, logits)
            if pos is None:
                found = prompt.rows_of(result, ("pos",), stacked=site != "embed")
            else:
                found = prompt.rows_of(result, (), stacked=site != "embed")
                rows = [at_positions(row, pos, prompt) for row in rows]
            compared.append((f"lens at {site}", found, rows[0] if site == "embed" else np.stack(rows)))
        return compared

    return Case(call, pairs, on.traced)


def _rows(on: Setting, seen: Any, site: str | None, logits: np.ndarray) -> list[np.ndarray]:
    """Logits `(pos, ..., vocab)` of each row, of one prompt."""
    layers = range(on.layers)
    if site is None:
        streams = [seen["resid_pre", 0], *(seen["resid_post", layer] for layer in layers[:-1])]
        return [*(unembed(on.model, x, _plain) for x in streams), logits]
    if site.startswith("resid"):
        return [unembed(on.model, seen[site, layer], _plain) for layer in layers]
    values = [seen[site, None]] if site == "embed" else [seen[site, layer] for layer in layers]
    scale = seen["ln_final_scale", None]
    return [read(on.model, x, scale[:, None] if x.ndim > 2 else scale) for x in values]


def read(model: Any, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A component's logits: behind the last norm with its scale held, without its bias."""
    norm = model.ln_final
    x = x - x.mean(-1, keepdims=True) if norm.bias is not None else x
    w = model.w_embed.T if model.w_unembed is None else model.w_unembed
    return (x / scale * norm.weight) @ w


def attribution(draw: Draw) -> Case:
    """`lens.direct_attribution`: every component, and that they sum to the logit."""
    on = draw_setting(draw)
    changes = _inside(draw, on, draw.count(0, 1))
    by = draw.one_of("layer", "head", "neuron")
    form = draw.one_of("token", "pair", "per example", "vector", "vectors")
    vocab, batch = on.model.config.vocab, on.prompts.batch
    tokens = draw.ints(0, vocab, batch if form == "per example" else ())
    other = draw.ints(0, vocab)
    direction: Any = (tokens, other) if form == "pair" else tokens
    if form.startswith("vector"):
        direction = draw.normal(*(batch if form == "vectors" else ()), on.model.config.d)
    pos = draw_positions(draw, on.prompts)
    call = Call(
        "lens.direct_attribution",
        model_call(on),
        on.prompts.tokens,
        direction,
        by=by,
        pos=pos,
        edits=[change.call for change in changes],
        **masked(on.prompts),
    )

    def vector(prompt: Prompt) -> np.ndarray:
        if form.startswith("vector"):
            return direction.array[prompt.index] if form == "vectors" else direction.array
        w = on.model.w_embed.T if on.model.w_unembed is None else on.model.w_unembed
        own = w[:, int(tokens[prompt.index] if form == "per example" else tokens)]
        return own - w[:, int(other)] if form == "pair" else own

    def pairs(result: Any) -> Pairs:
        compared: Pairs = []
        for prompt in on.prompts:
            watched = Watched(changes, prompt)
            forward(on.model, prompt.tokens, watched)
            parts, total = _components(on.model, watched.seen, by, vector(prompt))
            for label, row in zip(result.labels, result.values, strict=True):
                if label != "edits":
                    compared.append(
                        (label, prompt.rows_of(row, ()), at_positions(parts.pop(label), pos, prompt))
                    )
            assert not parts, f"missing: {list(parts)}"
            compared.append(("total", prompt.rows_of(result.total(), ()), at_positions(total, pos, prompt)))
        return compared

    return Case(call, pairs, on.traced)


def _components(model: Any, seen: Any, by: str, v: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each component's share `(pos,)` by its label, and what they sum to."""
    attn, mlp, norm, layers = model.blocks.attn, model.blocks.mlp, model.ln_final, range(model.config.layers)
    wrote = {name: seen[name, None] for name in ("embed", "pos_embed") if (name, None) in seen}
    for i in layers:
        if by == "head":
            heads = np.einsum("phk,hkd->hpd", seen["z", i], attn.w_o[i])
            wrote |= {f"L{i}H{h}": x for h, x in enumerate(heads)}
        else:
            wrote[f"attn_out[{i}]"] = seen["attn_out", i]
        if by == "neuron":
            post = seen["mlp_post", i]
            wrote |= {f"L{i}N{n}": post[:, n, None] * mlp.w_out[i, n] for n in range(post.shape[1])}
        else:
            wrote[f"mlp_out[{i}]"] = seen["mlp_out", i]
    length = len(seen["embed", None])
    for label, bias in (("attn.b_o", attn.b_o), ("mlp.b_out", mlp.b_out)):
        if bias is not None and label == {"head": "attn.b_o", "neuron": "mlp.b_out"}.get(by):
            wrote[label] = np.broadcast_to(bias.sum(0), (length, bias.shape[1]))
    stream = seen["resid_post", layers[-1]]
    centre = (lambda x: x - x.mean(-1, keepdims=True)) if norm.bias is not None else (lambda x: x)
    scale = np.sqrt((centre(stream) ** 2).mean(-1) + norm.eps)
    share = lambda x: centre(x) * norm.weight @ v / scale
    parts = {label: share(x) for label, x in wrote.items()}
    total = share(stream)
    if norm.bias is not None:
        parts["ln_final.bias"] = np.full(length, norm.bias @ v)
        total = total + norm.bias @ v
    return parts, total
