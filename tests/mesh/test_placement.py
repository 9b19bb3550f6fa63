"""Laying arrays, models and batches on a mesh of one device: values stay, axes become Auto."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinterp as ji
from jaxinterp.mesh._automatic import automatic_mesh
from jaxinterp.mesh._leaves import leaf_paths
from jaxinterp.mesh._plans import check_spec

MODEL, _ = ji.load("tiny")


def on(*names: str) -> Mesh:
    return jax.make_mesh((1,) * len(names), names)


@pytest.mark.quick
def test_a_model_keeps_its_values_and_lies_where_the_rule_says() -> None:
    model = ji.mesh.shard_model(MODEL, on("data", "model"))
    where = model.blocks.attn.w_q.sharding
    assert isinstance(where, NamedSharding) and set(where.mesh.axis_types) == {AxisType.Auto}
    assert where.spec == PartitionSpec(None, "model", None, None)
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(MODEL), strict=True):
        np.testing.assert_array_equal(one, other)
    whole = ji.mesh.shard_model(MODEL, on("data"), plan=lambda path, leaf: PartitionSpec())
    assert whole.w_embed.sharding.spec == PartitionSpec()
    with pytest.raises(ValueError, match=r"jax.make_mesh\(\(2, 4\).*got a int"):
        ji.mesh.shard_model(MODEL, 8)


def test_none_is_whole_on_every_device() -> None:
    """For a function and for a tree, on devices and on paper; without a mesh None says nothing."""
    rule = lambda path, leaf: PartitionSpec("data") if path == "w_embed" else None
    paths = {path: rule(path, leaf) for path, leaf in leaf_paths(MODEL).items()}
    tree = jax.tree_util.tree_map_with_path(
        lambda path, _: paths[jax.tree_util.keystr(path, simple=True, separator=".")], MODEL
    )
    mesh = jax.sharding.AbstractMesh((2,), ("data",))
    for plan in (rule, tree):
        where = ji.mesh.sharding_rule(mesh, plan)
        assert where("blocks.mlp.w_in", MODEL.blocks.mlp.w_in) == NamedSharding(
            automatic_mesh(mesh), PartitionSpec()
        )
        assert [leaf.device_bytes for leaf in ji.mesh.plan(MODEL, mesh, plan).leaves] == [
            leaf.nbytes // (1 + (path == "w_embed")) for path, leaf in leaf_paths(MODEL).items()
        ]
        model = ji.mesh.shard_model(MODEL, on("data"), plan=plan)
        assert {type(leaf.sharding) for leaf in jax.tree.leaves(model)} == {NamedSharding}
    assert ji.mesh.sharding_rule(None, rule)("w_unembed", MODEL.w_embed) is None


def test_a_mesh_on_paper_is_for_plans() -> None:
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    for call in (lambda: ji.load("tiny", mesh=mesh), lambda: ji.mesh.shard_model(MODEL, mesh)):
        with pytest.raises(ValueError, match=r"this mesh has none. ji.mesh.plan\(config, mesh\) plans"):
            call()


def test_a_leaf_that_cannot_be_divided_stays_whole() -> None:
    mesh = jax.sharding.AbstractMesh((2, 3), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    leaf = jax.ShapeDtypeStruct((4, 6, 8), np.float32)
    assert ji.mesh.tensor_parallel(mesh, "blocks.mlp.w_out", leaf) == PartitionSpec(None, "model", None)
    assert ji.mesh.tensor_parallel(mesh, "blocks.mlp.w_in", leaf) == PartitionSpec(None, None, None)


def test_rows_of_a_batch() -> None:
    x = np.arange(12).reshape(2, 6)
    rows = ji.mesh.rows_on(on("data"), x, axis=1)
    np.testing.assert_array_equal(rows, x)
    assert rows.sharding.spec == PartitionSpec(None, "data")
    np.testing.assert_array_equal(ji.mesh.placed(x, on("data"), PartitionSpec("data")), x)
    with pytest.raises(ValueError, match=r"the axis 'data'.*got \('model',\)"):
        ji.mesh.rows_on(on("model"), x)


def test_what_is_no_batch_no_spec_and_no_mesh_is_refused() -> None:
    mesh = on("data", "model")
    with pytest.raises(ValueError, match=r"rows on axis 0; got an array of the shape \(\)"):
        ji.mesh.rows_on(mesh, 3)
    with pytest.raises(ValueError, match=r"spec is jax\.sharding\.PartitionSpec\('data'\).*got 'data'"):
        ji.mesh.placed(np.zeros((4, 2)), mesh, "data")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most one entry for each of the 1 axes"):
        ji.mesh.placed(np.zeros(4), mesh, PartitionSpec("data", "model"))
    with pytest.raises(ValueError, match=r"A mesh is of jax\.make_mesh.*got a int"):
        ji.mesh.automatic(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"axis is an int counted from 0.*got -1"):
        ji.mesh.rows_on(mesh, np.zeros((4, 2)), axis=-1)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (PartitionSpec("rows"), r"names axes of the mesh, \('data', 'model'\); got P.*'rows'"),
        (PartitionSpec("data", "data"), "names each axis of the mesh once"),
        (
            PartitionSpec("model"),
            r"divides axes of \(6, 2\) into equal parts over data 2, model 4; got .*PartitionSpec\(None, None\)",
        ),
    ],
)
def test_a_spec_fits_the_mesh_and_the_array(spec: PartitionSpec, words: str) -> None:
    """In a plan of one's own too, before anything is laid."""
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    with pytest.raises(ValueError, match=words):
        check_spec(spec, mesh, (6, 2), "The spec of x")
    leaf = jax.ShapeDtypeStruct((6, 2), np.float32)
    with pytest.raises(ValueError, match=f"The plan for 'w_embed' {words}"):
        ji.mesh.sharding_rule(mesh, lambda path, leaf: spec)("w_embed", leaf)
