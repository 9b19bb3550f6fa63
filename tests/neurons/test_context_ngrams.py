"""What a context neuron costs, by path: the planted circuit exactly, and five runs with edits of any model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

PLANTED = ji.toy.planted_context_ngram()
ROW = [4, 5, 6, 3, 7, 8, 9, 2, 10]
TEXTS = {
    "in": (np.array([[1, *ROW, 0, 0], [1, 10, 11, *ROW]]), np.arange(12) < np.array([[10], [12]])),
    "out": (np.array([[0, *ROW]]), np.ones((1, 10), bool)),
}
LOOSE = ji.neurons.NgramSettings(least=1.0, prompts=4)


def test_the_planted_circuit() -> None:
    """The context neuron acts through n-gram neurons alone, the direct one by itself, both exactly."""
    study = lambda neuron, **more: ji.neurons.context_ngrams(
        PLANTED.model, neuron, TEXTS, context="in", settings=LOOSE, skip=0, progress=False, **more
    )
    found, loss = study(PLANTED.context), PLANTED.loss
    assert (found.active, found.inactive) == (1, 0) and found.tokens == 9 + 11
    # Of 20 targets four end an n-gram; without the context neuron only the favourite stays likely.
    saved = loss(2, target=6) - loss(2, 6, target=6)
    lost = loss(2, 6, target=6) - loss(2, 6, target=6)
    want = 4 * saved / 20 + lost
    np.testing.assert_allclose(found.total, want, rtol=1e-5)
    np.testing.assert_allclose([found.without_indirect, found.without_direct], [want, 0], atol=1e-5)
    assert [tuple(each) for each in found.ngrams.ids] == list(PLANTED.ngrams)
    assert list(found.ngrams.count) == [2, 2]
    np.testing.assert_allclose(found.ngrams.random_total, saved, rtol=1e-5)
    np.testing.assert_allclose(found.ngrams.random_without_direct, 0, atol=1e-6)
    assert {tuple(each) for each in found.components} == {(1, 0), (1, 1)} and (found.added > 0).all()
    direct = study(PLANTED.direct)
    assert abs(direct.total) > 0.1  # it is dear, since the favourite comes once
    np.testing.assert_allclose(direct.without_direct, direct.total, rtol=1e-6)
    assert direct.without_indirect == 0 and not len(direct.components) and not len(direct.ngrams)
    idle = study(PLANTED.idle, values=(2.0, -1.0))
    assert idle.total == idle.without_indirect == idle.without_direct == 0
    assert len(found.records()) == 3 and "1.0" in found.figure().html


@pytest.mark.wide
@pytest.mark.parametrize("seed", [0])
def test_equals_runs_with_edits(model: Any, classes: dict[str, Any], seed: int) -> None:
    """Only one path active: later blocks write what they write in the other run."""
    values, neuron = (1.5, -0.5), (0, 7)
    found = ji.neurons.context_ngrams(
        model, neuron, classes, context="b", values=values, settings=LOOSE, skip=0, progress=False
    )
    tokens, mask = classes["b"]
    later = ["attn_out[1]", "mlp_out[1]"]
    clamp = lambda value: [ji.replace("mlp_post", value, layer=0, unit=7)]
    put = lambda acts: [ji.replace(site.split("[")[0], acts[site], layer=1) for site in later]

    @jax.jit
    def five(tokens: Any, mask: Any) -> Any:
        plain, _ = ji.run(model, tokens, mask=mask)
        (on, on_acts), (off, off_acts) = (
            ji.run(model, tokens, edits=clamp(value), capture=later, mask=mask) for value in values
        )
        direct, _ = ji.run(model, tokens, edits=clamp(values[0]) + put(off_acts), mask=mask)
        indirect, _ = ji.run(model, tokens, edits=clamp(values[1]) + put(on_acts), mask=mask)
        logp = jax.nn.log_softmax(jnp.stack([plain, on, off, direct, indirect])[:, :, :-1], -1)
        nats = -jnp.take_along_axis(logp, tokens[None, :, 1:, None], -1)[..., 0]
        return jnp.where(mask[:, 1:], nats, 0).sum((1, 2)) / mask[:, 1:].sum(dtype=jnp.float32)

    want = np.asarray(five(jnp.asarray(tokens), jnp.asarray(mask)))
    np.testing.assert_allclose(found.losses, want, atol=1e-5)
    np.testing.assert_allclose(found.costs, want[[2, 3, 4]] - want[0], atol=1e-5)


def test_the_context_is_found_and_padding_is_no_ngram() -> None:
    """Without a name the class in which the neuron is most active; padding on the left changes nothing."""
    turned = {"in": tuple(np.stack([np.roll(x[0], 2), x[1]]) for x in TEXTS["in"]), "out": TEXTS["out"]}
    loose = ji.neurons.NgramSettings(order=5, least=1.0, prompts=0)  # the first 6 has four tokens up to it
    by_side = [
        ji.neurons.context_ngrams(
            PLANTED.model, PLANTED.context, texts, settings=loose, skip=0, progress=False
        )
        for texts in (TEXTS, turned)
    ]
    right, left = by_side
    assert right.context == left.context == "in" and right.costs[0] > 0
    np.testing.assert_allclose(left.costs, right.costs, atol=1e-6)
    np.testing.assert_array_equal(left.ngrams.ids, right.ngrams.ids)
    np.testing.assert_array_equal(left.ngrams.count, right.ngrams.count)


def test_bad_input(model: Any, classes: dict[str, Any]) -> None:
    one = {"b": classes["b"]}
    for call, words in [
        (lambda: ji.neurons.context_ngrams(model, (0, 1), one, context="b"), "the only one"),
        (lambda: ji.neurons.context_ngrams(model, (0, 1), classes, context="c"), "is no class"),
        (lambda: ji.neurons.context_ngrams(model, [(0, 1), (0, 2)], classes, context="b"), "one neuron"),
        (lambda: ji.neurons.context_ngrams(ji.intervene(model, []), (0, 1), classes, context="b"), "inside"),
        (lambda: ji.neurons.context_ngrams(model, (0, 1), classes["a"][0]), "no labels"),
        (lambda: ji.neurons.NgramSettings(order=1), "order"),
        (lambda: ji.toy.planted_context_ngram(ngrams=[(1, 2, 3)]), "triples"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
