"""The laws that a model with sites must keep, as checks that anyone can run on their own model.

`check_model(model, tokens)` raises `LawBroken` at the first law that fails, naming the law, the
site and the size of the difference. It is how this library tests its own families.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._tabular import Record, Tabular
from .core._acts import Acts
from .core._blocks import layer_count
from .core._check import as_tokens
from .core._edit import Edit
from .core._edits import map, replace, scale, zero
from .core._grads import site_grads
from .core._intervene import intervene
from .core._listing import sites, survey
from .core._run import resume, run
from .core._sites import SITES, axes_of, is_per_layer
from .hub import check_port as check_port
from .typing import FloatLike, ModelLike, TokensLike

# What a law allows that says "exactly". The suite allows rounding where it compiles without optimisation.
_EXACT = 0.0


class LawBroken(AssertionError):
    """The error for a law that does not hold. The message names the law, and the site where it fails.

    ```python
    try:
        ji.testing.check_model(model, tokens, tolerance=0)
    except ji.testing.LawBroken as error:
        print(error)                                     # the law, the site and the size of the difference
    ```
    """


@dataclasses.dataclass(frozen=True)
class Report(Tabular):
    """The laws that a model keeps, from `ji.testing.check_model`: a line for each, with the largest difference seen.

    ```python
    report = ji.testing.check_model(model, tokens)
    print(report)
    max(report.laws.values()), report.records()[0]
    ```
    """

    laws: dict[str, float]

    def records(self) -> list[Record]:
        """A row for each law, with the largest difference seen."""
        return [{"law": law, "difference": worst} for law, worst in self.laws.items()]

    def __str__(self) -> str:
        width = max(len(law) for law in self.laws)
        rows = [f"{law.ljust(width)}  {worst:.1e}" for law, worst in self.laws.items()]
        return "\n".join(["law".ljust(width) + "  largest difference", *rows])


@dataclasses.dataclass(frozen=True)
class _Case:
    """What every law looks at: a model, tokens `(batch, pos)`, its plain run, and a tolerance."""

    model: Any
    tokens: Int[Array, "batch pos"]
    logits: Float[Array, "batch pos vocab"]
    acts: Acts
    tolerance: float
    layers: int


def check_model(model: ModelLike, tokens: TokensLike, *, tolerance: FloatLike | None = None) -> Report:
    r"""$\forall$ law: checks that a model keeps all laws of `ji.testing.LAWS`.

    **Arguments:**

    - `model`: a module of the protocol `ji.Model`.
    - `tokens`: `(batch, pos)`, two prompts or more of three tokens or more.
    - `tolerance`: for the laws that are not exact, relative to the largest logit; by default 1e-5 in
      float32, 1e-12 in float64 and 5e-2 in bfloat16.

    **Returns:** a `Report` of the laws with the largest difference seen; print it.

    **Raises:** `LawBroken` at the first law that does not hold, and ValueError for prompts of another shape.

    ```python
    prompts = jax.random.randint(key, (2, 6), 0, model.config.vocab)
    print(ji.testing.check_model(model, prompts))
    ```
    """
    ids = as_tokens(tokens)
    if ids.ndim != 2 or ids.shape[0] < 2 or ids.shape[1] < 3:
        raise ValueError(
            f"check_model takes two prompts or more of three tokens or more, (batch, pos); "
            f"got the shape {ids.shape}."
        )
    names = list(survey(model, ids))
    logits, acts = run(model, ids, capture=names)
    if tolerance is None:
        tolerance = {jnp.dtype(jnp.float32): 1e-5, jnp.dtype(jnp.float64): 1e-12}.get(logits.dtype, 5e-2)
    size = float(jnp.abs(logits).max().astype(jnp.float32))
    case = _Case(model, ids, logits, acts, float(tolerance) * max(size, 1.0), layer_count(model))
    return Report({law: check(case) for law, check in LAWS.items()})


LAWS: dict[str, Callable[[_Case], float]] = {}
"What `check_model` checks, by name: each law is a function of a case to its largest error."


def _law(statement: str) -> Callable[[Callable[[_Case], float]], Callable[[_Case], float]]:
    def register(check: Callable[[_Case], float]) -> Callable[[_Case], float]:
        LAWS[statement] = check
        return check

    return register


def _difference(a: Any, b: Any) -> float:
    if a.shape != b.shape:
        return float("inf")
    wide = np.promote_types(a.dtype, np.float32)
    return float(jnp.abs(a.astype(wide) - b.astype(wide)).max()) if a.size else 0.0


def _close(case: _Case, law: str, got: Any, want: Any, *, tolerance: float | None = None) -> float:
    tolerance = case.tolerance if tolerance is None else tolerance
    worst = _difference(got, want)
    if not worst <= tolerance:
        raise LawBroken(f"{law}: differs by {worst:.2e}, allowed {tolerance:.2e}.")
    return worst


@_law("sites() lists the shapes and dtypes that captures have")
def _shapes(case: _Case) -> float:
    for name, struct in sites(case.model, case.tokens).items():
        got = case.acts[name]
        if (got.shape, got.dtype) != (struct.shape, struct.dtype):
            raise LawBroken(f"{name}: listed {struct}, captured {got.shape} {got.dtype}.")
    return 0.0


@_law("capturing changes nothing")
def _capturing(case: _Case) -> float:
    plain, _ = run(case.model, case.tokens)
    worst = _close(case, "capturing every site", case.logits, plain, tolerance=_EXACT)
    optional = [name for name in case.acts if name in SITES and SITES[name].optional]
    for names in (optional, ["resid_post"]):
        logits, acts = run(case.model, case.tokens, capture=names)
        _close(case, f"capturing {names}, logits", logits, plain, tolerance=_EXACT)
        for name in names:
            _close(case, f"capturing {names}: {name!r}", acts[name], case.acts[name], tolerance=_EXACT)
    return worst


@_law("replacing a site by itself changes nothing, exactly")
def _replacing(case: _Case) -> float:

    # All sites as one program, each switched on in turn, with weights as arguments: as constants
    # the compiler would fold them, and round elsewhere. Then some sites as programs of their own.
    @eqx.filter_jit
    def switched(model: Any, tokens: Array, values: Any, on: Array) -> Array:
        edits = [
            replace(name, value, **_everywhere(case, name, on[i]))
            for i, (name, value) in enumerate(values.items())
        ]
        return run(model, tokens, edits=edits)[0]

    for i, name in enumerate(case.acts):
        on = jnp.arange(len(case.acts)) == i
        logits = switched(case.model, case.tokens, dict(case.acts), on)
        _close(case, f"replacing {name} by itself", logits, case.logits, tolerance=_EXACT)
    last = case.layers - 1
    for name in ("resid_pre", "z", "pattern"):
        if name in case.acts:
            value = case.acts[name]
            for edits in (
                [replace(name, value)],
                [replace(name, value[last], layer=last), map(name, _identity)],
            ):
                logits, _ = run(case.model, case.tokens, edits=edits)
                _close(case, f"{edits} alone", logits, case.logits, tolerance=_EXACT)
    return 0.0


def _everywhere(case: _Case, name: str, on: Array) -> dict[str, Array]:
    """A selector of all positions or of none, by a traced switch."""
    size = case.tokens.shape[1]
    return {"pos" if "pos" in axes_of(name) else "query": jnp.broadcast_to(on, (size,))}


def _identity(x: Array) -> Array:
    return x


@_law("edits leave earlier positions alone")
def _causality(case: _Case) -> float:
    if not case.model.config.causal:
        return 0.0
    pos = case.tokens.shape[1] - 1

    def halved(names: Iterable[str]) -> Array:
        axis = {name: "pos" if "pos" in axes_of(name) else "query" for name in names}
        edits = [scale(name, 0.5, **{axis[name]: pos}) for name in names]
        return run(case.model, case.tokens, edits=edits)[0][:, :pos]

    if _difference(halved(case.acts), case.logits[:, :pos]) > case.tolerance:
        for name in case.acts:
            _close(case, f"editing {name!r} at the last position", halved([name]), case.logits[:, :pos])
    return _close(case, "editing every site", halved(case.acts), case.logits[:, :pos])


@_law("scan equals unrolled")
def _unrolled(case: _Case) -> float:
    names = [f"resid_post[{layer}]" for layer in range(case.layers)]
    logits, acts = run(case.model, case.tokens, capture=names)
    worst = _close(case, "visiting each layer by itself", logits, case.logits)
    for layer, name in enumerate(names):
        worst = max(worst, _close(case, name, acts[name], case.acts["resid_post"][layer]))
    return worst


@_law("a traced layer equals a static one")
def _traced(case: _Case) -> float:
    site = "z" if "z" in case.acts else next(n for n in case.acts if is_per_layer(n))
    worst = 0.0
    for layer in {0, case.layers - 1}:
        static, _ = run(case.model, case.tokens, edits=[zero(site, layer=layer)])
        traced, _ = run(case.model, case.tokens, edits=[zero(site, layer=jnp.asarray(layer))])
        worst = max(worst, _close(case, f"zeroing {site}[{layer}]", traced, static))
    return worst


@_law("resuming equals running")
def _resuming(case: _Case) -> float:
    worst = 0.0
    middle = case.layers // 2
    for layer in [*(jnp.asarray(i) for i in range(case.layers)), middle]:
        logits, _ = resume(case.model, case.acts["resid_pre"][layer], layer)
        worst = max(worst, _close(case, f"resuming at {layer}", logits, case.logits))
    return worst


@_law("jit equals no jit")
def _jit(case: _Case) -> float:
    def logits(model: Any, tokens: Array) -> Array:
        return run(model, tokens)[0]

    jitted = eqx.filter_jit(logits)(case.model, case.tokens)
    with jax.disable_jit():
        plain = logits(case.model, case.tokens)
    return max(
        _close(case, "jit of a run", jitted, case.logits),
        _close(case, "a run without jit", plain, case.logits),
    )


@_law("vmap equals batch, and batch equals one by one")
def _vmap(case: _Case) -> float:
    mapped = jax.vmap(lambda tokens: run(case.model, tokens)[0])(case.tokens)
    alone = run(case.model, case.tokens[0])[0]
    stacked = run(case.model, case.tokens[None])[0][0]
    return max(
        _close(case, "vmap over prompts", mapped, case.logits),
        _close(case, "one prompt alone", alone, case.logits[0]),
        _close(case, "two batch axes", stacked, case.logits),
    )


@_law("padded equals alone, left and right")
def _padding(case: _Case) -> float:
    pad = 2
    pos = case.tokens.shape[1]
    short = case.tokens[0, : pos - pad]
    alone, _ = run(case.model, short)
    worst = 0.0
    for side in ("left", "right"):
        real = np.ones((2, pos), bool)
        real[0, :pad] = side == "right"
        real[0, pos - pad :] = side == "left"
        where = slice(pad, None) if side == "left" else slice(0, pos - pad)
        tokens = case.tokens.at[0].set(case.tokens[0, 0]).at[0, where].set(short)
        logits, _ = run(case.model, tokens, mask=real)
        worst = max(
            worst,
            _close(case, f"a prompt padded {side}", logits[0, where], alone),
            _close(case, f"the prompt beside it ({side})", logits[1], case.logits[1]),
        )
    return worst


@_law("intervene equals edits")
def _intervened(case: _Case) -> float:
    edit = scale("resid_post", 0.9)
    steered, _ = run(intervene(case.model, edit), case.tokens)
    edited, _ = run(case.model, case.tokens, edits=[edit])
    return _close(case, "intervene", steered, edited, tolerance=_EXACT)


@_law("gradients are finite at every site")
def _gradients(case: _Case) -> float:
    names = list(case.acts)
    _, _, grads = site_grads(case.model, case.tokens, _last_logit, at=names)
    for name, grad in grads.items():
        if not bool(jnp.isfinite(grad.astype(jnp.float32)).all()):
            raise LawBroken(f"The gradient at {name!r} is not finite.")
    return 0.0


def _last_logit(logits: Array) -> Array:
    return logits[..., -1, 0].astype(np.promote_types(logits.dtype, np.float32))


@_law("one trace serves every value of an edit")
def _one_trace(case: _Case) -> float:
    traces = []

    @eqx.filter_jit
    def sweep(edit: Edit, tokens: Array) -> Array:
        traces.append(1)
        return run(case.model, tokens, edits=[edit])[0]

    site = "z" if "z" in case.acts else "resid_post"
    for layer in range(case.layers):
        sweep(scale(site, 0.1 * layer, layer=jnp.asarray(layer), pos=layer % 2), case.tokens)
    if len(traces) != 1:
        raise LawBroken(f"A sweep over {case.layers} layers was traced {len(traces)} times.")
    return 0.0


def check_edit(edit: Edit, model: ModelLike, tokens: TokensLike) -> None:
    r"""$e$ acts at its own sites and layers and nowhere else: checks an edit under `jit` and in a batch.

    It is for authors of subclasses of `ji.Edit`.

    **Arguments:**

    - `edit`: the edit.
    - `model`, `tokens`: as in `check_model`.

    **Raises:** `LawBroken` at the first law that does not hold.

    ```python
    ji.testing.check_edit(ji.zero("z", layer=1, head=0), model, tokens)
    ```
    """
    ids = as_tokens(tokens)
    plain, _ = run(model, ids)
    tolerance = 1e-5 * max(float(jnp.abs(plain).max().astype(jnp.float32)), 1.0)
    case = _Case(model, ids, plain, Acts({}), tolerance, layer_count(model))
    edited, _ = run(model, ids, edits=[edit])
    if edited.shape != plain.shape or edited.dtype != plain.dtype:
        raise LawBroken(f"{edit} changed the shape or the dtype of the logits.")
    jitted = eqx.filter_jit(lambda e, t: run(model, t, edits=[e])[0])(edit, ids)
    _close(case, f"{edit} under jit", jitted, edited)
    if edit.layers:
        first = min(layer % case.layers for layer in edit.layers if isinstance(layer, int))
        if first:
            before = f"resid_pre[:{first}]"
            _, was = run(model, ids, capture=[before])
            _, now = run(model, ids, edits=[edit], capture=[before])
            _close(case, f"{edit} before its layer", now[before], was[before], tolerance=_EXACT)
