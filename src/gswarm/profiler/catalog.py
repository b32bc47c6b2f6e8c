"""The metrics that gswarm samples by time: their names, units and kinds. Charts, exports, /metrics and alerts all read this table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

INTERVAL_MIN_S, INTERVAL_MAX_S = 0.1, 1.0
"""Between samples, as sessions may ask. What nobody asks for comes once in the longest, and all of it is kept."""


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    """Only grows, until its machine or process starts again."""


class Group(StrEnum):
    """What measures it, and so what it belongs to."""

    GPU = "gpu"
    MACHINE = "machine"
    TRAINING = "training"
    PROCESS = "process"
    """An owner's share of a GPU."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric. ``unit`` is one of UNITS; values are in base units, shares are 0..1."""

    name: str
    unit: str
    group: Group
    help: str
    kind: Kind = Kind.GAUGE
    fastest_s: float = INTERVAL_MIN_S
    """Seconds between two samples at least, whatever a session asks: its sensor takes long, or what it tells changes no faster."""
    interval_s: float = 1.0
    """Seconds within which the next sample comes while nothing is wrong, whatever sessions ask for."""


UNITS = ("ratio", "bytes", "bytes_per_second", "watts", "joules", "celsius", "hertz", "seconds", "per_second", "count", "bitmask")

_OWN_S = 10.0
"""What the client says of itself."""
_STEP_S = 60.0
"""What training says of each step: it may be a long one."""

_G, _M, _T, _P = Group.GPU, Group.MACHINE, Group.TRAINING, Group.PROCESS
METRICS = (
    MetricInfo("gpu_utilization", "ratio", _G, "Share of time in which a kernel ran"),
    MetricInfo("gpu_memory_utilization", "ratio", _G, "Share of time in which device memory was read or written"),
    MetricInfo("gpu_memory_used", "bytes", _G, "Device memory in use"),
    MetricInfo("gpu_memory_total", "bytes", _G, "Device memory", fastest_s=1.0),
    MetricInfo("gpu_power", "watts", _G, "Power draw"),
    MetricInfo("gpu_power_limit", "watts", _G, "Enforced power limit", fastest_s=1.0),
    MetricInfo("gpu_energy", "joules", _G, "Energy since the driver was loaded", Kind.COUNTER),
    MetricInfo("gpu_temperature", "celsius", _G, "Core temperature"),
    MetricInfo("gpu_memory_temperature", "celsius", _G, "Temperature of the device memory"),
    MetricInfo("gpu_sm_clock", "hertz", _G, "Clock of the streaming multiprocessors"),
    MetricInfo("gpu_memory_clock", "hertz", _G, "Clock of the device memory"),
    MetricInfo("gpu_fan", "ratio", _G, "Fan speed, of its maximum"),
    MetricInfo("gpu_pcie_rx", "bytes_per_second", _G, "Read from the PCIe bus", fastest_s=1.0),
    MetricInfo("gpu_pcie_tx", "bytes_per_second", _G, "Written to the PCIe bus", fastest_s=1.0),
    MetricInfo("gpu_nvlink_rx", "bytes_per_second", _G, "Received over all NVLinks"),
    MetricInfo("gpu_nvlink_tx", "bytes_per_second", _G, "Sent over all NVLinks"),
    MetricInfo("gpu_throttle_reasons", "bitmask", _G, "Why clocks are held down, as NVML's bit mask"),
    MetricInfo("gpu_ecc_corrected", "count", _G, "Corrected memory errors since the driver was loaded", Kind.COUNTER, fastest_s=1.0),
    MetricInfo("gpu_ecc_uncorrected", "count", _G, "Uncorrected memory errors since the driver was loaded", Kind.COUNTER, fastest_s=1.0),
    MetricInfo("gpu_xid", "count", _G, "Number of the last XID error; none is 0", fastest_s=1.0),
    MetricInfo("process_memory_used", "bytes", _P, "Device memory of the owner's processes", fastest_s=1.0),
    MetricInfo("process_sm_utilization", "ratio", _P, "Share of the streaming multiprocessors of the owner's processes", fastest_s=1.0),
    MetricInfo("cpu_utilization", "ratio", _M, "Share of all cores in use"),
    MetricInfo("load_1m", "count", _M, "Processes that ran or waited to, mean of a minute", fastest_s=1.0),
    MetricInfo("load_5m", "count", _M, "The same of five minutes", fastest_s=1.0),
    MetricInfo("load_15m", "count", _M, "The same of fifteen minutes", fastest_s=1.0),
    MetricInfo("memory_used", "bytes", _M, "Memory in use"),
    MetricInfo("memory_total", "bytes", _M, "Memory", fastest_s=1.0),
    MetricInfo("swap_used", "bytes", _M, "Swap in use"),
    MetricInfo("disk_read", "bytes_per_second", _M, "Read from disks"),
    MetricInfo("disk_write", "bytes_per_second", _M, "Written to disks"),
    MetricInfo("disk_free", "bytes", _M, "Free where the client keeps its data", fastest_s=1.0),
    MetricInfo("disk_total", "bytes", _M, "Size of the disk where the client keeps its data", fastest_s=1.0),
    MetricInfo("network_rx", "bytes_per_second", _M, "Received over the network, without loopback"),
    MetricInfo("network_tx", "bytes_per_second", _M, "Sent over the network, without loopback"),
    MetricInfo("samples_lost", "count", _M, "Samples that were measured and not kept, since the client began", Kind.COUNTER, 1.0, _OWN_S),
    MetricInfo("clock_offset", "seconds", _M, "What to add to the client's clock for the host's", fastest_s=0.5),
    MetricInfo("step_time", "seconds", _T, "Time of an optimizer step", interval_s=_STEP_S, fastest_s=0.5),
    MetricInfo("tokens_rate", "per_second", _T, "Tokens trained a second", interval_s=_STEP_S, fastest_s=0.5),
    MetricInfo("samples_rate", "per_second", _T, "Samples trained a second", interval_s=_STEP_S, fastest_s=0.5),
    MetricInfo("mfu", "ratio", _T, "Model FLOPs utilisation, of the device's peak where that is known", interval_s=_STEP_S, fastest_s=0.5),
    MetricInfo("data_wait", "ratio", _T, "Share of time in which training waited for its data", interval_s=_STEP_S, fastest_s=0.5),
    MetricInfo("train_share", "ratio", _T, "Share of time in which the slot trained", fastest_s=1.0),
    MetricInfo("swap_share", "ratio", _T, "Share of time in which the slot changed from one run to another", fastest_s=1.0),
    MetricInfo("idle_share", "ratio", _T, "Share of time in which the slot did nothing", fastest_s=1.0),
)
BY_NAME = {metric.name: metric for metric in METRICS}
METRICS_HINT = "'gswarm profiler metrics' and GET /api/v1/profiler/metrics list them"
