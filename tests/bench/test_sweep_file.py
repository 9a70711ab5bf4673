"""The file of a sweep: what is read, what is refused and how, and the launches that it makes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.sweeps.file import Sweep, SweepFileError, read_sweep, sweep_of
from clusterbench.bench.sweeps.plan import plan
from clusterbench.bench.worlds.launchers import (
    EMULATED,
    MPIEXEC,
    SRUN,
    HostsError,
    Launcher,
    host_names,
    slurm_hosts,
)

SMALL = """
launches = 3
[[measure]]
collectives = ["all_reduce", "allgather"]
algorithms = ["library", "ring"]
sizes = { min = "8", max = "8K", factor = 32 }
types = ["float", "int32"]
ranks = [2, 3]
"""
HERE = Launcher(MPIEXEC, "mpiexec", "mpich")
FOUR = Launcher(MPIEXEC, "mpiexec", "mpich", ("n1", "n2", "n3", "n4"), 2)


def swept(text: str) -> Sweep:
    return sweep_of(Path("night.toml"), tomllib.loads(text))


def measure(**keys: str) -> str:
    given_keys = {"collectives": '"all_reduce"', "sizes": '"8"', "ranks": "2", **keys}
    return "[[measure]]\n" + "".join(f"{key} = {value}\n" for key, value in given_keys.items())


def test_a_table_stands_for_all_combinations_and_every_point_for_several_launches() -> None:
    made = plan(swept(SMALL), HERE, 7)
    assert len(made.launches) == 2 * 2 * 2 * 3  # collectives, types, ranks, launches
    assert made.points == sum(launch.points for launch in made.launches)
    assert {launch.points for launch in made.launches} == {2 * 3 * 2}  # algorithms, sizes, placements
    assert len({launch.part.name for launch in made.launches}) == len(made.launches)
    (one,) = [launch for launch in made.launches if launch.part.title == "all_gather int32, 3 ranks, launch 2 of 3"]
    words = list(one.part.args)
    assert words[:3] == ["collectives", "run", "all_gather"]
    assert words[words.index("--sizes") + 1] == "8,256,8192"
    assert words[words.index("--algorithm") + 1] == "library,ring"
    assert "-o" not in words


def test_launches_of_a_point_are_spread_over_the_sweep_and_the_seed_decides_their_order() -> None:
    made = plan(swept(SMALL), HERE, 7)
    order = [launch.part.name for launch in made.launches]
    third = len(order) // 3
    assert all(name.endswith(f"launch{1 + at // third}") for at, name in enumerate(order))
    assert order == [launch.part.name for launch in plan(swept(SMALL), HERE, 7).launches]
    assert order != [launch.part.name for launch in plan(swept(SMALL), HERE, 8).launches]
    seeds = [launch.part.args[launch.part.args.index("--seed") + 1] for launch in made.launches]
    assert len(set(seeds)) == 3  # the points of a world are shuffled anew in each launch


def test_what_nothing_can_run_is_left_out_and_said() -> None:
    made = plan(swept(measure(algorithms='["ring", "chain"]', rank_placements='["block", "round-robin"]')), HERE, 1)
    assert [launch.part.args[6] for launch in made.launches] == ["ring"] * 4
    assert any("chain" in text for text in made.left_out)
    assert any("on one host" in text for text in made.left_out)


def test_a_library_that_is_told_an_algorithm_has_a_world_of_its_own() -> None:
    made = plan(swept("launches = 1\n" + measure(algorithms='["library:1", "library:2", "ring", "library"]')), HERE, 1)
    told = sorted(launch.part.args[launch.part.args.index("--algorithm") + 1] for launch in made.launches)
    assert told == ["library", "library:1", "library:2", "ring"]


def test_the_librarys_rows_are_measured_beside_one_transport_only() -> None:
    text = measure(algorithms='["library", "ring"]', transports='["mpi", "shared"]')
    made = plan(swept("launches = 1\n" + text), HERE, 1)
    assert sorted(launch.part.args[6] for launch in made.launches) == ["library,ring", "ring"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("launchs = 3\n" + measure(), "night.toml: unknown key 'launchs'; the nearest known one is 'launches'"),
        (measure(algorithm='"ring"'), "measure 1: unknown key 'algorithm'; the nearest known one is 'algorithms'"),
        (measure() + measure(rank='"2"'), "measure 2: unknown key 'rank'; the nearest known one is 'ranks'"),
        ("[launcher]\nkinds = 'srun'\n" + measure(), "launcher: unknown key 'kinds'; the nearest known one is 'kind'"),
        (measure(ranks='"two"'), "measure 1: ranks: a text ('two'); expected an integer from 1 to 1048576"),
        (measure(ranks="true"), "ranks: a truth value (True); expected an integer"),
        (measure(ranks="[]"), "ranks: an empty list; expected at least one value"),
        (measure(sizes="8.5"), "sizes: a number (8.5); expected a size"),
        (measure(sizes='"8X"'), "sizes: '8X' is no size"),
        (measure(sizes='{min = "8", fctor = 2}'), "sizes: unknown key 'fctor'; the nearest known one is 'factor'"),
        (measure(sizes='{min = "8K", max = "8"}'), "sizes: min is 8192 and max is 8; expected min to be at most max"),
        (measure(sizes='{min = "8", max = "1K", factor = 1}'), "sizes: factor is 1; expected a factor over 1"),
        (measure(sizes='{min = "8", factor = 2, step = "8"}'), "factor and step are both given; expected one of them"),
        (measure(collectives='"all_redice"'), "collectives: unknown collective 'all_redice'"),
        (measure(types='"floot"'), "types: unknown type 'floot'"),
        (measure(placement='"in_place"'), "expected one of both, out-of-place, in-place; the nearest is 'in-place'"),
        (measure(budget_s='"1"'), "budget_s: a text ('1'); expected a number from 0.001 to 86400"),
        (measure(budget_s="nan"), "budget_s: a number (nan); expected a number"),
        (measure(check="1"), "check: an integer (1); expected true or false"),
        (measure(root="2"), "root: 2; expected a rank of the fewest, 2"),
        ("strict = 'yes'\n" + measure(), "strict: a text ('yes'); expected true or false"),
        ("seed = 1", "measure: missing; expected a value"),
        ("measure = 3", "measure: an integer (3); expected tables, each headed [[measure]]"),
        ("[launcher]\nhosts = 'n[3-1]'\n" + measure(), "hosts: in it: '3-1' in brackets"),
    ],
)  # fmt: skip
def test_what_a_file_must_not_say_is_refused_with_the_key_and_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(SweepFileError) as caught:
        swept(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("night.toml: ")
    assert caught.value.exit_code == 2


def test_an_unknown_algorithm_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(SweepFileError, match="did you mean 'ring'"):
        plan(swept(measure(algorithms='"rin"')), HERE, 1)


def test_more_ranks_than_the_hosts_take_are_refused() -> None:
    with pytest.raises(SweepFileError, match="9 ranks do not fit on 4 hosts of 2 ranks each"):
        plan(swept(measure(ranks="9")), FOUR, 1)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"launches = ", b"[" * 100_000, b"x" * ((1 << 20) + 1)])
def test_what_is_no_toml_is_refused_with_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    path.write_bytes(content)
    with pytest.raises(SweepFileError, match=r"night\.toml: "):
        read_sweep(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SweepFileError, match="No such file"):
        read_sweep(tmp_path / "none.toml")


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
KEYS = st.sampled_from(["collectives", "algorithms", "sizes", "types", "ranks", "launches", "budget_s", "traffic", "x"])


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(st.sampled_from(["seed", "launcher", "y"]), VALUES))
def test_whatever_a_file_has_it_is_read_or_refused(block: dict[str, object], top: dict[str, object]) -> None:
    content = {"measure": [{"collectives": "all_reduce", "sizes": 8, "ranks": 2, **block}], **top}
    refusal = ""
    try:
        sweep_of(Path("night.toml"), content)
    except SweepFileError as error:
        refusal = str(error)
    assert refusal.startswith("night.toml: ") or not refusal


def options(launcher: Launcher, ranks: int, placement: str) -> str:
    return " ".join(launcher.line(ranks, placement, ["x"]))


def test_each_launcher_is_told_the_hosts_and_how_ranks_lie_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    hosts = ("a", "b", "c")
    hydra = Launcher(MPIEXEC, "m", "mpich", hosts)
    assert options(hydra, 6, "block") == "m -hosts a,b,c -ppn 2 -n 6 x"
    assert options(hydra, 6, "round-robin") == "m -hosts a,b,c -ppn 1 -n 6 x"
    assert options(hydra, 2, "block") == "m -hosts a,b -ppn 1 -n 2 x"
    open_mpi = Launcher(MPIEXEC, "m", "openmpi", hosts, 4, ("--mca", "btl", "tcp,self"))
    said = options(open_mpi, 6, "round-robin")
    assert said.startswith("m --mca btl tcp,self --host a:4,b:4,c:4 --map-by node ")
    assert "--host a:4,b:4 --map-by slot " in options(open_mpi, 6, "block")
    slurm = Launcher(SRUN, "srun", "", hosts, 0, ("--mpi=pmix",))
    assert options(slurm, 6, "block") == (
        "srun --mpi=pmix --ntasks=6 --cpu-bind=none --kill-on-bad-exit=1 --input=none --nodes=3 --nodelist=a,b,c "
        "--ntasks-per-node=2 --distribution=block x"
    )
    assert "--distribution=cyclic" in options(slurm, 6, "round-robin")


def test_on_an_emulated_network_ranks_go_to_its_hosts() -> None:
    emulated = Launcher(EMULATED, "m", "openmpi", ("h0", "h0", "h1", "h1"), 0, ("--verbose",))
    assert options(emulated, 4, "block").startswith("m --verbose --mca plm_rsh_agent /run/clusterbench/remote ")
    assert "--host h0,h0,h1,h1 --map-by seq -n 4 x" in options(emulated, 4, "block")
    assert "--host h0,h1,h0 " in options(emulated, 3, "round-robin")
    assert "--host h0 " in options(emulated, 1, "block")
    assert emulated.problem(5) == "5 ranks do not fit on the emulated network, which has a place for 4"


def test_intels_mpiexec_places_ranks_itself_under_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    intel = Launcher(MPIEXEC, "m", "impi", ("a", "b"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert options(intel, 4, "block").startswith("env I_MPI_JOB_RESPECT_PROCESS_PLACEMENT=0 m -hosts a,b -ppn 2 ")
    monkeypatch.delenv("SLURM_JOB_ID")
    assert options(intel, 4, "block").startswith("m -hosts")


def test_slurms_hosts_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[01-03,07],login")
    assert slurm_hosts() == ("node01", "node02", "node03", "node07", "login")
    monkeypatch.delenv("SLURM_JOB_NODELIST")
    assert slurm_hosts() == ()
    with pytest.raises(HostsError, match="hosts: "):
        host_names("n[", "hosts")


@pytest.mark.parametrize(
    ("content", "said"), [(b"# " + b"x" * (1 << 20), "more than 1 MiB; expected a sweep"), (b"\xff\xfe", "no TOML: ")]
)
def test_a_file_that_is_too_large_or_no_text_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    path.write_bytes(content)
    with pytest.raises(SweepFileError, match=f"night.toml: {said}"):
        read_sweep(path)
    with pytest.raises(SweepFileError, match="cannot read it: No such file"):
        read_sweep(tmp_path / "none.toml")
