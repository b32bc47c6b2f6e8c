"""Batches of samples survive the wire, and what cannot be is neither sent nor taken."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.samples import DeviceInfo, DeviceProcess, SampleAck, SampleBatch, SampleColumns
from gswarm.wire import convert, convert_samples
from gswarm.wire._pb import metrics_pb2

SPOOL = "0123456789abcdef"
names = st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=12)
devices = st.sampled_from(["machine", "gpu:0", "gpu:12/mig:3", "slot:7"])
owners = st.sampled_from(["", "run:r1", "job:j-2", "outsider:anna", "outsider:müller"])
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def columns(draw: st.DrawFn) -> SampleColumns:
    metrics = tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
    times = draw(st.lists(st.integers(0, 2**62), max_size=5))
    values = draw(st.lists(st.floats(width=64), min_size=len(times) * len(metrics), max_size=len(times) * len(metrics)))
    return SampleColumns(draw(devices), draw(owners), metrics, array("q", times).tobytes(), array("d", values).tobytes())


processes = st.builds(
    DeviceProcess, st.integers(0, 2**31), names, names, owners, st.none() | st.integers(0, 2**60), st.none() | st.floats(0.0, 1.0)
)
infos = st.builds(
    DeviceInfo,
    devices,
    st.sampled_from(sorted(convert_samples.KINDS)),
    names,
    names,
    st.none() | st.integers(0, 2**60),
    st.just("") | devices,
    st.lists(processes, max_size=3).map(tuple),
)
offsets = st.just((None, None)) | st.tuples(finite, st.floats(0, 1e300))
batches = st.builds(
    lambda seq, rows, found, offset: SampleBatch(SPOOL, seq, tuple(rows), tuple(found), *offset),
    st.integers(1, 2**63),
    st.lists(columns(), max_size=4),
    st.lists(infos, max_size=3),
    offsets,
)
acks = st.builds(
    SampleAck,
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.lists(st.tuples(names, st.floats(0.1, 3600)), max_size=4).map(tuple),
)


@settings(max_examples=60)
@given(batches)
def test_batches_survive(batch: SampleBatch) -> None:
    assert convert.decode_samples(convert.encode_samples(batch)) == batch


@settings(max_examples=60)
@given(acks)
def test_acks_survive(ack: SampleAck) -> None:
    assert convert.decode_sample_ack(convert.encode_sample_ack(ack)) == ack


ROW = SampleColumns("machine", "", ("load_1m",), bytes(8), bytes(8))
INFO = DeviceInfo("gpu:0", "gpu", "H200")
GOOD = SampleBatch(SPOOL, 1, (ROW,), (INFO,), 0.5, 0.1)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, spool=""),
        replace(GOOD, spool="../../etc/passwd"),
        replace(GOOD, spool=SPOOL.upper()),
        replace(GOOD, seq=0),
        replace(GOOD, seq=-1),
        replace(GOOD, clock_offset_s=math.nan),
        replace(GOOD, clock_error_s=-1.0),
        replace(GOOD, clock_error_s=None),
        replace(GOOD, columns=(replace(ROW, device="gpu:x"),)),
        replace(GOOD, columns=(replace(ROW, device="../machine"),)),
        replace(GOOD, columns=(replace(ROW, owner="anna"),)),
        replace(GOOD, columns=(replace(ROW, owner="run:../x"),)),
        replace(GOOD, columns=(replace(ROW, owner="outsider:\x1b[31m"),)),
        replace(GOOD, columns=(replace(ROW, metrics=()),)),
        replace(GOOD, columns=(replace(ROW, metrics=("a", "a"), values=bytes(16)),)),
        replace(GOOD, columns=(replace(ROW, metrics=("\n",)),)),
        replace(GOOD, columns=(replace(ROW, times_us=bytes(7)),)),
        replace(GOOD, columns=(replace(ROW, values=bytes(16)),)),
        replace(GOOD, columns=(ROW,) * (convert_samples.COLUMNS_MAX + 1)),
        replace(GOOD, columns=(replace(ROW, times_us=bytes(8 * 200_001), values=bytes(8 * 200_001)),)),
        replace(GOOD, devices=(replace(INFO, kind="toaster"),)),
        replace(GOOD, devices=(replace(INFO, name="x" * 300),)),
        replace(GOOD, devices=(replace(INFO, parent="x"),)),
        replace(GOOD, devices=(replace(INFO, memory_total_bytes=-1),)),
        replace(GOOD, devices=(INFO,) * (convert_samples.DEVICES_MAX + 1)),
        replace(GOOD, devices=(replace(INFO, processes=(DeviceProcess(1, "a", "b", "", None),) * 1025),)),
        replace(GOOD, devices=(replace(INFO, processes=(DeviceProcess(1, "a\x00", "b", "", None),)),)),
        replace(GOOD, devices=(replace(INFO, processes=(DeviceProcess(1, "a", "b", "", None, 1.5),)),)),
        replace(GOOD, devices=(replace(INFO, processes=(DeviceProcess(1, "a", "b", "", None, math.nan),)),)),
    ],
    ids=lambda bad: "batch",
)
def test_what_cannot_be_is_not_sent(bad: SampleBatch) -> None:
    with pytest.raises(InvalidInputError):
        convert.encode_samples(bad)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"spool": SPOOL},
        {"spool": SPOOL, "seq": 1, "clock_offset_s": 1.0},
        {"spool": SPOOL, "seq": 1, "columns": [{"device": "machine"}]},
    ],
)
def test_what_cannot_be_is_not_taken(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        convert.decode_samples(metrics_pb2.SampleBatch(**bad).SerializeToString())


@pytest.mark.parametrize("interval_s", [0.0, -1.0, math.nan, math.inf, 0.01, 1e9])
def test_intervals_are_bounded(interval_s: float) -> None:
    with pytest.raises(InvalidInputError):
        convert.encode_sample_ack(SampleAck(1, 1, 1, (("*", interval_s),)))


def test_the_largest_batch_fits() -> None:
    rows = convert_samples.VALUES_MAX
    convert.encode_samples(replace(GOOD, columns=(replace(ROW, times_us=bytes(8 * rows), values=bytes(8 * rows)),)))
    with pytest.raises((LimitError, InvalidInputError)):
        convert.decode_samples(bytes(convert.MESSAGE_BYTES_MAX + 1))
