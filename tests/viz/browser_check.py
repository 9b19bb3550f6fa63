"""Opens a page in headless Chromium and checks what a reader would meet: no error, no request, figures in place.

    python tests/viz/browser_check.py [PAGE.html] [--shot PICTURE.png] [--dark]

Without a page, a small one with every kind of figure is made. Skips with a note, and exit code 0, where no Chromium is
installed (Debian: `apt-get install chromium`). Not part of the default tests.
"""

import argparse
import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Runs in the page after it has loaded: presses each button, hovers over cells, and writes a report into the document.
PROBE = """
<script>
window.addEventListener("load", () => {
  const seen = [];
  const say = (name, value) => seen.push(name + "=" + value);
  const area = (e) => { const b = e.getBoundingClientRect(); return b.width * b.height; };
  const hover = (e, x, y) => { const b = e.getBoundingClientRect(); e.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: b.x + x * b.width, clientY: b.y + y * b.height})); };
  const figures = [...document.querySelectorAll("figure.ji-figure")];
  say("figures", figures.length);
  say("empty", figures.filter((e) => area(e) < 400).length);
  say("chapters", document.querySelectorAll("main section").length);
  say("pictures", [...document.images].every((e) => e.complete && e.naturalWidth > 0));
  say("fits", document.documentElement.scrollWidth <= innerWidth);
  const coloured = [...document.querySelectorAll(".ji-cell rect")].map((e) => getComputedStyle(e).fill);
  say("colours", new Set(coloured).size);
  const cell = document.querySelector(".ji-cell rect:has(> title)");
  if (cell) { const told = cell.querySelector("title").textContent; hover(cell, .5, .5); say("tip", document.querySelector(".ji-tip").textContent === told); }
  for (const root of document.querySelectorAll(".ji-attention")) {
    const buttons = [...root.querySelectorAll("button")];
    buttons[0].click();
    say("button", buttons[0].getAttribute("aria-pressed"));
    hover(root.querySelector("image"), .02, .02);
    say("readout", / reads .*: [0-9.]+$/.test(root.querySelector(".ji-readout").textContent));
  }
  for (const root of document.querySelectorAll(".ji-graph")) {
    const arcs = [...root.querySelectorAll(".ji-arc")], hits = [...root.querySelectorAll(".ji-hit")];
    const node = root.querySelector(".ji-node"), range = root.querySelector("input"), name = node.dataset.name;
    const readout = root.querySelector(".ji-readout");
    const shown = () => arcs.filter((e) => e.getBoundingClientRect().width + e.getBoundingClientRect().height > 0).length;
    const slide = (value) => { range.value = value; range.dispatchEvent(new Event("input")); };
    const told = arcs[0].querySelector("title").textContent;
    hits[0].dispatchEvent(new PointerEvent("pointerenter"));
    const hovered = readout.textContent === told;
    hits[0].dispatchEvent(new PointerEvent("pointerleave"));
    hover(hits[0], .5, .5);
    say("score", hovered && readout.textContent !== told && document.querySelector(".ji-tip").textContent === told);
    slide(1);
    const one = shown() === 1;
    slide(range.max);
    say("slider", one && shown() === arcs.length);
    const own = arcs.filter((e) => [e.dataset.source, e.dataset.target].includes(name)).length;
    node.focus();
    node.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
    say("keyboard", document.activeElement === node && node.getAttribute("aria-pressed") === "true" && shown() === own);
    node.dispatchEvent(new MouseEvent("click", {bubbles: true}));
    say("click", shown() === arcs.length && node.getAttribute("aria-pressed") === "false");
    say("escaped", !root.querySelector("b, script"));
    say("scrolls", root.querySelector(".ji-scroll").scrollWidth <= innerWidth || root.querySelector(".ji-scroll").clientWidth < innerWidth);
  }
  const loads = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:"));
  say("requests", loads.length);
  say("errors", (window.jiErrors || []).length + (window.jiErrors || []).join(";"));
  const out = document.createElement("pre"); out.id = "ji-probe"; out.textContent = seen.join("\\n"); document.body.append(out);
});
</script>
"""
WORKS = ("tip", "button", "readout", "score", "slider", "keyboard", "click", "escaped", "scrolls")
CATCH = '<script>window.jiErrors = []; addEventListener("error", (e) => jiErrors.push(e.message));</script>'


def chromium(*args: str) -> str:
    browser = next((path for path in map(shutil.which, NAMES) if path), None)
    if browser is None:
        print("browser_check: skipped, no Chromium is installed.")
        sys.exit(0)
    common = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
    ]
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [browser, *common, f"--user-data-dir={profile}", *args],
            capture_output=True,
            text=True,
            timeout=120,
        )
    return done.stdout


def probe(page: Path, width: int = 1000) -> dict[str, str]:
    """What the probe reports of a page in a window of some width."""
    text = page.read_text(encoding="utf-8").replace("<head>", "<head>" + CATCH, 1)
    head, body = text.rsplit("</body>", 1)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(head + PROBE + "</body>" + body, encoding="utf-8")
        document = chromium("--dump-dom", f"--window-size={width},1200", copy.as_uri())
    report = re.search(r'<pre id="ji-probe">(.*?)</pre>', document, re.S)
    assert report, "the page's scripts did not finish"
    return dict(line.split("=", 1) for line in html.unescape(report[1]).splitlines())


def check(page: Path) -> None:
    for width in (1000, 390):
        report = probe(page, width)
        print(f"browser_check: {page.name} at {width} px: {report}")
        assert int(report["figures"]) > 0 and report["empty"] == "0", "a figure takes no room"
        assert report["errors"] == "0", "the page's scripts failed"
        assert report["requests"] == "0", "the page asks the network for something"
        assert report["pictures"] == "true", "a picture does not show"
        assert report["fits"] == "true", "the page is wider than the window"
        assert int(report["colours"]) > 3, "cells are not coloured by value"
        wrong = [name for name in WORKS if report.get(name, "true") != "true"]
        assert not wrong, f"these do not work: {wrong}"


def sample(folder: Path) -> Path:
    import numpy as np

    from jaxinterp import viz

    tokens = [" Mr", ".", " <b>", "\n", "日本"]
    rng = np.random.default_rng(0)
    pattern = np.tril(rng.random((3, 5, 5)))
    top = np.array([[[t, "x"] for t in tokens]] * 4, object)
    layers = {"<b>x": 0, **{f"{i}.{j}": i + 1 for i in range(4) for j in range(12)}, "logits": 9}
    names = list(layers)
    several = [(a, b) for a in names for b in names if layers[a] < layers[b]]
    edges = [(a, b, float(rng.normal()), f"<script>{a}->{b}") for a, b in several[::9]]
    figures = [
        viz.heatmap(rng.normal(size=(4, 5)), cols=tokens, title="heat map"),
        viz.heatmaps(
            {"a": rng.normal(size=(4, 5)), "b": rng.normal(size=(4, 5))},
            cols=tokens,
            marks={"a": rng.random((4, 5)) < 0.5},
            title="two",
        ),
        viz.lens_table(tokens, top, np.sort(rng.random((4, 5, 2)))[..., ::-1], title="lens"),
        viz.attention(pattern / pattern.sum(-1, keepdims=True), tokens, title="attention"),
        viz.token_strip(tokens, rng.normal(size=5), title="strip"),
        viz.lines(
            {"a": rng.random(20), "b": rng.random(20)},
            bands={"b": (np.zeros(20), np.ones(20))},
            title="lines",
        ),
        viz.table(["a", "b"], [[1, 2.5]], title="table"),
        viz.scatter({"a": (rng.random(9), rng.random(9))}, title="points"),
        viz.directions(
            {"a": rng.normal(size=(5, 2)) / 2, "b": rng.normal(size=(4, 3)) / 2}, title="directions"
        ),
        viz.layered_graph(layers, edges, title="graph"),
    ]
    return viz.write(folder / "sample.html", viz.page("Sample", [viz.Chapter("All", figures)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?")
    parser.add_argument("--shot", type=Path, help="also write a screenshot")
    parser.add_argument("--dark", action="store_true", help="the screenshot in the dark theme")
    parser.add_argument("--size", default="1000,4000", help="of the screenshot's window")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = args.page or sample(Path(folder))
        check(page.resolve())
        if args.shot:
            theme = ["--blink-settings=preferredColorScheme=0"] if args.dark else []
            chromium(
                f"--window-size={args.size}",
                f"--screenshot={args.shot.resolve()}",
                *theme,
                page.resolve().as_uri(),
            )
            print(f"browser_check: wrote {args.shot}")


if __name__ == "__main__":
    main()
