"""Tokens, signing requests and certificates from strangers: whatever the bytes, a typed refusal or the right answer."""

from __future__ import annotations

import contextlib
import string
from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from gswarm.domain.errors import GswarmError, InvalidInputError, UnauthenticatedError
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
from gswarm.wire.tls import peer_name_from_ssl
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
@given(st.binary(max_size=300), st.text(max_size=70), st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=5))
def test_questions_about_reach_survive_the_wire_and_anything_else_is_refused(data: bytes, name: str, digests: list[str]) -> None:
    for decode in (decode_reach_request, decode_reach_reply):
        with contextlib.suppress(GswarmError):
            decode(data)
    with contextlib.suppress(InvalidInputError):
        assert decode_reach_request(encode_reach_request(name)) == name  # type: ignore[arg-type]
    assert list(decode_reach_reply(encode_reach_reply(digests))) == digests  # type: ignore[arg-type]


def test_a_certificate_ends_when_it_says() -> None:
    expires_at = x509.load_pem_x509_certificate(CERT).not_valid_after_utc
    assert datetime.fromtimestamp(peer_of(CERT).expires_at_s, UTC) == expires_at
