"""The real sampler process and the real nvitop over a pretended driver: what sensors say, do not say, and say wrongly."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from gswarm.profiler.sensors.readings import ProcessReading
from gswarm.profiler.sensors.sampler_lines import SamplerLine, decode_line, encode_intervals
from nvml_kit import GIB, NOT_SUPPORTED, Gpus, build, make_gpus

LINES_MAX = 40


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


class Heard:
    """What a sampler has said last, by device."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.latest: dict[str, dict[str, float]] = {}
        self.kinds: dict[str, str] = {}
        self.processes: tuple[ProcessReading, ...] = ()
        self.times_us: dict[str, list[int]] = {}
        """When a metric was read, of any device."""
        self.rows = 0

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(LINES_MAX):
            if condition():
                return
            assert self._process.stdout is not None
            self._take(decode_line(self._process.stdout.readline()))
        raise AssertionError(f"not within {LINES_MAX} lines: {self.latest}")

    def next_line(self) -> None:
        assert self._process.stdout is not None
        self._take(decode_line(self._process.stdout.readline()))

    def _take(self, line: SamplerLine) -> None:
        if line.devices is not None:
            self.kinds = {device.device: device.kind for device in line.devices}
        if line.processes is not None:
            self.processes = line.processes
        for columns in line.columns:
            rows = len(columns.times_us) // 8
            values = array("d", columns.values)
            for metric in columns.metrics:
                self.times_us.setdefault(metric, []).extend(array("q", columns.times_us))
            self.rows += rows
            known = self.latest.setdefault(columns.device, {})
            known.update({metric: values[(index + 1) * rows - 1] for index, metric in enumerate(columns.metrics)})


@contextmanager
def sampling(gpus: Gpus | None, interval_s: float = 0.1) -> Iterator[tuple[Heard, subprocess.Popen[bytes]]]:
    environment = {**os.environ, **(gpus.environment if gpus is not None else {})}
    command = [sys.executable, "-m", "gswarm.profiler.sensors.sampler", "--data-dir", "/", "--parent", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    try:
        process.stdin.write(encode_intervals({"*": interval_s}))
        process.stdin.flush()
        yield Heard(process), process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_what_gpus_say_and_what_they_do_not(library: Path, tmp_path: Path) -> None:
    gpus = make_gpus(library, tmp_path, 2)
    gpus.set(
        gpu1_migs=3, gpu1_mig2_name="NVIDIA H200 MIG 1g.18gb", gpu1_mig2_uuid="MIG-2", gpu1_mig2_memory_total=18 * GIB,
        gpu1_mig2_memory_used=GIB, gpu0_processes=f"{os.getpid()}:{GIB}:40,4194305:{2 * GIB}:10",
    )  # fmt: skip
    with sampling(gpus) as (heard, _process):
        heard.until(lambda: {"machine", "gpu:0", "gpu:1", "gpu:1/mig:2"} <= heard.latest.keys() and bool(heard.processes))
        heard.until(lambda: "gpu_power" in heard.latest["gpu:0"] and "gpu_temperature" in heard.latest["gpu:0"])
        assert heard.kinds == {"machine": "machine", "gpu:0": "gpu", "gpu:1": "gpu", "gpu:1/mig:2": "mig"}
        first = heard.latest["gpu:0"]
        wanted = {
            "gpu_utilization": 0.5, "gpu_memory_utilization": 0.25, "gpu_memory_used": 35 * GIB, "gpu_memory_total": 140 * GIB,
            "gpu_power": 350.0, "gpu_power_limit": 700.0, "gpu_energy": 5000.0, "gpu_temperature": 55.0, "gpu_memory_temperature": 65.0,
            "gpu_sm_clock": 1.98e9, "gpu_memory_clock": 3.201e9, "gpu_fan": 0.3, "gpu_throttle_reasons": 4.0, "gpu_ecc_corrected": 1.0,
            "gpu_ecc_uncorrected": 0.0, "gpu_xid": 0.0, "gpu_pcie_tx": 1024_000.0, "gpu_pcie_rx": 2048_000.0,
        }  # fmt: skip
        assert {name: first[name] for name in wanted} == wanted
        assert heard.latest["gpu:1/mig:2"]["gpu_memory_used"] == GIB
        assert math.isnan(heard.latest["gpu:1/mig:2"]["gpu_power"]), "what a MIG device does not have is no number"
        ours = {process.pid: process for process in heard.processes}
        assert (ours[os.getpid()].memory_used_bytes, ours[os.getpid()].sm_utilization) == (GIB, 0.4)
        assert os.getppid() in ours[os.getpid()].lineage
        assert (ours[4194305].account, ours[4194305].lineage) == ("unknown", (4194305,))

        gpus.set(gpu0_power=NOT_SUPPORTED, gpu0_temperature=900, gpu0_utilization=255, gpu0_fan=None, gpu0_xid=79, gpu0_nvlink_tx=10**6)
        heard.until(lambda: math.isnan(heard.latest["gpu:0"]["gpu_power"]) and heard.latest["gpu:0"]["gpu_xid"] == 79)
        heard.until(lambda: all(math.isnan(heard.latest["gpu:0"][name]) for name in ("gpu_temperature", "gpu_utilization", "gpu_fan")))
        assert heard.latest["gpu:0"]["gpu_memory_used"] == 35 * GIB, "the others go on"
        assert heard.latest["gpu:1"]["gpu_power"] == 350.0

        gpus.set(gpu1_lost=1)
        heard.until(lambda: math.isnan(heard.latest["gpu:1"]["gpu_power"]) and math.isnan(heard.latest["gpu:1"]["gpu_energy"]))
        assert heard.latest["gpu:0"]["gpu_memory_used"] == 35 * GIB
        gpus.set(gpu1_lost=None)
        heard.until(lambda: heard.latest["gpu:1"]["gpu_power"] == 350.0)
        gpus.set(gpu0_power="hang")
        heard.next_line()
        heard.next_line()
        before = heard.rows
        for _ in range(4):
            heard.next_line()
        assert heard.rows > before, "the machine and the slow sensors are read while a fast one hangs"
        gpus.set(gpu0_power=200_000)
        heard.until(lambda: heard.latest["gpu:0"]["gpu_power"] == 200.0)


def test_every_metric_comes_at_the_interval_of_its_session(library: Path, tmp_path: Path) -> None:
    gpus = make_gpus(library, tmp_path)
    with sampling(gpus, 0.1) as (heard, _process):
        heard.until(lambda: len(heard.times_us.get("gpu_pcie_rx", ())) >= 4)
    for metric in ("cpu_utilization", "network_rx", "gpu_power", "gpu_temperature", "gpu_energy", "gpu_nvlink_rx"):
        assert median_gap_s(heard.times_us[metric]) == pytest.approx(0.1, abs=0.05), metric
    for metric in ("gpu_pcie_rx", "gpu_xid", "load_1m", "disk_free"):
        assert median_gap_s(heard.times_us[metric]) == pytest.approx(1.0, abs=0.2), metric


def median_gap_s(times_us: list[int]) -> float:
    return median(later - earlier for earlier, later in pairwise(times_us)) / 1e6


@pytest.mark.parametrize("hung", ["power", "temperature", "pcie_rx"])
def test_a_sensor_that_hangs_leaves_a_gap_in_its_own_thread_only(hung: str, library: Path, tmp_path: Path) -> None:
    gpus = make_gpus(library, tmp_path)
    with sampling(gpus) as (heard, _process):
        heard.until(lambda: {"gpu_power", "gpu_temperature", "gpu_pcie_rx"} <= heard.times_us.keys())
        gpus.set(**{f"gpu0_{hung}": "hang"})
        heard.next_line()
        heard.next_line()
        before = {metric: len(times) for metric, times in heard.times_us.items()}
        others = {"gpu_power", "gpu_temperature", "gpu_pcie_rx", "cpu_utilization"} - {f"gpu_{hung}"}
        heard.until(lambda: all(len(heard.times_us[metric]) >= before[metric] + 2 for metric in others))
        assert len(heard.times_us[f"gpu_{hung}"]) == before[f"gpu_{hung}"]
        gpus.set(**{f"gpu0_{hung}": 1})
        heard.until(lambda: len(heard.times_us[f"gpu_{hung}"]) > before[f"gpu_{hung}"])


def test_a_machine_without_a_gpu_says_the_rest_and_nothing_on_stderr() -> None:
    with sampling(None) as (heard, process):
        heard.until(lambda: "cpu_utilization" in heard.latest.get("machine", {}))
        assert set(heard.latest) == {"machine"}
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0, "it ends with its client"
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_gpus_make_slots(library: Path, tmp_path: Path) -> None:
    gpus = make_gpus(library, tmp_path, 2)
    code = (
        "import json; from gswarm.client.slots import make_slots, sampled_devices, this_machine; machine = this_machine();"
        "slots = make_slots('gpu', 'a', machine); print(json.dumps([[s.device, s.device_name, s.memory_bytes] for s in slots]"
        " + [list(sampled_devices(slots, machine))]))"
    )
    environment = {**os.environ, **gpus.environment}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=True)
    memory = 140 * GIB
    assert json.loads(result.stdout) == [["cuda:0", "NVIDIA H200", memory], ["cuda:1", "NVIDIA H200", memory], ["gpu:0", "gpu:1"]]
    assert result.stderr == ""


def test_a_driver_that_hangs_keeps_no_client_from_starting(library: Path, tmp_path: Path) -> None:
    gpus = make_gpus(library, tmp_path)
    gpus.set(gpu0_name="hang")
    code = "from gswarm.client import slots; print(slots._gpus(patience_s=0.5))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **gpus.environment}, check=True
    )
    assert result.stdout == "()\n"
    assert "did not answer" in result.stderr
    gpus.set(gpu0_name="NVIDIA H200")


LOOKS = """
import json, math, sys, time
from pathlib import Path
from gswarm.profiler.sensors.nvml_source import REFRESH_S, NvmlSource
from nvml_kit import make_gpus

gpus, clock = make_gpus(Path(sys.argv[1]), Path(sys.argv[2]), 2), [0.0]
source = NvmlSource(lambda: clock[0])
for after_s, values in json.loads(sys.argv[3]):
    gpus.set(**values)
    time.sleep(0.05)  # the pretended driver looks at its file every few milliseconds
    clock[0] += REFRESH_S if after_s is None else after_s
    source.refresh()
    read = dict(source.read(frozenset({"gpu_nvlink_tx", "gpu_nvlink_rx", "gpu_power"})))
    print(json.dumps({device: {name: None if math.isnan(value) else value for name, value in one.items()} for device, one in read.items()}))
"""


def looks(library: Path, folder: Path, *steps: tuple[float | None, dict[str, object]]) -> list[dict[str, dict[str, float | None]]]:
    """What two GPUs say so many seconds after another (``None``: when devices are looked for again), once these values are set."""
    environment = {**os.environ, **Gpus(library.parent, folder / "nvml.state").environment}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")) if path)
    command = [sys.executable, "-c", LOOKS, str(library), str(folder), json.dumps(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_nvlink_counters_become_rates_over_all_links(library: Path, tmp_path: Path) -> None:
    said = looks(
        library,
        tmp_path,
        (0, {}),
        (2, {"gpu0_nvlink_tx": 300, "gpu0_nvlink_rx": 1200}),
        (1, {}),
        (1, {"gpu0_nvlink_tx": 0}),
        (1, {"gpu0_nvlink_tx": 10}),
        (1, {"gpu0_nvlink_tx": NOT_SUPPORTED}),
    )
    links, kib = 2, 1024
    assert [(one["gpu:0"]["gpu_nvlink_tx"], one["gpu:0"]["gpu_nvlink_rx"]) for one in said] == [
        (None, None),
        ((300 - 100) * links * kib / 2, (1200 - 200) * links * kib / 2),
        (0.0, 0.0),
        (None, 0.0),
        (10 * links * kib, 0.0),
        (None, 0.0),
    ]


def test_a_gpu_that_was_lost_comes_back_with_its_counters(library: Path, tmp_path: Path) -> None:
    said = looks(
        library,
        tmp_path,
        (0, {}),
        (1, {"gpu1_nvlink_tx": 200}),
        (1, {"gpu1_lost": 1}),
        (None, {}),
        (1, {"gpu1_lost": None, "gpu1_nvlink_tx": 10**6}),
        (None, {}),
        (2, {"gpu1_nvlink_tx": 10**6 + 500}),
    )
    assert [one["gpu:1"]["gpu_power"] for one in said] == [350.0, 350.0, None, None, None, 350.0, 350.0]
    rates = [one["gpu:1"]["gpu_nvlink_tx"] for one in said]
    assert rates[:5] == [None, 100 * 2 * 1024, None, None, None]
    assert rates[6] == 500 * 2 * 1024 / 2
    assert all(one["gpu:0"]["gpu_power"] == 350.0 for one in said), "the other goes on"
