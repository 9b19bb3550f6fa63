"""Sums of layer similarity over a mesh: rows of the corpus on four devices give what one gives."""

import pytest

from tests.processes import run

SHARDED = """
import jax, numpy as np
import jaxinterp as ji
from tests.models import small_model

assert len(jax.devices()) == 4
mesh = jax.make_mesh((4,), ("data",))
mask = np.arange(6) < np.array([6, 4, 6, 5, 6, 3, 6])[:, None]
tokens = np.where(mask, np.random.default_rng(1).integers(1, 40, (7, 6)), 0).astype(np.int32)
corpus = ji.corpus.as_corpus(tokens, mask=mask)
a, b = small_model(0), small_model(1)
for how in ({"points": 8}, {"points": None}, {"points": 8, "kernel": ji.geometry.Gaussian(0.5)}):
    want = ji.geometry.similarity(a, b, corpus, batch_size=4, progress=False, **how)
    found = ji.geometry.similarity(a, b, corpus, batch_size=4, progress=False, mesh=mesh, **how)
    np.testing.assert_allclose(found.cka, want.cka, atol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_rows_over_a_mesh_equal_one_device() -> None:
    assert "equal" in run(SHARDED, devices=4)
