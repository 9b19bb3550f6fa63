"""Circles: the tasks, an edit that sets an angle, patching beside single runs, and what a circle leaves."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import families, model_of

g = ji.geometry
NAMES = ("North", "East", "South", "West")


def small_words(bos: str | None = None) -> Any:
    names = [f" {name}" for name in NAMES]
    return ji.tasks.Words(["<s>", *["One", "Two", "Three", "Four"], " after", " is", *names], bos="<s>")


def turns(n: int = 16, **options: Any) -> ji.tasks.Pairs:
    text = "{COUNT} after {START} is"
    return ji.tasks.calendar(small_words(), n, key=jax.random.key(0), names=NAMES, template=text, **options)


def test_every_prompt_of_a_circle_once() -> None:
    pairs = turns()
    about = pairs.about
    assert len(set(pairs.texts)) == 16 and pairs.mask.all() and pairs.pos == -1
    assert (about["answer"] == (about["start"] + about["count"]) % 4).all()
    rows = np.arange(16)
    assert (pairs.correct == about["answers"][rows, about["answer"]]).all()
    assert (pairs.clean[rows, pairs.positions["START"]] == about["answers"][rows, about["start"]]).all()
    assert (pairs.wrong != pairs.correct).all() and ((pairs.clean != pairs.corrupt).sum(1) == 1).all()
    assert (np.bincount(about["start"]) == 4).all()
    with pytest.raises(ji.tasks.TooFewExamples, match="admits 16"):
        turns(17)
    tiny = ji.load("tiny")[1]
    with pytest.raises(ji.tasks.TooFewExamples, match=r"7 of 7 are several.*' Monday'"):
        ji.tasks.calendar(tiny, 49, key=jax.random.key(0))
    for bad, rule in (
        ({"cycle": "years"}, "weekdays"),
        ({"names": ("a", "a", "b")}, "3 to 12"),
        ({"template": "is"}, "once"),
    ):
        with pytest.raises(ValueError, match=rule):
            ji.tasks.calendar(small_words(), 4, key=jax.random.key(0), **bad)


def ring(rng: Any, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    t = 2 * np.pi * rng.integers(0, 7, n) / 7
    x = np.stack([np.cos(t), np.sin(t)], 1) @ rng.normal(size=(2, 8)) + 2 + 0.01 * rng.normal(size=(n, 8))
    return x.astype(np.float32), t


def test_degrees_are_told_and_radians_of_several_turns_are_read(recwarn: Any) -> None:
    rng = np.random.default_rng(0)
    x, t = ring(rng)
    probe = g.circular_probe(x, t)
    several = g.circular_probe(x, t + 2 * np.pi * rng.integers(-9, 10, len(t)))
    np.testing.assert_allclose(several.r2, probe.r2, atol=1e-5)
    noise = rng.normal(size=x.shape)  # no circle tells which of both they are
    g.circular_probe(noise, t + 20 * np.pi)
    assert not recwarn.list
    for degrees, states in ((np.rad2deg(t), x), (np.round(np.rad2deg(t)), noise)):
        with pytest.warns(UserWarning, match=r"radians.*circular_probe\(x, jnp\.deg2rad\(angle\)\)"):
            read = g.circular_probe(states, degrees)
        assert read.r2.mean() < 0.8  # the probe of these numbers as radians
    assert g.circular_probe(x, np.deg2rad(np.rad2deg(t))).r2.min() > 0.99
    line = np.where(np.arange(60) % 2, 360.0, 0)
    with pytest.raises(ValueError, match=r"jnp\.deg2rad\(degrees\)"):
        g.circular_probe(x, np.deg2rad(line))


def test_an_edit_sets_the_angle_under_jit() -> None:
    """T3 of the specification: the angle that is read is the target, within five degrees."""
    rng = np.random.default_rng(0)
    x, t = ring(rng)
    probe = g.circular_probe(x, t)
    model, tokens = model_of("gpt2"), np.arange(1, 7)

    @jax.jit
    def read(angle: Any, donor: Any) -> Any:
        found = []
        for mode in ("exact", "in_place", "donor", "subspace", "average", "only", "without"):
            edit = g.circle_edit(probe, angle, mode=mode, donor=donor, layer=1, pos=2)
            _, acts = ji.run(model, tokens, edits=[edit], capture=["resid_post[1]"], logits=False)
            found.append(acts["resid_post[1]"])
        return jnp.stack(found)

    _, acts = ji.run(model, tokens, capture=["resid_post[1]"])
    own = np.asarray(acts["resid_post[1]"])
    for angle in (0.3, 2.0):
        found = np.asarray(read(jnp.float32(angle), jnp.asarray(x[0])))
        assert (np.delete(found, 2, 1) == np.delete(own, 2, 0)).all()
        exact, place, donor, subspace, average, only, without = found[:, 2]
        away = lambda z, a: np.abs(np.angle(np.exp(1j * (float(probe.angle(z)) - a))))
        assert max(away(exact, angle), away(place, angle)) < np.deg2rad(5)
        np.testing.assert_allclose(donor, x[0], atol=1e-6)
        np.testing.assert_allclose(average, probe.mean, atol=1e-6)
        np.testing.assert_allclose(only + without, own[2] + probe.mean, atol=1e-5)
        np.testing.assert_allclose(probe.without(place), without, atol=1e-4)
        np.testing.assert_allclose(subspace @ probe.components, x[0] @ probe.components, atol=1e-4)
    for call, rule in (
        ({}, "sets an angle"),
        ({"mode": "donor"}, "takes a state"),
        ({"mode": "turn"}, "one of"),
    ):
        with pytest.raises(ValueError, match=rule):
            g.circle_edit(probe, layer=1, pos=2, **call)


@pytest.mark.parametrize("family", families("llama"))
def test_patching_is_single_runs(family: str) -> None:
    model, modes = (
        model_of(family),
        ("exact", "published", "in_place", *("donor", "subspace", "average", "only", "without")),
    )
    pairs = turns()
    found = g.circle_patching(model, pairs, modes=modes, layers=[0, 2], components=2, progress=False)
    about, rows = pairs.about, np.arange(16)
    layer = 2
    _, acts = ji.run(model, pairs.clean, capture=[f"resid_post[{layer}]"])
    states = np.asarray(acts[f"resid_post[{layer}]"])[rows, pairs.positions["START"]]
    probe = g.circular_probe(states, 2 * np.pi * about["start"] / 4, components=2)
    np.testing.assert_allclose(found.r2[1], probe.r2, atol=1e-4)
    donors = [
        int(np.flatnonzero((about["start"] == t) & (about["count"] == c))[0])
        for c in about["count"]
        for t in range(4)
    ]
    wanted = np.zeros((8, 16, 3))
    for turn in range(1, 4):
        target = (about["start"] + turn) % 4
        donor = states[np.asarray(donors).reshape(16, 4)[rows, target]][:, None]
        for m, mode in enumerate(modes):
            edit = g.circle_edit(
                probe,
                (2 * np.pi * target / 4)[:, None],
                mode=mode,
                donor=donor,
                layer=layer,
                pos=pairs.positions["START"][:, None],
            )
            logits = np.asarray(ji.run(model, pairs.clean, edits=[edit], logits=-1)[0]).reshape(16, -1)
            new = about["answers"][rows, (target + about["count"]) % 4]
            wanted[m, :, turn - 1] = logits[rows, pairs.correct] - logits[rows, new]
    np.testing.assert_allclose(found.effect[:, 1], wanted.mean((1, 2)), atol=1e-4)
    assert len(found.records()) == 16 and "unpatched" in found.figure().html
    for side in ("left", "right"):
        padded = turns(pad=side)
        wide = dataclass_padded(padded, side)
        again = g.circle_patching(model, wide, modes=modes, layers=[0, 2], components=2, progress=False)
        np.testing.assert_allclose(again.effect, found.effect, atol=1e-4)


def dataclass_padded(pairs: ji.tasks.Pairs, side: str) -> ji.tasks.Pairs:
    """The same prompts with two columns of padding."""
    import dataclasses

    widths = ((0, 0), (2, 0) if side == "left" else (0, 2))
    shift = 2 * (side == "left")
    return dataclasses.replace(
        pairs,
        clean=np.pad(pairs.clean, widths),
        corrupt=np.pad(pairs.corrupt, widths),
        mask=np.pad(pairs.mask, widths),
        positions={name: where + shift for name, where in pairs.positions.items()},
    )


def test_bad_patching_is_taught() -> None:
    model, pairs = model_of("gpt2"), turns()
    for bad, rule in (
        ({"on": "count"}, "one of"),
        ({"modes": ["turn"]}, "one of"),
        ({"components": 15}, "more than 16 prompts"),
    ):
        with pytest.raises(ValueError, match=rule):
            g.circle_patching(model, pairs, progress=False, **bad)
    other = ji.tasks.induction(100, 4, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"ji\.tasks\.calendar"):
        g.circle_patching(model, other, progress=False)


def test_an_order_of_names_beside_random_orders() -> None:
    """Five components read nearly any order of seven names; two do not."""
    rng = np.random.default_rng(0)
    value = np.arange(70) % 7
    names = rng.normal(size=(7, 32))
    x = names[value] + 0.01 * rng.normal(size=(70, 32))
    five, two = (g.circle_test(x, value, key=jax.random.key(0), components=k) for k in (5, 2))
    np.testing.assert_allclose(five.chance.mean(), 5 / 6, atol=0.03)
    np.testing.assert_allclose(two.chance.mean(), 2 / 6, atol=0.05)
    turn = 2 * np.pi * value / 7
    probe = g.circular_probe(x, turn)
    np.testing.assert_allclose(five.r2, np.mean(probe.r2), atol=1e-4)
    planted = x + 3 * np.stack([np.cos(turn), np.sin(turn)], 1) @ rng.normal(size=(2, 32))
    found = g.circle_test(planted, value, key=jax.random.key(0), components=2)
    assert found.r2 > 0.9 and found.p < 0.02 and found.records()[0]["chance"] < 0.5
    turned = g.circle_test(planted, (value + 3) % 7, key=jax.random.key(0), components=2)
    np.testing.assert_allclose(turned.r2, found.r2, atol=1e-4)
    for bad, rule in ((value / 7, "ints"), (value[:9], "ints"), (value % 2, "three")):
        with pytest.raises(ValueError, match=rule):
            g.circle_test(x, bad, key=jax.random.key(0))


def test_what_a_circle_explains_and_leaves() -> None:
    rng = np.random.default_rng(0)
    start, count = np.divmod(np.arange(49), 7)
    count = count + 1
    answer = (start + count) % 7
    parts = rng.normal(size=(7, 24))[start] + rng.normal(size=(7, 24))[count % 7]
    of = lambda x: g.circle_explanation(x, start, count, answer, period=7)
    plain = of(parts)
    np.testing.assert_allclose(plain.r2_without, 1, atol=1e-6)
    turn = 2 * np.pi * answer / 7
    circle = np.stack([np.cos(turn), np.sin(turn)], 1) @ rng.normal(size=(2, 24))
    found = of(parts + circle)
    assert found.r2_without < 0.99 and found.share > 0.999
    np.testing.assert_allclose(found.r2, 1, atol=1e-6)
    np.testing.assert_allclose(found.probe.r2, 1, atol=1e-4)
    read = np.asarray(found.probe.angle(found.probe.state(2.0)))
    np.testing.assert_allclose(read, 2.0, atol=1e-3)
    names = of(parts + 2 * rng.normal(size=(7, 24))[answer])
    # The names of seven answers span six dimensions, of which a circle has two.
    assert 0.1 < names.share < 0.7 and names.records()[0]["r2_names"] > 0.999
    with pytest.raises(ValueError, match="needs more rows"):
        g.circle_explanation(parts[:15], start[:15], count[:15], answer[:15], period=7)
    with pytest.raises(ValueError, match="answer is"):
        g.circle_explanation(parts, start, count, turn, period=7)
