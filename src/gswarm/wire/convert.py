"""The only door between domain messages and bytes on the wire.

Both directions are strict: what is missing, too long, of the wrong form or not finite where it must be raises
``InvalidInputError`` (``LimitError`` for a message that is too large as a whole) before anybody acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, overload

from google.protobuf.message import DecodeError, EncodeError, Message

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import ClientMessage, HostMessage, MetricBatch
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.wire._pb import cluster_pb2, metrics_pb2, pool_pb2
from gswarm.wire.convert_client import client_from_proto, client_to_proto
from gswarm.wire.convert_host import host_from_proto, host_to_proto
from gswarm.wire.convert_samples import ack_from_proto, ack_to_proto, samples_from_proto, samples_to_proto
from gswarm.wire.convert_streams import (
    batch_from_proto,
    batch_to_proto,
    locate_reply_from_proto,
    locate_reply_to_proto,
    locate_request_from_proto,
    locate_request_to_proto,
    reach_reply_from_proto,
    reach_reply_to_proto,
    reach_request_from_proto,
    reach_request_to_proto,
)

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Of any one message on the gRPC port."""

DomainMessage = ClientMessage | HostMessage | MetricBatch
ProtoMessage = cluster_pb2.ClientMessage | cluster_pb2.HostMessage | metrics_pb2.MetricBatch
PB = TypeVar("PB", bound=Message)
T = TypeVar("T")
U = TypeVar("U")


@overload
def to_proto(message: ClientMessage) -> cluster_pb2.ClientMessage: ...
@overload
def to_proto(message: HostMessage) -> cluster_pb2.HostMessage: ...
@overload
def to_proto(message: MetricBatch) -> metrics_pb2.MetricBatch: ...
def to_proto(message: DomainMessage) -> ProtoMessage:
    """Raises:
    InvalidInputError: a field is out of bounds.
    """
    if isinstance(message, MetricBatch):
        return _checked(batch_to_proto, message)
    if isinstance(message, ClientMessage):
        return _checked(client_to_proto, message)
    return _checked(host_to_proto, message)


@overload
def from_proto(message: cluster_pb2.ClientMessage) -> ClientMessage: ...
@overload
def from_proto(message: cluster_pb2.HostMessage) -> HostMessage: ...
@overload
def from_proto(message: metrics_pb2.MetricBatch) -> MetricBatch: ...
def from_proto(message: ProtoMessage) -> DomainMessage:
    """Raises:
    InvalidInputError: a field is missing or out of bounds, or the kind is unknown.
    """
    match message:
        case metrics_pb2.MetricBatch():
            return batch_from_proto(message)
        case cluster_pb2.ClientMessage():
            return client_from_proto(message)
        case cluster_pb2.HostMessage():
            return host_from_proto(message)


def encode(message: DomainMessage) -> bytes:
    """Raises:
    InvalidInputError: a field is out of bounds.
    LimitError: the message is larger than ``MESSAGE_BYTES_MAX``.
    """
    return _serialize(to_proto(message))


def decode_client_message(data: bytes) -> ClientMessage:
    return client_from_proto(_parse(cluster_pb2.ClientMessage(), data))


def decode_host_message(data: bytes) -> HostMessage:
    return host_from_proto(_parse(cluster_pb2.HostMessage(), data))


def decode_metric_batch(data: bytes) -> MetricBatch:
    return batch_from_proto(_parse(metrics_pb2.MetricBatch(), data))


def encode_metric_ack(seq: int) -> bytes:
    return _serialize(_checked(lambda value: metrics_pb2.MetricAck(seq=value), seq))


def decode_metric_ack(data: bytes) -> int:
    return _parse(metrics_pb2.MetricAck(), data).seq


def encode_samples(batch: SampleBatch) -> bytes:
    return _serialize(_checked(samples_to_proto, batch))


def decode_samples(data: bytes) -> SampleBatch:
    return samples_from_proto(_parse(metrics_pb2.SampleBatch(), data))


def encode_sample_ack(ack: SampleAck) -> bytes:
    return _serialize(_checked(ack_to_proto, ack))


def decode_sample_ack(data: bytes) -> SampleAck:
    return ack_from_proto(_parse(metrics_pb2.SampleAck(), data))


def encode_locate_request(digests: Sequence[Digest]) -> bytes:
    return _serialize(_checked(locate_request_to_proto, digests))


def decode_locate_request(data: bytes) -> tuple[Digest, ...]:
    return locate_request_from_proto(_parse(pool_pb2.LocateRequest(), data))


def encode_locate_reply(locations: Mapping[Digest, Sequence[tuple[str, str]]]) -> bytes:
    return _serialize(_checked(locate_reply_to_proto, locations))


def decode_locate_reply(data: bytes) -> dict[Digest, list[tuple[str, str]]]:
    return locate_reply_from_proto(_parse(pool_pb2.LocateReply(), data))


def encode_reach_request(client: ClientName, enrolment: str) -> bytes:
    return _serialize(_checked(lambda name: reach_request_to_proto(name, enrolment), client))


def decode_reach_request(data: bytes) -> tuple[ClientName, str | None]:
    return reach_request_from_proto(_parse(pool_pb2.ReachRequest(), data))


def encode_reach_reply(manifests: Sequence[Digest]) -> bytes:
    return _serialize(_checked(reach_reply_to_proto, manifests))


def decode_reach_reply(data: bytes) -> tuple[Digest, ...]:
    return reach_reply_from_proto(_parse(pool_pb2.ReachReply(), data))


def _checked(convert: Callable[[T], U], message: T) -> U:
    """Protobuf's own refusals (a negative step, a lone surrogate) as ours."""
    try:
        return convert(message)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{type(message).__name__} cannot be sent: {error}") from None


def _serialize(message: Message) -> bytes:
    try:
        data = message.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise InvalidInputError(f"{type(message).__name__} cannot be sent: {error}") from None
    if len(data) > MESSAGE_BYTES_MAX:
        raise LimitError(f"{type(message).__name__} has {len(data)} bytes; at most {MESSAGE_BYTES_MAX} fit into a message")
    return data


def _parse(message: PB, data: bytes) -> PB:
    if len(data) > MESSAGE_BYTES_MAX:
        raise LimitError(f"{type(message).__name__} has {len(data)} bytes; at most {MESSAGE_BYTES_MAX} fit into a message")
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise InvalidInputError(f"the bytes are no {type(message).__name__}: {error}") from None
    return message
