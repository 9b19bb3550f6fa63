"""Uses the pages of features in headless Chromium as a reader does: searches, presses keys, clicks, writes a text.

    python tests/sae/browser_check.py [FOLDER] [--shot PICTURE.png] [--dark]

It measures how long a list of 20,000 features and a search in it take. It skips with a note, and exit code 0, where no
Chromium is installed. Not part of the default tests.
"""

import argparse
import base64
import html
import json
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "viz"))

from browser_check import CONTRAST, chromium
from browser_sample import ALIKE, HOSTILE, Words, sample
from keyboard_check import NAMED, Browser

READY = "#panel[data-feature]"
LISTED, SEARCHED = 400, 100
"Milliseconds of the processor until the list of 20,000 features and a first panel are there, and for a search in it."
HELP = """
window.all = (query) => [...document.querySelectorAll(query)];
window.count = () => Number(document.querySelector("#count").textContent.split(" ")[0]);
window.shownFeature = () => document.querySelector("#panel").dataset.feature;
window.set = (id, value) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change")); };
window.words = () => all(".fb-row[role=option] span").slice(0, 15).map((e) => e.textContent);
window.visibleRows = () => all(".fb-lines tbody tr").filter((e) => e.getClientRects().length).length;
"""


class Pages(Browser):
    """Pages of features in a browser, with what a reader does to them."""

    def __init__(self, address: str, profile: str) -> None:
        super().__init__("about:blank", profile, 1200, ready="body")
        self.send("Page.enable")
        self.send("Performance.enable", timeDomain="threadTicks")
        catch = "window.jiErrors = []; addEventListener('error', (e) => jiErrors.push(e.message));"
        self.send("Page.addScriptToEvaluateOnNewDocument", source=catch + HELP)
        self.open(address, READY)

    def busy(self) -> float:
        """Milliseconds of the processor that the page has taken: other work on the machine does not count."""
        metrics = self.send("Performance.getMetrics")["metrics"]
        return 1000 * next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    def is_at(self, feature: object) -> None:
        """Waits until the panel shows a feature."""
        self.wait(f"shownFeature() === '{feature}'")

    def set(self, element: str, value: object) -> None:
        self.run(f"set({json.dumps(element)}, {json.dumps(value)})")

    def is_sound(self, where: str) -> None:
        """No markup came in, nothing was asked of a network, no script failed, and every text can be read."""
        assert self.run("window.hostile === undefined && all('img').length === 0"), "a text became markup"
        own = "['file:', 'data:', 'http://127.0.0.1:']"
        asked = f"performance.getEntriesByType('resource').filter((e) => !{own}.some((p) => e.name.startsWith(p)))"
        assert self.run(f"{asked}.length") == 0 and self.run("jiErrors.join()") == "", where
        for theme in ("light", "dark"):
            self.send(
                "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}]
            )
            least = self.run(
                f"(() => {{ let found; const say = (_, x) => found = x; {CONTRAST} return found; }})()"
            )
            print(f"browser_check: {where}, {theme}: contrast {least}")
            assert float(least.split()[0]) >= 4.5, f"a text is hard to read in the {theme} theme: {least}"
        for width in (390, 1200):
            self.send(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=800,
                deviceScaleFactor=1,
                mobile=False,
            )
            assert self.run("document.documentElement.scrollWidth <= innerWidth"), f"wider than {width} px"
        roles = NAMED | {"listbox", "option", "textbox", "searchbox", "table", "region"}
        unnamed = [role for role, name in self.names() if role in roles and not name.strip()]
        assert not unnamed, f"a screen reader is not told what these are: {unnamed}"


def check_list(pages: Pages) -> None:
    """The list of 20,000: how quickly it is there, filters, order, and the keys."""
    listed, times = pages.busy(), []
    for query in ("t", "th", "the", " the", "a b", "0"):
        before = pages.busy()
        pages.set("search", query)
        times.append(pages.busy() - before)
    print(f"browser_check: list after {listed:.0f} ms; searches {', '.join(f'{t:.0f}' for t in times)} ms")
    assert listed < LISTED and max(times) < SEARCHED, "the pages are slow"
    pages.set("search", "")
    before = pages.run("count()")
    values = pages.run(
        "all('.fb-row[role=option] i').map((e) => parseFloat(e.textContent)).filter((x) => !isNaN(x))"
    )
    assert values == sorted(values, reverse=True) and len(values) > 20
    assert pages.run("all('.fb-row[role=option]').length") <= 80 and pages.run("all('#plot rect').length") > 4
    found = {}
    for alive in ("dead", "all", "alive"):
        pages.set("alive", alive)
        found[alive] = pages.run("count()")
    assert found["alive"] == before and found["alive"] + found["dead"] == found["all"] == 20_000
    pages.set("high", "0.1")
    assert 0 < pages.run("count()") < before
    pages.set("high", "")
    pages.run("all('#heads button')[0].click()")  # by number, rising
    assert pages.run("all('.fb-row[role=option] b')[0].textContent") == "0"
    assert pages.run("all('#heads button, #heads span').length") == 3
    pages.run("all('#heads button')[0].click()")
    numbers = pages.run("all('.fb-row[role=option] b').map((e) => Number(e.textContent))")
    assert numbers == sorted(numbers, reverse=True)
    pages.set("sort", "0")

    pages.tab_to("#list")
    place = "Number(document.getElementById(document.getElementById('list').getAttribute('aria-activedescendant')).getAttribute('aria-posinset'))"
    feature = "all('.fb-row[aria-selected=true] b')[0].textContent"
    for keys, wanted in (
        (["Home"], 1),
        (["ArrowDown", "ArrowDown"], 3),
        (["ArrowUp"], 2),
        (["End"], before),
        (["Home", "PageDown", "PageUp"], 1),
    ):
        pages.press(*keys)
        assert pages.run(place) == wanted, keys
        pages.is_at(pages.run(feature))
    pages.press("PageDown")
    assert pages.run(place) > 5


def check_search(pages: Pages) -> None:
    """Exact tokens stand first, blanks before a token belong to it, and labels and numbers are found."""
    for query, first in (("the", "the"), (" the", "·the"), ("The", "The"), ("  ", "··")):
        pages.set("search", query)
        words = pages.run("words()")
        assert len(words) == 15 and all(first in word.split() for word in words), (query, words)
    exact = pages.run("count()")
    pages.set("search", "th")  # the beginning of four tokens
    assert pages.run("count()") > exact
    pages.set("search", "onerror")
    assert pages.run("count()") > 1000  # a part of a token, and of the label of feature 3
    pages.set("search", "17")
    assert pages.run("all('.fb-row[role=option] b')[0].textContent") == "17"
    pages.tab_to("#search")
    pages.press("Enter")
    pages.is_at(17)
    pages.set("search", "no such thing")
    assert pages.run("count()") == 0
    pages.set("search", "")


def check_address(pages: Pages) -> None:
    """A click on a feature is a step that Back takes back; an address opens its feature."""
    pages.run("all('.fb-row[role=option]')[2].click()")
    first = pages.run("all('.fb-row[role=option] b')[2].textContent")
    pages.is_at(first)
    pages.run("all('.fb-row[role=option]')[4].click()")
    second = pages.run("all('.fb-row[role=option] b')[4].textContent")
    pages.is_at(second)
    assert pages.run("location.hash") == f"#{second}" and first != second
    assert pages.run("document.querySelector('#panel h2 a').getAttribute('href')") == f"#{second}"
    pages.run("history.back()")
    pages.is_at(first)
    pages.run("history.forward()")
    pages.is_at(second)
    pages.run("all('#panel button')[1].click()")
    pages.wait(f"shownFeature() !== '{second}'")
    pages.run("location.hash = '#3'")
    pages.is_at(3)
    assert pages.run("document.querySelector('.fb-explanation').textContent") == HOSTILE
    pages.run("location.hash = '#90000'")
    pages.wait("document.querySelector('#panel').textContent === 'There is no feature 90000 on these pages.'")


def check_contexts(pages: Pages) -> None:
    """Contexts that are alike are folded, and each can be seen longer."""
    pages.run(f"location.hash = '#{ALIKE}'")
    pages.is_at(ALIKE)
    heads = pages.run("all('.fb-lines')[0].querySelectorAll('thead th').length")
    assert heads == 3 and pages.run("all('.fb-logits thead th').length") == 4
    pages.tab_to(".fb-alike")
    assert pages.run("document.activeElement.textContent") == "3 more like this"
    rows = pages.run("visibleRows()")
    pages.press("Enter")
    assert pages.run("visibleRows()") == rows + 3
    assert pages.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    pages.press(" ")
    assert pages.run("visibleRows()") == rows
    tokens = "document.querySelector('.fb-text').querySelectorAll('span').length"
    assert pages.run(tokens) == 17
    text = pages.run("document.querySelector('.fb-text').textContent")
    pages.tab_to(".fb-lines button:not(.fb-alike)")
    pages.press("Enter")
    pages.wait(f"{tokens} === 51")  # 20 before the peak and 30 behind it
    assert pages.run("document.querySelectorAll('.fb-text .fb-beyond').length") == 34
    assert text in pages.run("document.querySelector('.fb-text').textContent")
    assert "13 more tokens" in pages.run("document.querySelector('.fb-text em').textContent")
    assert pages.run("document.activeElement.textContent") == "shorter"
    pages.run("document.querySelector('.fb-text div').click()")
    assert pages.run(tokens) == 17
    pages.tab_to(".fb-text div")
    pages.press("ArrowRight", "ArrowRight")
    assert pages.run("all('.ji-unseen[aria-live]')[0].textContent") != ""


def check_text(pages: Pages) -> None:
    """A text that was given: the features on it, those at one token, and all of them again."""
    before = pages.run("count()")
    pages.set("own-given", "0")
    fires = pages.run("count()")
    assert 32 <= fires < before and pages.run("all('#own-strip .ji-tok').length") == 4
    assert pages.run("document.querySelector('#own-strip .ji-tok').textContent") == HOSTILE
    assert pages.run("all('#own-strip .ji-high').length") > 0
    pages.tab_to("#own-strip .ji-tok")
    pages.press("ArrowRight", "ArrowRight", "Enter")
    assert (
        pages.run("all('#own-strip [aria-pressed=true]').length") == 1 and 32 <= pages.run("count()") <= fires
    )
    strongest = pages.run("all('.fb-row[role=option] b')[0].textContent")
    pages.is_at(strongest)
    assert (
        float(pages.run("all('#own-strip [aria-pressed=true]')[0].style.getPropertyValue('--v')").rstrip("%"))
        > 0
    )


def check_live(folder: Path, profile: str) -> None:
    """A text that is written on served pages, and the same pages as one document in a frame."""
    from jaxinterp import sae
    from jaxinterp.viz._colab import framed

    made, model = sample(folder / "live", 60)
    with sae.serve(folder / "live", made, model, Words(), site="resid_post[0]") as served:
        pages = Pages(served.url, profile)
        try:
            pages.tab_to("#own-text")
            pages.send("Input.insertText", text="1 2 3")
            pages.press("Tab", "Enter")
            pages.wait("all('#own-strip .ji-tok').length === 3")
            assert pages.run("count()") > 3 and "features fire" in pages.run(
                "document.querySelector('#own-said').textContent"
            )
            pages.set("own-text", "1 " * 99)
            pages.run("document.querySelector('#own-go').click()")
            pages.wait("document.querySelector('#own-said').textContent.includes('the model reads 64')")
            pages.is_sound("served pages")
            sample(folder / "one.html", 60)
            frame = folder / "frame.html"
            frame.write_text(framed((folder / "one.html").read_text(), HOSTILE))
            pages.open(frame.as_uri(), "iframe")
            inside = "document.querySelector('iframe').contentDocument"
            pages.wait(f"{inside}.querySelector({json.dumps(READY)}) !== null")
            row = f"{inside}.querySelectorAll('.fb-row[role=option]')[1]"
            wanted = pages.run(f"{row}.querySelector('b').textContent")
            pages.run(f"{row}.click()")
            pages.wait(f"{inside}.querySelector('#panel').dataset.feature === '{wanted}'")
            pages.open((folder / "one.html").as_uri(), READY)
            check_contexts(pages)
            pages.is_sound("one file")
        finally:
            pages.close()


def check(given: Path | None, shot: Path | None, dark: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if given is None:
            sample(folder / "features")
        index = (given or folder / "features").resolve() / "index.html"
        pages = Pages(index.as_uri(), str(folder / "profile"))
        try:
            for each in (check_list, check_search, check_address, check_contexts, check_text):
                each(pages)
            pages.is_sound("folder")
            if shot is not None:
                theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
                pages.send("Emulation.setEmulatedMedia", features=theme)
                shot.write_bytes(base64.b64decode(pages.send("Page.captureScreenshot")["data"]))
            pages.run("document.querySelector('#own-clear').click()")
        finally:
            pages.close()
        check_live(folder, str(folder / "profile2"))
        check_rating(folder / "study")
    print("browser_check: the pages of features do what a reader asks of them")


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
    parser.add_argument("folder", type=Path, nargs="?", help="pages of browser_sample.py, written before")
    parser.add_argument("--shot", type=Path, help="also write a screenshot")
    parser.add_argument("--dark", action="store_true", help="the screenshot in the dark theme")
    args = parser.parse_args()
    chromium("--version")  # or all is skipped
    check(args.folder, args.shot, args.dark)


if __name__ == "__main__":
    main()
