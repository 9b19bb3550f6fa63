"""Calls of the whole library that are wrong in a way people are wrong: each works as expected, or says the rule.

One row is one call. None of them may end in a bare TypeError, KeyError, AttributeError or assertion.
"""

import logging
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import random_model

KEY = jax.random.key(0)
T = np.asarray([1, 2, 3, 4, 5], np.int32)
B = np.stack([T, T[::-1]])
EMPTY = np.zeros((0, 5), np.int32)
GAP = ji.metrics.logit_diff(3, 4)
MASK = np.ones((2, 5), bool)


@pytest.fixture(scope="module")
def m() -> Any:
    config = ji.models.GPT2Config(vocab=17, ctx=12, d=8, layers=2, heads=2)
    return random_model(config)


def same(first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Any:
    return first, second


WORKS = {
    "no edits": same(lambda m: ji.run(m, T, edits=None)[0], lambda m: ji.run(m, T)[0]),
    "no captures": same(lambda m: ji.run(m, T, capture=None)[0], lambda m: ji.run(m, T)[0]),
    "no edits of a resumed run": same(
        lambda m: ji.resume(m, np.ones((5, 8), np.float32), 0, edits=None, capture=None)[0],
        lambda m: ji.resume(m, np.ones((5, 8), np.float32), 0)[0],
    ),
    "no edits of a model": same(lambda m: ji.run(ji.intervene(m, None), T)[0], lambda m: ji.run(m, T)[0]),
    "generating without edits": same(
        lambda m: ji.generate(m, T, 1, edits=None), lambda m: ji.generate(m, T, 1)
    ),
    "big-endian tokens": same(lambda m: ji.run(m, T.astype(">i8"))[0], lambda m: ji.run(m, T)[0]),
    "big-endian embeddings": same(
        lambda m: ji.run(m, np.ones((5, 8), ">f4"))[0], lambda m: ji.run(m, np.ones((5, 8), "f4"))[0]
    ),
    "long doubles": same(
        lambda m: ji.run(m, np.ones((5, 8), np.longdouble))[0], lambda m: ji.run(m, np.ones((5, 8), "f4"))[0]
    ),
    "a big-endian value": same(
        lambda m: ji.run(m, T, edits=[ji.add("resid_post", np.ones(8, ">f4"))])[0],
        lambda m: ji.run(m, T, edits=[ji.add("resid_post", np.ones(8, "f4"))])[0],
    ),
    "a big-endian position": same(
        lambda m: ji.run(m, T, edits=[ji.zero("z", pos=np.asarray([1], ">i8"))])[0],
        lambda m: ji.run(m, T, edits=[ji.zero("z", pos=1)])[0],
    ),
    "debug of NumPy": same(lambda m: ji.run(m, T, debug=np.True_)[0], lambda m: ji.run(m, T)[0]),
    "a site of NumPy": same(
        lambda m: ji.run(m, T, capture=np.asarray(["z"]))[1]["z"], lambda m: ji.run(m, T, capture="z")[1]["z"]
    ),
    "positions of a tuple": same(
        lambda m: ji.run(m, T, logits=(0, -1))[0], lambda m: ji.run(m, T)[0][jnp.asarray([0, -1])]
    ),
    "steps of NumPy": same(lambda m: ji.generate(m, T, np.int64(1)), lambda m: ji.generate(m, T, 1)),
    "no prompts to run": same(lambda m: ji.run(m, EMPTY)[0], lambda m: jnp.zeros((0, 5, 17))),
    "the last token of no prompts": same(
        lambda m: ji.run(m, EMPTY, mask=EMPTY == 0, logits=-1)[0], lambda m: jnp.zeros((0, 17))
    ),
    "no prompts to go on from": same(
        lambda m: ji.generate(m, EMPTY, 2).astype(jnp.float32), lambda m: jnp.zeros((0, 7))
    ),
}


@pytest.mark.parametrize(("call", "expected"), WORKS.values(), ids=WORKS)
def test_calls_that_work(m: Any, call: Callable[[Any], Any], expected: Callable[[Any], Any]) -> None:
    np.testing.assert_array_equal(np.asarray(call(m)), np.asarray(expected(m)))


def edited(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    return lambda m: ji.run(m, T, edits=[ji.map("resid_post", *args, **kwargs)])


def ran(**options: Any) -> Callable[[Any], Any]:
    return lambda m: ji.run(m, T, **options)


def tokens(given: Any) -> Callable[[Any], Any]:
    return lambda m: ji.run(m, given)


def grown(**options: Any) -> Callable[[Any], Any]:
    return lambda m: ji.generate(m, T, 1, **options)


def graded(metric: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda m: ji.site_grads(m, T, metric, **{"at": "z", **options})


def swept(clean: Any = B, corrupt: Any = B, metric: Any = GAP, **options: Any) -> Callable[[Any], Any]:
    options = {"over": ("layer",), **options}
    return lambda m: ji.patching.sweep(m, clean, corrupt, metric, **options)


class Hidden:
    def __repr__(self) -> str:
        return "a\x1b[31mb"


TAUGHT: dict[str, tuple[Callable[[Any], Any], str]] = {
    # run
    "logits in words": (ran(logits="last"), "the last position alone is logits=-1"),
    "logits of None": (ran(logits=None), "none at all logits=false"),
    "logits of a dict": (ran(logits={}), "logits: pos is an array of numbers or bools; got a dict"),
    "logits of a slice": (ran(logits=slice(0, 2)), "got an object of class slice"),
    "logits of floats": (ran(logits=2.5), "selects by ints or by a mask"),
    "debug in words": (ran(debug="yes"), "debug is true or false"),
    "tokens of objects": (tokens(np.asarray([1, 2], object)), "got dtype object"),
    "tokens and None": (tokens([1, None]), "got dtype object"),
    "tokens of strings": (tokens(np.asarray(["a", "b"])), "tokenize text first"),
    "tokens of bytes": (tokens(b"abc"), "got dtype"),
    "tokens of dates": (tokens(np.asarray(["2020-01-01"], "datetime64[D]")), "got dtype datetime64"),
    "tokens of records": (tokens(np.zeros(3, [("a", int)])), "tokens are ints"),
    "tokens that are a key": (tokens(KEY), "tokens are ints"),
    "ragged tokens": (tokens([[1, 2], [3]]), "rows of different lengths make no array"),
    "masked tokens": (tokens(np.ma.masked_array([1, 2], [0, 1])), "behind a mask of its own"),
    "a batch of a tokenizer": (tokens({"input_ids": [1]}), "got a dict"),
    "a model for tokens": (lambda m: ji.run(m, m), "the model comes first"),
    "arguments swapped": (lambda m: ji.run(jnp.asarray(T), m), "a model comes first"),
    "a name for a model": (lambda m: ji.run("gpt2", T), r"ji.load\('gpt2'\)"),
    "what load returns": (lambda m: ji.run((m, None), T), "model, tokenizer = ji.load"),
    "a config for a model": (lambda m: ji.run(m.config, T), "got an object of class gpt2config"),
    "a class for a model": (lambda m: ji.run(type(m), T), "the class gpt2 itself"),
    "None for a model": (lambda m: ji.sites(None), "got none"),
    "edits of an int": (ran(edits=1), "edits is an edit or a list of them; got an int"),
    "edits of a function": (ran(edits=ji.zero), "edits is an edit or a list of them"),
    "edits of text": (ran(edits="z"), "an edit is made by"),
    "capture of an int": (ran(capture=1), "capture is a site or a list of them; got an int"),
    "capture of a model": (lambda m: ji.run(m, T, capture=m), "capture is a site or a list"),
    "capture in steps of 0": (ran(capture="z[::0]"), "steps of 0"),
    "a mask in words": (ran(mask="a"), "a mask is an array of numbers or bools"),
    "a mask of a dict": (ran(mask={}), "got a dict"),
    "a name of an int": (lambda m: ji.at("z", name=1), "name is the key of the result"),
    "a name of a list": (lambda m: ji.at("z", name=["a"]), "name is the key of the result"),
    "a reduction of a list": (lambda m: ji.at("z", reduce=["mean"]), "reduce is one of"),
    "an unhashable key": (lambda m: ji.run(m, T, capture="z")[1][["z"]], "was not captured"),
    "sites of no tokens": (lambda m: ji.sites(m, 1), "tokens have the axes"),
    "sites of ragged tokens": (lambda m: ji.sites(m, [[1], [2, 3]]), "different lengths"),
    # edits
    "map of None": (edited(None), r"fn is a function of x; got none. write ji.map\('resid_post'"),
    "map of a number": (edited(0.5), "fn is a function of x; got 0.5"),
    "map of a class": (edited(int), "fn is a function of x"),
    "map of a model": (lambda m: ji.map("resid_post", m), "fn is a function of x"),
    "map of too few arguments": (edited(lambda: 1), r"fn is called as fn\(x\).*too many"),
    "map of too many arguments": (edited(lambda x, y: x), "missing a required argument: 'y'"),
    "map without positions": (edited(lambda x: x, with_positions=True), r"fn\(x, positions\)"),
    "positions in words": (edited(lambda x: x, with_positions="yes"), "with_positions is true or"),
    "map that returns nothing": (edited(lambda x: None), "must keep the shape.*returned nonetype"),
    "map that returns text": (edited(lambda x: "a"), "must keep the shape.*returned str"),
    "a value of text": (lambda m: ji.add("z", "a"), "activations are floats"),
    "a position of objects": (lambda m: ji.zero("z", pos=np.asarray([0], object)), "z: pos is an array"),
    "a position in words": (lambda m: ji.zero("z", pos="0"), "got a string: '0'"),
    "a position that hides": (lambda m: ji.zero("z", pos=Hidden()), r"class hidden: a␛"),
    "a class for a dictionary": (lambda m: ji.splice("resid_post", ji.sae.TopK), "the class topk itself"),
    # generate
    "half a token": (grown(key=KEY, top_k=2.5), "top_k is an int; got 2.5"),
    "a temperature in words": (grown(key=KEY, temperature="hot"), "temperature is one number"),
    "choose of a number": (grown(choose=1), "choose is a function of key and logits"),
    "choose of one argument": (grown(choose=lambda x: x), r"fn\(key, logits\)"),
    "choose that returns nothing": (grown(choose=lambda k, x: None), "one token id for each row.*none"),
    "choose that returns logits": (grown(choose=lambda k, x: x), r"returned float32 \(17,\)"),
    "stop in words": (grown(stop="a"), "stop is a token id or several"),
    # gradients and metrics
    "no metric": (graded(None), "metric is a function of logits"),
    "a metric in words": (graded("loss"), "metric is a function of logits; got 'loss'"),
    "a metric not made yet": (graded(ji.metrics.logit_diff), "missing a required argument: 'wrong'"),
    "a metric of nothing": (graded(lambda x: None), "returns floats.*got none"),
    "a metric of a list": (graded(lambda x: [x.sum()]), "returns floats.*got a list"),
    "gradients without logits": (graded(lambda x: x.sum(), logits=False), "a metric reads logits"),
    "gradients of words": (graded(lambda x: x.sum(), logits="last"), "the last position alone"),
    "a custom metric of None": (lambda m: ji.metrics.custom(None), "a metric is a function of logits"),
    "a token of None": (lambda m: ji.metrics.logit_diff(None, 1), "correct is an array of numbers"),
    "a metric of one number": (lambda m: GAP(1.0), "got one number"),
    "nothing recovered": (lambda m: ji.metrics.recovered(GAP, None, 1.0), "clean is an array of numbers"),
    # sweeps
    "a sweep of no prompts": (swept(EMPTY, EMPTY), "there are no prompts to patch"),
    "attribution of no prompts": (
        lambda m: ji.patching.attribution(m, EMPTY, EMPTY, GAP),
        "no prompts to patch",
    ),
    "paths of no prompts": (lambda m: ji.circuits.direct_paths(m, EMPTY, EMPTY, GAP), "no prompts to patch"),
    "ablation of no prompts": (
        lambda m: ji.patching.ablate(m, EMPTY, GAP, values=ji.patching.zeros),
        "no prompts to patch",
    ),
    "a sweep over nothing": (swept(over=None), "`over` names each axis once"),
    "a sweep at no site": (swept(site=None), "site names a site"),
    "a sweep at a request": (swept(site=ji.at("z")), "site names a site"),
    "no memory": (swept(max_bytes=None), "max_bytes is a number of bytes"),
    "memory in words": (swept(max_bytes="a lot"), "max_bytes is a number of bytes"),
    "a sweep of a name": (lambda m: ji.patching.sweep("gpt2", B, B, GAP), "ji.load"),
    "batches of a model": (lambda m: ji.patching.mean_activations(m, m, "z"), "or a list of tokens"),
    # methods
    "half a resample": (
        lambda m: ji.patching.statistics(np.ones((2, 3)), key=KEY, resamples=2.5),
        "resamples is an int",
    ),
    "effects of text": (lambda m: ji.patching.statistics("a", key=KEY), "effects is an array of numbers"),
    "a level of text": (
        lambda m: ji.patching.statistics(np.ones((2, 3)), key=KEY, level="95%"),
        "level is a number",
    ),
    "an estimate of None": (lambda m: ji.patching.agreement(None, np.ones(3)), "estimate is an array"),
    "values of None": (lambda m: ji.patching.ablate(m, B, GAP, values=None), "values is an array of numbers"),
    "no senders": (lambda m: ji.circuits.direct_paths(m, B, B, GAP, senders=None), "senders is a list"),
    "no receivers": (lambda m: ji.circuits.paths_into(m, B, B, GAP, None), "receivers is a list"),
    "noise of no samples": (
        lambda m: ji.patching.noised(m, T, 1, key=KEY, samples=None),
        "samples is an int",
    ),
    "a lens of a number": (lambda m: ji.lens.logit_lens(m, 3, pos=-1), "tokens have the axes"),
    "guesses of None": (lambda m: ji.lens.summary(m, T, top=None), "top is an int"),
    "half a guess": (lambda m: ji.lens.attention_lens(m, T, top=2.5), "top is an int"),
    "a prefix of None": (lambda m: ji.lens.soft_prompt(m, None, T), "prefix is an array of numbers"),
    "a prompt of nothing": (lambda m: ji.lens.patchscope(m, None, m, T), "tokens are ints"),
    "a scope of a name": (lambda m: ji.lens.patchscope("gpt2", T, m, T), "ji.load"),
    "words of a number": (lambda m: ji.lens.localise(m, T, 3), "words is a list"),
    "codes of None": (lambda m: ji.data.encode(None), "x is an array of numbers"),
    "a split of None": (
        lambda m: ji.data.split(np.arange(9), key=jax.random.key(0), test=None),
        "test is a number",
    ),
    "rows of floats": (lambda m: ji.data.check_split(np.arange(9), [0.5], [1]), "train: row selects by ints"),
    "no features": (lambda m: ji.data.union(None), "union takes features by name"),
    "no batches": (lambda m: ji.patching.mean_activations(m, None, "z"), "or a list of tokens"),
}


@pytest.mark.parametrize(("call", "words"), TAUGHT.values(), ids=TAUGHT)
def test_calls_that_are_told(m: Any, call: Callable[[Any], Any], words: str) -> None:
    with pytest.raises((ValueError, IndexError, KeyError)) as error:
        call(m)
    said = str(error.value)
    assert re.search(words, said.lower(), re.S), said
    assert "\x1b" not in said


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap], ids=["jit", "vmap"])
def test_runtime_checks_say_their_sentence_first(m: Any, transform: Any, caplog: Any) -> None:
    """JAX puts pages around what a running program raises: the sentence stands before them."""
    checked = transform(lambda tokens, mask: ji.run(m, tokens, mask=mask, debug=True)[0])
    real = jnp.ones((2, 5), bool)
    with caplog.at_level(logging.ERROR):
        jax.block_until_ready(checked(jnp.asarray(B), real))
        assert not caplog.records
        for given, mask, sentence in (
            (B + 14, real, "A token id is not in 0..16."),
            (B, real.at[1].set(False), "A mask leaves a prompt without a real token."),
        ):
            caplog.clear()
            with pytest.raises(Exception, match=sentence):
                jax.block_until_ready(checked(jnp.asarray(given), mask))
            assert caplog.records[0].getMessage() == sentence
