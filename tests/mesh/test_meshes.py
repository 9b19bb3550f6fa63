"""Meshes as a user makes them, `jax.make_mesh` and nothing else: the same numbers as on one device."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxinterp as ji
from tests.models import random_model
from tests.options import how
from tests.processes import run

CONFIG = ji.models.GPTNeoXConfig(vocab=40, ctx=16, d=16, layers=2, heads=4)


def few(model: Any, tokens: Any) -> dict[str, Any]:
    """What every user does: run, capture, edit, generate."""
    edits = [ji.zero("z", layer=1, head=1), ji.scale("mlp_out", 0.5)]
    logits, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]"])
    return {
        "logits": logits,
        **acts,
        "edited": ji.run(model, tokens, edits=edits, logits=-1)[0],
        "text": ji.generate(model, tokens, 3, edits=edits[:1]),
    }


def everything(model: Any, tokens: Any, mask: Any) -> dict[str, Any]:
    """A number of every room of the library that takes a model."""
    found = few(model, tokens)
    metric = ji.metrics.logit_diff(3, 5)
    edit = ji.scale("mlp_out", jnp.asarray(0.5), layer=0)
    found["padded"] = ji.run(model, tokens, mask=mask)[0][mask]
    found["intervened"] = ji.run(ji.intervene(model, edit), tokens)[0]
    found["value"], _, grads = ji.site_grads(model, tokens, lambda x: x[..., -1, 0], at=["z"])
    found["grad"] = grads["z"]
    found["sampled"] = ji.generate(model, tokens, 2, key=jax.random.key(0), mask=mask)
    found["resumed"] = ji.resume(model, found["resid_post"][0], 1)[0]
    found["measure"] = ji.metrics.measure(model, tokens, metric)
    other = np.roll(np.asarray(tokens), 1, 0)
    over = ("layer", "pos")
    found["sweep"] = ji.patching.sweep(model, tokens, other, metric, site="resid_pre", over=over)
    found["lens"] = ji.lens.logit_lens(model, tokens)
    found["summary"] = ji.lens.summary(model, tokens).kl
    tuned, _ = ji.lens.train_tuned_lens(
        model,
        [np.asarray(tokens)] * 2,
        key=jax.random.key(1),
        steps=2,
        settings=ji.fit.Settings(progress=False),
    )
    found["tuned"] = tuned(model, tokens)
    found["copying"] = ji.heads.copying_scores(model)
    rows = ji.data.activations(model, tokens, "resid_post[1]", batch_size=8, progress=False)
    found["activations"] = rows
    return found


def alike(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        a, b = (np.asarray(getattr(x[name], "values", x[name])) for x in (one, two))
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)


def saved(folder: Path) -> Path:
    ji.hub.export(folder, random_model(CONFIG, scale=0.1, gain=1.0))
    return folder


def test_a_mesh_of_one_device(tmp_path: Path) -> None:
    """`docs/hub.md` on any machine: the axes of the mesh are Explicit, and everything runs."""
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    assert set(mesh.axis_types) == {AxisType.Explicit}  # what JAX makes by itself
    plain, _ = ji.load(saved(tmp_path))
    tokens = np.array([[1, 7, 3, 7, 3], [9, 2, 39, 0, 5]], np.int32)
    want = few(plain, tokens)
    rule = lambda path, leaf: P("data") if path.endswith("w_in") else P()
    placed = lambda path, leaf: NamedSharding(mesh, rule(path, leaf))
    ji.save(tmp_path / "kept", plain)
    models = [
        ji.load(tmp_path, mesh=mesh)[0],
        ji.load(tmp_path, mesh=mesh, plan=rule)[0],
        ji.load(tmp_path, plan=placed)[0],
        ji.load(tmp_path, plan=jax.tree.map(lambda x: NamedSharding(mesh, P()), plain))[0],
        ji.load(tmp_path / "kept", mesh=mesh)[0],
    ]
    for model in models:
        where = model.blocks.mlp.w_in.sharding
        assert isinstance(where, NamedSharding) and set(where.mesh.axis_types) == {AxisType.Auto}
    alike(few(models[0], jax.device_put(tokens, NamedSharding(mesh, P("data")))), want)

    by_hand = jax.device_put(plain, NamedSharding(mesh, P()))
    with pytest.raises(ValueError, match=r"Explicit.*make_mesh\(\(1, 1\), \('data', 'model'\), axis"):
        ji.run(by_hand, tokens)
    with jax.set_mesh(mesh), pytest.raises(ValueError, match=r"Leave jax.set_mesh out: ji.load"):
        ji.run(plain, tokens)
    with pytest.raises(ValueError, match=r"jax.make_mesh\(\(2, 4\).*got a tuple"):
        ji.load(tmp_path, mesh=(2, 4))


def dictionaries(mesh: Mesh, x: Any) -> None:
    kind = ji.sae.TopK(d=16, features=64, k=4)
    options: dict[str, Any] = {"steps": 3, "batch_size": 32, "progress": False}
    alone, _ = ji.sae.train(kind, np.asarray(x), key=jax.random.key(1), **how(options))
    spread, _ = ji.sae.train(kind, np.asarray(x), key=jax.random.key(1), mesh=mesh, **how(options))
    alike({"f": spread.encode(jnp.asarray(np.asarray(x)))}, {"f": alone.encode(np.asarray(x))})
    again = ji.sae.shard(alone, mesh)
    alike({"f": again.encode(jnp.asarray(np.asarray(x)))}, {"f": alone.encode(np.asarray(x))})


def on_eight_devices(folder: Path) -> None:
    """Prompts over one axis, heads and neurons over the other; run in a process of its own."""
    assert len(jax.devices()) == 8
    plain, _ = ji.load(saved(folder))
    tokens = jax.random.randint(jax.random.key(1), (8, 6), 0, 40)
    mask = np.arange(6) >= np.arange(8)[:, None] % 3
    want = everything(plain, np.asarray(tokens), mask)
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    model, _ = ji.load(folder, mesh=mesh)
    assert model.blocks.attn.w_q.sharding.spec[1] == "model"
    rows = NamedSharding(mesh, P("data"))
    got = everything(model, jax.device_put(tokens, rows), jax.device_put(mask, rows))
    assert got["logits"].sharding.spec[0] == "data"
    alike(got, want)
    heads_alone, _ = ji.load(folder, mesh=jax.make_mesh((8,), ("model",)))
    alike(few(heads_alone, np.asarray(tokens)), few(plain, np.asarray(tokens)))
    dictionaries(jax.make_mesh((2, 4), ("data", "feature")), np.asarray(got["activations"])[:32])
    print("equal")


@pytest.mark.slow
def test_eight_devices(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from tests.mesh.test_meshes import on_eight_devices as check; check(Path({str(tmp_path)!r}))"
    assert "equal" in run(code, devices=8)


def test_arrays_on_other_devices_are_told_where_to_lie() -> None:
    """JAX names argument numbers of a program; the library says which arrays, and how to lay them."""
    from jaxinterp.mesh._gather import on_mesh

    @on_mesh
    def program(wrong: str) -> None:
        raise ValueError(wrong)

    with pytest.raises(ValueError, match=r"np\.asarray\(tokens\).*ji\.mesh\.rows_on\(mesh, tokens\).*on 3"):
        program("Received incompatible devices for jitted computation: 2 on 3")
    with pytest.raises(ValueError, match=r"^another$"):
        program("another")


def test_a_training_on_a_mesh_wants_no_explicit_one_around_it() -> None:
    mesh, x = jax.make_mesh((1, 1), ("data", "feature")), np.ones((8, 4), np.float32)
    key, kind, adam = jax.random.key(0), ji.sae.TopK(d=4, features=8, k=2), optax.adam(1e-3)
    with jax.set_mesh(mesh):
        with pytest.raises(ValueError, match=r"the mesh= of a training, suffices.*axis_types="):
            ji.sae.train(kind, x, key=key, steps=1, batch_size=4, mesh=mesh)
        with pytest.raises(ValueError, match=r"the mesh= of a training, suffices"):
            ji.fit.train({"w": x}, lambda i: x, _loss, adam, steps=1, mesh=mesh)


def _loss(params: Any, batch: Any, now: Any) -> Any:
    return (params["w"] * batch).sum(), {}
