"""Pictures of the schedules that a run measured, for its report."""

from __future__ import annotations

from pandas import DataFrame

from clusterbench.bench.output import note
from clusterbench.collectives import discovery
from clusterbench.collectives.algorithm import Call, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.collective import collective
from clusterbench.collectives.drawing import steps_svg

DRAWN_RANKS = 8
"""Ranks of a picture of a schedule at most: what ran on more is drawn for so many."""


def pictures(frame: DataFrame) -> dict[str, str]:
    """The steps of every algorithm that the rows name, as SVG by what it shows; what cannot be drawn is said."""
    chosen = frame[(frame["suite"] == "collectives") & ~frame["algorithm"].str.startswith(("library", "file:"))]
    asked = chosen[["name", "algorithm", "ranks", "root"]].drop_duplicates()
    asked = asked.assign(ranks=asked["ranks"].clip(upper=DRAWN_RANKS)).sort_values(["name", "algorithm", "ranks"])
    drawn: dict[str, str] = {}
    for name, text, ranks, root in asked.itertuples(index=False):
        title = f"{name} by {text}, {ranks} ranks"
        if title in drawn:
            continue
        try:
            drawn[title] = _picture(name, text, int(ranks), int(root))
        except Exception as error:
            if getattr(error, "exit_code", None) is None:
                raise
            note(f"no picture of {title}: {error}")
    return drawn


def _picture(name: str, text: str, ranks: int, root: int) -> str:
    specs, what = parse_specs(text), collective(name)
    if len(specs) != 1:
        raise UnsuitableAlgorithmError(f"{text!r} names {len(specs)} algorithms")
    # A row of a root beyond the ranks drawn is shown by the picture of root 0: only the numbers of the ranks differ.
    call = Call(what, ranks, (root if 0 <= root < ranks else 0) if what.is_rooted else -1)
    return steps_svg(discovery.schedule(specs[0], call), str(specs[0]))
