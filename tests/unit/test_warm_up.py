"""What a host reads at its start so that nobody waits for it later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gswarm.profiler.warm_up import warm_up
from sample_kit import T0, A, batch, columns, open_store

LATE = """
import sys
from pathlib import Path
from gswarm.profiler.answer_json import encode_answer
from gswarm.profiler.store.sample_store import SampleQuery
from gswarm.profiler.warm_up import warm_up
from sample_kit import T0, open_store

store = open_store(Path(sys.argv[1]))
warm_up(store, T0 + 100)
before = set(sys.modules)
b"".join(encode_answer(store.query(SampleQuery(("gpu_power",), T0, T0 + 100, 500))))
print(sorted(set(sys.modules) - before))
"""


def test_the_first_chart_loads_nothing_more(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.append(A, batch(1, columns("gpu:0", range(60), {"gpu_utilization": [0.5] * 60, "gpu_power": [350.0] * 60})))
    store.fold()
    store.close()
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(tmp_path / "s")], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_store_that_cannot_be_read_stops_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(tmp_path / "s")
    store.close()
    with caplog.at_level("DEBUG", "gswarm.profiler"):
        warm_up(store, T0)
    assert "the first chart will be slow" in caplog.text
