"""Tokens: who may speak to the HTTP API, and which machine may join once."""

from __future__ import annotations

import hmac
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError, StorageError, UnauthenticatedError
from gswarm.wire.certificates import CertificateAuthority, check_client_name
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

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
  id TEXT PRIMARY KEY, secret_digest TEXT NOT NULL, role TEXT NOT NULL, created_at_s REAL NOT NULL,
  expires_at_s REAL, uses_left INTEGER, client TEXT, revoked_at_s REAL, last_used_at_s REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, token_id TEXT NOT NULL, joined_at_s REAL NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "id, role, created_at_s, expires_at_s, uses_left, client, revoked_at_s, last_used_at_s"
_MAKE_ANOTHER = "make another with 'gswarm token create'"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a bearer token speaks for."""

    token_id: str
    role: str


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


class TokenStore:
    """Tokens in a SQLite file; of their secrets only digests. Safe to call from several threads.

    Args:
        authority: the cluster's CA; signs what ``enrol`` lets in, and join tokens carry its fingerprint.
        pool_port: where a client with a join token asks; called when a token is made, because the port may be chosen by the system.
        now: seconds since the epoch.
    """

    def __init__(self, path: Path, authority: CertificateAuthority, pool_port: Callable[[], int], now: Callable[[], float]) -> None:
        self._path = path
        self._authority = authority
        self._pool_port = pool_port
        self._now = now
        self._lock = threading.Lock()
        with self._errors():
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)

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
            token = JoinToken.new(self._authority.fingerprint, self._pool_port())
            ttl_s, uses = ttl_s or JOIN_TTL_S, uses or 1
        else:
            token = ApiToken.new()
        expires_at_s = now_s + ttl_s if ttl_s is not None else None
        self._insert(TokenInfo(token.id, role, now_s, expires_at_s, uses, client, None, None), token.secret_digest)
        return NewToken(token.id, token.format())

    def _insert(self, info: TokenInfo, secret_digest: str) -> None:
        now_s = info.created_at_s
        with self._transaction() as db:
            old_s = now_s - ENDED_KEPT_S
            db.execute("DELETE FROM tokens WHERE expires_at_s < ? OR revoked_at_s < ?", (old_s, old_s))
            if db.execute("SELECT COUNT(*) FROM tokens").fetchone()[0] >= TOKENS_MAX:
                raise LimitError(f"there are {TOKENS_MAX} tokens already", "revoke some with 'gswarm token revoke'")
            row = (info.id, secret_digest, info.role, now_s, info.expires_at_s, info.uses_left, info.client)
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
        with self._transaction() as db:
            info = self._check(db, token.id, token.secret_digest, "API token")
            now_s = self._now()
            if info.last_used_at_s is None or now_s - info.last_used_at_s >= LAST_USED_RESOLUTION_S:
                db.execute("UPDATE tokens SET last_used_at_s = ? WHERE id = ?", (now_s, token.id))
        return Principal(token.id, info.role)

    def enrol(self, join_token_text: str, name: str, csr_pem: bytes, *, is_proven: bool = False, is_connected: bool = False) -> bytes:
        """A client's certificate (PEM) in exchange for one use of a join token: both or neither. A refusal leaves the token its use.

        Args:
            is_proven: the caller showed a valid certificate of that name, so it may have another one.
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
        if token.ca_fingerprint != self._authority.fingerprint:
            raise UnauthenticatedError("this join token is of another cluster", _MAKE_ANOTHER + " on this host")
        with self._transaction() as db:
            info = self._check(db, token.id, token.secret_digest, "join token")
            name = check_client_name(name)
            if not is_proven:
                _check_name(db, info, name, is_connected)
            certificate = self._authority.issue_client(csr_pem, name)
            db.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (name, token.id, self._now()))
            db.execute("UPDATE tokens SET uses_left = uses_left - 1, last_used_at_s = ? WHERE id = ?", (self._now(), token.id))
        return certificate

    def _check(self, db: sqlite3.Connection, token_id: str, secret_digest: str, what: str) -> TokenInfo:
        row = db.execute(f"SELECT secret_digest, {_COLUMNS} FROM tokens WHERE id = ?", (token_id,)).fetchone()  # noqa: S608
        known_digest = row[0] if row is not None else "0" * 64
        if not hmac.compare_digest(known_digest, secret_digest) or row is None:
            raise UnauthenticatedError(f"this {what} is unknown here", _MAKE_ANOTHER + " on this host")
        info = TokenInfo(*row[1:])
        if (info.role == "client") != (what == "join token"):
            raise UnauthenticatedError(f"this {what} is unknown here", _MAKE_ANOTHER + " on this host")
        if info.revoked_at_s is not None:
            raise UnauthenticatedError(f"the {what} {token_id} was revoked", _MAKE_ANOTHER)
        if info.expires_at_s is not None and self._now() >= info.expires_at_s:
            raise UnauthenticatedError(f"the {what} {token_id} has expired", _MAKE_ANOTHER)
        if info.uses_left == 0:
            raise UnauthenticatedError(f"the {what} {token_id} was used already", _MAKE_ANOTHER)
        return info

    def list(self) -> list[TokenInfo]:
        """All tokens, newest first, ended ones too."""
        with self._transaction() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY created_at_s DESC, id").fetchall()  # noqa: S608
        return [TokenInfo(*row) for row in rows]

    def revoke(self, token_id: str) -> None:
        """Ends a token now. Idempotent. Raises NotFoundError."""
        with self._transaction() as db:
            changed = db.execute("UPDATE tokens SET revoked_at_s = COALESCE(revoked_at_s, ?) WHERE id = ?", (self._now(), token_id))
            if changed.rowcount == 0:
                raise NotFoundError(f"there is no token {token_id!r}", "'gswarm token list' shows them")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"the tokens in {self._path} cannot be used: {error}", "correct the file's owner and mode, or free space"
            ) from error


def _check_name(db: sqlite3.Connection, info: TokenInfo, name: str, is_connected: bool) -> None:
    """Whoever has a client's name gets its work and may end its leases, so a name changes hands only when an administrator says so."""
    if info.client not in (None, name):
        raise UnauthenticatedError(f"the join token {info.id} is for the client {info.client}", f"join with --name {info.client}")
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
