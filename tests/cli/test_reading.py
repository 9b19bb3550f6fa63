"""`jaxinterp models|heads|attention|patch|activations` print what the functions of the library return."""

import jax
import numpy as np
import pytest

import jaxinterp as ji

from .calls import call


def rows(text, after):
    """The cells of a table below its title, a list for each row."""
    lines = text.split(after)[1].splitlines()
    return [each.split() for each in lines if each.strip() and each.split()[0][0].isdigit()]


@pytest.mark.quick
def test_models_lists_every_short_name():
    text = call("models")
    assert all(f" {name} " in text for name in ["tiny", *ji.hub.short_names()])
    few = call("models", "Pythia-70M")
    assert "pythia-70m-deduped" in few and "gpt2" not in few and "ji.load" not in few


def test_heads_prints_the_scores(folder, tmp_path):
    plot = tmp_path / "heads.html"
    text = call("heads", folder / "model", "--kind", "current", "--top", 3, "--plot", plot)
    model, tokenizer = ji.load(str(folder / "model"))
    found = ji.heads.summary(model, key=jax.random.key(0), bos=tokenizer.bos_id)
    scores = np.asarray(found["current"])
    best = np.argsort(-scores, axis=None)[:3]
    table = rows(text, "score highest by current")
    assert [row[0] for row in table] == [f"{i // 2}.{i % 2}" for i in best]
    assert [float(row[1]) for row in table] == pytest.approx(scores.ravel()[best], abs=1e-3)
    assert plot.is_file() and str(found).splitlines()[0] in text


def test_attention_prints_what_a_head_looks_at(folder, tmp_path):
    plot = tmp_path / "attention.html"
    text = call("attention", folder / "model", "abcab", "--position", 3, "--plot", plot)
    model, tokenizer = ji.load(str(folder / "model"))
    pattern = np.asarray(ji.run(model, tokenizer("abcab"), capture=["pattern"])[1]["pattern"])
    table = rows(text, "From token 3")
    assert len(table) == 4 and plot.is_file()
    weights = [float(row[3]) for row in table]
    assert weights == sorted(weights, reverse=True)
    for head, token, place, weight, first in table:
        layer, number = map(int, head.split("."))
        row = pattern[layer, number, 3]
        assert float(weight) == pytest.approx(row[1:].max(), abs=5e-4) and token == "abcab"[int(place)]
        assert row[int(place)] == row[1:].max(initial=0) and float(first) == pytest.approx(row[0], abs=5e-4)
    one = rows(call("attention", folder / "model", "abcab", "--head", "1.0", "--bos"), "From token 5")
    assert [row[0] for row in one] == ["1.0"]
    assert len(rows(call("attention", folder / "model", "abcab", "--layer", -1), "From token 4")) == 2


def test_patch_prints_the_sweep(folder, tmp_path):
    args = ("patch", folder / "model", "abcx", "abyx", "--answer", "a", "--wrong", "b", "--top", 2)
    text = call(*args, "--plot", tmp_path / "patch.html")
    model, tokenizer = ji.load(str(folder / "model"))
    clean, corrupt = tokenizer("abcx"), tokenizer("abyx")
    metric = ji.metrics.logit_diff(tokenizer.token_id("a"), tokenizer.token_id("b"))
    high, low = (float(ji.metrics.measure(model, ids, metric)) for ids in (clean, corrupt))
    heat = ji.patching.sweep(model, clean, corrupt, metric)
    effects = np.asarray(ji.metrics.recovered(heat, high, low))
    assert f"{ji.viz.number(high)} after the clean prompt, {ji.viz.number(low)} after" in text
    for layer, pos, token, effect in rows(text, "move the answer most"):
        assert token == "abcx"[int(pos)]
        assert ji.viz.number(float(effects[int(layer), int(pos)])) == effect
    assert "abcx"[2] in (tmp_path / "patch.html").read_text()


@pytest.mark.slow
def test_patch_of_heads_in_the_other_mode_and_by_a_gradient(folder, tmp_path):
    args = ("patch", folder / "model", "abcx", "abyx", "--answer", "a", "--wrong", "b", "--top", 2)
    model, tokenizer = ji.load(str(folder / "model"))
    clean, corrupt = tokenizer("abcx"), tokenizer("abyx")
    metric = ji.metrics.logit_diff(tokenizer.token_id("a"), tokenizer.token_id("b"))
    high, low = (float(ji.metrics.measure(model, ids, metric)) for ids in (clean, corrupt))
    text = call(*args, "--site", "z", "--mode", "noise")
    heat = ji.patching.sweep(model, clean, corrupt, metric, site="z", over=("layer", "head"), mode="noise")
    effects = np.asarray(ji.metrics.recovered(heat, high, low))
    table = rows(text, "move the answer most")
    far = np.abs(effects - 1).ravel()
    assert [int(a) * 2 + int(b) for a, b, _ in table] == list(np.argsort(-far, kind="stable")[:2])
    assert "estimated patches of z" in call(*args, "--site", "z", "--estimate", "--plot", tmp_path / "z.html")


@pytest.mark.slow
def test_activations_are_those_of_the_library_and_train_a_dictionary(folder, tmp_path):
    out = tmp_path / "acts"
    args = ("activations", folder / "model", folder / "texts", "--site", "resid_post[1]", "--ctx", 8)
    text = call(*args, "--out", out, "--batch", 4, "--dtype", "float32")
    store = ji.data.Store(out)
    assert f"Wrote {out}: {len(store):,} rows of resid_post[1]" in text.replace("\n", "")
    model, tokenizer = ji.load(str(folder / "model"))
    documents = ji.data.read_texts(folder / "texts")
    corpus = ji.data.pack(tokenizer, documents, ctx=8, join=True, bos=tokenizer.bos_id is not None)
    wanted = ji.data.activations(model, corpus, "resid_post[1]", progress=False)
    np.testing.assert_allclose(store.read("resid_post[1]"), wanted, atol=1e-6)
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    call(*args, "--out", out, "--batch", 4, "--dtype", "float32")
    assert before == {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    train = (
        "sae",
        "train",
        folder / "model",
        "--store",
        out,
        "--site",
        "resid_post[1]",
        "--kind",
        "batch-topk",
    )
    said = call(*train, "--features", 16, "--k", 2, "--steps", 2, "--batch", 16, "--out", tmp_path / "sae")
    assert "BatchTopK: 16 features" in said and ji.sae.load(tmp_path / "sae").kind_name == "BatchTopK"
    # The dictionary records its model and its site: nothing else is asked for.
    said = call("sae", "steer", tmp_path / "sae", "abc", "--feature", 3, "--value", 2, "--steps", 2)
    assert said.startswith("plain: abc") and "\nsteered: abc" in said
    (folder / "model").rename(folder / "moved")
    try:
        said = call("sae", "steer", tmp_path / "sae", "abc", "--feature", 3, "--value", 2, code=2)
        assert "cannot be read here" in said and "--model MODEL" in said
    finally:
        (folder / "moved").rename(folder / "model")
