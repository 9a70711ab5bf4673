"""OSU's and Intel's tables: sizes and statistics become ours, and what cannot be taken over is named by its line."""

from __future__ import annotations

import io

import importer_files
import pytest

from clusterbench.results import notes
from clusterbench.results.importing import Imported, ImportedFileError, Source, known_importers
from clusterbench.results.record import Measurement

KNOWN = known_importers()
OSU, IMB = KNOWN["osu"], KNOWN["imb"]


def osu(*lines: str, title: str = "MPI Allreduce Latency", ranks: int | None = 4) -> Imported:
    text = "\n".join((f"# OSU {title} Test v7.4", *lines)) + "\n"
    return OSU.read(Source("osu.log", io.BytesIO(text.encode()), ranks))


def imb(
    *lines: str, name: str = "Allreduce", processes: str = "# #processes = 4", ranks: int | None = None, head: str = ""
) -> Imported:
    text = head + "\n".join((f"# Benchmarking {name}", processes, *lines)) + "\n"
    return IMB.read(Source("imb.log", io.BytesIO(text.encode()), ranks))


def only(found: Imported) -> Measurement:
    (row,) = found.measurements
    assert found.run.failures == ()
    return row


SIMPLE = ("# Size       Avg Latency(us)", "1024                   91.33")


@pytest.mark.parametrize(
    ("title", "name", "algorithm", "size"),
    [
        ("Allreduce Latency", "all_reduce", "library", 1024),
        ("Reduce Latency", "reduce", "library", 1024),
        ("Broadcast Latency", "broadcast", "library", 1024),
        ("Reduce_scatter Latency", "reduce_scatter", "library", 1024),
        ("Allgather Latency", "all_gather", "library", 4096),
        ("Gather Latency", "gather", "library", 4096),
        ("Scatter Latency", "scatter", "library", 4096),
        ("All-to-All Personalized Exchange Latency", "all_to_all", "library", 4096),
        ("All-to-Allv Personalized Exchange Latency", "all_to_all", "library:alltoallv", 4096),
        ("Allgatherv Latency", "all_gather", "library:allgatherv", 4096),
        ("Allgather Persistent Latency", "all_gather", "library:allgather_init", 4096),
        ("Non-blocking All-to-All Latency", "all_to_all", "library:ialltoall", 4096),
        ("Non-blocking Reduce_scatter Latency", "reduce_scatter", "library:ireduce_scatter", 1024),
    ],
)
def test_osus_sizes_are_of_one_rank_where_ranks_bring_or_get_parts(
    title: str, name: str, algorithm: str, size: int
) -> None:  # fmt: skip
    row = only(osu(*SIMPLE, title=f"MPI {title}"))
    assert (row.name, row.algorithm, row.size_bytes, row.ranks) == (name, algorithm, size, 4)
    assert row.algbw == pytest.approx(size / 91.33e-6)
    assert row.sample_unit == "the mean of all calls, averaged over the ranks"
    assert row.root == (0 if name in ("broadcast", "reduce", "gather", "scatter") else -1)


def test_full_statistics_give_the_mean_of_the_slowest_rank() -> None:
    row = only(osu(
        "# Datatype: MPI_INT.",
        "# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations        Validation",
        "1024                   91.33             55.75            118.85        1000              Pass",
    ))  # fmt: skip
    assert (row.median_s, row.mean_s, row.min_s) == (pytest.approx(118.85e-6), pytest.approx(118.85e-6), None)
    assert (row.n, row.batch, row.dtype, row.count) == (1, 1000, "int32", 256)
    assert row.sample_unit == "the mean of 1000 calls on the slowest rank"
    assert "over ranks 55.75 to 118.85 us, mean 91.33" in notes.remarks(row.note)
    assert (row.wrong, row.verdict) == (0, "PASS")


PERCENTILES = (
    "# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations  P50 Tail Lat(us)  P90 Tail Lat(us)"
    "  P99 Tail Lat(us)"
)


def test_percentiles_are_of_calls_and_are_not_mixed_with_the_extremes_of_ranks() -> None:
    row = only(osu(PERCENTILES, "1024    91.33    55.75   118.85    1000     90.11    95.00    130.00"))
    assert (row.median_s, row.mean_s, row.p99_s) == (
        pytest.approx(90.11e-6),
        pytest.approx(91.33e-6),
        pytest.approx(130e-6),
    )
    assert (row.n, row.batch, row.sample_unit) == (1000, 1, "one call, averaged over the ranks")
    assert {"P90 95 us", "over ranks 55.75 to 118.85 us, mean 91.33"} <= set(notes.remarks(row.note))
    few = only(osu(PERCENTILES, "1024    91.33    55.75   118.85    50     90.11    95.00    130.00"))
    assert few.p99_s is None
    assert "P99 130 us" in notes.remarks(few.note)


def test_a_failed_validation_fails_the_row() -> None:
    row = only(osu("# Size       Avg Latency(us)        Validation", "1024       91.33     Fail"))
    assert (row.verdict, row.wrong) == ("FAIL", 1)
    assert "validation failed" in row.reason


def test_non_blocking_collectives_have_the_time_of_communication_alone() -> None:
    row = only(osu(
        "# Overall = Coll. Init + Compute + MPI_Test + MPI_Wait", "",
        "# Size           Overall(us)       Compute(us)    Pure Comm.(us)        Overlap(%)",
        "1024                  150.00            100.00             80.00             37.50",
        title="MPI-CUDA Non-blocking Allreduce Latency",
    ))  # fmt: skip
    assert (row.name, row.algorithm, row.backend) == ("all_reduce", "library:iallreduce", "cuda")
    assert row.median_s == pytest.approx(80e-6)
    assert "with 100 us of computing 150 us, 37.5 % overlapped" in row.note


@pytest.mark.parametrize(
    ("title", "algorithm", "column", "time_s", "ways"),
    [
        ("Latency", "latency", "Avg Latency(us)", 400e-6, 1),
        ("Latency", "latency", "Latency (us)", 400e-6, 1),
        ("Bandwidth", "one-way", "Bandwidth (MB/s)", 1048576 / 400e6, 1),
        ("Bi-Directional Bandwidth", "two-way", "Bandwidth (MB/s)", 2 * 1048576 / 400e6, 2),
    ],
)
def test_messages_are_those_of_our_own_pingpong(
    title: str, algorithm: str, column: str, time_s: float, ways: int
) -> None:  # fmt: skip
    row = only(osu(f"# Size      {column}", "1048576        400.00", title=f"MPI {title}", ranks=None))
    assert (row.suite, row.name, row.algorithm, row.ranks) == ("point-to-point", "pingpong", algorithm, 2)
    assert row.median_s == pytest.approx(time_s)
    assert row.busbw == pytest.approx(ways * (row.algbw or 0))
    assert algorithm == "latency" or row.busbw == pytest.approx(400e6)
    assert row.shape.startswith("bytes=1048576,src=0,dst=1")


def test_the_rate_of_many_pairs_becomes_that_of_one() -> None:
    row = only(osu(
        "# [ pairs: 8 ] [ window size: 32 ]", "# Size                  MB/s        Messages/s",
        "1024                 4096.00        4000000.00",
        title="MPI Multiple Bandwidth / Message Rate", ranks=None,
    ))  # fmt: skip
    assert (row.algorithm, row.ranks, row.shape) == ("one-way", 16, "bytes=1024,pairs=8,window=32")
    assert row.busbw == row.algbw == pytest.approx(512e6)
    assert "8 pairs at once" in row.note
    head = "       #bytes #repetitions   Mbytes/sec      Msg/sec"
    for name, ways in (("Uniband", 1), ("Biband", 2)):
        row = only(imb(head, " 1024  1000   4096.00   4000000", name=name, processes="# #processes = 16"))
        assert (row.ranks, row.shape) == (16, "bytes=1024,pairs=8,window=64")
        assert (row.algbw, row.busbw) == (pytest.approx(512e6 / ways), pytest.approx(512e6))


def test_nccl_under_osu_is_nccl() -> None:
    row = only(osu(*SIMPLE, title="NCCL-CUDA Allreduce Latency"))
    assert (row.transport, row.backend) == ("nccl", "cuda")


def test_ranks_come_from_the_command_before_a_table_or_from_the_user() -> None:
    lines = ("# OSU MPI Allreduce Latency Test v7.4", *SIMPLE)
    text = (
        "\n".join(("+ mpirun -np 64 -N 8 ./osu_allreduce", *lines, "srun --ntasks=16 osu_allreduce -f", *lines)) + "\n"
    )
    found = OSU.read(Source("osu.log", io.BytesIO(text.encode()), 3))
    assert [row.ranks for row in found.measurements] == [64, 16]
    assert found.ranks_from == {64: "the command before line 2", 16: "the command before line 6"}
    with pytest.raises(ImportedFileError, match=r"osu\.log, line 1: how many ranks ran .* expected --ranks N"):
        osu(*SIMPLE, ranks=None)


def test_the_ranks_of_one_test_are_not_taken_for_those_of_another() -> None:
    pingpong = ("+ mpirun -np 2 ./osu_latency", "# OSU MPI Latency Test v5.8", "# Size  Latency (us)", "8  1.10")
    reduced = ("# OSU MPI Allreduce Latency Test v5.8", *SIMPLE)

    def read(*lines: str) -> Imported:
        return OSU.read(Source("osu.log", io.BytesIO(("\n".join(lines) + "\n").encode())))

    for command in ("", "+ srun ./osu_allreduce", "+ srun --ntasks-per-node=8 ./osu_allreduce"):
        with pytest.raises(
            ImportedFileError, match=r"line 6: how many ranks ran is said neither here nor by a command"
        ):
            read(*pingpong, command, *reduced)
    found = read(*pingpong, "+ srun -n 16 ./osu_allreduce", *reduced, *reduced)
    assert [row.ranks for row in found.measurements] == [2, 16, 16]
    with pytest.raises(ImportedFileError, match="how many ranks"):
        read("+ mpirun -np 8 osu_allreduce", *reduced, "+ mpirun osu_allreduce", *reduced)


def test_a_validation_that_ended_the_program_fails_the_run() -> None:
    words = "DATA VALIDATION ERROR: ./osu_allreduce exited with status 1 on message size 8."
    found = osu(*SIMPLE, words)
    assert found.run.failures == (f"line {len(SIMPLE) + 2}: {words}",)


def test_what_osu_measures_beside_is_named_and_left_out() -> None:
    text = "\n".join((
        "# OSU MPI_Put Latency Test v7.4", "# Size      Latency (us)", "8       1.00",
        "# OSU MPI Barrier Latency Test v7.4", "# Avg Latency(us)", "             1.05",
        "# OSU MPI Multi-threaded Latency Test v7.4", "# [ pairs: 4 ] [ window size: 64 ]",
        "# Size      Latency (us)", "8            1.00",
        "# OSU MPI Allreduce Latency Test v7.4", "# Size       Avg Latency(us)    Joules", "8     1.00    3.00",
        "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD",
        "# OSU MPI Reduce Latency Test v7.4", *SIMPLE, "2048  3.00  4.00", "4096   nan", "8192   0.00", "16384   12",
    ))  # fmt: skip
    found = OSU.read(Source("osu.log", io.BytesIO(text.encode()), 4))
    assert [(row.name, row.note) for row in found.measurements] == [("reduce", "line 17")]
    assert found.run.status == "failed"
    assert {failure.partition(":")[0]: failure.partition(": ")[2][:24] for failure in found.run.failures} == {
        "line 1": "MPI_Put latency: not a t",
        "line 4": "MPI barrier latency: not",
        "line 7": "MPI multi-threaded laten",
        "line 11": "allreduce latency: no re",
        "line 12": "columns 'Joules' are not",
        "line 14": "MPI_ABORT was invoked on",
        "line 18": "3 fields, the header of ",
        "line 19": "a row whose figures are ",
        "line 20": "no time, or one of 0; le",
        "line 21": "the last line, which may",
    }


COLLECTIVE = ("       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]", " 1024  1000   3.00   5.00   4.00")


@pytest.mark.parametrize(
    ("measured", "name", "algorithm", "size"),
    [
        ("Allreduce", "all_reduce", "library", 1024),
        ("Reduce_scatter", "reduce_scatter", "library", 1024),
        ("Reduce_scatter_block", "reduce_scatter", "library:reduce_scatter_block", 4096),
        ("Bcast", "broadcast", "library", 1024),
        ("Allgather", "all_gather", "library", 4096),
        ("Alltoallv", "all_to_all", "library:alltoallv", 4096),
        ("Iallreduce_pure", "all_reduce", "library:iallreduce", 1024),
    ],
)
def test_imbs_sizes_are_of_one_rank_where_ranks_bring_or_get_parts(
    measured: str, name: str, algorithm: str, size: int
) -> None:  # fmt: skip
    row = only(imb(*COLLECTIVE, name=measured))
    assert (row.name, row.algorithm, row.size_bytes, row.ranks) == (name, algorithm, size, 4)
    assert row.median_s == row.mean_s == pytest.approx(5e-6)
    assert (row.n, row.batch, row.sample_unit) == (1, 1000, "the mean of 1000 calls on the slowest rank")
    assert "over ranks 3 to 5 us, mean 4" in row.note


def test_processes_that_wait_are_told_from_those_that_run() -> None:
    found = IMB.read(Source("imb.log", io.BytesIO(importer_files.IMB.encode())))
    assert [(row.name, row.ranks, notes.all_ranks(row.ranks, row.note)) for row in found.measurements] == [
        ("pingpong", 2, 8), ("pingpong", 2, 8), ("all_reduce", 4, 8), ("all_to_all", 8, 8), ("all_to_all", 8, 8),
    ]  # fmt: skip
    assert found.run.started_at == "2022-03-01T12:00:00"
    assert found.run.environment["versions"] == {"imb": "2021.3"}
    assert found.ranks_from[4] == "line 20"


def test_imbs_sendrecv_is_our_ring_and_its_pingpong_half_of_a_round_trip() -> None:
    row = only(imb(COLLECTIVE[0] + "   Mbytes/sec", COLLECTIVE[1] + "   409.60", name="Sendrecv"))
    assert (row.suite, row.name, row.algorithm, row.median_s) == (
        "point-to-point",
        "sendrecv",
        "sendrecv",
        pytest.approx(5e-6),
    )
    row = only(imb(" #bytes #repetitions  t[usec]  Mbytes/sec", " 1024  1000  1.60   640.00", name="PingPong"))
    assert (row.name, row.algorithm, row.sample_unit) == (
        "pingpong",
        "latency",
        "half of a round trip, the mean of 1000 calls",
    )


def test_non_blocking_imb_has_the_time_of_communication_alone() -> None:
    head = " #bytes #repetitions t_ovrl[usec] t_pure[usec]  t_CPU[usec]   overlap[%]      defects"
    row = only(imb(head, " 1024 1000 9.00 5.00 6.00 33.33 0.00", name="Iallreduce"))
    assert (row.algorithm, row.median_s, row.wrong) == ("library:iallreduce", pytest.approx(5e-6), 0)
    assert "with 6 us of computing 9 us, 33.33 % overlapped" in row.note
    assert only(imb(head, " 1024 1000 9.00 5.00 6.00 33.33 1.00", name="Iallreduce")).verdict == "FAIL"


@pytest.mark.parametrize(
    ("version", "command", "root"),
    [("2021.3", "", 0), ("2017", "", 0), ("4.1", "", -1), ("3.2.4", "", -1), ("2021.3", "-root_shift on", -1),
     ("4.1", "-root_shift off", 0)],
)  # fmt: skip
def test_the_root_changes_from_call_to_call_in_old_versions_or_where_it_is_asked_for(
    version: str, command: str, root: int
) -> None:
    head = f"#    Intel (R) MPI Benchmarks {version}, MPI-1 part\n# Calling sequence was:\n# IMB-MPI1 {command} Bcast\n"
    end = "# All processes entering MPI_Finalize"
    row = only(imb(*COLLECTIVE, end, name="Bcast", head=head))
    assert (row.root, "every rank is the root in turn" in row.note) == (root, root < 0)


def test_groups_that_run_at_once_are_told_apart() -> None:
    groups = "# ( 2 groups of 4 processes each running simultaneous )"
    row = only(imb(*COLLECTIVE, name="Multi-Allreduce", processes=groups))
    assert (row.ranks, row.shape) == (4, "bytes=1024,groups=2")
    assert "2 groups of 4 at once" in row.note
    head = "        Group" + COLLECTIVE[0]
    found = imb(head, "", "0" + COLLECTIVE[1], "1" + COLLECTIVE[1], name="Multi-Allreduce", processes=groups)
    assert [one.shape for one in found.measurements] == ["bytes=1024,groups=2,group=0", "bytes=1024,groups=2,group=1"]


def test_what_imb_could_not_measure_is_named_by_its_line() -> None:
    text = "\n".join((
        importer_files.IMB.rstrip().removesuffix("# All processes entering MPI_Finalize"),
        "# Benchmarking Barrier", "# #processes = 8", " #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]",
        " 1000   1.00   2.00   1.50", "# Benchmarking Exchange", "# #processes = 8", *COLLECTIVE,
        "# Benchmarking Allgather", "# #processes = 8", *COLLECTIVE, " 2048 out-of-mem.; needed X=   9.000 GB; use",
        " 4096 time-out.; Time limit", " 8192  1000   3.00   5.00", " 16384 1000 0.00 0.00 0.00",
        "srun: error: node1: task 3: Killed", " 32768  1000   3.00   5.00   4.0",
    ))  # fmt: skip
    found = IMB.read(Source("imb.log", io.BytesIO(text.encode())))
    assert [row.name for row in found.measurements][-2:] == ["all_to_all", "all_gather"]
    words = "\n".join(found.run.failures)
    for said in (
        "Barrier: not a benchmark that can", "Exchange: not a benchmark", "Allgather: out-of-mem at 2048 bytes",
        "Allgather: time-out at 4096 bytes", "4 fields, the header of the table has 5", "without a time above 0",
        "srun: error: node1", "the last line, which may have been cut off", "ends without '# All processes entering",
    ):  # fmt: skip
        assert said in words


def test_a_table_that_lost_its_head_needs_the_number_of_ranks() -> None:
    with pytest.raises(ImportedFileError, match="how many processes ran is not said"):
        imb(*COLLECTIVE, processes="")
    assert only(imb(*COLLECTIVE, processes="", ranks=16)).ranks == 16
