from __future__ import annotations

import grpc
import grpc.aio
import pytest

from gswarm.domain.errors import ERROR_TYPES, ConflictError, GswarmError, IncompatibleVersionError, InvalidInputError, TrainingError
from gswarm.wire.client import Backoff
from gswarm.wire.errors import ERROR_METADATA_KEY, STATUS_OF_CODE, from_rpc_error, to_status
from gswarm.wire.version import check_version


def rpc_error(code: grpc.StatusCode, details: str = "", metadata: tuple[tuple[str, bytes], ...] = ()) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details)


def there_and_back(error: Exception) -> GswarmError:
    status = to_status(error)
    return from_rpc_error(rpc_error(status.code, status.details, status.trailing_metadata), "h:1")


def test_every_error_has_a_status() -> None:
    assert STATUS_OF_CODE.keys() == ERROR_TYPES.keys()


@pytest.mark.parametrize("kind", ERROR_TYPES.values(), ids=lambda kind: kind.code)
def test_every_error_arrives_as_itself(kind: type[GswarmError]) -> None:
    arrived = there_and_back(kind("what is wrong", "what to do"))
    assert type(arrived) is kind
    assert (arrived.message, arrived.hint) == ("what is wrong", "what to do")


def test_details_of_errors_arrive() -> None:
    conflict = there_and_back(ConflictError("no", "", ("stop", "clone")))
    assert isinstance(conflict, ConflictError)
    assert conflict.possible == ("stop", "clone")
    training = there_and_back(TrainingError("nan", machine_suspect=True))
    assert isinstance(training, TrainingError)
    assert training.machine_suspect


def test_long_and_odd_texts_are_cut_to_fit_into_metadata() -> None:
    status = to_status(InvalidInputError("ä\n\x00\ud800" * 5000, "h" * 5000))
    assert len(status.trailing_metadata[0][1]) + 3 * len(status.details) < 8192
    arrived = from_rpc_error(rpc_error(status.code, status.details, status.trailing_metadata), "h:1")
    assert isinstance(arrived, InvalidInputError)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"1", b"{}", b'{"code": "x"}', b"\xff"])
def test_metadata_that_is_not_ours_is_ignored(value: bytes) -> None:
    arrived = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "gone", ((ERROR_METADATA_KEY, value),)), "h:1")
    assert arrived.code == "unavailable"


def test_an_error_of_a_newer_host_keeps_its_text() -> None:
    value = b'{"code": "from_the_future", "message": "m", "hint": "h"}'
    arrived = from_rpc_error(rpc_error(grpc.StatusCode.UNKNOWN, "", ((ERROR_METADATA_KEY, value),)), "h:1")
    assert (type(arrived), str(arrived)) == (GswarmError, "m; h")


@pytest.mark.parametrize(
    ("code", "details", "wanted"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused", "unavailable"),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect: CERTIFICATE_VERIFY_FAILED: unknown issuer", "unauthenticated"),
        (grpc.StatusCode.UNAVAILABLE, "Stream removed (ping timeout)", "unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", "unavailable"),
        (grpc.StatusCode.CANCELLED, "", "unavailable"),
        (grpc.StatusCode.UNKNOWN, "", "unavailable"),
        (grpc.StatusCode.UNIMPLEMENTED, "", "unavailable"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)", "limit"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", "unavailable"),
        (grpc.StatusCode.UNAUTHENTICATED, "", "unauthenticated"),
        (grpc.StatusCode.PERMISSION_DENIED, "", "forbidden"),
        (grpc.StatusCode.DATA_LOSS, "", "internal"),
    ],
)
def test_what_the_transport_says_gets_a_type(code: grpc.StatusCode, details: str, wanted: str) -> None:
    arrived = from_rpc_error(rpc_error(code, details), "h:1")
    assert arrived.code == wanted
    assert "h:1" in arrived.message


@pytest.mark.parametrize(("client", "host"), [("0.1.0", "0.1.0"), ("0.1.7", "0.1.0"), ("0.1.0rc1", "0.1.2"), ("1.12.0+cu130", "1.12.3")])
def test_versions_that_talk(client: str, host: str) -> None:
    check_version(client, host)


@pytest.mark.parametrize(
    ("client", "host"), [("0.2.0", "0.1.0"), ("1.1.0", "0.1.0"), ("0.11.0", "0.1.0"), ("", "0.1.0"), ("x" * 999, "0.1.0")]
)
def test_versions_that_do_not(client: str, host: str) -> None:
    with pytest.raises(IncompatibleVersionError) as raised:
        check_version(client, host)
    assert host in raised.value.message
    assert client[:64] in raised.value.message
    assert "install gswarm 0.1.0" in raised.value.hint


def test_backoff_without_jitter_doubles_up_to_its_limit() -> None:
    backoff = Backoff(0.2, 1.0, 2.0, jitter=0.0)
    assert [round(next(backoff), 6) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert next(backoff) == 0.2


def test_backoff_stays_within_its_bounds_for_ever() -> None:
    for unit in (0.0, 0.5, 1.0 - 2**-53):
        backoff = Backoff(0.2, 10.0, 2.0, 0.5, lambda unit=unit: unit)
        delays = [next(backoff) for _ in range(5000)]
        assert all(0.1 <= delay <= 10.0 for delay in delays)
        assert delays[-1] == pytest.approx(10.0 * (1 - 0.5 * unit))


@pytest.mark.parametrize(
    "bad", [{"initial_s": 0}, {"initial_s": 11}, {"factor": 0.5}, {"jitter": -0.1}, {"jitter": 1.1}, {"max_s": float("nan")}]
)
def test_backoff_refuses_nonsense(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        Backoff(**bad)
