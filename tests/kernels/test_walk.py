"""Following the threads of a launch through PTX: what is counted, and where nothing is said."""

from __future__ import annotations

import pytest

from clusterbench.kernels.compiled.code import Code
from clusterbench.kernels.compiled.ptx import NotFollowedError
from clusterbench.kernels.compiled.walk import Counts, follow, straight_accesses

HEAD = """
.version 8.7
.target sm_90a
.visible .entry kernel(.param .u64 kernel_param_0, .param .u32 kernel_param_1)
.reqntid 32
{
    .reg .pred %p<4>; .reg .b32 %r<20>; .reg .b64 %rd<8>;
"""
ADDRESS = """
    ld.param.u64 %rd1, [kernel_param_0];
    ld.param.u32 %r1, [kernel_param_1];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    mul.wide.s32 %rd2, %r5, 4;
    add.s64 %rd3, %rd1, %rd2;
"""


def _count(body: str, n: int = 80, blocks: int = 3, threads: int = 32) -> Counts:
    text = f"{HEAD}{ADDRESS}{body}\n    ret;\n}}\n"
    return follow(Code("kernel", text, b"", (blocks, 1, 1), (threads, 1, 1), parameters=(1 << 40, n)))


def test_a_mask_leaves_out_the_threads_behind_the_end() -> None:
    body = """
    setp.lt.s32 %p1, %r5, %r1;
    @%p1 ld.global.v4.b32 {%r6, %r7, %r8, %r9}, [%rd3];
    add.f32 %r6, %r6, %r7;
    @%p1 st.global.b32 [%rd3], %r6;
    """
    # 96 threads, of which 80 are inside; the addition is not guarded.
    assert _count(body) == Counts(loaded_bytes=80 * 16, stored_bytes=80 * 4, flops=96)


def test_a_branch_that_parts_the_threads_is_followed_on_both_sides() -> None:
    body = """
    setp.ge.s32 %p1, %r5, %r1;
    @%p1 bra $L__outside;
    ld.global.f32 %f1, [%rd3];
    bra.uni $L__end;
$L__outside:
    st.global.f32 [%rd3], 0f00000000;
$L__end:
    red.global.add.f32 [%rd3], %f1;
    """
    assert _count(body) == Counts(loaded_bytes=80 * 4, stored_bytes=16 * 4, atomic_bytes=96 * 4, flops=96)


@pytest.mark.parametrize("n", [1, 5, 64])
def test_a_loop_runs_as_often_as_its_counter_says(n: int) -> None:
    body = """
    mov.b32 %r10, 0;
$L__loop:
    ld.global.nc.b64 %rd4, [%rd3];
    fma.rn.f32x2 %rd5, %rd4, %rd4, %rd5;
    add.s32 %r10, %r10, 1;
    setp.lt.s32 %p2, %r10, %r1;
    @%p2 bra $L__loop;
    """
    assert _count(body, n) == Counts(loaded_bytes=96 * 8 * n, flops=96 * 4 * n)


def test_threads_may_run_a_loop_unequally_often() -> None:
    # Thread t of a block makes 32 - t rounds: 32 + 31 + ... + 1.
    body = """
$L__loop:
    st.global.b8 [%rd3], %r4;
    add.s32 %r4, %r4, 1;
    setp.lt.u32 %p2, %r4, 32;
    @%p2 bra $L__loop;
    """
    assert _count(body, blocks=2) == Counts(stored_bytes=2 * sum(range(1, 33)))


def test_a_warps_first_thread_can_tell_the_others() -> None:
    body = """
    shr.u32 %r6, %r4, 5;
    shfl.sync.idx.b32 %r7, %r6, 0, 31, -1;
    setp.eq.s32 %p1, %r7, 1;
    @%p1 st.global.b32 [%rd3], 1;
    """
    assert _count(body, blocks=1, threads=128) == Counts(stored_bytes=32 * 4)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("ld.global.v2.b32 {%r6, %r7}, [%rd3]; st.global.b8 [%rd3], %r6;", (8, 1)),
        ("@%p1 bra $L__b; $L__a: ret; $L__b: ld.global.b64 %rd4, [%rd3]; bra.uni $L__a;", (8, 0)),
        ("cp.async.cg.shared.global.L2::128B [%r7], [%rd3], 0x10, %r6;", (16, 0)),
        ("$L__a: ld.global.b64 %rd4, [%rd3]; @%p1 bra $L__a;", None),
        ("$L__a: @%p1 bra $L__b; ld.global.b64 %rd4, [%rd3]; bra.uni $L__a; $L__b: ;", None),
    ],
)
def test_accesses_in_the_text_are_counted_where_there_is_no_loop(body: str, found: tuple[int, int] | None) -> None:
    assert straight_accesses(f"{HEAD}{ADDRESS}{body}\n    ret;\n}}\n") == found


def test_a_matrix_product_is_shared_out_over_its_warp() -> None:
    body = """
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
        {%f1,%f2,%f3,%f4}, {%r6,%r7,%r8,%r9}, {%r10,%r11}, {%f1,%f2,%f3,%f4};
    """
    assert _count(body, blocks=1, threads=64).flops == 2 * 2 * 16 * 8 * 16


def test_a_copy_to_shared_memory_counts_what_its_last_operand_says() -> None:
    body = """
    setp.lt.s32 %p1, %r5, %r1;
    selp.b32 %r6, 16, 0, %p1;
    cp.async.cg.shared.global [%r7], [%rd3], 0x10, %r6;
    cp.async.commit_group;
    """
    assert _count(body) == Counts(loaded_bytes=80 * 16)


def test_matrix_instructions_that_do_not_say_their_size_leave_bytes_alone() -> None:
    body = """
    ld.global.b32 %r6, [%rd3];
    tcgen05.mma.cta_group::1.kind::f16 [%r7], %rd4, %rd5, %r8, %p1;
    """
    assert _count(body) == Counts(loaded_bytes=96 * 4, flops=None)


def test_an_atomic_operation_that_hangs_on_data_leaves_the_others_alone() -> None:
    body = """
    ld.global.b32 %r6, [%rd3];
    setp.eq.s32 %p1, %r6, 0;
    @%p1 atom.global.gpu.acq_rel.max.s32 %r7, [%rd3], %r6;
    """
    assert _count(body) == Counts(loaded_bytes=96 * 4, atomic_bytes=None)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("ld.global.b32 %r6, [%rd3]; setp.eq.s32 %p1, %r6, 0; @%p1 bra $L__x; $L__x: ;", "a branch hangs on data"),
        ("ld.global.b32 %r6, [%rd3]; setp.eq.s32 %p1, %r6, 0; @%p1 st.global.b32 [%rd3], 1;", "hangs on data"),
        ("ld.f32 %f1, [%rd3];", "names no memory"),
        ("call.uni (retval0), helper, (param0);", "chosen at run time"),
        ("$L__x: bra.uni $L__x;", "more than 100000 instructions"),
    ],
)
def test_what_cannot_be_followed_is_said(body: str, why: str) -> None:
    with pytest.raises(NotFollowedError, match=why):
        _count(body)


def test_a_partly_written_register_stays_unknown_where_a_thread_loaded_it() -> None:
    # Whoever loaded keeps what was loaded: the branch hangs on data though the last write is known.
    body = """
    setp.lt.s32 %p1, %r4, 16;
    ld.global.b32 %r6, [%rd3];
    @%p1 mov.b32 %r6, 1;
    setp.eq.s32 %p2, %r6, 1;
    @%p2 st.global.b32 [%rd3], 1;
    """
    with pytest.raises(NotFollowedError, match="hangs on data"):
        _count(body)


def test_too_many_threads_are_refused_before_anything_is_run() -> None:
    with pytest.raises(NotFollowedError, match="threads; at most"):
        _count("", blocks=1 << 20)


@pytest.mark.parametrize(
    ("instructions", "value"),
    [
        ("mov.b32 %r6, -7; shr.s32 %r6, %r6, 1;", -4),
        ("mov.b32 %r6, -8; shr.u32 %r6, %r6, 28;", 15),
        ("mov.b32 %r6, -7; div.s32 %r6, %r6, 2;", -3),
        ("mov.b32 %r6, -7; rem.s32 %r6, %r6, 4;", -3),
        ("mov.b32 %r6, -1; mov.b32 %r7, 3; min.u32 %r6, %r6, %r7;", 3),
        ("mov.b32 %r6, 0x7fffffff; add.s32 %r6, %r6, 1;", -(1 << 31)),
        ("mov.b32 %r6, -1; mul.hi.u32 %r6, %r6, 2;", 1),
        ("mov.b32 %r6, 0xff; bfe.u32 %r6, %r6, 4, 8;", 15),
        ("mov.b32 %r6, 5; not.b32 %r6, %r6; neg.s32 %r6, %r6;", 6),
        ("mov.b32 %r6, 3; shl.b32 %r6, %r6, 31;", -(1 << 31)),
        ("mov.b32 %r7, -2; cvt.s64.s32 %rd4, %r7; mov.b64 {%r8, %r6}, %rd4;", -1),
        ("mov.b32 %r7, -2; cvt.u64.u32 %rd4, %r7; mov.b64 {%r8, %r6}, %rd4;", 0),
        ("mov.b32 %r7, 1; mov.b32 %r8, 2; mov.b64 %rd4, {%r7, %r8}; shr.u64 %rd4, %rd4, 33; cvt.u32.u64 %r6, %rd4;", 1),
    ],
)
def test_arithmetic_of_integers_is_that_of_the_instruction_set(instructions: str, value: int) -> None:
    body = f"{instructions} setp.eq.s32 %p1, %r6, {value}; @%p1 st.global.b32 [%rd3], 1;"
    assert _count(body, blocks=1).stored_bytes == 32 * 4
