"""Requests and results of the jobs that ``python -m gswarm.training.jobs`` does, and their JSON.

One process does one job: the request is one JSON document on its stdin, the response one on the descriptor ``--fd`` (or stdout).
This module imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gswarm.domain.errors import CorruptDataError
from gswarm.domain.plan import Failure
from gswarm.domain.spec import RunSpec


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """Resolve models and data of these configurations, tokenize, and check that each can be built."""

    runs: tuple[RunSpec, ...]
    out_dir: str
    """Empty; the prepared folders are written under it."""
    trusted_code: tuple[str, ...] = ()
    """Digests of models' code that an admin of the host has consented to."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What one planned run trains on. Equal bases and equal data have the same path."""

    base_dir: str
    data_dir: str
    train_rows: int
    eval_rows: int
    dropped_rows: int
    """Rows of which ``cutoff_len`` left nothing to learn."""
    steps_per_epoch: int
    total_steps: int


@dataclass(frozen=True, slots=True)
class PrepareResult:
    runs: tuple[PreparedRun, ...]
    """One a spec, in the request's order."""
    seconds: float


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Train again by plain TRL without interruption and compare the weights with the committed ones."""

    spec: RunSpec
    base_dir: str
    data_dir: str
    total_steps: int
    steps_per_epoch: int
    until_step: int
    expected_weights_digest: str
    checkpoint_dir: str
    """The committed checkpoint at ``until_step``."""
    start_checkpoint_dir: str | None = None
    """A warm clone's start."""
    warm_start: bool = False
    first_step: int = 0
    device: str = ""
    """``cpu`` or ``cuda:0``; empty means the best one here."""
    trusted_code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyResult:
    identical: bool
    digest: str
    expected: str
    max_abs_difference: float
    """Over all trainable weights; 0.0 when identical."""
    steps: int
    """Optimizer steps that were trained again."""
    device: str
    seconds: float
    versions: tuple[tuple[str, str], ...]
    """Of torch, transformers, peft and trl."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    spec: RunSpec
    base_dir: str
    checkpoint_dir: str
    format: str
    """``adapter`` (LoRA runs) or ``merged`` (a whole model folder; for full fine-tuning the model itself)."""
    out_dir: str
    """Empty or missing."""
    trusted_code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportResult:
    out_dir: str
    format: str
    files: tuple[str, ...]
    size_bytes: int


JobRequest = PrepareRequest | VerifyRequest | ExportRequest
JobResult = PrepareResult | VerifyResult | ExportResult

_REQUESTS: dict[str, TypeAdapter[Any]] = {
    "prepare": TypeAdapter(PrepareRequest),
    "verify": TypeAdapter(VerifyRequest),
    "export": TypeAdapter(ExportRequest),
}
_RESULTS: dict[str, TypeAdapter[Any]] = {
    "prepare": TypeAdapter(PrepareResult),
    "verify": TypeAdapter(VerifyResult),
    "export": TypeAdapter(ExportResult),
}
_FAILURE: TypeAdapter[Failure] = TypeAdapter(Failure)


def _kind(message: JobRequest | JobResult) -> str:
    return type(message).__name__.removesuffix("Request").removesuffix("Result").lower()


def encode_request(request: JobRequest) -> str:
    kind = _kind(request)
    return json.dumps({"kind": kind, "request": _REQUESTS[kind].dump_python(request, mode="json")})


def decode_request(text: str | bytes) -> JobRequest:
    """Raises CorruptDataError when the text is no request."""
    request: JobRequest = _decode(text, _REQUESTS, "request")
    return request


def encode_response(response: JobResult | Failure) -> str:
    if isinstance(response, Failure):
        return json.dumps({"kind": "failure", "failure": _FAILURE.dump_python(response, mode="json")})
    kind = _kind(response)
    return json.dumps({"kind": kind, "result": _RESULTS[kind].dump_python(response, mode="json")})


def decode_response(text: str | bytes) -> JobResult | Failure:
    """Raises CorruptDataError when the text is no response."""
    response: JobResult | Failure = _decode(text, _RESULTS, "result")
    return response


def _decode(text: str | bytes, known: dict[str, TypeAdapter[Any]], key: str) -> Any:
    try:
        envelope = json.loads(text)
        if envelope["kind"] == "failure":
            return _FAILURE.validate_python(envelope["failure"])
        return known[envelope["kind"]].validate_python(envelope[key])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptDataError(f"not a job's {key}: {text[:200]!r}", str(error).splitlines()[0]) from error
