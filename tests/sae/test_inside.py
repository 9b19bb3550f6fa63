"""Evaluation inside a training: the layers after a site alone say what whole runs say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.corpus import _fold

CONFIG = ji.models.GPT2Config(vocab=40, ctx=8, layers=3, d=8, heads=2)
TOKENS = np.random.default_rng(0).integers(0, 40, (5, 8), dtype=np.int32)


@pytest.fixture(scope="module")
def model() -> Any:
    model = ji.models.GPT2.init(CONFIG, key=jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf * 5, model)


def draw(seed: int, d: int = 8) -> Any:
    return ji.sae.Standard(d=d, features=12).init(jax.random.key(seed))


def by_whole_runs(found: Any, model: Any, site: str, real: Any, mask: Any) -> dict[str, float]:
    """Losses from forward passes with an edit, one for each."""
    base, layer = site[:-1].split("[")
    where: Any = {"layer": int(layer), "pos": mask}
    clean, acts = ji.run(model, TOKENS, capture=[site], mask=real)
    mean = np.asarray(acts[site])[mask].mean(0)
    known = np.asarray(real[:, 1:] & real[:, :-1])
    nats = {}
    for name, edits in {
        "": [],
        "_sae": [ji.splice(base, found, **where)],
        "_zero": [ji.zero(base, **where)],
        "_mean": [ji.replace(base, jnp.asarray(mean), **where)],
    }.items():
        logits, _ = ji.run(model, TOKENS, edits=edits, mask=real)
        log = jax.nn.log_softmax(logits[:, :-1])
        said = jnp.take_along_axis(log, TOKENS[:, 1:, None], -1)[..., 0]
        nats[f"loss{name}"] = -float(said[known].mean())
        if name:
            truth = jax.nn.log_softmax(clean[:, :-1])
            kl = (jnp.exp(truth) * (truth - log)).sum(-1)
            nats[f"kl{name}"] = float(kl[known].mean())
    return nats


@pytest.mark.slow
@pytest.mark.parametrize("site", ["resid_post[2]", "mlp_out[1]", "resid_pre[0]"])
def test_layers_after_a_site_say_what_whole_runs_say(model: Any, site: str) -> None:
    real = np.ones(TOKENS.shape, bool)
    real[0, :3] = False  # padding on the left
    mask = ji.data.keep(real)
    # What the model carries acts once, also where the rest begins.
    carried = ji.intervene(model, [ji.scale("resid_pre", 1.5, layer=1)])
    judge = ji.sae.evaluation(carried, TOKENS, site=site, mask=real, batch_size=2, progress=False)
    sums = _fold._read._cached._cache_size  # pyright: ignore[reportFunctionMemberAccess]
    before = sums()
    for seed in (0, 1):
        found = draw(seed)
        told = judge(found, 7)
        want = by_whole_runs(found, carried, site, real, mask)
        assert {n for n in told if n.startswith(("loss", "kl_"))} <= {*want, "kl_recovered"}
        for name in set(want) - {"kl_mean"}:
            np.testing.assert_allclose(told[name], want[name], atol=1e-5, err_msg=name)
    assert sums() == before
    whole = ji.sae.evaluate(found, carried, TOKENS, site=site, mask=real, batch_size=2, progress=False)
    assert set(whole) == set(told)
    for name in whole:
        np.testing.assert_allclose(told[name], whole[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_training_judges_itself(model: Any) -> None:
    site = "resid_post[1]"
    judge = ji.sae.evaluation(model, TOKENS, site=site, cosines=False, progress=False)
    x = np.asarray(ji.run(model, TOKENS, capture=[site])[1][site]).reshape(-1, 8)
    kind = ji.sae.TopK(d=8, features=16, k=4)
    found, history = ji.sae.train(
        kind,
        x,
        key=jax.random.key(0),
        steps=4,
        batch_size=20,
        settings=ji.fit.Settings(every=2, evaluate=judge, progress=False),
    )
    assert history["evaluated"].tolist() == [2, 4] and history["recovered"].shape == (2,)
    assert history["recovered"][-1] == judge(found)["recovered"]
    whole = ji.sae.evaluate(found, model, TOKENS, site=site, progress=False)
    np.testing.assert_allclose(history["loss_sae"][-1], whole["loss_sae"], atol=1e-5)
    assert "density" not in history and "max_cosine" not in history
    with pytest.raises(ValueError, match=r"width 8.*reads d=6"):
        judge(draw(0, 6))
    with pytest.raises(ValueError, match="reads one site and writes another"):
        judge(ji.sae.Transcoder(d=8, d_out=8, features=4).init(jax.random.key(0)))
