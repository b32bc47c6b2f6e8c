from __future__ import annotations

import pytest

from gswarm.domain.errors import InvalidInputError
from gswarm.wire.token import ApiToken, JoinToken

FINGERPRINT = "0123456789abcdef" * 4


def counting(size: int) -> bytes:
    return bytes(range(size))


def test_a_join_token_survives_text() -> None:
    token = JoinToken.new(FINGERPRINT, 8092, counting)
    text = token.format()
    assert text.startswith("gsw1-")
    assert "\n" not in text
    assert len(text) == 108
    assert JoinToken.parse(text) == token
    assert JoinToken.parse(f"  {text.upper()}\n") == token
    assert (token.id, token.ca_fingerprint, token.pool_port) == ("000102030405", FINGERPRINT, 8092)


def test_every_single_typo_is_noticed() -> None:
    text = JoinToken.new(FINGERPRINT, 8092, counting).format()
    for index in range(len("gsw1-"), len(text)):
        typo = text[:index] + ("b" if text[index] != "b" else "c") + text[index + 1 :]
        with pytest.raises(InvalidInputError):
            JoinToken.parse(typo)
    for index in range(len(text) - 1):
        swapped = text[:index] + text[index + 1] + text[index] + text[index + 2 :]
        if swapped != text:
            with pytest.raises(InvalidInputError):
                JoinToken.parse(swapped)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "does not begin with gsw1-"),
        ("hello", "does not begin with gsw1-"),
        ("gsw1-", "0 characters"),
        ("gsw1-" + "a" * 102, "102 characters"),
        ("gsw1-" + "a" * 10_000, "10000 characters"),
        ("gsw1-" + "1" * 103, "characters that no join token has"),
        ("gsw1-" + "é" * 103, "characters that no join token has"),
        ("gsw1-" + "a" * 103, "mistyped"),
    ],
)
def test_what_is_no_join_token_says_why(text: str, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part) as raised:
        JoinToken.parse(text)
    assert "gswarm token create" in raised.value.hint


def test_kinds_of_tokens_are_not_mixed_up() -> None:
    api = ApiToken.new(counting).format()
    assert ApiToken.parse(api) == ApiToken.new(counting)
    assert api.startswith("gswt-")
    with pytest.raises(InvalidInputError, match="no join token"):
        JoinToken.parse(api)
    with pytest.raises(InvalidInputError, match="no API token"):
        ApiToken.parse(JoinToken.new(FINGERPRINT, 1, counting).format())
    with pytest.raises(InvalidInputError):
        JoinToken.parse("gsw1-" + api.removeprefix("gswt-"))


def test_secrets_are_random_and_hidden() -> None:
    one, two = JoinToken.new(FINGERPRINT, 8092), JoinToken.new(FINGERPRINT, 8092)
    assert one.id != two.id
    assert one.secret != two.secret
    assert one.secret_digest != two.secret_digest
    assert one.secret.hex() not in repr(one)
    assert str(one.secret) not in repr(one)
    assert ApiToken.new().secret != ApiToken.new().secret
    assert "secret" not in repr(ApiToken.new())


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_must_be_one(port: int) -> None:
    with pytest.raises(InvalidInputError, match="not a port"):
        JoinToken.new(FINGERPRINT, port)


@pytest.mark.parametrize("fingerprint", ["", "ab", FINGERPRINT.upper(), "g" * 64])
def test_a_fingerprint_must_be_one(fingerprint: str) -> None:
    with pytest.raises(InvalidInputError, match="fingerprint"):
        JoinToken.new(fingerprint, 1)


def test_parts_must_have_their_sizes() -> None:
    with pytest.raises(InvalidInputError, match="id"):
        JoinToken("zz", bytes(20), FINGERPRINT, 1)
    with pytest.raises(InvalidInputError, match="secret"):
        ApiToken("0" * 12, b"short")
