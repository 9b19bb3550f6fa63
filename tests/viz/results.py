"""One instance of each class of results that has no picture in the tests of its package: small, with made-up numbers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji
from jaxinterp import tour
from jaxinterp.mesh._estimate import V5E

RNG = np.random.default_rng(0)
TWO = np.array([0.25, -0.5])
PAIR = np.array([[0.5, 0.25], [1.0, np.nan]])
NEURONS = np.array([[0, 3], [1, 7]])


def f32(*shape: int) -> jnp.ndarray:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def graph_model() -> Any:
    return ji.models.GPT2.init(
        ji.models.GPT2Config(vocab=7, ctx=8, d=4, layers=1, heads=2), key=jax.random.key(0)
    )


def graph() -> Any:
    return ji.circuits.graph(graph_model())


def of(cls: Any, **fields: Any) -> Any:
    """An instance whose other fields are two numbers each."""
    names = [field.name for field in dataclasses.fields(cls)]
    return cls(**{name: fields.get(name, TWO) for name in names})


def probe(cls: Any) -> Any:
    fixed = {
        "support": np.array([3, 5]),
        "weights": TWO,
        "converged": True,
        "loss": "logistic",
        "status": "optimal",
    }
    whole = ("iterations", "features", "nodes", "cuts", "screened")
    return cls(**{f.name: fixed.get(f.name, 3 if f.name in whole else 0.5) for f in dataclasses.fields(cls)})


def ablation() -> Any:
    n, p, s = ji.neurons, PAIR, np.array([4, 5])
    return n.Ablation(
        NEURONS, TWO, ("0.3", "1.7"), ("de", "fr"), np.ones(2), p, p, p - 0.1, p + 0.1, p, p, p, s, s, 0.95
    )


def metrics(cls: Any, **fields: Any) -> Any:
    return cls(**({f.name: 0.5 for f in dataclasses.fields(cls)} | fields))


def metrics_intervals() -> Any:
    return ji.stats.TableIntervals(
        **{f.name: (0.4, 0.6) for f in dataclasses.fields(ji.stats.TableIntervals)}
    )


def many_probes() -> Any:
    return ji.probes.Probes(
        np.array([[[1, 2]], [[3, -1]]]), np.ones((2, 1, 2)), np.zeros((2, 1)), np.ones((2, 1)), np.ones((2, 1), bool),
        np.ones((2, 1), int), "logistic", 1.0, 9,
    )  # fmt: skip


def examples() -> Any:
    values = np.array([[2.0, np.nan]])
    place = np.array([[0, -1]])
    none = np.full((1, 2, 1), -1)
    acts = np.array([[[0.0, 2.0, 0.5], [np.nan] * 3]])
    return ji.sae.Examples(
        np.array([4]), values, place, np.array([[1, -1]]), acts, np.full((1, 2, 1), np.nan), none, none,
        np.full((1, 2, 1, 3), np.nan), np.array([0.1]), np.array([2.0]), np.array([1.0]), np.array([[3, 1]]),
        np.array([0.5]), 9, np.array([[5, 6, 7, 8]]), np.ones((1, 4), bool), 1,
    )  # fmt: skip


def subset() -> Any:
    return probe(ji.probes.Subset)


c, g, h, lens, n, p, s = ji.circuits, ji.geometry, ji.heads, ji.lens, ji.neurons, ji.probes, ji.sae
HISTORY = {"loss": np.ones((2, 3)), "open": np.full((2, 3), 0.5)}


def paths() -> Any:
    edges = c.Edges(f32(1, 2, 1, 2), None, None, f32(1, 2, 1), f32(1, 2))
    return c.DirectPaths(edges, None, None, jnp.float32(0.5))


def circular() -> Any:
    shapes = ((2,), (4,), (4, 2), (2,), (4, 2), (2, 2), (4, 3))
    return g.CircularProbe(*(f32(*shape) for shape in shapes))


def summary() -> Any:
    ids = jnp.zeros((2, 3, 2), jnp.int32)
    return lens.Summary(ids, f32(2, 3, 2), f32(2, 3), f32(2, 3), None, None, (0, 1))


def plan() -> Any:
    from jax.sharding import PartitionSpec

    leaf = ji.mesh.LeafPlan("w", (2, 3), "float32", PartitionSpec(), "whole", "", 24, 24)
    return ji.mesh.MeshPlan("replicated", (("model", 2),), (leaf, leaf))


def nulls() -> Any:
    null = p.Null(0.5, RNG.random(20), 0.1)
    return p.Nulls(null, null)


def distribution() -> Any:
    edges, counts = np.array([[0.0, 1.0, 2.0]] * 2), np.ones((2, 2, 2))
    return n.Distribution(NEURONS, ("de", "fr"), edges, counts, np.array([4, 4]), *([PAIR.clip(0)] * 6))


def token_means() -> Any:
    return n.TokenMeans(NEURONS, np.array([[4, -1], [5, 6]]), PAIR, np.array([[9, 0], [8, 7]]), ("de",))


def variational() -> Any:
    three = np.ones(3)
    return p.VariationalCode(
        three, three, three, three, 9.0, three, (np.ones((3, 4, 2)),), np.ones((3, 4), bool), np.ones((3, 5))
    )


ROWS = [{"row": 1}]
MADE: dict[type, Callable[[], Any]] = {
    ji.chains.EntityPairs: lambda: ji.chains.EntityPairs(*np.zeros((4, 2), int)),
    c.Circuit: lambda: graph().full(),
    c.Completeness: lambda: c.Completeness(["random 1", "greedy 1"], ["0.1", "0.0"], TWO, TWO, TWO),
    c.DirectPaths: paths,
    type(paths().top(1)): lambda: paths().top(3),
    c.EdgeTable: lambda: c.Scores(f32(graph().size), graph()).top(3),
    c.FaithfulnessCurve: lambda: of(c.FaithfulnessCurve, share=np.array([0.5, 1.0]), cpr=0.5, cmd=0.1),
    c.Judgement: lambda: c.Judgement(3, 0.5, 0.5, 0.1, 0.2, 1.0, 2.0, 1.0, 0.05, TWO),
    c.LearnedMasks: lambda: c.LearnedMasks(
        graph().full(), np.ones((2, 3)), np.array([0.1, np.nan]), np.array([np.nan, 5.0]), np.arange(2), np.arange(2), HISTORY
    ),
    c.Minimality: lambda: c.Minimality(["0.1", "0.0"], TWO, ["", "0.0"]),
    c.NodeImportance: lambda: c.NodeImportance(PAIR, PAIR, PAIR[:, :1], PAIR[:, :1], TWO),
    c.Roc: lambda: c.Roc(TWO, TWO, 0.5),
    c.Scrubbed: lambda: c.Scrubbed(0.5, 0.4, 0.6, 0.9, 0.6, 0.0, TWO),
    ji.core.Listing: lambda: ji.sites(graph_model()),
    ji.corpus.Bigrams: lambda: ji.corpus.Bigrams(TWO, np.arange(3), np.arange(2), TWO, TWO, 5),
    ji.data.features.Places: lambda: ji.data.features.Places(
        ["Bonn", "Lyon"], TWO, TWO, np.array([True, False]), {"land": ["de", "fr"]}
    ),
    ji.fit.FitResult: lambda: ji.fit.FitResult(
        None, {"loss": np.ones(4), "score": np.ones(2), "evaluated": np.array([2, 4])}, None
    ),
    g.Analogies: lambda: g.Analogies(
        [("a", "b", "c", "d")] * 2, ["d", "e"], np.array([1, 4]), np.array([2, 9]), 0.5, 0.0
    ),
    g.CircleExplanation: lambda: g.CircleExplanation(0.1, 0.5, 0.6, TWO, circular()),
    g.CircleTest: lambda: g.CircleTest(0.9, RNG.random(30), 0.01),
    g.CircularProbe: circular,
    g.ErrorConsistency: lambda: g.ErrorConsistency(0.5, 0.4, 0.6, 0.8, 0.5),
    g.HumanSimilarity: lambda: g.HumanSimilarity(0.5, 0.4, 0.6, 12),
    g.Irreducibility: lambda: g.Irreducibility(TWO, TWO, 0.5, 0.1, TWO, None),
    g.MixedSelectivity: lambda: g.MixedSelectivity(f32(3, 2), f32(3, 2), f32(3, 2), jnp.array([0, 4])),
    g.Neighbours: lambda: g.Neighbours(["a", "b"], [["c"], ["d"]], np.ones((2, 1)) / 2),
    g.NoiseCeiling: lambda: g.NoiseCeiling(0.4, 0.6),
    g.Predictivity: lambda: g.Predictivity(jnp.float32(0.5), jnp.array([0.5, jnp.nan, 0.2]), f32(2)),
    g.SurprisalRegression: lambda: g.SurprisalRegression(0.5, 0.4, 0.6, 0.01, TWO, 0.3, 0.2),
    g.Tuning: lambda: g.Tuning(f32(3, 2), jnp.abs(f32(3, 2)), jnp.ones(3, jnp.int32), f32(2), jnp.zeros(2, jnp.int32)),
    g.WordPairs: lambda: g.WordPairs(["a", "b"], ["c", "d"], TWO),
    g.WordVectors: lambda: g.WordVectors(("a", "b"), f32(2, 3)),
    h.Composed: lambda: h.Composed((0, 1), (1, 0), 0.25),
    h.HeadScores: lambda: h.HeadScores({"induction": PAIR, "current": PAIR}),
    h.Summary: lambda: h.Summary(h.HeadScores({"induction": f32(2, 2), "current": f32(2, 2)}), 0.5),
    lens.Alignment: lambda: of(lens.Alignment),
    lens.Attribution: lambda: lens.Attribution(f32(3), ("L0H0", "L0H1", "bias")),
    lens.Chair: lambda: lens.Chair(0.5, 0.25, 0.75),
    lens.HeadTokens: lambda: lens.HeadTokens(
        jnp.zeros((2, 3, 4), jnp.int32), f32(2, 3, 4), jnp.zeros((2, 3, 4), jnp.int32), f32(2, 3, 4), f32(2, 3, 5)
    ),
    lens.Localised: lambda: lens.Localised(f32(2, 4)),
    lens.NextTokenScores: lambda: lens.NextTokenScores(TWO, TWO - 1, TWO + 1, TWO, TWO - 1, TWO + 1),
    lens.Summary: summary,
    ji.hub.Upload: lambda: ji.hub.Upload("owner/name", "", (("config.json", 12), ("model.safetensors", 99)), True),
    ji.mesh.Estimate: lambda: ji.mesh.Estimate("a run", *np.arange(8.0).tolist(), V5E),
    ji.mesh.MeshPlan: plan,
    n.Ablation: ablation,
    n.ContextCheck: lambda: n.ContextCheck((0, 3), "de", 0.9, distribution(), ablation(), token_means()),
    n.ContextNgrams: lambda: of(n.ContextNgrams, ids=np.zeros((2, 2), int), text=("a b", "c d"), count=np.arange(2)),
    n.Dissection: lambda: n.Dissection(
        NEURONS, TWO, ("0.3", "sum"), np.array([[[4, 5]], [[-1, -1]]]), np.ones((2, 1)), np.ones((2, 1), int), np.ones((2, 1)), [], 9, 3
    ),
    n.FactAblation: lambda: n.FactAblation((("a", "b"),), ("0.3",), np.array([-1.0]), np.array([[-2.0]])),
    n.Families: lambda: n.Families(PAIR, np.zeros((2, 2)), ("unigram", "space"), NEURONS),
    n.HeadDeactivation: lambda: n.HeadDeactivation(RNG.normal(size=(2, 3, 2, 2)), 0, 8),
    n.LayerTable: lambda: n.LayerTable(("0", "1"), TWO, TWO, TWO, TWO, np.zeros((2, 4)), np.ones((2, 4))),
    n.NeuronProperties: lambda: of(n.NeuronProperties, neurons=NEURONS),
    n.PathAblation: lambda: n.PathAblation(
        (0, 3), (1, 0), RNG.normal(size=9), RNG.random((2, 9)), RNG.random((2, 9))
    ),
    n.TokenFamilies: lambda: of(n.TokenFamilies),
    n.TokenMeans: token_means,
    n.WeightStatistics: lambda: n.WeightStatistics(*RNG.normal(size=(5, 2, 6)), "w_in", ""),
    ji.patching.Agreement: lambda: ji.patching.Agreement(0.9, 0.8, 0.7, 12, 10, 100),
    ji.patching.Statistics: lambda: ji.patching.Statistics(
        jnp.ones((2, 3)), jnp.zeros((2, 3)), jnp.full((2, 3), 2.0), jnp.full((2, 3), 0.001), 0.95
    ),
    p.Aligned: lambda: p.Aligned(RNG.normal(size=(2, 5, 1)), RNG.normal(size=(2, 5, 1)), None),
    p.BinaryMetrics: lambda: metrics(p.BinaryMetrics, intervals={"f1": (0.4, 0.6)}),
    p.ByK: lambda: p.ByK({1: probe(p.Probe), 2: probe(p.Probe)}),
    p.Codelength: lambda: p.Codelength(9.0, 12.0, 1.3, np.array([4, 8, 16]), np.array([4.0, 3.0, 2.0]), TWO, 0.5),
    p.HeldOut: lambda: p.HeldOut("Africa", 12, 9.0, 8.0, 0.2, 0.1),
    p.Nulls: nulls,
    p.PlaceMetrics: lambda: metrics(p.PlaceMetrics),
    p.PredictionMetrics: lambda: of(p.PredictionMetrics),
    p.Probe: lambda: probe(p.Probe),
    p.Probes: many_probes,
    p.Pruned: lambda: p.Pruned(subset(), probe(p.Probe), 0.9, TWO, 3, 0.5, np.arange(4)),
    p.RegressionMetrics: lambda: metrics(p.RegressionMetrics),
    p.Ridge: lambda: p.Ridge(TWO, np.zeros(()), 1.0, np.array([10.0, 1.0, 0.1]), np.array([0.4, 0.3, 0.5]), TWO, 2),
    p.Rotation: lambda: p.Rotation(np.array([1, 2]), TWO, RNG.random((5, 2))),
    p.Scaling: lambda: p.Scaling("tiny", 1000, "French", "f1", 0.9, (1, 2), (0.5, 0.75), (None, None), (None, None), (0, 1), 2),
    p.Selectivity: lambda: p.Selectivity(
        *[x for _ in range(2) for x in (TWO, RNG.random((2, 3)), TWO)], RNG.random((2, 4)), 0.5, 0.9
    ),
    p.Singles: lambda: p.Singles(*RNG.random((3, 2, 4)), np.ones((2, 4), bool), np.ones((2, 4), int), *RNG.random((6, 2, 4))),
    p.Subset: subset,
    p.System: lambda: p.System(np.array([[0.0, 2.0], [1.0, 0.0]]), 1.0, 0.9, 0.1, "optimal", 0.2, (subset(), subset())),
    p.VariationalCode: variational,
    s.AbsorbedClass: lambda: s.AbsorbedClass(0.1, 0.2, 0.9, np.array([3]), 12),
    s.AbsorbedRows: lambda: of(s.AbsorbedRows),
    s.Absorption: lambda: s.Absorption(0.1, 0.2, {"a": s.AbsorbedClass(0.1, 0.2, 0.9, np.array([3]), 12)}),
    s.Automata: lambda: s.Automata(np.array([[0, 1], [1, 0]]), TWO, TWO, np.array([4, 5])),
    s.BillsScores: lambda: s.BillsScores(0.5, 0.25, None),
    s.ConfoundRemoval: lambda: s.ConfoundRemoval({1: 0.1, 2: 0.2}, {1: 0.6, 2: 0.7}, 0.5, 0.9, np.arange(2)),
    s.Examples: examples,
    s.ExplanationScores: lambda: s.ExplanationScores(
        np.arange(2), ("a", "b"), np.ones(2, bool), {"correlation": np.array([[0.9, 0.1], [0.2, 0.8]])}
    ),
    s.Geometry: lambda: s.Geometry(TWO, np.arange(2), TWO, np.arange(2), None, None, TWO, TWO, PAIR),
    s.LogitWeights: lambda: s.LogitWeights(f32(3, 4), f32(4, 12)),
    s.NearestNeurons: lambda: s.NearestNeurons(np.arange(2), "mlp_post", np.zeros((2, 2), int), PAIR, np.zeros((2, 2), int), PAIR),
    s.Ravel: lambda: s.Ravel({"land": 0.5}, {"land": 0.6}, {"land": np.array([True, False])}, 0.55),
    s.SimulationScores: lambda: s.SimulationScores(0.5, 0.6),
    s.SparseProbing: lambda: s.SparseProbing(
        {1: 0.5, 2: 0.6}, {1: TWO, 2: TWO}, {1: np.zeros((2, 1), int), 2: np.zeros((2, 2), int)}, ["a", "b"]
    ),
    s.Specificity: lambda: s.Specificity(np.arange(3.0), np.array([4, 5]), TWO, 0.5, 0.5, 0.5, np.arange(3.0), TWO, 0.1),
    s.Splitting: lambda: s.Splitting(np.array([[0, 1], [1, 0]]), TWO, (2, 2), 9),
    s.TargetedPerturbation: lambda: s.TargetedPerturbation(
        {1: 0.1, 2: 0.2}, {1: 0.3, 2: 0.3}, {1: 0.2, 2: 0.1}, {1: PAIR, 2: PAIR}, TWO, [np.arange(2)]
    ),
    s.Universality: lambda: s.Universality(TWO, np.arange(2), None, None, 9, TWO),
    ji.stats.MeanInterval: lambda: ji.stats.MeanInterval(np.float64(0.5), np.float64(0.4), np.float64(0.6), 0.95),
    ji.stats.Regression: lambda: ji.stats.Regression(TWO, 0.0, 1.0, 0.9, 0.1, True, 3),
    ji.stats.TableIntervals: lambda: metrics_intervals(),
    ji.steering.Judged: lambda: ji.steering.Judged(("as it is",), ("refuses",), np.ones((1, 1, 4)), (("no",) * 4,), 0.95),
    ji.steering.SideEffects: lambda: of(ji.steering.SideEffects),
    ji.testing.Report: lambda: ji.testing.Report({"pre + attn = mid": 1e-7}),
    tour.Table: lambda: tour.Table(["a", "b"], [[1, 2.5], ["x", 0.5]]),
    ji.weights.Components: lambda: ji.weights.Components(f32(2, 3, 4), ("embed", "mlp_out[0]")),
}  # fmt: skip
