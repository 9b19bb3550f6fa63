"""The feature browser's folder: what its files hold, that text stays text, and where it writes."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028"
N = 40


class Words:
    """Strings of made-up tokens, one of them hostile."""

    def tokens(self, ids: Any) -> list[str]:
        return [HOSTILE if i == 7 else f"t{i}" for i in np.asarray(ids)]


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    """A dictionary, a model and what was read: feature 3 never fires, every second token is 7."""
    rng = np.random.default_rng(0)
    config = ji.models.GPT2Config(vocab=30, ctx=8, layers=1, d=4, heads=2)
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(config, key=jax.random.key(0)))
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    model = jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)
    sae = ji.sae.Standard(d=4, features=N).dictionary(
        encoder=draw(4, N),
        decoder=draw(N, 4),
        bias=draw(4),
        encoder_bias=draw(N),
        scale=jnp.float32(0.5),
    )
    fires = np.arange(N) != 3
    values = np.sort(rng.random((N, 3)) + 1)[:, ::-1].astype(np.float32)
    values[3] = np.nan
    seq = np.where(fires[:, None], rng.integers(0, 6, (N, 3)), -1)
    tokens = rng.integers(8, 30, (6, 8), dtype=np.int32)
    tokens[:, ::2] = 7
    maximum = np.where(fires, np.nan_to_num(values[:, 0]), 0)
    around = np.repeat(np.nan_to_num(values)[..., None], 4, 2) * [0, 0.5, 1, np.nan]
    read = ji.sae.Examples(
        features=np.arange(N),
        values=values,
        seq=seq,
        pos=np.where(seq < 0, -1, 1),
        activations=around,
        interval_values=values[:, :2, None],
        interval_seq=seq[:, :2, None],
        interval_pos=np.where(seq < 0, -1, 6)[:, :2, None],
        interval_activations=around[:, :2, None],
        fired=np.where(fires, np.arange(N) + 1, 0),
        maximum=maximum,
        mean=maximum / 2,
        counts=np.where(fires[:, None], [[3, 0, 2, 0]], 0),
        width=np.ones(N),
        count=1000,
        tokens=tokens,
        real=np.ones(tokens.shape, bool),
        before=2,
    )
    return sae, model, read


def write(path: Path, made: Any, **options: Any) -> Path:
    sae, model, read = made
    options = {"site": "resid_post[0]", "read": read, "progress": False, **options}
    return ji.sae.browse(path, sae, model, Words(), **options)


def told(path: Path) -> list[Any]:
    """The values that a data script calls with."""
    text = path.read_text(encoding="ascii")
    name, rest = text.split("(", 1)
    assert name.startswith("featureBrowser.") and rest.endswith(");\n")
    return json.loads(f"[{rest[:-3]}]")


def test_files_hold_what_was_read(tmp_path: Path, made: Any) -> None:
    sae, model, read = made
    path = write(tmp_path / "f", made, labels={5: HOSTILE}, scores={"my score": np.arange(N)})
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    data = next(path.glob("data-*")).name
    chunks = [f"{data}/chunk-00000.js", f"{data}/chunk-00001.js"]
    assert names == [
        *chunks,
        f"{data}/summary.js",
        f"{data}/tokens.js",
        "index.html",
        "jaxinterp-features.json",
    ]
    (about,), (strings,) = told(path / data / "summary.js"), told(path / data / "tokens.js")
    assert about["features"] == list(range(N)) and about["tokens"] == 1000
    np.testing.assert_allclose(about["density"], read.density, rtol=1e-3)
    assert about["scores"] == [{"name": "my score", "values": [float(i) for i in range(N)]}]
    assert about["labels"][5].startswith("</script>") and about["density"][3] == 0
    number, features = told(path / chunks[1])
    assert number == 1 and len(features) == N - 32
    feature = features[35 - 32]
    value, ids, acts, peak = feature["top"][0]
    np.testing.assert_allclose(value, read.values[35, 0], rtol=1e-3)
    # One before the context's start is left out, and so the peak stands one earlier.
    assert ids == read.tokens[read.seq[35, 0], 0:3].tolist() and peak == 1
    assert acts == [0, 50, 1, 100] and feature["counts"] == [3, 0, 2]
    assert len(feature["intervals"]) == 2 and feature["intervals"][1][0][3] == 2
    high, up, *_ = ji.sae.logit_weights(sae, model, "resid_post[0]").top(None, 10)
    assert feature["up"][::2] == high[35].tolist()
    np.testing.assert_allclose(feature["up"][1::2], up[35], rtol=1e-3)
    _, first = told(path / chunks[0])
    assert first[3]["top"] == [] == first[3]["counts"] and first[5]["text"] == about["labels"][5]
    assert strings["7"] == HOSTILE.replace("\u2028", "⟨U+2028⟩")


def test_text_is_text(tmp_path: Path, made: Any) -> None:
    path = write(tmp_path / "f", made, labels={5: HOSTILE}, title=HOSTILE)
    page = (path / "index.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2 and "<img" not in page and "&lt;img" in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing from elsewhere
    for part in next(path.glob("data-*")).iterdir():
        assert b"<" not in part.read_bytes()
    script = page[page.index('"use strict"') :]
    assert not any(word in script for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval("))


def test_whole_or_not_at_all(tmp_path: Path, made: Any, monkeypatch: Any) -> None:
    sae, model, read = made
    path = write(tmp_path / "f", made)
    before = (path / "index.html").read_text()
    write(path, made, title="again")  # over its own
    assert "again" in (path / "index.html").read_text() != before

    class Broken(Words):
        def tokens(self, ids: Any) -> list[str]:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ji.sae.browse(path, sae, model, Broken(), site="resid_post[0]", read=read, progress=False)
    assert "again" in (path / "index.html").read_text()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something else"):
        write(other, made)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(FileExistsError, match="no folder"):
        write(tmp_path / "link", made)
    with pytest.raises(FileNotFoundError, match="Create it first"):
        write(tmp_path / "no" / "f", made)
    with pytest.raises(ValueError, match="for each of the 40"):
        write(path, made, scores={"s": np.ones(3)})
    with pytest.raises(ValueError, match="reads tokens, or shows"):
        write(path, made, read=None)
    with pytest.raises(ValueError, match="settings belong"):
        write(path, made, settings=ji.sae.ExampleSettings(top=3))
    assert sorted(os.listdir(tmp_path)) == ["f", "link", "mine"]  # nothing half-written left
