"""A client's session messages <-> protobuf. Used through ``gswarm.wire.convert``."""

from __future__ import annotations

from typing import assert_never

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, JobId, RunId, SlotId
from gswarm.domain.messages import (
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    ClientMessage,
    Goodbye,
    GrantReturnedReport,
    Heartbeat,
    HeldGrantInfo,
    JobReport,
    OutsidersSeen,
    Register,
)
from gswarm.domain.plan import Checkpoint, Failure, RunSize, SlotSpec
from gswarm.wire import fields
from gswarm.wire._pb import cluster_pb2 as pb


def client_to_proto(message: ClientMessage) -> pb.ClientMessage:
    match message:
        case Register():
            return pb.ClientMessage(register=_register_to_proto(message))
        case Heartbeat():
            return pb.ClientMessage(heartbeat=pb.Heartbeat(sent_at_s=fields.finite(message.sent_at_s, "sent_at_s")))
        case ChunkTrainedReport(seq, run, generation, reached_step, step_time_s):
            checked_s = None if step_time_s is None else fields.duration(step_time_s, "step_time_s")
            return pb.ClientMessage(
                chunk_trained=pb.ChunkTrainedReport(
                    seq=seq, run=fields.name(run, "run"), generation=generation, reached_step=reached_step, step_time_s=checked_s
                )
            )
        case ChunkCommittedReport(seq, run, generation, checkpoint):
            return pb.ClientMessage(
                chunk_committed=pb.ChunkCommittedReport(
                    seq=seq, run=fields.name(run, "run"), generation=generation, checkpoint=checkpoint_to_proto(checkpoint)
                )
            )
        case ChunkFailedReport(seq, run, generation, failure):
            return pb.ClientMessage(
                chunk_failed=pb.ChunkFailedReport(
                    seq=seq, run=fields.name(run, "run"), generation=generation, failure=_failure_to_proto(failure)
                )
            )
        case GrantReturnedReport(seq, run, generation):
            return pb.ClientMessage(grant_returned=pb.GrantReturnedReport(seq=seq, run=fields.name(run, "run"), generation=generation))
        case JobReport():
            return pb.ClientMessage(job_report=_job_report_to_proto(message))
        case OutsidersSeen(slots):
            return pb.ClientMessage(
                outsiders=pb.OutsidersSeen(
                    slots=[
                        pb.OccupiedSlot(slot_index=number, accounts=fields.name(accounts, "accounts"))
                        for number, accounts in fields.limited(slots, "slots", fields.SLOTS_MAX)
                    ]
                )
            )
        case Goodbye(reason):
            return pb.ClientMessage(goodbye=pb.Goodbye(reason=fields.clip(reason)))
        case _:
            assert_never(message)


def client_from_proto(message: pb.ClientMessage) -> ClientMessage:
    kind = message.WhichOneof("kind")
    match kind:
        case "register":
            return _register_from_proto(message.register)
        case "heartbeat":
            return Heartbeat(fields.finite(message.heartbeat.sent_at_s, "sent_at_s"))
        case "chunk_trained":
            trained = message.chunk_trained
            step_time_s = fields.duration(trained.step_time_s, "step_time_s") if trained.HasField("step_time_s") else None
            return ChunkTrainedReport(trained.seq, _run(trained.run), trained.generation, trained.reached_step, step_time_s)
        case "chunk_committed":
            committed = message.chunk_committed
            _require(committed.HasField("checkpoint"), "checkpoint")
            return ChunkCommittedReport(
                committed.seq, _run(committed.run), committed.generation, checkpoint_from_proto(committed.checkpoint)
            )
        case "chunk_failed":
            failed = message.chunk_failed
            _require(failed.HasField("failure"), "failure")
            return ChunkFailedReport(failed.seq, _run(failed.run), failed.generation, _failure_from_proto(failed.failure))
        case "grant_returned":
            returned = message.grant_returned
            return GrantReturnedReport(returned.seq, _run(returned.run), returned.generation)
        case "job_report":
            return _job_report_from_proto(message.job_report)
        case "outsiders":
            occupied = fields.limited(message.outsiders.slots, "slots", fields.SLOTS_MAX)
            return OutsidersSeen(tuple((one.slot_index, fields.name(one.accounts, "accounts")) for one in occupied))
        case "goodbye":
            return Goodbye(fields.text(message.goodbye.reason, "reason"))
        case None:
            raise InvalidInputError("the client's message has no known kind", "host and client must have the same version")
        case _:
            assert_never(kind)


def checkpoint_to_proto(checkpoint: Checkpoint) -> pb.Checkpoint:
    return pb.Checkpoint(
        manifest=fields.digest_to_bytes(checkpoint.manifest, "checkpoint.manifest"),
        step=checkpoint.step,
        weights_digest=fields.digest_to_bytes(checkpoint.weights_digest, "checkpoint.weights_digest"),
        size_bytes=checkpoint.size_bytes,
        metrics=fields.each(checkpoint.metrics, "checkpoint.metrics", fields.PAIRS_MAX, _metric_to_proto),
        holders=fields.names(checkpoint.holders, "checkpoint.holders", fields.HOLDERS_MAX),
    )


def checkpoint_from_proto(checkpoint: pb.Checkpoint) -> Checkpoint:
    return Checkpoint(
        manifest=fields.digest_from_bytes(checkpoint.manifest, "checkpoint.manifest"),
        step=checkpoint.step,
        weights_digest=fields.digest_from_bytes(checkpoint.weights_digest, "checkpoint.weights_digest"),
        size_bytes=checkpoint.size_bytes,
        metrics=fields.each(checkpoint.metrics, "checkpoint.metrics", fields.PAIRS_MAX, _metric_from_proto),
        holders=fields.names(checkpoint.holders, "checkpoint.holders", fields.HOLDERS_MAX),
    )


def _metric_to_proto(metric: tuple[str, float]) -> pb.Metric:
    return pb.Metric(name=fields.name(metric[0], "a metric's name"), value=fields.finite(metric[1], f"metric {metric[0]}"))


def _metric_from_proto(metric: pb.Metric) -> tuple[str, float]:
    checked = fields.name(metric.name, "a metric's name")
    return checked, fields.finite(metric.value, f"metric {checked}")


def _failure_to_proto(failure: Failure) -> pb.Failure:
    return pb.Failure(
        code=fields.name(failure.code, "failure.code"),
        message=fields.clip(failure.message),
        machine_suspect=failure.machine_suspect,
        log_tail=fields.clip_tail(failure.log_tail),
    )


def _failure_from_proto(failure: pb.Failure) -> Failure:
    return Failure(
        code=fields.name(failure.code, "failure.code"),
        message=fields.text(failure.message, "failure.message"),
        machine_suspect=failure.machine_suspect,
        log_tail=fields.text(failure.log_tail, "failure.log_tail", fields.LOG_TAIL_CHARS_MAX),
    )


def _register_to_proto(register: Register) -> pb.Register:
    return pb.Register(
        client=fields.name(register.client, "client"),
        incarnation=fields.name(register.incarnation, "incarnation"),
        version=fields.name(register.version, "version"),
        data_url=fields.name(register.data_url, "data_url", may_be_empty=True, chars_max=fields.URL_CHARS_MAX),
        slots=fields.each(register.slots, "slots", fields.SLOTS_MAX, _slot_to_proto),
        held=fields.each(
            register.held,
            "held",
            fields.HELD_MAX,
            lambda held: pb.HeldGrantInfo(run=fields.name(held.run, "held.run"), generation=held.generation),
        ),
        jobs=fields.names(register.jobs, "jobs", fields.HELD_MAX),
        labels=fields.each(
            register.labels,
            "labels",
            fields.PAIRS_MAX,
            lambda label: pb.Label(key=fields.name(label[0], "label"), value=_label_value(label[1])),
        ),
    )


def _register_from_proto(register: pb.Register) -> Register:
    return Register(
        client=ClientName(fields.name(register.client, "client")),
        incarnation=fields.name(register.incarnation, "incarnation"),
        version=fields.name(register.version, "version"),
        data_url=fields.name(register.data_url, "data_url", may_be_empty=True, chars_max=fields.URL_CHARS_MAX),
        slots=fields.each(register.slots, "slots", fields.SLOTS_MAX, _slot_from_proto),
        held=fields.each(register.held, "held", fields.HELD_MAX, lambda held: HeldGrantInfo(_run(held.run), held.generation)),
        jobs=fields.each(register.jobs, "jobs", fields.HELD_MAX, lambda job: JobId(fields.name(job, "job"))),
        labels=fields.each(
            register.labels,
            "labels",
            fields.PAIRS_MAX,
            lambda label: (fields.name(label.key, "label"), _label_value(label.value)),
        ),
    )


def _slot_to_proto(slot: SlotSpec) -> pb.SlotSpec:
    return pb.SlotSpec(
        id=fields.name(slot.id, "slot.id"),
        device=fields.name(slot.device, "slot.device"),
        threads=slot.threads,
        memory_bytes=slot.memory_bytes,
        device_name=fields.name(slot.device_name, "slot.device_name", may_be_empty=True),
    )


def _slot_from_proto(slot: pb.SlotSpec) -> SlotSpec:
    return SlotSpec(
        id=SlotId(fields.name(slot.id, "slot.id")),
        device=fields.name(slot.device, "slot.device"),
        threads=slot.threads,
        memory_bytes=slot.memory_bytes,
        device_name=fields.name(slot.device_name, "slot.device_name", may_be_empty=True),
    )


def _label_value(value: str) -> str:
    return fields.name(value, "a label's value", may_be_empty=True)


def _job_report_to_proto(report: JobReport) -> pb.JobReport:
    _require((report.result_json is None) != (report.failure is None), "exactly one of result_json and failure")
    return pb.JobReport(
        seq=report.seq,
        job=fields.name(report.job, "job"),
        result_json=None if report.result_json is None else fields.json_text(report.result_json, "result_json"),
        failure=None if report.failure is None else _failure_to_proto(report.failure),
        sizes=fields.each(report.sizes, "sizes", fields.SIZES_MAX, _size_to_proto),
    )


def _job_report_from_proto(report: pb.JobReport) -> JobReport:
    outcome = report.WhichOneof("outcome")
    _require(outcome is not None, "exactly one of result_json and failure")
    return JobReport(
        seq=report.seq,
        job=JobId(fields.name(report.job, "job")),
        result_json=fields.json_text(report.result_json, "result_json") if outcome == "result_json" else None,
        failure=_failure_from_proto(report.failure) if outcome == "failure" else None,
        sizes=fields.each(report.sizes, "sizes", fields.SIZES_MAX, _size_from_proto),
    )


def _size_to_proto(size: RunSize) -> pb.RunSize:
    return pb.RunSize(
        steps_per_epoch=size.steps_per_epoch,
        total_steps=size.total_steps,
        train_rows=size.train_rows,
        eval_rows=size.eval_rows,
        base=fields.digest_to_bytes(size.base, "size.base"),
        data=fields.digest_to_bytes(size.data, "size.data"),
    )


def _size_from_proto(size: pb.RunSize) -> RunSize:
    return RunSize(
        steps_per_epoch=size.steps_per_epoch,
        total_steps=size.total_steps,
        train_rows=size.train_rows,
        eval_rows=size.eval_rows,
        base=fields.digest_from_bytes(size.base, "size.base"),
        data=fields.digest_from_bytes(size.data, "size.data"),
    )


def _run(value: str) -> RunId:
    return RunId(fields.name(value, "run"))


def _require(present: bool, field: str) -> None:
    if not present:
        raise InvalidInputError(f"{field} is missing")
