"""A process that stores samples is killed at any moment; what it had acknowledged is there, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.store_limits import StoreLimits

BATCHES, KILLED_AFTER = 10_000, 600
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from gswarm.domain.samples import SampleBatch, SampleColumns
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.store_limits import StoreLimits
store = ParquetSampleStore(Path(sys.argv[1]), StoreLimits(fold_bytes=20_000), lambda: 1.8e9)
for seq in range(1, 10_001):
    times, values = np.array([1_800_000_000_000_000 + seq], "<i8"), np.array([float(seq)])
    column = SampleColumns("gpu:0", "", ("gpu_power",), times.tobytes(), values.tobytes())
    store.append("a", SampleBatch("0123456789abcdef", seq, (column,)))
    print(seq, flush=True)
"""


def test_a_killed_process_leaves_all_that_it_acknowledged(tmp_path: Path) -> None:
    root = tmp_path / "s"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == KILLED_AFTER:
            process.kill()
            break
    acknowledged = max([acknowledged, *(int(line) for line in process.stdout.read().split("\n")[:-1] if line)])
    process.wait()
    store = ParquetSampleStore(root, StoreLimits(), lambda: 1.8e9, fold_in_background=False)
    found = [float(value) for table in store.tables(1.8e9 - 1, 1.8e9 + 60) for value in table.values[0]]
    # One that was stored and could not be said any more may be there, too.
    assert sorted(found) in ([float(seq) for seq in range(1, last + 1)] for last in (acknowledged, acknowledged + 1))
    assert acknowledged < BATCHES
    assert list(root.glob("raw-*"))
    store.close()
