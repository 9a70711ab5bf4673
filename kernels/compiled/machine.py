"""What is read out of machine code: registers, memory, widths of accesses, matrix and fp64 instructions.

NVIDIA's by `cuobjdump` (resources) and `nvdisasm` (instructions, by the tables of NVIDIA's "CUDA Binary Utilities");
AMD's out of the assembly's own text, whose directives and notes LLVM's "User Guide for AMDGPU Backend" describes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from clusterbench.kernels.compiled.code import Code, MissingError
from clusterbench.kernels.compiled.targets import Target
from clusterbench.kernels.running.lazy import EXTRAS


@dataclass(frozen=True, slots=True)
class Machine:
    """One kernel's machine code, read."""

    registers: int
    """Of a thread, as they are allocated: on AMD vector and accumulation registers together."""
    stack_bytes: int
    """Memory of a thread that is not registers."""
    spills: int
    """Instructions that load from it or store to it."""
    shared_bytes: int
    """Of a block, in the code."""
    instructions: int
    loads: dict[int, int] = field(default_factory=dict)
    """Loads from global memory: bytes a thread -> how many instructions."""
    stores: dict[int, int] = field(default_factory=dict)
    matrix: dict[str, int] = field(default_factory=dict)
    """Matrix instructions and how many of each."""
    fp64: int = 0
    """Instructions that compute with, or convert to or from, fp64."""

    @property
    def path(self) -> str:
        """The matrix units' way in: `mma`, `wgmma`, `tcgen05`, `mfma`; empty where none is used."""
        return next((path for name in self.matrix for path, pattern in _PATHS.items() if pattern.match(name)), "")


_PATHS = {
    "tcgen05": re.compile(r"UTC\w*MMA"),
    "wgmma": re.compile(r"[HIQ]GMMA|BGMMA"),
    "mma": re.compile(r"[HIDQOB]MMA"),
    "mfma": re.compile(r"v_s?mfmac?"),
}
_SASS = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*(?:\.[A-Za-z0-9_]+)*)")
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)")
_FP64_SASS = re.compile(r"D(?:ADD|MUL|FMA|SETP|MNMX|SET|MMA)\b|MUFU\.R(?:CP|SQ)64H|.*\.F64")
_AMD = re.compile(r"^\s+((?:v|s|global|buffer|flat|scratch|ds)_[a-z0-9_]+)\b", re.MULTILINE)
_AMD_WORDS = {"ubyte": 1, "sbyte": 1, "byte": 1, "ushort": 2, "sshort": 2, "short": 2, "dword": 4}


def read(code: Code, target: Target) -> Machine:
    """Read a kernel's machine code. Raises `MissingError` where NVIDIA's tools are not here."""
    if target.vendor == "amd":
        return read_amd(code.assembly)
    # From 9.0 on, CUDA 13's tools count what the system keeps of a block's shared memory as the kernel's own.
    reserved = target.shared_reserved_bytes if target.capability >= (9, 0) else 0
    return read_sass(code.cubin, reserved)


def read_sass(cubin: bytes, reserved_bytes: int = 0) -> Machine:
    """Read NVIDIA's machine code; `reserved_bytes` of its shared memory are the system's, where it uses any."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = _USAGE.search(_run("cuobjdump", "--dump-resource-usage", path))
        names = _SASS.findall(_run("nvdisasm", "--print-code", path))
    if usage is None or not names:
        raise MissingError("cuobjdump and nvdisasm read nothing out of the machine code: another version of CUDA")
    registers, stack_bytes, shared_bytes = (int(number) for number in usage.groups())
    return Machine(
        registers=registers,
        stack_bytes=stack_bytes,
        spills=sum(name.split(".")[0] in ("LDL", "STL") for name in names),
        shared_bytes=max(0, shared_bytes - reserved_bytes),
        instructions=sum(name != "NOP" for name in names),
        loads=_counted(_sass_bytes(name) for name in names if name.split(".")[0] in ("LDG", "LDGSTS")),
        stores=_counted(_sass_bytes(name) for name in names if name.split(".")[0] == "STG"),
        matrix=dict(Counter(name for name in names if any(_PATHS[p].match(name) for p in ("tcgen05", "wgmma", "mma")))),
        fp64=sum(bool(_FP64_SASS.match(name)) for name in names),
    )


def _sass_bytes(name: str) -> int:
    parts = name.split(".")
    if "U8" in parts or "S8" in parts:
        return 1
    if "U16" in parts or "S16" in parts:
        return 2
    return next((int(part) // 8 for part in parts if part in ("64", "128", "256")), 4)


def _run(tool: str, flag: str, path: Path) -> str:
    done = subprocess.run([_tool(tool), flag, str(path)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MissingError(f"{tool} does not read the machine code: {said[0] if said else done.returncode}")
    return done.stdout


def _tool(name: str) -> str:
    """One of NVIDIA's tools: Triton's wheel brings them; else where the system finds it."""
    spec = find_spec("triton")
    folder = Path(spec.origin).parent / "backends" / "nvidia" / "bin" if spec is not None and spec.origin else None
    if folder is not None and (folder / name).is_file():
        return str(folder / name)
    found = shutil.which(name)
    if found is None:
        raise MissingError(f"{name} is not here; install clusterbench's extra `{EXTRAS['triton']}`, which brings it")
    return found


def read_amd(assembly: str) -> Machine:
    """Read AMD's assembly."""
    names = [name.removesuffix("_e32").removesuffix("_e64") for name in _AMD.findall(assembly)]
    spilled = _note(assembly, r"\.vgpr_spill_count:\s*(\d+)") + _note(assembly, r"\.sgpr_spill_count:\s*(\d+)")
    scratch = sum(name.startswith("scratch_") for name in names)
    return Machine(
        registers=_note(assembly, r"\.amdhsa_next_free_vgpr\s+(\d+)"),
        stack_bytes=_note(assembly, r"\.private_segment_fixed_size:\s*(\d+)"),
        spills=max(spilled, scratch),
        shared_bytes=_note(assembly, r"\.group_segment_fixed_size:\s*(\d+)"),
        instructions=sum(name not in ("s_nop", "s_code_end") for name in names),
        loads=_counted(_amd_bytes(name) for name in names if re.match(r"(?:global|buffer|flat)_load_", name)),
        stores=_counted(_amd_bytes(name) for name in names if re.match(r"(?:global|buffer|flat)_store_", name)),
        matrix=dict(Counter(name for name in names if _PATHS["mfma"].match(name))),
        fp64=sum(name.startswith("v_") and "f64" in name for name in names),
    )


def _amd_bytes(name: str) -> int:
    words = re.search(r"_(ubyte|sbyte|byte|ushort|sshort|short|dword)(?:x(\d))?", name)
    return _AMD_WORDS[words[1]] * int(words[2] or 1) if words else 0


def _note(assembly: str, pattern: str) -> int:
    found = re.search(pattern, assembly)
    return int(found[1]) if found else 0


def _counted(widths: Iterable[int]) -> dict[int, int]:
    return dict(sorted(Counter(widths).items(), reverse=True))
