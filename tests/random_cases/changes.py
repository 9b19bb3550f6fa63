"""Edits, drawn for the library and applied in NumPy."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .calls import Call, Named, Normal
from .draw import Draw
from .prompts import POSITIONS, WIDTH, Prompt, Prompts
from .selectors import chosen, draw_layers, draw_selector, layers_of

FEATURES = 9


class Basis(eqx.Module):
    """A small dictionary: linear both ways."""

    w_enc: Any
    b_enc: Any
    w_dec: Any

    def encode(self, x: Any) -> Any:
        return jnp.einsum("...d,df->...f", x, self.w_enc) + jnp.broadcast_to(
            self.b_enc, (*x.shape[:-1], FEATURES)
        )

    def decode(self, feature: Any) -> Any:
        return jnp.einsum("...f,fd->...d", feature, self.w_dec)


def bent(x: Any, p: Any) -> Any:
    return jnp.sin(x) * p


def longer(x: Any, p: Any) -> Any:
    return jnp.sqrt(x * x + p * p)


def mirrored(x: Any) -> Any:
    return x - jnp.flip(x, -1) / 2


def placed(x: Any, positions: Any, p: Any) -> Any:
    """A function of where each entry stands: of its position, or of its query and key."""
    if isinstance(positions, tuple):
        query, key = positions
        number = query[..., None, :, None] - 2 * key[..., None, None, :]
    else:
        number = positions.reshape(positions.shape + (1,) * (x.ndim - positions.ndim))
    return x * (1 + p * jnp.broadcast_to(number, x.shape).astype(x.dtype))


def _placed(x: np.ndarray, p: Any, square: bool) -> np.ndarray:
    if square:
        number = np.arange(x.shape[-2])[:, None] - 2 * np.arange(x.shape[-1])
    else:
        number = np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1))
    return x * (1 + p * number)


MAPS = {
    bent: lambda x, p: np.sin(x) * p,
    longer: lambda x, p: np.sqrt(x * x + p * p),
    mirrored: lambda x: x - x[..., ::-1] / 2,
}


def axes_of(site: str) -> tuple[str, ...]:
    """The axes of a site; those of a splice hold features, or what the spliced site holds."""
    if site.endswith(".feature"):
        return ("pos", "feature")
    return ji.SITES[site.split(".", maxsplit=1)[0]].axes


@dataclasses.dataclass(frozen=True)
class Change:
    """One edit: `call` makes it, `applied` is what it means."""

    call: Call
    site: str
    where: dict[str, Any]
    value: Any
    batch: tuple[int, ...]
    layers: int

    @property
    def kind(self) -> str:
        return self.call.name

    def acts_at(self, layer: int | None) -> bool:
        return layer is None or layer in layers_of(self.where.get("layer"), self.layers)

    def applied(self, x: np.ndarray, layer: int | None, prompt: Prompt, hook: Any) -> np.ndarray:
        """The site of one prompt alone, after the edit."""
        axes = axes_of(self.site)
        if not self.acts_at(layer):
            return x
        hit = np.ones(x.shape, bool)
        for name, given in self.where.items():
            if name != "layer":
                axis = x.ndim - 1 if name == "unit" else _axis(axes, name)
                shape = [1] * x.ndim
                shape[axis] = -1
                hit &= chosen(given, name, x.shape[axis], prompt).reshape(shape)
        new, within = self._new(x, layer, prompt, hook, axes)
        return np.where(hit & within, new, x)

    def _new(
        self, x: np.ndarray, layer: int | None, prompt: Prompt, hook: Any, axes: tuple[str, ...]
    ) -> tuple[np.ndarray, Any]:
        if self.kind == "zero":
            return np.zeros_like(x), True
        if self.kind == "map":
            fn, *args = self.value
            if fn is placed:
                return _placed(x, *args, square=axes[-1] == "key"), True
            return MAPS[fn](x, *args), True
        if self.kind == "project_out":
            return self._projected(x, layer, prompt, axes)
        if self.kind == "splice":
            return self._spliced(x, layer, hook), True
        value, within = self._own(self.value, x.shape, layer, prompt, axes)
        return {"replace": value, "add": x + value, "scale": x * value}[self.kind], within

    def _spliced(self, x: np.ndarray, layer: int | None, hook: Any) -> np.ndarray:
        w, name = self.value, f"{self.site}.{self.call.options.get('name', 'sae')}"
        feature = x @ w.w_enc + w.b_enc
        plain = feature @ w.w_dec
        recon = hook(f"{name}.recon", layer, hook(f"{name}.feature", layer, feature) @ w.w_dec)
        missed = hook(f"{name}.error", layer, x - plain)
        return recon + missed if self.call.options["error"] else recon

    def _projected(
        self, x: np.ndarray, layer: int | None, prompt: Prompt, axes: tuple[str, ...]
    ) -> tuple[np.ndarray, Any]:
        some = np.atleast_2d(self.value)
        shape, names = (*x.shape[:-1], *some.shape[-2:]), (*axes[:-1], "direction", axes[-1])
        some, within = self._own(some, shape, layer, prompt, names)
        basis = np.linalg.qr(np.swapaxes(some, -1, -2))[0]
        shadow = np.einsum("...dn,...en,...e->...d", basis, basis, x)
        return x - shadow, within[..., 0, :]

    def _own(
        self,
        value: Any,
        shape: tuple[int, ...],
        layer: int | None,
        prompt: Prompt,
        axes: tuple[str, ...],
    ) -> tuple[np.ndarray, Any]:
        """A value's share of one prompt, and where it has one: values end with the prompt."""
        value = np.asarray(value)
        sizes = [WIDTH if a in POSITIONS else n for a, n in zip(axes, shape, strict=True)]
        full = (*self.batch, *sizes)
        own = ((1,) * len(full) + value.shape)[-len(axes) :]
        tied = [a in POSITIONS and n > 1 for a, n in zip(axes, own, strict=True)]
        if value.ndim > len(full):
            value = np.broadcast_to(value, (self.layers, *full))[layer]
        value = prompt.rows_of(np.broadcast_to(value, full), axes)
        line = tuple(
            slice(None) if t or a not in POSITIONS else slice(1) for t, a in zip(tied, axes, strict=True)
        )
        here = tuple(slice(v if t else None) for v, t in zip(value.shape, tied, strict=True))
        new, within = np.zeros(shape), np.zeros(shape, bool)
        new[here], within[here] = value[line], True
        return new, within


def _axis(axes: tuple[str, ...], name: str) -> int:
    return next(i for i, axis in enumerate(axes) if axis == name or axis == f"kv_{name}")


class Watched:
    """A hook: applies changes in order, and keeps what it saw after them in `seen[site, layer]`."""

    def __init__(self, changes: Any = (), prompt: Any = None) -> None:
        self.changes, self.prompt = changes, prompt
        self.seen: dict[tuple[str, int | None], np.ndarray] = {}

    def __call__(self, site: str, layer: int | None, x: np.ndarray) -> np.ndarray:
        for change in self.changes:
            if change.site == site:
                x = change.applied(x, layer, self.prompt, self)
        self.seen[site, layer] = x
        return x


@dataclasses.dataclass(frozen=True)
class Setting:
    """What edits are drawn for: the sizes of each site's axes, and whether all is traced."""

    name: str
    model: Any
    prompts: Prompts
    traced: bool = False
    grows: bool = False
    "Edits whose law holds as the text grows: none that reads the future."
    resumed: bool = False
    "Runs from a residual stream, which have no embedding."

    @property
    def layers(self) -> int:
        return self.model.config.layers

    @property
    def sites(self) -> list[str]:
        """The sites that the model emits."""
        missing = {
            "gpt2": ["q_rot", "k_rot", "mlp_up"],
            "neox": ["pos_embed", "resid_mid", "mlp_up"],
            "neox in sequence": ["pos_embed", "mlp_up"],
            "llama": ["pos_embed"],
        }[self.name]
        missing += ["embed", "pos_embed"] * self.resumed
        return [site for site in ji.SITES if site not in missing]

    def sizes(self, site: str) -> list[int]:
        c = self.model.config
        known = {
            "d": c.d,
            "head": c.heads,
            "kv_head": c.kv_heads,
            "k": c.k,
            "ff": c.ff,
            "1": 1,
            "vocab": c.vocab,
            "feature": FEATURES,
            **dict.fromkeys(POSITIONS, WIDTH),
        }
        return [known[axis] for axis in axes_of(site)]


def draw_changes(draw: Draw, on: Setting, count: int, *, first: int = 0) -> list[Change]:
    """So many edits at random sites, of layers from `first` on where they name one."""
    sites = [site for site in on.sites if not first or ji.SITES[site].per_layer]
    changes: list[Change] = []
    for site in [draw.one_of(*sites) for _ in range(count)]:
        changes.append(draw_change(draw, on, site, first))
        if changes[-1].kind == "splice" and draw.chance(0.6):
            name = changes[-1].call.options.get("name", "sae")
            inner = f"{site}.{name}.{draw.one_of('feature', 'recon', 'error')}"
            changes.append(draw_change(draw, on, inner, first, layer=False))
    return changes


def draw_change(draw: Draw, on: Setting, site: str, first: int = 0, *, layer: bool = True) -> Change:
    """An edit of one site, of a random kind with random selectors."""
    axes, sizes = axes_of(site), on.sizes(site)
    positive, square = axes[-1] == "1", axes[-1] == "key"
    kinds = ["replace", "add", "scale", "map"]
    kinds += [] if positive else ["zero"] if square else ["zero", "project_out", "map"]
    if axes == ("pos", "d") and "." not in site and draw.group % 2:
        kinds += ["splice"] * 2
    if site == "pattern" and on.grows:
        kinds = ["scale", "map", "zero"]  # nothing reads the future
    kind = draw.one_of(*kinds)
    where: dict[str, Any] = {}
    layered = ji.SITES[site.split(".", maxsplit=1)[0]].per_layer
    if layered and layer:
        where["layer"] = draw_layers(draw, on.layers, on.traced)
        if first:
            where["layer"] = draw.one_of(None, *range(first, on.layers))
    selectable = [(axis.removeprefix("kv_"), size) for axis, size in zip(axes, sizes, strict=True)]
    names = [s for s in selectable if s[0] in (*POSITIONS, "head")]
    names += [("unit", sizes[-1])] * (not positive and not square)
    for axis, size in names:
        if draw.chance(0.4):
            where[axis] = draw_selector(draw, axis, size, on.prompts, on.traced)
    where = {name: given for name, given in where.items() if given is not None}
    args, value = _draw_value(draw, on, site, kind, "layer" not in where and layered)
    options = dict(where)
    if kind == "map" and args[0] is placed:
        options["with_positions"] = True
    if kind == "splice":
        options["error"] = draw.chance(0.5)
        if draw.chance(0.3):
            options["name"] = "basis"
    written = options.get("layer")
    if isinstance(written, int) and draw.chance(0.3):
        return Change(
            Call(kind, f"{site}[{options.pop('layer')}]", *args, **options),
            site,
            where,
            value,
            on.prompts.batch,
            on.layers,
        )
    return Change(Call(kind, site, *args, **options), site, where, value, on.prompts.batch, on.layers)


def _draw_value(draw: Draw, on: Setting, site: str, kind: str, stackable: bool) -> tuple[list[Any], Any]:
    """The arguments behind the site, and their numbers."""
    axes, sizes = axes_of(site), on.sizes(site)
    least = 0.5 if axes[-1] == "1" else None
    if kind == "zero":
        return [], None
    if kind == "project_out":
        full = (*on.prompts.batch, *sizes[:-1])
        lead = draw.one_of((), (), sizes[:-1], full, *[(on.layers, *full)] * stackable)
        shape = (sizes[-1],) if draw.chance(0.4) and not lead else (*lead, draw.count(1, 3), sizes[-1])
        direction = draw.normal(*shape)
        return [direction], direction.array
    if kind == "map":
        fn = draw.one_of(
            *([longer] if least else [bent, placed] if axes[-1] == "key" else [bent, mirrored, placed])
        )
        args = [] if fn is mirrored else [draw.normal(least=0.5)]
        return [fn, *args], [fn, *(arg.array for arg in args)]
    if kind == "splice":
        d = sizes[-1]
        parts = [draw.normal(*shape) for shape in ((d, FEATURES), (FEATURES,), (FEATURES, d))]
        basis = Basis(*(part.array / 3 for part in parts))
        return [Named(basis, f"Basis({', '.join(f'{part} / 3' for part in parts)})")], basis
    full = (*on.prompts.batch, *sizes)
    shapes = [(), sizes[-1:], sizes, full, tuple(1 if draw.chance(0.5) else n for n in full)]
    shapes += [(on.layers, *full)] * stackable
    shape = tuple(draw.one_of(*shapes))
    value: Normal = draw.normal(*shape, least=least)
    if not shape and not on.traced and draw.chance(0.5):
        number = float(value.array)
        return [number], number
    return [value], value.array
