"""A dictionary knows its site and its model: they are the default, and others are warned of."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp.sae.files._origin import Origin, origin_of, recorded, with_origin
from tests.models import small_model
from tests.options import how

KEY = jax.random.key(0)
SITE = "resid_post[0]"
KIND = ji.sae.Standard(d=8, features=12)
HOW: Any = {"steps": 2, "progress": False}


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, (6, 8), dtype=np.int32)


@pytest.fixture(scope="module")
def sae(model: Any, tokens: np.ndarray) -> Any:
    stream = ji.data.stream(model, tokens, site=SITE, batch_size=8)
    return ji.sae.train(KIND, stream, optax.adam(1e-3), key=KEY, **how(HOW))[0]


@pytest.mark.slow
def test_training_on_a_stream_records_where_it_was(
    sae: Any, model: Any, tokens: np.ndarray, tmp_path: Path
) -> None:
    own = Origin(SITE, ji.data.model_hash(model))
    assert origin_of(sae) == own
    assert origin_of(ji.sae.Normalised(sae, "layer")) == own
    # In the file, without a word of the caller, and back again; what the caller says stands.
    said = json.loads((ji.sae.save(tmp_path / "a", sae) / "dictionary.json").read_text())["about"]
    assert said == {"site": SITE, "model_hash": own.model}
    assert origin_of(ji.sae.load(tmp_path / "a")) == own
    ji.sae.save(tmp_path / "b", sae, about={"site": "resid_post[1]"})
    assert origin_of(ji.sae.load(tmp_path / "b")) == Origin("resid_post[1]", own.model)
    # A store says the same; arrays say nothing; a sweep over sites says each.
    path = tmp_path / "store"
    ji.data.save_activations(path, model, tokens, SITE, progress=False)
    stored = ji.data.stored(path, batch_size=8)
    assert origin_of(ji.sae.train(KIND, stored, optax.adam(1e-3), key=KEY, **how(HOW))[0]) == own
    x = np.asarray(stored.batch(0))
    found, _ = ji.sae.train(KIND, x, optax.adam(1e-3), key=KEY, batch_size=8, **how(HOW))
    assert origin_of(found) == Origin()
    on, _ = ji.sae.train(sae, x, optax.adam(1e-3), key=KEY, batch_size=8, **how(HOW))
    assert origin_of(on) == own  # gone on with
    names = ["resid_post[1]", SITE]
    stream = ji.data.stream(model, tokens, site=names, batch_size=8)
    kinds = {name: [KIND] for name in names}
    many = ji.sae.sweep(kinds, stream, optax.adam(1e-3), key=KEY, **how(HOW))
    assert {n: origin_of(many[n][0][0]) for n in names} == {n: Origin(n, own.model) for n in names}


def test_its_own_site_is_the_default_and_another_is_warned_of(
    sae: Any, model: Any, tokens: np.ndarray, tmp_path: Path
) -> None:
    quiet: Any = {"progress": False}
    evaluate = lambda d, m, **more: ji.sae.evaluate(d, m, tokens, **more, **quiet)
    assert evaluate(sae, model)["recovered"] == evaluate(sae, model, site="resid_post[-2]")["recovered"]
    with pytest.warns(UserWarning, match=r"trained at 'resid_post\[0\]' and is read at 'resid_post\[1\]'"):
        evaluate(sae, model, site="resid_post[1]")
    other = jax.tree.map(lambda leaf: leaf * 1.5, model)
    with pytest.warns(UserWarning, match="another model"):
        evaluate(sae, other)
    judge = ji.sae.evaluation(model, tokens, site="resid_post[1]", progress=False)
    with pytest.warns(UserWarning, match="is read at"):
        judge(sae)
    found = ji.sae.examples(
        sae, model, tokens, settings=ji.sae.ExampleSettings(top=2, intervals=2, window=1), **quiet
    )
    assert found.tokens.shape == tokens.shape
    weights = ji.sae.logit_weights(sae, model, features=[1])
    np.testing.assert_array_equal(weights[0], ji.sae.logit_weights(sae, model, SITE, [1])[0])
    assert ji.sae.steer(sae, 1, 2.0).sites == ji.sae.silence(sae, [1], 2.0).sites == ("resid_post",)
    assert ji.sae.steer(sae, 1, 2.0).layers == (0,)
    with pytest.warns(UserWarning, match="is read at"):
        ji.sae.steer(sae, 1, 2.0, site="mlp_out[0]")
    effects = ji.sae.feature_effects(sae, model, tokens[:2], [1], **quiet)
    assert effects.shape == (1, 2, 7)
    unknown = with_origin(sae, Origin())
    with pytest.raises(ValueError, match=r"does not say at which site .* site='resid_post\[2\]'"):
        evaluate(unknown, model)


def test_what_others_record() -> None:
    hook = "blocks.3.hook_resid_pre"
    for about in ({"hook_name": hook}, {"metadata": {"hook_name": hook}}):
        assert recorded(about) == Origin("resid_pre[3]", None)
    assert recorded({"site": "no such site"}) == Origin() == recorded({})
    assert origin_of(ji.sae.load("tiny")).site == "resid_post[1]"


@pytest.mark.slow
def test_an_origin_costs_no_training_program(sae: Any) -> None:
    """Going on from a dictionary runs the program that it was trained with."""
    from jaxinterp.fit._step import run_steps

    count = run_steps._cached._cache_size  # pyright: ignore[reportFunctionMemberAccess]
    x = np.ones((16, 8), np.float32) * np.arange(16, dtype=np.float32)[:, None]
    optimizer = optax.adam(1e-3)
    ji.sae.train(KIND, x, optimizer, key=KEY, batch_size=8, **how(HOW))
    before = count()
    ji.sae.train(sae, x, optimizer, key=KEY, batch_size=8, **how(HOW))
    assert count() == before
    assert jnp.isfinite(sae.encode(x)).all()
