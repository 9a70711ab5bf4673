"""Which variables of the environment a run may record, and what is taken out of texts before they are recorded.

Result files are passed on. So a variable is recorded only if its name is on the list below; where the name, or a part
of the value, looks like a secret, `***` stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VARIABLE_PREFIXES = (
    # MPI and what it runs on; of PMIx and of Open MPI's launcher only settings, the rest is of one launch.
    "OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_", "MPICH_", "MPIR_CVAR_", "MV2_", "I_MPI_", "HYDRA_", "UCX_", "UCC_", "HCOLL_",
    "FI_", "PSM2_", "PSM3_", "SHARP_",
    # GPUs
    "NCCL_", "RCCL_", "NVSHMEM_", "MSCCL", "HSA_", "ROCSHMEM_",
    # threads
    "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMBA_", "TBB_",
    # memory
    "GLIBC_TUNABLES", "MALLOC_", "NUMPY_",
)  # fmt: skip

VARIABLE_NAMES = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE",
    "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK",
    "TRITON_INTERPRET", "MPI4PY_LIBMPI", "LD_PRELOAD",
    # What was allotted and how it was bound; of whom and for what it is nobody's business.
    "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST", "SLURM_JOB_NUM_NODES",
    "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_CPU_BIND", "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_LIST",
    "SLURM_CPU_FREQ_REQ", "SLURM_MEM_BIND", "SLURM_DISTRIBUTION", "SLURM_THREADS_PER_CORE", "SLURM_HINT",
    "SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "SLURM_GPU_FREQ", "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE", "SLURM_MPI_TYPE", "SLURM_PMIX_MAPPING_SERV", "SLURM_TOPOLOGY_ADDR",
    "SLURM_TOPOLOGY_ADDR_PATTERN", "SLURM_EXCLUSIVE", "SLURM_JOB_PARTITION", "SLURM_CLUSTER_NAME",
    "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_NETWORK",
)  # fmt: skip

HIDDEN = "***"

LONGEST = 4096
"""Characters of a value that is recorded; of a longer one only how long it is."""

_SECRET_WORD = r"(?:TOKEN|SECRET|PASS|PWD|KEY|JWT|CRED|AUTH|COOKIE|CERT|SIGNATURE)"
_SECRET_NAME = re.compile(_SECRET_WORD, re.IGNORECASE)
_NAMED = rf"[\w.-]{{0,64}}{_SECRET_WORD}[\w.-]{{0,64}}"
_SECRETS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # `user:password@host`, with a scheme before it or not; up to the last @, as passwords may hold one.
        r"(?:[\w+.-]{1,32}://[^\s:@/=]{0,256}:|[^\s:@/=]{0,256}:(?!//))(?P<secret>\S*)@",
        # `scheme://token@host`; a short name in small letters is a user.
        r"[\w+.-]{1,32}://(?![a-z_][a-z0-9_-]{0,15}@|[^\s@]*:)(?P<secret>\S*)@",
        # `password=...`, `"api-key": ...`, `--token ...`, `Bearer ...`
        rf"(?i:{_NAMED}[\"']?\s*[=:]\s*)(?P<secret>\S+)",
        rf"(?i:--?{_NAMED}\s+|\bBearer\s+)(?P<secret>\S+)",
        # Tokens by the beginning that their makers give them: JSON web tokens, GitHub, GitLab, Slack, Hugging Face.
        r"(?P<secret>\b(?:eyJ|gh[a-z]_|github_pat_|glpat-|xox[a-z]-|hf_)\S{8,}|-----BEGIN.*)",
        # Long words of letters and digits; masks of cores (0x...) are none, and GPUs' UUIDs have hyphens.
        r"(?P<secret>(?<![A-Za-z0-9+])(?!0x)(?=[A-Za-z+]*\d)(?=[\d+]*[A-Za-z])[A-Za-z0-9+]{24,})",
    )
)
"""All are looked for in the text as it was, so that what one hides does not hide from another that it is a secret."""


def allowed_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that may be recorded, by name; `***` for the value of one that is a secret by its name."""
    return {
        name: HIDDEN if _SECRET_NAME.search(name) else _recorded(value)
        for name, value in sorted(environ.items())
        if name.startswith(VARIABLE_PREFIXES) or name in VARIABLE_NAMES
    }


def _recorded(value: str) -> str:
    return redact(value) if len(value) <= LONGEST else f"{len(value)} characters"


def redact(text: str) -> str:
    """`text` with `***` for what looks like a secret: users' passwords in URLs, values of keys that are named so, and
    long opaque words.
    """
    spans = sorted(match.span("secret") for pattern in _SECRETS for match in pattern.finditer(text))
    shown, at, hidden_to = [], 0, -1
    for start, end in spans:
        if start > hidden_to:
            shown += [text[at:start], HIDDEN]
        hidden_to = at = max(end, hidden_to)
    return "".join([*shown, text[at:]])
