"""Every message survives the wire, and no bytes do anything but decode or be refused as invalid."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gswarm.domain import messages as m
from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.ids import ClientName, Digest, JobId, RunId, SlotId
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunSize, SlotSpec
from gswarm.domain.spec import Durability, FinetuningType, RunSpec, Stage
from gswarm.wire import convert, fields
from gswarm.wire._pb import cluster_pb2, metrics_pb2, pool_pb2

settings.register_profile("wire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
FAST = settings(settings.get_profile("wire"), max_examples=60)

ids = st.text(st.characters(categories=("Lu", "Ll", "Nd", "Pd")), min_size=1, max_size=12)
runs = ids.map(RunId)
counts = st.integers(0, 2**63)
steps = st.integers(0, 2**40)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=50)
printable = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
durations = st.floats(0, 1e300)
digests = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
json_texts = st.sampled_from(["{}", '{"a": [1, "ä"]}', ""])


def tuples(items: st.SearchStrategy[Any], size: int = 4) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=size).map(tuple)


checkpoints = st.builds(
    Checkpoint,
    manifest=digests,
    step=steps,
    weights_digest=digests,
    size_bytes=counts,
    metrics=tuples(st.tuples(ids, finite)),
    holders=tuples(ids),
)
failures = st.builds(Failure, code=ids, message=texts, machine_suspect=st.booleans(), log_tail=texts)
sizes = st.builds(RunSize, steps_per_epoch=counts, total_steps=counts, train_rows=counts, eval_rows=counts, base=digests, data=digests)
slots = st.builds(SlotSpec, id=ids.map(SlotId), device=ids, threads=st.integers(0, 4096), memory_bytes=counts, device_name=printable)
specs = st.builds(
    RunSpec,
    model_name_or_path=texts,
    dataset=texts,
    stage=st.sampled_from(Stage),
    finetuning_type=st.sampled_from(FinetuningType),
    quantization_bit=st.none() | st.sampled_from([4, 8]),
    lora_alpha=st.none() | st.integers(1, 1024),
    lora_target=tuples(ids),
    learning_rate=finite,
    val_size=finite,
    max_steps=st.none() | steps,
    bf16=st.booleans(),
    neftune_noise_alpha=st.none() | finite,
    seed=st.integers(-(2**31), 2**63),
)
grants = st.builds(
    m.GrantOrder,
    run=runs,
    generation=counts,
    slot_index=st.integers(0, 1000),
    from_step=steps,
    to_step=steps,
    total_steps=steps,
    steps_per_epoch=steps,
    spec=specs,
    base=digests,
    data=digests,
    checkpoint=st.none() | checkpoints,
    warm_start=st.booleans(),
    durability=st.sampled_from([durability.value for durability in Durability]),
    first_step=steps,
    trusted_code=tuples(digests),
)
registers = st.builds(
    m.Register,
    client=ids.map(ClientName),
    incarnation=ids,
    version=ids,
    data_url=printable,
    slots=tuples(slots),
    held=tuples(st.builds(m.HeldGrantInfo, runs, counts)),
    jobs=tuples(ids.map(JobId)),
    labels=tuples(st.tuples(ids, printable)),
)
job_reports = st.builds(m.JobReport, counts, ids.map(JobId), json_texts, st.none(), tuples(sizes)) | st.builds(
    m.JobReport, counts, ids.map(JobId), st.none(), failures, tuples(sizes)
)
CLIENT_MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    m.Register: registers,
    m.Heartbeat: st.builds(m.Heartbeat, finite),
    m.ChunkTrainedReport: st.builds(m.ChunkTrainedReport, counts, runs, counts, steps, st.none() | durations),
    m.ChunkCommittedReport: st.builds(m.ChunkCommittedReport, counts, runs, counts, checkpoints),
    m.ChunkFailedReport: st.builds(m.ChunkFailedReport, counts, runs, counts, failures),
    m.GrantReturnedReport: st.builds(m.GrantReturnedReport, counts, runs, counts),
    m.JobReport: job_reports,
    m.Goodbye: st.builds(m.Goodbye, texts),
    m.OutsidersSeen: st.builds(m.OutsidersSeen, tuples(st.tuples(st.integers(0, 1000), ids))),
}
HOST_MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    m.Registered: st.builds(m.Registered, durations, ids, ids),
    m.GrantOrder: grants,
    m.StopOrder: st.builds(m.StopOrder, runs, counts),
    m.RevokeOrder: st.builds(m.RevokeOrder, runs, counts),
    m.DropOrder: st.builds(m.DropOrder, runs),
    m.JobOrder: st.builds(m.JobOrder, ids.map(JobId), st.sampled_from(JobKind), json_texts),
    m.Ack: st.builds(m.Ack, counts, st.booleans(), printable, texts),
    m.SweepOrder: st.builds(m.SweepOrder, tuples(digests)),
    m.Shutdown: st.builds(m.Shutdown, texts),
}
step_metrics = st.builds(m.StepMetrics, st.sampled_from([RunId("r1"), RunId("r2")]), counts, steps, finite, tuples(st.tuples(ids, finite)))
log_lines = st.builds(m.LogLine, runs, finite, ids, texts)
batches = st.builds(m.MetricBatch, counts, tuples(step_metrics, 12), tuples(log_lines))


def test_every_message_type_is_covered() -> None:
    assert CLIENT_MESSAGES.keys() == set(get_args(m.ClientMessage))
    assert HOST_MESSAGES.keys() == set(get_args(m.HostMessage))


@pytest.mark.parametrize("kind", CLIENT_MESSAGES, ids=lambda kind: kind.__name__)
def test_client_messages_survive(kind: type) -> None:
    @FAST
    @given(CLIENT_MESSAGES[kind])
    def survives(message: m.ClientMessage) -> None:
        assert convert.from_proto(convert.to_proto(message)) == message
        assert convert.decode_client_message(convert.encode(message)) == message

    survives()


@pytest.mark.parametrize("kind", HOST_MESSAGES, ids=lambda kind: kind.__name__)
def test_host_messages_survive(kind: type) -> None:
    @FAST
    @given(HOST_MESSAGES[kind])
    def survives(message: m.HostMessage) -> None:
        assert convert.from_proto(convert.to_proto(message)) == message
        assert convert.decode_host_message(convert.encode(message)) == message

    survives()


@FAST
@given(batches)
def test_batches_survive_up_to_the_order_of_runs(batch: m.MetricBatch) -> None:
    arrived = convert.decode_metric_batch(convert.encode(batch))
    assert (arrived.seq, arrived.logs) == (batch.seq, batch.logs)
    assert Counter(arrived.steps) == Counter(batch.steps)

    def order(steps: tuple[m.StepMetrics, ...], like: m.StepMetrics) -> list[m.StepMetrics]:
        names = [name for name, _ in like.values]
        return [
            step for step in steps if (step.run, step.generation, [name for name, _ in step.values]) == (like.run, like.generation, names)
        ]

    assert all(order(arrived.steps, step) == order(batch.steps, step) for step in batch.steps)
    assert convert.decode_metric_batch(convert.encode(arrived)) == arrived


def test_diverged_losses_travel() -> None:
    values = (("loss", math.nan), ("grad_norm", math.inf), ("reward", -math.inf))
    batch = m.MetricBatch(1, (m.StepMetrics(RunId("r1"), 1, 1, 0.0, values),))
    arrived = dict(convert.decode_metric_batch(convert.encode(batch)).steps[0].values)
    assert math.isnan(arrived["loss"])
    assert (arrived["grad_norm"], arrived["reward"]) == (math.inf, -math.inf)


@FAST
@given(st.lists(digests, max_size=5), st.dictionaries(digests, st.lists(st.tuples(ids, ids), max_size=3), max_size=4))
def test_locations_survive(asked: list[Digest], found: dict[Digest, list[tuple[str, str]]]) -> None:
    assert convert.decode_locate_request(convert.encode_locate_request(asked)) == tuple(asked)
    assert convert.decode_locate_reply(convert.encode_locate_reply(found)) == found


DECODERS = [
    convert.decode_client_message,
    convert.decode_host_message,
    convert.decode_metric_batch,
    convert.decode_metric_ack,
    convert.decode_locate_request,
    convert.decode_locate_reply,
]
valid_bytes = st.one_of(*CLIENT_MESSAGES.values(), *HOST_MESSAGES.values(), batches).map(convert.encode)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
def test_arbitrary_bytes_are_decoded_or_refused(decode: Any) -> None:
    @settings(FAST, max_examples=150)
    @given(st.binary(max_size=200) | valid_bytes, st.integers(0, 10_000), st.binary(max_size=3))
    def decoded_or_refused(data: bytes, at: int, patch: bytes) -> None:
        at %= len(data) + 1
        for damaged in (data, data[:at], data[:at] + patch + data[at + len(patch) :], data[:at] + patch + data[at:]):
            with contextlib.suppress(InvalidInputError):
                decode(damaged)

    decoded_or_refused()


@FAST
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.just(b"[" * 60_000))
def test_arbitrary_specs_are_decoded_or_refused(spec_json: bytes) -> None:
    with pytest.raises(InvalidInputError):
        fields.spec_from_json(spec_json)


DIGEST = Digest("ab" * 32)
CHECKPOINT = Checkpoint(DIGEST, 1, DIGEST, 1)
FAILURE = Failure("training", "m")
REGISTER = m.Register(ClientName("a"), "i", "0.1.0", "", ())
GRANT = m.GrantOrder(RunId("r1"), 1, 0, 0, 1, 1, 1, RunSpec("m", "d"), DIGEST, DIGEST, None, False, "local")
STEP = m.StepMetrics(RunId("r1"), 1, 1, 0.0, (("loss", 1.0),))


@pytest.mark.parametrize(
    "bad",
    [
        m.Heartbeat(math.nan),
        m.DropOrder(RunId("")),
        m.DropOrder(RunId("r" * 257)),
        m.DropOrder(RunId("r\n1")),
        m.DropOrder(RunId("\ud800")),
        m.StopOrder(RunId("r1"), -1),
        m.StopOrder(RunId("r1"), 2**64),
        m.StopOrder(RunId("r1"), 1.5),  # type: ignore[arg-type]
        m.ChunkTrainedReport(1, RunId("r1"), 1, 1, -0.5),
        m.ChunkTrainedReport(1, RunId("r1"), 1, 1, math.inf),
        m.ChunkCommittedReport(1, RunId("r1"), 1, dataclasses.replace(CHECKPOINT, manifest=Digest("AB" * 32))),
        m.ChunkCommittedReport(1, RunId("r1"), 1, dataclasses.replace(CHECKPOINT, weights_digest=Digest("ab"))),
        m.ChunkCommittedReport(1, RunId("r1"), 1, dataclasses.replace(CHECKPOINT, metrics=(("eval_loss", math.nan),))),
        m.ChunkCommittedReport(1, RunId("r1"), 1, dataclasses.replace(CHECKPOINT, metrics=(("", 1.0),))),
        m.JobReport(1, JobId("j1")),
        m.JobReport(1, JobId("j1"), "{}", FAILURE),
        dataclasses.replace(REGISTER, jobs=tuple(JobId("j") for _ in range(fields.HELD_MAX + 1))),
        dataclasses.replace(REGISTER, data_url="u" * (fields.URL_CHARS_MAX + 1)),
        dataclasses.replace(GRANT, durability="forever"),
        dataclasses.replace(GRANT, spec=RunSpec("m", "d", learning_rate=math.inf)),
        dataclasses.replace(GRANT, spec=RunSpec("m" * fields.SPEC_BYTES_MAX, "d")),
        dataclasses.replace(GRANT, spec=RunSpec("\ud800", "d")),
        m.SweepOrder((DIGEST,) * (fields.ROOTS_MAX + 1)),
        m.MetricBatch(1, (STEP,) * (fields.ROWS_MAX + 1)),
        m.MetricBatch(1, (dataclasses.replace(STEP, at_s=math.nan),)),
        m.MetricBatch(-1),
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_what_may_not_be_received_is_not_sent(bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        convert.encode(bad)


def test_the_largest_lists_fit_into_a_message() -> None:
    convert.encode(m.SweepOrder((DIGEST,) * fields.ROOTS_MAX))
    convert.encode(m.MetricBatch(1, (STEP,) * fields.ROWS_MAX))
    convert.encode(m.JobReport(1, JobId("j1"), "{}", sizes=(RunSize(2**20, 2**20, 2**20, 2**20, DIGEST, DIGEST),) * fields.SIZES_MAX))
    convert.encode_locate_reply({Digest(f"{index:064x}"): [("https://10.0.0.7:41234", "node-1")] for index in range(fields.LOCATE_MAX)})


def test_messages_that_are_too_large_as_a_whole_are_refused() -> None:
    with pytest.raises(LimitError):
        convert.encode(m.JobOrder(JobId("j1"), JobKind.PREPARE, "x" * (fields.JSON_BYTES_MAX + 1)))
    lines = (m.LogLine(RunId("r1"), 0.0, "info", "x" * 16_000),) * 300
    with pytest.raises(LimitError, match="MetricBatch has"):
        convert.encode(m.MetricBatch(1, (), lines))
    with pytest.raises(LimitError):
        convert.decode_metric_batch(bytes(convert.MESSAGE_BYTES_MAX + 1))


def test_text_for_people_is_cut_and_repaired_not_refused() -> None:
    failure = Failure("trainer_died", "m" * 20_000, True, "start" + "\udcff" + "l" * fields.LOG_TAIL_CHARS_MAX + "end")
    report = convert.decode_client_message(convert.encode(m.ChunkFailedReport(1, RunId("r1"), 1, failure)))
    assert isinstance(report, m.ChunkFailedReport)
    assert len(report.failure.message) == fields.TEXT_CHARS_MAX
    assert len(report.failure.log_tail) == fields.LOG_TAIL_CHARS_MAX
    assert report.failure.log_tail.endswith("end")
    line = m.LogLine(RunId("r1"), 0.0, "info", "bad \udcff byte")
    assert convert.decode_metric_batch(convert.encode(m.MetricBatch(1, (), (line,)))).logs[0].text == "bad ? byte"


def _wire(message: Any, **changes: Any) -> bytes:
    """An encoded message with fields of its only kind changed behind the converter's back."""
    proto = convert.to_proto(message)
    inner = getattr(proto, proto.WhichOneof("kind"))
    for name, value in changes.items():
        setattr(inner, name, value)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (convert.decode_client_message, b""),
        (convert.decode_host_message, b""),
        (convert.decode_client_message, cluster_pb2.ClientMessage(chunk_committed={"run": "r1"}).SerializeToString()),
        (convert.decode_client_message, cluster_pb2.ClientMessage(chunk_failed={"run": "r1"}).SerializeToString()),
        (convert.decode_client_message, cluster_pb2.ClientMessage(job_report={"job": "j1"}).SerializeToString()),
        (convert.decode_client_message, cluster_pb2.ClientMessage(goodbye={"reason": "x" * 20_000}).SerializeToString()),
        (convert.decode_host_message, _wire(GRANT, durability=0)),
        (convert.decode_host_message, _wire(GRANT, durability=77)),
        (convert.decode_host_message, _wire(GRANT, base=b"short")),
        (convert.decode_host_message, _wire(GRANT, spec_json=b"{}")),
        (convert.decode_host_message, _wire(GRANT, spec_json=b'{"model_name_or_path": "m", "dataset": "d", "nonsense": 1}')),
        (convert.decode_host_message, _wire(GRANT, spec_json=b'{"model_name_or_path": "m", "dataset": "d", "lora_rank": "8"}')),
        (convert.decode_host_message, _wire(GRANT, spec_json=b'{"model_name_or_path": "m", "dataset": "d", "learning_rate": 1e999}')),
        (convert.decode_host_message, _wire(m.JobOrder(JobId("j1"), JobKind.EXPORT, "{}"), kind=9)),
        (convert.decode_host_message, _wire(m.Registered(1.0, "1", "c"), lease_timeout_s=math.inf)),
        (convert.decode_metric_batch, metrics_pb2.MetricBatch(columns=[{"run": "r1", "names": ["a"], "steps": [1]}]).SerializeToString()),
        (
            convert.decode_metric_batch,
            metrics_pb2.MetricBatch(
                columns=[{"run": "r1", "names": ["a", "b"], "steps": [1], "at_s": [1], "values": [1]}]
            ).SerializeToString(),
        ),
        (
            convert.decode_metric_batch,
            metrics_pb2.MetricBatch(columns=[{"run": "r1", "steps": [1] * 40_000, "at_s": [1] * 40_000}] * 2).SerializeToString(),
        ),
        (convert.decode_locate_request, pool_pb2.LocateRequest(digests=[b"x"]).SerializeToString()),
        (convert.decode_locate_request, pool_pb2.LocateRequest(digests=[bytes(32)] * (fields.LOCATE_MAX + 1)).SerializeToString()),
        (
            convert.decode_locate_reply,
            pool_pb2.LocateReply(locations=[{"digest": bytes(32), "sources": [{"holder": "a"}]}]).SerializeToString(),
        ),
    ],
)
def test_what_breaks_the_contract_is_refused(decode: Any, data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode(data)


def test_equal_specs_have_equal_bytes() -> None:
    assert fields.spec_to_json(RunSpec("m", "d")) == fields.spec_to_json(RunSpec("m", "d", lora_rank=8))
