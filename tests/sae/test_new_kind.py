"""A kind that stands in one file, outside the package: it trains, sweeps, is saved, loaded, evaluated and browsed."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji

KEY = jax.random.key(0)
D, M = 8, 24
X = np.random.default_rng(0).normal(size=(400, D)).astype(np.float32)


class ShiftedDictionary(ji.sae.Dictionary):
    r"""$f = \mathrm{ReLU}(\pi - s)$ with a `shift (features,)`."""

    shift: jax.Array

    def activate(self, pre: jax.Array) -> jax.Array:
        return jax.nn.relu(pre - self.shift[(None,) * (pre.ndim - 1)])


class Shifted(ji.sae.Kind):
    r"""$\lVert x - \hat x \rVert^2 + \lambda \sum_i f_i$, a ReLU that is shifted."""

    sparsity: jax.Array
    first: float = eqx.field(static=True)

    def __init__(self, *, d: int, features: int, sparsity: float = 0.1, first: float = 0.1) -> None:
        super().__init__(d, features)
        self.sparsity, self.first = jnp.asarray(sparsity, jnp.float32), first

    def shapes(self) -> Any:
        return {**super().shapes(), "shift": (self.features,)}

    def dictionary(self, **arrays: Any) -> ShiftedDictionary:
        return ShiftedDictionary(kind=self, **arrays)

    def init(self, key: Any, x: Any = None, y: Any = None) -> ShiftedDictionary:
        rows = jax.random.normal(key, (self.features, self.d)) / self.d**0.5
        return self.dictionary(
            encoder=rows.T,
            encoder_bias=jnp.zeros(self.features),
            decoder=rows,
            bias=jnp.zeros(self.d) if x is None else jnp.mean(x, 0),
            scale=jnp.ones(()),
            shift=jnp.full(self.features, self.first),
        )

    def loss(self, dictionary: Any, x: Any, y: Any, now: ji.sae.Progress) -> ji.sae.Losses:
        f = dictionary.activate(dictionary.pre(x))
        terms = {
            "reconstruction": jnp.mean(self.squares(y * dictionary.scale - dictionary.reconstruct(f))),
            "sparsity": now.warm * self.sparsity * jnp.mean(jnp.sum(f, -1)),
        }
        return ji.sae.Losses.of(terms, f)

    def optimizer(self, steps: int) -> Any:
        return optax.adam(1e-2)


@pytest.fixture(scope="module")
def trained() -> Any:
    return ji.sae.train(Shifted(d=D, features=M), X, key=KEY, steps=60, batch_size=64)


def test_it_trains_and_is_a_member_of_a_sweep(trained: Any) -> None:
    sae, history = trained
    assert history["reconstruction"][-1] < 0.7 * history["reconstruction"][0]
    assert (float(sae.sparsity), sae.d, sae.features, sae.kind_name) == (np.float32(0.1), D, M, "Shifted")
    assert float(jnp.abs(sae.shift - 0.1).max()) > 0.01 and float(sae.kind.sparsity) == np.float32(0.1)
    on, _ = ji.sae.train(sae, X, key=KEY, steps=1, batch_size=64)
    assert float(jnp.abs(on.decoder - sae.decoder).max()) < 0.1
    kinds = [Shifted(d=D, features=M, sparsity=s) for s in (0.1, 1.0)]
    (one, _), (other, _) = ji.sae.sweep(kinds, X, key=KEY, steps=60, batch_size=64)
    np.testing.assert_allclose(one.decoder, sae.decoder, atol=1e-5)
    assert float((other.encode(X) > 0).mean()) < float((one.encode(X) > 0).mean())


def test_it_is_saved_and_loaded_by_name(trained: Any, tmp_path: Path) -> None:
    sae, _ = trained
    ji.sae.save(tmp_path / "own", sae)
    assert eqx.tree_equal(sae, ji.sae.load(tmp_path / "own", kinds=[Shifted]))
    with pytest.raises(ValueError, match=r"of the kind 'Shifted'; known are Vanilla.*kinds=\[\.\.\.\]"):
        ji.sae.load(tmp_path / "own")
    metric = ji.sae.with_metric(sae, np.eye(D))
    again = ji.sae.load(ji.sae.save(tmp_path / "metric", metric), kinds=[Shifted])
    np.testing.assert_array_equal(again.metric, np.eye(D))
    with pytest.raises(ValueError, match=r"layout holds.*got Shifted"):
        ji.sae.save_saelens(tmp_path / "theirs", sae)


def test_it_is_made_of_arrays(trained: Any) -> None:
    sae, _ = trained
    arrays = {name: np.asarray(getattr(sae, name)) for name in sae.kind.shapes()}
    assert eqx.tree_equal(ji.sae.from_arrays(sae.kind, **arrays), sae)
    with pytest.raises(ValueError, match="shift is lacking"):
        ji.sae.from_arrays(sae.kind, **{n: a for n, a in arrays.items() if n != "shift"})
    with pytest.raises(ValueError, match="no weights yet"):
        sae.kind.encode(X)


@pytest.mark.slow
def test_it_is_evaluated_and_browsed(trained: Any, tmp_path: Path) -> None:
    sae, _ = trained
    config = ji.models.GPT2Config(vocab=40, ctx=12, layers=1, d=D, heads=2)
    model = ji.models.GPT2.init(config, key=KEY)
    tokens = np.random.default_rng(1).integers(0, 40, (6, 12), dtype=np.int32)
    numbers = ji.sae.evaluate(sae, model, tokens, site="resid_post[0]", progress=False)
    assert numbers["l0"] > 0 and numbers["density"].shape == (M,)
    _, acts = ji.run(
        model, tokens, edits=[ji.splice("resid_post", sae, layer=0)], capture=["resid_post.sae.feature"]
    )
    assert acts["resid_post.sae.feature"].shape[-1] == M

    class Words:
        def tokens(self, ids: Any) -> list[str]:
            return [f"t{i}" for i in np.asarray(ids)]

    folder = ji.sae.browse(
        tmp_path / "page", sae, model, Words(), tokens, site="resid_post[0]", progress=False
    )
    assert "Shifted" in (folder / "index.html").read_text()


class Silent(Shifted):
    def loss(self, dictionary: Any, x: Any, y: Any, now: Any) -> Any:
        return jnp.mean(x)


class Wide(Shifted):
    def loss(self, dictionary: Any, x: Any, y: Any, now: Any) -> Any:
        return ji.sae.Losses.of({"rows": jnp.mean(x, -1)}, dictionary.activate(dictionary.pre(x)))


class Empty(Shifted):
    def init(self, key: Any, x: Any = None, y: Any = None) -> Any:
        return None


class Lacking(Shifted):
    def shapes(self) -> Any:
        return {**super().shapes(), "height": (3,)}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Silent, r"returns ji\.sae\.Losses\.of\("),
        (Wide, r"'rows' has the shape \(64,\).*jnp\.mean\(value\)"),
        (Empty, r"Empty\.init returns a dictionary, self\.dictionary\(\.\.\.\); got None"),
        (Lacking, r"Lacking\.shapes\(\) has 'height' of the shape \(3,\).*no such array"),
    ],
)
def test_a_kind_that_is_written_wrong_is_refused(kind: Any, words: str) -> None:
    for train in (ji.sae.train, lambda *args, **options: ji.sae.sweep([args[0]], *args[1:], **options)):
        with pytest.raises(ValueError, match=words):
            train(kind(d=D, features=M), X, key=KEY, steps=1, batch_size=64)


@pytest.mark.parametrize("kinds", [Shifted, ["Shifted"], [ShiftedDictionary], [Shifted(d=D, features=M)]])
def test_kinds_are_a_list_of_classes(kinds: Any) -> None:
    with pytest.raises(ValueError, match=r"classes that inherit from ji\.sae\.Kind, kinds=\[MyKind\]"):
        ji.sae.load("nowhere", kinds=kinds)


def test_a_kind_is_no_dictionary_and_a_dictionary_stands_first(trained: Any) -> None:
    sae, _ = trained
    tokens = np.zeros((1, 4), np.int32)
    with pytest.raises(ValueError, match=r"is a kind, which has no weights.*kind\.init\(key\)"):
        ji.sae.evaluate(sae.kind, None, tokens, site="resid_post[0]")
    with pytest.raises(ValueError, match="stands before the model; got an int"):
        ji.sae.examples(3, None, tokens, site="resid_post[0]")
