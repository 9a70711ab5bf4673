"""Pages in a real browser: what they hold after their scripts have run, what a script does in them, what they log."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)

DRAW_ALL = """
draw();
const isDrawn = (plot) => plot.querySelector(".main-svg");
await until(() => all("article:not([hidden]) figure:not([hidden]) .plot").every(isDrawn));
"""
"""Actions: draw every figure of a report's run that is shown, whether in view or not."""

_ACTING = """<script>
window.addEventListener("load", async () => {
  // Frame by frame: virtual time would run out on a busy machine before a frame is there.
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const until = async (ready) => { while (!ready()) await frame(); };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  const texts = (selector) => all(selector).map((found) => found.textContent);
  // As for paper: figures out of view too, of which the page draws none otherwise.
  const draw = () => window.dispatchEvent(new Event("beforeprint"));
  const choose = (selector, value) => {
    one(selector).value = value;
    one(selector).dispatchEvent(new Event("change"));
  };
  // Of a table that pages make: its rows as texts by the heads that are shown.
  const table = (host) => {
    const heads = all(`${host} thead th`).filter((head) => !head.hidden).map((head) => head.textContent);
    const named = (row) => [...row.cells].map((cell, i) => [heads[i], cell.textContent]);
    return all(`${host} tbody tr`).map((row) => Object.fromEntries(named(row)));
  };
  const seen = await (async () => { ACTIONS })();
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
  if (parent !== window) parent.postMessage(result.textContent, "*");
});
</script>"""

_FRAME = """<!doctype html><title>frame</title><iframe width="WIDTH" height="844" src="PAGE"></iframe><script>
window.addEventListener("message", (event) => {
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = event.data;
  document.body.append(result);
});
</script>"""


def open_page(chromium: str, page: Path, profile: Path, *flags: str, real_time: bool = False) -> tuple[str, list[str]]:
    """The document after its scripts have run, and the lines of the console.

    Time is virtual, so that nothing is waited for, unless it is to be measured.
    """
    budget = () if real_time else ("--virtual-time-budget=60000",)
    command = [chromium, *FLAGS, *budget, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def act(chromium: str, page: Path, folder: Path, actions: str, width: int = 1280) -> tuple[Any, list[str]]:
    """What `actions`, the body of an asynchronous function, return in the page, and the lines of the console.

    They have `until(ready)`, `draw()` (of all figures), `all(selector)`, `one(selector)`, `texts(selector)`,
    `choose(selector, value)` and `table(host)`. Narrower than a window can be, the page is shown in a frame.
    """
    acting = folder / "acting.html"
    acting.write_text(page.read_text().replace("</body>", _ACTING.replace("ACTIONS", actions) + "</body>"))
    if width < 500:
        shown = folder / "frame.html"
        shown.write_text(_FRAME.replace("WIDTH", str(width)).replace("PAGE", acting.as_uri()))
    else:
        shown = acting
    dom, console = open_page(chromium, shown, folder / "profile", f"--window-size={max(width, 500)},900")
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, console
    return json.loads(unescape(found[1])), console
