"""Messages between client, trainer process and job process survive their JSON, and bad ones are refused."""

from __future__ import annotations

import json

import pytest

from gswarm.domain.errors import CorruptDataError
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.plan import Failure
from gswarm.domain.spec import FinetuningType, RunSpec
from gswarm.training import job_types, protocol
from gswarm.training.protocol_codec import MAX_LINE_BYTES, decode_command, decode_event, encode

RUN = RunId("r1")
SPEC = RunSpec("m", "d", finetuning_type=FinetuningType.FULL, lora_target=("q_proj", "v_proj"), learning_rate=1e-5, max_steps=None)
COMMANDS: list[protocol.TrainerCommand] = [
    protocol.TrainRange(RUN, 3, 0, 5, 10, 5, SPEC, Digest("0" * 64), "/b", "/d", None, False, 0, "/s"),
    protocol.StopRange(RUN, 3),
    protocol.AbortRange(RUN, 3),
    protocol.DropRun(RUN),
    protocol.Quit(),
]
EVENTS: list[protocol.TrainerEvent] = [
    protocol.Ready(12, "cpu"),
    protocol.RangeStarted(RUN, 3, True, 0.25),
    protocol.StepDone(RUN, 3, 4, 1.5, (("loss", 0.1 + 0.2), ("tokens", 3.0))),
    protocol.RangeTrained(RUN, 3, 5, "/s", Digest("1" * 64), (("eval_loss", 2.0),), None, 0.1),
    protocol.RangeDropped(RUN, 3),
    protocol.RangeFailed(RUN, 3, Failure("nan_loss", "the loss is nan", log_tail="line\nline")),
    protocol.Log(RUN, 1.0, "info", "text"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda message: type(message).__name__)
def test_commands_come_back_as_they_were(command: protocol.TrainerCommand) -> None:
    line = encode(command)
    assert line.count(b"\n") == 1
    assert decode_command(line) == command


@pytest.mark.parametrize("event", EVENTS, ids=lambda message: type(message).__name__)
def test_events_come_back_as_they_were(event: protocol.TrainerEvent) -> None:
    assert decode_event(encode(event)) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"type": "Nope", "body": {}}',
        b'{"type": "StopRange", "body": {"run": "r1"}}',
        b" " * (MAX_LINE_BYTES + 1),
    ],
    ids=["nothing", "text", "list", "empty", "unknown", "incomplete", "too long"],
)
def test_lines_that_are_no_message_are_refused(line: bytes) -> None:
    with pytest.raises(CorruptDataError):
        decode_command(line)


def test_commands_are_no_events() -> None:
    with pytest.raises(CorruptDataError):
        decode_event(encode(protocol.Quit()))


@pytest.mark.parametrize(
    "request_",
    [
        job_types.PrepareRequest((SPEC, SPEC), "/out"),
        job_types.VerifyRequest(SPEC, "/b", "/d", 10, 5, 7, "0" * 64, "/c"),
        job_types.ExportRequest(SPEC, "/b", "/c", "merged", "/out"),
    ],
    ids=lambda request: type(request).__name__,
)
def test_job_requests_come_back_as_they_were(request_: job_types.JobRequest) -> None:
    assert job_types.decode_request(job_types.encode_request(request_)) == request_


@pytest.mark.parametrize(
    "response",
    [
        job_types.PrepareResult((job_types.PreparedRun("/b", "/d", 37, 4, 0, 19, 57),), 1.5),
        job_types.VerifyResult(True, "0" * 64, "0" * 64, 0.0, 7, "cpu", 2.5, (("torch", "2"),)),
        job_types.ExportResult("/out", "merged", ("config.json",), 10),
        Failure("not_found", "no such model"),
    ],
    ids=lambda response: type(response).__name__,
)
def test_job_responses_come_back_as_they_were(response: job_types.JobResult | Failure) -> None:
    assert job_types.decode_response(job_types.encode_response(response)) == response


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"kind": "prepare"}), json.dumps({"kind": "nope", "request": {}})])
def test_texts_that_are_no_request_are_refused(text: str) -> None:
    with pytest.raises(CorruptDataError):
        job_types.decode_request(text)


def test_no_torch_is_imported_for_talking_to_a_trainer() -> None:
    import subprocess
    import sys

    code = "import sys, gswarm.training.protocol_codec, gswarm.training.job_types; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
