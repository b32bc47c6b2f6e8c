"""Who is logged in with a cookie: a random id in the browser, everything else here."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gswarm.domain.errors import GswarmError, LimitError, NotFoundError, UnauthenticatedError
from gswarm.wire.private_files import read_private, save_private

IDLE_MAX_S = 12 * 3600.0
LIFE_MAX_S = 7 * 86400.0
LOGINS_MAX = 2_000
LOGINS_PER_TOKEN_MAX = 20
"""One more ends the token's oldest."""
BEGUN_PER_HOUR_MAX = 100
"""By one token. Each is a record of the audit log, and must not push out what others did there."""
SEEN_KEPT_S = 600.0
"""A use is on disk so much later at the latest."""

_log = logging.getLogger("gswarm.host.logins")


@dataclass(slots=True)
class _Login:
    token_id: str
    began_s: float
    seen_s: float


_KEPT = TypeAdapter(dict[str, _Login])


class Logins:
    """They last over restarts of the host. Keys are digests of the ids, so that nothing here or on disk opens a door.

    Safe to use from several threads. What begins or ends is on disk before it returns; a disk that takes nothing is said in the log.

    Args:
        clock: seconds since the epoch.
        path: the JSON file that they are kept in; ``None`` keeps them in memory.
    """

    def __init__(self, clock: Callable[[], float], path: Path | None = None) -> None:
        self._clock = clock
        self._path = path
        self._mutex = threading.Lock()
        self._logins: dict[str, _Login] = {} if path is None else _load(path)
        self._kept_s = clock()
        self._begun_s: dict[str, deque[float]] = {}
        """When each token's newest logins began."""

    def __len__(self) -> int:
        return len(self._logins)

    def begin(self, token_id: str) -> str:
        """A new login; its id, 256 random bits, goes into the cookie.

        Raises:
            LimitError: too many are logged in, or too many began with this token within an hour.
        """
        login_id = secrets.token_urlsafe(32)
        with self._mutex:
            now_s = self._clock()
            begun_s = self._begun_s.setdefault(token_id, deque(maxlen=BEGUN_PER_HOUR_MAX))
            if len(begun_s) == BEGUN_PER_HOUR_MAX and now_s - begun_s[0] < 3600.0:
                raise LimitError(f"{BEGUN_PER_HOUR_MAX} logins began with this token within an hour", "a program sends the token itself")
            self._drop(lambda login: _is_over(login, now_s))
            of_token = [key for key, login in self._logins.items() if login.token_id == token_id]
            if len(of_token) >= LOGINS_PER_TOKEN_MAX:
                del self._logins[of_token[0]]
            elif len(self._logins) >= LOGINS_MAX:
                raise LimitError(f"{LOGINS_MAX} logins are open", "log out elsewhere, or try again later")
            self._logins[digest_of(login_id)] = _Login(token_id, now_s, now_s)
            begun_s.append(now_s)
            self._keep()
        return login_id

    def token_of(self, digest: str) -> str:
        """The id of the token that a login was made with; the login counts as used now.

        Raises:
            UnauthenticatedError: there is no such login, or it has ended.
        """
        with self._mutex:
            login, now_s = self._logins.get(digest), self._clock()
            if login is None or _is_over(login, now_s):
                self._logins.pop(digest, None)
                raise UnauthenticatedError("this login has ended", "log in again")
            login.seen_s = now_s
            if now_s - self._kept_s >= SEEN_KEPT_S:
                self._keep()
        return login.token_id

    def end(self, digest: str) -> bool:
        """Idempotent. Whether the login had not ended before."""
        with self._mutex:
            if self._logins.pop(digest, None) is None:
                return False
            self._keep()
            return True

    def end_of_token(self, token_id: str) -> None:
        """Ends every login that was made with a token. Never waits for the disk: the token's own end is there, and opens no door."""
        with self._mutex:
            self._begun_s.pop(token_id, None)
            self._drop(lambda login: login.token_id == token_id)

    def _drop(self, is_meant: Callable[[_Login], bool]) -> None:
        for key in [key for key, login in self._logins.items() if is_meant(login)]:
            del self._logins[key]

    def _keep(self) -> None:
        self._kept_s = self._clock()
        if self._path is None:
            return
        try:
            save_private(self._path.parent, {self._path.name: _KEPT.dump_json(self._logins)})
        except GswarmError as error:
            _log.warning("logins are not kept for the next start: %s", error)


def _load(path: Path) -> dict[str, _Login]:
    try:
        return _KEPT.validate_json(read_private(path))
    except NotFoundError:
        return {}
    except (GswarmError, ValidationError) as error:
        _log.warning("%s is not used, everybody has to log in again: %s", path, error)
        return {}


def digest_of(login_id: str) -> str:
    """What a login is known by here."""
    return hashlib.sha256(login_id.encode(errors="replace")).hexdigest()


def _is_over(login: _Login, now_s: float) -> bool:
    return now_s - login.seen_s >= IDLE_MAX_S or now_s - login.began_s >= LIFE_MAX_S
