"""Tokens and names: who may speak to the HTTP API, which machine may join, and whose certificate still counts."""

from __future__ import annotations

import hmac
import math
import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError, UnauthenticatedError
from gswarm.domain.ids import ClientName
from gswarm.host.access.auth_db import AuthDb
from gswarm.wire.certificates import CLIENT_TTL, ROLE_CLIENT, CertificateAuthority, Peer, check_client_name
from gswarm.wire.token import ApiToken, JoinToken

ROLES = ("client", "viewer", "operator", "admin")
JOIN_TTL_S = 3600.0
TTL_S_MAX = 10 * 365 * 86400.0
USES_MAX = 10_000
TOKENS_MAX = 10_000
LAST_USED_RESOLUTION_S = 60.0
"""``last_used`` is written at most this often: reading the API must not write to the disk each time."""
ENDED_KEPT_S = 30 * 86400.0
"""Tokens that ended this long ago are removed when new ones are made."""
REMEMBERED_MAX = 1_000
"""Tokens whose secret was proven lately and need no slow hash again; the one that was used longest ago is forgotten first."""
HASHES_AT_ONCE_MAX = 2
"""Slow hashes at a time: guessing may cost the guesser's time, not all of the host's cores and memory."""
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""argon2id with the least that OWASP's Password Storage Cheat Sheet asks for (19 MiB, two passes)."""

_COLUMNS = "id, role, created_at_s, expires_at_s, uses_left, client, revoked_at_s, last_used_at_s"
_MAKE_ANOTHER = "make another with 'gswarm token create'"
_JOIN_AGAIN = "an administrator lets it in again with 'gswarm token create --role client --name {}'"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a bearer token speaks for."""

    token_id: str
    role: str
    expires_at_s: float = math.inf
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token as it is listed: all but its secret. Times are seconds since the epoch."""

    id: str
    role: str
    created_at_s: float
    expires_at_s: float | None
    uses_left: int | None
    """Joins that are left; ``None`` for tokens of the API, which may be used until they end."""
    client: str | None
    """The only name that a join token is good for, also one that was given before; ``None``: any name that is new."""
    revoked_at_s: float | None
    last_used_at_s: float | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """``text`` is shown once and never stored."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """Who has no right to be here any more: a token, and the clients whose certificates go back to it."""

    token_id: str | None
    clients: tuple[ClientName, ...] = ()


@dataclass(frozen=True, slots=True)
class _Proven:
    """A token whose secret was proven. ``mark``: the secret under a key that dies with the process."""

    mark: bytes
    info: TokenInfo


class TokenStore:
    """Tokens in a SQLite file, of their secrets only slow hashes. Safe to call from several threads.

    A hash takes some 30 ms, so a secret that was proven is remembered, and later requests with it take microseconds. What
    ends a token is looked at each time.

    Args:
        authority: the cluster's CA; signs what ``enrol`` lets in, and join tokens carry its fingerprint.
        pool_port: where a client with a join token asks; called when a token is made, because the port may be chosen by the system.
        now: seconds since the epoch.
        client_ttl: how long a client's certificate lasts.

    Raises:
        IncompatibleVersionError, StorageError: as for ``AuthDb``.
    """

    def __init__(
        self,
        path: Path,
        authority: CertificateAuthority,
        pool_port: Callable[[], int],
        now: Callable[[], float],
        client_ttl: timedelta = CLIENT_TTL,
    ) -> None:
        self.authority = authority
        self._pool_port = pool_port
        self._now = now
        self._client_ttl = client_ttl
        self._db = AuthDb(path, HASHER.hash, now)
        self._key = secrets.token_bytes(32)
        self._proven: OrderedDict[str, _Proven] = OrderedDict()
        self._hashing = threading.Semaphore(HASHES_AT_ONCE_MAX)
        self._listeners: list[Callable[[Revoked], None]] = []
        with self._db.transaction() as db:
            rows = db.execute("SELECT name, enrolment FROM names WHERE revoked_at_s IS NULL").fetchall()
        self._enrolments: dict[str, str] = dict(rows)
        """Of the names whose certificates count."""

    def watch(self, listener: Callable[[Revoked], None]) -> None:
        """Tells ``listener`` of every revocation once it is on disk, in the thread that revokes."""
        self._listeners.append(listener)

    # ---- tokens ----------------------------------------------------------------------------------------------------

    def create(self, role: str, ttl_s: float | None = None, uses: int | None = None, client: str | None = None) -> NewToken:
        """A new token.

        Args:
            ttl_s: ``None`` means an hour for a join token (role ``client``) and no end for the others.
            uses: how many machines may join with it, 1 if ``None``; only for the role ``client``.
            client: the name that a machine joins under; needed where a machine comes back without its certificate.

        Raises:
            InvalidInputError: an unknown role, a number out of range, or no name for a client.
            LimitError: too many tokens.
        """
        _check_request(role, ttl_s, uses, client)
        client = check_client_name(client) if client is not None else None
        now_s = self._now()
        token: JoinToken | ApiToken
        if role == "client":
            token = JoinToken.new(self.authority.fingerprint, self._pool_port())
            ttl_s, uses = ttl_s or JOIN_TTL_S, uses or 1
        else:
            token = ApiToken.new()
        expires_at_s = now_s + ttl_s if ttl_s is not None else None
        with self._hashing:
            secret_hash = HASHER.hash(token.secret_digest)
        self._insert(TokenInfo(token.id, role, now_s, expires_at_s, uses, client, None, None), secret_hash)
        return NewToken(token.id, token.format())

    def _insert(self, info: TokenInfo, secret_hash: str) -> None:
        now_s = info.created_at_s
        with self._db.transaction() as db:
            old_s = now_s - ENDED_KEPT_S
            db.execute("DELETE FROM tokens WHERE expires_at_s < ? OR revoked_at_s < ?", (old_s, old_s))
            if db.execute("SELECT COUNT(*) FROM tokens").fetchone()[0] >= TOKENS_MAX:
                raise LimitError(f"there are {TOKENS_MAX} tokens already", "revoke some with 'gswarm token revoke'")
            row = (info.id, secret_hash, info.role, now_s, info.expires_at_s, info.uses_left, info.client)
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)", row)

    def authenticate(self, bearer: str) -> Principal:
        """Who ``bearer`` speaks for.

        Raises:
            UnauthenticatedError: not a token of this host, or one that ended; a join token logs nobody in.
        """
        try:
            token = ApiToken.parse(bearer)
        except InvalidInputError as error:
            raise UnauthenticatedError(error.message, error.hint) from None
        info = self._remembered(token)
        if info is None or _is_use_due(info, self._now()):
            info = self._look_up(token, is_proven=info is not None)
        else:
            self._check_end(info, "API token")
        return _principal(info)

    def principal(self, token_id: str) -> Principal:
        """Whom the API token of that id speaks for, for a caller who has shown it before.

        Raises:
            UnauthenticatedError: it has ended.
        """
        known = self._proven.get(token_id)
        if known is not None:
            self._check_end(known.info, "API token")
            return _principal(known.info)
        with self._db.transaction() as db:
            return _principal(self._find(db, token_id, "API token")[0])

    def _remembered(self, token: ApiToken) -> TokenInfo | None:
        known = self._proven.get(token.id)
        return known.info if known is not None and hmac.compare_digest(known.mark, self._mark(token)) else None

    def _mark(self, token: ApiToken) -> bytes:
        return blake2b(token.id.encode() + token.secret, key=self._key).digest()

    def _look_up(self, token: ApiToken, *, is_proven: bool) -> TokenInfo:
        """What the file says of the token now, which is remembered then."""
        if not is_proven:
            self._prove(token, "API token")
        with self._db.transaction() as db:
            # Read again: it may have been revoked during the slow hash.
            info = self._find(db, token.id, "API token")[0]
            now_s = self._now()
            if _is_use_due(info, now_s):
                db.execute("UPDATE tokens SET last_used_at_s = ? WHERE id = ?", (now_s, token.id))
                info = replace(info, last_used_at_s=now_s)
            self._proven[token.id] = _Proven(self._mark(token), info)
            self._proven.move_to_end(token.id)
            if len(self._proven) > REMEMBERED_MAX:
                self._proven.popitem(last=False)
        return info

    def _prove(self, token: ApiToken | JoinToken, what: str) -> None:
        """Checks the secret, slowly and outside of any transaction. Raises UnauthenticatedError."""
        with self._db.transaction() as db:
            _info, secret_hash = self._find(db, token.id, what)
        try:
            with self._hashing:
                HASHER.verify(secret_hash, token.secret_digest)
        except (Argon2Error, InvalidHashError):
            raise _unknown(what) from None

    def _find(self, db: sqlite3.Connection, token_id: str, what: str) -> tuple[TokenInfo, str]:
        """The token and its secret's hash. Raises UnauthenticatedError when it is of another kind or has ended."""
        row = db.execute(f"SELECT secret_hash, {_COLUMNS} FROM tokens WHERE id = ?", (token_id,)).fetchone()  # noqa: S608
        if row is None or (row[2] == "client") != (what == "join token"):
            raise _unknown(what)
        info = TokenInfo(*row[1:])
        self._check_end(info, what)
        return info, row[0]

    def _check_end(self, info: TokenInfo, what: str) -> None:
        if info.revoked_at_s is not None:
            raise UnauthenticatedError(f"the {what} {info.id} was revoked", _MAKE_ANOTHER)
        if info.expires_at_s is not None and self._now() >= info.expires_at_s:
            raise UnauthenticatedError(f"the {what} {info.id} has expired", _MAKE_ANOTHER)
        if info.uses_left == 0:
            raise UnauthenticatedError(f"the {what} {info.id} was used already", _MAKE_ANOTHER)

    def list(self) -> list[TokenInfo]:
        """All tokens, newest first, ended ones too."""
        with self._db.transaction() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY created_at_s DESC, id").fetchall()  # noqa: S608
        return [TokenInfo(*row) for row in rows]

    def revoke(self, token_id: str) -> tuple[ClientName, ...]:
        """Ends a token now and, of a join token, the certificates of the clients that joined with it; their names. Idempotent.

        Raises:
            NotFoundError: there is no such token.
        """
        with self._db.transaction() as db:
            changed = db.execute("UPDATE tokens SET revoked_at_s = COALESCE(revoked_at_s, ?) WHERE id = ?", (self._now(), token_id))
            if changed.rowcount == 0:
                raise NotFoundError(f"there is no token {token_id!r}", "'gswarm token list' shows them")
            rows = db.execute("SELECT name FROM names WHERE token_id = ? AND revoked_at_s IS NULL", (token_id,)).fetchall()
            names = tuple(ClientName(name) for (name,) in rows)
            self._revoke_names(db, names)
            self._proven.pop(token_id, None)
        self._tell(Revoked(token_id, names))
        return names

    # ---- clients ---------------------------------------------------------------------------------------------------

    def enrol(self, join_token_text: str, name: str, csr_pem: bytes, *, shown: Peer | None = None, is_connected: bool = False) -> bytes:
        """A client's certificate (PEM) in exchange for one use of a join token: both or neither. A refusal leaves the token its use.

        A name that changes hands gets a new enrolment: the certificates of the machine that had it end.

        Args:
            shown: whom the caller's certificate names; one of that name, if it still counts, proves that it may have another one.
            is_connected: a client of that name is connected.

        Raises:
            UnauthenticatedError: the token is unknown, of another cluster, used, expired, revoked or made for another name.
            ConflictError: the name was given to a machine before.
            InvalidInputError: the name or the signing request.
        """
        try:
            token = JoinToken.parse(join_token_text)
        except InvalidInputError as error:
            raise UnauthenticatedError(error.message, error.hint) from None
        if token.ca_fingerprint != self.authority.fingerprint:
            raise UnauthenticatedError("this join token is of another cluster", _MAKE_ANOTHER + " on this host")
        self._prove(token, "join token")
        with self._db.transaction() as db:
            info = self._find(db, token.id, "join token")[0]
            name = check_client_name(name)
            if info.client not in (None, name):
                raise UnauthenticatedError(f"the join token {info.id} is for the client {info.client}", f"join with --name {info.client}")
            # Looked at here: it may have been revoked while the token's slow hash was made.
            if shown is not None and shown.name == name and self._counts(shown):
                enrolment = shown.enrolment
            else:
                _check_name(db, info, name, is_connected)
                enrolment = secrets.token_hex(8)
            certificate = self._sign(csr_pem, name, enrolment)
            db.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?, NULL)", (name, token.id, self._now(), enrolment))
            db.execute("UPDATE tokens SET uses_left = uses_left - 1, last_used_at_s = ? WHERE id = ?", (self._now(), token.id))
            self._enrolments[name] = enrolment
        return certificate

    def renew(self, peer: Peer, csr_pem: bytes) -> bytes:
        """Another certificate (PEM) for a client that shows one which counts; the one it has stays good until it ends.

        Raises:
            UnauthenticatedError: its certificate does not count.
            InvalidInputError: the signing request.
        """
        self.check_client(peer)
        return self._sign(csr_pem, peer.name, peer.enrolment)

    def _sign(self, csr_pem: bytes, name: str, enrolment: str) -> bytes:
        return self.authority.issue_client(csr_pem, name, self._client_ttl, datetime.fromtimestamp(self._now(), UTC), enrolment)

    def check_client(self, peer: Peer) -> None:
        """Whether a certificate, whose signature and time the handshake has checked, still counts. Takes microseconds.

        Raises:
            UnauthenticatedError: it was revoked, its name belongs to another machine now, or is of no client.
        """
        if not self._counts(peer):
            raise UnauthenticatedError(
                f"the certificate of {peer.name!r} was revoked, or this host never gave it", _JOIN_AGAIN.format(peer.name)
            )

    def _counts(self, peer: Peer) -> bool:
        enrolment = self._enrolments.get(peer.name) if peer.role == ROLE_CLIENT else None
        return enrolment is not None and hmac.compare_digest(enrolment.encode(), peer.enrolment.encode())

    def revoke_client(self, name: str) -> None:
        """Ends every certificate of that client, for good. Idempotent.

        Raises:
            NotFoundError: no machine has joined under that name.
        """
        with self._db.transaction() as db:
            if db.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone() is None:
                raise NotFoundError(f"no machine has joined as {name!r}", "'gswarm client list' shows the clients")
            self._revoke_names(db, (ClientName(name),))
        self._tell(Revoked(None, (ClientName(name),)))

    def _revoke_names(self, db: sqlite3.Connection, names: tuple[ClientName, ...]) -> None:
        for name in names:
            db.execute("UPDATE names SET revoked_at_s = COALESCE(revoked_at_s, ?) WHERE name = ?", (self._now(), name))
            self._enrolments.pop(name, None)

    def _tell(self, revoked: Revoked) -> None:
        for listener in self._listeners:
            listener(revoked)

    def close(self) -> None:
        self._db.close()


def _principal(info: TokenInfo) -> Principal:
    return Principal(info.id, info.role, math.inf if info.expires_at_s is None else info.expires_at_s)


def _unknown(what: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"this {what} is unknown here", _MAKE_ANOTHER + " on this host")


def _is_use_due(info: TokenInfo, now_s: float) -> bool:
    """Whether ``last_used`` is to be written, also when the clock went back."""
    return info.last_used_at_s is None or abs(now_s - info.last_used_at_s) >= LAST_USED_RESOLUTION_S


def _check_name(db: sqlite3.Connection, info: TokenInfo, name: str, is_connected: bool) -> None:
    """Whoever has a client's name gets its work and may end its leases, so a name changes hands only when an administrator says so."""
    if is_connected:
        raise ConflictError(f"a client {name} is connected already", "choose another --name")
    if info.client is None and db.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone() is not None:
        raise ConflictError(
            f"a machine has joined as {name} before",
            f"choose another --name, or take its place with a token of 'gswarm token create --role client --name {name}'",
        )


def _check_request(role: str, ttl_s: float | None, uses: int | None, client: str | None) -> None:
    if role not in ROLES:
        raise InvalidInputError(f"there is no role {role!r}", f"roles: {', '.join(ROLES)}")
    if ttl_s is not None and not 0 < ttl_s <= TTL_S_MAX:
        raise InvalidInputError(f"a token cannot live for {ttl_s} seconds", f"give more than 0 and at most {TTL_S_MAX:.0f}")
    if uses is not None and role != "client":
        raise InvalidInputError(f"a token of the role {role} is not counted by uses", "leave uses out, or give it a ttl")
    if client is not None and role != "client":
        raise InvalidInputError(f"a token of the role {role} is for no client", "leave the client's name out, or use the role client")
    if client is not None and uses not in (None, 1):
        raise InvalidInputError("a token for one client is used once", "leave uses out, or leave the name out")
    if uses is not None and not 1 <= uses <= USES_MAX:
        raise InvalidInputError(f"a join token cannot be used {uses} times", f"give 1 to {USES_MAX}")
