"""What a sampler process and its client say to each other, one JSON object a line. Nothing is pickled.

Client to sampler: ``{"intervals": {"*": 1.0, "gpu_power": 0.1}}``. Sampler to client: a ``SamplerLine``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gswarm.domain.errors import CorruptDataError
from gswarm.domain.samples import DeviceInfo, SampleColumns
from gswarm.profiler.sensors.readings import ProcessReading

LINE_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SamplerLine:
    """What was measured since the line before.

    Attributes:
        devices: all, where they have changed; else ``None``.
        processes: all on GPUs, where they were looked at; else ``None``.
        stuck: sensors (a reader's name) that have not answered for long, and for how many seconds.
        missed: readings that found no room because nobody took the lines.
    """

    columns: tuple[SampleColumns, ...] = ()
    devices: tuple[DeviceInfo, ...] | None = None
    processes: tuple[ProcessReading, ...] | None = None
    processes_at_us: int = 0
    stuck: tuple[tuple[str, float], ...] = ()
    missed: int = 0


@dataclass(frozen=True, slots=True)
class _Columns:
    device: str
    owner: str
    metrics: tuple[str, ...]
    times_us: str
    values: str


@dataclass(frozen=True, slots=True)
class _Line:
    columns: tuple[_Columns, ...] = ()
    devices: tuple[DeviceInfo, ...] | None = None
    processes: tuple[ProcessReading, ...] | None = None
    processes_at_us: int = 0
    stuck: tuple[tuple[str, float], ...] = ()
    missed: int = 0


_LINE = TypeAdapter(_Line)


def encode_line(line: SamplerLine) -> bytes:
    document: dict[str, Any] = {
        "columns": [
            {
                "device": one.device,
                "owner": one.owner,
                "metrics": one.metrics,
                "times_us": base64.b64encode(one.times_us).decode(),
                "values": base64.b64encode(one.values).decode(),
            }
            for one in line.columns
        ],
        "devices": None if line.devices is None else [asdict(device) for device in line.devices],
        "processes": None if line.processes is None else [asdict(process) for process in line.processes],
        "processes_at_us": line.processes_at_us,
        "stuck": line.stuck,
        "missed": line.missed,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def decode_line(data: bytes) -> SamplerLine:
    """Raises CorruptDataError."""
    try:
        line = _LINE.validate_json(data)
        columns = tuple(
            SampleColumns(
                one.device,
                one.owner,
                one.metrics,
                base64.b64decode(one.times_us, validate=True),
                base64.b64decode(one.values, validate=True),
            )
            for one in line.columns
        )
    except (ValidationError, ValueError) as error:
        raise CorruptDataError(f"the sampler process says what cannot be read: {str(error).splitlines()[0]}") from None
    return SamplerLine(columns, line.devices, line.processes, line.processes_at_us, line.stuck, line.missed)


def encode_intervals(intervals_s: dict[str, float]) -> bytes:
    return json.dumps({"intervals": intervals_s}).encode() + b"\n"


def decode_intervals(data: bytes) -> dict[str, float]:
    """Raises CorruptDataError."""
    try:
        found = json.loads(data)["intervals"]
        return {str(metric): float(interval_s) for metric, interval_s in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CorruptDataError("the client says what cannot be read") from None
