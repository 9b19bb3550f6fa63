r"""Distributed alignment search: $\min_Q \mathbb E\big[-\log p(\text{answer} \mid x \leftarrow x + Q^\top Q (s - x))\big]$."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, check_key
from ..core._blocks import layer_count
from ..core._intervene import config_of
from ..core._sites import axes_of, is_per_layer, parse
from ..stats._share_interval import share_interval
from ..typing import IndexLike, InterchangesLike, IntLike, KeyLike, LayersLike, ModelLike, StrLike
from ..weights import reinitialised
from ._das_program import (
    CellPlaces,
    Insertion,
    PairArrays,
    Params,
    answers,
    fit_cells,
    pair_arrays,
    source_values,
    swaps_of,
)
from ._das_result import Subspaces
from ._das_setup import (
    SubspaceSettings,
    check_pairs,
    chosen_heads,
    chosen_layers,
    chosen_places,
    schedule_of,
    split_pairs,
)


def das(
    key: KeyLike,
    model: ModelLike,
    pairs: InterchangesLike,
    *,
    site: StrLike = "resid_post",
    layer: LayersLike | None = None,
    dim: IntLike = 1,
    positions: IndexLike | Sequence[Any] | StrLike = -1,
    head: LayersLike | None = None,
    test: InterchangesLike | Mapping[str, InterchangesLike] | None = None,
    settings: SubspaceSettings | None = None,
) -> Subspaces:
    r"""$\min_Q \mathbb E\big[-\log p(\text{answer} \mid x \leftarrow x + Q^\top Q (s - x))\big]$: the subspace that carries a variable.

    Distributed alignment search, Geiger et al. 2023 (https://arxiv.org/abs/2303.02536). A subspace of each layer and
    position gets the coordinates of another prompt, and is trained until the model answers as if the variable had the
    other prompt's value. The rows of $Q$ are orthonormal at every step: they are columns of a product of reflections.

    **Arguments:**

    - `key`: a `jax.random.key`, which draws first subspaces, batches, the split, and the controls.
    - `model`: as in `ji.run`.
    - `pairs`: `ji.steering.Interchanges`, or `ji.tasks.Pairs`, whose two prompts swap their answers.
    - `site`: a site with one axis of features, such as "resid_post", "mlp_out", "mlp_post", or with heads, such as "z".
    - `layer`: one layer, several, or None (the default) for all.
    - `dim`: the dimension of the subspaces; 1 by default.
    - `positions`: numbers of real tokens (-1, the default, is the last), or names of the pairs' positions.
    - `head`: one head, several, or None (the default) for all, at a site with heads. Each head has its own subspace.
    - `test`: test pairs, or a dict from names to pairs (other templates, other tasks). None (the default) holds some of
      `pairs` out.
    - `settings`: `ji.steering.SubspaceSettings`.

    All layers, positions and heads are one program under `vmap`. It is run three times: on the answers, on random
    answers, and on a model with random weights.

    **Returns:** `Subspaces`: bases, accuracies with intervals, and the controls beside them.

    **Raises:** ValueError for another kind of pairs, a site with other axes, too many dimensions, too few pairs.
    IndexError for tokens that the model lacks.

    ```python
    planted = ji.toy.planted_subspace(key=jax.random.key(0))
    pairs = ji.steering.Interchanges(planted.base, planted.source, planted.answer)
    settings = ji.steering.SubspaceSettings(steps=100)
    found = ji.steering.das(jax.random.key(1), planted.model, pairs, layer=0, dim=2, settings=settings)
    found.accuracy, found.random_subspace, found.random_model
    ```

    Laws: with dim = d it is the patch of the whole site; each cell is the same when it is trained alone; padding changes
    nothing.
    """
    where = dict(site=site, layer=layer, positions=positions, head=head)
    return _search(key, model, pairs, dim, False, test=test, settings=settings, **where)


def boundless_das(
    key: KeyLike,
    model: ModelLike,
    pairs: InterchangesLike,
    *,
    site: StrLike = "resid_post",
    layer: LayersLike | None = None,
    most: IntLike = 16,
    positions: IndexLike | Sequence[Any] | StrLike = -1,
    head: LayersLike | None = None,
    test: InterchangesLike | Mapping[str, InterchangesLike] | None = None,
    settings: SubspaceSettings | None = None,
) -> Subspaces:
    r"""$x \mapsto x + Q^\top \mathrm{diag}\,\sigma\big((b - i)/T\big)\, Q (s - x)$: DAS that learns its dimension.

    Boundless DAS, Wu et al. 2023 (https://arxiv.org/abs/2305.08809). The boundary $b$ is trained with the directions,
    at a falling temperature $T$. The loss has a penalty for each direction within the boundary. After training each
    direction is either within the boundary or not.

    **Arguments:** those of `das`, without `dim`; `most` is the largest dimension, at most d (16 by default).

    **Returns:** `Subspaces`, whose `widths` are the learned dimensions.

    ```python
    planted = ji.toy.planted_subspace(key=jax.random.key(0))
    pairs = ji.steering.Interchanges(planted.base, planted.source, planted.answer)
    settings = ji.steering.SubspaceSettings(steps=100)
    found = ji.steering.boundless_das(jax.random.key(1), planted.model, pairs, layer=0, most=4, settings=settings)
    found.widths
    ```

    Law: with hard boundaries the intervention is that of `das` on the rows within.
    """
    where = dict(site=site, layer=layer, positions=positions, head=head)
    return _search(key, model, pairs, most, True, test=test, settings=settings, **where)


def _search(
    key: KeyLike, model: ModelLike, pairs: InterchangesLike, dim: IntLike, boundless: bool, **options: Any
) -> Subspaces:
    site, layer, positions, head, test, settings = (
        options[name] for name in ("site", "layer", "positions", "head", "test", "settings")
    )
    check_key(key, "ji.steering.das({}, model, pairs, ...)")
    settings = SubspaceSettings() if settings is None else settings
    if not isinstance(settings, SubspaceSettings):
        raise ValueError(f"settings is a ji.steering.SubspaceSettings; got {type(settings).__name__}.")
    base, written = parse(site)
    axes = axes_of(base)
    if not is_per_layer(base) or axes[0] != "pos" or len(axes) > 3 or written is not None:
        raise ValueError(
            f"site is one of each layer with the axes (pos, features) or (pos, head, features), and its layer stands "
            f'in layer=, as site="resid_post", layer=1; got {site!r}.'
        )
    split, init, order, chance, blank = jax.random.split(key, 5)
    train, tests = split_pairs(split, pairs, test, settings.held_out)
    for swaps in (train, *tests.values()):
        check_pairs(swaps, config_of(model))
    layers, places = chosen_layers(layer, layer_count(model), base), chosen_places(positions)
    trained = pair_arrays(train, places)
    tested = {name: pair_arrays(swaps, places) for name, swaps in tests.items()}
    values = source_values(model, trained, base)
    heads = chosen_heads(head, values.shape[-2] if len(axes) == 3 else None, base)
    name = "most" if boundless else "dim"
    k = as_int(dim, name, 1)
    d = values.shape[-1]
    if k > d:
        raise ValueError(
            f"A subspace of {base} has at most {d} dimensions; got {name}={k}. Write {name}={d} or less."
        )
    grid = np.meshgrid(layers, range(len(places)), heads or [0], indexing="ij")
    layer_of, place_of, head_of = (jnp.asarray(axis.ravel(), jnp.int32) for axis in grid)
    cells = CellPlaces(layer_of, place_of, None if heads is None else head_of)
    count = len(layer_of)
    many = count if settings.cells_at_once is None else min(settings.cells_at_once, count)
    start = Params(
        jax.random.normal(init, (count, k, d), jnp.float32), jnp.full(count, 0.5) if boundless else None
    )
    schedule = schedule_of(order, len(train), settings)
    how: dict[str, Any] = dict(site=base, many=many)

    def fitted(model: Any, prompts: PairArrays, values: Any) -> tuple[Insertion, np.ndarray]:
        rate, penalty = jnp.float32(settings.learning_rate), jnp.float32(settings.penalty)
        params, loss = fit_cells(model, prompts, values, cells, start, schedule, rate, penalty, **how)
        return swaps_of(params), np.asarray(loss)

    drawn = jax.random.randint(chance, trained.labels.shape, 0, trained.choices.shape[-1], jnp.int32)
    chanced = reinitialised(model, key=blank)
    found, loss = fitted(model, trained, values)
    if not np.isfinite(loss).all():
        raise ValueError(
            f"The loss of DAS is not finite at step {int(np.isfinite(loss).all(0).argmin())}: an accuracy would say nothing. "
            "Lower learning_rate, or look for NaN in the model: ji.run(model, pairs.base)[0]."
        )
    by_chance, _ = fitted(model, trained._replace(labels=drawn), values)
    of_chanced, _ = fitted(chanced, trained, source_values(chanced, trained, base))
    random = Insertion(swaps_of(start).basis, found.weights, found.whole)
    kinds = {"accuracy": found, "random_subspace": random, "random_labels": by_chance}
    kinds |= {"whole": found._replace(whole=jnp.ones_like(found.whole))}
    kinds |= {"none": found._replace(weights=jnp.zeros_like(found.weights))}
    hits: dict[str, list[np.ndarray]] = {name: [] for name in (*kinds, "random_model")}
    for prompts in tested.values():
        its = source_values(model, prompts, base)
        for name, swap in kinds.items():
            hits[name].append(np.asarray(answers(model, prompts, its, cells, swap, **how)))
        its = source_values(chanced, prompts, base)
        hits["random_model"].append(np.asarray(answers(chanced, prompts, its, cells, of_chanced, **how)))
    shares = {name: np.stack([one.mean(-1) for one in each], -1) for name, each in hits.items()}
    ends = [share_interval(one.sum(-1), one.shape[-1], level=settings.level) for one in hits["accuracy"]]
    return Subspaces(
        site=base,
        layers=np.asarray(cells.layer),
        positions=tuple(places[i] for i in np.asarray(cells.place)),
        heads=None if heads is None else np.asarray(head_of),
        bases=np.asarray(found.basis),
        widths=np.asarray(found.weights).astype(bool).sum(-1),
        tests=tuple(tests),
        counts=np.asarray([len(swaps) for swaps in tests.values()]),
        trained_on=len(train),
        low=np.stack([low for low, _ in ends], -1),
        high=np.stack([high for _, high in ends], -1),
        loss=loss,
        **{**shares, "none": shares["none"][0]},
    )
