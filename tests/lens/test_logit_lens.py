"""The logit lens, on streams and components, and its summary."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.lens import _chunks, logit_lens, summary
from jaxinterp.lens._read import LogitLens
from tests.models import sampled

from .conftest import model_of


def w_unembed(model: Any) -> np.ndarray:
    return np.asarray(model.w_embed.T if model.w_unembed is None else model.w_unembed)


def by_hand(model: Any, x: np.ndarray) -> np.ndarray:
    """Norm and unembedding written out."""
    norm = model.ln_final
    x = x - x.mean(-1, keepdims=True) if norm.centres else x
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + norm.eps) * np.asarray(norm.weight)
    return (x if norm.bias is None else x + np.asarray(norm.bias)) @ w_unembed(model)


@pytest.mark.parametrize("name", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_rows_are_streams_unembedded_and_the_last_is_the_model(name: str, tokens: Any) -> None:
    model = model_of(name)
    own, acts = ji.run(model, tokens, capture=["resid_pre[0]", "resid_post"])
    lens = logit_lens(model, tokens)
    assert lens.shape == (4, 2, 6, 40)
    assert (lens[-1] == own).all()
    streams = np.concatenate([acts["resid_pre[0]"][None], acts["resid_post"]])
    assert np.allclose(lens, by_hand(model, streams), atol=1e-4, rtol=1e-4)


@pytest.mark.quick
def test_soft_tokens_and_single_positions(gpt2: Any, tokens: Any) -> None:
    lens = np.asarray(logit_lens(gpt2, tokens))
    assert (np.asarray(logit_lens(gpt2, gpt2.w_embed[tokens])) == lens).all()
    last = logit_lens(gpt2, tokens, pos=-1)
    assert last.shape == (4, 2, 40) and np.allclose(last, lens[:, :, -1], atol=1e-4)


@pytest.mark.parametrize("name", ["neox", pytest.param("bare", marks=pytest.mark.slow)])
def test_components_sum_to_the_logits_less_the_biases(name: str, tokens: Any) -> None:
    model = model_of(name)
    own, _ = ji.run(model, tokens)

    def read(site: str) -> np.ndarray:
        return np.asarray(logit_lens(model, tokens, site=site))

    heads = read("head_out")
    assert heads.shape == (3, 2, 6, model.config.heads, 40)
    total = heads.sum((0, -2)) + read("embed")
    if name == "bare":
        total = total + read("pos_embed")
    else:
        total = total + read("mlp_out").sum(0)
    # What no component wrote: the biases of attention's output and of the norm.
    parts = ji.weights.by_head(model, tokens, norm=True)
    for label in ("attn.b_o", "ln_final.bias"):
        if label in parts.labels:
            total = total + np.asarray(parts[label]) @ w_unembed(model)
    if model.b_unembed is not None:
        total = total + np.asarray(model.b_unembed)
    assert np.allclose(total, own, atol=2e-4, rtol=1e-4)


@pytest.mark.slow
def test_streams_of_one_site(gpt2: Any, neox: Any, tokens: Any) -> None:
    lens = np.asarray(logit_lens(gpt2, tokens))
    post = np.asarray(logit_lens(gpt2, tokens, site="resid_post"))
    assert np.allclose(post, lens[1:], atol=1e-5) and (post[-1] == lens[-1]).all()
    assert logit_lens(gpt2, tokens, site="resid_mid").shape == (3, 2, 6, 40)
    with pytest.raises(ji.UnknownSite, match="no site 'resid_mid'"):
        logit_lens(neox, tokens, site="resid_mid")
    with pytest.raises(ValueError, match=r"site of width d.*got 'z'"):
        logit_lens(gpt2, tokens, site="z")


def test_edits_act_also_behind_the_last_block(gpt2: Any, tokens: Any) -> None:
    edits = [
        ji.replace("resid_post", np.broadcast_to(np.arange(8, dtype=np.float32), (3, 2, 6, 8))),
        ji.scale("ln_final_scale", 2.0),
        ji.add("logits", 1.0, pos=-1),
    ]
    own, _ = ji.run(gpt2, tokens, edits=edits)
    lens = np.asarray(logit_lens(gpt2, tokens, edits=edits))
    assert (lens[-1] == np.asarray(own)).all() and np.allclose(lens[1], own, atol=1e-5)
    always = ji.intervene(gpt2, edits)
    assert np.allclose(logit_lens(always, tokens, pos=-1), lens[:, :, -1], atol=1e-5)


def test_padding_reads_as_alone(gpt2: Any, tokens: Any) -> None:
    alone = logit_lens(gpt2, tokens[0, :4])
    padded = jnp.asarray([0, 0, *tokens[0, :4]], jnp.int32)
    mask = jnp.asarray([False, False, True, True, True, True])
    assert np.allclose(logit_lens(gpt2, padded, mask=mask)[:, 2:], alone, atol=1e-5)


@pytest.mark.quick
def test_summary_is_the_reductions_of_all_logits(neox: Any, tokens: Any) -> None:
    lens = np.asarray(logit_lens(neox, tokens))
    logprobs = lens - np.log(np.exp(lens).sum(-1, keepdims=True))
    found = jax.tree.map(np.asarray, summary(neox, tokens))
    assert found.rows == (0, 1, 2, 3)
    assert (found.top_ids[..., 0] == lens.argmax(-1)).all()
    assert np.allclose(found.top_probs, -np.sort(-np.exp(logprobs), -1)[..., :5], atol=1e-5)
    probs = np.exp(logprobs)
    assert np.allclose(found.entropy, -(probs * logprobs).sum(-1), atol=1e-5)
    kl = (probs[-1:] * (logprobs[-1:] - logprobs)).sum(-1)
    assert np.allclose(found.kl, kl, atol=1e-5) and (found.kl[-1] == 0).all()
    nxt = np.asarray(tokens[:, 1:])
    chosen = np.take_along_axis(logprobs[:, :, :-1], nxt[None, ..., None], -1)
    assert found.cross_entropy is not None and found.rank is not None
    assert np.allclose(found.cross_entropy[..., :-1], -chosen[..., 0], atol=1e-5)
    assert np.isnan(found.cross_entropy[..., -1]).all() and (found.rank[..., -1] == -1).all()
    assert (found.rank[..., :-1] == (logprobs[:, :, :-1] > chosen).sum(-1)).all()
    assert np.allclose(found.mean("cross_entropy"), -chosen.mean((1, 2, 3)), atol=1e-5)
    mask = np.asarray([[True] * 3 + [False] * 3, [False] * 6])
    assert np.allclose(found.mean("kl", mask), kl[:, 0, :3].mean(-1), atol=1e-5)
    assert found.mean("rank").shape == (4,)


# Families differ before the stream that is read, so one of them is enough.
@pytest.mark.parametrize("name", sampled(slow=["neox"], exhaustive=["gpt2", "llama"]))
def test_summary_in_chunks_of_positions_is_the_whole(
    name: str, tokens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: equal for every chunk, the last one shorter too, and no array has all positions and the vocabulary."""
    model, tokens = model_of(name), tokens[:, :5]
    mask = np.asarray([[False, False, True, True, True], [True] * 5])
    whole = summary(model, tokens, mask=mask)
    for size in (1, 2):

        class Chunked(LogitLens):
            """Of its own, so that the program is traced again."""

        monkeypatch.setattr(_chunks, "CHUNK_BYTES", 2 * size * 40 * 4 + 7)
        call = lambda tokens: summary(model, tokens, mask=mask, lens=Chunked())
        text = str(jax.make_jaxpr(call)(tokens))
        assert "[2,5,40]" not in text and "[10,1,40]" not in text and f"[2,{size},40]" in text
        jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, atol=2e-5), call(tokens), whole)
    picked = summary(model, tokens, mask=mask, lens=Chunked(), pos=-1)
    np.testing.assert_allclose(picked.entropy, whole.entropy[..., -1], atol=2e-5)


@pytest.mark.slow
def test_summary_at_positions_and_of_soft_tokens(neox: Any, tokens: Any) -> None:
    whole = summary(neox, tokens)
    last = summary(neox, tokens, targets=[[4], [5]], pos=-1)
    for name in ("entropy", "kl"):
        one, every = np.asarray(getattr(last, name)), np.asarray(getattr(whole, name))
        assert np.allclose(one, every[..., -1], atol=1e-5), name
    own = np.asarray(ji.run(neox, tokens, logits=-1)[0])
    chosen = own[[0, 1], [4, 5]]
    assert last.cross_entropy is not None and last.rank is not None
    nats = np.log(np.exp(own).sum(-1)) - chosen
    assert np.allclose(last.cross_entropy[-1], nats, atol=1e-5)
    assert (np.asarray(last.rank)[-1] == (own > chosen[:, None]).sum(-1)).all()
    assert last.top_ids.shape == (4, 2, 5)
    two = np.asarray(summary(neox, tokens, pos=[[0, 1], [2, 5]]).cross_entropy)
    every = np.asarray(whole.cross_entropy)
    assert np.allclose(two[:, 1, 0], every[:, 1, 2], atol=1e-5)
    assert np.isnan(two[:, 1, 1]).all()
    soft = summary(neox, neox.w_embed[tokens])
    assert soft.cross_entropy is None and soft.kl.shape == (4, 2, 6)
    with pytest.raises(ValueError, match="has no mean"):
        soft.mean("cross_entropy")
    with pytest.raises(ValueError, match=r"top lies in 1\.\.40"):
        summary(neox, tokens, top=41)
    with pytest.raises(IndexError, match=r"targets lie in 0\.\.39; got 40"):
        summary(neox, tokens, targets=40)
    with pytest.raises(ValueError, match=r"One token per example is targets\[\.\.\., None\]"):
        summary(neox, tokens, targets=[1, 2])
