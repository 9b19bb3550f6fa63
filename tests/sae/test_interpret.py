"""Automated interpretation: programmatic judges get the scores they deserve, and a killed run goes on."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinterp as ji
from jaxinterp.data._lines import BadRecords
from jaxinterp.sae.evaluation._detection import detection
from jaxinterp.sae.evaluation._windows import sheets

SITE = "resid_post[0]"
CONFIG = ji.models.GPT2Config(vocab=200, ctx=16, layers=1, d=8, heads=2)


class Words:
    """Strings of made-up tokens."""

    def tokens(self, ids: Any) -> list[str]:
        return [f"t{i}" for i in np.asarray(ids)]


@pytest.fixture(scope="module")
def given() -> tuple[Any, ...]:
    """`sae, model, tokens`, and all activations `(seq, pos, feature)`; feature 2 never fires."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(CONFIG, key=jax.random.key(0)))
    model = jax.tree.map(lambda leaf: 0.4 * draw(*leaf.shape), shapes)
    sae = ji.sae.Standard(d=8, features=3).dictionary(
        encoder=draw(8, 3),
        decoder=draw(3, 8),
        bias=draw(8),
        encoder_bias=jnp.asarray([3.0, -1.0, -1e3]),
        scale=jnp.float32(0.7),
    )
    tokens = rng.integers(0, 200, (300, 16), dtype=np.int32)
    x = ji.run(model, tokens, capture=[SITE], logits=False)[1][SITE]
    f = np.asarray(sae.encode(x)).copy()
    f[:, 0] = np.nan  # the first token does not count
    return sae, model, tokens, f


@pytest.fixture(scope="module")
def truth(given: Any) -> dict[tuple[str, ...], Any]:
    """Activations `(pos, feature)` by the strings of a window."""
    *_, tokens, f = given
    found = {}
    for row, acts in zip(tokens, f, strict=True):
        words = Words().tokens(row)
        for p in range(16):
            part = slice(max(0, p - 4), p + 5)
            found[tuple(words[part])] = acts[part]
    return found


@pytest.fixture(scope="module")
def made(given: Any) -> list[Any]:
    sae, model, tokens, _ = given
    return sheets(
        sae,
        model,
        Words(),
        tokens,
        None,
        site=SITE,
        batch_size=8,
        window=(4, 4),
        key=jax.random.key(0),
        progress=False,
        logits=True,
    )


def interpreted(given: Any, **judges: Any) -> list[dict[str, Any]]:
    sae, model, tokens, f = given

    def explain(shown: Any) -> str:
        """Which feature: the one that has these activations."""
        top = shown.examples[0]
        return str(int(np.argmin(abs(f[top.seq, top.pos] - np.nanmax(top.activations)))))

    options = {"site": SITE, "key": jax.random.key(0)}
    options |= {name: judges.pop(name) for name in ("out", "key") if name in judges}
    settings = ji.sae.InterpretSettings(progress=False, batch_size=8, workers=judges.pop("workers", 1))
    asked = ji.sae.Judges(**{"explain": explain, **judges})
    return ji.sae.interpret(sae, model, Words(), tokens, judges=asked, settings=settings, **options)


def test_the_two_sets(made: Any, given: Any) -> None:
    f = given[-1]
    for i, sheet in enumerate(made[:2]):
        for windows, counts in (
            (sheet.shown.examples, (10, 2, 5, 10)),
            (sheet.tests, (6, 2, 10, 20)),
        ):
            kinds = [w.kind for w in windows]
            assert [kinds.count(k) for k in ("top", "random", "token")] == [
                *counts[:1],
                *counts[2:],
            ]
            assert kinds.count("interval") <= 12 * counts[1]
            for w in windows:
                start = max(0, w.pos - 4)
                np.testing.assert_allclose(
                    w.activations, f[w.seq, start : w.pos + 5, i], rtol=1e-5, atol=2e-6
                )
                if w.kind in ("top", "interval"):
                    own = f[w.seq, w.pos, i] / sheet.maximum * 13
                    assert w.kind == "top" or w.interval - 1e-4 <= own <= w.interval + 1 + 1e-4
            peaks = {
                w.tokens[min(w.pos, 4)]
                for s in (sheet.shown.examples, sheet.tests)
                for w in s
                if w.kind == "top"
            }
            assert all(w.tokens[min(w.pos, 4)] in peaks for w in windows if w.kind == "token")
        covered = [
            {(w.seq, p) for w in windows for p in range(w.pos - 4, w.pos + 5)}
            for windows in (sheet.shown.examples, sheet.tests)
        ]
        centres = {(w.seq, w.pos) for w in sheet.tests}
        assert not centres & covered[0] and len(centres) == len(sheet.tests)
        assert max(int(w.levels.max()) for w in sheet.shown.examples) == 9
        fires = f[..., i][f[..., i] > 0]
        wanted = np.histogram(fires, 13, (0, sheet.maximum))[0] / len(fires)
        np.testing.assert_allclose(sheet.share, wanted, atol=0.5 / len(fires))
        np.testing.assert_allclose(sheet.sums.sum(), 1, rtol=1e-5)
        weights = ji.sae.logit_weights(*given[:2], SITE)[i]
        order = np.argsort(-weights, kind="stable")
        assert sheet.shown.up == Words().tokens(order[:10])
        assert {w for w, r in zip(sheet.options, sheet.right, strict=True) if r} == set(
            Words().tokens(order[10:60])
        )
        assert len(set(sheet.options)) == 100 and sheet.right.sum() == 50
    assert "'t" in str(made[0].shown) and "Raises the logits of: 't" in str(made[0].shown)


def test_judges_get_what_they_deserve(given: Any, truth: Any, made: Any) -> None:
    rng = np.random.default_rng(0)
    peak = np.nanmax(given[-1], (0, 1))
    weights = ji.sae.logit_weights(*given[:2], SITE)
    high = [set(Words().tokens(np.argsort(-weights[i])[:60])) for i in range(3)]
    asked = []

    def levels(text: str, tokens: list[str]) -> Any:
        i = int(text)
        return np.minimum(np.nan_to_num(truth[tuple(tokens)][:, i]) / peak[i] * 10, 9).astype(int)

    def detect(text: str, texts: list[list[str]]) -> list[int]:
        asked.append(len(texts))
        return [
            j
            for j, t in enumerate(texts)
            if np.nanmax(truth[tuple(t)][:, int(text)]) > 0.01 * peak[int(text)]
        ]

    one, two, dead = interpreted(
        given,
        simulate=levels,
        detect=detect,
        predict_logits=lambda text, tokens: [t in high[int(text)] for t in tokens],
    )
    for i, found in enumerate((one, two)):
        assert found["explanation"] == str(i) and found["kept"] and found["logits"] == 1
        for name in ("spearman", "pearson", "weighted_spearman", "weighted_pearson", "detection"):
            np.testing.assert_allclose(found[name], 1, atol=1e-9)
        assert 0.98 < found["bills_correlation"] < 1 and 0.9 < found["bills_r2"] < 1
    assert asked == [14, 14]
    assert dead == {"feature": 2, "kept": False, "examples": 0}
    for found in interpreted(given, simulate=lambda _, t: np.full((len(t), 11), 1.0))[:2]:
        assert found["spearman"] == found["pearson"] == found["bills_correlation"] == 0
    noise = interpreted(
        given,
        simulate=lambda _, t: rng.random(len(t)),
        predict_logits=lambda _, t: rng.random(len(t)) < 0.5,
        workers=2,
    )
    for found in noise[:2]:
        assert abs(found["spearman"]) < 0.15 and abs(found["pearson"]) < 0.15
        assert abs(found["logits"] - 0.5) < 0.2


def test_detection_draws_by_importance(made: Any) -> None:
    texts, fires = detection(made[0], jax.random.key(3))
    strings = [tuple(t) for t in texts]
    kinds = {tuple(w.tokens): w.kind for w in made[0].tests}
    assert len(texts) == 14 and [kinds[t] for t in strings].count("random") == 10
    assert sum(f for f, t in zip(fires, strings, strict=True) if kinds[t] != "random") == 4
    assert ji.sae.detection_score([0, 2], [True, False, False, True]) == 0.5
    with pytest.raises(ValueError, match=r"indices 0\.\.3"):
        ji.sae.detection_score([4], [True] * 4)


@pytest.mark.slow
def test_a_killed_run_goes_on(given: Any, tmp_path: Path) -> None:
    out, calls, broken = tmp_path / "explained.jsonl", [], []

    def simulate(text: str, tokens: list[str]) -> Any:
        calls.append(text)
        if calls.count("1") == 1 and not broken:
            broken.append(text)
            raise ConnectionError("the judge hung up")
        return [len(t) for t in tokens]

    with pytest.raises(ConnectionError):
        interpreted(given, simulate=simulate, out=out)
    with open(out, "ab") as file:
        file.write(b'{"feature": 1, "kept"')  # a line that was torn
    found = interpreted(given, simulate=simulate, out=out)
    asked = [len(record["true"]) for record in found[:2]]
    assert calls == ["0"] * asked[0] + ["1"] * (1 + asked[1])
    whole = interpreted(given, simulate=lambda _, tokens: [len(t) for t in tokens])
    assert json.dumps(found) == json.dumps(whole)
    assert len(out.read_text().splitlines()) == 4
    interpreted(given, simulate=simulate, out=out)
    assert len(calls) == 1 + sum(asked)  # nothing is asked again
    with pytest.raises(BadRecords, match="another key"):
        interpreted(given, out=out, key=jax.random.key(1))
    with pytest.raises(ValueError, match=r"finite number for each of \d tokens"):
        interpreted(given, simulate=lambda *_: [1.0])
    with pytest.raises(ValueError, match="explain answers with a text"):
        interpreted(given, explain=lambda shown: None)


def test_scores_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    p, t = rng.integers(0, 5, (2, 8, 9)).astype(float)
    found = ji.sae.simulation_scores(p, t)
    np.testing.assert_allclose(found["pearson"], stats.pearsonr(p.ravel(), t.ravel())[0])
    np.testing.assert_allclose(found["spearman"], stats.spearmanr(p.ravel(), t.ravel())[0])
    weight = rng.integers(0, 3, 8)
    repeated = ji.sae.simulation_scores(np.repeat(p, weight, 0), np.repeat(t, weight, 0))
    weighted = ji.sae.simulation_scores(p, t, weight)
    np.testing.assert_allclose([*dict(weighted).values()], [*dict(repeated).values()], atol=1e-12)
    line = stats.linregress(p.ravel(), t.ravel())
    bills = ji.sae.bills_scores(p, t)
    error = np.square(t - line.slope * p - line.intercept).mean()
    np.testing.assert_allclose(bills["r2"], 1 - error / np.square(t).mean())
    np.testing.assert_allclose(bills["correlation"], line.rvalue)
    sure = [np.eye(11)[np.asarray(row, int)] for row in p]
    assert ji.sae.bills_scores(sure, t) == bills
    logits = lambda values: [np.stack([v, -v, 0 * v], 1) for v in values]
    assert ji.sae.bills_scores(2 * t + 1, t, outputs=logits)["ablation"] == pytest.approx(1)
    assert ji.sae.bills_scores(0 * t, t, outputs=logits)["ablation"] == pytest.approx(0)
    with pytest.raises(ValueError, match="of the same tokens"):
        ji.sae.simulation_scores(p, t[:3])
