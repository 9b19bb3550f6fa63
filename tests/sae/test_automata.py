"""Two-feature automata: a planted pair alternates, and means are those of all activations at once."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

VOCAB, D = 24, 24
SITE = "resid_pre[0]"


@pytest.fixture(scope="module")
def planted() -> tuple[Any, Any, np.ndarray]:
    """Tokens are unit vectors. Feature 0 fires on 0..3 and writes 4..7; feature 1 the other way
    round; 2 fires on 8..11 and writes them; 3 fires on 12..15 and writes what never follows."""
    shapes = jax.eval_shape(
        lambda: ji.models.GPT2.init(
            ji.models.GPT2Config(vocab=VOCAB, ctx=12, layers=1, d=D, heads=2), key=jax.random.key(0)
        )
    )
    model: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    model = eqx_set(model, jnp.eye(VOCAB, D))
    reads, writes = np.zeros((D, 4), np.float32), np.zeros((4, D), np.float32)
    for i, (fires, says) in enumerate(((0, 4), (4, 0), (8, 8), (12, 16))):
        reads[fires : fires + 4, i] = 2 + i
        writes[i, says : says + 4] = 1
    sae = ji.sae.Standard(d=D, features=4).dictionary(
        encoder=jnp.asarray(reads),
        decoder=jnp.asarray(writes),
        bias=jnp.zeros(D),
        encoder_bias=jnp.zeros(4),
        scale=jnp.float32(1),
    )
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCAB, (60, 12), dtype=np.int32)
    half = np.arange(12) % 2
    tokens[:20] = rng.integers(0, 4, (20, 12)) + 4 * half  # alternate
    tokens[20:40] = rng.integers(8, 12, (20, 12))  # go on
    return sae, model, tokens


def eqx_set(model: Any, embed: Any) -> Any:
    import equinox as eqx

    ones = jnp.ones_like(model.ln_final.weight)
    return eqx.tree_at(lambda m: (m.w_embed, m.ln_final.weight), model, (embed, ones))


def test_the_planted_pair(planted: Any) -> None:
    sae, model, tokens = planted
    found = ji.sae.automata(
        sae,
        model,
        tokens,
        site=SITE,
        settings=ji.sae.AutomataSettings(k=4, block=3),
        batch_size=16,
        progress=False,
    )
    assert sorted(map(tuple, found.edges.tolist())) == [(0, 1), (1, 0), (2, 2)]
    assert found.families() == [[0, 1]]
    assert (found.weight > 0.6).all() and (np.diff(found.weight) <= 0).all()
    # All at once: every place where i fires and one of its tokens follows.
    x = ji.run(model, tokens, capture=[SITE], logits=False)[1][SITE]
    f = np.asarray(sae.encode(x)).copy()
    f[:, 0] = 0  # the first token does not count
    for (i, j), w, mean, count in zip(found.edges, found.weight, found.mean, found.count, strict=True):
        says = np.flatnonzero(np.asarray(sae.decoder[i]))
        there = (f[:, :-1, i] > 0) & np.isin(tokens[:, 1:], says)
        assert count == there.sum()
        np.testing.assert_allclose(mean, f[:, 1:, j][there].mean(), rtol=1e-5)
        base, active = f[:, 1:, j].mean(), f[..., j][f[..., j] > 0].mean()
        np.testing.assert_allclose(w, (mean - base) / active, rtol=1e-5)
    some = ji.sae.automata(
        sae,
        model,
        tokens,
        site=SITE,
        features=[1, 0],
        settings=ji.sae.AutomataSettings(k=4),
        batch_size=16,
        progress=False,
    )
    assert sorted(map(tuple, some.edges.tolist())) == [(0, 1), (1, 0)]


def test_written_down() -> None:
    edges = np.asarray([[0, 1], [1, 0]])
    made = ji.sae.Automata(edges, np.asarray([0.9, 0.8]), np.ones(2), np.asarray([12, 11]))
    told = json.loads(made.json())
    assert told["nodes"] == [0, 1] and told["edges"][0] == {
        "from": 0,
        "to": 1,
        "weight": 0.9,
        "mean": 1.0,
        "count": 12,
    }
    text = made.dot({0: 'a "quoted" \\n name'})
    assert (
        text.startswith("digraph") and '0 [label="a \\"quoted\\" \\\\n name"];' in text and "0 -> 1" in text
    )
    none = ji.sae.Automata(edges[:0], np.ones(0), np.ones(0), np.ones(0, int))
    assert none.families() == [] and json.loads(none.json())["edges"] == []
