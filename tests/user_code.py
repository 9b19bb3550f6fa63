"""Code as users write it, for the type checker: `pyright` reads this file and nothing runs it.

Each function is a small piece of a notebook. A line that a user may write and the checker refuses is a
fault of the library's annotations.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxinterp as ji


def load_and_run() -> tuple[jax.Array, ji.Acts]:
    model, tokenizer = ji.load("tiny")
    tokens = tokenizer("When John and Mary went to the store, John gave a bottle of milk to")
    logits, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]", ji.at("z", layer=1, pos=-1)])
    best: int = int(logits[-1].argmax())
    print(tokenizer.decode([best]), acts["resid_post"].shape, list(acts), ji.sites(model, tokens))
    nothing, early = ji.run(model, [[1, 2, 3]], capture="mlp_out[0]", logits=False)
    assert nothing is None
    last, _ = ji.run(model, np.arange(5), logits=-1)
    return last.astype(jnp.float32), early


def edit(model: ji.Model, tokens: jax.Array, direction: jax.Array) -> jax.Array:
    edits = [
        ji.zero("z", layer=1, head=3),
        ji.replace("mlp_post", 0.0, layer=0, unit=[3, 5], pos=-1),
        ji.add("resid_post", 4.0 * direction, layer=2),
        ji.scale("attn_out", np.float32(0.5)),
        ji.project_out("resid_post", direction),
        ji.map("pattern", lambda x, power: x**power, 2.0, layer=0),
    ]
    logits, _ = ji.run(model, tokens, edits=edits)
    steered = ji.intervene(model, edits[:1])
    again, acts = ji.run(steered, tokens, edits=ji.zero("z"), capture="resid_pre")
    suffix, _ = ji.resume(steered, acts["resid_pre"][1], 1)
    text = ji.generate(steered, tokens, 20, key=jax.random.key(0), temperature=0.7, top_k=40, edits=edits)
    return logits + again + suffix + text.sum()


def gradients(model: ji.Model, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    metric = ji.metrics.logit_diff(3, 4)
    value, acts, grads = ji.site_grads(model, tokens, metric, at=["z", "mlp_out"], mask=mask)
    named = ji.site_grads(model, tokens, lambda logits: logits[..., 3], at="z", logits=-1)
    print(value.mean(), acts["z"].shape, named.grads["z"].dtype)
    return (acts["z"] * grads["z"]).sum() + ji.metrics.measure(model, tokens, metric, mask=mask).mean()


def patch(model: ji.Model, clean: jax.Array, corrupt: jax.Array) -> jax.Array:
    metric = ji.metrics.prob_diff(jnp.arange(3), [4, 5])
    heat = ji.patching.sweep(model, clean, corrupt, metric, site="z", over=("layer", "head"), mode="noise")
    settings = ji.patching.AttributionSettings(qk_fix=True)
    guess = ji.patching.attribution(model, clean, corrupt, metric, site=("q", "k"), settings=settings)
    print(ji.patching.agreement(guess, heat, top=3).spearman)
    ablated = ji.patching.ablate(model, clean, metric, values=ji.patching.zeros, over={"layer": [0, 1]})
    certain = ji.patching.statistics(heat, 0.5, key=jax.random.key(0), resamples=100)
    paths = ji.circuits.direct_paths(model, clean, corrupt, metric, senders="head")
    print(paths.top(5), paths.q, certain.significant(0.1).sum())
    scaled = ji.metrics.recovered(heat, 1.0, jnp.zeros(3))
    return scaled + ablated


def read_with_a_lens(model: ji.Model, tokens: jax.Array) -> np.ndarray:
    logits = ji.lens.logit_lens(model, tokens)
    return np.asarray(logits)


def fit_a_probe(x: np.ndarray, y: np.ndarray, folder: Path) -> float:
    probes = ji.probes.fit(x, y)
    print(probes)
    return float(np.mean(np.asarray(x)))


def train_a_dictionary(x: jax.Array) -> jax.Array:
    kind = ji.sae.TopK(d=8, features=32, k=4)
    sae, history = ji.sae.train(kind, x, optax.adam(1e-3), steps=10, key=jax.random.key(0))
    print(history)
    return sae.decode(sae.encode(x))
