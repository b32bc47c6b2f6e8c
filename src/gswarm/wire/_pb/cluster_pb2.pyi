from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_LOCAL: _ClassVar[Durability]
    DURABILITY_REPLICATED: _ClassVar[Durability]
    DURABILITY_STORE: _ClassVar[Durability]

class JobKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_KIND_UNSPECIFIED: _ClassVar[JobKind]
    JOB_KIND_PREPARE: _ClassVar[JobKind]
    JOB_KIND_VERIFY: _ClassVar[JobKind]
    JOB_KIND_EXPORT: _ClassVar[JobKind]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_LOCAL: Durability
DURABILITY_REPLICATED: Durability
DURABILITY_STORE: Durability
JOB_KIND_UNSPECIFIED: JobKind
JOB_KIND_PREPARE: JobKind
JOB_KIND_VERIFY: JobKind
JOB_KIND_EXPORT: JobKind

class ClientMessage(_message.Message):
    __slots__ = ("register", "heartbeat", "chunk_trained", "chunk_committed", "chunk_failed", "grant_returned", "job_report", "goodbye", "outsiders")
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_TRAINED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FAILED_FIELD_NUMBER: _ClassVar[int]
    GRANT_RETURNED_FIELD_NUMBER: _ClassVar[int]
    JOB_REPORT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    OUTSIDERS_FIELD_NUMBER: _ClassVar[int]
    register: Register
    heartbeat: Heartbeat
    chunk_trained: ChunkTrainedReport
    chunk_committed: ChunkCommittedReport
    chunk_failed: ChunkFailedReport
    grant_returned: GrantReturnedReport
    job_report: JobReport
    goodbye: Goodbye
    outsiders: OutsidersSeen
    def __init__(self, register: _Optional[_Union[Register, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., chunk_trained: _Optional[_Union[ChunkTrainedReport, _Mapping]] = ..., chunk_committed: _Optional[_Union[ChunkCommittedReport, _Mapping]] = ..., chunk_failed: _Optional[_Union[ChunkFailedReport, _Mapping]] = ..., grant_returned: _Optional[_Union[GrantReturnedReport, _Mapping]] = ..., job_report: _Optional[_Union[JobReport, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., outsiders: _Optional[_Union[OutsidersSeen, _Mapping]] = ...) -> None: ...

class HostMessage(_message.Message):
    __slots__ = ("registered", "grant", "stop", "revoke", "drop", "job", "ack", "sweep", "shutdown")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    SWEEP_FIELD_NUMBER: _ClassVar[int]
    SHUTDOWN_FIELD_NUMBER: _ClassVar[int]
    registered: Registered
    grant: GrantOrder
    stop: StopOrder
    revoke: RevokeOrder
    drop: DropOrder
    job: JobOrder
    ack: Ack
    sweep: SweepOrder
    shutdown: Shutdown
    def __init__(self, registered: _Optional[_Union[Registered, _Mapping]] = ..., grant: _Optional[_Union[GrantOrder, _Mapping]] = ..., stop: _Optional[_Union[StopOrder, _Mapping]] = ..., revoke: _Optional[_Union[RevokeOrder, _Mapping]] = ..., drop: _Optional[_Union[DropOrder, _Mapping]] = ..., job: _Optional[_Union[JobOrder, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., sweep: _Optional[_Union[SweepOrder, _Mapping]] = ..., shutdown: _Optional[_Union[Shutdown, _Mapping]] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("client", "incarnation", "version", "data_url", "slots", "held", "jobs", "labels")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_URL_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    client: str
    incarnation: str
    version: str
    data_url: str
    slots: _containers.RepeatedCompositeFieldContainer[SlotSpec]
    held: _containers.RepeatedCompositeFieldContainer[HeldGrantInfo]
    jobs: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    def __init__(self, client: _Optional[str] = ..., incarnation: _Optional[str] = ..., version: _Optional[str] = ..., data_url: _Optional[str] = ..., slots: _Optional[_Iterable[_Union[SlotSpec, _Mapping]]] = ..., held: _Optional[_Iterable[_Union[HeldGrantInfo, _Mapping]]] = ..., jobs: _Optional[_Iterable[str]] = ..., labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...) -> None: ...

class SlotSpec(_message.Message):
    __slots__ = ("id", "device", "threads", "memory_bytes", "device_name")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    device: str
    threads: int
    memory_bytes: int
    device_name: str
    def __init__(self, id: _Optional[str] = ..., device: _Optional[str] = ..., threads: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., device_name: _Optional[str] = ...) -> None: ...

class HeldGrantInfo(_message.Message):
    __slots__ = ("run", "generation")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    run: str
    generation: int
    def __init__(self, run: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("sent_at_s",)
    SENT_AT_S_FIELD_NUMBER: _ClassVar[int]
    sent_at_s: float
    def __init__(self, sent_at_s: _Optional[float] = ...) -> None: ...

class ChunkTrainedReport(_message.Message):
    __slots__ = ("seq", "run", "generation", "reached_step", "step_time_s")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REACHED_STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_TIME_S_FIELD_NUMBER: _ClassVar[int]
    seq: int
    run: str
    generation: int
    reached_step: int
    step_time_s: float
    def __init__(self, seq: _Optional[int] = ..., run: _Optional[str] = ..., generation: _Optional[int] = ..., reached_step: _Optional[int] = ..., step_time_s: _Optional[float] = ...) -> None: ...

class ChunkCommittedReport(_message.Message):
    __slots__ = ("seq", "run", "generation", "checkpoint")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    run: str
    generation: int
    checkpoint: Checkpoint
    def __init__(self, seq: _Optional[int] = ..., run: _Optional[str] = ..., generation: _Optional[int] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class ChunkFailedReport(_message.Message):
    __slots__ = ("seq", "run", "generation", "failure")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    run: str
    generation: int
    failure: Failure
    def __init__(self, seq: _Optional[int] = ..., run: _Optional[str] = ..., generation: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class GrantReturnedReport(_message.Message):
    __slots__ = ("seq", "run", "generation")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    seq: int
    run: str
    generation: int
    def __init__(self, seq: _Optional[int] = ..., run: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class JobReport(_message.Message):
    __slots__ = ("seq", "job", "result_json", "failure", "sizes")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    job: str
    result_json: str
    failure: Failure
    sizes: _containers.RepeatedCompositeFieldContainer[RunSize]
    def __init__(self, seq: _Optional[int] = ..., job: _Optional[str] = ..., result_json: _Optional[str] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., sizes: _Optional[_Iterable[_Union[RunSize, _Mapping]]] = ...) -> None: ...

class RunSize(_message.Message):
    __slots__ = ("steps_per_epoch", "total_steps", "train_rows", "eval_rows", "base", "data")
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_ROWS_FIELD_NUMBER: _ClassVar[int]
    EVAL_ROWS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    steps_per_epoch: int
    total_steps: int
    train_rows: int
    eval_rows: int
    base: bytes
    data: bytes
    def __init__(self, steps_per_epoch: _Optional[int] = ..., total_steps: _Optional[int] = ..., train_rows: _Optional[int] = ..., eval_rows: _Optional[int] = ..., base: _Optional[bytes] = ..., data: _Optional[bytes] = ...) -> None: ...

class OutsidersSeen(_message.Message):
    __slots__ = ("slots",)
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    slots: _containers.RepeatedCompositeFieldContainer[OccupiedSlot]
    def __init__(self, slots: _Optional[_Iterable[_Union[OccupiedSlot, _Mapping]]] = ...) -> None: ...

class OccupiedSlot(_message.Message):
    __slots__ = ("slot_index", "accounts")
    SLOT_INDEX_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    slot_index: int
    accounts: str
    def __init__(self, slot_index: _Optional[int] = ..., accounts: _Optional[str] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("manifest", "step", "weights_digest", "size_bytes", "metrics", "holders")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    step: int
    weights_digest: bytes
    size_bytes: int
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    holders: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, manifest: _Optional[bytes] = ..., step: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., holders: _Optional[_Iterable[str]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "machine_suspect", "log_tail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_SUSPECT_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    machine_suspect: bool
    log_tail: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., machine_suspect: _Optional[bool] = ..., log_tail: _Optional[str] = ...) -> None: ...

class Registered(_message.Message):
    __slots__ = ("lease_timeout_s", "host_version", "cluster_id")
    LEASE_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    HOST_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    lease_timeout_s: float
    host_version: str
    cluster_id: str
    def __init__(self, lease_timeout_s: _Optional[float] = ..., host_version: _Optional[str] = ..., cluster_id: _Optional[str] = ...) -> None: ...

class GrantOrder(_message.Message):
    __slots__ = ("run", "generation", "slot_index", "from_step", "to_step", "total_steps", "steps_per_epoch", "spec_json", "base", "data", "checkpoint", "warm_start", "durability", "first_step", "trusted_code")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SLOT_INDEX_FIELD_NUMBER: _ClassVar[int]
    FROM_STEP_FIELD_NUMBER: _ClassVar[int]
    TO_STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_CODE_FIELD_NUMBER: _ClassVar[int]
    run: str
    generation: int
    slot_index: int
    from_step: int
    to_step: int
    total_steps: int
    steps_per_epoch: int
    spec_json: bytes
    base: bytes
    data: bytes
    checkpoint: Checkpoint
    warm_start: bool
    durability: Durability
    first_step: int
    trusted_code: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, run: _Optional[str] = ..., generation: _Optional[int] = ..., slot_index: _Optional[int] = ..., from_step: _Optional[int] = ..., to_step: _Optional[int] = ..., total_steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., spec_json: _Optional[bytes] = ..., base: _Optional[bytes] = ..., data: _Optional[bytes] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., warm_start: _Optional[bool] = ..., durability: _Optional[_Union[Durability, str]] = ..., first_step: _Optional[int] = ..., trusted_code: _Optional[_Iterable[bytes]] = ...) -> None: ...

class StopOrder(_message.Message):
    __slots__ = ("run", "generation")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    run: str
    generation: int
    def __init__(self, run: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class RevokeOrder(_message.Message):
    __slots__ = ("run", "generation")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    run: str
    generation: int
    def __init__(self, run: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class DropOrder(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class JobOrder(_message.Message):
    __slots__ = ("job", "kind", "request_json")
    JOB_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_JSON_FIELD_NUMBER: _ClassVar[int]
    job: str
    kind: JobKind
    request_json: str
    def __init__(self, job: _Optional[str] = ..., kind: _Optional[_Union[JobKind, str]] = ..., request_json: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("seq", "accepted", "error_code", "message")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    accepted: bool
    error_code: str
    message: str
    def __init__(self, seq: _Optional[int] = ..., accepted: _Optional[bool] = ..., error_code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class SweepOrder(_message.Message):
    __slots__ = ("roots",)
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, roots: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Shutdown(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...
