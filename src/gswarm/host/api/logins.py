"""Who is logged in with a cookie: a random id in the browser, everything else here."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from gswarm.domain.errors import LimitError, UnauthenticatedError

IDLE_MAX_S = 12 * 3600.0
LIFE_MAX_S = 7 * 86400.0
LOGINS_MAX = 2_000
LOGINS_PER_TOKEN_MAX = 20
"""One more ends the token's oldest."""


@dataclass(slots=True)
class _Login:
    token_id: str
    began_s: float
    seen_s: float


class Logins:
    """In memory: a restart of the host logs everybody out. Keys are digests of the ids, so that nothing here opens a door.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logins: dict[str, _Login] = {}

    def __len__(self) -> int:
        return len(self._logins)

    def begin(self, token_id: str) -> str:
        """A new login; its id, 256 random bits, goes into the cookie.

        Raises:
            LimitError: too many are logged in.
        """
        now_s = self._clock()
        for key in [key for key, login in self._logins.items() if _is_over(login, now_s)]:
            del self._logins[key]
        of_token = [key for key, login in self._logins.items() if login.token_id == token_id]
        if len(of_token) >= LOGINS_PER_TOKEN_MAX:
            del self._logins[of_token[0]]
        elif len(self._logins) >= LOGINS_MAX:
            raise LimitError(f"{LOGINS_MAX} logins are open", "log out elsewhere, or try again later")
        login_id = secrets.token_urlsafe(32)
        self._logins[digest_of(login_id)] = _Login(token_id, now_s, now_s)
        return login_id

    def token_of(self, digest: str) -> str:
        """The id of the token that a login was made with; the login counts as used now.

        Raises:
            UnauthenticatedError: there is no such login, or it has ended.
        """
        login, now_s = self._logins.get(digest), self._clock()
        if login is None or _is_over(login, now_s):
            self._logins.pop(digest, None)
            raise UnauthenticatedError("this login has ended", "log in again")
        login.seen_s = now_s
        return login.token_id

    def end(self, digest: str) -> None:
        """Idempotent."""
        self._logins.pop(digest, None)

    def end_of_token(self, token_id: str) -> None:
        """Ends every login that was made with a token."""
        for key in [key for key, login in self._logins.items() if login.token_id == token_id]:
            del self._logins[key]


def digest_of(login_id: str) -> str:
    """What a login is known by here."""
    return hashlib.sha256(login_id.encode(errors="replace")).hexdigest()


def _is_over(login: _Login, now_s: float) -> bool:
    return now_s - login.seen_s >= IDLE_MAX_S or now_s - login.began_s >= LIFE_MAX_S
