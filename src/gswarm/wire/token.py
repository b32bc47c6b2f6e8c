"""Join tokens and API tokens: one line of text that people paste.

Both carry a checksum, so that a cut or mistyped token is told apart from one that was revoked. The secret never appears
in a ``repr``; who has to remember a token keeps ``secret_digest`` only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from gswarm.domain.errors import InvalidInputError

JOIN_PREFIX = "gsw1-"
API_PREFIX = "gswt-"

RandomBytes = Callable[[int], bytes]
"""As many unpredictable bytes as asked for."""

_ID_BYTES = 6
_SECRET_BYTES = 20
_FINGERPRINT_BYTES = 32
_PORT_BYTES = 2
_CHECKSUM_BYTES = 4
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a new client needs: where to ask, whom to trust and the right to ask once.

    Args:
        id: 12 hexadecimal digits; names the token in lists and logs.
        secret: 20 random bytes.
        ca_fingerprint: SHA-256 of the cluster's CA certificate, 64 hexadecimal digits.
        pool_port: the host's HTTPS port where ``/v1/ca`` and ``/v1/join`` answer.
    """

    id: str
    secret: bytes = field(repr=False)
    ca_fingerprint: str
    pool_port: int

    def __post_init__(self) -> None:
        _check_parts(self.id, self.secret)
        if len(self.ca_fingerprint) != 2 * _FINGERPRINT_BYTES or not _HEX.fullmatch(self.ca_fingerprint):
            raise InvalidInputError("a CA fingerprint has 64 lower-case hexadecimal digits")
        if not 0 < self.pool_port < 65536:
            raise InvalidInputError(f"{self.pool_port} is not a port")

    @classmethod
    def new(cls, ca_fingerprint: str, pool_port: int, random: RandomBytes = secrets.token_bytes) -> JoinToken:
        return cls(random(_ID_BYTES).hex(), random(_SECRET_BYTES), ca_fingerprint, pool_port)

    @property
    def secret_digest(self) -> str:
        """SHA-256 of the secret, hexadecimal: enough to check it, useless to guess it."""
        return hashlib.sha256(self.secret).hexdigest()

    def format(self) -> str:
        """``gsw1-`` and 103 letters and digits."""
        return _seal(JOIN_PREFIX, bytes.fromhex(self.id + self.ca_fingerprint) + self.pool_port.to_bytes(_PORT_BYTES) + self.secret)

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises:
        InvalidInputError: not a join token, or a mistyped one.
        """
        hint = "copy the whole line that `gswarm token create --role client` printed"
        if text.strip().startswith(API_PREFIX):
            raise InvalidInputError("this is no join token but one for the API", hint)
        body = _open(JOIN_PREFIX, text, _ID_BYTES + _FINGERPRINT_BYTES + _PORT_BYTES + _SECRET_BYTES, "join token", hint)
        after_fingerprint = _ID_BYTES + _FINGERPRINT_BYTES
        return cls(
            id=body[:_ID_BYTES].hex(),
            secret=body[after_fingerprint + _PORT_BYTES :],
            ca_fingerprint=body[_ID_BYTES:after_fingerprint].hex(),
            pool_port=int.from_bytes(body[after_fingerprint : after_fingerprint + _PORT_BYTES]),
        )


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer token of the HTTP API.

    Args:
        id: 12 hexadecimal digits; names the token in lists and logs.
        secret: 20 random bytes.
    """

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_parts(self.id, self.secret)

    @classmethod
    def new(cls, random: RandomBytes = secrets.token_bytes) -> ApiToken:
        return cls(random(_ID_BYTES).hex(), random(_SECRET_BYTES))

    @property
    def secret_digest(self) -> str:
        """SHA-256 of the secret, hexadecimal."""
        return hashlib.sha256(self.secret).hexdigest()

    def format(self) -> str:
        """``gswt-`` and 48 letters and digits."""
        return _seal(API_PREFIX, bytes.fromhex(self.id) + self.secret)

    @classmethod
    def parse(cls, text: str) -> ApiToken:
        """Raises:
        InvalidInputError: not an API token, or a mistyped one.
        """
        hint = "copy the whole line that `gswarm token create` printed"
        body = _open(API_PREFIX, text, _ID_BYTES + _SECRET_BYTES, "API token", hint)
        return cls(body[:_ID_BYTES].hex(), body[_ID_BYTES:])


def _check_parts(token_id: str, secret: bytes) -> None:
    if len(token_id) != 2 * _ID_BYTES or not _HEX.fullmatch(token_id):
        raise InvalidInputError(f"a token's id has {2 * _ID_BYTES} lower-case hexadecimal digits")
    if len(secret) != _SECRET_BYTES:
        raise InvalidInputError(f"a token's secret has {_SECRET_BYTES} bytes")


def _checksum(prefix: str, body: bytes) -> bytes:
    return zlib.crc32(prefix.encode() + body).to_bytes(_CHECKSUM_BYTES)


def _seal(prefix: str, body: bytes) -> str:
    """Base32, because it survives double clicks, line wrapping and a change of case."""
    return prefix + base64.b32encode(body + _checksum(prefix, body)).decode().rstrip("=").lower()


def _open(prefix: str, text: str, size_bytes: int, what: str, hint: str) -> bytes:
    text = text.strip().lower()
    if not text.startswith(prefix):
        raise InvalidInputError(f"this is no {what}: it does not begin with {prefix}", hint)
    encoded = text.removeprefix(prefix)
    wanted = -(-(size_bytes + _CHECKSUM_BYTES) * 8 // 5)
    if len(encoded) != wanted:
        raise InvalidInputError(f"the {what} has {len(encoded)} characters after {prefix} instead of {wanted}", hint)
    try:
        sealed = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
    except (binascii.Error, ValueError):
        raise InvalidInputError(f"the {what} has characters that no {what} has", hint) from None
    body, checksum = sealed[:-_CHECKSUM_BYTES], sealed[-_CHECKSUM_BYTES:]
    if checksum != _checksum(prefix, body) or _seal(prefix, body) != text:
        raise InvalidInputError(f"the {what} is mistyped: its checksum is wrong", hint)
    return body
