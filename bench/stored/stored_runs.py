"""Runs as a command line names them: of a store, or in journal files, one or several with commas between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from clusterbench.bench.output import note

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from clusterbench.results.compare import Side
    from clusterbench.results.journal import JournalContents
    from clusterbench.results.store import Store


class RunsError(ValueError):
    """Runs that are named wrongly: the message says which, what was found and what was expected."""

    exit_code: ClassVar[int] = 2


def sides(a: str, b: str, url: str) -> tuple[Side, Side]:
    """The two sides of a comparison, with what it needs of their rows.

    Raises `RunsError` for a run that is named twice, and what `named_runs` raises. One run may be compared with itself.
    """
    from clusterbench.results.compare import COLUMNS

    found = named_runs(a, url, COLUMNS), named_runs(b, url, COLUMNS)
    both = {run.run_id for run in found[0].runs} & {run.run_id for run in found[1].runs}
    if both and max(len(side.runs) for side in found) > 1:
        raise RunsError(f"run {min(both)} is on both sides; expected launches of A, and other launches of B")
    return found


def named_runs(text: str, url: str, columns: Sequence[str] | None = None) -> Side:
    """Runs with commas between, each a journal file where there is one of that name, else a run of the store.

    `columns` are the fields to read, by default all. Raises `RunsError` for a run that is named twice or a journal that
    is not there, and `StoreError` and `JournalError` for what cannot be read.
    """
    from clusterbench.results.store import Store

    texts = [text] if Path(text).is_file() else text.split(",")
    journals, stored = [part for part in texts if Path(part).is_file()], []
    for part in texts:
        if part in journals:
            continue
        if Path(part).suffix == ".jsonl":
            raise RunsError(f"{part}: there is no such journal file")
        stored.append(part)
    side = _of_journals([Path(part) for part in journals])
    if not stored:
        return side
    with Store.open(url, create=False) as store:
        return _of_store(store, stored, side, columns)


def _of_store(store: Store, texts: Sequence[str], journals: Side, columns: Sequence[str] | None) -> Side:
    from clusterbench.results.compare import Side

    runs = [store.find_run(text) for text in texts]
    ids = [run.run_id for run in (*runs, *journals.runs)]
    for run_id in ids:
        if ids.count(run_id) > 1:
            raise RunsError(f"run {run_id} is named twice on a side; expected each run once")
    names = [run.run_id for run in runs]
    frame = store.frame(names, columns=columns)
    side = Side(tuple(runs), frame, store.samples_of(names))
    return _joined([journals, side]) if journals.runs else side


def _of_journals(paths: Sequence[Path]) -> Side:
    """Journals as a side; those of one run are put together."""
    from clusterbench.results.columns import to_frame
    from clusterbench.results.compare import Side
    from clusterbench.results.journal import merge_runs, read_journal

    contents: dict[str, JournalContents] = {}
    for path in paths:
        journal = read_journal(path)
        for line in journal.damaged_lines:
            note(f"{path}, line {line.line}: skipped, {line.reason}")
        if journal.journal_id in contents:
            raise RunsError(f"{path}: the journal is named twice on a side; expected each journal once")
        contents[journal.journal_id] = journal
    parts = [
        Side(
            (journal.run,),
            to_frame(journal.measurements),
            {i: seconds for i, seconds in enumerate(journal.samples) if seconds is not None},
        )
        for journal in contents.values()
    ]
    side = _joined(parts) if parts else Side((), to_frame(()))
    by_id = {run.run_id: [part for part in side.runs if part.run_id == run.run_id] for run in side.runs}
    return Side(tuple(merge_runs(same) for same in by_id.values()), side.frame, side.samples)


def _joined(parts: Sequence[Side]) -> Side:
    """Sides as one; rows are counted anew."""
    import pandas as pd

    from clusterbench.results.compare import Side

    samples: dict[int, NDArray[float64]] = {}
    start = 0
    for part in parts:
        for place, index in enumerate(part.frame.index.tolist()):
            if (seconds := part.samples.get(index)) is not None:
                samples[start + place] = seconds
        start += len(part.frame)
    common = [name for name in parts[0].frame.columns if all(name in part.frame for part in parts)]
    frame = pd.concat([part.frame[common] for part in parts], ignore_index=True)
    return Side(tuple(run for part in parts for run in part.runs), frame, samples)
