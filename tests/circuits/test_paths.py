"""Path patching: every edge is one run in which one reader reads something else."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of

PAIR = (CLEAN, CORRUPT, METRIC)


def close(value: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(value), np.asarray(expected), rtol=1e-5, atol=1e-6)


def by_hand(name: str) -> tuple[Any, Any]:
    """The paths of a model, and a function that measures one edge by holding every node."""
    model = model_of(name)
    sites = ["head_out", "mlp_out", "embed"]
    _, there = ji.run(model, CLEAN, capture=sites, mask=MASK, logits=False)
    base, here = ji.run(model, CORRUPT, capture=[*sites, "attn_out"], mask=MASK)

    @jax.jit
    def edge(sender: Any, layer: Any, head: Any, kind: Any, to: Any, number: Any) -> Any:
        change = {site: there[site] - here[site] for site in sites}
        own = jnp.take(change["head_out"][layer], head, -2)
        # Every node is held but the sender: what would the receivers read?
        held = [
            ji.replace("attn_out", here["attn_out"]),
            ji.replace("mlp_out", here["mlp_out"]),
            ji.add("embed", jnp.where(sender == 0, change["embed"], 0)),
            ji.add("attn_out", jnp.where(sender == 1, own, 0), layer=layer),
            ji.add("mlp_out", jnp.where(sender == 2, change["mlp_out"][layer], 0), layer=layer),
        ]
        streams = ["resid_pre", "mlp_in", "resid_post"]
        _, acts = ji.run(model, CORRUPT, edits=held, capture=streams, mask=MASK, logits=False)
        stream = acts["resid_pre"][to][..., None, :]
        # No layer has the number 99: of these edits one acts.
        at = [jnp.where(kind == i, to, 99) for i in range(5)]
        reads = [
            *(ji.replace(f"{r}_in", stream, layer=at[i], head=number) for i, r in enumerate("qkv")),
            ji.replace("mlp_in", acts["mlp_in"][to], layer=at[3]),
            ji.replace("resid_post", acts["resid_post"][-1], layer=jnp.where(kind == 4, 1, 99)),
        ]
        return METRIC(ji.run(model, CORRUPT, edits=reads, mask=MASK)[0])

    paths = ji.circuits.direct_paths(model, *PAIR, mask=MASK, per_example=True)
    close(paths.baseline, METRIC(base))
    return paths, edge


@pytest.mark.parametrize(
    "name",
    [
        "neox",
        pytest.param("gpt2", marks=pytest.mark.slow),
        pytest.param("llama", marks=pytest.mark.slow),
    ],
)
def test_every_edge_equals_a_run_that_holds_every_node(name: str) -> None:
    paths, edge = by_hand(name)
    parallel = name == "neox"
    number_of = {kind: i for i, kind in enumerate(("q", "k", "v", "mlp", "logits"))}
    counted = 0
    for sender, edges in enumerate([paths.embed, paths.heads, paths.mlps]):
        for kind, code in number_of.items():
            values = np.asarray(getattr(edges, kind))
            for index in np.ndindex(values.shape[:-1]):
                rank = (0, 2, 1)[sender]
                (layer, head), (to, number) = ((*part, 0, 0)[:2] for part in (index[:rank], index[rank:]))
                beside = sender == 1 and kind == "mlp" and not parallel and to == layer
                exists = kind == "logits" or sender == 0 or to > layer or beside
                assert np.isfinite(values[index]).all() == exists
                if exists:
                    close(values[index], edge(sender, layer, head, code, to, number))
                    counted += 1
    heads, kv = paths.q.shape[1], paths.k.shape[3]
    # What every block reads of: the embedding, and in the second block the heads and MLP of the first.
    blocks = (1 + 1 + heads + 1) * (heads + 2 * kv + 1) + (0 if parallel else 2 * heads)
    assert counted == blocks + 1 + 2 * (heads + 1)


def test_chunks_change_nothing_and_other_prompts_compile_nothing() -> None:
    from jaxinterp.circuits._path_program import program
    from jaxinterp.circuits._wiring import Wiring, chunked

    nodes = Wiring(3, 2, 1, True, False, ("embed", "head", "mlp"), ("q", "k", "v", "mlp", "logits"))
    edges = sorted(nodes.edges())
    for width, readers in [(1, 1), (4, 1), (4, 2), (50, 9)]:
        chunks = chunked(nodes, width, readers)
        full = chunks.slot < nodes.slots
        layer = np.broadcast_to(chunks.layer[:, None], full.shape)
        parts = (layer, chunks.sender, chunks.kind, chunks.head, chunks.slot)
        got = sorted(zip(*(part[full].tolist() for part in parts), strict=True))
        assert got == edges
        read = np.take_along_axis(chunks.readers, chunks.reader, 1)
        assert (read == chunks.sender)[full & (chunks.kind < 3)].all()
    model = model_of("attention")
    whole = ji.circuits.direct_paths(model, *PAIR, receivers=["k", "logits"])
    assert whole.q is None and whole.mlps is None and whole.heads.mlp is None
    before = program._cached._cache_size()
    other = ji.circuits.direct_paths(model, CORRUPT, CLEAN, METRIC, receivers=["k", "logits"])
    assert program._cached._cache_size() == before and not np.allclose(other.logits, whole.logits)
    small = ji.circuits.direct_paths(model, *PAIR, receivers=["k", "logits"], max_bytes=60_000)
    assert program._cached._cache_size() == before + 1
    jax.tree.map(close, small, whole)


@pytest.mark.slow
def test_an_edited_model_is_patched_as_edited() -> None:
    model = ji.intervene(model_of("attention"), [ji.scale("v", 0.5, layer=1), ji.zero("z", layer=0, head=0)])
    paths = ji.circuits.direct_paths(model, *PAIR, senders="head", receivers="v")
    close(paths.v[0, 0, 1], paths.baseline)
    _, there = ji.run(model, CLEAN, capture="head_out", logits=False)
    _, here = ji.run(model, CORRUPT, capture="head_out", logits=False)
    change = (there["head_out"] - here["head_out"])[0, :, :, 1][..., None, :]
    edits = [ji.add("v_in", change, layer=1, head=1)]
    close(paths.v[0, 1, 1, 1], ji.metrics.measure(model, CORRUPT, METRIC, edits=edits).mean())


@pytest.mark.quick
def test_path_patch_of_one_edge_is_the_direct_path() -> None:
    model = model_of("gpt2")
    options: Any = {"mask": MASK, "mode": "noise"}
    paths = ji.circuits.direct_paths(model, *PAIR, **options)
    into = ji.circuits.paths_into(model, *PAIR, ["1.1.k"], **options)
    close(into[0], paths.k[0, :, 1, 1])
    close(into[1], [paths.baseline] * 2)
    close(ji.circuits.path_patch(model, *PAIR, "embed", "mlp1", **options), paths.embed.mlp[1])
    close(ji.circuits.path_patch(model, *PAIR, "mlp0", "mlp1", **options), paths.mlps.mlp[0, 1])


@pytest.mark.slow
def test_path_patch_through_the_mlps() -> None:
    model = model_of("neox")
    options: Any = {"mask": MASK, "mode": "noise", "per_example": True}
    value = ji.circuits.path_patch(model, *PAIR, ["0.0", "0.1"], "logits", freeze_mlps=False, **options)
    _, here = ji.run(model, CLEAN, capture="z", mask=MASK, logits=False)
    _, there = ji.run(model, CORRUPT, capture="z", mask=MASK, logits=False)
    edits = [ji.replace("z", there["z"][0], layer=0), ji.replace("z", here["z"][1], layer=1)]
    close(value, ji.metrics.measure(model, CLEAN, METRIC, edits=edits, mask=MASK))


@pytest.mark.parametrize(
    ("layers", "heads", "has_mlp", "parallel", "edges"),
    [
        (12, 12, True, False, 32491),  # GPT-2 small
        (12, 12, True, True, 32347),  # Pythia-160M
        (6, 8, True, True, 3580),  # Pythia-70M
        (4, 8, False, False, 1281),  # attn-only-4l
    ],
)
def test_published_numbers_of_edges(
    layers: int, heads: int, has_mlp: bool, parallel: bool, edges: int
) -> None:
    from jaxinterp.circuits._wiring import Wiring

    mlp = ("mlp",) if has_mlp else ()
    nodes = Wiring(
        layers, heads, heads, has_mlp, parallel, ("embed", "head", *mlp), ("q", "k", "v", *mlp, "logits")
    )
    assert len(nodes.edges()) + 1 + layers * (heads + len(mlp)) == edges


@pytest.mark.parametrize(
    ("name", "there"), [pytest.param("model_0", True, marks=pytest.mark.slow), ("model_400", False)]
)
def test_the_edge_of_a_trained_induction_circuit(name: str, there: bool, shared_data: Path) -> None:
    """The keys of the induction head read the previous-token head; after 400 more steps nobody does."""
    from jaxinterp.hub import build
    from jaxinterp.hub._safetensors import open_safetensors

    folder = shared_data / "checkpoints" / "induction-2l"
    tensors = open_safetensors(folder / f"gbmi_exp_indhead_finetuned_{name}.safetensors")
    config = ji.models.GPT2Config(vocab=26, ctx=8, d=64, layers=2, heads=1, ff=0, norm=False, tied=False)
    port = Path(__file__).parents[1] / "hub" / "ports" / "transformer_lens.toml"
    model = build(port, config, tensors)
    # After "x a y b ... y" comes b. In the corrupt prompt x and y have changed places, so a follows.
    x, a, y, b, *rest = np.argsort(np.random.default_rng(0).random((64, 26)), 1).T[:7]
    clean = np.stack([x, a, y, b, rest[0], rest[1], y], 1)
    corrupt = np.stack([y, a, x, b, rest[0], rest[1], y], 1)
    metric = ji.metrics.logit_diff(b, a)
    top, bottom = (float(ji.metrics.measure(model, t, metric).mean()) for t in (clean, corrupt))
    paths = ji.circuits.direct_paths(model, clean, corrupt, metric)
    effects = {(edge.sender, edge.receiver): edge.effect for edge in paths.top(99)}
    if there:
        assert top > 15 and bottom < -15
        assert effects["0.0", "1.0.k"] > 0.95 * (top - bottom)
        assert max(abs(effects["0.0", f"1.0.{kind}"]) for kind in "qv") < 0.05 * (top - bottom)
    else:
        assert abs(top) < 0.1 and max(map(abs, effects.values())) < 0.1


def test_the_strongest_edges_are_listed() -> None:
    model = model_of("attention")
    paths = ji.circuits.direct_paths(model, *PAIR, receivers=["k", "logits"])
    top = paths.top(3)
    effects = [abs(edge.effect) for edge in top]
    assert len(top) == 3 and effects == sorted(effects, reverse=True)
    every = {(edge.sender, edge.receiver): edge.value for edge in paths.top(1000)}
    assert len(every) == 2 * 2 + 4 * 2 + 1 + 8
    assert every["0.3", "1.1.k"] == pytest.approx(float(paths.k[0, 3, 1, 1]))
    assert every["embed", "logits"] == pytest.approx(float(paths.embed.logits))
    assert "unpatched" in repr(top) and top[0].sender in repr(top)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: ji.circuits.direct_paths(m, *PAIR, senders="0.1"), "path_patch"),
        (lambda m: ji.circuits.direct_paths(m, CLEAN, CORRUPT[:, :-1], METRIC), "one length"),
        (lambda m: ji.circuits.direct_paths(m, *PAIR, max_bytes=10), "Raise max_bytes"),
        (lambda m: ji.circuits.path_patch(m, *PAIR, "a.1", "logits"), "layer.head"),
        (lambda m: ji.circuits.path_patch(m, *PAIR, "0.7", "logits"), "head 7 is out of range"),
        (lambda m: ji.circuits.path_patch(m, *PAIR, "0.1", "mlp0"), "parallel blocks"),
        (lambda m: ji.circuits.path_patch(m, *PAIR, "1.1", "1.0.q"), "No sender comes before"),
        (lambda m: ji.circuits.path_patch(m, *PAIR, "0.1", ["logits", "mlp1"]), "alone"),
        (lambda m: ji.circuits.path_patch(m, *PAIR, "0.1", []), "at least one"),
    ],
)
def test_errors_teach(call: Any, message: str) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        call(model_of("neox"))
