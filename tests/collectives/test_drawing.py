"""Pictures of steps: well-formed SVG that shows every message, and tells a reduction from a copy without colour."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest
from collective_cases import schedule_of, variants

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.drawing.schedules import MOST_ARROWS, DrawingError, steps_svg
from clusterbench.collectives.schedule import Schedule, phase

SVG = "{http://www.w3.org/2000/svg}"
SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.collectives]


def schedule(name: str = "ring", collective: str = "all_reduce", ranks: int = 4, root: int = 1) -> Schedule:
    what = COLLECTIVES[collective]
    return schedule_of(algorithms()[name], what, ranks, root if what.is_rooted else -1, {})


def messages(picture: str) -> list[ElementTree.Element]:
    """The groups that are messages; the legend's have no tooltip."""
    groups = ElementTree.fromstring(picture).iter(f"{SVG}g")
    return [group for group in groups if group.find(f"{SVG}title") is not None]


def tooltip(group: ElementTree.Element) -> str:
    return group.findtext(f"{SVG}title") or ""


def labels(picture: str) -> list[str]:
    return [group.findtext(f"{SVG}text") or "" for group in messages(picture)]


@pytest.mark.parametrize(("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED])
def test_every_message_of_an_algorithm_is_an_arrow(algorithm: Any, what: Any) -> None:
    for ranks in (max(1, algorithm.min_ranks), 5, 8):
        for options in variants(algorithm, ranks):
            made = schedule_of(algorithm, what, ranks, ranks - 1 if what.is_rooted else -1, options)
            drawn = Counter(group.attrib["class"] for group in messages(steps_svg(made, algorithm.name)))
            pairs = [
                set(zip(part.src.tolist(), part.dst.tolist(), part.reduce.tolist(), strict=True))
                for part in made.rounds()
            ]
            reduced = sum(reduces for part in pairs for _, _, reduces in part)
            assert drawn["reduce"] == reduced
            assert drawn["copy"] == sum(map(len, pairs)) - reduced


def test_a_reduction_differs_from_a_copy_in_line_and_head_too() -> None:
    found = messages(steps_svg(schedule()))
    assert {group.attrib["class"] for group in found} == {"copy", "reduce"}
    for group in found:
        dashed = any("stroke-dasharray" in line.attrib for line in group.iter(f"{SVG}line"))
        plus = any(circle.attrib["class"] == "plus" for circle in group.iter(f"{SVG}circle"))
        triangle = group.find(f"{SVG}polygon") is not None
        assert (dashed, plus, triangle) == (
            (True, True, False) if group.attrib["class"] == "reduce" else (False, False, True)
        )
    assert "reduce" in Counter(text.text for text in ElementTree.fromstring(steps_svg(schedule())).iter(f"{SVG}text"))


def test_arrows_go_from_rank_to_rank_and_down_in_time() -> None:
    """Over three ranks, whose lines stand at equal distances; the heads end short of the lines."""
    picture = steps_svg(schedule("chain", "broadcast", 3, 0))
    root = ElementTree.fromstring(picture)
    ranks = [float(line.attrib["x1"]) for line in root.iter(f"{SVG}line") if line.attrib.get("class") == "life"]
    assert len(ranks) == 3
    found = messages(picture)
    ends = []
    for group in found:
        (line,) = group.iter(f"{SVG}line")
        assert float(line.attrib["y1"]) < float(line.attrib["y2"])
        ends.append((float(line.attrib["x1"]), float(line.attrib["x2"])))
        src, dst = map(int, re.findall(r"rank (\d)", tooltip(group)))
        assert ends[-1][0] == pytest.approx(ranks[src], abs=0.1)
        assert abs(ends[-1][1] - ranks[dst]) < 15
    starts = [float(next(group.iter(f"{SVG}line")).attrib["y1"]) for group in found]
    assert starts == sorted(starts)


def test_chunks_stand_beside_the_arrows() -> None:
    ring = steps_svg(schedule())
    assert labels(ring)[:4] == ["0", "1", "2", "3"]
    assert labels(ring)[4:8] == ["3", "0", "1", "2"]
    halving = steps_svg(schedule("halving-doubling", "all_reduce", 8))
    assert labels(halving)[:2] == ["4–7", "0–3"]
    exchange = steps_svg(schedule("pairwise", "all_to_all", 4))
    assert labels(exchange)[:2] == ["1→0", "0→1"]
    assert tooltip(messages(exchange)[0]) == "round 0: chunk 1 of rank 0 copied as chunk 0 at rank 1"


def test_scratch_chunks_and_copies_inside_a_rank_are_marked() -> None:
    aside = [
        phase(src=0, dst=0, chunk=[0, 1], dst_chunk=[2, 3], modulus=4),
        phase(src=0, dst=1, chunk=[2, 3], dst_chunk=[0, 1], reduce=True, modulus=4),
    ]
    picture = steps_svg(Schedule(COLLECTIVES["all_reduce"], 2, 2, lambda: aside, 2))
    assert labels(picture) == ["0–1→s0–1", "s0–1→0–1"]
    inside, across = messages(picture)
    assert inside.find(f"{SVG}path") is not None
    assert inside.find(f"{SVG}line") is None
    assert across.find(f"{SVG}line") is not None
    assert "s: scratch" in picture


def test_labels_are_left_out_where_they_would_lie_on_one_another() -> None:
    everyone = [phase(src=[0, 0, 1, 1], dst=[1, 2, 2, 0], chunk=0, modulus=1)]
    picture = steps_svg(Schedule(COLLECTIVES["all_gather"], 3, 3, lambda: everyone))
    kept = dict(zip(map(tooltip, messages(picture)), labels(picture), strict=True))
    # 0 → 2 shares its side of its sender with 0 → 1, and of its receiver with 1 → 2.
    assert [text for name, text in kept.items() if "rank 0 copied at rank 2" in name] == [""]
    assert [text for name, text in kept.items() if "rank 1 copied at rank 0" in name] == ["0"]
    many = Counter(labels(steps_svg(schedule("direct", "all_reduce", 12))))
    assert set(many) == {""}


def test_a_long_list_of_chunks_is_counted() -> None:
    moved = [phase(src=0, dst=1, chunk=[0, 2, 4, 6, 8, 10, 12, 14], modulus=16)]
    made = Schedule(COLLECTIVES["all_gather"], 2, 16, lambda: moved)
    assert labels(steps_svg(made)) == ["8 chunks"]
    assert "chunks 0,2,4,6,8,10,12,14 of rank 0" in tooltip(messages(steps_svg(made))[0])


def test_the_root_has_a_frame_of_its_own() -> None:
    frames = [
        rect for rect in ElementTree.fromstring(steps_svg(schedule("binomial", "reduce", 4, 2))).iter(f"{SVG}rect")
        if rect.attrib.get("class") == "head"
    ]  # fmt: skip
    thick = [frame.findtext(f"{SVG}title") for frame in frames if frame.attrib["stroke-width"] != "1"]
    assert thick == ["rank 2, the root"] * 2
    assert len(frames) == 8


def test_title_and_description_are_there_for_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(steps_svg(schedule(), "ring"))
    assert root.attrib["role"] == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == "ring: all_reduce over 4 ranks"
    assert "4 ranks from left to right, 6 rounds from top to bottom" in (root.findtext(f"{SVG}desc") or "")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a & b", "]]>", '"quoted"', "line\nfeed"])
def test_a_name_is_text_and_no_markup(name: str) -> None:
    root = ElementTree.fromstring(steps_svg(schedule(), name))
    assert root[0].text == f"{name}: all_reduce over 4 ranks"
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "text", "line", "g", "circle", "path", "polygon",
    }  # fmt: skip


def test_a_name_with_what_xml_cannot_hold_is_drawn() -> None:
    root = ElementTree.fromstring(steps_svg(schedule(), "a\x00b\ud800c\x1b"))
    assert root[0].text == "a\ufffdb\ufffdc\ufffd: all_reduce over 4 ranks"


def test_it_is_one_file_that_loads_nothing_and_is_the_same_every_time() -> None:
    picture = steps_svg(schedule("bruck", "all_to_all", 5), "bruck")
    assert picture == steps_svg(schedule("bruck", "all_to_all", 5), "bruck")
    assert re.findall(r"https?://[^\"' ]*", picture) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|href|<script|on[a-z]+=", picture)
    assert " id=" not in picture  # so that several fit on one page


def test_it_follows_the_page_or_the_system_in_light_and_dark() -> None:
    picture = steps_svg(schedule())
    assert "prefers-color-scheme: dark" in picture
    style = picture[picture.index("<style>") : picture.index("</style>")]
    used = set(re.findall(r"var\((--steps-[a-z]+)\)", style))
    light, dark = style.split("@media", 1)
    assert used
    assert all(f"{name}: var(--" in light and f"{name}: var(--" in dark for name in used)
    outside = [line for line in style.splitlines() if re.match(r"[^@} ]", line) and not line.startswith("<style>")]
    assert all(line.startswith("svg.steps") for line in outside)  # nothing of the page around it is touched


def test_a_schedule_without_rounds_says_so() -> None:
    picture = steps_svg(schedule(ranks=1))
    assert "no rounds: nothing has to move" in picture
    assert messages(picture) == []


def endless() -> Schedule:
    forever = phase(src=0, dst=1, chunk=0, modulus=1, repetitions=10**12)
    return Schedule(COLLECTIVES["broadcast"], 2, 1, lambda: [forever], root=0)


def crowded() -> Schedule:
    pairs = [(src, dst) for src in range(16) for dst in range(16) if src != dst]
    src, dst = zip(*pairs, strict=True)
    every = phase(src=src, dst=dst, chunk=src, modulus=16, repetitions=64)
    return Schedule(COLLECTIVES["all_gather"], 16, 16, lambda: [every])


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda: schedule(ranks=17), "steps of 17 ranks; expected at most 16"),
        (lambda: schedule(ranks=100_000), "steps of 100000 ranks"),
        (endless, "more than 64 rounds"),
        (crowded, f"a picture of 15360 messages; expected at most {MOST_ARROWS}"),
    ],
)
def test_what_is_too_large_to_be_seen_is_refused(made: Any, complaint: str) -> None:
    with pytest.raises(DrawingError, match=complaint) as refused:
        steps_svg(made())
    assert refused.value.exit_code == 2
