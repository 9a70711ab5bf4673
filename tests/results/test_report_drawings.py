"""Pictures of schedules become a part of the page; whatever else might stand in one does not."""

from __future__ import annotations

import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.record import Run
from clusterbench.results.report.drawings import DrawingRefusedError, drawings
from clusterbench.results.report.page import render_report

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">'
STYLE = "<style>svg.steps text { fill: red; }</style>"
GOOD = f'{HEAD}{STYLE}<g stroke="red"><text x="1">a &lt; b</text><path d="M0 0"/></g></svg>'


def test_a_picture_stands_in_the_page_under_its_name() -> None:
    page = render_report([Run(run_id="r", started_at="")], to_frame([]), {"all_reduce by <ring>, 4 ranks": GOOD})
    assert "<summary>all_reduce by &lt;ring&gt;, 4 ranks</summary>" in page
    assert "a &lt; b</text>" in page
    assert 'href="#drawings"' in page


def test_a_page_without_pictures_has_no_part_for_them() -> None:
    assert "drawings" not in render_report([Run(run_id="r", started_at="")], to_frame([]))


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        ("<script>alert(1)</script>", "script"),
        ('<image href="http://x/y"/>', "image"),
        ("<foreignObject/>", "foreignObject"),
        ('<a xmlns:x="http://www.w3.org/1999/xlink" x:href="javascript:1"/>', "'.*a'"),
        ('<g onload="alert(1)"/>', "onload"),
        ('<rect style="background:url(http://x)"/>', "style"),
        ('<rect fill="url(http://x)"/>', "reference"),
        ("<style>@import 'http://x';</style>", "style"),
        ("<style>a { background: URL(http://x) }</style>", "style"),
        ("<style>&lt;/style>&lt;script></style>", "style"),
        ('<b xmlns="http://www.w3.org/1999/xhtml">x</b>', "xhtml"),
        ("<!-- --><g/>", "comment"),
        ("<g>", "no XML"),
        ("<set attributeName='x'/>", "set"),
    ],
)
def test_what_does_not_draw_is_refused(inside: str, found: str) -> None:
    with pytest.raises(DrawingRefusedError, match=f"picture 'p': .*{found}"):
        drawings({"p": f"{HEAD}{inside}</svg>"}, "x")


@pytest.mark.parametrize("svg", ["", "<g/>", "<svg/>", '<!DOCTYPE svg [<!ENTITY a "b">]>' + GOOD, "x" * 9_000_000])
def test_what_is_no_picture_is_refused(svg: str) -> None:
    with pytest.raises(DrawingRefusedError):
        drawings({"p": svg}, "x")
