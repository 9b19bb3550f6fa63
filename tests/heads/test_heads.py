"""Scores of heads: a circuit written by hand, plain loops over patterns, and trained models."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.heads import _attention

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def planted() -> Any:
    return ji.toy.planted_induction(vocab=20, ctx=32, heads=2)


@pytest.fixture(scope="module")
def llama() -> Any:
    """Shared key heads, norms with gains, random weights."""
    config = ji.models.LlamaConfig(vocab=30, ctx=24, d=16, layers=2, heads=4, kv_heads=2, ff=24)
    shapes = jax.eval_shape(lambda: ji.models.Llama.init(config, key=KEY))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.4 * rng.normal(size=x.shape), x.dtype), shapes)


@pytest.mark.quick
def test_the_planted_circuit_is_found(planted: Any) -> None:
    model = planted.model
    found = ji.heads.summary(model, key=KEY)
    assert found.named("induction") == [planted.induction]
    assert found.named("previous") == [planted.previous]
    for kind, head in (
        ("induction", planted.induction),
        ("prefix", planted.induction),
        ("previous", planted.previous),
        ("copying", planted.induction),
        ("copying_behaviour", planted.induction),
    ):
        assert found[kind].shape == (2, 2) and found[kind][head] > 0.99
    # A head that writes nothing, or where nothing is unembedded, copies nothing.
    assert np.abs(np.asarray(found["copying"]))[[0, 0, 1], [0, 1, 1]].max() == 0
    assert np.abs(np.asarray(found["copying_behaviour"]))[[0, 0, 1], [0, 1, 1]].max() == 0
    first, second = ji.heads.repeat_losses(model, key=KEY)
    assert float(second) < 0.01 and float(first) > np.log(20)
    assert (ji.heads.copied_tokens(model, np.arange(20)) == np.asarray([[0, 0], [1, 0]], np.float32)).all()
    assert "induction        1.0 1.00" in repr(found) and "duplicate token  none" in repr(found)
    with pytest.raises(ValueError, match="A kind is one of induction"):
        found.named("mover")


def test_the_planted_circuit_is_a_composition(planted: Any) -> None:
    """The one pair of heads that compose: through the keys."""
    (pair,) = ji.heads.strongest(ji.heads.composition(planted.model, "k"))
    assert (pair.writer, pair.reader) == (planted.previous, planted.induction)
    assert repr(pair).startswith("0.0 -> 1.0 (0.")
    for kind in "qv":
        assert ji.heads.strongest(ji.heads.composition(planted.model, kind)) == []
    table = np.random.default_rng(0).normal(size=(2, 3, 2, 3))
    assert ji.heads.strongest(table, 1)[0].score == table.max()
    (one,) = ji.heads.strongest(table, 1, reader=(1, 2), writer=(0, 1))
    assert one.score == table[0, 1, 1, 2]
    with pytest.raises(ValueError, match=r"axes \(layer, head, layer, head\).*got the\s+shape \(2, 2\)"):
        ji.heads.strongest(np.zeros((2, 2)))


@pytest.mark.slow
def test_what_the_circuit_needs(planted: Any) -> None:
    """Without the previous-token head, or in one layer alone, no head does induction."""
    cut = ji.intervene(planted.model, [ji.zero("z", layer=0, head=0)])
    assert ji.heads.induction_scores(cut, key=KEY).max() < 0.2
    config = ji.models.GPT2Config(vocab=20, ctx=32, d=16, layers=1, heads=2, ff=0, norm=False, tied=False)
    one = ji.models.GPT2.init(config, key=KEY)
    assert ji.heads.induction_scores(one, key=KEY).max() < 0.2


def loop(pattern: Any, tokens: Any, kind: str, real: Any) -> np.ndarray:
    """A score by its definition, one query and key at a time."""
    pattern, tokens = np.asarray(pattern), np.asarray(tokens)
    values = []
    for b, row in enumerate(tokens):
        for q in range(len(row)):
            if not real[b, q]:
                continue
            before = [p for p in range(q) if row[p] == row[q] and real[b, p]]
            keys = {
                "previous": [q - 1] if q and real[b, q - 1] else [],
                "duplicate": before,
                "prefix": [p + 1 for p in before],
                "induction": [p + 1 for p in before[-1:]],
                "current": [q],
                "first": [int(np.argmax(real[b]))],
            }[kind]
            if keys:
                values.append(pattern[:, b, :, q, keys].sum(0))
    return np.mean(values, 0)


@pytest.mark.parametrize(
    "side",
    [
        "left",
        pytest.param("right", marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_attention_scores_are_their_definitions(llama: Any, side: str | None) -> None:
    """Every kind, tokens that come several times, padding on either side."""
    tokens = np.random.default_rng(1).integers(0, 5, (4, 12)).astype(np.int32)
    real = np.ones(tokens.shape, bool)
    if side:
        real[1, slice(0, 4) if side == "left" else slice(8, 12)] = False
    _, acts = ji.run(llama, tokens, capture=["pattern"], mask=real, logits=False)
    scores = ji.heads.attention_scores(llama, tokens, list(ji.heads.KINDS), mask=real)
    for kind in ji.heads.KINDS:
        expected = loop(acts["pattern"], tokens, kind, real)
        assert np.allclose(scores[kind], expected, atol=1e-6), kind
    lower = np.tril(np.ones((12, 12)), -1)
    earlier = ji.heads.attention_scores(llama, tokens, lower, mask=real)
    diagonal = ji.heads.detector_scores(llama, tokens, np.eye(12), mask=real)
    assert np.allclose(diagonal, scores["current"], atol=1e-6)
    below = ji.heads.detector_scores(llama, tokens, lower, mask=real)
    assert np.allclose(below + diagonal, 1, atol=1e-6) and (earlier >= below - 1e-6).all()
    # Of the attention that is neither to the first position nor to itself, to the one before.
    pattern = np.where((real[:, :, None] & real[:, None])[None, :, None], np.asarray(acts["pattern"]), 0)
    first = real.argmax(1)
    for b in range(4):
        pattern[:, b, :, :, first[b]] = 0
    pattern = pattern * (1 - np.eye(12))
    expected = np.einsum("lbhqq->lh", np.roll(pattern, 1, -1)) / pattern.sum((1, 3, 4))
    got = ji.heads.detector_scores(
        llama, tokens, "previous", mask=real, exclude_first=True, exclude_current=True
    )
    assert np.allclose(got, expected, atol=1e-6)


@pytest.mark.slow
def test_scores_on_repeated_tokens(llama: Any) -> None:
    tokens = ji.heads.repeated_tokens(llama.config, key=KEY, block=6, repeats=3, bos=2, batch_size=3)
    assert tokens.shape == (3, 19) and tokens.dtype == jnp.int32
    rows = np.asarray(tokens)
    assert (rows[:, 0] == 2).all() and (rows[:, 1:7] == rows[:, 7:13]).all()
    assert all(len(set(row[1:7]) | {2}) == 7 for row in rows.tolist())
    _, acts = ji.run(llama, tokens, capture=["pattern"], logits=False)
    real = np.ones(rows.shape, bool)
    options = dict(block=6, repeats=3, bos=2, batch_size=3)
    for kind, score in {
        "induction": ji.heads.induction_scores,
        "prefix": ji.heads.prefix_matching_scores,
        "previous": ji.heads.previous_token_scores,
        "duplicate": ji.heads.duplicate_token_scores,
    }.items():
        expected = loop(acts["pattern"], rows, kind, real)
        assert np.allclose(score(llama, key=KEY, **options), expected, atol=1e-6)


@pytest.mark.slow
def test_twice_is_the_same_for_both(planted: Any) -> None:
    """Of two rounds, what followed the last time is what ever followed."""
    model = planted.model
    both = ji.heads.induction_scores(model, key=KEY), ji.heads.prefix_matching_scores(model, key=KEY)
    assert (both[0] == both[1]).all()
    more = ji.heads.prefix_matching_scores(model, key=KEY, block=8, repeats=4)
    assert (more >= ji.heads.induction_scores(model, key=KEY, block=8, repeats=4)).all()


@pytest.mark.slow
def test_chunks_and_compiled_programs(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few prompts at a time give the same; other values of the same shapes compile nothing."""
    gpt2 = planted.model
    tokens = ji.heads.repeated_tokens(gpt2.config, key=KEY, block=5, batch_size=6)
    whole = ji.heads.attention_scores(gpt2, tokens, "prefix")
    traced = []

    class Counted(type(gpt2)):  # pyright: ignore
        def unembed(self, resid: Any, tap: Any) -> Any:
            return super().unembed(resid, tap)

        def embed(self, ids: Any, positions: Any, tap: Any) -> Any:
            traced.append(ids.shape)
            return super().embed(ids, positions, tap)

    model = Counted(**{name: getattr(gpt2, name) for name in gpt2.__dataclass_fields__})
    monkeypatch.setattr(_attention, "_BYTES", 4 * 2 * 2 * 10 * 10 * 2)  # room for two prompts
    parts = ji.heads.attention_scores(model, tokens, "prefix")
    assert (2, 10) in traced and (6, 10) not in traced
    assert np.allclose(parts, whole, atol=1e-6)
    count = len(traced)
    ji.heads.attention_scores(jax.tree.map(lambda x: 2 * x, model), tokens[::-1], "prefix")
    assert len(traced) == count

    @jax.jit
    def over_keys(keys: Any) -> Any:
        return jax.vmap(lambda key: ji.heads.induction_scores(gpt2, key=key, block=5, batch_size=2))(keys)

    several = over_keys(jax.random.split(KEY, 3))
    assert several.shape == (3, 2, 2)


@pytest.mark.quick
def test_copying_equals_the_full_matrix(llama: Any) -> None:
    """The eigenvalues of the (vocab, vocab) matrix, without and with the gains of the norms."""
    for fold in (False, True):
        plain = ji.weights.fold_norms(llama) if fold else llama
        full = np.asarray(ji.weights.full_ov(plain).full(), np.float64)
        values = np.linalg.eigvals(full)
        expected = values.real.sum(-1) / np.abs(values).sum(-1)
        assert np.allclose(ji.heads.copying_scores(llama, fold=fold), expected, atol=1e-4)


@pytest.mark.slow
def test_copying_behaviour_is_its_definition(llama: Any) -> None:
    options: dict[str, Any] = {"block": 7, "batch_size": 3, "bos": 2}
    got = ji.heads.copying_behaviour(llama, key=KEY, **options)
    model = ji.weights.fold_norms(llama)
    tokens = ji.heads.repeated_tokens(llama.config, key=KEY, repeats=1, **options)
    _, acts = ji.run(model, tokens, capture=["v", "pattern"], logits=False)
    w_o, unembed = (
        np.asarray(model.blocks.attn.w_o),
        np.asarray(model.w_embed.T if model.w_unembed is None else model.w_unembed),
    )
    expected = np.zeros((2, 4))
    for layer in range(2):
        for head in range(4):
            over = under = 0.0
            for b in range(3):
                ids = np.asarray(tokens[b, 1:])
                for j in range(1, 8):
                    c = np.asarray(acts["v"])[layer, b, j, head // 2] @ w_o[layer, head] @ unembed[:, ids]
                    r = np.maximum(c - c.mean(), 0)
                    weight = np.asarray(acts["pattern"])[layer, b, head, :, j].sum()
                    over += weight * (2 * r[j - 1] / r.sum() - 1)
                    under += weight
            expected[layer, head] = over / under
    assert np.allclose(got, expected, atol=1e-4)


@pytest.mark.slow
def test_copied_tokens_is_its_definition(llama: Any) -> None:
    """The logits that a head writes from each token alone, through the model's own norms."""
    ids = np.arange(3, 15)
    got = {sign: ji.heads.copied_tokens(llama, ids, top=4, bos=2, sign=sign) for sign in (1, -1)}
    both = ji.heads.copied_tokens(llama, ids, top=4, bos=2, sign=(1, -1))
    assert (both[0] == got[1]).all() and (both[1] == got[-1]).all() and (got[1] != got[-1]).any()
    rows = jnp.stack([jnp.full(12, 2), jnp.asarray(ids)], 1).astype(jnp.int32)
    _, acts = ji.run(llama, rows, capture=["resid_post[0]"], logits=False)
    x = acts["resid_post[0]"][:, -1]
    ov = ji.weights.ov(llama).full()
    for layer in range(2):
        gain = llama.blocks.ln1.weight[layer][None]
        normed = x / jnp.sqrt((x**2).mean(-1, keepdims=True) + llama.config.norm_eps) * gain
        for head in range(4):
            written = jnp.matmul(normed, ov[layer, head], precision="highest")
            logits, _ = ji.resume(llama, written[:, None], llama.config.layers)
            for sign in (1, -1):
                order = np.argsort(-sign * np.asarray(logits[:, 0]), -1)[:, :4]
                share = np.mean([i in row for i, row in zip(ids, order, strict=True)])
                assert got[sign][layer, head] == pytest.approx(share)


def test_icl_score(planted: Any, llama: Any) -> None:
    """Late minus early; negative where context helps; on a model that uses it, strongly."""
    tokens = ji.heads.repeated_tokens(planted.model.config, key=KEY, block=12)
    score = ji.heads.icl_score(planted.model, tokens, early=6, late=20)
    assert score < -2
    assert ji.heads.icl_score(planted.model, tokens, early=6, late=20, sign=-1) == -score
    tokens = np.random.default_rng(0).integers(0, 30, (5, 20)).astype(np.int32)
    logits, _ = ji.run(llama, tokens)
    losses = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits))[:, :-1], tokens[:, 1:, None], -1)[
        ..., 0
    ].mean(0)
    expected = losses[14] - losses[3]  # entry i is the loss of token i + 1
    assert np.allclose(ji.heads.icl_score(llama, tokens, early=4, late=15), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"1 <= early < late < 20.*got early=50, late=500"):
        ji.heads.icl_score(llama, tokens)


def test_bad_input(llama: Any) -> None:
    config = llama.config
    with pytest.raises(ValueError, match=r"from 2 to 12 tokens here: 2 rounds .* got block=13"):
        ji.heads.repeated_tokens(config, key=KEY, block=13)
    with pytest.raises(IndexError, match=r"bos is a token id, 0\.\.29; got 30"):
        ji.heads.repeated_tokens(config, key=KEY, bos=30)
    with pytest.raises(IndexError, match=r"ids has 0\.\.31"):
        ji.heads.repeated_tokens(config, key=KEY, ids=np.arange(32))
    with pytest.raises(ValueError, match="from the second round on: give repeats=2 or more; got repeats=1"):
        ji.heads.induction_scores(llama, key=KEY, repeats=1)
    tokens = np.zeros((2, 5), np.int32)
    with pytest.raises(ValueError, match=r"one of previous, duplicate.*got 'mover'"):
        ji.heads.attention_scores(llama, tokens, "mover")
    with pytest.raises(ValueError, match=r"\(query, key\) = \(5, 5\).*got \(4, 5\)"):
        ji.heads.attention_scores(llama, tokens, np.ones((4, 5)))
    with pytest.raises(ValueError, match="scored on token ids"):
        ji.heads.attention_scores(llama, np.zeros((2, 5, 16), np.float32), "first")
    with pytest.raises(IndexError, match=r"0\.\.29; got 3\.\.30"):
        ji.heads.copied_tokens(llama, [3, 30])
    with pytest.raises(ValueError, match=r"sign is 1, -1 or \(1, -1\)"):
        ji.heads.copied_tokens(llama, [3], sign=0)
    with pytest.raises(ValueError, match="vocab >= 2, ctx >= 4"):
        ji.toy.planted_induction(vocab=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "there"), [("finetuned_model_0", True), ("finetuned_model_400", False)])
def test_trained_induction_heads(name: str, there: bool, shared_data: Path) -> None:
    """One layer's head looks back, the next one's does induction; after 400 more steps it is gone."""
    from jaxinterp.hub import build
    from jaxinterp.hub._safetensors import open_safetensors

    folder = shared_data / "checkpoints" / "induction-2l"
    tensors = open_safetensors(folder / f"gbmi_exp_indhead_{name}.safetensors")
    config = ji.models.GPT2Config(vocab=26, ctx=8, d=64, layers=2, heads=1, ff=0, norm=False, tied=False)
    port = Path(__file__).parents[1] / "hub" / "ports" / "transformer_lens.toml"
    model = build(port, config, tensors)
    scores = ji.heads.induction_scores(model, key=KEY, batch_size=64)
    previous = ji.heads.previous_token_scores(model, key=KEY, batch_size=64)
    assert (scores[1, 0] > 0.85) == there and (previous[0, 0] > 0.7) == there
    assert there or scores.max() < 0.2

    # The edge between them, by path patching: what came before the answer reaches the keys.
    pairs = ji.tasks.induction(26, 64, key=KEY, block=4, corrupt="match")
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong)
    clean = float(ji.metrics.measure(model, pairs.clean, metric).mean())
    paths = ji.circuits.direct_paths(
        model, pairs.clean, pairs.corrupt, metric, senders="head", receivers=("q", "k", "v")
    )
    edge, gap = float(paths.k[0, 0, 1, 0] - paths.baseline), clean - float(paths.baseline)
    if there:
        assert gap > 20 and edge > 0.9 * gap
        assert abs(float(paths.q[0, 0, 1, 0] - paths.baseline)) < 0.1 * gap
        assert abs(float(paths.v[0, 0, 1, 0] - paths.baseline)) < 0.1 * gap
    else:
        assert abs(gap) < 0.1 and abs(edge) < 0.1


@pytest.mark.slow
def test_tiny_has_them() -> None:
    """The embedded model: induction heads in its last layer that copy, above a previous-token head."""
    model, tokenizer = ji.load("tiny")
    found = ji.heads.summary(model, key=KEY, bos=tokenizer.bos_id, batch_size=4, block=25)
    assert all(layer == 3 for layer, _ in found.named("induction", threshold=0.8))
    assert len(found.named("induction", threshold=0.8)) == 2
    assert found.named("previous", threshold=0.9) and found.named("previous", threshold=0.9)[0][0] < 3
    assert all(found["copying"][head] > 0.5 for head in found.named("induction", threshold=0.8))


@pytest.mark.slow
def test_the_page_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "heads.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
    exec(compile(code, page.name, "exec"), {})
