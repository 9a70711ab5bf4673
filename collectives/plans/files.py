"""Schedules in files: our JSON or MSCCL's XML. The content says which of them a file is, the name which to write."""

from __future__ import annotations

from pathlib import Path

from clusterbench.collectives import schedule_file
from clusterbench.collectives.plans import msccl_writer, msccl_xml
from clusterbench.collectives.plans.plan import PlanError
from clusterbench.collectives.plans.scheduling import schedule_of
from clusterbench.collectives.schedule import Schedule, ScheduleError
from clusterbench.collectives.schedule_file import MOST_FILE_BYTES, ScheduleFileError

XML_SUFFIX = ".xml"


def read_schedule(path: Path | str) -> Schedule:
    """The schedule in a file of any known format, well formed but not proven. Raises `ScheduleFileError`."""
    return read_named_schedule(path)[1]


def read_named_schedule(path: Path | str) -> tuple[str, Schedule]:
    """The name of the schedule or plan in a file, and the schedule. Raises `ScheduleFileError`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_xml = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
            if not is_xml:
                return schedule_file.read_named_schedule(path)
            file.seek(0)
            data = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ScheduleFileError(f"{path}: {error.strerror or error}") from None
    if len(data) > MOST_FILE_BYTES:
        raise PlanError(f"{path}: longer than {MOST_FILE_BYTES} bytes, the most that is read")
    try:
        plan = msccl_xml.read_plan(data.decode("utf-8-sig"), str(path))
        return plan.name, schedule_of(plan)
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: byte {error.start}: {error.reason}; expected XML in UTF-8") from None
    except PlanError:
        raise
    except ScheduleError as error:
        raise PlanError(f"{path}: {error}") from None


def write_schedule(schedule: Schedule, path: Path | str, name: str) -> None:
    """Write a schedule to a file: MSCCL's XML where its name ends in `.xml`, our JSON otherwise.

    Raises `ScheduleFileError` where the file cannot be written, or the format cannot say it.
    """
    path = Path(path)
    if path.suffix.lower() != XML_SUFFIX:
        schedule_file.write_schedule(schedule, path, name)
        return
    try:
        path.write_text(msccl_writer.xml_of(schedule, name), encoding="utf-8")
    except OSError as error:
        raise ScheduleFileError(f"{path}: {error.strerror or error}") from None
    except ScheduleError as error:
        raise ScheduleFileError(f"{path}: {error}") from None
