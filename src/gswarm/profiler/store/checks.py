"""What a batch of samples may be. What breaks the form refuses the batch; a value that cannot be becomes n/a and is counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns
from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.store.known import PROCESSES_PER_DEVICE_MAX
from gswarm.profiler.store.sample_store import Times, Values

COLUMNS_MAX = 4096
ROWS_MAX = 1_000_000
DEVICES_MAX = 1024
NAME_CHARS_MAX = 200
SEQ_MAX = 2**62
TIME_MIN_US, TIME_MAX_US = 946_684_800_000_000, 7_258_118_400_000_000
"""The years 2000 and 2200."""

VALUE_MAX = 1e200
"""What is larger counts as infinite: sums of it would be."""

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:/._-]{0,63}")
_OWNER = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,128}")
_SPOOL = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Columns:
    """Checked columns. ``values`` has the shape (metrics, rows) and holds none beyond ``VALUE_MAX``."""

    device: str
    owner: str
    metrics: tuple[str, ...]
    at_us: Times
    values: Values
    infinite: int
    unknown: int
    """Values of metrics that the catalog does not have; they are left out."""


def check_batch(batch: SampleBatch) -> list[Columns]:
    """The columns as arrays. Raises InvalidInputError."""
    if not _SPOOL.fullmatch(batch.spool):
        raise InvalidInputError(f"{batch.spool[:80]!r} is not the name of a spool", "letters, digits, dots, dashes, at most 64")
    if not 0 < batch.seq < SEQ_MAX:
        raise InvalidInputError(f"{batch.seq} is not the number of a batch", "the first of a spool is 1")
    if len(batch.columns) > COLUMNS_MAX or len(batch.devices) > DEVICES_MAX:
        raise InvalidInputError(
            f"a batch of {len(batch.columns)} columns and {len(batch.devices)} devices", f"at most {COLUMNS_MAX} and {DEVICES_MAX}"
        )
    for device in batch.devices:
        _check_device(device)
    return [_columns(column) for column in batch.columns]


def _check_device(device: DeviceInfo) -> None:
    if not _DEVICE.fullmatch(device.device):
        raise InvalidInputError(f"{device.device[:80]!r} is not the name of a device", "gpu:0, gpu:0/mig:1, slot:0 and machine are")
    texts = (device.kind, device.name, device.uuid, device.parent)
    if any(len(text) > NAME_CHARS_MAX for text in texts) or len(device.processes) > PROCESSES_PER_DEVICE_MAX:
        raise InvalidInputError(
            f"the description of {device.device} is too long", f"at most {NAME_CHARS_MAX} characters, {PROCESSES_PER_DEVICE_MAX} processes"
        )
    for process in device.processes:
        if any(len(text) > NAME_CHARS_MAX for text in (process.account, process.command, process.owner)):
            raise InvalidInputError(f"a process of {device.device} is described with too many characters", f"at most {NAME_CHARS_MAX}")


def _columns(column: SampleColumns) -> Columns:
    if not _DEVICE.fullmatch(column.device) or not _OWNER.fullmatch(column.owner):
        raise InvalidInputError(f"{column.device[:80]!r} of {column.owner[:80]!r} is not the name of a device", "gpu:0, slot:0, machine")
    metrics, length = column.metrics, len(column.times_us)
    rows = length // 8
    if not metrics or len(metrics) > len(BY_NAME) or len(set(metrics)) != len(metrics):
        raise InvalidInputError(f"columns of {column.device} name {len(metrics)} metrics", "each once, those of the catalog")
    if length % 8 or not 0 < rows <= ROWS_MAX or len(column.values) != length * len(metrics):
        raise InvalidInputError(
            f"columns of {column.device}: {length} bytes of times and {len(column.values)} of values do not fit {len(metrics)} metrics",
            "8 bytes a time, and 8 a metric and time",
        )
    at_us = np.frombuffer(column.times_us, "<i8")
    if at_us.min() < TIME_MIN_US or at_us.max() >= TIME_MAX_US:
        raise InvalidInputError(f"times of {column.device} are not between the years 2000 and 2200", "look at the client's clock")
    values = np.frombuffer(column.values, "<f8").reshape(len(metrics), rows)
    bad = np.abs(values) > VALUE_MAX
    infinite = int(np.count_nonzero(bad))
    if infinite:
        values = np.where(bad, np.nan, values)
    if all(name in BY_NAME for name in metrics):
        return Columns(column.device, column.owner, metrics, at_us, values, infinite, 0)
    places = [place for place, name in enumerate(metrics) if name in BY_NAME]
    kept = tuple(metrics[place] for place in places)
    return Columns(column.device, column.owner, kept, at_us, values[places], infinite, rows * (len(metrics) - len(places)))
