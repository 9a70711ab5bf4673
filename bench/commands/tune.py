"""`clusterbench tune`: finds what the MPI library should choose, and writes it as a file that the library loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.launch import launcher, launcher_size, speaks
from clusterbench.bench.names import DTYPE
from clusterbench.bench.options import BUDGET, PRECISION, SAMPLES, SEED, job_options, machine_options
from clusterbench.bench.sizes import SIZE, SIZES, sweep

if TYPE_CHECKING:
    from clusterbench.bench.tuning.job import TuneJob
    from clusterbench.bench.worlds.launchers import Launcher
    from clusterbench.results.statistics import Ratio


@click.command()
@click.argument("collectives", nargs=-1)
@click.option("-b", "--minbytes", type=SIZE, default="1K", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, default="4M", show_default=True, help="Largest size.")
@click.option("-f", "--stepfactor", type=float, default=4.0, show_default=True, help="Factor between sizes.")
@click.option("-n", "--ranks", multiple=True, type=click.IntRange(2), help="Ranks; may be given several times. As many "
              "as there are cores unless given, or as an emulated network has.")  # fmt: skip
@click.option("-d", "--datatype", type=DTYPE, default="float", show_default=True, help="Element type.")
@click.option("--rules", type=click.Path(dir_okay=False, path_type=Path),
              help="File to write.  [default: OUT/rules.conf]")  # fmt: skip
@click.option("--screening", type=click.IntRange(1, 100), default=2, show_default=True,
              help="Launches of each algorithm by which the fastest is found.")  # fmt: skip
@click.option("--launches", type=click.IntRange(2, 1000), default=8, show_default=True,
              help="Launches with the rules and without, in turns, by which a rule is kept.")  # fmt: skip
@click.option("--precision", type=PRECISION, default=0.05, show_default=True,
              help="Half-width of the median's 95 % interval, as a share of it, at which sampling stops.")  # fmt: skip
@click.option("--budget", type=BUDGET, default=0.1, show_default=True,
              help="Seconds a point after which sampling stops anyway.")  # fmt: skip
@click.option("--segments", type=SIZES, help="Bytes of segments, with commas between, that are tried too with each "
              "algorithm that works by segments, as 32K,256K.")  # fmt: skip
@click.option("--iters", type=SAMPLES, help="Samples a point in each launch, after one call to warm up; by default as "
              "many as --precision asks.")  # fmt: skip
@click.option("--from", "stored", metavar="RUNS", help="Measure nothing: take the rows of these runs, named as in "
              "`results compare`, for --nccl.")  # fmt: skip
@click.option("--nccl", type=click.Path(dir_okay=False, path_type=Path),
              help="File of rules to write for NCCL's example tuner plugin, from the rows of --from.")  # fmt: skip
@click.option("--unit", type=click.Choice(("launch", "sample")), default="launch", show_default=True, help="Of --from: "
              "what decides where there is one launch of each: nothing, or the samples within it.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(1, 86400), default=120.0, show_default=True,
              help="Seconds in which nothing goes on after which a world is ended.")  # fmt: skip
@click.option("--seed", type=SEED, help="Of the order of launches and of the data.")
@job_options
@machine_options
def tune(**options: Any) -> int:
    """Write rules by which the library takes the fastest of its own algorithms for COLLECTIVES (all_reduce).

    All algorithms that Open MPI has are measured, and a file is written that it loads; or with --from and --nccl, for
    NCCL, from rows of nccl-tests that were imported.

    The rules are for the numbers of ranks and the sizes that were measured, each up to the next. One is kept where the
    component `tuned` is significantly faster by it than by its own rules, launched in turns. Load them with
    OMPI_MCA_coll_tuned_priority=100, OMPI_MCA_coll_tuned_use_dynamic_rules=1 and
    OMPI_MCA_coll_tuned_dynamic_rules_filename, or try them with `collectives run --library-rules`.
    """
    if options["stored"] is not None or options["nccl"] is not None:
        return _from_rows(options)
    found = launcher()
    if found is not None and (launcher_size() or 1) > 1:
        raise click.UsageError(
            f"`clusterbench tune` starts the ranks itself; {found.name} has started {launcher_size()}: start it once"
        )
    job = _job(options)
    done = job.run()
    _show(options, job)
    return done.exit_code if speaks() else exit_codes.GOOD


_OF_ROWS = ("collectives", "datatype", "stored", "nccl", "unit", "out", "url", "as_json", "as_csv")
"""The parameters that rules from rows have."""


def _from_rows(options: dict[str, Any]) -> int:
    """Rules for NCCL, from rows that are there."""
    from clusterbench.bench.stored.stored_runs import named_runs
    from clusterbench.bench.tuning.choosing import TOLERANCE
    from clusterbench.bench.tuning.nccl_choices import nccl_choices, write_choices
    from clusterbench.bench.tuning.nccl_table import show
    from clusterbench.collectives.collective import collective

    if options["stored"] is None or options["nccl"] is None:
        raise click.UsageError("--from and --nccl go together: rules for NCCL are made from rows, and no others are")
    context = click.get_current_context()
    for name in options:
        source = context.get_parameter_source(name)
        if name not in _OF_ROWS and source is not None and source.name == "COMMANDLINE":
            flag = next(parameter.opts[-1] for parameter in context.command.params if parameter.name == name)
            raise click.UsageError(f"--from measures nothing; {flag} is for what does")
    names = [collective(name).name for name in options["collectives"]]
    side = named_runs(options["stored"], options["url"] or f"sqlite:///{options['out'] / 'results.db'}")
    dtype = options["datatype"]
    choices = nccl_choices(side, names, dtype, TOLERANCE, options["unit"])
    evidence = choices[0].row.point["evidence"]
    comment = f"clusterbench tune: {evidence} rows of {side.name}; {dtype}"
    rules = write_choices(options["nccl"], choices, comment)
    show(choices, len(rules), options["nccl"], as_json=options["as_json"], as_csv=options["as_csv"])
    return exit_codes.GOOD


def _job(options: dict[str, Any]) -> TuneJob:
    import os
    import secrets

    from clusterbench.bench.hosts.environment import new_run_id
    from clusterbench.bench.jobs.job_record import JobRecord
    from clusterbench.bench.tuning.job import Asked, TuneJob
    from clusterbench.bench.tuning.library_choices import library_choices
    from clusterbench.bench.worlds.launchers import MPIEXEC, find_launcher, slurm_hosts
    from clusterbench.collectives.collective import collective

    wanted = [collective(name) for name in options["collectives"] or ("all_reduce",)]
    for what in wanted:
        if what.uneven:
            raise click.UsageError(f"{what.name}: the library's rules do not know its sizes; expected all_to_all")
    names = tuple(dict.fromkeys(what.name for what in wanted))
    starts = find_launcher(MPIEXEC, "", slurm_hosts(), 0, ())
    out: Path = options["out"]
    record = JobRecord(
        out=out,
        url=options["url"] or f"sqlite:///{out / 'results.db'}",
        seed=secrets.randbits(32) if options["seed"] is None else options["seed"],
        run_id=new_run_id(),
        tables=False,
    )
    asked = Asked(
        collectives=names,
        sizes=tuple(sweep(options["minbytes"], options["maxbytes"], options["stepfactor"], None)),
        ranks=_ranks(options["ranks"], starts),
        choices=library_choices(starts, names),
        segments=tuple(sorted({length for length in options["segments"] or () if length})),
        dtype=options["datatype"],
        screening=options["screening"],
        launches=options["launches"],
        precision=options["precision"],
        budget_s=options["budget"],
        iterations=options["iters"],
        silence_s=options["timeout"],
    )
    out.mkdir(parents=True, exist_ok=True)
    rules: Path = options["rules"] or out / "rules.conf"
    if not os.access(rules.parent, os.W_OK):
        raise click.UsageError(f"--rules {rules}: {rules.parent} is no folder that can be written")
    return TuneJob(asked, starts, record, rules)


def _ranks(given: tuple[int, ...], starts: Launcher) -> tuple[int, ...]:
    """Ascending, each once."""
    from clusterbench.bench.worlds.launchers import EMULATED
    from clusterbench.kernels.device import usable_cores

    for ranks in given:
        if problem := starts.problem(ranks):
            raise click.UsageError(f"--ranks {ranks}: {problem}")
    all_of_them = len(starts.hosts) if starts.kind == EMULATED else usable_cores()
    return tuple(sorted(set(given))) or (max(2, all_of_them),)


def _show(options: dict[str, Any], job: TuneJob) -> None:
    """What was chosen, and the time of the library before and after."""
    from collections import Counter

    from clusterbench.bench.output import emit_csv, emit_document, print_table, size_text

    rows: list[dict[str, Any]] = []
    for choice in job.chosen:
        row = job.found.get((choice.collective, choice.ranks, choice.size_bytes))
        ratio = row.ratio if row else None
        rows.append(
            {
                "collective": choice.collective,
                "ranks": choice.ranks,
                "size_bytes": choice.size_bytes,
                "algorithm": choice.algorithm or None,
                "segment_bytes": choice.segment_bytes or None,
                "name": job.asked.choices[choice.collective].get(choice.algorithm, ""),
                "unasked_s": job.unasked_s.get((choice.collective, choice.ranks, choice.size_bytes)),
                "before_s": row.a_s if row else None,
                "after_s": row.b_s if row else None,
                "ratio": ratio.value if ratio else None,
                "ratio_low": ratio.low if ratio else None,
                "ratio_high": ratio.high if ratio else None,
                "change": row.change if row else "cannot tell",
            }
        )
    with_rule = Counter((choice.collective, choice.ranks) for choice in job.chosen if choice.algorithm)
    means = [_mean_row(world, ratio, with_rule[world]) for world, ratio in job.means.items()]
    if options["as_json"]:
        emit_document({"rules": str(job.rules), "choices": rows, "means": means})
        return
    if options["as_csv"]:
        emit_csv(rows)
        return
    for name in job.asked.collectives:
        for ranks in job.asked.ranks:
            print_table(
                f"{name} over {ranks} ranks: the library untold, by its own fixed rules, and by those written",
                ["size", "rule", "untold µs", "before µs", "after µs", "after / before", "change"],
                [
                    (
                        size_text(row["size_bytes"]),
                        _rule_text(row),
                        *(f"{row[key] * 1e6:.1f}" if row[key] else "" for key in ("unasked_s", "before_s", "after_s")),
                        _ratio_text(row),
                        row["change"],
                    )
                    for row in rows
                    if (row["collective"], row["ranks"]) == (name, ranks)
                ],
            )
    for mean in means:
        click.echo(_mean_text(mean))
    click.echo(f"Rules: {job.rules}")


def _mean_row(world: tuple[str, int], ratio: Ratio | None, with_rule: int) -> dict[str, Any]:
    """How many times as fast the library is by the rules."""
    found: dict[str, float | None] = {"speedup": None, "speedup_low": None, "speedup_high": None}
    if ratio is not None:
        ends = [None if end is None else 1 / end for end in (ratio.high, ratio.low)]
        found = {"speedup": 1 / ratio.value, "speedup_low": ends[0], "speedup_high": ends[1]}
    return {"collective": world[0], "ranks": world[1], "sizes_with_rule": with_rule, **found}


def _mean_text(mean: dict[str, Any]) -> str:
    what = f"{mean['collective']} over {mean['ranks']} ranks by these rules"
    if not mean["sizes_with_rule"]:
        return f"{what}: no rule is kept, so that nothing changes"
    if mean["speedup"] is None:
        return f"{what}: how much faster cannot be told"
    ends = f" [{mean['speedup_low']:.3g}, {mean['speedup_high']:.3g}]" if mean["speedup_low"] is not None else ""
    return f"{what}: {mean['speedup']:.3g}{ends} times as fast, the geometric mean over sizes"


def _rule_text(row: dict[str, Any]) -> str:
    from clusterbench.bench.output import size_text

    if not row["algorithm"]:
        return ""
    segments = f", segments of {size_text(row['segment_bytes'])}" if row["segment_bytes"] else ""
    return f"{row['algorithm']} {row['name']}{segments}"


def _ratio_text(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return ""
    interval = f" [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" if row["ratio_low"] is not None else ""
    return f"{row['ratio']:.2f}{interval}"
