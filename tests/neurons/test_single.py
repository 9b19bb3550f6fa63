"""Single neurons: enumerated, taken apart, checked from three sides, and read off the weights."""

import html
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import sampled

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.quick
def test_monosemantic_finds_what_was_planted() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.3
    x = rng.normal(size=(2, 200, 40)).astype(np.float32)
    x[1, :, 5] -= 6 * y
    x[0, :, 9] += 2 * y
    found = ji.neurons.monosemantic(x, y, top=4)
    assert [each["neuron"] for each in found[:2]] == ["1.5", "0.9"]
    assert (found[0]["layer"], found[0]["unit"], found[0]["rank"], found[0]["sign"]) == (
        1,
        5,
        1,
        -1,
    )
    assert found[0]["f1"] > 0.95 and [each["f1"] for each in found] == sorted(
        (each["f1"] for each in found), reverse=True
    )
    probe = ji.probes.fit(x[1], y, support=[5])
    np.testing.assert_allclose(
        [found[0]["weight"], found[0]["bias"]], [probe.weights[0], probe.bias], rtol=2e-3
    )
    wanted = ji.probes.metrics(y, probe.decision(x[1]))
    for what in ("f1", "mcc", "precision", "recall"):
        assert abs(found[0][what] - wanted[what]) < 1e-6
    noisy = x + rng.normal(size=x.shape).astype(np.float32)
    other = ji.neurons.monosemantic(x, y, top=4, test=(noisy, y))
    score = noisy[1, :, 5] * other[0]["weight"] + other[0]["bias"]
    assert abs(other[0]["f1"] - ji.probes.metrics(y, score)["f1"]) < 1e-6 < found[0]["f1"] - other[0]["f1"]
    assert ji.neurons.monosemantic(x[1], y, top=4)[0]["neuron"] == "5"
    with pytest.raises(ValueError, match=r"test=.x, y. has the axes of x"):
        ji.neurons.monosemantic(x, y, test=(x[0], y))
    with pytest.raises(ValueError, match="top is a number of neurons"):
        ji.neurons.monosemantic(x, y, 0)


def test_a_sum_separates_what_its_parts_do_not(model: Any) -> None:
    """Id 5 is where both neurons fire, and each fires on another id too."""
    rng = np.random.default_rng(3)
    tokens = rng.choice([3, 5, 7, 9], size=(8, 12))

    hot = np.zeros((8, 12, 32), np.float32)
    hot[..., 0], hot[..., 1] = np.isin(tokens, [5, 7]), np.isin(tokens, [5, 9])
    edited = ji.intervene(model, [ji.replace("mlp_post", jnp.asarray(hot), layer=0)])
    found = ji.neurons.dissect(edited, tokens, [(0, 0), (0, 1)], tokens == 5, n=2, top=20, batch_size=8)
    assert found.parts == ("0.0", "0.1", "sum") and found.targets == (tokens == 5).sum()
    assert found.separation[2]["f1"] == 1 and found.separation[2]["in_top"] == 1
    assert 1 < found.separation[2]["threshold"] < 2
    positives, fires = (tokens == 5).sum(), np.isin(tokens, [5, 7]).sum()
    assert abs(found.separation[0]["f1"] - 2 * positives / (positives + fires)) < 1e-9
    # All bigrams by a loop.
    table: dict[tuple[int, int], list[float]] = {}
    for row in tokens.tolist():
        for pair in itertools.pairwise(row):
            table.setdefault(pair, []).append(float(pair[1] in (5, 7)))
    there = found.ids[0, :, 0] >= 0
    assert {tuple(pair) for pair in found.ids[0][there].tolist()} == set(table)
    for pair, mean, count, share in zip(
        found.ids[0][there].tolist(), found.mean[0], found.count[0], found.share[0], strict=False
    ):
        assert count == len(table[tuple(pair)]) and mean == np.mean(table[tuple(pair)])
        assert share == float(pair[1] == 5)
    assert (found.share[2][: (np.asarray(found.mean[2]) == 2).sum()] == 1).all()
    near = ji.neurons.dissect(
        edited, tokens, [(0, 0), (0, 1)], tokens == 5, against=tokens == 7, batch_size=8
    )
    assert near.separation[1]["f1"] == 1 and near.separation[0]["f1"] < 1
    with pytest.raises(ValueError, match="there are 0 targets"):
        ji.neurons.dissect(edited, tokens, [(0, 0), (0, 1)], tokens == 4, batch_size=8)
    with pytest.raises(ValueError, match="target is of bools with the shape of the tokens"):
        ji.neurons.dissect(edited, tokens, [(0, 0), (0, 1)], tokens[:, 1:] == 5, batch_size=8)


@pytest.mark.quick
def test_context_check_puts_three_checks_together(model: Any, classes: Any) -> None:
    ask: dict[str, Any] = dict(skip=2, batch_size=6)
    settings = ji.neurons.ContextCheckSettings(skip=2, least=1, top=5)
    asked: dict[str, Any] = dict(settings=settings, batch_size=6)
    check = ji.neurons.context_check(model, classes, (1, 3), "b", resamples=50, **asked)
    moments = ji.neurons.distribution(model, classes, (1, 3), **ask)
    losses = ji.neurons.ablation(model, classes, (1, 3), resamples=50, batch_size=6)
    assert (check.distribution.counts == moments.counts).all()
    assert (check.ablation.increase == losses.increase).all() and check.off_class.names == ("a",)
    records = check.records()
    assert [each["own"] for each in records] == [False, True]
    assert records[1]["increase"] == losses.increase[0, 1]
    assert 0 < check.separation < 1

    class Tokens:
        def tokens(self, ids: Any) -> list[str]:
            return [f"<b>{int(i)}" for i in ids]

    page = "".join(figure.html for figure in check.figures(Tokens()))
    assert "&lt;b&gt;" in page and "<b>" not in page
    with pytest.raises(ValueError, match="takes one neuron"):
        ji.neurons.context_check(model, classes, [(1, 3), (0, 1)], "b", **asked)
    with pytest.raises(ValueError, match="there is none"):
        ji.neurons.context_check(model, {"b": classes["b"]}, (1, 3), "b", **asked)


@pytest.mark.slow
def test_top_contexts_are_escaped(model: Any, classes: Any) -> None:
    class Tokens:
        def tokens(self, ids: Any) -> list[str]:
            return [f"<script>{int(i)}\n" for i in ids]

    top = ji.neurons.top_contexts(model, classes, [(1, 3)], top=3, skip=2, batch_size=6)
    figure = top.figure(Tokens())
    assert "<script>" not in figure.html and html.escape("<script>") in figure.html
    assert top.records(Tokens())[0]["token"] == f"<script>{top.tokens[0, 0, 12]}\n"


@pytest.mark.parametrize("family", sampled("llama", slow=["gpt2"]))
def test_weight_statistics_one_neuron_at_a_time(family: str) -> None:
    sizes: dict[str, Any] = dict(vocab=11, ctx=8, layers=3, d=8, heads=2)
    configs = {
        "gpt2": (ji.models.GPT2, ji.models.GPT2Config(**sizes)),
        "llama": (ji.models.Llama, ji.models.LlamaConfig(**sizes, kv_heads=2, ff=12)),
    }
    cls, config = configs[family]
    shapes = jax.eval_shape(lambda: cls.init(config, key=jax.random.key(0)))
    rng = np.random.default_rng(0)
    model = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)
    found = ji.neurons.weight_statistics(model)
    mlp, gain = model.blocks.mlp, np.asarray(model.blocks.ln2.weight, np.float64)
    reader = mlp.w_gate if family == "llama" else mlp.w_in
    layer, unit = 2, 5
    w_in = np.asarray(reader[layer, :, unit], np.float64) * gain[layer]
    w_out = np.asarray(mlp.w_out[layer, unit], np.float64)
    if family == "gpt2":
        shift = np.asarray(model.blocks.ln2.bias[layer], np.float64)
        bias = float(mlp.b_in[layer, unit]) + shift @ np.asarray(reader[layer, :, unit], np.float64)
        w_in, w_out = w_in - w_in.mean(), w_out - w_out.mean()
        product = np.linalg.norm(w_in) * bias
        np.testing.assert_allclose(found.product[layer, unit], product, rtol=1e-4)
        medians = np.median(found.product, 1) / np.median(np.abs(found.product), 1).max()
        np.testing.assert_allclose(found.curve(), medians, rtol=1e-6)
        assert found.matrix == "w_in" and found.reason == ""
    else:
        assert np.isnan(found.product).all() and found.matrix == "w_gate"
        assert "no bias beside w_gate" in found.reason and np.isnan(found.curve()).all()
    np.testing.assert_allclose(found.in_norm[layer, unit], np.linalg.norm(w_in), rtol=1e-4)
    np.testing.assert_allclose(found.out_norm[layer, unit], np.linalg.norm(w_out), rtol=1e-4)
    cosine = w_in @ w_out / np.linalg.norm(w_in) / np.linalg.norm(w_out)
    np.testing.assert_allclose(found.cosine[layer, unit], cosine, atol=1e-4)
    assert [row["layer"] for row in found.records()] == [0, 1, 2]


def test_models_without_neurons() -> None:
    config = ji.models.GPT2Config(vocab=11, ctx=8, layers=1, d=8, heads=2, ff=0, norm=False, tied=False)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    with pytest.raises(ValueError, match="no MLP"):
        ji.neurons.weight_statistics(model)
    with pytest.raises(ValueError, match="no site 'mlp_post'"):
        ji.neurons.distribution(model, np.ones((1, 8), np.int32), (0, 1), skip=0)


@pytest.mark.slow
def test_three_neurons_of_the_embedded_model_know_a_language(shared_data: Path) -> None:
    """Chosen on other documents, F1 of 0.95 on held-out ones that neither model nor probe has seen."""
    spec = importlib.util.spec_from_file_location("language_neurons", EXAMPLES / "language_neurons.py")
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    model, tokenizer = ji.load("tiny")
    documents = example.read(shared_data / "corpora")
    corpus, train, test = example.joined(tokenizer, *documents, 128, 100)
    found = example.study(model, corpus, train, test, skip=10, seconds=5, ks=())
    assert sum(each["f1"] >= 0.95 for each in found.values()) >= 3
    assert found["German"]["f1"] >= 0.99 and found["French"]["f1"] >= 0.99
