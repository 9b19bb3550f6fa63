"""Each kind of call once, on the embedded model: what an installation must be able to do.

    python tests/smoke.py

`.ci/run colab` runs it beside the versions of a Colab runtime. It needs no test package. Every line that
it prints is a call and its seconds, compiling counted.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji


@contextmanager
def timed(name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{name:12} {time.perf_counter() - began:6.1f} s", flush=True)


def main() -> None:
    """Runs them all; an assertion fails where a result has the wrong shape or is not finite."""
    with timed("load"):
        model, tokenizer = ji.load("tiny")
    clean = tokenizer("When John and Mary went to the store, John gave a bottle of milk to")
    corrupt = tokenizer("When John and Mary went to the store, Mary gave a bottle of milk to")
    mary, john = tokenizer.token_id(" Mary"), tokenizer.token_id(" John")
    metric = ji.metrics.logit_diff(mary, john)
    config = model.config

    with timed("run"):
        logits, _ = ji.run(model, clean)
        assert logits.shape == (len(clean), config.vocab) and bool(jnp.isfinite(logits).all())
    with timed("capture"):
        _, acts = ji.run(model, clean, capture=["resid_post", "pattern[1]"])
        assert acts["resid_post"].shape == (config.layers, len(clean), config.d)
    with timed("edit"):
        edited, _ = ji.run(model, clean, edits=[ji.zero("z", layer=1, head=3)])
        assert not np.array_equal(edited, logits)
    with timed("sweep"):
        heat = ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos"))
        assert np.shape(heat) == (config.layers, len(clean)) and np.isfinite(heat).all()
    with timed("site_grads"):
        _, _, grads = ji.site_grads(model, clean, lambda logits: logits[mary], at=["z"], logits=-1)
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    with timed("generate"):
        text = tokenizer.decode(ji.generate(model, clean, 8, key=jax.random.key(0)))
        assert isinstance(text, str)
    with timed("logit_lens"):
        lens = ji.lens.logit_lens(model, clean)
        assert lens.shape == (config.layers + 1, len(clean), config.vocab)

    rng = np.random.default_rng(0)
    with timed("sae.train"):
        kind = ji.sae.TopK(d=8, features=32, k=4)
        rows = rng.normal(size=(256, 8)).astype(np.float32)
        dictionary, _ = ji.sae.train(kind, rows, key=jax.random.key(1), steps=4, batch_size=32)
        assert dictionary.encode(rows[:3]).shape == (3, 32)
    with timed("probes.fit"):
        x, y = rng.normal(size=(64, 8)).astype(np.float32), rng.integers(0, 2, 64)
        assert np.isfinite(ji.probes.fit(x, y).weights).all()
    print("smoke: all calls passed on jax", jax.__version__)


if __name__ == "__main__":
    main()
