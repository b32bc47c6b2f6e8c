"""Random protobuf messages of every type: the wire's converter answers with a value or a typed refusal, and with nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.wire import convert, fields
from gswarm.wire._pb import cluster_pb2, metrics_pb2, pool_pb2

FUZZ = settings(max_examples=int(os.environ.get("GSWARM_FUZZ_EXAMPLES", "60")), deadline=None, suppress_health_check=list(HealthCheck))
FILES = (cluster_pb2, metrics_pb2, pool_pb2)
DECODERS: dict[str, Callable[[bytes], object]] = {
    "ClientMessage": convert.decode_client_message,
    "HostMessage": convert.decode_host_message,
    "MetricBatch": convert.decode_metric_batch,
    "MetricAck": convert.decode_metric_ack,
    "SampleBatch": convert.decode_samples,
    "SampleAck": convert.decode_sample_ack,
    "LocateRequest": convert.decode_locate_request,
    "LocateReply": convert.decode_locate_reply,
    "ReachRequest": convert.decode_reach_request,
    "ReachReply": convert.decode_reach_reply,
}

ODD_TEXTS = ("", "r1", "a/0", "0.1.0", "\x00", "\x1b[31m", "\u202e", "../x", "x" * 257, "x" * 17_000, "https://a:1", "{}", "[" * 999)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.sampled_from(ODD_TEXTS)
blobs = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\xab" * 32, b"\xab" * 31, b'{"model_name_or_path": "m", "dataset": "d"}', b"[" * 60_000]
)
doubles = st.floats() | st.sampled_from([0.0, 1.0, float("nan"), float("inf"), 1.8e308, -1.0])
unsigned_64 = st.integers(0, 2**64 - 1) | st.integers(0, 50)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: texts,
    FieldDescriptor.TYPE_BYTES: blobs,
    FieldDescriptor.TYPE_DOUBLE: doubles,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT64: unsigned_64,
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1) | st.integers(0, 50),
    FieldDescriptor.TYPE_ENUM: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 4),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Any:
    """Any message of that type: fields may be missing, and hold what their type allows."""
    message = message_factory.GetMessageClass(descriptor)()
    chosen = {oneof.name: draw(st.sampled_from([None, *(one.name for one in oneof.fields)])) for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is not None and chosen[oneof.name] != field.name:
            continue
        if oneof is None and draw(st.integers(0, 5)) == 0:
            continue
        if field.is_repeated:
            for item in draw(st.lists(_values(field), max_size=3)):
                getattr(message, field.name).append(item)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(draw(messages(field.message_type)))
        else:
            setattr(message, field.name, draw(_values(field)))
    return message


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    return messages(field.message_type) if field.message_type is not None else SCALARS[field.type]


def test_every_message_that_travels_alone_has_its_decoder() -> None:
    services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
    alone = {kind.name for service in services for method in service.methods for kind in (method.input_type, method.output_type)}
    assert alone == DECODERS.keys()


@pytest.mark.parametrize("name", DECODERS)
def test_any_message_is_converted_or_refused(name: str) -> None:
    (descriptor,) = [file.DESCRIPTOR.message_types_by_name[name] for file in FILES if name in file.DESCRIPTOR.message_types_by_name]

    @FUZZ
    @given(messages(descriptor))
    def converted_or_refused(message: Any) -> None:
        data = message.SerializeToString()
        try:
            value = DECODERS[name](data)
        except (InvalidInputError, LimitError):
            return
        assert DECODERS[name](data) == value or "nan" in repr(value)

    converted_or_refused()


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    "data",
    [
        b"\x0b" * 100_000,  # groups in groups
        b"\x0a\x80\x80\x80\x80\x08" + b"x" * 100,  # a length beyond the end
        b"\x0a" + b"\xff" * 10,  # a length without an end
        b"\xff" * 1_000,
        (b"\xfa\x07\x00") * 100_000,  # fields that nobody knows
        b"\x0a\x00" * 2_000_000,  # as many empty parts as fit
        b"\x12\x00" * 2_000_000,
        bytes(convert.MESSAGE_BYTES_MAX + 1),
    ],
    ids=["groups", "length", "varint", "ones", "unknown", "parts", "other parts", "oversize"],
)
def test_bombs_are_refused_or_nothing(name: str, data: bytes) -> None:
    try:
        value = DECODERS[name](data)
    except (InvalidInputError, LimitError):
        return
    assert not value or len(repr(value)) < 1_000, "what nobody knows is left out"


def test_columns_without_rows_are_limited_like_rows() -> None:
    column = metrics_pb2.StepColumns(run="r1", generation=1, names=["loss"])
    batch = metrics_pb2.MetricBatch(seq=1, columns=[column] * (fields.ROWS_MAX + 1))
    with pytest.raises(InvalidInputError, match="columns"):
        convert.decode_metric_batch(batch.SerializeToString())
