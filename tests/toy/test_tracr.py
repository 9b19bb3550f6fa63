"""Programs of tracr, converted: against its forward pass written in NumPy, of parameters in its layout."""

import types
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji

LAYERS, HEADS, K, D, FF, VOCAB, POS = 3, 2, 4, 7, 5, 6, 5
LABELS = ["one", "f_1:a", "f_1:b", "tokens:a", "tokens:b", "indices:0", "f_10"]


def compiled(**options: Any) -> Any:
    """What a compilation returns, with random numbers, biases too."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)
    linear = lambda a, b: {"w": draw(a, b), "b": draw(b)}
    params = {"token_embed": {"embeddings": draw(VOCAB, D)}, "pos_embed": {"embeddings": draw(POS, D)}}
    for layer in range(LAYERS):
        at = f"transformer/layer_{layer}"
        params |= {f"{at}/attn/{name}": linear(D, HEADS * K) for name in ("query", "key", "value")}
        params |= {f"{at}/attn/linear": linear(HEADS * K, D)}
        params |= {f"{at}/mlp/linear_1": linear(D, FF), f"{at}/mlp/linear_2": linear(FF, D)}
    sizes: dict[str, Any] = {
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "key_size": K,
        "mlp_hidden_size": FF,
        "layer_norm": False,
        "causal": False,
        "activation_function": lambda x: np.maximum(x, 0),
    }
    tokens = {"BOS": 2, 1: 0, 2: 1, "compiler_pad": 3, 3: 4, 4: 5}
    return types.SimpleNamespace(
        params=params,
        model_config=types.SimpleNamespace(**{**sizes, **options}),
        residual_labels=LABELS,
        input_encoder=types.SimpleNamespace(encoding_map=tokens),
    )


def streams(given: Any, tokens: np.ndarray) -> list[np.ndarray]:
    """The residual stream after each half of a block, as tracr defines it."""
    p = given.params
    apply = lambda name, x: x @ p[name]["w"] + p[name]["b"]
    x = p["token_embed"]["embeddings"][tokens] + p["pos_embed"]["embeddings"][: len(tokens)]
    found = []
    for layer in range(LAYERS):
        at = f"transformer/layer_{layer}"
        q, k, v = (apply(f"{at}/attn/{n}", x).reshape(-1, HEADS, K) for n in ("query", "key", "value"))
        scores = np.einsum("thk,shk->hts", q, k) / np.sqrt(K)
        if given.model_config.causal:
            scores = np.where(np.tril(np.ones(scores.shape[1:])), scores, -1e30)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        z = np.einsum("hts,shk->thk", weights, v).reshape(-1, HEADS * K)
        x = x + apply(f"{at}/attn/linear", z)
        found.append(x)
        x = x + apply(f"{at}/mlp/linear_2", np.maximum(apply(f"{at}/mlp/linear_1", x), 0))
        found.append(x)
    return found


@pytest.mark.parametrize("causal", [False, True])
def test_streams_are_those_of_the_definition(causal: bool) -> None:
    given = compiled(causal=causal)
    program = ji.toy.from_tracr(given)
    tokens = program.encode(["BOS", 2, 1, 4, 1])
    wanted = streams(given, tokens)
    logits, acts = ji.run(program.model, tokens, capture=["resid_mid", "resid_post"])
    np.testing.assert_allclose(acts["resid_mid"], wanted[::2], atol=2e-5)
    np.testing.assert_allclose(acts["resid_post"], wanted[1::2], atol=2e-5)
    np.testing.assert_allclose(logits, wanted[-1], atol=2e-5)


def test_outputs_are_the_coordinates_that_are_named() -> None:
    given = compiled()
    whole = np.asarray(ji.toy.from_tracr(given).model.w_unembed)
    for outputs, places in (("f_1", [1, 2]), ("f_10", [6]), (["tokens:b", "one"], [4, 0])):
        program = ji.toy.from_tracr(given, outputs=outputs)
        np.testing.assert_array_equal(program.model.w_unembed, whole[:, places])
        assert program.model.config.vocab_out == len(places)
    assert program.tokens == (1, 2, "BOS", "compiler_pad", 3, 4) and program.residual == tuple(LABELS)


@pytest.mark.parametrize(
    "options, outputs, words",
    [
        ({"layer_norm": True}, None, "layer_norm=True"),
        ({"activation_function": np.tanh}, None, "ReLU"),
        ({}, "f", "'f' is no coordinate"),
        ({}, ["one", "two"], "'two' is no coordinate"),
    ],
)
def test_what_is_wrong_teaches(options: Any, outputs: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ji.toy.from_tracr(compiled(**options), outputs=outputs)
