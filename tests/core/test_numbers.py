"""Numbers of any kind: their precision is the model's, and their type is nobody's business."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64

from .conftest import CONFIGS, model_of, random_model

pytestmark = pytest.mark.wide


@pytest.fixture
def double() -> Any:
    """A model of float64, and the switch that it needs."""
    with enable_x64(True):
        yield random_model(CONFIGS["gpt2"], jnp.float64)


def test_python_floats_keep_their_digits(double: Any) -> None:
    from jaxinterp.core._run import _run

    tokens = np.asarray([1, 2, 3], np.int32)
    x = ji.run(double, tokens, capture=["z[1]"])[1]["z[1]"]
    v = np.linspace(-1, 1, x.shape[-1])
    q = v / np.linalg.norm(v)
    left = x - np.einsum("phk,k,l->phl", x, q, q)
    for edit, want in [
        (ji.scale("z", 0.1, layer=1), x * 0.1),
        (ji.add("z", 0.1, layer=1), x + 0.1),
        (ji.replace("z", np.float64(0.1), layer=1), jnp.full_like(x, 0.1)),
        (ji.add("z", v, layer=1), x + np.broadcast_to(v, x.shape)),
        (ji.project_out("z", v, layer=1), left),
    ]:
        got = ji.run(double, tokens, edits=[edit], capture=["z[1]"])[1]["z[1]"]
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)
    before = _run._cached._cache_size()
    ji.run(double, tokens, edits=[ji.scale("z", 0.7, layer=1)], capture=["z[1]"])
    assert _run._cached._cache_size() == before


def test_float64_values_take_the_dtype_of_the_site() -> None:
    tokens, model = np.asarray([1, 2, 3]), model_of("gpt2")
    value, layer = np.linspace(-1, 1, 8), np.asarray([2, 0])
    edits = lambda kind: [ji.add("resid_post", kind(value), layer=1), ji.zero("z", pos=1, head=1)]
    want, acts = ji.run(model, tokens, edits=edits(np.float32), capture=["embed"])
    with enable_x64(True):
        got, _ = ji.run(model, tokens, edits=edits(jnp.asarray))
        np.testing.assert_array_equal(got, want)
        soft, _ = ji.run(model, np.asarray(acts["embed"], np.float64), edits=edits(np.asarray))
        np.testing.assert_array_equal(soft, want)
        # Layers that vmap counts are int64 here, and the blocks' own are int32.
        each = jax.vmap(lambda i: ji.run(model, tokens, edits=[ji.zero("z", layer=i)])[0])
        swept = each(jnp.asarray(layer))
        for row, i in zip(swept, layer, strict=True):
            one, _ = ji.run(model, tokens, edits=[ji.zero("z", layer=i)])
            np.testing.assert_allclose(row, one, atol=1e-5)


def test_ints_of_numpy_and_jax_are_ints() -> None:
    model, tokens = model_of("gpt2"), np.asarray([1, 2, 3])
    _, acts = ji.run(model, tokens, capture=["resid_pre", "z[1]"])
    for number in (np.int64, np.uint8, jnp.asarray):
        at = ji.at("z", layer=number(1), pos=number(2))
        assert at.name == "z[1]" and hash(at.layers) == hash(1)
        np.testing.assert_array_equal(ji.run(model, tokens, capture=[at])[1][at], acts["z[1]"][2])
    want, _ = ji.resume(model, acts["resid_pre"][1], 1)
    np.testing.assert_array_equal(ji.resume(model, acts["resid_pre"][1], np.uint8(1))[0], want)
    assert ji.zero("z", layer=np.int64(1)).layers == ji.zero("z", layer=1).layers
    assert ji.at("z", layer=slice(np.int64(1), None)).name == "z[1:]"
    for factor in (np.int64(2), jnp.asarray(2), np.float16(2)):
        got, _ = ji.run(model, tokens, edits=[ji.scale("z", factor)])
        np.testing.assert_array_equal(got, ji.run(model, tokens, edits=[ji.scale("z", 2)])[0])
    # A position of eight bits is no sum of eight bits.
    long = np.ones(16, np.uint8)
    got, _ = ji.run(model, long, edits=[ji.zero("z", pos=np.int8(-1))], capture=["z"])
    want, _ = ji.run(model, long, edits=[ji.zero("z", pos=15)], capture=["z"])
    np.testing.assert_array_equal(got, want)


class Tensor:
    """What PyTorch's tensors look like from outside: bfloat16 has no way to NumPy."""

    def __init__(self, value: np.ndarray, attached: bool = True) -> None:
        self.value, self.attached = value, attached
        self.dtype = "torch.bfloat16" if value.dtype == jnp.bfloat16 else f"torch.{value.dtype}"

    def detach(self) -> "Tensor":
        return Tensor(self.value, False)

    def cpu(self) -> "Tensor":
        return self

    def float(self) -> "Tensor":
        return Tensor(self.value.astype(np.float32), self.attached)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.attached or self.dtype == "torch.bfloat16":
            raise RuntimeError("Can't call numpy() on this tensor.")
        return self.value


def test_tensors_of_pytorch_are_arrays() -> None:
    model, tokens = model_of("gpt2"), np.asarray([[1, 2, 3], [4, 5, 0]])
    real = np.asarray([[True] * 3, [True, True, False]])
    value = np.linspace(-1, 1, 8).astype(jnp.bfloat16)
    answer = np.asarray([3, 4])

    def said(kind: Any) -> Any:
        edits = [ji.add("resid_post", kind(value), layer=kind(np.asarray(1)), pos=kind(answer - 3))]
        metric = ji.metrics.prob(kind(answer))
        return ji.metrics.measure(model, kind(tokens), metric, mask=kind(real), edits=edits)

    np.testing.assert_array_equal(said(Tensor), said(np.asarray))


def test_nothing_is_likelier_than_nan() -> None:
    logits = jnp.asarray([[0.0, 1.0, 2.0], [jnp.nan] * 3, [0.0, jnp.nan, 2.0]])[:, None]
    np.testing.assert_array_equal(ji.metrics.rank(0)(logits), [2, np.nan, np.nan])
