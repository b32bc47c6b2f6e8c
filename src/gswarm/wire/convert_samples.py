"""Sample batches and their acknowledgements <-> protobuf. Used through ``gswarm.wire.convert``."""

from __future__ import annotations

import re

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.samples import DeviceInfo, DeviceProcess, SampleAck, SampleBatch, SampleColumns
from gswarm.wire import fields
from gswarm.wire._pb import metrics_pb2 as pb

COLUMNS_MAX = 4096
METRICS_MAX = 128
DEVICES_MAX = 1024
PROCESSES_MAX = 1024
"""Of all devices of a batch together."""
VALUES_MAX = 200_000
"""Of all columns of a batch together: 1.6 MB."""
INTERVALS_MAX = 256
LABEL_CHARS_MAX = 128
INTERVAL_S_MIN, INTERVAL_S_MAX = 0.1, 3600.0
KINDS = frozenset({"machine", "gpu", "mig", "slot"})

_SPOOL = re.compile(r"[0-9a-f]{16}")
_DEVICE = re.compile(r"machine|slot:[0-9]{1,4}|gpu:[0-9]{1,4}(/mig:[0-9]{1,4})?")
_OWNER = re.compile(r"|(run|job):[A-Za-z0-9][A-Za-z0-9_-]{0,63}|outsider:.{1,64}")
_CELL_BYTES = 8


def samples_to_proto(batch: SampleBatch) -> pb.SampleBatch:
    _check(batch)
    return pb.SampleBatch(
        spool=batch.spool,
        seq=batch.seq,
        columns=[
            pb.SampleColumns(device=one.device, owner=one.owner, metrics=one.metrics, times_us=one.times_us, values=one.values)
            for one in batch.columns
        ],
        devices=[_device_to_proto(device) for device in batch.devices],
        clock_offset_s=batch.clock_offset_s,
        clock_error_s=batch.clock_error_s,
    )


def samples_from_proto(batch: pb.SampleBatch) -> SampleBatch:
    fields.limited(batch.columns, "columns", COLUMNS_MAX)
    fields.limited(batch.devices, "devices", DEVICES_MAX)
    fields.total((len(one.metrics) for one in batch.columns), "metrics", COLUMNS_MAX * METRICS_MAX)
    fields.total((len(device.processes) for device in batch.devices), "processes", PROCESSES_MAX)
    found = SampleBatch(
        spool=batch.spool,
        seq=batch.seq,
        columns=tuple(SampleColumns(one.device, one.owner, tuple(one.metrics), one.times_us, one.values) for one in batch.columns),
        devices=tuple(_device_from_proto(device) for device in batch.devices),
        clock_offset_s=batch.clock_offset_s if batch.HasField("clock_offset_s") else None,
        clock_error_s=batch.clock_error_s if batch.HasField("clock_error_s") else None,
    )
    _check(found)
    return found


def ack_to_proto(ack: SampleAck) -> pb.SampleAck:
    _check_ack(ack)
    intervals = [pb.SampleInterval(metric=metric, interval_s=interval_s) for metric, interval_s in ack.intervals_s]
    return pb.SampleAck(seq=ack.seq, received_us=ack.received_us, sent_us=ack.sent_us, intervals=intervals)


def ack_from_proto(ack: pb.SampleAck) -> SampleAck:
    fields.limited(ack.intervals, "intervals", INTERVALS_MAX)
    found = SampleAck(ack.seq, ack.received_us, ack.sent_us, tuple((one.metric, one.interval_s) for one in ack.intervals))
    _check_ack(found)
    return found


def _device_to_proto(device: DeviceInfo) -> pb.SampledDevice:
    return pb.SampledDevice(
        device=device.device,
        kind=device.kind,
        name=device.name,
        uuid=device.uuid,
        memory_total_bytes=device.memory_total_bytes,
        parent=device.parent,
        processes=[
            pb.DeviceProcess(
                pid=one.pid,
                account=one.account,
                command=one.command,
                owner=one.owner,
                memory_used_bytes=one.memory_used_bytes,
                sm_utilization=one.sm_utilization,
            )
            for one in device.processes
        ],
    )


def _device_from_proto(device: pb.SampledDevice) -> DeviceInfo:
    return DeviceInfo(
        device=device.device,
        kind=device.kind,
        name=device.name,
        uuid=device.uuid,
        memory_total_bytes=device.memory_total_bytes if device.HasField("memory_total_bytes") else None,
        parent=device.parent,
        processes=tuple(
            DeviceProcess(
                one.pid,
                one.account,
                one.command,
                one.owner,
                one.memory_used_bytes if one.HasField("memory_used_bytes") else None,
                one.sm_utilization if one.HasField("sm_utilization") else None,
            )
            for one in device.processes
        ),
    )


def _check(batch: SampleBatch) -> None:
    """Both directions: what may not be received is not sent either. Raises InvalidInputError."""
    if not _SPOOL.fullmatch(batch.spool):
        raise InvalidInputError("spool is no name of a spool: 16 lower-case hexadecimal digits are needed")
    if batch.seq < 1:
        raise InvalidInputError("seq of a batch of samples begins at 1")
    for columns in fields.limited(batch.columns, "columns", COLUMNS_MAX):
        _check_columns(columns)
    fields.total((len(one.values) // _CELL_BYTES for one in batch.columns), "values", VALUES_MAX)
    for device in fields.limited(batch.devices, "devices", DEVICES_MAX):
        _check_device(device)
    fields.total((len(device.processes) for device in batch.devices), "processes", PROCESSES_MAX)
    if (batch.clock_offset_s is None) != (batch.clock_error_s is None):
        raise InvalidInputError("the clock's offset and its error belong together")
    if batch.clock_offset_s is not None and batch.clock_error_s is not None:
        fields.finite(batch.clock_offset_s, "clock_offset_s")
        fields.duration(batch.clock_error_s, "clock_error_s")


def _check_columns(columns: SampleColumns) -> None:
    _matches(_DEVICE, columns.device, "device")
    _matches(_OWNER, columns.owner, "owner")
    metrics = fields.names(columns.metrics, "metrics", METRICS_MAX)
    rows, rest = divmod(len(columns.times_us), _CELL_BYTES)
    if not metrics or len(set(metrics)) != len(metrics):
        raise InvalidInputError("columns name each of their metrics once")
    if rest or len(columns.values) != rows * len(metrics) * _CELL_BYTES:
        raise InvalidInputError(f"the columns of {columns.device} have different lengths")


def _check_device(device: DeviceInfo) -> None:
    _matches(_DEVICE, device.device, "device")
    if device.kind not in KINDS:
        raise InvalidInputError(f"a device's kind is one of {', '.join(sorted(KINDS))}")
    _matches(_DEVICE, device.parent or device.device, "parent")
    fields.name(device.name, "name", may_be_empty=True)
    fields.name(device.uuid, "uuid", may_be_empty=True, chars_max=LABEL_CHARS_MAX)
    for process in device.processes:
        _matches(_OWNER, process.owner, "owner")
        fields.name(process.account, "account", may_be_empty=True, chars_max=LABEL_CHARS_MAX)
        fields.name(process.command, "command", may_be_empty=True, chars_max=LABEL_CHARS_MAX)
        if process.sm_utilization is not None and not 0.0 <= process.sm_utilization <= 1.0:
            raise InvalidInputError(f"sm_utilization {process.sm_utilization} cannot be: it is a share")


def _check_ack(ack: SampleAck) -> None:
    for metric, interval_s in fields.limited(ack.intervals_s, "intervals", INTERVALS_MAX):
        fields.name(metric, "metric")
        if not INTERVAL_S_MIN <= interval_s <= INTERVAL_S_MAX:
            raise InvalidInputError(f"an interval of {interval_s} s", f"{INTERVAL_S_MIN} to {INTERVAL_S_MAX:.0f} s are possible")


def _matches(pattern: re.Pattern[str], value: str, field: str) -> None:
    if not pattern.fullmatch(value) or not value.isprintable():
        raise InvalidInputError(f"{field} {value[:80]!r} cannot be")
