"""What ranks of one host need to tell each other through memory: ordered loads and stores, and waiting politely.

A store with release order makes visible everything that was written before it to whoever sees it by a load with
acquire order (C11, 5.1.2.4; LLVM Language Reference, "Atomic Memory Ordering Constraints"). On x86-64 both are plain
moves, which the compiler may not reorder; on ARM64 they are LDAR and STLR.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)
_YIELD = 1
"""The hint of that name (Arm Architecture Reference Manual, C6.2, HINT)."""


def _is_arm(context: Any) -> bool:
    return bool(context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64")))


def _call_plain(builder: Any, name: str) -> None:
    """Call a function of no arguments."""
    declared = ir.FunctionType(ir.VoidType(), [])
    builder.call(cgutils.get_or_insert_function(builder.module, declared, name), [])


@intrinsic
def load_acquire(typingctx: Any, address: Any) -> Any:
    """The 64-bit integer at an address, which is a multiple of 8; nothing after it is done before it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], _I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store_release(typingctx: Any, address: Any, value: Any) -> Any:
    """Put a 64-bit integer at an address, which is a multiple of 8, once everything before it is visible."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], _I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def store_plain(typingctx: Any, address: Any, value: Any) -> Any:
    """Put a 64-bit integer at an address, which is a multiple of 8, whole and in no particular order."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], _I64.as_pointer()), "monotonic", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def relax(typingctx: Any) -> Any:
    """Tell the processor that this is a loop that waits: it saves power, and leaves a sibling thread the core."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _is_arm(context):
            hint = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            function = cgutils.get_or_insert_function(builder.module, hint, "llvm.aarch64.hint")
            builder.call(function, [ir.Constant(ir.IntType(32), _YIELD)])
        else:
            _call_plain(builder, "llvm.x86.sse2.pause")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_core(typingctx: Any) -> Any:
    """Let another process have the core: sched_yield(2)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        declared = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, declared, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def flush_streams(typingctx: Any) -> Any:
    """Order the non-temporal stores before this with every store after it: on x86-64 a release alone does not."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _is_arm(context):
            builder.fence("release")
        else:
            _call_plain(builder, "llvm.x86.sse.sfence")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def stream_line(typingctx: Any, target: Any, source: Any) -> Any:
    """Copy 64 bytes past the caches; `target` is a multiple of 64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_I64, 4)
        one = ir.Constant(ir.IntType(32), 1)
        for half in (0, 32):
            offset = ir.Constant(_I64, half)
            source_at = builder.inttoptr(builder.add(args[1], offset), vector.as_pointer())
            target_at = builder.inttoptr(builder.add(args[0], offset), vector.as_pointer())
            store = builder.store(builder.load(source_at, align=1), target_at, align=32)
            store.set_metadata("nontemporal", builder.module.add_metadata([one]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen
