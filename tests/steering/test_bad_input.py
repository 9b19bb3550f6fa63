"""What steering refuses: what is not finite, what a model lacks, and shapes that would broadcast to something else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp import steering
from tests.models import model_of

TOKENS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 12, 0]])
ESTIMATORS = (
    steering.difference_in_means,
    steering.mass_mean,
    steering.logistic,
    steering.principal_difference,
)
QUIET = ji.fit.Settings(progress=False)


def rows(seed=0, n=12, d=4):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_estimators_name_the_activation_that_is_not_finite(estimate):
    """A decomposition of infinite numbers never returned, and NaN came back as a direction."""
    for wrong in (np.nan, np.inf):
        bad = rows()
        bad[3, 1] = wrong
        for given, name in (((bad, rows(1)), "harmful"), ((rows(1), bad), "harmless")):
            with pytest.raises(ValueError, match=rf"{name}\[3, 1\] is {wrong}"):
                estimate(*given)


def test_no_difference_is_no_direction():
    """As the difference in means, the first axis of differences that are all zero is zero."""
    several = np.stack([rows(), rows()], 1)
    other = np.stack([rows(), rows(1)], 1)
    found = np.asarray(steering.principal_difference(several, other))
    assert not found[0].any() and np.isclose(np.linalg.norm(found[1]), 1)
    for estimate in ESTIMATORS:
        assert not np.asarray(estimate(rows(), rows())).any()


def test_numbers_of_edits():
    model = model_of("gpt2")
    direction = rows(n=model.config.d, d=1)[:, 0]
    nan = np.full(len(direction), np.nan)
    at = dict(layer=0)
    add = ji.add("resid_pre", direction, layer=0)
    basis = np.eye(len(direction))[:1]
    swap = lambda *more: steering.interchange("resid_post", *more, layer=0)
    for words, wrong in (
        ("finite numbers", lambda: steering.ablate(nan)),
        ("not NaN", lambda: steering.clamp("resid_post", direction, np.nan, **at)),
        ("strength is finite", lambda: steering.affine("resid_post", direction, strength=np.nan, **at)),
        ("origin is finite", lambda: steering.affine("resid_post", direction, origin=nan, **at)),
        # A matrix was summed over its rows.
        (
            "origin is one point",
            lambda: steering.affine("resid_post", direction, origin=np.ones((2, len(nan)))),
        ),
        ("bias is one number", lambda: steering.when(add, direction, np.nan)),
        ("bias is one number", lambda: steering.when(add, direction, np.ones(3))),
        ("weights has one number", lambda: swap(direction, basis, [np.nan])),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
    for words, edit in (
        ("the direction has 3 numbers", steering.clamp("resid_post", np.ones(3), 1.0, **at)),
        ("the direction has 3 numbers", steering.affine("resid_post", np.ones(3), **at)),
        ("strength is one number", steering.affine("resid_post", direction, strength=np.ones(3), **at)),
        ("low is one number", steering.clamp("resid_post", direction, np.ones(4), **at)),
        ("interchange: the site has", swap(np.ones(3), basis)),
        ("interchange: the site has", swap(direction, np.eye(3)[:1])),
    ):
        with pytest.raises(ValueError, match=words):
            ji.run(model, TOKENS, edits=[edit])


def test_ends_for_each_prompt():
    """Numbers of a clamp broadcast to the coordinates, one for each prompt here."""
    model = model_of("gpt2")
    direction = rows(n=model.config.d, d=1)[:, 0]
    edit = steering.clamp("resid_post", direction, np.array([1.0, -2.0])[:, None, None], layer=0)
    _, acts = ji.run(model, TOKENS, edits=[edit], capture=["resid_post[0]"])
    found = np.asarray(acts["resid_post[0]"]) @ (direction / np.linalg.norm(direction))
    np.testing.assert_allclose(found, np.array([[1.0], [-2.0]]) * np.ones((1, 5)), atol=1e-5)


def test_what_the_model_lacks():
    """A compiled program reads some number at an index that is not there; so ids are checked before it."""
    model = model_of("gpt2")
    direction, score = np.ones(model.config.d), ji.metrics.log_odds(3)
    far = np.where(np.arange(10).reshape(2, 5) == 9, model.config.vocab, TOKENS)
    sweep = lambda tokens, metric=score, factors=(1.0,), layer=0, **more: steering.strengths(
        model, direction, tokens, metric, factors, layer=layer, **more
    )
    learn = lambda tokens, metric=score, layer=0: steering.learn(
        model, tokens, metric, optax.sgd(1.0), layer=layer, steps=1, settings=QUIET
    )
    for function in (sweep, learn, lambda tokens: steering.side_effects(model, [], tokens)):
        with pytest.raises(IndexError, match="Token ids lie in"):
            function(far)
    with pytest.raises(IndexError, match="Token ids lie in"):
        sweep(TOKENS, texts=far)
    for function in (sweep, learn):
        with pytest.raises(IndexError, match="token ids lie in"):
            function(TOKENS, ji.metrics.log_odds(model.config.vocab))
        with pytest.raises(IndexError, match="range"):
            function(TOKENS, ji.metrics.log_odds(3, pos=7))
        with pytest.raises(ValueError, match="layer is an int"):
            function(TOKENS, layer=0.5)
    with pytest.raises(ValueError, match="factors are numbers"):
        sweep(TOKENS, factors=[1.0, np.nan])
    with pytest.raises(ValueError, match="A text needs two tokens"):
        sweep(TOKENS, texts=TOKENS[:, :1])
    with pytest.raises(ValueError, match="not embeddings"):
        steering.side_effects(model, [], jnp.ones((2, 5, model.config.d)))


def test_sites_of_a_scan():
    model = model_of("gpt2")
    for site in ("z", "mlp_post"):
        with pytest.raises(ValueError, match=r"cosines read a site \(pos, d\)"):
            steering.cosines(model, TOKENS, np.ones(model.config.d), site=site)
    with pytest.raises(ValueError, match="A scan reads a site"):
        steering.scan(model, TOKENS, TOKENS, site="z")
    with pytest.raises(ValueError, match="estimate gave"):
        steering.scan(model, TOKENS, TOKENS, lambda harmful, harmless: harmful)


def test_pairs_of_das():
    planted = ji.toy.planted_subspace(key=jax.random.key(0), n=8)
    swaps = lambda **more: steering.Interchanges(
        **{"base": planted.base, "source": planted.source, "answer": planted.answer} | more
    )
    far = planted.model.config.vocab
    for pairs in (
        swaps(source=planted.source + far),
        swaps(choices=np.append(np.unique(planted.answer), far)),
    ):
        with pytest.raises(IndexError, match=r"lie in|Answers and choices are tokens"):
            steering.das(jax.random.key(0), planted.model, pairs, layer=0)
    for wrong in ({"learning_rate": np.nan}, {"learning_rate": -1}, {"penalty": np.nan}, {"level": 95}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            steering.SubspaceSettings(**wrong)
    with pytest.raises(ValueError, match="Write most=1 or less"):
        steering.boundless_das(jax.random.key(0), planted.model, swaps(), site="z", layer=0)
    broken = jax.tree.map(lambda x: x * jnp.nan, planted.model)
    with pytest.raises(ValueError, match="loss of DAS is not finite at step 0"):
        settings = steering.SubspaceSettings(steps=1)
        steering.das(jax.random.key(0), broken, swaps(), layer=0, settings=settings)


def test_scores_that_are_nowhere_finite_are_named():
    planted = ji.toy.planted_direction_chat(key=jax.random.key(0), n=10)
    score = ji.metrics.log_odds(planted.refusal)
    rules = steering.SelectionSettings(filter=False, batch_size=8)
    with pytest.raises(steering.NoCandidate, match=r"All 5 candidates are discarded .*no score is finite"):
        same = planted.harmful, planted.harmful
        steering.select_direction(planted.model, *same, score, settings=rules, progress=False)
    with pytest.raises(ValueError, match="batch_size is an int"):
        steering.SelectionSettings(batch_size=0)
