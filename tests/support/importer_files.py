"""Files as other tools write them, made here: the smallest of each that shows what its format can."""

from __future__ import annotations

import json
from typing import Any

NCCL_TESTS = """\
# nccl-tests version 2.17.8 nccl-headers=22902 nccl-library=22902
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 8 minBytes 1048576 maxBytes 33554432 step: 32(factor) warmup iters: 5 iters: 20 agg iters: 1
# Using devices
#  Rank  0 Group  0 Pid   1000 on node0 device  0 [0000:1b:00] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid   1001 on node0 device  1 [0000:43:00] NVIDIA H100 80GB HBM3
#  Rank  2 Group  0 Pid   1002 on node0 device  2 [0000:52:00] NVIDIA H100 80GB HBM3
#  Rank  3 Group  0 Pid   1003 on node0 device  3 [0000:61:00] NVIDIA H100 80GB HBM3
#  Rank  4 Group  0 Pid   1004 on node0 device  4 [0000:9d:00] NVIDIA H100 80GB HBM3
#  Rank  5 Group  0 Pid   1005 on node0 device  5 [0000:c3:00] NVIDIA H100 80GB HBM3
#  Rank  6 Group  0 Pid   1006 on node0 device  6 [0000:d1:00] NVIDIA H100 80GB HBM3
#  Rank  7 Group  0 Pid   1007 on node0 device  7 [0000:df:00] NVIDIA H100 80GB HBM3
#
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1    25.00   41.94   73.40       0    25.50   41.12   71.96       0
    33554432       8388608     float     sum      -1   180.00  186.41  326.22       0   181.00  185.38  324.42       0
  4294967296    1073741824     float     sum      -1  15700.0  273.56  478.74       0  15700.0  273.56  478.74     N/A
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 292.247
"""

NCCL_TESTS_JSON = json.dumps(
    {
        "version": 3,
        "start_time": "2026-01-28 14:50:17",
        "args": ["./build/all_gather_perf", "-J", "x"],
        "env": ["SECRET=1"],
        "nccl_version": 22902,
        "config": {"nthreads": 1, "ngpus": 4, "warmup_iters": 5, "iterations": 20, "aggregated_iterations": 1},
        "devices": [{"rank": 0, "group": 0, "hostname": "node0", "device_info": "NVIDIA H100"}],
        "results": [
            {
                "size": size,
                "count": size // 16,
                "type": "float",
                "redop": "none",
                "root": "-1",
                "out_of_place": {"time": 10 + size / 1e5, "alg_bw": 1.0, "bus_bw": 1.0, "nwrong": 0.0},
                "in_place": None,
            }
            for size in (1 << 20, 1 << 24)
        ],
        "errors": [],
    },
    indent=1,
)

_RCCL = [
    {
        "numCycle": 0, "name": "AllReduce", "nodes": 1, "ranks": 2, "ranksPerNode": 2, "gpusPerRank": 4, "size": size,
        "type": "float", "redop": "sum", "inPlace": in_place, "time": time, "algBw": size / time / 1e3,
        "busBw": 1.75 * size / time / 1e3, "wrong": wrong,
    }
    for size, in_place, time, wrong in ((8, 0, 20.0, "0"), (8, 1, 19.5, "N/A"), (1 << 24, 0, 90.0, "0"))
]  # fmt: skip


def rccl_json(**changes: Any) -> str:
    """As the reporter writes it, an object a line."""
    return "[\n" + ",\n".join(json.dumps({**row, **changes}) for row in _RCCL) + "\n]\n"


def rccl_csv() -> str:
    """The same rows as CSV."""
    head = "numCycle,collective,nodes,ranks,ranksPerNode,gpusPerRank,size,type,redop,inplace,time,algbw,busbw,#wrong"
    return "\n".join([head, *(",".join(json.dumps(value) for value in row.values()) for row in _RCCL)]) + "\n"


OSU = """\
+ srun -n 8 ./osu_allreduce -f

# OSU MPI Allreduce Latency Test v7.4
# Datatype: MPI_FLOAT.
# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations
4                      10.00              8.00             12.50        1000
1048576               400.00            390.00            420.00         100

# OSU MPI Allgather Latency Test v7.4
# Datatype: MPI_CHAR.
# Size       Avg Latency(us)
1024                   20.00

# OSU MPI Bandwidth Test v7.4
# Size      Bandwidth (MB/s)
1048576             10485.76
"""

IMB = """\
#------------------------------------------------------------
#    Intel(R) MPI Benchmarks 2021.3, MPI-1 part
#------------------------------------------------------------
# Date                  : Tue Mar  1 12:00:00 2022
# MPI_Datatype                   :   MPI_BYTE
# MPI_Datatype for reductions    :   MPI_FLOAT
# MPI_Op                         :   MPI_SUM

#---------------------------------------------------
# Benchmarking PingPong
# #processes = 2
# ( 6 additional processes waiting in MPI_Barrier)
#---------------------------------------------------
       #bytes #repetitions      t[usec]   Mbytes/sec
            0         1000         0.90         0.00
         1024         1000         1.60       640.00

#----------------------------------------------------------------
# Benchmarking Allreduce
# #processes = 4
# ( 4 additional processes waiting in MPI_Barrier)
#----------------------------------------------------------------
       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]
         1024         1000         3.00         5.00         4.00

#----------------------------------------------------------------
# Benchmarking Alltoall
# #processes = 8
#----------------------------------------------------------------
       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]
         1024         1000        13.00        15.00        14.00
      4194304           10     13000.00     15000.00     14000.00


# All processes entering MPI_Finalize
"""

PYTEST_BENCHMARK = json.dumps(
    {
        "machine_info": {"node": "host0", "cpu": {"brand_raw": "A CPU"}},
        "commit_info": {"id": "abc"},
        "benchmarks": [
            {
                "group": None,
                "name": "test_sum[8-float32]",
                "fullname": "tests/test_sums.py::test_sum[8-float32]",
                "params": {"n": 8, "dtype": "float32"},
                "param": "8-float32",
                "extra_info": {},
                "stats": {
                    "min": 1e-6, "max": 2e-6, "mean": 1.4e-6, "median": 1.3e-6, "rounds": 7, "iterations": 10,
                    "data": [1e-6, 1.1e-6, 1.2e-6, 1.3e-6, 1.6e-6, 1.9e-6, 2e-6],
                },
            },
            {
                "name": "test_plain",
                "fullname": "tests/test_sums.py::test_plain",
                "params": None,
                "param": None,
                "stats": {"min": 1e-3, "max": 2e-3, "mean": 1.4e-3, "median": 1.3e-3, "rounds": 50, "iterations": 1},
            },
        ],
        "datetime": "2026-01-28T14:50:17.000000+00:00",
        "version": "5.2.3",
    },
    indent=4,
)  # fmt: skip

EXAMPLES = {
    "nccl-tests": NCCL_TESTS,
    "nccl-tests-json": NCCL_TESTS_JSON,
    "rccl-tests": rccl_json(),
    "osu": OSU,
    "imb": IMB,
    "pytest-benchmark": PYTEST_BENCHMARK,
}
"""A file that is understood to its end, by importer."""
