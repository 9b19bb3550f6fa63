"""The scripts that train the embedded model, on a miniature corpus, and the model itself."""

import itertools
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer

import jaxinterp as ji

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "jaxinterp" / "_tiny"
SCRIPTS = ROOT / "examples" / "train_tiny"
if not SCRIPTS.is_dir():
    pytest.skip("the training scripts are not here", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))

import data  # noqa: E402
import evaluate  # noqa: E402
import export  # noqa: E402
import model  # noqa: E402
import ngram  # noqa: E402
import tokenizer as bpe  # noqa: E402
import train  # noqa: E402

CONFIG = model.Config(vocab=290, d=16, layer=2, head=2, ff=32, context=32)


@pytest.fixture(autouse=True)
def _promotion():
    # The scripts follow NumPy's promotion, as a user's own code does.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), CONFIG))
    return jax.tree.map(lambda x: jnp.asarray(0.2 * rng.normal(size=x.shape), jnp.float32), shapes)


@pytest.fixture
def tokens():
    return np.random.default_rng(0).integers(0, CONFIG.vocab, (3, CONFIG.context + 1), np.int32)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two corpora of short sentences, in the form of the real ones."""
    folder, rng = tmp_path_factory.mktemp("corpora"), np.random.default_rng(0)
    for name, words in {
        "english": "the cat saw a dog run",
        "german": "der Hund sah eine Katze",
    }.items():
        docs = [" ".join(rng.choice(words.split(), 60)) for _ in range(120)]
        (folder / f"{name}.txt").write_text("\n\0\n".join(docs))
    return folder


def miniature(corpora, out):
    sizes = "--vocab 290 --d 16 --layer 1 --head 2 --ff 32 --context 32"
    run = f"--data {corpora} --out {out} --steps 6 --batch 4 --save-every 2 --warmup 2"
    return train.main(f"{run} {sizes}".split())


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(corpora, tmp_path):
    whole = miniature(corpora, tmp_path)
    shutil.rmtree(tmp_path / "state" / "6")  # as if the run had been killed after its checkpoint at step 4
    assert same(whole, miniature(corpora, tmp_path))
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [6, 6]
    exported, _ = export.load(tmp_path / "step6")
    assert same(exported, jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), whole))


def test_export_is_the_library_s_model(params, tokens, tmp_path):
    (tmp_path / "tokenizer.json").write_text((TINY / "tokenizer.json").read_text())
    export.save(tmp_path / "m", params, CONFIG, tmp_path / "tokenizer.json", training={})
    rounded, config = export.load(tmp_path / "m")
    assert config == CONFIG
    assert same(rounded, jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), params))
    (tmp_path / "m" / "tokenizer.json").unlink()
    library, _ = ji.load(tmp_path / "m")
    np.testing.assert_allclose(
        model.logits(rounded, tokens[:, 1:], CONFIG),
        ji.run(library, tokens[:, 1:])[0],
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.slow
def test_written_gradients_are_the_derived_ones(params, tokens):
    weight = np.random.default_rng(1).uniform(size=tokens[:, 1:].shape).astype(np.float32)

    def plain(params):
        return (model.token_losses(params, tokens, CONFIG) * weight).sum() / weight.sum()

    fast = jax.jit(jax.value_and_grad(lambda p: model.mean_loss(p, tokens, weight, CONFIG)))(params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "gelu", lambda x: jax.nn.gelu(x, approximate=False))
        patch.setattr(model, "attend_in_blocks", naive_attention)
        slow = jax.jit(jax.value_and_grad(plain))(params)
    for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(slow), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def naive_attention(q, k, v):
    scores = jnp.einsum("bhqk,bhpk->bhqp", q, k)
    scores = jnp.where(np.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf)
    return jnp.einsum("bhqp,bhpk->bhqk", jax.nn.softmax(scores), v)


def test_a_batch_is_a_function_of_its_step():
    rows = np.arange(40 * 33, dtype=np.uint16).reshape(40, 33) % 290
    first, second = (data.Batches(rows, batch=8, vocab=290, seed=3) for _ in range(2))
    for step in (7, 0, 3):
        for a, b in zip(first(step), second(step)):
            np.testing.assert_array_equal(a, b)
    epoch = np.concatenate([first.row_ids(step) for step in range(5)])
    np.testing.assert_array_equal(np.sort(epoch), np.arange(40))
    tokens, weight = first(0)
    for i in range(first.repeat_rows(0)):
        assert any(np.array_equal(tokens[i, 1 + p :], tokens[i, 1:-p]) for p in range(8, 17))
        assert weight[i, -1] == 1


def test_held_out_documents_are_never_trained_on(corpora):
    split = data.load_corpora(corpora)
    for name in split["train"]:
        assert split["valid"][name]
        assert not set(split["train"][name]) & set(split["valid"][name])
    tok = bpe.train(split["train"]["english"], vocab=400)
    assert data.rows(tok, split["valid"]["german"], length=33).shape[1] == 33


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ngram_probabilities_sum_to_one_and_equal_their_definition(order):
    rng, vocab = np.random.default_rng(order), 5
    rows = rng.choice(vocab, (12, 9), p=[0.5, 0.2, 0.2, 0.1, 0.0])
    orders = ngram.fit(rows, order=order, vocab=vocab)
    every = np.array(list(itertools.product(range(vocab), repeat=order + 1)))
    last = np.exp(-ngram.token_losses(orders, every, vocab=vocab)[:, -1]).reshape(-1, vocab)
    np.testing.assert_allclose(last.sum(1), 1.0)

    def p(gram):
        if not gram:
            return 1 / vocab
        windows = [tuple(r[i : i + len(gram)]) for r in rows for i in range(len(r) - len(gram) + 1)]
        after = [w for w in windows if w[:-1] == gram[:-1]]
        if not after:
            return p(gram[1:])
        discount = orders[len(gram) - 1].discount
        kept = max(after.count(gram) - discount, 0)
        return (kept + discount * len(set(after)) * p(gram[1:])) / len(after)

    expected = [p(tuple(map(int, gram[-order:]))) for gram in every]
    np.testing.assert_allclose(last.ravel(), expected)


def test_best_neuron_finds_the_planted_one():
    rng = np.random.default_rng(0)
    truth, values = np.arange(100) < 30, rng.normal(size=(100, 7))
    values[:, 4] = truth + 0.1 * rng.uniform(size=100)
    neuron, threshold = evaluate.best_neuron(values, truth)
    assert neuron == 4
    assert evaluate.f1(values[:, 4] > threshold, truth) == 1.0


def test_the_embedded_model_is_small_and_names_are_single_tokens():
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 12e6
    tok = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    assert tok.token_to_id(bpe.END) == 0
    assert all(len(tok.encode(f" {name}").ids) == 1 for name in bpe.NAMES)
    text = "Grüße, naïve café: for i in range(3):\n\treturn ∑"
    assert tok.decode(tok.encode(text).ids) == text


@pytest.mark.slow
def test_the_embedded_model_has_induction_heads():
    params, config = export.load(TINY)
    prefix, _ = evaluate.induction_scores(params, config, samples=8)
    assert prefix.max() > 0.6
    assert prefix[0].max() < 0.1  # the first layer cannot
