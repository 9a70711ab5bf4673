"""`clusterbench emulate`: a network with real ranks on it, what is refused, and that nothing is ever left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from called import clusterbench
from two_planes import two_planes

from clusterbench.bench import exit_codes
from clusterbench.bench.emulation import batches, cleaning, network, runtime
from clusterbench.bench.emulation.mpi_lines import mpi_line, mpi_variables
from clusterbench.bench.emulation.plan import EmulationError, outline, plan
from clusterbench.bench.launching.launch import LaunchError, launcher
from clusterbench.collectives.topology.spec import topology_from
from clusterbench.results.journal import read_journal

RACKS = "leaf-spine:racks=2,hosts=2,taper=2"
PLAN = plan(outline(topology_from(RACKS)), 1e-3)
RECORD = runtime.Record(pid=1, topology=RACKS, folder="/", scale=1e-3, rate=12.5e6, hosts={"h0": 0},
                        namespaces=tuple(batches.namespaces(PLAN)))  # fmt: skip


class Machine:
    """Stands for ip(8) and tc(8) of a machine: which namespaces there are, and what runs in them."""

    def __init__(self, *names: str, fails: str = "") -> None:
        self.names, self.fails = list(names), fails
        self.running = {names[0]: [4711]} if names else {}

    def __call__(self, command: Sequence[str], text: str) -> str:
        words = " ".join(command)
        if self.fails and self.fails in words:
            raise EmulationError(f"{words}: no")
        match command[1:3]:
            case ["netns", "list"]:
                return "".join(f"{name} (id: 3)\n" for name in self.names)
            case ["netns", "pids"]:
                return "".join(f"{pid}\n" for pid in self.running.get(command[3], []))
            case ["netns", "delete"]:
                self.names.remove(command[3])
        self.names += [line.split()[2] for line in text.splitlines() if line.startswith("netns add")]
        return ""


def test_only_what_is_named_and_ours_is_removed_and_what_runs_inside_is_ended() -> None:
    machine, pids = Machine("clusterbench-h0", "clusterbench-other", "theirs"), []

    def end(found: list[int]) -> None:
        pids.extend(found)
        # One that it had started meanwhile.
        machine.running = {"clusterbench-h0": [4712]} if 4712 not in pids else {}

    removed = network.remove(["clusterbench-h0", "clusterbench-h1", "theirs"], machine, end)
    assert (removed, pids, machine.names) == (["clusterbench-h0"], [4711, 4712], ["clusterbench-other", "theirs"])


def test_a_network_that_fails_half_way_is_removed_and_the_first_error_told() -> None:
    machine = Machine(fails="tc -n clusterbench-leaf0")
    with pytest.raises(EmulationError, match="tc -n clusterbench-leaf0"):
        network.make(PLAN, machine)
    assert len(machine.names) == len(PLAN.names)
    network.remove(batches.namespaces(PLAN), machine)
    assert machine.names == []


def test_what_cannot_be_removed_is_said_and_the_rest_is_removed() -> None:
    machine = Machine(*batches.namespaces(PLAN), fails="delete clusterbench-h1")
    machine.running = {}
    with pytest.raises(EmulationError, match="not removed: ip netns delete clusterbench-h1"):
        network.remove(batches.namespaces(PLAN), machine)
    assert machine.names == ["clusterbench-h1"]


def test_what_a_killed_emulation_has_left_is_removed_once_it_is_recorded(tmp_path: Path) -> None:
    machine, said = Machine("theirs", *batches.namespaces(PLAN)), []
    with pytest.raises(EmulationError, match="clusterbench-h0 is there and no emulation has recorded it"):
        cleaning.clean(tmp_path, said.append, machine)
    runtime.write_record(RECORD, tmp_path)
    assert runtime.read_record(tmp_path) == RECORD
    cleaning.clean(tmp_path, said.append, machine)
    assert machine.names == ["theirs"]
    assert said == ["removed 7 network namespaces that process 1 had left"]
    assert list(tmp_path.iterdir()) == []


def test_one_emulation_at_a_time(tmp_path: Path) -> None:
    with runtime.sole(tmp_path):
        runtime.write_record(RECORD, tmp_path)
        with pytest.raises(EmulationError, match="process 1 emulates leaf-spine"), runtime.sole(tmp_path):
            pass
    with runtime.sole(tmp_path):
        pass


def test_one_that_begins_while_what_is_left_is_removed_waits(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    runtime.write_record(replace(RECORD, pid=gone.pid), tmp_path)
    removing, done = threading.Event(), threading.Event()

    def remove() -> None:
        with runtime.sole(tmp_path):
            removing.set()
            time.sleep(0.3)
            runtime.forget(tmp_path)
            done.set()

    other = threading.Thread(target=remove)
    other.start()
    assert removing.wait(10)
    with runtime.sole(tmp_path):
        assert done.is_set()
    other.join()


@pytest.mark.parametrize(("records", "said"), [(True, "has left is not removed"), (False, "nobody says what for")])
def test_one_that_has_waited_long_enough_says_for_what(
    records: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "CLEANING_S", 0.1)
    gone = subprocess.Popen(["true"])
    gone.wait()
    with runtime.sole(tmp_path):
        if records:
            runtime.write_record(replace(RECORD, pid=gone.pid), tmp_path)
        with pytest.raises(EmulationError, match=f"emulation.lock is held, .*{said}"), runtime.sole(tmp_path):
            pass


EMULATES = """
import os, signal, sys, time
from dataclasses import replace
from pathlib import Path
from clusterbench.bench.emulation import cleaning, network, runtime
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as whatever starts it may have done
with runtime.sole(Path(sys.argv[1])) as (folder, lock):
    record = runtime.read_record(folder)
    runtime.write_record(replace(record, pid=os.getpid()), folder)
    with cleaning.cleaned_if_killed(folder):
        print("ready", flush=True)
        {then}
"""
"""Stands for an emulation whose record names no namespaces, so that cleaning it wants no rights."""


@pytest.fixture
def emulates(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts one that then does what it is told, on `tmp_path`, and ends it."""
    if shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("no program ip: which namespaces there are cannot be asked")
    with ExitStack() as started:

        def start(then: str) -> subprocess.Popen[str]:
            runtime.write_record(replace(RECORD, namespaces=()), tmp_path)
            line = [sys.executable, "-c", EMULATES.format(then=then), str(tmp_path)]
            process = started.enter_context(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
            started.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


def forgotten(folder: Path) -> bool:
    """Whether the record is gone, or goes within a minute."""
    until = time.monotonic() + 60
    while runtime.read_record(folder) is not None and time.monotonic() < until:
        time.sleep(0.02)
    return runtime.read_record(folder) is None


def test_one_that_is_killed_is_forgotten_with_no_call_after_it(
    tmp_path: Path, emulates: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = emulates("time.sleep(600)")
    assert runtime.read_record(tmp_path) == replace(RECORD, namespaces=(), pid=process.pid)
    process.kill()
    assert forgotten(tmp_path)


def test_nothing_is_removed_while_what_the_killed_one_had_started_still_makes_its_network(
    tmp_path: Path, emulates: Callable[[str], subprocess.Popen[str]]
) -> None:
    program = "open('makes', 'w'); import time; time.sleep(1); open('made', 'w')"
    makes = [sys.executable, "-c", program]
    process = emulates(f"os.chdir(folder); network.run({makes!r}, keeps=(lock,))")
    while not (tmp_path / "makes").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert forgotten(tmp_path)
    # `forget` has removed all that lay there; what makes would have come after it otherwise.
    time.sleep(1.5)
    assert not (tmp_path / "made").exists()


def test_one_that_ends_by_itself_needs_no_cleaning_and_waits_for_none(
    emulates: Callable[[str], subprocess.Popen[str]],
) -> None:
    assert emulates("pass").wait(60) == 0


def test_a_process_is_a_rank_of_an_emulation_by_its_network_namespace_only(tmp_path: Path) -> None:
    assert runtime.current(tmp_path) is None
    runtime.write_record(RECORD, tmp_path)
    assert runtime.current(tmp_path) is None
    mine = replace(RECORD, hosts={"h0": Path("/proc/self/ns/net").stat().st_ino})
    runtime.write_record(mine, tmp_path)
    assert runtime.current(tmp_path) == mine
    (tmp_path / "emulation.json").write_text('{"pid": 1}')
    assert runtime.current(tmp_path) is None


def test_each_mpi_starts_its_ranks_where_they_are_placed() -> None:
    hosts = ["h1", "h0", "h1", "h0"]
    mpich = mpi_line("mpiexec", "mpich", "/r", hosts, ["a"])
    assert mpich[-7:] == ["-hosts", "h1:2,h0:2", "-rankmap", "0,1,0,1", "-n", "4", "a"]
    assert mpi_line("mpiexec", "impi", "/r", hosts, ["a"])[-23:].count(":") == 3
    openmpi = mpi_line("mpiexec", "openmpi", "/r", hosts, ["a"])
    assert openmpi[-7:] == ["--host", "h1,h0,h1,h0", "--map-by", "seq", "-n", "4", "a"]
    assert openmpi[openmpi.index("btl") + 1] == "tcp,self,sm"
    with pytest.raises(LaunchError, match="no MPI that is known"):
        mpi_line("mpiexec", "unknown", "/r", hosts, ["a"])


def test_mpich_is_told_of_all_rails_of_a_host(tmp_path: Path) -> None:
    """Where hosts are each other's neighbours they have ways and no rails."""
    planes = str(two_planes(tmp_path / "planes.txt", 4))
    rails = [plan(outline(topology_from(text)), 1e-3).rails for text in (planes, RACKS, "torus:dims=3x3")]
    assert rails == [2, 1, 1]
    assert mpi_variables("mpich", False, 2)["UCX_MAX_EAGER_RAILS"] == "2"
    assert not any(
        "RAILS" in name for family in ("mpich", "impi", "openmpi") for name in mpi_variables(family, True, 1)
    )


def test_missing_tools_and_rights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(network.shutil, "which", lambda tool, path=None: None if tool == "tc" else tool)
        with pytest.raises(
            EmulationError, match="no program tc; expected it on the path: install the package iproute2"
        ):
            network.refuse_unable()
    monkeypatch.setattr(network.shutil, "which", lambda tool, path=None: tool)
    monkeypatch.setattr(network, "_RIGHTS", {63: "CAP_OF_NOBODY"})
    with pytest.raises(EmulationError, match="CAP_OF_NOBODY missing; expected root"):
        network.refuse_unable()


# With real ranks


def unable() -> str:
    """Why no network can be made here; empty where one can."""
    try:
        network.refuse_unable()
        network.run(["ip", "netns", "add", "probe-of-clusterbench"])
        network.run(["ip", "netns", "delete", "probe-of-clusterbench"])
    except EmulationError as error:
        return str(error)
    return "" if launcher() is None else "inside a rank"


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture
def clean_machine() -> Iterator[None]:
    """A machine on which networks can be made, and on which no emulation of a test goes on after it."""
    why = unable()
    if why and os.environ.get("CLUSTERBENCH_TEST_NETWORKS") == "required":
        pytest.fail(why)
    if why:
        pytest.skip(f"no network can be made here: {why}")
    yield
    for process in STARTED:
        process.terminate()
        process.wait(60)
    STARTED.clear()


def emulate(*arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "clusterbench.bench", "emulate", "--topology", RACKS, *arguments]
    # A shell that runs the tests in the background has them ignore Ctrl-C, and whatever they start as well.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, ours)
    STARTED.append(process)
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def seen() -> tuple[str, str]:
    """What the machine shows of networks."""
    return network.run(["ip", "netns", "list"]), network.run(["ip", "-br", "link"])


def wait_until_started(process: subprocess.Popen[str]) -> None:
    started = runtime.FOLDER / "started"
    until = time.monotonic() + 60
    while len(list(started.glob("*"))) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


RANK = """
import mpi4py; mpi4py.rc.threads = False
from mpi4py import MPI
import socket
names = MPI.COMM_WORLD.gather(MPI.Get_processor_name().partition(".")[0])
ping = MPI.COMM_WORLD.sendrecv(b"x" * 100000, (MPI.COMM_WORLD.rank + 1) % 4, source=(MPI.COMM_WORLD.rank - 1) % 4)
local = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED).size
if MPI.COMM_WORLD.rank == 0:
    print("world", *names, len(ping), local, socket.gethostname(), flush=True)
raise SystemExit(0)
"""


@pytest.mark.mpi
@pytest.mark.every_mpi
def test_ranks_are_on_hosts_of_their_own_and_nothing_is_left(clean_machine: None) -> None:
    before = seen()
    code, out, err = ended(emulate("-T", "60", "--", sys.executable, "-c", RANK))
    assert (code, out.split()) == (0, ["world", "h0", "h1", "h2", "h3", "100000", "1", "h0"]), err
    assert "scale 1:" in err
    assert seen() == before
    assert [path.name for path in runtime.FOLDER.iterdir()] == ["emulation.lock"]


@pytest.mark.mpi
@pytest.mark.every_mpi
def test_the_exit_code_is_that_of_the_command_and_124_where_it_hangs(clean_machine: None) -> None:
    before = seen()
    assert ended(emulate("--", "sh", "-c", "exit 7"))[0] == 7
    assert ended(emulate("-T", "1", "--", "sleep", "600"))[0] == exit_codes.TIMED_OUT
    assert seen() == before


@pytest.mark.mpi
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interrupt(number: signal.Signals, clean_machine: None) -> None:
    before = seen()
    process = emulate("--", "sleep", "654321")
    wait_until_started(process)
    process.send_signal(number)
    assert ended(process)[0] == exit_codes.FAILED
    assert seen() == before
    assert not [other for other in psutil.process_iter() if "654321" in _words(other)]


@pytest.fixture
def another_network(clean_machine: None) -> Iterator[None]:
    """A network namespace that is not ours."""
    network.run(["ip", "netns", "add", "probe-of-clusterbench"])
    yield
    network.run(["ip", "netns", "delete", "probe-of-clusterbench"])


@pytest.mark.mpi
def test_what_a_killed_one_leaves_is_removed_at_once_and_nothing_else(another_network: None) -> None:
    before = seen()
    process = emulate("--", "sleep", "654321")
    wait_until_started(process)
    process.kill()
    _, _, err = ended(process)  # with the last process that could write on its standard error
    assert f"removed 7 network namespaces that process {process.pid} had left" in err
    assert seen() == before
    assert [path.name for path in runtime.FOLDER.iterdir()] == ["emulation.lock"]
    assert not [other for other in psutil.process_iter() if "654321" in _words(other)]


SLOW_IP = """#!/bin/sh
if [ "$1" = -batch ]; then
    while read -r line; do {ip} $line || exit; sleep 0.1; done
else
    exec {ip} "$@"
fi
"""


@pytest.mark.mpi
def test_one_that_is_killed_while_its_network_is_made_leaves_nothing(
    another_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes it goes on with the lines that it was given."""
    ip = tmp_path / "ip"
    ip.write_text(SLOW_IP.format(ip=shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")))
    ip.chmod(0o755)
    before = seen()
    with monkeypatch.context() as slow:
        slow.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        process = emulate("--", "true")
    while seen()[0].count(batches.PREFIX) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    assert seen()[0].count(batches.PREFIX) < len(PLAN.names)
    _, _, err = ended(process)
    assert f"removed 7 network namespaces that process {process.pid} had left" in err
    assert seen() == before


@pytest.mark.mpi
def test_the_next_call_removes_what_a_killed_one_has_left_whose_cleaner_was_killed(another_network: None) -> None:
    before = seen()
    process = emulate("--", "sleep", "654321")
    wait_until_started(process)
    # A second one meanwhile is refused, and spoils nothing.
    code, _, err = ended(emulate("--", "true"))
    assert (code, f"process {process.pid} emulates" in err) == (exit_codes.USAGE, True)
    (cleaner,) = (one for one in psutil.Process(process.pid).children() if cleaning.__name__ in _words(one))
    cleaner.kill()
    process.kill()
    process.communicate()
    assert batches.PREFIX in seen()[0]
    code, _, err = ended(emulate("--", "true"))
    assert code == 0
    assert f"removed 7 network namespaces that process {process.pid} had left" in err
    assert seen() == before
    assert not [other for other in psutil.process_iter() if "654321" in _words(other)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


LAUNCHES = """
import json, subprocess, sys
from clusterbench.bench.worlds.launchers import MPIEXEC, find_launcher
starts = find_launcher(MPIEXEC, "", ("elsewhere",), 0, ())
done = subprocess.run(starts.line(4, "block", json.loads(sys.argv[1])), check=True, capture_output=True, text=True)
print(done.stdout, "done", starts.problem(5), starts.problem(4), flush=True)
"""


@pytest.mark.mpi
def test_rows_are_emulated_ones_with_hosts_topology_scale_and_a_bound_that_holds(
    clean_machine: None, tmp_path: Path
) -> None:
    run = ["-m", "clusterbench.bench", "collectives", "run", "all_reduce", "-b", "64K", "-n", "6", "-w", "1"]
    run += ["--algorithm", "ring", "--placement", "out-of-place", "--journal", str(tmp_path), "--json"]
    fault = "link:leaf0-spine0=0.5"
    code, out, err = ended(emulate("-T", "120", "--fault", fault, "--rate", "40Mbit", "--", sys.executable, *run))
    assert code == 0, err
    (row,) = json.loads(out)["rows"]
    assert (row["evidence"], row["topology"], row["nodes"], row["host"]) == ("emulated", RACKS, 4, "h0")
    assert row["wrong"] == 0
    assert f"emulated at 1:2500 of its rates, fault {fault}" in row["note"]
    assert "expected by pairs of ranks, α = " in row["note"]
    assert json.loads(out)["prediction"]["rows"] == 1
    # The uplink is half of what it was, so a quarter of two hosts' 40 Mbit/s; 64 KiB must cross it both ways.
    assert row["bound_s"] == pytest.approx((65536 * 9014 / 8948 - 18028) / 2.5e6, rel=1e-3)
    assert 0 < row["bound_share"] < 1
    (journal,) = tmp_path.glob("*.jsonl")
    recorded = read_journal(journal).run.environment["emulation"]
    assert recorded["hosts"] == ["h0", "h1", "h2", "h3"]
    assert "leaf0>spine0: 2500000 bytes/s, bucket 18028 bytes" in recorded["links"]


FULL_QUEUES = """
import mpi4py; mpi4py.rc.threads = False
from mpi4py import MPI
comm = MPI.COMM_WORLD
sent, received = bytearray(3 << 20), bytearray(3 << 20)
for step in (1, 2, 3):
    comm.Sendrecv(sent, comm.rank ^ step, recvbuf=received, source=comm.rank ^ step)
names, values = (line.split()[1:] for line in open("/proc/net/netstat") if line.startswith("TcpExt:"))
timeouts = comm.gather(int(dict(zip(names, values))["TCPTimeouts"]))
if comm.rank == 0:
    print(*timeouts, flush=True)
"""


@pytest.mark.mpi
def test_no_timer_of_tcp_takes_for_lost_what_waits_in_a_long_queue(clean_machine: None) -> None:
    """Round trips grow from less than a millisecond to seconds while 3 MiB go over an uplink of 1 MB/s."""
    code, out, err = ended(emulate("-T", "100", "--rate", "8Mbit", "--", sys.executable, "-c", FULL_QUEUES))
    assert (code, out.split()) == (0, ["0"] * 4), err


UNDER_WAY = """
import mpi4py; mpi4py.rc.threads = False
from mpi4py import MPI
import json, socket, subprocess
comm, message = MPI.COMM_WORLD, bytearray(8 << 20)
if comm.rank == 0:
    with socket.create_server(("", 0)) as server:
        comm.send((socket.gethostname(), server.getsockname()[1]), 3)
        peer = server.accept()[0]
        while peer.recv(1 << 20):
            pass
elif comm.rank == 3:
    peer = socket.create_connection(comm.recv(source=0))
    sent = peer.send(message, socket.MSG_DONTWAIT)
    asked = ["tc", "-s", "-j", "qdisc", "show", "dev", "eth0"]
    print(sent, *(json.loads(subprocess.check_output(asked))[0]["backlog"] for _ in range(20)), flush=True)
"""


@pytest.mark.mpi
def test_a_connection_takes_a_long_message_at_once_and_leaves_room_in_the_queue_of_the_card(
    clean_machine: None,
) -> None:
    """So that no part of it enters a queue behind messages that others sent later, and none of its own host's wait."""
    code, out, err = ended(emulate("-T", "100", "--", sys.executable, "-c", UNDER_WAY))
    assert code == 0, err
    taken, *waiting = map(int, out.split())
    assert taken == 8 << 20
    assert 0 < max(waiting) < 64 << 10


@pytest.mark.mpi
@pytest.mark.every_mpi
def test_a_command_that_starts_ranks_itself_is_started_once_and_reaches_all_hosts(clean_machine: None) -> None:
    before = seen()
    run = [sys.executable, "-c", LAUNCHES, json.dumps([sys.executable, "-c", RANK])]
    code, out, err = ended(emulate("-T", "100", "--once", "--", *run))
    assert code == 0, err
    said = "world h0 h1 h2 h3 100000 1 h0 done 5 ranks do not fit on the emulated network, which has a place for 4"
    assert " ".join(out.split()) == said
    assert ended(emulate("--once", "--", "sh", "-c", "exit 7"))[0] == 7
    assert seen() == before


@pytest.mark.mpi
def test_a_host_that_is_late_is_named_by_the_pairs_of_its_rank(clean_machine: None, tmp_path: Path) -> None:
    before = seen()
    run = ["-m", "clusterbench.bench", "collectives", "pairs", "-b", "2K", "-n", "6", "-w", "1", "--json"]
    fault = ["--fault", "host=h2:late=30ms", "--rate", "40Mbit"]
    code, out, err = ended(emulate("-T", "120", *fault, "--", sys.executable, *run, "--journal", str(tmp_path)))
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert {row["culprit"] for row in rows if row["name"] == "latency" and row["culprit"]} == {"rank 2"}
    assert seen() == before


SWEEP = """
launches = 2
[[measure]]
collectives = "all_reduce"
algorithms = "ring"
sizes = "64K"
ranks = 4
placement = "out-of-place"
samples = 3
warmup = 1
"""


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.every_mpi
def test_a_sweep_goes_across_the_hosts_in_all_its_launches(clean_machine: None, tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(SWEEP)
    line = [sys.executable, "-m", "clusterbench.bench", "sweep", str(tmp_path / "night.toml"), "--out", str(tmp_path)]
    code, out, err = ended(emulate("-T", "100", "--rate", "40Mbit", "--once", "--", *line))
    assert code == 0, out + err
    rows = [row for path in tmp_path.rglob("*.jsonl") for row in read_journal(path).measurements]
    assert [(row.evidence, row.nodes, row.topology, row.wrong) for row in rows] == [("emulated", 4, RACKS, 0)] * 2
    assert all(row.bound_share is not None and 0 < row.bound_share < 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology", "single-switch:nodes=64"], "expected at most 32"),
        (["--topology", RACKS, "--rate", "1Gbit"], "cores carry"),
        (["--topology", RACKS, "--rate", "fast"], "expected bytes/s as in 12.5M"),
        (["--topology", RACKS, "--fault", "link=leaf0-leaf1:0.5"], "no link between"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(arguments: list[str], said: str) -> None:
    done = clusterbench("emulate", *arguments, "--", "true")
    assert (done.returncode, said in done.stderr) == (exit_codes.USAGE, True), done.stderr


def test_a_command_that_is_not_there_is_refused() -> None:
    done = clusterbench("emulate", "--topology", RACKS, "--", "no-such-program")
    assert (done.returncode, "no such program" in done.stderr) == (exit_codes.USAGE, True)
