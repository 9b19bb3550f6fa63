"""Every writer of the library, over nothing and over an old result, and how its result is read.

`write(place, which)` writes the old (0) or the new (1); `read(place)` says what is there: the same
value for the same result, or an error that teaches. `whole(place)` is what a program sees that knows
nothing of manifests: None where it would read nothing.
"""

import dataclasses
import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

import jaxinterp as ji
from jaxinterp import hub, viz
from jaxinterp._disk import BadFolder, BadRecords
from jaxinterp.hub import _orbax

from .killed import frozen, killed, quiet

TAUGHT = (BadFolder, BadRecords, hub.BadCheckpoint, ji.data.BadStore, FileNotFoundError, FileExistsError)


@dataclasses.dataclass(frozen=True)
class Case:
    """A writer; `name` of its result below the folder that is watched; `slow`: it computes;
    `grows`: it keeps what was there; `once`: it refuses what is there; `foreign`: no reader here; at most
    `most` events of it are tried."""

    name: str
    write: Callable[[Path, int], Any]
    read: Callable[[Path], Any]
    entry: str | None = None
    end: Callable[..., None] = killed
    slow: bool = False
    grows: bool = False
    once: bool = False
    foreign: bool = False
    most: int = 1000


def hashed(tree: Any) -> int:
    leaves = jax.tree.leaves(tree)
    return hash(tuple((np.shape(x), np.asarray(x).tobytes()) for x in leaves))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def dictionary(which: int, kind: Any = ji.sae.TopK, d: int = 4) -> Any:
    rng = np.random.default_rng(which)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    more = {"k": 2} if kind is ji.sae.TopK else {}
    return kind(d=d, features=8, **more).dictionary(
        encoder=draw(d, 8),
        decoder=draw(8, d),
        bias=draw(d),
        encoder_bias=draw(8),
        scale=np.float32(0.5),
    )


def read_dictionary(path: Path) -> Any:
    sae, about = ji.sae.load(path, about=True)
    return sae.kind_name, hashed(sae), about.get("number", about.get("metadata"))


def save_dictionary(path: Path, which: int) -> None:
    ji.sae.save(path, dictionary(which), about={"number": which})


def save_either(path: Path, which: int) -> None:
    """SAELens's layout over our own."""
    if which:
        ji.sae.save_saelens(path, dictionary(1), density=np.full(8, 0.1))
    else:
        save_dictionary(path, 0)


def save_saelens(path: Path, which: int) -> None:
    """With firing shares the first time, and without them the second."""
    density = None if which else np.full(8, 0.1)
    ji.sae.save_saelens(path, dictionary(which), density=density, model_name=str(which))


def read_saelens(path: Path) -> Any:
    return read_dictionary(path), (path / "sparsity.safetensors").is_file()


def dashboard(path: Path, which: int) -> None:
    records = [ji.sae.dashboard_feature(i, density=which) for i in range(3 - which)]
    source = ji.sae.DashboardSource(model=str(which), layer=0, name="n")
    ji.sae.save_dashboard(path, records, source=source, features_per_file=1)


def read_dashboard(path: Path) -> Any:
    if not (path / "run_settings.json").is_file():
        raise FileNotFoundError("It is unfinished.")
    return {p.name: text(p) for p in path.glob("*.json") if p.name[:9] != "jaxinterp"}


@functools.cache
def lens(which: int) -> Any:
    rng = np.random.default_rng(which)
    draw = lambda *shape: jax.numpy.asarray(rng.normal(size=shape), np.float32)
    return ji.lens.TunedLens(draw(2, 4, 4), draw(2, 4))


@functools.cache
def jacobian(which: int) -> Any:
    return ji.lens.JacobianLens(jax.numpy.full((2, 4, 4), which, np.float32), (0, 1))


@functools.cache
def model(which: int) -> Any:
    config = ji.models.GPT2Config(vocab=40, ctx=8, layers=2, d=8, heads=2)
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(config, key=jax.random.key(0)))
    rng = np.random.default_rng(which)
    return jax.tree.map(lambda x: jax.numpy.asarray(rng.normal(size=x.shape), x.dtype), shapes)


@functools.cache
def tokenizer(which: int) -> hub.Tokenizer:
    import tokenizers

    words = {"<|endoftext|>": 0, "a": 1 + which, "b": 2 - which}
    return hub.Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "a")))


def read_tokenizer(path: Path) -> Any:
    found = hub.Tokenizer.from_folder(path)
    if found is None:
        raise FileNotFoundError("There is no tokenizer.")
    return found.to_json()["tokenizer"]


def read_model(path: Path) -> Any:
    found, words = hub.load(path)
    kept = None if words is None else words.to_json()["tokenizer"]
    return hashed(found), kept, found.config.d


def export(path: Path, which: int) -> None:
    """Shards and a tokenizer first; then one file of other weights, and no tokenizer."""
    if which:
        hub.export(path, model(1))
    else:
        hub.export(path, model(0), max_shard_bytes=4000, tokenizer=tokenizer(0))


def export_flax(path: Path, which: int) -> None:
    hub.export(path, model(which), format="flax" if which else "safetensors")


class Copied:
    """Orbax writes in C, where nobody looks yet: what it wrote once is copied, which takes no time."""

    def __init__(self, which: int) -> None:
        self.which = which

    def __enter__(self) -> "Copied":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def save(self, folder: Path, args: Any) -> None:
        folder.mkdir()
        for name, content in saved(self.which).items():
            with quiet():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


@functools.cache
def saved(which: int) -> dict[str, bytes]:
    with quiet(), tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "saved")
        hub.save(place, model(which), tokenizer=tokenizer(which))
        files = [path for path in place.rglob("*") if path.is_file() and path.parent != place]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def save_model(path: Path, which: int) -> None:
    saved(which)
    with mock.patch.object(_orbax, "_checkpointer", lambda: Copied(which)):
        hub.save(path, model(which), overwrite=True, tokenizer=tokenizer(which))


def save_over_export(path: Path, which: int) -> None:
    save_model(path, 1) if which else export(path, 0)


class Words:
    """A tokenizer of numbers, for pages."""

    def tokens(self, ids: Any) -> list[str]:
        return [f"t{i}" for i in np.asarray(ids)]


@functools.cache
def plans() -> tuple[Any, Any, Any]:
    """A dictionary of the model's stream, the model, and texts."""
    sae = jax.tree.map(jax.numpy.asarray, dictionary(0, ji.sae.Standard, 8))
    return sae, model(0), np.random.default_rng(0).integers(1, 40, (12, 8), dtype=np.int32)


@functools.cache
def shown(which: int) -> Any:
    sae, spare, tokens = plans()
    some = tokens[: 6 + which]
    return ji.sae.examples(sae, spare, some, site="resid_post[0]", progress=False)


def browse(path: Path, which: int) -> None:
    sae, spare, _ = plans()
    ji.sae.browse(
        path,
        sae,
        spare,
        Words(),
        site="resid_post[0]",
        page=ji.sae.PageSettings(k=0, title=str(which)),
        progress=False,
        read=shown(which),
    )


def read_browser(path: Path) -> Any:
    """What a browser reads: the page, and the folder of data that it names."""
    page = text(path / "index.html")
    found = re.findall(r'src="([^"/]+)/summary.js"', page)
    return page, {p.name: text(p) for p in sorted((path / found[0]).iterdir())}


@functools.cache
def corpus() -> Any:
    return np.random.default_rng(1).integers(1, 40, (5, 6), dtype=np.int32)


def store(path: Path, which: int) -> None:
    ji.data.save_activations(
        path, model(0), corpus(), ["z[1]"], dtype="int8", batch_size=2, shard=2, progress=False
    )


def read_store(path: Path) -> Any:
    return ji.data.Store(path).read().tobytes()


def records(path: Path, which: int) -> None:
    ji.probes.append_records(path, [{"feature": "f", "number": which}, {"feature": "g" * 50}])


def rating(path: Path, which: int) -> None:
    sae, spare, tokens = plans()
    groups = {"a": (sae, "resid_post[0]"), "b": (ji.sae.Neurons(8), "resid_post[0]")}
    ji.sae.rating_study(
        path, groups, spare, Words(), tokens, units=2, parts=1, key=jax.random.key(0), progress=False
    )


def read_rating(path: Path) -> Any:
    """A study that can be rated can be resolved."""
    return sorted(ji.sae.ratings(path)["groups"])


FIGURE = lambda which: viz.Figure(f"title {which}", f"<p>{which}</p>", svg=f"<svg>{which}</svg>")

CASES = [
    Case("page.html", lambda p, w: FIGURE(w).save(p), text),
    Case("figure.svg", lambda p, w: FIGURE(w).save(p), text, slow=True),
    Case("records.jsonl", lambda p, w: ji.probes.write_records(p, [{"n": w}]), text),
    Case("grown.jsonl", records, lambda p: str(ji.probes.read_records(p)), grows=True),
    Case(
        "tuned",
        lambda p, w: ji.lens.save(p, lens(w)),
        lambda p: hashed(ji.lens.load(p)),
        "config.json",
        slow=True,
    ),
    Case(
        "jacobian.pt", lambda p, w: ji.lens.save(p, jacobian(w)), lambda p: hashed(ji.lens.load(p)), slow=True
    ),
    Case("dictionary", save_dictionary, read_dictionary, "dictionary.json"),
    Case("saelens", save_saelens, read_saelens, "cfg.json", slow=True),
    Case("either", save_either, read_dictionary, slow=True),
    Case("dashboard", dashboard, read_dashboard, "run_settings.json", foreign=True, slow=True),
    Case("tokenizer", lambda p, w: tokenizer(w).save(p), read_tokenizer, "tokenizer.json"),
    Case(
        "array.pt",
        lambda p, w: hub.write_torch(p, {"x": np.full(9, w, np.float32)}),
        lambda p: hashed(hub.read_torch(p)),
        slow=True,
    ),
    Case(
        "weights.safetensors",
        lambda p, w: hub.save_safetensors(p, {"x": np.full(9, w, np.float32)}),
        lambda p: hashed({n: t.read() for n, t in hub.open_safetensors(p).items()}),
        slow=True,
    ),
    Case("export", export, read_model, "config.json", frozen, slow=True),
    Case("flax", export_flax, read_model, "config.json", frozen, slow=True),
    Case("saved", save_model, read_model, "model/metadata", frozen, slow=True),
    Case("over", save_over_export, read_model, None, frozen, slow=True),
    Case("features", browse, read_browser, None, frozen, slow=True),
    Case("store", store, read_store, None, frozen, slow=True),
    Case("study", rating, read_rating, None, frozen, slow=True, once=True, most=6),
]
