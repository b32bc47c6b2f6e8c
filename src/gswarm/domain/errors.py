"""The one tree of errors.

Each error has a stable ``code``, says what is wrong and what to do (``hint``), and carries the HTTP status and the
exit code of the command line it maps to. The gRPC status is mapped in ``gswarm.wire.errors``.
"""

from __future__ import annotations

from typing import ClassVar


class GswarmError(Exception):
    """Base of everything gswarm raises on purpose.

    Args:
        message: what is wrong, in one line.
        hint: what to do about it, in one line; may be empty.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InvariantError(GswarmError):
    """The program's own state is impossible. Raised in production too: wrong results are worse than a stop."""

    code = "invariant"


class InvalidInputError(GswarmError):
    """What the caller sent cannot be accepted, whatever the state."""

    code = "invalid_input"
    http_status = 400


class NotFoundError(GswarmError):
    code = "not_found"
    http_status = 404


class ConflictError(GswarmError):
    """The state does not allow the operation now.

    Args:
        possible: the operations that are possible now, for the caller to choose from.
    """

    code = "conflict"
    http_status = 409

    def __init__(self, message: str, hint: str = "", possible: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.possible = possible


class FencedError(GswarmError):
    """A report whose lease is over; its result does not count."""

    code = "fenced"
    http_status = 409


class LimitError(GswarmError):
    """A limit of the host was reached (runs, message size, queue length)."""

    code = "limit"
    http_status = 422


class UnauthenticatedError(GswarmError):
    code = "unauthenticated"
    http_status = 401
    exit_code = 4


class TooManyAttemptsError(GswarmError):
    """Too many credentials from one address were wrong.

    Args:
        wait_s: seconds until another one is looked at.
    """

    code = "too_many_attempts"
    http_status = 429
    exit_code = 4

    def __init__(self, message: str, hint: str = "", wait_s: float = 0.0) -> None:
        super().__init__(message, hint)
        self.wait_s = wait_s


class ForbiddenError(GswarmError):
    code = "forbidden"
    http_status = 403
    exit_code = 4


class UnavailableError(GswarmError):
    """The other side cannot be reached."""

    code = "unavailable"
    http_status = 503
    exit_code = 3


class IncompatibleVersionError(GswarmError):
    code = "incompatible_version"
    http_status = 426


class StorageError(GswarmError):
    """A disk is full, read-only or broken."""

    code = "storage"
    http_status = 507


class CorruptDataError(GswarmError):
    """Bytes do not have the digest or the form they must have."""

    code = "corrupt_data"
    http_status = 422


class TrainingError(GswarmError):
    """A run cannot go on: NaN loss, a trainer that died, a hang.

    Args:
        machine_suspect: whether the machine may be at fault, so that another slot is worth a try.
    """

    code = "training"

    def __init__(self, message: str, hint: str = "", *, machine_suspect: bool = False) -> None:
        super().__init__(message, hint)
        self.machine_suspect = machine_suspect


ERROR_TYPES: dict[str, type[GswarmError]] = {
    cls.code: cls
    for cls in (
        GswarmError,
        InvariantError,
        InvalidInputError,
        NotFoundError,
        ConflictError,
        FencedError,
        LimitError,
        UnauthenticatedError,
        TooManyAttemptsError,
        ForbiddenError,
        UnavailableError,
        IncompatibleVersionError,
        StorageError,
        CorruptDataError,
        TrainingError,
    )
}


def error_from_code(code: str, message: str, hint: str = "") -> GswarmError:
    """The error of that code; unknown codes (a newer peer) become plain ``GswarmError``."""
    return ERROR_TYPES.get(code, GswarmError)(message, hint)
