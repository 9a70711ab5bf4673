"""The gate over compiled kernels: what breaks a rule and how it is said, which rows a rule is about, and bad files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clusterbench.kernels.compiled import gate
from clusterbench.kernels.compiled.compiling import Compiled
from clusterbench.kernels.compiled.gate import BASELINE, BaselineError, Rule, broken, read_rules

GOOD = Compiled(
    "triad", "triton", "float32", "sm_90", functions=("triton_kernel",), threads=128, registers=26, spills=0,
    shared_bytes=0, occupancy=1.0, limited_by="warps", load_bytes=16, store_bytes=16, fp64=0, instructions=60,
    counted_bytes=1200, counted_flops=200, model_bytes=1200, model_flops=200,
)  # fmt: skip


def _rules(folder: Path, text: str) -> tuple[Rule, ...]:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"spills": 4}, "spills"),
        ({"fp64": 1}, "fp64"),
        ({"load_bytes": 4}, "load_bytes"),
        ({"store_bytes": 8}, "store_bytes"),
        ({"counted_bytes": 1201}, "bytes"),
        ({"counted_flops": 100}, "flops"),
        ({"status": "failed", "reason": "no such instruction"}, "compiles"),
    ],
)
def test_the_suites_own_rules_find_what_is_wrong_with_a_stream(changes: dict[str, object], limit: str) -> None:
    rules = read_rules(BASELINE)
    assert broken([GOOD], rules) == []
    faults = broken([replace(GOOD, **changes)], rules)  # type: ignore[arg-type]  # the fields are of several types
    assert [fault.limit for fault in faults] == [limit]
    assert "triad float32 triton sm_90" in str(faults[0])
    assert faults[0].rule.reason in str(faults[0])


@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [("sm_80", "mma", ""), ("sm_90", "wgmma", "mma"), ("sm_100", "tcgen05", "mma"), ("gfx942", "mfma", "")],
)
def test_products_of_half_precision_take_the_targets_own_matrix_units(target: str, right: str, wrong: str) -> None:
    row = replace(GOOD, kernel="gemm_any", dtype="float16", target=target, products=("f16",), path=right)
    assert broken([row], read_rules(BASELINE)) == []
    faults = broken([replace(row, path=wrong)], read_rules(BASELINE))
    assert [(fault.limit, fault.found, fault.expected) for fault in faults] == [("path", repr(wrong), repr(right))]


def test_products_in_full_float32_need_no_matrix_unit() -> None:
    row = replace(GOOD, kernel="gemm", products=("f32",), path="")
    assert broken([row], read_rules(BASELINE)) == []


def test_what_was_not_followed_or_is_missing_breaks_no_rule() -> None:
    rows = [
        replace(GOOD, counted_bytes=None, counted_flops=None, not_followed="a branch hangs on data"),
        Compiled("triad", "triton", "float32", "sm_90", "missing", "triton is not installed"),
        Compiled("triad", "cupy", "float32", "sm_90", "nothing", "array-level source"),
    ]
    assert broken(rows, read_rules(BASELINE)) == []


def test_a_rule_is_about_the_rows_that_it_names(tmp_path: Path) -> None:
    (rule,) = _rules(
        tmp_path,
        '[[rule]]\nkernels = ["t*"]\nbackends = ["triton"]\ntargets = ["sm_90"]\ndtypes = ["float32"]\n'
        'registers = 20\nreason = "few"\n',
    )
    assert rule.applies(GOOD)
    others = ({"kernel": "add"}, {"backend": "numba-cuda"}, {"target": "sm_80"}, {"dtype": "float64"})
    for changes in others:
        assert not rule.applies(replace(GOOD, **changes))
    (fault,) = broken([GOOD], [rule])
    assert str(fault) == ("triad float32 triton sm_90: registers is 26; expected at most 20: few (rules.toml: rule 1)")


def test_a_file_of_what_was_found_holds_it_and_finds_what_became_worse(tmp_path: Path) -> None:
    rules = _rules(tmp_path, gate.as_rules([GOOD, replace(GOOD, dtype="float64", path="mma")], "triton 3.9.0"))
    assert len(rules) == 2
    assert broken([GOOD], rules) == []
    (fault,) = broken([replace(GOOD, registers=27)], rules)
    assert (fault.limit, fault.expected) == ("registers", "at most 26")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has nothing; expected \\[\\[rule\\]\\] alone"),
        ("rule = 3", "expected \\[\\[rule\\]\\] alone"),
        ("[[rule]]\nspills = 0", "rule 1 has no reason"),
        ('[[rule]]\nreason = " "\nspills = 0', "rule 1 has no reason"),
        ('[[rule]]\nreason = "x"', "rule 1 limits nothing"),
        ('[[rule]]\nreason = "x"\nspils = 0', "unknown key 'spils'; expected one of kernels"),
        ('[[rule]]\nreason = "x"\nspills = "none"', "spills is 'none'; expected int"),
        ('[[rule]]\nreason = "x"\nspills = true', "spills is True; expected int"),
        ('[[rule]]\nreason = "x"\ncompiles = 1', "compiles is 1; expected bool"),
        ('[[rule]]\nreason = "x"\nbytes = 12', "bytes is 12; expected"),
        ('[[rule]]\nreason = "x"\nspills = 0\nkernels = "copy"', "kernels is 'copy'; expected a list of names"),
        ("[[rule", "no TOML"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BaselineError, match=said):
        _rules(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"none\.toml: cannot read it: No such file"):
        read_rules(tmp_path / "none.toml")
