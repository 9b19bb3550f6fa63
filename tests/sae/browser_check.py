"""Opens a feature browser in headless Chromium and uses it as a reader would: searches, filters, clicks.

    python tests/sae/browser_check.py [FOLDER] [--shot PICTURE.png]

Without a folder one of 20,000 features with hostile tokens is made. Skips with a note, and exit code 0, where no Chromium
is installed. Not part of the default tests.
"""

import argparse
import html
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "viz"))

from browser_check import CATCH, chromium

HOSTILE = "<img src=x onerror=hostile=1></script><script>hostile=1</script>"

PROBE = """
<script>
addEventListener("load", () => {
  const seen = [], say = (name, value) => seen.push(name + "=" + value), began = performance.now();
  const $ = (query) => document.querySelector(query), all = (query) => [...document.querySelectorAll(query)];
  const set = (id, value) => { const e = $("#" + id); e.value = value; e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change")); };
  const until = (done, then, tries = 200) => done() || tries === 0 ? then(done()) : setTimeout(() => until(done, then, tries - 1), 20);
  const listed = () => Number($("#count").textContent.split(" ")[0]);
  const shown = () => $("#panel").dataset.feature;
  until(() => shown() !== undefined, (ready) => {
    say("ready", ready);
    say("listed", listed());
    say("rows", all(".fb-row").length);
    say("bars", all("#plot rect").length);
    say("examples", all("#panel .fb-line").length);
    say("shaded", all("#panel .fb-text .ji-high").length > 0);
    const numbers = about => all(".fb-row i").map((e) => parseFloat(e.textContent)).filter((x) => !isNaN(x));
    say("sorted", numbers().every((x, i, a) => i === 0 || a[i - 1] >= x));
    const before = listed();
    const start = performance.now();
    set("search", "0");
    say("search_ms", Math.round(performance.now() - start));
    set("search", "");
    set("alive", "dead");
    say("dead", listed());
    set("alive", "all");
    say("all", listed());
    set("high", "0.1");
    say("rare", listed());
    set("high", "");
    set("alive", "alive");
    say("again", listed() === before);
    $("#list").scrollTop = 1e9;
    $("#list").dispatchEvent(new Event("scroll"));
    say("last", Number(all(".fb-row").at(-1).dataset.place) === before - 1);
    const row = all(".fb-row").at(-2), wanted = row.querySelector("b").textContent;
    row.click();
    until(() => shown() === wanted, (clicked) => {
      say("clicked", clicked);
      say("address", location.hash === "#" + wanted);
      all("#panel button")[1].click();
      until(() => shown() !== wanted, (moved) => {
        say("moved", moved);
        say("hostile", window.hostile === undefined && all("img").length === 0);
        say("fits", document.documentElement.scrollWidth <= innerWidth);
        const loads = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("file:") && !e.name.startsWith("data:"));
        say("requests", loads.length);
        say("errors", jiErrors.length + jiErrors.join(";"));
        const out = document.createElement("pre"); out.id = "ji-probe"; out.textContent = seen.join("\\n"); document.body.append(out);
      });
    });
  });
});
</script>
"""


class Words:
    """A tokenizer of hostile strings."""

    def tokens(self, ids: Any) -> list[str]:
        return [HOSTILE if i == 7 else ["\u202e", "\n", "日本", " a"][i % 4] for i in ids]


def sample(folder: Path, n: int = 20_000) -> Path:
    """A folder of made-up features."""
    from jaxinterp import models, sae

    rng = np.random.default_rng(0)
    count, top, bins = 100_000, 5, 22
    fired = (count * 10 ** rng.uniform(-4.5, -0.5, n)).astype(int) * (rng.random(n) > 0.1)
    maximum = np.where(fired > 0, rng.uniform(1, 9, n), 0).astype(np.float32)
    values = np.where(fired[:, None] > 0, np.sort(rng.random((n, top)))[:, ::-1] * maximum[:, None], np.nan)
    values[:, 0] = np.where(fired > 0, maximum, np.nan)
    seq = np.where(fired[:, None] > 0, rng.integers(0, 50, (n, top)), -1)
    around = rng.random((n, top, 17)) * (rng.random((n, top, 17)) < 0.2) * np.nan_to_num(values)[..., None]
    around[:, :, 12] = np.nan_to_num(values)
    interval = (n, 3, 1)
    pick = lambda x: np.repeat(x[:, None, :1], 3, 1)
    read = sae.Examples(
        features=np.arange(n),
        values=values,
        seq=seq,
        pos=rng.integers(0, 64, (n, top)),
        activations=around,
        interval_values=pick(values),
        interval_seq=pick(seq),
        interval_pos=rng.integers(0, 64, interval),
        interval_activations=np.repeat(around[:, None, :1], 3, 1),
        fired=fired,
        maximum=maximum,
        mean=maximum / 3,
        counts=rng.integers(0, 50, (n, bins)) * (fired[:, None] > 0),
        width=maximum / bins,
        count=count,
        tokens=rng.integers(0, 40, (50, 64)),
        real=np.ones((50, 64), bool),
        before=12,
    )
    import jax

    model = models.GPT2.init(
        models.GPT2Config(vocab=40, ctx=64, layers=1, d=8, heads=2), key=jax.random.key(0)
    )
    made = sae.Standard(d=8, features=n).init(jax.random.key(1))
    began = time.time()
    path = sae.browse(
        folder / "features",
        made,
        model,
        Words(),
        site="resid_post[0]",
        read=read,
        title=HOSTILE,
        labels={3: HOSTILE},
        scores={"score": rng.random(n)},
        progress=False,
    )
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    print(f"browser_check: {n} features written in {time.time() - began:.1f} s, {size / 1e6:.0f} MB")
    return path


def check(folder: Path, shot: Path | None = None) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, Path(place) / "copy"))
        page = copy / "index.html"
        text = page.read_text(encoding="utf-8").replace("<head>", "<head>" + CATCH, 1)
        head, tail = text.rsplit("</body>", 1)
        page.write_text(head + PROBE + "</body>" + tail, encoding="utf-8")
        began = time.time()
        document = chromium("--dump-dom", "--window-size=1200,800", page.as_uri())
        seconds = time.time() - began
    if shot is not None:
        chromium(
            "--window-size=1200,800",
            f"--screenshot={shot.resolve()}",
            (folder / "index.html").resolve().as_uri(),
        )
    found = re.search(r'<pre id="ji-probe">(.*?)</pre>', document, re.S)
    assert found, "the page's scripts did not finish"
    report = dict(line.split("=", 1) for line in html.unescape(found[1]).splitlines())
    print(f"browser_check: {folder.name} in {seconds:.1f} s: {report}")
    for name in (
        "ready",
        "shaded",
        "sorted",
        "again",
        "last",
        "clicked",
        "address",
        "moved",
        "hostile",
        "fits",
    ):
        assert report[name] == "true", f"{name} does not hold"
    assert report["errors"] == "0" and report["requests"] == "0"
    assert int(report["rows"]) <= 80 and int(report["examples"]) > 0 and int(report["bars"]) > 0
    assert int(report["listed"]) + int(report["dead"]) == int(report["all"])
    assert int(report["search_ms"]) < 500, "a search takes too long"
    return report


RATE = """
<script>
addEventListener("load", () => {
  const seen = [], say = (name, value) => seen.push(name + "=" + value), $ = (query) => document.querySelector(query);
  const separation = () => getComputedStyle($("#separation")).display !== "none";
  say("hidden", !separation());
  $("input[name=logits][value='0']").click();
  say("shown", separation());
  $("input[name=logits][value='2']").click();
  say("again", !separation());
  say("shaded", document.querySelectorAll(".ji-strip .ji-high").length > 0);
  say("hostile", window.hostile === undefined && document.images.length === 0);
  say("fits", document.documentElement.scrollWidth <= innerWidth);
  say("fields", document.querySelectorAll("fieldset").length);
  const out = document.createElement("pre"); out.id = "ji-probe"; out.textContent = seen.join("\\n"); document.body.append(out);
});
</script>
"""


def check_rating(folder: Path) -> None:
    """The page of a blind study, as it is served and with a probe in a copy of it."""
    import json
    import urllib.request

    from jaxinterp import sae

    folder.mkdir()
    examples = [{"tokens": [HOSTILE, " a", "\u202e"], "shares": [0.1, 1.0, 0.0]}] * 3
    items = [{"id": f"{i:016x}", "examples": examples, "up": [HOSTILE], "down": [" b"]} for i in range(2)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    with sae.rate(folder) as page:
        served = chromium("--dump-dom", "--window-size=1200,800", page.url)
        assert "Item 1 of 2" in served and "<img" not in served
        text = urllib.request.urlopen(page.url).read().decode()
    copy = folder / "copy.html"
    copy.write_text(text.replace("</body>", RATE + "</body>"), encoding="utf-8")
    found = re.search(
        r'<pre id="ji-probe">(.*?)</pre>',
        chromium("--dump-dom", "--window-size=1200,800", copy.as_uri()),
        re.S,
    )
    assert found, "the page's script did not finish"
    report = dict(line.split("=", 1) for line in html.unescape(found[1]).splitlines())
    print(f"browser_check: rating page: {report}")
    assert report.pop("fields") == "6" and set(report.values()) == {"true"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--shot", type=Path, help="also write a screenshot")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        check(args.folder or sample(Path(place)), args.shot)
        check_rating(Path(place) / "study")


if __name__ == "__main__":
    main()
