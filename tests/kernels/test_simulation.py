"""What stands between the simulators and the kernels: tensors, program order, barriers, shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np

from clusterbench.kernels.running.interpreted import HostTensor
from clusterbench.kernels.running.simulated import BlockBarrier

ORDER = """
import json, sys
import numpy as np, triton, triton.language as tl
from clusterbench.kernels.running.interpreted import HostTensor, shuffle_programs

@triton.jit
def record(seen, at):
    pid = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(seen + tl.atomic_add(at, 1), pid)

def order():
    seen, at = np.zeros(12, np.int32), np.zeros(1, np.int32)
    record[(3, 4)](HostTensor(seen), HostTensor(at))
    return seen.tolist()

plain = order()
shuffle_programs(np.random.default_rng(5))
shuffled = order()
shuffle_programs(None)
print(json.dumps([plain, shuffled, order(), "torch" in sys.modules]))
"""


def test_programs_run_in_another_order_each_exactly_once(tmp_path: Path) -> None:
    script = tmp_path / "order.py"  # a file, because the interpreter reads the source of what it runs
    script.write_text(ORDER, encoding="utf-8")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    plain, shuffled, again, torch = json.loads(done.stdout)
    assert plain == again == list(range(12))
    assert shuffled != plain
    assert sorted(shuffled) == plain
    assert torch is False


def test_a_host_tensor_is_a_view_of_its_array() -> None:
    whole = np.arange(24, dtype=np.float32)
    tensor = HostTensor(whole[6:18].reshape(3, 4))
    assert tensor.data_ptr() == whole.ctypes.data + 24
    assert (tensor.size(), tensor.stride()) == ((3, 4), (4, 1))
    assert tensor.new_empty(0, device="cpu").set_(tensor, 0, (3, 4), (4, 1)).data_ptr() == tensor.data_ptr()
    assert tensor.copy_(tensor.cpu()).untyped_storage().storage_offset() == 0


def test_a_barrier_waits_for_all_and_does_not_wait_for_those_who_left() -> None:
    barrier, log = BlockBarrier(3), []

    def works(name: str) -> None:
        for step in range(3):
            log.append((step, name))
            barrier.wait()
        barrier.leave()

    threads = [Thread(target=works, args=(name,)) for name in "ab"] + [Thread(target=barrier.leave)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert [step for step, _ in log] == [0, 0, 1, 1, 2, 2]


SHARED = """
import numpy as np
from clusterbench.kernels.running.simulated import repair
repair()
from numba import cuda, float32

@cuda.jit
def kernel(out, stale):
    left, right = cuda.shared.array(4, float32), cuda.shared.array(4, float32)
    i = cuda.threadIdx.x
    stale[cuda.blockIdx.x, i] = left[i]
    cuda.syncthreads()
    left[i], right[i] = i, 10 + i
    cuda.syncthreads()
    out[cuda.blockIdx.x, i] = left[3 - i] + 100 * right[3 - i]

out, stale = np.zeros((50, 4), np.float32), np.zeros((50, 4), np.float32)
kernel[50, 4](out, stale)
assert (out == np.array([1303, 1202, 1101, 1000])).all(), out
assert np.isnan(stale).all(), stale

@cuda.jit
def raises(out):
    if cuda.threadIdx.x == 2:
        out[99] = 1
    cuda.syncthreads()

try:
    raises[1, 4](np.zeros(4, np.float32))
except IndexError as error:
    assert "tid=[2, 0, 0]" in str(error), error
else:
    raise AssertionError("no error")
print("good")
"""


def test_shared_memory_is_one_array_a_block_and_fresh_and_an_error_names_its_thread() -> None:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-c", SHARED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "good\n", done.stderr
