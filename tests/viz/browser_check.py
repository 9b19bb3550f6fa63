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

import keyboard_check

DARK = ["--blink-settings=preferredColorScheme=0"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# The least contrast of a text on its ground, and where it is below 4.5.
CONTRAST = """
  // Every text and its ground, as painted: a canvas turns any colour into red, green and blue.
  const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((x) => x / 255).map((x) => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => {
    const cell = e.closest("svg .ji-cell, svg .ji-node");
    if (cell && cell.querySelector("rect")) return rgb(getComputedStyle(cell.querySelector("rect")).fill);
    for (let at = e; at; at = at.parentElement) { const c = rgb(getComputedStyle(at).backgroundColor); if (c[3] > 250) return c; }
    return [255, 255, 255, 255];
  };
  let least = 21, worst = "";
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length) continue;
    if (e.closest("script, style, title") || e.matches(":disabled")) continue;
    const style = getComputedStyle(e), ink = rgb(e.closest("svg") ? style.fill : style.color);
    const [dark, bright] = [light(ink), light(ground(e))].sort((a, b) => a - b), got = (bright + .05) / (dark + .05);
    if (got < least) { least = got; worst = e.outerHTML.slice(0, 90); }
  }
  say("contrast", least.toFixed(2) + (least < 4.5 ? " " + worst.replace(/\\s+/g, " ") : ""));
"""

# Runs in the page after it has loaded: presses each button, hovers over cells, and writes a report into the document.
PROBE = (
    """
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
  const key = (e, name) => e.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true, cancelable: true}));
  const heat = document.querySelector("[data-rove='.ji-cell rect']");
  if (heat) {
    heat.focus(); key(heat, "ArrowRight"); key(heat, "ArrowRight"); key(heat, "ArrowDown");
    const told = document.querySelector(".ji-unseen").textContent;
    const at = [...heat.querySelectorAll(".ji-cell rect")].indexOf(heat.querySelector(".ji-at"));
    const named = /row 1, .*column ./.test(told) || !/row 0, /.test(heat.textContent);
    say("arrows", told !== "" && named && at > 1 && told === document.querySelector(".ji-tip").textContent);
    heat.blur();
  }
  for (const root of document.querySelectorAll(".ji-attention .ji-big .ji-scroll")) {
    const readout = root.parentNode.querySelector(".ji-readout");
    root.focus(); key(root, "ArrowDown"); const first = readout.textContent; key(root, "ArrowRight"); key(root, "ArrowDown");
    say("matrix", / reads /.test(first) && / reads /.test(readout.textContent) && first !== readout.textContent);
    root.blur();
  }
  for (const root of document.querySelectorAll(".ji-attention-text")) {
    const items = [...root.querySelectorAll(".ji-tok")], readout = root.querySelector(".ji-readout");
    const pictures = [...root.querySelectorAll(".ji-head")], layer = root.querySelector(".ji-layer");
    items[0].focus();
    const first = readout.textContent;
    key(items[0], "ArrowRight");
    const moved = document.activeElement === items[1] && readout.textContent !== first && items[1].tabIndex === 0 && items[0].tabIndex === -1;
    items[1].click(); items[1].blur();
    say("choose", moved && items[1].getAttribute("aria-pressed") === "true" && readout.textContent.includes("(1)"));
    if (layer) {
      layer.value = layer.options[layer.options.length - 1].value; layer.dispatchEvent(new Event("change"));
      const seen = pictures.filter((e) => !e.hidden), pressed = pictures.filter((e) => e.getAttribute("aria-pressed") === "true");
      say("layer", seen.length < pictures.length && pressed.length === 1 && !pressed[0].hidden && readout.textContent.startsWith("head " + layer.value));
      root.querySelector(".ji-several").click(); seen[0].click(); seen[1].click(); seen[2].click();
      say("several", readout.textContent.startsWith("mean of "));
    }
    say("colour", new Set(items.map((e) => e.style.getPropertyValue("--v"))).size > 1);
  }
  for (const root of document.querySelectorAll(".ji-activations")) {
    const items = [...root.querySelectorAll(".ji-tok")], readout = root.querySelector(".ji-readout");
    const unit = root.querySelector(".ji-unit"), go = () => [...root.querySelectorAll(".ji-go")];
    const before = readout.textContent;
    unit.value = (Number(unit.value) + 1) % 3; unit.dispatchEvent(new Event("input"));
    const changed = readout.textContent !== before;
    go()[0].click();
    const on = document.activeElement;
    const there = items.includes(on) && on.getAttribute("aria-pressed") === "true" && on.classList.contains("ji-at");
    key(on, "ArrowRight"); key(document.activeElement, "ArrowLeft");
    const label = readout.textContent, units = go().filter((e) => e.textContent.includes("unit"));
    units[0].click();
    say("unit", changed && there && / of text .*: .*[0-9]/.test(label) && units.length > 1);
    root.querySelector(".ji-step").click();
    document.activeElement.blur();
    const first = root.querySelector(".ji-strip"), most = Math.max(...items.map((e) => parseFloat(e.style.getPropertyValue("--v"))));
    say("strongest", most === 100 && [...first.querySelectorAll(".ji-tok")].some((e) => e.style.getPropertyValue("--v") === "100.0%"));
  }
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const heads = [...table.tHead.rows[0].cells], values = () => [...table.tBodies[0].rows].map((row) => row.cells[1].dataset.key);
    const press = (i) => { heads[i].querySelector("button").focus(); document.activeElement.click(); };
    press(1);
    const down = values().join() === "0.9,0.5,-0.25," && heads[1].getAttribute("aria-sort") === "descending";
    press(1);
    const up = values().join() === "-0.25,0.5,0.9," && heads[1].getAttribute("aria-sort") === "ascending";
    press(0);
    const names = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent).join();
    say("sorted", down && up && names === "a2,a3,a10,b" && !heads[1].hasAttribute("aria-sort"));
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
  const codes = [...document.querySelectorAll(".ji-code")];
  if (codes.length) {
    // A tour: the first figure stands on the first screen, whatever the window's height; code is copied with its first lines.
    say("first", Math.round(figures[0].getBoundingClientRect().bottom + scrollY));
    const first = codes[0].querySelector("pre").textContent, marked = codes.filter((e) => e.hasAttribute("data-first"));
    const copied = codes.every((e) => {
      const button = e.querySelector(".ji-copy"), own = e.querySelector("pre").textContent;
      button.click();
      const words = button.dataset.copied;
      return words.startsWith(first.split("\\n")[0]) && words.includes(own) && words.includes("ji.load(") && document.activeElement === button;
    });
    document.activeElement.blur();
    say("copied", copied && marked.length === 1 && marked[0] === codes[0]);
    say("coded", [...document.querySelectorAll("main section")].every((e) => e.querySelector(".ji-code") || /Left out$/.test(e.querySelector("h2").textContent)));
    say("code", codes.every((e) => { const pre = e.querySelector("pre"), b = pre.getBoundingClientRect(); return pre.tabIndex === 0 && b.width > 200 && b.right <= innerWidth && pre.textContent.includes("figure ="); }));
    const nav = document.querySelector("nav"), links = [...nav.querySelectorAll("a")], fold = nav.querySelector("details");
    if (fold) { fold.querySelector("summary").click(); }
    say("contents", links.length === document.querySelectorAll("main section").length && links.every((e) => { const at = document.getElementById(e.getAttribute("href").slice(1)); return at && at.querySelector("h2").textContent.endsWith(e.textContent); }) && (!fold || fold.open));
    if (fold) { fold.open = false; }
    // Running text has no marks of Markdown; code, tokens and cells of tables are left out, which may hold any character.
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), leaks = [];
    for (let n = walk.nextNode(); n; n = walk.nextNode()) {
      if (n.parentElement.closest("script, style, code, pre, td, svg, .ji-fill, .ji-tok, .ji-numbers, .ji-readout, .ji-tip")) continue;
      if (/`|[*][*]|][(]|^#+ /.test(n.data)) leaks.push(n.data.trim().slice(0, 40).replace(/\\s+/g, " "));
    }
    say("leaks", leaks.length + leaks.join(";"));
    // Each axis and scale says what it is: none has the name that it has by default.
    const bare = [...document.querySelectorAll("svg .ji-axis, .ji-scale > span:first-child, .ji-key > span:first-child")].map((e) => e.textContent.trim()).filter((t) => ["", "x", "y", "value", "row", "column", "share"].includes(t));
    say("bare", bare.length + bare.join(";"));
    // Text in drawings is as large as it was drawn: a narrow window scrolls a drawing and does not shrink it.
    const small = [...document.querySelectorAll(".ji-svg text")].filter((e) => e.textContent.trim() && e.getClientRects().length).map((e) => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width);
    say("text", small.length ? Math.min(...small).toFixed(1) : "21");
    const wide = [...document.querySelectorAll("figure .ji-scroll, pre.ji-scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1);
    say("reached", wide.every((e) => e.tabIndex === 0));
  }
"""
    + CONTRAST
    + """  const loads = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:"));
  say("requests", loads.length);
  say("errors", (window.jiErrors || []).length + (window.jiErrors || []).join(";"));
  const out = document.createElement("pre"); out.id = "ji-probe"; out.textContent = seen.join("\\n"); document.body.append(out);
});
</script>
"""
)
WORKS = (
    "tip",
    "arrows",
    "matrix",
    "choose",
    "layer",
    "several",
    "colour",
    "button",
    "readout",
    "score",
    "slider",
    "keyboard",
    "click",
    "escaped",
    "scrolls",
    "copied",
    "coded",
    "code",
    "contents",
    "reached",
)
FIRST = {1000: 800, 390: 844}
"Windows by width: the height in which the first figure of a tour is seen whole."
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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [browser, *common, f"--user-data-dir={profile}", *args],
            capture_output=True,
            text=True,
            timeout=120,
        )
    return done.stdout


def probe(page: Path, width: int = 1000, dark: bool = False) -> dict[str, str]:
    """What the probe reports of a page in a window of some width."""
    text = page.read_text(encoding="utf-8").replace("<head>", "<head>" + CATCH, 1)
    head, body = text.rsplit("</body>", 1)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(head + PROBE + "</body>" + body, encoding="utf-8")
        document = chromium("--dump-dom", f"--window-size={width},1200", *DARK * dark, copy.as_uri())
    report = re.search(r'<pre id="ji-probe">(.*?)</pre>', document, re.S)
    assert report, "the page's scripts did not finish"
    return dict(line.split("=", 1) for line in html.unescape(report[1]).splitlines())


def check(page: Path) -> None:
    for width, dark in ((1000, False), (390, True)):
        report = probe(page, width, dark)
        print(f"browser_check: {page.name} at {width} px, {'dark' if dark else 'light'}: {report}")
        assert int(report["figures"]) > 0 and report["empty"] == "0", "a figure takes no room"
        assert report["errors"] == "0", "the page's scripts failed"
        assert report["requests"] == "0", "the page asks the network for something"
        assert report["pictures"] == "true", "a picture does not show"
        assert report["fits"] == "true", "the page is wider than the window"
        assert int(report["colours"]) > 3, "cells are not coloured by value"
        assert float(report["contrast"].split()[0]) >= 4.5, f"a text is hard to read: {report['contrast']}"
        if "first" in report:
            assert int(report["first"]) <= FIRST[width], f"the first figure ends {report['first']} px down"
            assert report["leaks"] == "0", f"Markdown reaches the page: {report['leaks']}"
            assert report["bare"] == "0", f"an axis or a scale has no label: {report['bare']}"
            assert float(report["text"]) >= 9, f"a text of a figure is {report['text']} px high"
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
        viz.attention_text(
            np.tril(rng.dirichlet(np.ones(5), size=(2, 4, 5))), tokens, layers=[3, 7], title="text"
        ),
        viz.activations(
            rng.normal(size=(2, 3, 5, 6)) ** 3,
            [tokens, tokens[::-1], list("abcde")],
            layers=[3, 7],
            title="units",
        ),
        viz.token_strip(tokens, rng.normal(size=5), title="strip"),
        viz.lines(
            {"a": rng.random(20), "b": rng.random(20)},
            bands={"b": (np.zeros(20), np.ones(20))},
            title="lines",
        ),
        viz.records(
            [{"name": n, "f1": v} for n, v in {"a10": 0.5, "b": None, "a2": -0.25, "a3": 0.9}.items()],
            title="records",
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
        if not args.page:
            for width in (1000, 390):
                keyboard_check.check(page, width)
        if args.shot:
            theme = DARK if args.dark else []
            chromium(
                f"--window-size={args.size}",
                f"--screenshot={args.shot.resolve()}",
                *theme,
                page.resolve().as_uri(),
            )
            print(f"browser_check: wrote {args.shot}")


if __name__ == "__main__":
    main()
