"""Checks a built site as a reader meets it: every public name, every equation, every picture, no network.

    mkdocs build --strict --site-dir SITE && python tests/site_check.py SITE

The pages are read as files, and then opened in headless Chromium at 1000 and at 390 px, all in one run of it. Where no
Chromium is installed (Debian: `apt-get install chromium`) the second part is skipped with a note.
"""

import argparse
import functools
import http.server
import json
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "tests" / "viz")]

import _pictures  # noqa: E402
import _reference  # noqa: E402
from browser_check import NAMES  # noqa: E402

LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="((?:https?:)?//[^"]+)"|<link\b[^>]*>', re.S)

PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const pages = PAGES, seen = [];
const frame = document.createElement("iframe");
frame.height = 900;
document.body.append(frame);
const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const load = (page) => new Promise((done) => { frame.onload = done; frame.src = page; });
async function visit(page, width) {
  frame.width = width;
  const inside = frame.contentDocument, root = inside.documentElement;
  await inside.fonts.ready;
  await frames();
  const marked = [...inside.querySelectorAll(".arithmatex")];
  const drawn = marked.filter((e) => e.querySelector(".katex .katex-html") && e.getBoundingClientRect().width > 0);
  const math = [...inside.fonts].filter((face) => face.family.includes("KaTeX") && face.status === "loaded").length;
  const images = [...inside.querySelectorAll("article img")];
  images.forEach((e) => { e.loading = "eager"; });
  await Promise.all(images.map((e) => e.decode().catch(() => {})));
  const loads = frame.contentWindow.performance.getEntriesByType("resource").map((e) => e.name);
  const reach = (e) => e.getBoundingClientRect().right > width + 1 && !e.closest(".highlight, .md-typeset__scrollwrap, .ji-wide, .katex-display, figure, .md-sidebar, .katex-mathml, .md-header, .md-search");
  seen.push({
    page, width,
    equations: marked.length,
    undrawn: marked.filter((e) => !drawn.includes(e)).map((e) => e.textContent).slice(0, 3),
    errors: [...inside.querySelectorAll(".katex-error")].map((e) => e.title),
    fonts: marked.length === 0 || math > 0,
    images: images.filter((e) => e.naturalWidth === 0).map((e) => e.src),
    figures: [...inside.querySelectorAll("figure.ji-figure")].filter((e) => { const b = e.getBoundingClientRect(); return b.width * b.height < 400; }).length,
    over: root.scrollWidth - width,
    wide: root.scrollWidth <= width ? [] : [...inside.querySelectorAll("article *")].filter(reach).slice(0, 3).map((e) => e.outerHTML.slice(0, 160)),
    outside: loads.filter((name) => !name.startsWith(location.origin) && !name.startsWith("data:")),
  });
}
(async () => {
  for (const page of pages) {
    frame.width = 1000;
    await load(page);
    for (const width of [1000, 390]) await visit(page, width);
  }
  await fetch("/report", { method: "POST", body: JSON.stringify(seen) });
})();
</script></body>"""


def texts(site: Path) -> list[str]:
    """What is wrong with the files of a site."""
    wrong = []
    for page in _reference.pages():
        text = (site / page.file).with_suffix(".html").read_text(encoding="utf-8")
        anchors = set(re.findall(r'\bid="([^"]+)"', text))
        wrong += [
            f"{name.path} has no anchor in {page.file}" for name in page.names if name.path not in anchors
        ]
        links = set(re.findall(r'href="([^"]+)"', text))
        wrong += [
            f"{name.path} has no link to {name.address}" for name in page.names if name.address not in links
        ]
        for name in page.names:
            entry = text.split(f'id="{name.path}"', 1)[-1].split("ji-source", 1)[0]
            if name.has_signature and "doc-signature" not in entry:
                wrong.append(f"{name.path} has no signature")
    for page, markdown in _pictures.pages(ROOT / "docs"):
        made = (
            (site / page)
            .with_suffix(".html")
            .read_text(encoding="utf-8")
            .split('<div class="ji-picture"')[1:]
        )
        if len(made) != markdown.count(_pictures.MARK) or not all("<figure" in part for part in made):
            wrong.append(f"{page} has {len(made)} pictures of {markdown.count(_pictures.MARK)}")
    for path in sorted(site.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        for found in LOADED.finditer(text):
            sheet = re.search(r'rel="stylesheet"', found[0]) and re.search(
                r'href="((?:https?:)?//[^"]+)"', found[0]
            )
            if found[1] or sheet:
                wrong.append(f"{path.name} loads {found[1] or sheet[1]}")
        shown = re.sub(r"<(pre|code|script|style)\b.*?</\1>", "", text, flags=re.S)
        for raw in re.findall(r"\$[^$<\n]{1,80}\$", re.sub(r"<[^>]+>", "", shown)):
            wrong.append(f"{path.name} shows {raw}, which is no equation")
    return wrong


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a site, the page of the probe, and its report."""

    probe = b""
    nothing = b'{"config": {"lang": ["en"], "separator": "[ ]+"}, "docs": []}'
    "An index without entries: to build the real one would take most of the time of every page."
    report: queue.Queue[bytes] = queue.Queue()

    def do_GET(self) -> None:
        bodies = {
            "/probe": ("text/html", self.probe),
            "/search/search_index.json": ("text/json", self.nothing),
        }
        if self.path not in bodies:
            return super().do_GET()
        kind, body = bodies[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.report.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No log."""


def visits(site: Path, browser: str, seconds: int = 300) -> list[dict]:
    """What the browser finds on every page at every width."""
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    Handler.probe = PROBE.replace("PAGES", json.dumps([f"/{page}" for page in pages])).encode()
    served = functools.partial(Handler, directory=str(site))
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1100,1000",
    ]
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), served) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/probe"
        process = subprocess.Popen(
            [browser, *flags, f"--user-data-dir={profile}", address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return json.loads(Handler.report.get(timeout=seconds))
        finally:
            process.terminate()
            process.wait()
            server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    site = parser.parse_args().site.resolve()
    wrong = texts(site)
    names = sum(len(page.names) for page in _reference.pages())
    print(f"site_check: {names} public names, {len(wrong)} faults in the files")
    browser = next((path for path in map(shutil.which, NAMES) if path), None)
    if not browser:
        print("site_check: not opened, no Chromium is installed")
    elif not wrong:
        found = visits(site, browser)
        first = [one for one in found if one["width"] == 1000]
        print(
            f"site_check: {len(first)} pages, {sum(one['equations'] for one in first)} equations in a browser"
        )
        faults = ("undrawn", "errors", "images", "figures", "outside")
        wrong = [
            f"{one['page']} at {one['width']} px: {part} {one[part]}"
            for one in found
            for part in faults
            if one[part]
        ]
        wrong += [
            f"{one['page']} at {one['width']} px: no font of KaTeX is loaded"
            for one in found
            if not one["fonts"]
        ]
        wrong += [
            f"{one['page']} is {one['over']} px wider than {one['width']}: {one['wide']}"
            for one in found
            if one["over"] > 0
        ]
    if wrong:
        sys.exit("\n".join(wrong[:40]))


if __name__ == "__main__":
    main()
