"""Uses figures by real key presses in headless Chromium, and reads what a screen reader is given.

`browser_check.py` runs it on a page with every kind of figure. It speaks Chromium's debugging protocol over a pipe, and needs nothing else.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CODES = {"Tab": 9, "Enter": 13, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36}
CODES |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
NAMED = {"button", "combobox", "checkbox", "slider", "spinbutton", "link", "img"}
"Roles whose nodes say what they are."


class Browser:
    """One page of a headless browser: `run` evaluates, `press` presses keys, `names` reads the accessibility tree."""

    def __init__(self, page: Path | str, profile: str, width: int, ready: str = ".ji-figure") -> None:
        browser = next(path for path in map(shutil.which, NAMES) if path)
        out, self._write = os.pipe()
        self._read, into = os.pipe()
        # Chromium reads commands from its file 3 and writes answers to its file 4.
        flags = "--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe"
        command = f'exec 3<&{out} 4>&{into}; exec "$0" {flags} --window-size={width},900 --user-data-dir="$1" about:blank'
        self.process = subprocess.Popen(
            ["bash", "-c", command, browser, profile], pass_fds=(out, into), stderr=subprocess.DEVNULL
        )
        os.close(out)
        os.close(into)
        self._rest, self._count, self._session = b"", 0, None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Accessibility.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        self.open(page, ready)

    def open(self, page: Path | str, ready: str) -> None:
        """Loads a page, until what it is read for is in it."""
        self.send("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.wait(
            f"document.readyState === 'complete' && document.querySelector({json.dumps(ready)}) !== null"
        )

    def wait(self, code: str) -> None:
        for _ in range(400):
            if self.run(code):
                return
            time.sleep(0.05)
        raise AssertionError(f"This does not become true: {code}")

    def send(self, method: str, **params: Any) -> Any:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                more = os.read(self._read, 1 << 20)
                assert more, "the browser has ended"
                self._rest += more
            text, self._rest = self._rest.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, code: str) -> Any:
        got = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def press(self, *keys: str) -> None:
        for key in keys:
            code = CODES[key]
            text = {"Enter": "\r", " ": " "}.get(key)
            common = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": code}
            down = common | ({"text": text} if text else {})
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **down)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def tab_to(self, selector: str) -> int:
        """Presses Tab until an element has the focus, from the top of the page. Returns how often."""
        self.run("document.activeElement?.blur(); scrollTo(0, 0); getSelection().removeAllRanges()")
        self.run("document.body.tabIndex = -1; document.body.focus()")
        for count in range(1, 300):
            self.press("Tab")
            if self.run(f"document.activeElement?.matches({json.dumps(selector)})"):
                return count
        raise AssertionError(f"Tab does not reach {selector}")

    def names(self) -> list[tuple[str, str]]:
        """Roles and names of all nodes that are not ignored."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored")
        ]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def check(page: Path, width: int = 1000) -> None:
    """All of a page that has one figure of each kind, by keys alone."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(page, profile, width)
        try:
            _check(browser)
        finally:
            browser.close()


def _check(browser: Browser) -> None:
    live = "document.querySelector('.ji-unseen').textContent"
    focused = "document.activeElement.textContent"

    browser.tab_to("[data-rove='.ji-cell rect']")
    browser.press("ArrowRight", "ArrowRight", "ArrowDown")
    assert "row 1, column" in browser.run(live), browser.run(live)
    browser.tab_to(".ji-scroll[data-rove='.ji-fill']")
    browser.press("ArrowRight", "ArrowDown")
    assert "position 0" in browser.run(live) and "0." in browser.run(live)

    readout = "document.querySelector('.ji-attention .ji-readout').textContent"
    browser.tab_to(".ji-attention .ji-head")
    browser.press("ArrowRight", "Enter")
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    browser.tab_to(".ji-attention .ji-big .ji-scroll")
    browser.press("ArrowUp", "ArrowUp")
    assert " reads " in browser.run(readout)

    readout = "document.querySelector('.ji-attention-text .ji-readout').textContent"
    browser.tab_to(".ji-attention-text .ji-tok")
    before = browser.run(readout)
    browser.press("ArrowLeft", "ArrowLeft")
    assert browser.run(readout) != before
    browser.press("Enter", "ArrowRight", "Tab")
    assert "(2)" in browser.run(readout), "Enter keeps the token that was chosen"
    layer = browser.tab_to(".ji-attention-text .ji-layer")
    browser.press("ArrowUp")
    assert browser.run(readout).startswith("head 3.")
    assert browser.tab_to(".ji-attention-text .ji-tok") - layer <= 5, "many heads are one stop"

    readout = "document.querySelector('.ji-activations .ji-readout').textContent"
    browser.tab_to(".ji-activations .ji-unit")
    before = browser.run(readout)
    browser.press("ArrowDown")
    assert browser.run(readout) != before
    browser.tab_to(".ji-activations .ji-go")
    browser.press("Enter")
    assert browser.run("document.activeElement.matches('.ji-tok[aria-pressed=true]')")
    chosen = browser.run(focused)
    browser.press("ArrowDown")
    assert browser.run("document.activeElement.matches('.ji-tok')") and chosen

    browser.tab_to(".ji-records .ji-by")
    browser.press("Tab", "Enter")
    order = (
        "[...document.querySelectorAll('.ji-records tbody tr')].map((row) => row.cells[0].textContent).join()"
    )
    assert browser.run(order) == "a3,a10,a2,b", browser.run(order)

    unnamed = [role for role, name in browser.names() if role in NAMED and not name.strip()]
    assert not unnamed, f"a screen reader is not told what these are: {unnamed}"
    said = " ".join(name for role, name in browser.names() if role == "button")
    assert "3.0" in said and "previous" in said
    print("keyboard_check: Tab, arrows and Enter use every figure, and every control has a name")
