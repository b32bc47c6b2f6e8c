"""``GswarmError`` <-> gRPC status. The error itself travels as JSON in the trailing metadata; the status is for other tools."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from gswarm.domain.errors import (
    ERROR_TYPES,
    ConflictError,
    ForbiddenError,
    GswarmError,
    LimitError,
    TrainingError,
    UnauthenticatedError,
    UnavailableError,
    error_from_code,
)

logger = logging.getLogger(__name__)

ERROR_METADATA_KEY = "gswarm-error-bin"
# Metadata shares a budget of 8 KiB with the status message, so what goes into it is cut.
_MESSAGE_CHARS_MAX = 1000
_HINT_CHARS_MAX = 500
_POSSIBLE_MAX = 16

STATUS_OF_CODE: dict[str, grpc.StatusCode] = {
    "internal": grpc.StatusCode.INTERNAL,
    "invariant": grpc.StatusCode.INTERNAL,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "conflict": grpc.StatusCode.FAILED_PRECONDITION,
    "fenced": grpc.StatusCode.ABORTED,
    "limit": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "too_many_attempts": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "incompatible_version": grpc.StatusCode.FAILED_PRECONDITION,
    "storage": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "corrupt_data": grpc.StatusCode.DATA_LOSS,
    "training": grpc.StatusCode.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Status:
    """What ``ServicerContext.abort`` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


def to_status(error: Exception) -> Status:
    """The status of an error. What was not raised on purpose is logged here and told to the other side without its text."""
    if not isinstance(error, GswarmError):
        logger.error("an RPC failed unexpectedly", exc_info=error)
        error = GswarmError("the host failed unexpectedly", "see the host's log")
    body: dict[str, object] = {"code": error.code, "message": error.message[:_MESSAGE_CHARS_MAX], "hint": error.hint[:_HINT_CHARS_MAX]}
    match error:
        case ConflictError():
            body["possible"] = list(error.possible[:_POSSIBLE_MAX])
        case TrainingError():
            body["machine_suspect"] = error.machine_suspect
        case _:
            pass
    details = str(error)[:_HINT_CHARS_MAX].encode(errors="replace").decode()
    return Status(STATUS_OF_CODE[error.code], details, ((ERROR_METADATA_KEY, json.dumps(body).encode()),))


def from_rpc_error(error: grpc.aio.AioRpcError, target: str) -> GswarmError:
    """The error that the other side raised, or what the transport's own failure means.

    Args:
        error: as raised by a call.
        target: ``address:port`` of the other side, for the message.
    """
    trailing_metadata: Any = error.trailing_metadata()
    for key, value in trailing_metadata or ():
        if key == ERROR_METADATA_KEY:
            sent = _from_metadata(value)
            if sent is not None:
                return sent
    details = error.details() or ""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE if "failed to connect" in details:
            return _handshake_fault(details, target) or UnavailableError(
                f"the host at {target} cannot be reached ({_last_cause(details)})",
                "check the address and that `gswarm host start` runs there",
            )
        case grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(f"the connection to the host at {target} was lost ({_last_cause(details)})", "connect again")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(f"the host at {target} did not answer in time", "check the network and the host's load")
        case grpc.StatusCode.CANCELLED | grpc.StatusCode.UNKNOWN:
            return UnavailableError(f"the session with the host at {target} was cut ({details or 'no reason given'})", "connect again")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "Concurrent RPC limit" in details:
            # The transport's, about nothing that was sent: the same may be taken in a moment.
            return UnavailableError(f"the host at {target} has as many calls as it takes", "try again in a moment")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return LimitError(f"the host at {target} refused for a limit: {details}")
        case grpc.StatusCode.UNIMPLEMENTED:
            return UnavailableError(f"what answers at {target} is no gswarm host of this version", "check the address and the port")
        case grpc.StatusCode.UNAUTHENTICATED:
            return UnauthenticatedError(f"the host at {target} does not know this client: {details}")
        case grpc.StatusCode.PERMISSION_DENIED:
            return ForbiddenError(f"the host at {target} refused: {details}")
        case _:
            return GswarmError(f"the host at {target} failed: {details}", "see the host's log")


JOIN_AGAIN = "join again with a token from `gswarm token create --role client`"
_ANOTHER_CLUSTER = (
    "the host at {target} could not prove that it belongs to this cluster",
    "check the address; if the host was set up anew, " + JOIN_AGAIN,
)
# Parts of what gRPC says when a handshake fails (gRPC 1.80 to 1.85), the more specific ones first.
_HANDSHAKE_FAULTS: dict[str, tuple[str, str]] = {
    "certificate has expired": ("the certificate of the host at {target} has expired", "restart the host: it renews its certificate"),
    "CERTIFICATE_VERIFY_FAILED": _ANOTHER_CLUSTER,
    "Hostname Verification Check failed": _ANOTHER_CLUSTER,
    "WRONG_VERSION_NUMBER": (
        "what answers at {target} does not speak TLS",
        "check the port, and that the host was not started with --insecure",
    ),
}


def _handshake_fault(details: str, target: str) -> UnauthenticatedError | None:
    for part, (message, hint) in _HANDSHAKE_FAULTS.items():
        if part in details:
            return UnauthenticatedError(message.format(target=target), hint)
    return None


def _from_metadata(value: bytes | str) -> GswarmError | None:
    try:
        body = json.loads(value)
        code, message, hint = str(body["code"]), str(body["message"]), str(body.get("hint", ""))
        if ERROR_TYPES.get(code) is ConflictError:
            return ConflictError(message, hint, tuple(str(name) for name in body.get("possible", ())))
        if ERROR_TYPES.get(code) is TrainingError:
            return TrainingError(message, hint, machine_suspect=bool(body.get("machine_suspect", False)))
        return error_from_code(code, message, hint)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _last_cause(details: str) -> str:
    return details.rsplit("last error: ", 1)[-1].strip() or "no connection"
