"""Integer positions count real tokens: a padded prompt is read and edited as it is alone."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import sampled

from .conftest import families, model_of
from .test_generate import growing

PROMPTS = [[3, 4, 5], [1, 2, 30, 4, 5]]
SIDES = ["left", "right"]


def padded(side: str, prompts: Any = PROMPTS, filler: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Prompts with padding on a side, and the mask of their real tokens."""
    width = max(map(len, prompts))
    tokens = np.full((len(prompts), width), filler, np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, prompt in enumerate(prompts):
        here = slice(width - len(prompt), None) if side == "left" else slice(len(prompt))
        tokens[row, here], mask[row, here] = prompt, True
    return tokens, mask


def equal_alone(read: Callable[..., Any], side: str, atol: float = 2e-5) -> None:
    """`read(tokens, mask)` over padded prompts is `read(prompt, None)` of each."""
    tokens, mask = padded(side)
    together = read(tokens, mask)
    for row, prompt in enumerate(PROMPTS):
        one = read(np.asarray(prompt, np.int32), None)
        for many, alone in zip(jax.tree.leaves(together), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(np.asarray(many)[row], alone, atol=atol)


def scaled_by_place(x: jax.Array, at: jax.Array) -> jax.Array:
    return x * (1 + at.astype(x.dtype)[..., None])


@pytest.mark.parametrize("name", families("llama"))
def test_reading_and_editing(name: str) -> None:
    model = model_of(name)
    ramp = np.linspace(-2, 2, model.config.d, dtype=np.float32)
    edits = [
        ji.add("resid_pre", ramp, layer=1, pos=-1),
        ji.zero("z", pos=[0, -1], head=1),
        ji.scale("mlp_out", -1.0, layer=jnp.asarray(1), pos=jnp.asarray(1)),
        ji.scale("pattern", 0.5, layer=0, query=-1, key=0),
        ji.replace("scores", -3.0, layer=1, key=[1]),
        ji.map("resid_post", scaled_by_place, layer=0, with_positions=True),
    ]
    asked = [
        ji.at("z", pos=-1),
        ji.at("resid_post[1]", pos=[0, -1]),
        ji.at("mlp_out[0]", pos=[0, -1], reduce="mean", name="ends"),
        ji.at("mlp_out[0]", reduce="last"),
    ]

    def read(tokens: Any, mask: Any) -> Any:
        both = np.asarray([0, -1])
        logits, acts = ji.run(model, tokens, mask=mask, logits=both, capture=asked, edits=edits)
        last, _ = ji.run(model, tokens, mask=mask, logits=-1)
        z = np.moveaxis(np.asarray(acts["z"]), 0, -1)
        return last, logits, z, acts["resid_post[1]"], acts["ends"], acts["mlp_out[0]"]

    for side in SIDES:
        equal_alone(read, side)
    last, edited, *_ = read(*padded("left"))
    assert (np.abs(last - edited[:, 1]).max(-1) > 1e-3).all()


def test_metrics() -> None:
    model = model_of("gpt2")

    def metrics(other: Any) -> dict[str, Any]:
        return {
            "logit_diff": ji.metrics.logit_diff(3, 4),
            "several": ji.metrics.logit_diff(3, 4, pos=[0, -1]),
            "prob": ji.metrics.prob(3, pos=0),
            "log_prob": ji.metrics.log_prob(3, pos=None),
            "prob_diff": ji.metrics.prob_diff([1, 2, 3], [4]),
            "rank": ji.metrics.rank(3, pos=None),
            "kl": ji.metrics.kl(other),
            "kl of all": ji.metrics.kl(other, pos=None),
            "recovered": ji.metrics.recovered(ji.metrics.kl(other, pos=[0]), 0.7, 0.2),
            "custom": ji.metrics.custom(lambda x: x[..., 0], pos=-1),
        }

    @jax.jit
    def alone(logits: Any) -> Any:
        return {name: metric(logits) for name, metric in metrics(logits[..., ::-1]).items()}

    for side in SIDES:
        tokens, mask = padded(side)
        whole = np.asarray(ji.run(model, tokens, mask=mask)[0])
        wanted = [alone(whole[row, mask[row]]) for row in range(2)]
        for name, metric in metrics(jnp.asarray(whole[..., ::-1])).items():
            found = ji.metrics.measure(model, tokens, metric, mask=mask)
            np.testing.assert_allclose(
                found, [each[name] for each in wanted], rtol=1e-4, atol=1e-5, err_msg=name
            )
        np.testing.assert_allclose(metric(jnp.asarray(whole), mask=mask), found, atol=1e-5)
        text = ji.metrics.measure(model, tokens, ji.metrics.cross_entropy(tokens), mask=mask)
        for row in range(2):
            own = ji.metrics.cross_entropy(tokens[row, mask[row]])(whole[row, mask[row]])
            np.testing.assert_allclose(text[row], own, rtol=1e-5)


@pytest.mark.slow
def test_the_embedded_model_leads_by_what_it_leads_alone() -> None:
    model, tokenizer = ji.load("tiny")
    tokens, mask = tokenizer(["The king", "The old man walked slowly along the river"])
    lead = ji.metrics.logit_diff(tokenizer.token_id(" the"), tokenizer.token_id(" and"))
    found = ji.metrics.measure(model, tokens, lead, mask=mask)
    np.testing.assert_allclose(found, [-0.383, -0.038], atol=1e-3)


@pytest.mark.slow
def test_gradients_and_the_suffix() -> None:
    model = model_of("gpt2")
    metric = ji.metrics.logit_diff(3, 4)

    def read(tokens: Any, mask: Any) -> Any:
        value, _, grads = ji.site_grads(model, tokens, metric, at=["mlp_out[1]"], mask=mask)
        _, acts = ji.run(model, tokens, mask=mask, capture=["resid_pre[1]"], logits=False)
        edit = ji.zero("z", layer=2, pos=1)
        rest, _ = ji.resume(model, acts["resid_pre[1]"], 1, mask=mask, logits=-1, edits=edit)
        grad = np.asarray(grads["mlp_out[1]"])
        ends = grad[-3:] if mask is None else [g[m][-3:] for g, m in zip(grad, mask, strict=True)]
        return value, rest, np.stack(ends)

    for side in SIDES:
        equal_alone(read, side)


@pytest.mark.parametrize("side", sampled("left", slow=["right"]))
def test_columns_are_masks_and_ints_per_example(side: str) -> None:
    model = model_of("gpt2")
    tokens, mask = padded(side)
    ends = np.where(mask, np.arange(5), -1).max(-1)
    last, _ = ji.run(model, tokens, mask=mask, logits=-1)
    own, _ = ji.run(model, tokens, mask=mask, logits=ends[:, None])
    np.testing.assert_array_equal(own[:, 0], last)
    by_number, _ = ji.run(model, tokens, mask=mask, edits=ji.zero("resid_pre", layer=1, pos=-1))
    for pos in (ends[:, None], np.arange(5) == ends[:, None]):
        edit = ji.zero("resid_pre", layer=1, pos=pos)
        np.testing.assert_array_equal(ji.run(model, tokens, mask=mask, edits=edit)[0], by_number)


def test_a_token_that_a_prompt_lacks_is_an_error() -> None:
    model = model_of("gpt2")
    tokens, mask = padded("right")
    words = "the shortest has 3"
    with pytest.raises(IndexError, match=words):
        ji.run(model, tokens, mask=mask, logits=3)
    with pytest.raises(IndexError, match=words):
        ji.run(model, tokens, mask=mask, edits=ji.zero("z", pos=-4))
    with pytest.raises(IndexError, match=words):
        ji.run(model, tokens, mask=mask, capture=[ji.at("z", pos=[0, 4])])
    with pytest.raises(IndexError, match=words):
        ji.metrics.measure(model, tokens, ji.metrics.prob(3, pos=4), mask=mask)
    with pytest.raises(IndexError, match=words):
        ji.generate(model, tokens, 2, mask=mask, edits=ji.zero("z", pos=4))


def test_under_jit_and_vmap_one_program_serves_every_position() -> None:
    model = model_of("gpt2")
    tokens, mask = padded("left")

    @jax.jit
    def swept(mask: Any) -> Any:
        def one(pos: Any) -> Any:
            edit = ji.zero("resid_pre", layer=1, pos=pos)
            return ji.run(model, jnp.asarray(tokens), mask=mask, edits=edit, logits=-1)[0]

        return jax.vmap(one)(jnp.asarray([0, 1, -1]))

    found = swept(jnp.asarray(mask))
    for i, pos in enumerate((0, 1, -1)):
        edit = ji.zero("resid_pre", layer=1, pos=pos)
        one, _ = ji.run(model, tokens, mask=mask, edits=edit, logits=-1)
        np.testing.assert_allclose(found[i], one, atol=1e-5)


@pytest.mark.parametrize("pos", sampled(-6, slow=[5, -11]))
def test_traced_positions_that_are_none_read_nothing(pos: int) -> None:
    model, tokens = model_of("gpt2"), jnp.asarray([[1, 2, 30, 4, 5]])

    @jax.jit
    def read(pos: Any, mask: Any) -> Any:
        asked = [ji.at("z", pos=pos, name="one"), ji.at("z[0]", pos=pos[None], name="several")]
        logits, acts = ji.run(model, tokens, capture=asked, logits=pos[None, None], mask=mask)
        return logits, acts["one"], acts["several"], ji.metrics.prob(3, pos=pos)(logits[:, [0] * 5])

    for mask in (None, jnp.ones((1, 5), bool)):
        for found in read(jnp.asarray(pos), mask):
            assert np.isnan(found).all()


class Basis(eqx.Module):
    """A small dictionary."""

    w: jax.Array

    def encode(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x @ self.w)

    def decode(self, f: jax.Array) -> jax.Array:
        return f @ self.w.T


def every_constructor(d: int) -> list[Any]:
    """One edit of each kind, at places that do not hide each other."""
    ramp = np.linspace(-1, 1, d, dtype=np.float32)
    basis = Basis(jnp.asarray(np.random.default_rng(0).normal(size=(d, 5)), jnp.float32))
    late = lambda x, at: jnp.where(at[..., None] >= 2, -x, x)
    near = lambda x, at: x - (at[0][..., None, :, None] - at[1][..., None, None, :]).astype(x.dtype)
    return [
        ji.replace("resid_pre", 0.3, layer=1, pos=1),
        ji.add("mlp_out", ramp, layer=0),
        ji.scale("pattern", 0.5, layer=jnp.asarray(0), query=1, key=0),
        ji.zero("z", layer=2, head=1, pos=[0, 2]),
        ji.project_out("attn_out", ramp, layer=1),
        ji.map("resid_post", late, layer=1, with_positions=True),
        ji.map("scores", near, layer=1, with_positions=True),
        ji.splice("mlp_out", basis, layer=2),
        ji.scale("mlp_out.sae.feature", 2.0, unit=[1, 3]),
    ]


@pytest.mark.parametrize("name", families("gpt2"))
def test_generating_with_edits_is_growing_runs_with_edits(name: str) -> None:
    model, steps = model_of(name), 3
    edits = every_constructor(model.config.d)
    for side in SIDES:
        tokens, mask = padded(side)
        out = ji.generate(model, tokens, steps, edits=edits, mask=mask)
        plain = ji.generate(model, tokens, steps, mask=mask)
        assert name == "neox" or (out != plain).any()  # its answers are the same whatever it reads
        for row in range(2):
            prompt = jnp.asarray(tokens[row, mask[row]])
            text = growing(model, prompt, steps, edits, room=5 - len(prompt))
            np.testing.assert_array_equal(out[row, 5:], text[len(prompt) :])


def test_a_function_of_the_whole_prompt_is_refused_in_generation() -> None:
    table = jnp.ones((3, 1), jnp.float32)
    edit = ji.map("resid_pre", lambda x: x * jnp.broadcast_to(table, (3, x.shape[-1])), layer=0)
    ji.run(model_of("gpt2"), jnp.asarray([1, 2, 3]), edits=edit)
    with pytest.raises(ValueError, match="with_positions=True"):
        ji.generate(model_of("gpt2"), jnp.asarray([1, 2, 3]), 2, edits=edit)


def test_the_last_token_is_chosen_and_never_read() -> None:
    model = model_of("gpt2")
    long = ji.generate(model, jnp.asarray([1, 2, 3]), 14)
    assert long.shape == (17,)
    np.testing.assert_array_equal(long[:16], ji.generate(model, jnp.asarray([1, 2, 3]), 13))
    logits, _ = ji.run(model, long[:16], logits=-1)
    assert int(long[-1]) == int(logits.argmax())
    np.testing.assert_array_equal(ji.generate(model, jnp.asarray([1, 2, 3]), 0), [1, 2, 3])


def test_a_resumed_run_captures_layers_in_the_order_asked_for() -> None:
    model = model_of("gpt2")
    _, acts = ji.run(model, jnp.asarray([1, 2, 3]), capture=["resid_pre", "z"])
    x = acts["resid_pre"][0]
    asked = ["z[::-1]", "z[2:0:-1]", "z[::2]", "z[1:]"]
    _, traced = ji.resume(model, x, jnp.asarray(0), capture=asked)
    for text, layers in zip(asked, ([2, 1, 0], [2, 1], [0, 2], [1, 2]), strict=True):
        np.testing.assert_allclose(traced[text], acts["z"][np.asarray(layers)], atol=1e-6)
