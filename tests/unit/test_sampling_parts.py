"""The pure parts of sampling: whose a process is, columns, clocks, intervals, peaks."""

from __future__ import annotations

import math
from array import array
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gswarm.client.sampling.attribution import NAMED_MAX, describe, outsiders, owner_of, shares
from gswarm.client.sampling.clock_offset import ClockOffset
from gswarm.client.sampling.collector import COLUMNS_MAX, Collector
from gswarm.client.sampling.columns import BATCH_VALUES_MAX, batches, column
from gswarm.client.sampling.owners import outsiders_on
from gswarm.domain.ids import RunId, SlotId
from gswarm.domain.messages import OutsidersSeen
from gswarm.domain.plan import SlotSpec
from gswarm.domain.samples import DeviceInfo, SampleAck, SampleColumns
from gswarm.profiler.catalog import METRICS
from gswarm.profiler.peaks import peak_flops
from gswarm.profiler.sensors.machine_source import MachineSource
from gswarm.profiler.sensors.nvml_source import NvmlSource, _Gpu
from gswarm.profiler.sensors.readings import ProcessReading, Rate, plausible
from gswarm.profiler.sensors.sampler import Gathered, due_groups
from gswarm.profiler.sensors.sampler_lines import SamplerLine, decode_line, encode_line
from gswarm.training.protocol import RangeStarted

OURS = {100: "run:r1", 200: "job:j1", 1: ""}


def process(pid: int, *lineage: int, account: str = "anna", memory: int | None = 10, sm: float | None = 0.5) -> ProcessReading:
    return ProcessReading("gpu:0", pid, account, "python", (pid, *lineage), memory, sm)


def test_processes_belong_to_who_started_them() -> None:
    assert owner_of(process(100, 1), OURS) == "run:r1"
    assert owner_of(process(101, 100, 1), OURS) == "run:r1", "a data loader's"
    assert owner_of(process(201, 200, 1), OURS) == "job:j1"
    assert owner_of(process(300, 1), OURS) == ""
    assert owner_of(process(400, 7), OURS) == "outsider:anna"
    assert owner_of(process(400, account=""), OURS) == "outsider:unknown"


def test_shares_are_summed_by_owner() -> None:
    found = shares([process(100, sm=0.7), process(101, 100, sm=0.6), process(400, memory=None, sm=None), process(300, 1)], OURS)
    assert [(one.owner, one.memory_used, one.sm_utilization) for one in found[:1]] == [
        ("outsider:anna", found[0].memory_used, found[0].sm_utilization)
    ]
    assert math.isnan(found[0].memory_used)
    assert [(one.owner, one.memory_used, one.sm_utilization) for one in found[1:]] == [("run:r1", 20.0, 1.0)]
    assert outsiders([process(100), process(400), process(401, account="bob")], OURS) == {"gpu:0": "anna, bob"}
    assert outsiders([process(4, account="unknown")], OURS) == {}, "it may be one of ours, seen from a container"
    assert describe([process(100)], OURS)["gpu:0"][0].owner == "run:r1"
    assert len(describe([process(100)] * 300, OURS)["gpu:0"]) == NAMED_MAX


def test_slots_on_devices_of_outsiders_are_named() -> None:
    told = outsiders_on(("gpu:0", "gpu:0", "gpu:1"), {"gpu:0": "a" * 500, "gpu:7": "bob"})
    assert told == OutsidersSeen(((0, "a" * 200), (1, "a" * 200)))


def test_columns_hold_metric_after_metric() -> None:
    made = column("slot:0", "", ("a", "b"), [(1.0, (1.0, 2.0)), (2.5, (3.0, math.nan))])
    assert list(array("q", made.times_us)) == [1_000_000, 2_500_000]
    values = array("d", made.values)
    assert list(values[:3]) == [1.0, 3.0, 2.0]
    assert math.isnan(values[3])


def test_no_batch_is_too_large_for_a_message() -> None:
    rows = [(float(at), (float(at), -float(at))) for at in range(BATCH_VALUES_MAX)]
    long = column("machine", "", ("a", "b"), rows)
    groups = list(batches([long, column("gpu:0", "", ("a",), rows[:1])]))
    pieces = [piece for group in groups for piece in group]
    assert all(sum(len(piece.values) for piece in group) <= 8 * BATCH_VALUES_MAX for group in groups)
    assert b"".join(piece.times_us for piece in pieces[:-1]) == long.times_us
    half = [array("d", piece.values) for piece in pieces[:-1]]
    assert [value for values in half for value in values[: len(values) // 2]] == [row[1][0] for row in rows]
    assert [value for values in half for value in values[len(values) // 2 :]] == [row[1][1] for row in rows]
    assert list(batches([])) == []


def test_the_quickest_answer_says_how_late_the_clock_is() -> None:
    clock = ClockOffset()
    assert clock.best is None
    clock.sent(1, 1_000_000)
    clock.heard(SampleAck(1, 6_100_000, 6_200_000), 1_400_000)  # 0.1 s there, 0.1 s at the host, 0.2 s back: 5 s behind
    assert clock.best is not None
    assert (clock.best.offset_s, clock.best.error_s) == pytest.approx((4.95, 0.15))
    clock.sent(2, 2_000_000)
    clock.heard(SampleAck(2, 7_010_000, 7_010_000), 2_020_000)
    assert (clock.best.offset_s, clock.best.error_s) == pytest.approx((5.0, 0.01))
    clock.sent(3, 3_000_000)
    clock.heard(SampleAck(3, 8_500_000, 8_500_000), 4_000_000)
    assert clock.best.error_s == pytest.approx(0.01)
    clock.sent(4, 9_000_000)
    clock.heard(SampleAck(4, 8_500_000, 8_500_000), 8_000_000)  # the clock was set back meanwhile
    assert clock.best.error_s == pytest.approx(0.01)
    clock.heard(SampleAck(99, 1, 1), 2)


def test_every_metric_is_read_as_often_as_it_is_asked_for_and_can_be() -> None:
    every = frozenset(metric.name for metric in METRICS)
    for asked_s, possible_s in ((0.001, 0.1), (0.1, 0.1), (0.25, 0.25), (1.0, 1.0), (30.0, 1.0), (1e9, 1.0)):
        groups = due_groups(every, {"*": asked_s})
        rates = {name: interval_s for interval_s, names in groups.items() for name in names}
        assert rates == {metric.name: max(possible_s, metric.fastest_s) for metric in METRICS}
    assert due_groups(frozenset({"gpu_power"}), {"gpu_power": 0.5, "*": 9.0}) == {0.5: frozenset({"gpu_power"})}
    assert due_groups(frozenset({"cpu_utilization"}), {"cpu_utilization": 0.1}) == {0.1: frozenset({"cpu_utilization"})}
    assert due_groups(frozenset({"gpu_pcie_rx"}), {"gpu_pcie_rx": 0.1}) == {1.0: frozenset({"gpu_pcie_rx"})}
    assert set(due_groups(every, {})) == {1.0}


def test_a_rate_is_the_mean_of_the_time_between_two_samples_of_its_own_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: {"eth0": link(100 * now[0]), "lo": link(1e9)})
    source = MachineSource(Path("/"), lambda: now[0])
    source.read(frozenset({"network_rx", "network_tx"}))
    for now[0] in (0.25, 0.5, 0.75):
        assert source.read(frozenset({"network_rx"})) == [("machine", {"network_rx": 100.0})]
    now[0] = 1.0
    assert source.read(frozenset({"network_rx", "network_tx"})) == [("machine", {"network_rx": 100.0, "network_tx": 100.0})]
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: {"eth0": link(1000.0)})
    now[0] = 1.5
    source.read(frozenset({"network_rx"}))
    now[0] = 2.0
    assert source.read(frozenset({"network_rx", "network_tx"})) == [("machine", {"network_rx": 0.0, "network_tx": 900.0})]


def made_system(root: Path, hardware: tuple[str, ...], virtual: tuple[str, ...]) -> Path:
    """A folder like the kernel's /sys."""
    for name in (*hardware, *virtual):
        (root / name).mkdir(parents=True)
    for name in hardware:
        (root / name / "device").mkdir()
    return root


@pytest.mark.parametrize("inside", ["machine", "container", "nothing"])
def test_bytes_that_pass_several_devices_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    links = ("class/net/eth0", "class/net/eth1"), ("class/net/bond0", "class/net/bond0.7", "class/net/docker0", "class/net/lo")
    disks = ("block/nvme0n1", "block/cciss!c0d0"), ("block/md0", "block/dm-0", "block/loop0")
    match inside:
        case "machine":
            system = made_system(tmp_path, (*links[0], *disks[0]), (*links[1], *disks[1]))
        case "container":
            system = made_system(tmp_path, (), (*links[1], *disks[1]))
        case _:
            system = tmp_path / "none"
    now = [0.0]
    names = [name.rpartition("/")[2] for name in (*links[0], *links[1])]
    counted = ["nvme0n1", "nvme0n1p1", "cciss/c0d0", "md0", "dm-0", "loop0"]

    def of_disks(perdisk: bool = False) -> object:
        one = SimpleNamespace(read_bytes=10 * now[0], write_bytes=1 * now[0])
        return dict.fromkeys(counted, one) if perdisk else SimpleNamespace(read_bytes=50 * now[0], write_bytes=5 * now[0])

    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: {name: link(100 * now[0]) for name in names})
    monkeypatch.setattr(psutil, "disk_io_counters", of_disks)
    source = MachineSource(Path("/"), lambda: now[0], system)
    due = frozenset({"network_rx", "network_tx", "disk_read", "disk_write"})
    source.read(due)
    now[0] = 1.0
    ((_, values),) = source.read(due)
    all_links, all_disks = (200, 20) if inside == "machine" else (500, 50)
    assert values == {"network_rx": all_links, "network_tx": all_links, "disk_read": all_disks, "disk_write": all_disks / 10}


def link(count: float) -> SimpleNamespace:
    return SimpleNamespace(bytes_recv=count, bytes_sent=count)


def test_a_link_that_is_silent_once_does_not_count_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now, silent = [0.0], [False]

    def fields(_handle: object, asked: list[int | tuple[int, int]]) -> list[tuple[float | None, int]]:
        counts = {0: 10**9 + 100 * now[0], 1: 50 * now[0], 2: None}  # the third is not there
        found = [(None if silent[0] and link == 0 else counts[link], 0) for _, link in asked[1:]]  # type: ignore[misc]
        return [(40, 0), *found]

    source = NvmlSource(lambda: now[0])
    monkeypatch.setattr(source, "_nvml", SimpleNamespace(nvmlQueryFieldValues=fields, NVMLError=OSError))
    monkeypatch.setattr(source, "_gpus", (_Gpu(DeviceInfo("gpu:0", "gpu", "g"), None, handle=1, nvlinks=3),))
    found = []
    for now[0], silent[0] in ((0.0, False), (1.0, False), (2.0, True), (3.0, False), (4.0, False)):
        ((_, values),) = source.read(frozenset({"gpu_nvlink_tx", "gpu_nvlink_rx", "gpu_memory_temperature"}))
        assert values["gpu_nvlink_tx"] == pytest.approx(values["gpu_nvlink_rx"], nan_ok=True)
        assert values["gpu_memory_temperature"] == 40
        found.append(values["gpu_nvlink_tx"] / 1024)
    assert math.isnan(found[0])
    assert found[1:] == [150, 50, 50, 150]


def test_the_first_look_at_the_cpu_is_about_nothing() -> None:
    source = MachineSource(Path("/"))
    due = frozenset({"cpu_utilization", "load_5m"})
    first, second = source.read(due)[0][1], source.read(due)[0][1]
    assert math.isnan(first["cpu_utilization"])
    assert not math.isnan(second["cpu_utilization"])
    assert first["load_5m"] >= 0


def test_what_a_sampler_gathers_is_bounded() -> None:
    gathered = Gathered(rows_max=3)
    for at in range(5):
        gathered.add(at, "machine", {"load_1m": float(at)})
    line = gathered.take()
    assert (len(line.columns[0].times_us), line.missed) == (3 * 8, 2)
    gathered.add(9, "machine", {"load_1m": 1.0})
    assert gathered.take().missed == 0


def test_lines_survive_the_pipe() -> None:
    columns = SampleColumns("gpu:0", "", ("gpu_power",), b"\x01" * 8, array("d", [math.nan]).tobytes())
    line = SamplerLine((columns,), (DeviceInfo("gpu:0", "gpu", "H200"),), (process(1, 2),), 5, (("gpu", 12.5),), 3)
    assert decode_line(encode_line(line)) == line
    assert encode_line(line).count(b"\n") == 1


def test_readings_that_cannot_be_are_none() -> None:
    assert plausible("ratio", 1.2) == 1.0
    assert [
        value for value in (plausible("ratio", 2.55), plausible("celsius", 4294967295.0), plausible("watts", -1.0)) if value == value
    ] == []
    assert plausible("celsius", 0.0) == 0.0
    rate = Rate()
    assert math.isnan(rate.per_second(10, 1.0))
    assert rate.per_second(30, 2.0) == 20.0
    assert math.isnan(rate.per_second(5, 3.0)), "it began anew"
    assert math.isnan(rate.per_second(6, 3.0)), "no time has passed"


@pytest.mark.parametrize(
    ("product", "tera"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
    ],
)
def test_peaks_are_known_by_product(product: str, tera: float) -> None:
    assert peak_flops(product) == tera * 1e12


@pytest.mark.parametrize("product", ["Tesla T4", "", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "Intel(R) Xeon(R) Processor"])
def test_other_peaks_are_not(product: str) -> None:
    assert math.isnan(peak_flops(product))


def test_the_collector_tells_devices_when_they_change() -> None:
    now = [10.0]
    slots = (SlotSpec(SlotId("a/0"), "cuda:0", 1, 5, "NVIDIA H200"),)
    collector = Collector(slots, ("gpu:0",), lambda: {100: "run:r1"}, lambda: now[0])
    gpu = DeviceInfo("gpu:0", "gpu", "NVIDIA H200")
    collector.line(SamplerLine(devices=(gpu,), processes=(process(100), process(400)), processes_at_us=9_000_000))
    first = collector.take()
    assert [(one.device, [process.owner for process in one.processes]) for one in first.devices] == [
        ("gpu:0", ["run:r1", "outsider:anna"]),
        ("slot:0", []),
    ]
    assert [(one.device, one.owner) for one in first.columns] == [("gpu:0", "outsider:anna"), ("gpu:0", "run:r1")]
    assert collector.outsiders == {"gpu:0": "anna"}
    now[0] = 12.5
    again = collector.take()
    assert again.devices == ()
    assert [(one.device, one.metrics[0], len(one.times_us)) for one in again.columns] == [("slot:0", "train_share", 16)]
    collector.heard(0, RangeStarted(RunId("r1"), 1, was_hot=True, setup_s=0.0))
    assert collector.meters[0].run == "r1"
    collector.tell_all_devices()
    assert len(collector.take().devices) == 2


def test_what_nobody_takes_or_took_is_counted_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector((), (), dict, lambda: 10.0)
    one = column("machine", "", ("load_1m",), [(1.0, (1.0,)), (2.0, (1.0,))])
    collector.line(SamplerLine((one,) * (COLUMNS_MAX - 1)))
    assert collector.lost_rows == 0
    for _ in range(3):
        collector.line(SamplerLine((one, one)))
    assert collector.lost_rows == 5 * 2
    assert caplog.text.count("samples are being lost") == 1
    assert len(collector.take().columns) == COLUMNS_MAX
    collector.line(SamplerLine((one,), missed=7))
    assert collector.lost_rows == 17
    assert len(collector.take().columns) == 1


def test_two_processes_of_one_outsider_are_told_apart() -> None:
    collector = Collector((), (), lambda: OURS, lambda: 10.0)
    gpu = DeviceInfo("gpu:0", "gpu", "NVIDIA H200")

    def told(first: float | None) -> list[float | None] | None:
        found = (process(400, sm=first), process(401, sm=0.31))
        collector.line(SamplerLine(devices=(gpu,), processes=found, processes_at_us=9_000_000))
        devices = collector.take().devices
        return [one.sm_utilization for one in devices[0].processes] if devices else None

    assert told(0.5) == [0.5, 0.31]
    assert told(0.52) is None, "that little is no news"
    assert told(0.9) == [0.9, 0.31]
    assert told(None) == [None, 0.31]
