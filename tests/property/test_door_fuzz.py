"""Tokens, signing requests, certificates and requests from strangers: whatever the bytes, a typed refusal or the right answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import string
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from blake3 import blake3
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pool_door import PoolDoor, pool_door

from gswarm.domain.errors import GswarmError, InvalidInputError, UnauthenticatedError
from gswarm.domain.ids import ClientName
from gswarm.host import pool
from gswarm.wire._pb import pool_pb2
from gswarm.wire.certificates import (
    CertificateAuthority,
    check_client_name,
    fingerprint,
    make_key_and_csr,
    peer_of,
    renewal_due_at,
    server_name,
)
from gswarm.wire.convert import decode_reach_reply, decode_reach_request, encode_reach_reply, encode_reach_request
from gswarm.wire.tls import client_ssl_context, peer_name_from_ssl
from gswarm.wire.token import ApiToken, JoinToken

AUTHORITY = CertificateAuthority.create("c1")
_KEY, CSR = make_key_and_csr("node-1")
CERT = AUTHORITY.issue_client(CSR, "node-1", enrolment="e1")
FEW = settings(max_examples=60, deadline=None)

secrets = st.binary(min_size=20, max_size=20)
ids = st.binary(min_size=6, max_size=6).map(bytes.hex)
fingerprints = st.binary(min_size=32, max_size=32).map(bytes.hex)
api_tokens = st.builds(ApiToken, ids, secrets)
join_tokens = st.builds(JoinToken, ids, secrets, fingerprints, st.integers(1, 65535))
texts = st.text() | st.text(string.ascii_lowercase + "234567gsw1t-= \n", max_size=140)


def changed(data: bytes, place: int, bit: int) -> bytes:
    """One bit is another."""
    at = place % len(data)
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


@FEW
@given(api_tokens, join_tokens, st.booleans())
def test_a_token_comes_back_as_it_was_in_any_case_and_with_blanks_around(api: ApiToken, join: JoinToken, upper: bool) -> None:
    for kind, token in ((ApiToken, api), (JoinToken, join)):
        text = token.format().upper() if upper else token.format()
        assert kind.parse(f" {text}\n") == token
        assert "secret" not in repr(token)


@FEW
@given(texts, st.sampled_from(["", "gsw1-", "gswt-"]))
def test_any_text_is_a_token_or_refused(text: str, prefix: str) -> None:
    for kind in (ApiToken, JoinToken):
        with contextlib.suppress(InvalidInputError):
            token = kind.parse(prefix + text)
            assert token.format() == (prefix + text).strip().lower()


@FEW
@given(api_tokens | join_tokens, st.integers(0, 1000), st.sampled_from(string.ascii_lowercase + string.digits + "-= é"))
def test_one_wrong_character_is_noticed(token: ApiToken | JoinToken, place: int, letter: str) -> None:
    text = token.format()
    at = place % len(text)
    mistyped = text[:at] + letter + text[at + 1 :]
    if mistyped.strip().lower() != text:
        with pytest.raises(InvalidInputError):
            type(token).parse(mistyped)


@FEW
@given(st.binary(max_size=400) | st.builds(changed, st.just(CSR), st.integers(0, 10_000), st.integers(0, 7)), st.text(max_size=80))
def test_any_signing_request_is_refused_or_gets_the_name_that_the_host_chose(csr: bytes, enrolment: str) -> None:
    try:
        cert = AUTHORITY.issue_client(csr, "node-7", enrolment="e7")
    except InvalidInputError:
        return
    peer = peer_of(cert)
    assert (peer.name, peer.role, peer.enrolment) == ("node-7", "client", "e7")
    assert not x509.load_pem_x509_certificate(cert).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@FEW
@given(st.binary(max_size=400) | st.builds(changed, st.just(CERT), st.integers(0, 10_000), st.integers(0, 7)))
def test_any_certificate_names_somebody_or_is_refused(cert: bytes) -> None:
    for read in (peer_of, fingerprint, renewal_due_at):
        with contextlib.suppress(InvalidInputError):
            read(cert)


names = st.sampled_from(["commonName", "organizationalUnitName", "serialNumber", "x"])
subjects = st.lists(st.tuples(st.tuples(names, st.text(max_size=10))), max_size=5).map(tuple)


@FEW
@given(
    st.none()
    | st.fixed_dictionaries({}, optional={"subject": subjects, "notAfter": st.text(max_size=30) | st.just("Jan  1 00:00:00 2030 GMT")})
)
def test_any_description_of_a_peer_names_somebody_or_is_refused(found: dict[str, object] | None) -> None:
    with contextlib.suppress(UnauthenticatedError):
        peer = peer_name_from_ssl(found)
        assert peer.expires_at_s > 0


@FEW
@given(st.text(max_size=80))
def test_a_name_that_is_taken_is_one_that_a_certificate_carries(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        name = check_client_name(text)
        assert peer_of(AUTHORITY.issue_client(CSR, name)).name == name
        assert server_name(name).isascii()
        assert "/" not in name


@FEW
@given(
    st.binary(max_size=300),
    st.text(max_size=70),
    st.text(max_size=16),
    st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=5),
)
def test_questions_about_reach_survive_the_wire_and_anything_else_is_refused(
    data: bytes, name: str, enrolment: str, digests: list[str]
) -> None:
    for decode in (decode_reach_request, decode_reach_reply):
        with contextlib.suppress(GswarmError):
            decode(data)
    with contextlib.suppress(InvalidInputError):
        assert decode_reach_request(encode_reach_request(ClientName(name), enrolment)) == (name, enrolment)
    assert list(decode_reach_reply(encode_reach_reply(digests))) == digests  # type: ignore[arg-type]


def test_a_client_that_sends_no_enrolment_yet_is_understood() -> None:
    assert decode_reach_request(pool_pb2.ReachRequest(client="a").SerializeToString()) == ("a", None)


def test_a_certificate_ends_when_it_says() -> None:
    expires_at = x509.load_pem_x509_certificate(CERT).not_valid_after_utc
    assert datetime.fromtimestamp(peer_of(CERT).expires_at_s, UTC) == expires_at


# ---- the port of the host's pool ------------------------------------------------------------------------------------------------


@dataclass
class Port:
    """Raw requests to a pool's port, as a stranger or as a client."""

    door: PoolDoor
    contexts: dict[bool, ssl.SSLContext]

    def ask(self, request: bytes, is_member: bool) -> bytes:
        """What comes back until the connection ends."""
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.door.server.port), timeout=20) as plain,
            self.contexts[is_member].wrap_socket(plain, server_hostname="gswarm-host") as connection,
            contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLEOFError),
        ):
            connection.sendall(request)
            while piece := connection.recv(65536):
                answer += piece
        return answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """In a thread, with an event loop of its own."""
    started: Future[Port] = Future()
    stopping = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        try:
            async with pool_door(tmp_path_factory.mktemp("port")) as door:
                door.put(b"bytes")
                member = await asyncio.to_thread(door.member, "a")
                started.set_result(Port(door, {True: client_ssl_context(member), False: door.anyone()}))
                await stopping.wait()
        except Exception as error:
            started.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield started.result(20)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(20)
        loop.close()


lines = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
places = st.sampled_from(["0" * 64, blake3(b"bytes").hexdigest(), "missing", "%00", "..%2f..", "%ff"]) | lines.map(
    lambda text: quote(text, safe="%/")
)
targets = st.builds(
    lambda path, place, query: path.replace("{digest}", place) + query,
    st.sampled_from(sorted({path for _, path in pool.ROUTES}))
    | st.sampled_from(["/", "*", "/v1/{digest}", "//v1/ca", "http://x/v1/{digest}"]),
    places,
    st.sampled_from(["", "?upload=1", "?verify=1", "?offset=9", "?offset=-1", "?offset=%00", "?" + "x" * 9_000]),
)
headers = st.dictionaries(
    st.sampled_from(
        ["Range", "Content-Type", "Content-Encoding", "Expect", "Accept", "Authorization", "Origin", "Upgrade", "Host", "X" * 9_000]
    ),
    lines | st.sampled_from(["bytes=0-", "bytes=9-1", "bytes=1-1,2-2", "application/json; charset=utf-16", "gzip", "100-continue"]),
    max_size=3,
)
halves = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3)
texts_of_join = st.fixed_dictionaries(
    {},
    optional={name: texts | halves | st.none() | st.integers() for name in ("token", "name", "csr", "version")}
    | {"more": st.just([[]] * 99)},
)
bodies = st.binary(max_size=60) | (texts_of_join | st.lists(texts | halves, max_size=3) | st.integers()).map(
    lambda found: json.dumps(found).encode()
)


def framed(body: bytes, is_chunked: bool) -> bytes:
    if is_chunked:
        return b"Transfer-Encoding: chunked\r\n\r\n" + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted({method for method, _ in pool.ROUTES})) | st.sampled_from(["OPTIONS", "CONNECT", "DELETE", "X"]),
    targets,
    headers,
    bodies,
    st.booleans(),
    st.booleans(),
)
def test_any_request_to_the_pools_port_is_answered_or_refused(
    port: Port, method: str, target: str, named: dict[str, str], body: bytes, is_chunked: bool, is_member: bool
) -> None:
    head = "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in named.items())))
    answer = port.ask(head.encode("latin-1") + b"Connection: close\r\n" + framed(body, is_chunked), is_member)
    assert b"200" <= answer.partition(b" ")[2][:3] < b"500", answer


@pytest.mark.parametrize(("path", "is_member"), [("/v1/join", False), ("/v1/join", True), ("/v1/renew", True)])
@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["token", "name", "csr", "version"]), texts | halves)
def test_any_text_from_one_who_joins_or_renews_is_answered_or_refused(port: Port, path: str, is_member: bool, name: str, text: str) -> None:
    body = json.dumps({"token": "x", "name": "a", "csr": "x"} | {name: text}).encode()
    answer = port.ask(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode() + framed(body, False), is_member)
    assert b"400" <= answer.partition(b" ")[2][:3] < b"500", answer


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_to_the_pools_port_are_answered_or_refused(port: Port, data: bytes, is_member: bool) -> None:
    answer = port.ask(data + b"\r\n\r\nGET /v1/ca HTTP/1.1\r\nConnection: close\r\n\r\n", is_member)
    assert b"200" <= answer.partition(b" ")[2][:3] < b"500", answer
