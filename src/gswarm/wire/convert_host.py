"""The host's session messages <-> protobuf. Used through ``gswarm.wire.convert``."""

from __future__ import annotations

from typing import assert_never

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import JobId, RunId
from gswarm.domain.messages import (
    TRUSTED_CODE_MAX,
    Ack,
    DropOrder,
    GrantOrder,
    HostMessage,
    JobOrder,
    Registered,
    RevokeOrder,
    Shutdown,
    StopOrder,
    SweepOrder,
)
from gswarm.domain.plan import JobKind
from gswarm.domain.spec import Durability
from gswarm.wire import fields
from gswarm.wire._pb import cluster_pb2 as pb
from gswarm.wire.convert_client import checkpoint_from_proto, checkpoint_to_proto

_DURABILITIES: dict[str, pb.Durability] = {
    Durability.LOCAL.value: pb.DURABILITY_LOCAL,
    Durability.REPLICATED.value: pb.DURABILITY_REPLICATED,
    Durability.STORE.value: pb.DURABILITY_STORE,
}
_DURABILITY_NAMES = {number: durability for durability, number in _DURABILITIES.items()}
_JOB_KINDS: dict[JobKind, pb.JobKind] = {
    JobKind.PREPARE: pb.JOB_KIND_PREPARE,
    JobKind.VERIFY: pb.JOB_KIND_VERIFY,
    JobKind.EXPORT: pb.JOB_KIND_EXPORT,
}
_JOB_KIND_NAMES = {number: kind for kind, number in _JOB_KINDS.items()}


def host_to_proto(message: HostMessage) -> pb.HostMessage:
    match message:
        case Registered(lease_timeout_s, host_version, cluster_id):
            return pb.HostMessage(
                registered=pb.Registered(
                    lease_timeout_s=fields.duration(lease_timeout_s, "lease_timeout_s"),
                    host_version=fields.name(host_version, "host_version"),
                    cluster_id=fields.name(cluster_id, "cluster_id"),
                )
            )
        case GrantOrder():
            return pb.HostMessage(grant=_grant_to_proto(message))
        case StopOrder(run, generation):
            return pb.HostMessage(stop=pb.StopOrder(run=fields.name(run, "run"), generation=generation))
        case RevokeOrder(run, generation):
            return pb.HostMessage(revoke=pb.RevokeOrder(run=fields.name(run, "run"), generation=generation))
        case DropOrder(run):
            return pb.HostMessage(drop=pb.DropOrder(run=fields.name(run, "run")))
        case JobOrder(job, kind, request_json):
            order = pb.JobOrder(
                job=fields.name(job, "job"), kind=_JOB_KINDS[kind], request_json=fields.json_text(request_json, "request_json")
            )
            return pb.HostMessage(job=order)
        case Ack(seq, accepted, error_code, text):
            checked = fields.name(error_code, "error_code", may_be_empty=True)
            return pb.HostMessage(ack=pb.Ack(seq=seq, accepted=accepted, error_code=checked, message=fields.clip(text)))
        case SweepOrder(roots):
            digests = fields.each(roots, "roots", fields.ROOTS_MAX, lambda root: fields.digest_to_bytes(root, "roots"))
            return pb.HostMessage(sweep=pb.SweepOrder(roots=digests))
        case Shutdown(reason):
            return pb.HostMessage(shutdown=pb.Shutdown(reason=fields.clip(reason)))
        case _:
            assert_never(message)


def host_from_proto(message: pb.HostMessage) -> HostMessage:
    kind = message.WhichOneof("kind")
    match kind:
        case "registered":
            return Registered(
                fields.duration(message.registered.lease_timeout_s, "lease_timeout_s"),
                fields.name(message.registered.host_version, "host_version"),
                fields.name(message.registered.cluster_id, "cluster_id"),
            )
        case "grant":
            return _grant_from_proto(message.grant)
        case "stop":
            return StopOrder(_run(message.stop.run), message.stop.generation)
        case "revoke":
            return RevokeOrder(_run(message.revoke.run), message.revoke.generation)
        case "drop":
            return DropOrder(_run(message.drop.run))
        case "job":
            job = message.job
            if job.kind not in _JOB_KIND_NAMES:
                raise InvalidInputError(f"job kind {job.kind} is unknown", "host and client must have the same version")
            return JobOrder(
                JobId(fields.name(job.job, "job")), _JOB_KIND_NAMES[job.kind], fields.json_text(job.request_json, "request_json")
            )
        case "ack":
            ack = message.ack
            return Ack(
                ack.seq,
                ack.accepted,
                fields.name(ack.error_code, "error_code", may_be_empty=True),
                fields.text(ack.message, "message"),
            )
        case "sweep":
            return SweepOrder(
                fields.each(message.sweep.roots, "roots", fields.ROOTS_MAX, lambda root: fields.digest_from_bytes(root, "roots"))
            )
        case "shutdown":
            return Shutdown(fields.text(message.shutdown.reason, "reason"))
        case None:
            raise InvalidInputError("the host's message has no known kind", "host and client must have the same version")
        case _:
            assert_never(kind)


def _grant_to_proto(grant: GrantOrder) -> pb.GrantOrder:
    if grant.durability not in _DURABILITIES:
        raise InvalidInputError(f"durability {grant.durability!r} is unknown")
    return pb.GrantOrder(
        run=fields.name(grant.run, "run"),
        generation=grant.generation,
        slot_index=grant.slot_index,
        from_step=grant.from_step,
        to_step=grant.to_step,
        total_steps=grant.total_steps,
        steps_per_epoch=grant.steps_per_epoch,
        spec_json=fields.spec_to_json(grant.spec),
        base=fields.digest_to_bytes(grant.base, "base"),
        data=fields.digest_to_bytes(grant.data, "data"),
        checkpoint=None if grant.checkpoint is None else checkpoint_to_proto(grant.checkpoint),
        warm_start=grant.warm_start,
        durability=_DURABILITIES[grant.durability],
        first_step=grant.first_step,
        trusted_code=fields.each(
            grant.trusted_code, "trusted_code", TRUSTED_CODE_MAX, lambda digest: fields.digest_to_bytes(digest, "trusted_code")
        ),
    )


def _grant_from_proto(grant: pb.GrantOrder) -> GrantOrder:
    if grant.durability not in _DURABILITY_NAMES:
        raise InvalidInputError(f"durability {grant.durability} is unknown", "host and client must have the same version")
    return GrantOrder(
        run=_run(grant.run),
        generation=grant.generation,
        slot_index=grant.slot_index,
        from_step=grant.from_step,
        to_step=grant.to_step,
        total_steps=grant.total_steps,
        steps_per_epoch=grant.steps_per_epoch,
        spec=fields.spec_from_json(grant.spec_json),
        base=fields.digest_from_bytes(grant.base, "base"),
        data=fields.digest_from_bytes(grant.data, "data"),
        checkpoint=checkpoint_from_proto(grant.checkpoint) if grant.HasField("checkpoint") else None,
        warm_start=grant.warm_start,
        durability=_DURABILITY_NAMES[grant.durability],
        first_step=grant.first_step,
        trusted_code=fields.each(
            grant.trusted_code, "trusted_code", TRUSTED_CODE_MAX, lambda digest: fields.digest_from_bytes(digest, "trusted_code")
        ),
    )


def _run(value: str) -> RunId:
    return RunId(fields.name(value, "run"))
