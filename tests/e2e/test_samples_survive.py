"""Every sample that was taken is in the store, over kills of the host and of the client: real processes, and a pretended GPU."""

from __future__ import annotations

import base64
import io
import json
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from real_cluster import RealCluster

from nvml_kit import build, make_gpus

pytestmark = pytest.mark.e2e

AWAY_S = 4.0
"""How long nobody listens."""
TAIL_MAX_S = 5.0
"""What a killed client had read and not yet written to its disk is half a second; more only while the machine stands still."""
SAMPLES_MIN = 500
"""A client has begun to measure."""
WAIT_S = 60.0
Sample = tuple[str, str, int]
"""Device, metric, microseconds since the epoch."""
Samples = dict[Sample, float | None]


@dataclass
class RecordingCluster(RealCluster):
    """Its clients write down every sample that they read, and every one that is on their disk."""

    @property
    def records(self) -> Path:
        return self.root / "recorded"

    def environment(self) -> dict[str, str]:
        self.records.mkdir(parents=True, exist_ok=True)
        gpus = make_gpus(self.root / "libnvidia-ml.so.1", self.root)
        injected = {"PYTHONPATH": str(Path(__file__).with_name("recording")), "RECORDED": str(self.records)}
        return {**super().environment(), **gpus.environment, **injected}

    def recorded(self, name: str, pid: int) -> Samples:
        found: Samples = {}
        path = self.records / f"{name}-{pid}"
        for line in path.read_text().splitlines() if path.exists() else ():
            device, owner, metrics, times_us, values = json.loads(line)
            times, flat = array("q", base64.b64decode(times_us)), array("d", base64.b64decode(values))
            for place, metric in enumerate(metrics if not owner else ()):
                for row, at_us in enumerate(times):
                    value = flat[place * len(times) + row]
                    found[device, metric, at_us] = value if value == value else None
        return found

    def stored(self) -> Samples:
        """What the host gives away; each sample once."""
        with self.api() as host:
            table = pq.read_table(io.BytesIO(b"".join(host.export_profiler_session("all", "parquet"))))
        rows = [
            ((device, metric, at_us), value)
            for device, owner, metric, at_us, value in zip(
                table["device"].to_pylist(),
                table["owner"].to_pylist(),
                table["metric"].to_pylist(),
                table["at"].cast("int64").to_pylist(),
                table["value"].to_pylist(),
                strict=True,
            )
            if not owner
        ]
        assert len(rows) == len(dict(rows)), "a sample is stored twice"
        return dict(rows)

    def wait_until_stored(self, samples: Samples) -> Samples:
        deadline_s = time.monotonic() + WAIT_S
        while samples.keys() - (found := self.stored()).keys():
            assert time.monotonic() < deadline_s, f"{len(samples.keys() - found.keys())} samples are missing\n{self.logs()}"
            time.sleep(0.2)
        return found


def test_nothing_is_lost_over_kills_of_host_and_client(tmp_path: Path) -> None:
    cluster = RecordingCluster(tmp_path / "cluster")
    cluster.root.mkdir()
    build(cluster.root)
    try:
        check(cluster)
    finally:
        cluster.close()


def check(cluster: RecordingCluster) -> None:
    cluster.start_host()
    with cluster.api() as host:
        host.start_profiler("all", 0.1)
    first, sampled = started(cluster)
    cluster.wait_until_stored(dict.fromkeys(list(sampled)[:100]))
    cluster.kill_host()
    time.sleep(AWAY_S)
    cluster.kill_client("a")
    cluster.start_host()
    second, _ = started(cluster)
    cluster.wait_until_stored(cluster.recorded("spooled", first) | cluster.recorded("spooled", second))
    cluster.kill_client("a")

    lives = [(cluster.recorded("sampled", pid), cluster.recorded("spooled", pid)) for pid in (first, second)]
    sampled = lives[0][0] | lives[1][0]
    of_sensors = {metric for _device, metric, _at_us in sampled}
    everything = cluster.stored()
    stored = {sample: value for sample, value in everything.items() if sample[1] in of_sensors}
    assert {sample: sampled.get(sample) for sample in stored} == stored, "what is stored was measured, and as it was measured"
    for own, spooled in lives:
        newest: dict[tuple[str, str], int] = {}
        for device, metric, at_us in spooled.keys() & stored.keys():
            newest[device, metric] = max(newest.get((device, metric), 0), at_us)
        lost = own.keys() - stored.keys()
        assert [sample for sample in lost if sample[2] < newest.get(sample[:2], 0)] == [], (
            "only what a killed client had in its memory is missing"
        )
        assert all(max(newest.values()) - TAIL_MAX_S * 1e6 < at_us for _device, _metric, at_us in lost)
    assert not lives[0][1].keys() - everything.keys(), "what is on a client's disk comes, if it comes back"
    for metric in ("cpu_utilization", "gpu_power", "gpu_temperature"):
        assert sum(sample[1] == metric for sample in stored) > 20, f"{metric} is sampled ten times a second"


def started(cluster: RecordingCluster) -> tuple[int, Samples]:
    """A client's process id, and its first samples."""
    cluster.start_client("a")
    process = cluster.clients["a"]
    deadline_s = time.monotonic() + WAIT_S
    while len(sampled := cluster.recorded("sampled", process.pid)) < SAMPLES_MIN:
        assert process.poll() is None, cluster.logs()
        assert time.monotonic() < deadline_s, cluster.logs()
        time.sleep(0.2)
    return process.pid, sampled
