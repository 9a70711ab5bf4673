"""Makes docs/images/report-*.png: a report in Chromium, light and dark, wide and on a phone.

    for i in 1 2 3; do mpiexec -n 2 clusterbench collectives run all_reduce -b 64 -e 16M -f 8 \\
        --algorithm library,ring,recursive-doubling --budget 0.6 --store sqlite:///figures.db \\
        --topology single-switch:nodes=2,bandwidth=40G,latency=50ns; done
    clusterbench report --last 3 --store sqlite:///figures.db --output report.html
    python docs/figures/report.py report.html

The topology is there for the bounds that figures show; on a busy machine many rows are INCONCLUSIVE.

A script that is put into a copy of the page hides what stands before the part that a picture begins with, as Chromium
takes no picture of a page that is scrolled. Its window has a least width, so that the phone is a frame in it. Pictures
have 256 colours.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

CHROMIUM = (
    "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=20000",
)  # fmt: skip
FRAME = """<!doctype html><style>body {{ margin: 0; display: flex; background: #888; }} iframe {{ border: 0; }}</style>
<iframe width="390" height="{height}" src="{page}"></iframe>"""
BEGIN_AT = """<script>addEventListener("load", () => {{
  document.documentElement.dataset.theme = "{other}";
  document.getElementById("theme").click();
  const choice = document.getElementById("run");
  choice.value = "{run}";
  choice.dispatchEvent(new Event("change"));
  for (let part = document.getElementById("{place}"); part !== document.body; part = part.parentElement) {{
    for (let before = part.previousElementSibling; before; before = before.previousElementSibling) before.hidden = true;
  }}
}});</script></body>"""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture: its name, theme and size in pixels, and the element at its upper edge."""

    name: str
    theme: str
    width: int
    height: int
    place: str


def main() -> None:
    """Make the four pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="a report of several runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"), help="the folder of the pictures")
    parser.add_argument("--run", type=int, default=0, help="which of the runs is shown in detail, from 0")
    chosen = parser.parse_args()
    collectives = f"run{chosen.run}-collectives-part"
    for shot in (
        Shot("report-light", "light", 1200, 1350, "content"),
        Shot("report-dark", "dark", 1200, 1350, collectives),
        Shot("report-phone-light", "light", 390, 844, "overview"),
        Shot("report-phone-dark", "dark", 390, 844, "history"),
    ):
        path = chosen.output / f"{shot.name}.png"
        take(chosen.report, shot, chosen.run, path)
        print(f"{path}: {path.stat().st_size:,} bytes")  # noqa: T201 # a program of the documentation


def take(report: Path, shot: Shot, run: int, path: Path) -> None:
    """Write one picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page, taken = folder / "page.html", folder / "taken.png"
        other = "dark" if shot.theme == "light" else "light"
        script = BEGIN_AT.format(other=other, run=run, place=shot.place)
        page.write_text(report.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
        shown = page
        if shot.width < 500:
            shown = folder / "frame.html"
            shown.write_text(FRAME.format(height=shot.height, page=page.as_uri()))
        size = f"--window-size={max(shot.width, 500)},{shot.height}"
        command = [*CHROMIUM, f"--user-data-dir={folder / 'profile'}", size, f"--screenshot={taken}", shown.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(taken) as image:
            cut = image.convert("RGB").crop((0, 0, shot.width, shot.height))
            cut.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
