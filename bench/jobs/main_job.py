"""What `clusterbench run` does: its parts one after the other; a part that fails stops no other."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from clusterbench.bench import exit_codes
from clusterbench.bench.hosts.diagnosis import diagnose, examine
from clusterbench.bench.hosts.environment import new_run_id
from clusterbench.bench.jobs.job_record import Done, JobRecord, Outcome, Step, judged, passed_on
from clusterbench.bench.jobs.presets import CollectivePlan, Preset
from clusterbench.bench.jobs.world_runs import Part, measure_world, python
from clusterbench.bench.launching.launch import run_group
from clusterbench.bench.output import progress
from clusterbench.bench.tables.findings import print_findings
from clusterbench.bench.worlds.launchers import MPIEXEC, RANK_PLACEMENTS, Launcher, find_launcher
from clusterbench.kernels.device import usable_cores

SILENCE_S = 300.0
"""From when ranks on which nothing goes on are ended: where nothing has run yet, Numba compiles for a minute."""


@dataclass(slots=True)
class MainJob:
    """One call of `clusterbench run`; `run` does it."""

    preset: Preset
    ranks: int
    record: JobRecord
    launcher: Launcher | None = None
    """Found when the first ranks are started, so that an environment without an MPI costs those parts alone."""

    @classmethod
    def plan(
        cls, preset: Preset, out: Path, *, url: str | None, seed: int | None, ranks: int | None, tables: bool
    ) -> Self:
        """Fill in what was not given."""
        record = JobRecord(
            out=out,
            url=url or f"sqlite:///{out / 'results.db'}",
            seed=secrets.randbits(32) if seed is None else seed,
            run_id=new_run_id(),
            tables=tables,
        )
        return cls(preset, ranks or max(2, usable_cores()), record)

    def run(self) -> Done:
        """Do all parts; raises what `JobRecord.keep` does."""
        return self.record.keep(self._measure)

    def _measure(self) -> None:
        self.record.attempt("doctor", self._doctor)
        plans = self.preset.collectives
        with progress("clusterbench run", total=2 + len(plans)) as step:
            step("kernels", 0)
            self.record.attempt("kernels", lambda: self._kernels(step))
            step("pairs", 1)
            self.record.attempt("pairs", lambda: self._pairs(step))
            for plan in plans:
                step(plan.title, 1)
                self.record.attempt(plan.title, lambda plan=plan: self._collective(plan, step))  # type: ignore[misc] # bound now
            step("", 1)

    def _doctor(self) -> Outcome:
        environment, status = examine()
        environment["plan"] = {"preset": self.preset.name, "ranks": self.ranks}
        if self.record.journal is not None:
            self.record.journal.update(replace(self.record.journal.run, environment=environment))
        if self.record.tables:
            print_findings(diagnose(environment, status))
        # The launcher on the path is another matter: this job starts the one that belongs to the library.
        if status.usable:
            return Outcome(exit_codes.GOOD)
        return Outcome(exit_codes.FAILED, f"doctor: {'; '.join(status.problems)}")

    def _kernels(self, step: Step) -> Outcome:
        plan = self.preset.kernels
        args = ["kernels", "run", *plan.names, *self._where(), *_rules(plan.precision, plan.row_budget_s)]
        for dtype in plan.dtypes:
            args += ["--dtype", dtype]
        counter = self.record.counter("kernels", step)
        done = run_group(python(args), timeout_s=plan.timeout_s, on_wait=counter, on_error_line=self.record.pass_on)
        passed_on(done)
        return judged("kernels", done, plan.timeout_s)

    def _pairs(self, step: Step) -> Outcome:
        plan = self.preset.pairs
        args = ("collectives", "pairs", *_rules(plan.precision, plan.row_budget_s))
        return self._ranks(Part("pairs", "pairs", args, resumes=False), plan.timeout_s, step)

    def _collective(self, plan: CollectivePlan, step: Step) -> Outcome:
        args = ["collectives", "run", plan.collective, "-d", plan.dtype, "--algorithm", plan.algorithms]
        args += ["--transport", plan.transport, "--buffers", plan.buffers]
        args += ["-b", plan.min_bytes, "-e", plan.max_bytes, "-f", str(plan.factor)]
        args += _rules(plan.precision, plan.row_budget_s)
        part = Part(re.sub(r"\W+", "-", plan.title), plan.title, tuple(args))
        return self._ranks(part, plan.timeout_s, step)

    def _ranks(self, part: Part, timeout_s: float, step: Step) -> Outcome:
        if self.launcher is None:
            self.launcher = find_launcher(MPIEXEC, "", (), 0, ())
        launcher = self.launcher

        def line(args: Sequence[str]) -> list[str]:
            return launcher.line(self.ranks, RANK_PLACEMENTS[0], args)

        part = replace(part, args=(*part.args, "--seed", str(self.record.seed)))
        return measure_world(self.record, part, line, timeout_s=timeout_s, silence_s=SILENCE_S, step=step)

    def _where(self) -> list[str]:
        record = self.record
        return ["--journal", str(record.journals), "--run-id", record.run_id, "--seed", str(record.seed)]


def _rules(precision: float, budget_s: float) -> list[str]:
    return ["--precision", str(precision), "--budget", str(budget_s)]
