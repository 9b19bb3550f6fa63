"""The feature browser's folder: what its files hold, that text stays text, and where it writes."""

import dataclasses
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji

from . import browsed
from .browsed import HOSTILE, N, Words


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return browsed.made()


def write(path: Path, made: Any, **options: Any) -> Path:
    sae, model, read = made
    options = {"site": "resid_post[0]", "read": read, "progress": False, **options}
    return ji.sae.browse(path, sae, model, Words(), **options)


def told(path: Path) -> Any:
    """The value that a data script hands over under its own name."""
    text = path.read_text(encoding="ascii")
    name, rest = text.split(",", 1)
    assert name == f'featureBrowser.data("{path.stem}"' and rest.endswith(");\n")
    return json.loads(rest[:-3])


def test_files_hold_what_was_read(tmp_path: Path, made: Any) -> None:
    sae, model, read = made
    path = write(tmp_path / "f", made, labels={5: HOSTILE}, scores={"my score": np.arange(N)})
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    data = next(path.glob("data-*")).name
    chunks = [f"{data}/chunk-00000.js", f"{data}/chunk-00001.js"]
    assert names == [
        *chunks,
        f"{data}/rows-00000.js",
        f"{data}/summary.js",
        f"{data}/tokens.js",
        "index.html",
        "jaxinterp-features.json",
    ]
    about, strings = told(path / data / "summary.js"), told(path / data / "tokens.js")
    assert about["features"] == list(range(N)) and about["tokens"] == 1000
    np.testing.assert_allclose(about["density"], read.density, rtol=1e-3)
    assert about["scores"] == [{"name": "my score", "values": [float(i) for i in range(N)]}]
    assert about["labels"][5].startswith("</script>") and about["density"][3] == 0
    features = told(path / chunks[1])
    assert len(features) == N - 32
    feature = features[35 - 32]
    value, ids, acts, peak, row, place = feature["top"][0]
    np.testing.assert_allclose(value, read.values[35, 0], rtol=1e-3)
    # One before the context's start is left out, and so the peak stands one earlier.
    assert ids == read.tokens[read.seq[35, 0], 0:3].tolist() and peak == 1
    assert acts == [0, 50, 1, 100] and feature["counts"] == [3, 0, 2]
    assert len(feature["intervals"]) == 2 and feature["intervals"][1][0][3] == 2
    rows = told(path / data / "rows-00000.js")
    assert row == read.seq[35, 0] and place == read.pos[35, 0]
    assert rows[str(row)] == read.tokens[row].tolist()
    ends = ji.sae.logit_weights(sae, model, "resid_post[0]").top(None, 10)
    assert feature["up"][::2] == ends.largest[35].tolist()
    assert about["raises"][35] == ends.largest[35, :8].tolist()
    np.testing.assert_allclose(feature["up"][1::2], ends.largest_weights[35], rtol=1e-3)
    first = told(path / chunks[0])
    assert first[3]["top"] == [] == first[3]["counts"]
    assert strings["7"] == HOSTILE.replace("\u2028", "⟨U+2028⟩")


def test_a_longer_context_is_the_row_without_its_padding(tmp_path: Path, made: Any) -> None:
    """The window of an example lies in its row at the place that the page is given, whatever is padded."""
    sae, model, read = made
    real = np.ones(read.tokens.shape, bool)
    real[::2, 5:], real[1::2, :1] = False, False
    interval_pos = np.where(read.interval_seq % 2 == 0, 3, read.interval_pos)
    read = dataclasses.replace(
        read, real=real, interval_pos=np.where(read.interval_seq < 0, -1, interval_pos)
    )
    path = write(tmp_path / "f", (sae, model, read))
    data = next(path.glob("data-*"))
    rows = told(data / "rows-00000.js")
    count = 0
    for feature in [each for name in ("chunk-00000", "chunk-00001") for each in told(data / f"{name}.js")]:
        for _, ids, _, peak, row, place in [*feature["top"], *itertools.chain(*feature["intervals"])]:
            start = place - peak
            assert rows[str(row)][start : start + len(ids)] == ids
            assert rows[str(row)] == read.tokens[row][real[row]].tolist()
            count += 1
    assert count > 100


def test_one_file_holds_everything(tmp_path: Path, made: Any) -> None:
    """The same scripts as in the folder, in one document that asks for nothing; text in it stays text."""
    path = write(tmp_path / "f", made, labels=[{"feature": 5, "explanation": HOSTILE}, {"feature": 6}])
    single = write(tmp_path / "f.html", made, labels={5: HOSTILE})
    page = single.read_text(encoding="utf-8")
    for file in next(path.glob("data-*")).iterdir():
        assert file.read_text("ascii") in page
    assert page.rindex('data("summary"') > page.rindex('data("tokens"')
    assert page.count("</script>") == 6 and "<script src" not in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    with pytest.raises(TypeError, match=r"no argument title=. Write page=ji.sae.PageSettings"):
        write(tmp_path / "g.html", made, title="t")
    assert sorted(os.listdir(tmp_path)) == ["f", "f.html"]


def test_text_is_text(tmp_path: Path, made: Any) -> None:
    path = write(tmp_path / "f", made, labels={5: HOSTILE}, page=ji.sae.PageSettings(title=HOSTILE))
    page = (path / "index.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 3 and "<img" not in page and "&lt;img" in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing from elsewhere
    for part in next(path.glob("data-*")).iterdir():
        assert b"<" not in part.read_bytes()
    script = page[page.index('"use strict"') :]
    assert not any(word in script for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval("))


def test_whole_or_not_at_all(tmp_path: Path, made: Any, monkeypatch: Any) -> None:
    sae, model, read = made
    path = write(tmp_path / "f", made)
    before = (path / "index.html").read_text()
    write(path, made, page=ji.sae.PageSettings(title="again"))  # over its own
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


def test_a_folder_for_neuronpedia_in_one_call(made: tuple[Any, Any, Any], tmp_path: Path) -> None:
    """Each record is that of the feature's examples; a feature that never fires is skipped."""
    sae, model, read = made
    source = ji.sae.DashboardSource(model="m", layer=0, name="mine")
    path = ji.sae.neuronpedia(
        tmp_path / "upload",
        sae,
        model,
        Words(),
        source=source,
        site="resid_post[0]",
        read=read,
        progress=False,
    )
    batch = json.loads((path / "batch-0.json").read_text())
    records = {each["feature_index"]: each for each in batch["features"]}
    assert sorted(records) == [i for i in range(N) if i != 3] and batch["sae_set"] == "mine"
    assert json.loads((path / "skipped_indexes.json").read_text())["skipped_indexes"] == [3]
    about = json.loads((path / "run_settings.json").read_text())
    assert (about["n_prompts_total"], about["n_tokens_in_prompt"]) == (6, 8)
    ends = ji.sae.logit_weights(sae, model, "resid_post[0]").top(None, 10)
    words = Words().tokens
    for i, one in records.items():
        rows = read.records(Words(), i)
        assert [each["tokens"] for each in one["activations"]] == [row["tokens"] for row in rows]
        for each, row in zip(one["activations"], rows, strict=True):
            np.testing.assert_allclose(each["values"], row["activations"], rtol=1e-6)
            assert each["tokens"][each["qualifying_token_index"]] == row["token"]
            assert 0 <= each["bin_min"] < each["bin_max"] <= read.maximum[i] * (1 + 1e-6)
        assert one["pos_str"] == words(ends.largest[i]) and one["neg_str"] == words(ends.smallest[i])
        np.testing.assert_allclose(one["vector"], sae.decoder[i] / sae.scale, rtol=1e-5)
        assert one["frac_nonzero"] == pytest.approx(read.density[i])
        assert one["freq_hist_data_bar_heights"] == read.histogram(i)[0].tolist()
    with pytest.raises(ValueError, match="give tokens, or read="):
        ji.sae.neuronpedia(tmp_path / "b", sae, model, Words(), source=source, site="resid_post[0]")
    with pytest.raises(ValueError, match="features are those of read="):
        ji.sae.neuronpedia(
            tmp_path / "b", sae, model, Words(), source=source, site="resid_post[0]", read=read, features=[1]
        )
