"""Reading machine code: widths, spills, matrix and fp64 instructions, of text as NVIDIA's and AMD's tools write it."""

from __future__ import annotations

import pytest

from clusterbench.kernels.compiled import machine
from clusterbench.kernels.compiled.machine import Machine, read_amd, read_sass

USAGE = """
Resource usage:
 Common:
  GLOBAL:0
 Function kernel:
  REG:40 STACK:16 SHARED:1024 LOCAL:0 CONSTANT[0]:568 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """
	.section	.text.kernel,"ax",@progbits
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x37c] ;
        /*0010*/                   S2R R0, SR_TID.X ;
        /*0020*/              @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0030*/              @P1  LDG.E.U8.CONSTANT R4, desc[UR4][R2.64] ;
        /*0040*/                   LDGSTS.E.BYPASS.LTC128B.128 [R5], desc[UR4][R2.64] ;
        /*0050*/                   LDG.E.64 R4, desc[UR4][R2.64] ;
        /*0060*/             @!UP0 HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0070*/                   DADD R4, R4, R6 ;
        /*0080*/                   F2F.F64.F32 R4, R5 ;
        /*0090*/                   STL.64 [R1], R4 ;
        /*00a0*/                   LDL R4, [R1+0x8] ;
        /*00b0*/                   STG.E desc[UR4][R2.64], R5 ;
        /*00c0*/                   EXIT ;
.L_x_0:
        /*00d0*/                   BRA `(.L_x_0) ;
        /*00e0*/                   NOP;
"""
AMD = """
	.amdgcn_target "amdgcn-amd-amdhsa--gfx942"
kernel:
	s_load_dwordx2 s[8:9], s[2:3], 0x0
	v_lshlrev_b32_e32 v1, 2, v0
	global_load_dwordx4 v[2:5], v1, s[8:9]
	buffer_load_dwordx2 v[2:3], v1, s[8:11], 0 offen
	global_load_ubyte v6, v1, s[8:9]
	v_mfma_f32_32x32x8_bf16_1k a[0:15], v[2:3], v[4:5], a[0:15]
	v_fma_f64 v[2:3], v[2:3], v[4:5], v[2:3]
	scratch_store_dwordx2 off, v[2:3], s32
	global_store_short v1, v6, s[8:9]
	s_nop 0
	s_endpgm
	.amdhsa_next_free_vgpr 44
  - .agpr_count:     16
    .group_segment_fixed_size: 4096
    .private_segment_fixed_size: 8
    .sgpr_spill_count: 0
    .vgpr_spill_count: 3
"""


def test_nvidias_machine_code_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_run", lambda tool, flag, path: USAGE if tool == "cuobjdump" else SASS)
    assert read_sass(b"", reserved_bytes=1024).shared_bytes == 0
    assert read_sass(b"") == Machine(
        registers=40,
        stack_bytes=16,
        spills=2,
        shared_bytes=1024,
        instructions=14,
        loads={16: 2, 8: 1, 1: 1},
        stores={4: 1},
        matrix={"HGMMA.64x64x16.F32.BF16": 1},
        fp64=2,
    )


def test_amds_machine_code_is_read() -> None:
    assert read_amd(AMD) == Machine(
        registers=44,
        stack_bytes=8,
        spills=3,
        shared_bytes=4096,
        instructions=10,
        loads={16: 1, 8: 1, 1: 1},
        stores={2: 1},
        matrix={"v_mfma_f32_32x32x8_bf16_1k": 1},
        fp64=1,
    )


@pytest.mark.parametrize(
    ("instruction", "path"),
    [
        ("HMMA.16816.F32", "mma"),
        ("IMMA.16832.S8.S8", "mma"),
        ("DMMA.8x8x4", "mma"),
        ("QMMA.16832.F32.E4M3.E4M3", "mma"),
        ("HGMMA.64x128x16.F32", "wgmma"),
        ("QGMMA.64x128x32.F32.E4M3.E4M3", "wgmma"),
        ("UTCHMMA", "tcgen05"),
        ("UTCQMMA.2CTA", "tcgen05"),
        ("v_mfma_f32_16x16x32_fp8_fp8", "mfma"),
        ("v_smfmac_f32_16x16x32_f16", "mfma"),
    ],
)
def test_a_matrix_instruction_tells_the_path(instruction: str, path: str) -> None:
    assert Machine(1, 0, 0, 0, 1, matrix={instruction: 1}).path == path
