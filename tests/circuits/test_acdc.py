"""ACDC beside the plain loop: one run for each edge, in order."""

import functools
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of

QUIET: dict[str, Any] = {"progress": False}


@functools.cache
def value_of(name: str, ablate: str, padded: bool, kind: str) -> Any:
    """The metric of a mask, by `ji.circuits.run`, and the metric itself."""
    model, mask = model_of(name), MASK if padded else None
    metric = METRIC if kind == "diff" else ji.metrics.kl(ji.run(model, CLEAN, mask=mask)[0])

    @eqx.filter_jit
    def value(mask_of_edges: Any, graph: Any) -> Any:
        circuit = ji.circuits.Circuit(mask_of_edges, graph)
        logits = ji.circuits.run(model, CLEAN, CORRUPT, circuit, ablate=ablate, mask=mask)
        return metric(logits, mask=mask).mean()

    return value, metric


def plain(value: Any, graph: Any, threshold: float, goal: str, forward: bool = False) -> Any:
    """The loop of the paper."""
    kept, deltas = np.ones(graph.size, bool), np.zeros(graph.size)
    current = float(value(jnp.asarray(kept), graph))
    alive: set[str] = set()
    shared = graph.heads // graph.kv_heads

    def feeds(receiver: str) -> set[str]:
        layer, _, rest = receiver.partition(".")
        if not rest:
            return {receiver}
        head, _, kind = rest.partition(".")
        if kind == "q":
            return {f"{layer}.{head}"}
        return {f"{layer}.{h}" for h in range(int(head) * shared, (int(head) + 1) * shared)}

    names = [edge.partition("@")[0].split("->") for edge in graph.edges]
    for receiver in reversed(graph.receivers):
        edges = [i for i, (_, v) in enumerate(names) if v == receiver]
        leads_on = receiver == "logits" or bool(feeds(receiver) & alive)
        for i in edges if forward else reversed(edges):
            kept[i] = False
            if not leads_on:
                continue
            without = float(value(jnp.asarray(kept), graph))
            deltas[i] = without - current
            loss = {"min": deltas[i], "max": -deltas[i], "keep": abs(deltas[i])}[goal]
            # Where the change is within rounding of the threshold both decisions are right.
            assert abs(loss - threshold) > 1e-6, (graph.edges[i], loss)
            if loss < threshold:
                current = without
            else:
                kept[i] = True
        alive |= {names[i][0] for i in edges if kept[i]}
    return kept, deltas


CASES = [
    ("gpt2", {"split_embed": True}, "patch", True, "kl", "min"),
    pytest.param("neox", {}, "zero", True, "diff", "max", marks=pytest.mark.slow),
    pytest.param("llama", {}, "mean", False, "diff", "keep", marks=pytest.mark.slow),
    pytest.param("llama", {"split_qkv": False}, "patch", True, "kl", "min", marks=pytest.mark.slow),
    pytest.param("attention", {"pos": 5}, "patch", False, "diff", "max", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options", "ablate", "padded", "kind", "goal"), CASES)
def test_it_is_the_plain_loop(
    name: str, options: Any, ablate: str, padded: bool, kind: str, goal: str
) -> None:
    model = model_of(name)
    graph = ji.circuits.graph(model, **options)
    value, metric = value_of(name, ablate, padded, kind)
    settings = ji.circuits.AcdcSettings(goal="keep") if goal == "keep" else None
    mask = MASK if padded else None
    thresholds = [0.003, 0.03, 0.3]
    found = ji.circuits.acdc(
        model,
        CLEAN,
        CORRUPT,
        metric,
        threshold=thresholds,
        graph=graph,
        ablate=ablate,
        mask=mask,
        settings=settings,
        **QUIET,
    )
    assert found.goal == goal and found.mask.shape == (3, graph.size)
    sizes = []
    for i, threshold in enumerate(thresholds):
        kept, deltas = plain(value, graph, threshold, goal)
        np.testing.assert_array_equal(found.mask[i], kept)
        np.testing.assert_allclose(found.deltas[i], deltas, atol=2e-5)
        sizes.append(kept.sum())
    assert 0 < sizes[1] < graph.size and len(set(sizes)) > 1


INDUCTION = ("embed->0.0.v", "0.0->1.0.k", "embed->1.0.q", "embed->1.0.v", "1.0->logits")
PLACES = ("pos_embed->0.0.q", "pos_embed->0.0.k", "pos_embed->1.0.k")


@pytest.mark.parametrize(
    ("ablate", "edges"),
    [("zero", INDUCTION + PLACES), pytest.param("mean", INDUCTION, marks=pytest.mark.slow)],
)
def test_the_planted_induction_circuit_comes_out_exactly(ablate: str, edges: tuple[str, ...]) -> None:
    planted = ji.toy.planted_induction(heads=2)
    graph = ji.circuits.graph(planted.model, split_embed=True)
    rng = np.random.default_rng(0)
    block = np.stack([rng.permutation(20)[:8] for _ in range(4)])
    clean, corrupt = np.tile(block, 2), np.tile(np.roll(block, 1, 0), 2)
    nats = lambda x, answers: -jnp.take_along_axis(jax.nn.log_softmax(x), answers[..., None], -1).mean((1, 2))
    metric = ji.metrics.custom(nats, jnp.asarray(clean[:, 9:]), pos=np.arange(8, 15))
    settings = ji.circuits.AcdcSettings(goal="min")
    found = ji.circuits.acdc(
        planted.model, clean, corrupt, metric, graph=graph, ablate=ablate, settings=settings, **QUIET
    )
    assert set(found.edges) == set(edges)
    assert isinstance(found, ji.circuits.Circuit) and len(found) == len(edges)
    assert {f"{row['sender']}->{row['receiver']}" for row in found.records()} == set(edges)
    assert float(found.metric) == pytest.approx(0, abs=1e-3) and found.runs < 2 * graph.size


def test_a_walk_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxinterp.circuits import _acdc_log, _acdc_runner

    model = model_of("llama")
    find = functools.partial(ji.circuits.acdc, model, CLEAN, CORRUPT, METRIC, max_bytes=300_000, **QUIET)
    whole = find(threshold=[0.03, 0.3])
    call, count = _acdc_runner.Runner.__call__, iter(range(100))

    def killed(self: Any, *of: Any) -> Any:
        if next(count) == 2:
            raise KeyboardInterrupt
        return call(self, *of)

    monkeypatch.setattr(_acdc_log, "EVERY", 0.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_acdc_runner.Runner, "__call__", killed)
        find(threshold=[0.03, 0.3], checkpoint=tmp_path)
    assert "trail-0.3.npz" in {path.name for path in tmp_path.iterdir()}
    again = find(threshold=[0.03, 0.3], checkpoint=tmp_path)
    for name in ("mask", "deltas", "metric"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert again.runs < whole.runs
    assert find(threshold=0.3, checkpoint=tmp_path).runs == 2  # the two ends alone
    with pytest.raises(ValueError, match="another experiment"):
        ji.circuits.acdc(model, CORRUPT, CLEAN, METRIC, checkpoint=tmp_path, max_bytes=300_000, **QUIET)


def test_what_is_wrong_teaches() -> None:
    model = model_of("llama")
    find = functools.partial(ji.circuits.acdc, model, CLEAN, CORRUPT, max_bytes=300_000, **QUIET)
    for threshold in (-0.1, float("nan"), [], "all"):
        with pytest.raises(ValueError, match="0 or more"):
            find(METRIC, threshold=threshold)
    with pytest.raises(ValueError, match="answers differently"):
        ji.circuits.acdc(model, CLEAN, CLEAN, METRIC, max_bytes=300_000, **QUIET)
    with pytest.raises(ValueError, match="of another model"):
        find(METRIC, graph=ji.circuits.graph(model_of("neox")))
    with pytest.raises(ValueError, match="goal is one of"):
        ji.circuits.AcdcSettings(goal="lower")
    with pytest.raises(ValueError, match="one finite number for each"):
        find(METRIC, settings=ji.circuits.AcdcSettings(order=np.ones(3)))
    edited = ji.intervene(model, [ji.zero("z", layer=0, head=1)])
    with pytest.raises(ValueError, match="without edits"):
        ji.circuits.acdc(edited, CLEAN, CORRUPT, METRIC, **QUIET)


@pytest.mark.parametrize(
    ("name", "length"),
    [("reverse", None), ("x_proportion", 2), pytest.param("x_proportion", None, marks=pytest.mark.slow)],
)
def test_programs_are_recovered_under_zero_ablation(name: str, length: int | None) -> None:
    """Conmy et al. 2023 report an area of 1.000 for both."""
    program = ji.toy.rasp(name, length=length)
    graph = ji.circuits.graph(program.model, split_embed=True)
    found = ji.circuits.acdc(
        program.model,
        program.prompts,
        None,
        program.metric,
        threshold=[1e-5, 1e-3, 0.1],
        ablate="zero",
        graph=graph,
        mask=program.mask,
        settings=ji.circuits.AcdcSettings(goal="min"),
        **QUIET,
    )
    truth = graph.mask(program.edges)
    assert (found.kept[0] == truth.kept).all()
    assert ji.circuits.roc(found, truth).auc == 1


@pytest.mark.parametrize("ablate", ["zero", "patch"])
def test_the_planted_circuit_of_indirect_objects_comes_out_exactly(ablate: str) -> None:
    planted = ji.toy.planted_ioi()
    graph = ji.circuits.graph(planted.model, split_embed=True)
    prompts = planted.prompts(8, key=jax.random.key(0))
    metric = ji.metrics.logit_diff(prompts.correct, prompts.wrong)
    found = ji.circuits.acdc(
        planted.model, prompts.clean, prompts.corrupt, metric, graph=graph, ablate=ablate, **QUIET
    )
    truth = planted.edges if ablate == "zero" else planted.patched_edges
    assert len(truth) == {"zero": 13, "patch": 9}[ablate]
    assert set(found.edges) == set(truth)
