"""What a step frees serves the next step; what a run held goes back to the machine. Counted in page faults and resident bytes."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, resource
import psutil, torch
from gswarm.training.memory import keep_freed_memory, release_memory

MIB = 1 << 20

def step():
    tensors = [torch.ones(size * MIB, dtype=torch.uint8) for size in (1, 3, 40, 100)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return psutil.Process().memory_info().rss

step()
unkept = faults()
assert keep_freed_memory()
for _ in range(20):  # until the heap has found its shape
    step()
kept = faults()
held = [torch.ones(3 * MIB, dtype=torch.uint8) for _ in range(100)]
del held
idle = resident()
release_memory()
print(json.dumps({"unkept": unkept, "kept": kept, "given_back_mib": (idle - resident()) // MIB}))
"""


def test_freed_memory_is_kept_until_a_run_goes() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(done.stdout)
    assert seen["kept"] < 100 < 10_000 < seen["unkept"], seen
    assert seen["given_back_mib"] > 200, seen
