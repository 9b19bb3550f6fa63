r"""Does a circuit hold all that matters, and only that: completeness and minimality."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from .. import viz
from .._arguments import as_int, as_list, check_choice
from .._random import host_generator
from .._waiting import waiting
from ..stats._results import Result
from ..typing import (
    ArrayLike,
    BytesLike,
    IntLike,
    KeyLike,
    MaskLike,
    MetricLike,
    ModelLike,
    StrLike,
    TokensLike,
)
from ._circuit import Circuit
from ._judge import Judge, sent_by

BY = ("edge", "node")


@dataclasses.dataclass(frozen=True, eq=False)
class Completeness(Result):
    r"""The result of `completeness`: a row for each set K of nodes, the worst first.

    - `name`: `"random 3"`, the name of a class, or `"greedy 2"`, the worst two nodes found step by step.
    - `nodes`: the nodes of K, joined by spaces.
    - `circuit`, `model`: the metric of the circuit and of the whole model, both without K.
    - `score`: how far the two are apart, divided by the clean metric minus the corrupt metric.

    ```python
    found = ji.circuits.completeness(model, circuit, clean, corrupt, metric, key=jax.random.key(0), subsets=2, greedy=0)
    found.nodes[0], found.score[0]                       # the set without which circuit and model differ most
    found.figure()
    ```
    """

    name: list[str]
    nodes: list[str]
    circuit: np.ndarray
    model: np.ndarray
    score: np.ndarray

    def figure(self, *, title: str = "A circuit and its model without parts") -> viz.Figure:
        """The metric of the circuit over that of the model, a point for each set: on the diagonal if complete."""
        points = {"set": (self.model, self.circuit)}
        return viz.scatter(points, title=title, x_axis="metric of the model", y_axis="of the circuit")


@dataclasses.dataclass(frozen=True, eq=False)
class Minimality(Result):
    r"""The result of `minimality`: a row for each part v of a circuit, those that matter least first.

    - `part`: an edge or a node.
    - `score`: $|m(C \setminus (K + v)) - m(C \setminus K)|$ divided by the clean metric minus the corrupt metric,
      for the set K that makes it largest.
    - `beside`: the name of the class that this K is, or nothing.

    ```python
    found = ji.circuits.minimality(model, circuit, clean, corrupt, metric, by="edge")
    found.part[0], found.score[0]                        # the part that matters least
    found.records()[:3]
    ```
    """

    part: list[str]
    score: np.ndarray
    beside: list[str]


@waiting("ji.circuits.completeness: compiling and running")
def completeness(
    model: ModelLike,
    circuit: Circuit | ArrayLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    key: KeyLike,
    subsets: IntLike = 10,
    greedy: IntLike = 3,
    classes: Mapping[str, Sequence[str]] | None = None,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    max_bytes: BytesLike = "auto",
) -> Completeness:
    r"""$|m(C \setminus K) - m(M \setminus K)|$ for sets K of the circuit's nodes: small where C holds all that matters.

    Wang et al. 2022, section 4 (https://arxiv.org/abs/2211.00593). A circuit without a backup part can be
    faithful, but it is not complete: without the main part the model still works, and the circuit does not.

    **Arguments:**

    - `model`, `circuit`, `clean`, `corrupt`, `metric`, `ablate`, `mask`, `max_bytes`: as in
      `ji.circuits.evaluate`, for one circuit.
    - `key`, `subsets`: the number of random K. Each node is in K with probability one half.
    - `greedy`: the size up to which the worst K is grown, node by node.
    - `classes`: sets of nodes by name, such as `{"movers": ["9.9", "9.6"]}`; each set is one K.

    **Returns:** a `Completeness`.

    ```python
    ji.circuits.completeness(model, circuit, clean, corrupt, metric, key=jax.random.key(0)).records()[0]
    ```

    Law: the full circuit has score 0 for every K.
    """
    judge = Judge(model, circuit, clean, corrupt, metric, ablate, mask, max_bytes)
    full = np.ones(judge.graph.size, bool)
    nodes = [name for name in Circuit(jnp.asarray(judge.kept), judge.graph).nodes if name != "logits"]
    rng = host_generator(key)
    sets: dict[str, list[str]] = {
        f"random {i + 1}": [name for name in nodes if rng.random() < 0.5]
        for i in range(as_int(subsets, "subsets", 0))
    }
    sets |= {
        name: as_list(members, "A class", "['0.1', 'mlp2']") for name, members in (classes or {}).items()
    }
    found: dict[str, np.ndarray] = {}

    def measure(named: Mapping[str, list[str]]) -> None:
        both = [judge.without(mask, members) for members in named.values() for mask in (judge.kept, full)]
        if both:
            found.update(zip(named, judge(np.stack(both)).reshape(-1, 2), strict=True))

    measure(sets)
    worst: list[str] = []
    for step in range(min(as_int(greedy, "greedy", 0), len(nodes))):
        tried = {f"greedy {step + 1} {name}": [*worst, name] for name in nodes if name not in worst}
        measure(tried)
        best = max(tried, key=lambda name: abs(found[name][0] - found[name][1]))
        worst = tried[best]
        sets[f"greedy {step + 1}"] = worst
        found[f"greedy {step + 1}"] = found[best]
    names = sorted(sets, key=lambda name: -abs(found[name][0] - found[name][1]))
    pairs = np.asarray([found[name] for name in names]).reshape(-1, 2)
    score = np.abs(pairs[:, 0] - pairs[:, 1]) / abs(judge.gap)
    return Completeness(names, [" ".join(sets[name]) for name in names], pairs[:, 0], pairs[:, 1], score)


@waiting("ji.circuits.minimality: compiling and running")
def minimality(
    model: ModelLike,
    circuit: Circuit | ArrayLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    by: StrLike = "node",
    classes: Mapping[str, Sequence[str]] | None = None,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    max_bytes: BytesLike = "auto",
) -> Minimality:
    r"""$\max_K |m(C \setminus (K + v)) - m(C \setminus K)|$ for each part v of a circuit: small where v is not needed.

    Wang et al. 2022, section 4 (https://arxiv.org/abs/2211.00593), require a score of at least 1% of the metric.

    **Arguments:**

    - `model`, `circuit`, `clean`, `corrupt`, `metric`, `ablate`, `mask`, `max_bytes`: as in
      `ji.circuits.evaluate`, for one circuit.
    - `by`: `"node"` (the default) cuts all edges of a sender, `"edge"` one edge.
    - `classes`: sets of nodes by name. Besides the empty K, each class without v is tried as K, because the
      effect of a backup part shows only when the main part is cut.

    **Returns:** a `Minimality`.

    ```python
    ji.circuits.minimality(model, circuit, clean, corrupt, metric, by="edge").records()[:3]
    ```

    Law: an edge that carries the same on both prompts has score 0.
    """
    check_choice(by, "by", BY)
    judge = Judge(model, circuit, clean, corrupt, metric, ablate, mask, max_bytes)
    whole = Circuit(jnp.asarray(judge.kept), judge.graph)
    beside = {"": judge.kept}
    beside |= {name: judge.without(judge.kept, members) for name, members in (classes or {}).items()}
    if by == "edge":
        parts = list(whole.edges)
        places = np.flatnonzero(judge.kept).tolist()
        cuts = [np.arange(judge.graph.size) == place for place in places]
    else:
        parts = [name for name in whole.nodes if name != "logits"]
        cuts = [sent_by(judge.graph, [name]) for name in parts]
    scores = np.zeros((len(beside), len(parts)))
    for row, kept in enumerate(beside.values()):
        # Where K holds the part itself, K stands for the others of its class.
        with_part = [kept | (cut & judge.kept) for cut in cuts]
        masks = [*with_part, *(kept & ~cut for cut in cuts)]
        if parts:
            value = judge(np.stack(masks))
            scores[row] = np.abs(value[len(parts) :] - value[: len(parts)]) / abs(judge.gap)
    best = scores.argmax(0)
    most = scores.max(0)
    order = np.argsort(most, kind="stable")
    names = list(beside)
    return Minimality([parts[i] for i in order], most[order], [names[best[i]] for i in order])
