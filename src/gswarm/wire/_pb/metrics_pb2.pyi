from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MetricBatch(_message.Message):
    __slots__ = ("seq", "columns", "logs")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    columns: _containers.RepeatedCompositeFieldContainer[StepColumns]
    logs: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, seq: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[StepColumns, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...

class StepColumns(_message.Message):
    __slots__ = ("run", "generation", "names", "steps", "at_s", "values")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    AT_S_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    run: str
    generation: int
    names: _containers.RepeatedScalarFieldContainer[str]
    steps: _containers.RepeatedScalarFieldContainer[int]
    at_s: _containers.RepeatedScalarFieldContainer[float]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, run: _Optional[str] = ..., generation: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., steps: _Optional[_Iterable[int]] = ..., at_s: _Optional[_Iterable[float]] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("run", "at_s", "level", "text")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AT_S_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    run: str
    at_s: float
    level: str
    text: str
    def __init__(self, run: _Optional[str] = ..., at_s: _Optional[float] = ..., level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class MetricAck(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class SampleBatch(_message.Message):
    __slots__ = ("spool", "seq", "columns", "devices", "clock_offset_s", "clock_error_s")
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_S_FIELD_NUMBER: _ClassVar[int]
    CLOCK_ERROR_S_FIELD_NUMBER: _ClassVar[int]
    spool: str
    seq: int
    columns: _containers.RepeatedCompositeFieldContainer[SampleColumns]
    devices: _containers.RepeatedCompositeFieldContainer[SampledDevice]
    clock_offset_s: float
    clock_error_s: float
    def __init__(self, spool: _Optional[str] = ..., seq: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[SampleColumns, _Mapping]]] = ..., devices: _Optional[_Iterable[_Union[SampledDevice, _Mapping]]] = ..., clock_offset_s: _Optional[float] = ..., clock_error_s: _Optional[float] = ...) -> None: ...

class SampleColumns(_message.Message):
    __slots__ = ("device", "owner", "metrics", "times_us", "values")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TIMES_US_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    device: str
    owner: str
    metrics: _containers.RepeatedScalarFieldContainer[str]
    times_us: bytes
    values: bytes
    def __init__(self, device: _Optional[str] = ..., owner: _Optional[str] = ..., metrics: _Optional[_Iterable[str]] = ..., times_us: _Optional[bytes] = ..., values: _Optional[bytes] = ...) -> None: ...

class SampledDevice(_message.Message):
    __slots__ = ("device", "kind", "name", "uuid", "memory_total_bytes", "parent", "processes")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    device: str
    kind: str
    name: str
    uuid: str
    memory_total_bytes: int
    parent: str
    processes: _containers.RepeatedCompositeFieldContainer[DeviceProcess]
    def __init__(self, device: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., uuid: _Optional[str] = ..., memory_total_bytes: _Optional[int] = ..., parent: _Optional[str] = ..., processes: _Optional[_Iterable[_Union[DeviceProcess, _Mapping]]] = ...) -> None: ...

class DeviceProcess(_message.Message):
    __slots__ = ("pid", "account", "command", "owner", "memory_used_bytes", "sm_utilization")
    PID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SM_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    pid: int
    account: str
    command: str
    owner: str
    memory_used_bytes: int
    sm_utilization: float
    def __init__(self, pid: _Optional[int] = ..., account: _Optional[str] = ..., command: _Optional[str] = ..., owner: _Optional[str] = ..., memory_used_bytes: _Optional[int] = ..., sm_utilization: _Optional[float] = ...) -> None: ...

class SampleAck(_message.Message):
    __slots__ = ("seq", "received_us", "sent_us", "intervals")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_US_FIELD_NUMBER: _ClassVar[int]
    SENT_US_FIELD_NUMBER: _ClassVar[int]
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    received_us: int
    sent_us: int
    intervals: _containers.RepeatedCompositeFieldContainer[SampleInterval]
    def __init__(self, seq: _Optional[int] = ..., received_us: _Optional[int] = ..., sent_us: _Optional[int] = ..., intervals: _Optional[_Iterable[_Union[SampleInterval, _Mapping]]] = ...) -> None: ...

class SampleInterval(_message.Message):
    __slots__ = ("metric", "interval_s")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    metric: str
    interval_s: float
    def __init__(self, metric: _Optional[str] = ..., interval_s: _Optional[float] = ...) -> None: ...
