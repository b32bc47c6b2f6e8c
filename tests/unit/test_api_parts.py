"""The parts of the API's door, each alone on a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from gswarm.domain.errors import (
    ForbiddenError,
    InvalidInputError,
    LimitError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UnavailableError,
)
from gswarm.domain.printable import printable
from gswarm.domain.strict_json import DEPTH_MAX, check_text, load_json
from gswarm.host.access import logins as logins_module
from gswarm.host.access.door import Visits
from gswarm.host.access.logins import BEGUN_PER_HOUR_MAX, IDLE_MAX_S, LIFE_MAX_S, LOGINS_PER_TOKEN_MAX, Logins, digest_of
from gswarm.host.api.gate import Caller, Gate
from gswarm.host.api.names import AllowedNames
from gswarm.host.api.throttle import FAILURES_MAX, FailureThrottle
from manual_clock import ManualClock


@dataclass
class Time:
    time_s: float = 1_000.0

    def __call__(self) -> float:
        return self.time_s


# ---- names -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "host", "is_ours"),
    [
        ("127.0.0.1", "localhost:8091", True),
        ("127.0.0.1", "[::1]:8091", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "gpu.example", True),
        ("127.0.0.1", "evil.example:8091", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "10.0.0.7", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost:", False),
        ("127.0.0.1", "localhost:8091@evil.example", False),
        ("127.0.0.1", "localhost\t", False),
        ("0.0.0.0", "10.0.0.7:8091", True),
        ("0.0.0.0", "[fd00::7]:8091", True),
        ("0.0.0.0", "GPU.example:8091", True),
        ("0.0.0.0", "evil.example:8091", False),
        ("0.0.0.0", "10.0.0.7.evil.example", False),
        ("gpu-box", "gpu-box:8091", True),
    ],
)
def test_a_host_is_called_by_its_own_names(bind: str, host: str, is_ours: bool) -> None:
    names = AllowedNames(bind, ("gpu.example",))
    if is_ours:
        names.check_host(host)
    else:
        with pytest.raises(ForbiddenError, match="Host header"):
            names.check_host(host)


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "is_ours"),
    [
        (None, "localhost:8091", "http", True),
        ("http://localhost:8091", "localhost:8091", "http", True),
        ("https://gpu.example", "gpu.example", "http", True),  # a proxy adds TLS
        ("http://gpu.example:8091", "gpu.example:8091", "https", False),
        ("http://localhost:3000", "localhost:8091", "http", False),
        ("http://127.0.0.1:8091", "localhost:8091", "http", False),
        ("http://evil.example", "localhost:8091", "http", False),
        ("null", "localhost:8091", "http", False),
        ("", "localhost:8091", "http", False),
        ("http://localhost:8091/", "localhost:8091", "http", False),
        ("http://[bad", "localhost:8091", "http", False),
        ("file://localhost:8091", "localhost:8091", "http", False),
    ],
)
def test_only_a_hosts_own_pages_may_call_it(origin: str | None, host: str, scheme: str, is_ours: bool) -> None:
    names = AllowedNames("127.0.0.1")
    if is_ours:
        names.check_origin(origin, host, scheme)
    else:
        with pytest.raises(ForbiddenError, match="may not call"):
            names.check_origin(origin, host, scheme)


# ---- throttle ----------------------------------------------------------------------------------------------------------------


def test_an_address_waits_after_so_many_failures_and_no_other_does() -> None:
    clock = Time()
    throttle = FailureThrottle(clock, failures_max=3, window_s=60.0)
    for _ in range(3):
        throttle.check("10.0.0.1")
        throttle.failed("10.0.0.1")
    clock.time_s += 59.0
    with pytest.raises(TooManyAttemptsError) as refused:
        throttle.check("10.0.0.1")
    assert refused.value.wait_s == pytest.approx(1.0)
    throttle.check("10.0.0.2")
    clock.time_s += 1.0
    throttle.check("10.0.0.1")
    throttle.failed("10.0.0.1")
    throttle.check("10.0.0.1")  # a new window


def test_one_machines_ipv6_addresses_are_one_and_ipv4_in_ipv6_is_ipv4() -> None:
    throttle = FailureThrottle(Time(), failures_max=2)
    throttle.failed("2001:db8::1")
    throttle.failed("2001:db8::ffff:2")
    with pytest.raises(TooManyAttemptsError):
        throttle.check("2001:db8:0:0:1::9")
    throttle.check("2001:db8:0:1::1")
    for _ in range(2):
        throttle.failed("::ffff:10.0.0.1")
    with pytest.raises(TooManyAttemptsError):
        throttle.check("10.0.0.1")


def test_the_table_of_addresses_is_bounded() -> None:
    throttle = FailureThrottle(Time(), addresses_max=100)
    for number in range(1_000):
        throttle.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(throttle) == 100


# ---- logins ------------------------------------------------------------------------------------------------------------------


def test_a_login_ends_idle_at_its_age_and_when_told() -> None:
    clock = Time()
    logins = Logins(clock)
    digest = digest_of(logins.begin("t1"))
    clock.time_s += IDLE_MAX_S - 1
    assert logins.token_of(digest) == "t1"
    clock.time_s += IDLE_MAX_S - 1
    assert logins.token_of(digest) == "t1"
    clock.time_s += IDLE_MAX_S
    with pytest.raises(UnauthenticatedError):
        logins.token_of(digest)

    digest = digest_of(logins.begin("t1"))
    for _ in range(int(LIFE_MAX_S / (IDLE_MAX_S / 2)) - 1):
        clock.time_s += IDLE_MAX_S / 2
        assert logins.token_of(digest) == "t1"
    clock.time_s += IDLE_MAX_S / 2
    with pytest.raises(UnauthenticatedError):
        logins.token_of(digest)

    ids = [logins.begin(token) for token in ("t1", "t1", "t2")]
    logins.end_of_token("t1")
    logins.end(digest_of(ids[2]))
    assert len(logins) == 0


def test_logins_last_over_a_restart(tmp_path: Path) -> None:
    clock, path = Time(), tmp_path / "logins.json"
    logins = Logins(clock, path)
    used, idle, ended = (logins.begin(token) for token in ("t1", "t2", "t3"))
    logins.end(digest_of(ended))
    clock.time_s += IDLE_MAX_S - 1
    assert logins.token_of(digest_of(used)) == "t1"
    clock.time_s += 1
    again = Logins(clock, path)
    assert again.token_of(digest_of(used)) == "t1"
    for login_id in (idle, ended):
        with pytest.raises(UnauthenticatedError):
            again.token_of(digest_of(login_id))
    assert path.stat().st_mode & 0o077 == 0
    assert used not in path.read_text()


def test_logins_that_cannot_be_read_have_ended(tmp_path: Path) -> None:
    path = tmp_path / "logins.json"
    login_id = Logins(Time(), path).begin("t1")
    for damage in (b"{", b"null", b"", b"\xff", b'{"a": 1}', b'{"a": {"token_id": "t1"}}', b"[" * 100_000):
        path.write_bytes(damage)
        with pytest.raises(UnauthenticatedError):
            Logins(Time(), path).token_of(digest_of(login_id))


def test_ids_of_logins_are_random_and_not_kept(tmp_path: Path) -> None:
    logins = Logins(Time(), tmp_path / "logins.json")
    ids = {logins.begin(f"t{number}") for number in range(50)}
    kept = (tmp_path / "logins.json").read_text()
    assert not any(login_id in kept for login_id in ids)
    assert len(ids) == 50
    assert min(len(login_id) for login_id in ids) >= 43
    assert not any(login_id in repr(logins.__dict__) for login_id in ids)


def test_logins_are_bounded_by_token_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Time()
    logins = Logins(clock)
    first = logins.begin("t1")
    for _ in range(LOGINS_PER_TOKEN_MAX):
        logins.begin("t1")
    assert len(logins) == LOGINS_PER_TOKEN_MAX
    with pytest.raises(UnauthenticatedError):
        logins.token_of(digest_of(first))
    monkeypatch.setattr(logins_module, "LOGINS_MAX", LOGINS_PER_TOKEN_MAX + 1)
    logins.begin("t2")
    with pytest.raises(LimitError):
        logins.begin("t3")
    clock.time_s += IDLE_MAX_S
    logins.begin("t3")
    assert len(logins) == 1, "what has ended makes room"


def test_a_token_that_logs_in_and_out_all_the_time_has_to_wait() -> None:
    clock = Time()
    logins = Logins(clock)
    for _ in range(BEGUN_PER_HOUR_MAX):
        logins.end(digest_of(logins.begin("t1")))
        clock.time_s += 1.0
    with pytest.raises(LimitError, match="within an hour"):
        logins.begin("t1")
    logins.begin("t2")
    clock.time_s += 3600.0 - BEGUN_PER_HOUR_MAX
    logins.begin("t1")


# ---- bodies ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"1e999", "1e999"),
        (b"-1e999", "-1e999"),
        (b"1" * 5000, "digits"),
        (b"9" * 101, "101 digits"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'[{"a": ["\\ud800x"]}]', "surrogate"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "nested"),
        (b'{"a": ', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"", "not JSON"),
        (b'"' + b'\\"' * 200_000, "not JSON"),
        (b"[" * 65 + b'"' + b'\\"' * 200_000, "nested"),
        (b'"' * 200_001 + b"[" * 65, "not JSON"),
    ],
)
def test_json_that_nothing_behind_could_bear_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        load_json(body)


@pytest.mark.parametrize("document", [{"a": [1, 2.5, None, True, "ä😀"]}, 10**99, "[" * 1000, {"brackets": '"[[\\' * 100}, [[]] * 1000])
def test_other_json_is_read_as_it_is(document: object) -> None:
    assert load_json(json.dumps(document).encode()) == document
    nested: object = "x"
    for _ in range(DEPTH_MAX):
        nested = [nested]
    assert load_json(json.dumps(nested).encode()) == nested


def test_numbers_that_are_not_finite_can_be_gaps() -> None:
    assert load_json('{"a": [NaN, -Infinity, 1e999, -1e999, 1.5]}', with_gaps=True) == {"a": [None, None, None, None, 1.5]}
    with pytest.raises(InvalidInputError):
        load_json('{"a": "\\ud800", "b": NaN}', with_gaps=True)


def test_halves_of_characters_are_found_anywhere() -> None:
    check_text({"a": ["ok", {"b": "😀"}], "n": 1})
    with pytest.raises(InvalidInputError):
        check_text({"a": ["ok", {"b": "\ud83d"}]})


# ---- text for people ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢字 😀", "plain ä 漢字 😀"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("a\x9b2Jb", "a2Jb"),
        ("over\rwritten\b", "overwritten"),
        ("one\ntwo\u2028three", "onetwothree"),
        ("nul\x00 del\x7f", "nul del"),
        ("abc\u202egpj.exe", "abcgpj.exe"),
        ("half \ud800", "half "),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_text_of_strangers_cannot_move_the_cursor(text: str, shown: str) -> None:
    assert printable(text) == shown


# ---- strangers' tokens -------------------------------------------------------------------------------------------------------


class SlowTokens:
    """Every look at a token waits until the test lets go."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.looks = 0

    def authenticate(self, bearer: str) -> Caller:
        self.looks += 1
        self.may_end.wait(20)
        if bearer == "wrong":
            raise UnauthenticatedError("no")
        return Caller("t1", "viewer")

    def principal(self, token_id: str) -> Caller:
        return Caller(token_id, "viewer")


async def test_only_so_many_strangers_wait_and_who_was_right_passes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.api.gate.STRANGERS_MAX", 5)
    tokens = SlowTokens()
    gate = Gate(tokens, Logins(Time()), Time())
    tokens.may_end.set()
    right = Headers({"authorization": "Bearer right"})
    assert (await gate.admit("GET", right, "10.0.0.1")).who == "viewer:t1"
    tokens.may_end.clear()
    wrong = Headers({"authorization": "Bearer wrong"})
    waiting = [asyncio.ensure_future(gate.admit("GET", wrong, f"10.0.1.{number}")) for number in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="wait for their tokens"):
        await gate.admit("GET", wrong, "10.0.2.1")
    passing = asyncio.ensure_future(gate.admit("GET", right, "10.0.0.1"))
    tokens.may_end.set()
    assert (await passing).token_id == "t1"
    assert [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)] == [UnauthenticatedError] * 5
    with pytest.raises(UnauthenticatedError):
        await gate.admit("GET", wrong, "10.0.2.1")


async def test_tokens_of_one_address_are_looked_at_one_by_one_up_to_the_limit() -> None:
    tokens = SlowTokens()
    gate = Gate(tokens, Logins(Time()), Time())
    wrong = Headers({"authorization": "Bearer wrong"})
    waiting = [asyncio.ensure_future(gate.admit("GET", wrong, "10.0.0.1")) for _ in range(30)]
    await asyncio.sleep(0)
    tokens.may_end.set()
    ends = Counter(type(end) for end in await asyncio.gather(*waiting, return_exceptions=True))
    assert ends == {UnauthenticatedError: FAILURES_MAX, TooManyAttemptsError: 30 - FAILURES_MAX}
    assert tokens.looks == FAILURES_MAX


async def test_many_right_tokens_of_one_address_at_once_are_no_failures() -> None:
    tokens = SlowTokens()
    gate = Gate(tokens, Logins(Time()), Time())
    waiting = [
        asyncio.ensure_future(gate.admit("GET", Headers({"authorization": f"Bearer right{number}"}), "10.0.0.1")) for number in range(30)
    ]
    tokens.may_end.set()
    assert {caller.who for caller in await asyncio.gather(*waiting)} == {"viewer:t1"}
    assert len(gate.throttle) == 0


async def test_a_look_that_is_broken_off_counts() -> None:
    throttle = FailureThrottle(Time(), failures_max=1)

    async def look() -> None:
        async with throttle.look("10.0.0.1"):
            await asyncio.Event().wait()

    task = asyncio.create_task(look())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(TooManyAttemptsError):
        throttle.check("10.0.0.1")


# ---- who is inside -----------------------------------------------------------------------------------------------------------


async def test_what_a_caller_does_ends_when_its_token_expires_or_is_revoked() -> None:
    clock = ManualClock(100.0)
    gate = Gate(SlowTokens(), Logins(clock.now_s), clock.now_s)
    gate._visits = Visits(clock)

    async def read(caller: Caller, stays: bool = False) -> str:
        with gate.inside(caller) as visit:
            if stays:
                visit.stay()
            await asyncio.sleep(0)
            await asyncio.sleep(0 if stays else 3600)
        return "whole"

    expiring, forever = Caller("t1", "viewer", expires_at_s=200.0), Caller("t2", "viewer")
    reading = [asyncio.create_task(read(*args)) for args in ((expiring,), (forever,), (forever, True))]
    await asyncio.sleep(0)
    clock.advance(100.0)
    gate.end_of_token("t2")
    with pytest.raises(UnauthenticatedError, match="t1 has expired"):
        await reading[0]
    with pytest.raises(UnauthenticatedError, match="t2 was revoked"):
        await reading[1]
    assert await reading[2] == "whole"
    with pytest.raises(UnauthenticatedError, match="t2 was revoked"):
        await read(forever)  # it was let in just before
    assert len(gate._visits) == 0
