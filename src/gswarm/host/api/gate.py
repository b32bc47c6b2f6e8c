"""Who is calling: the token of a program, or the cookie of a browser that logged in with one."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from gswarm.domain.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from gswarm.host.access.door import Visit, Visits
from gswarm.host.access.logins import Logins, digest_of
from gswarm.host.api.throttle import FailureThrottle
from gswarm.host.clock import SystemClock

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-gswarm-csrf"
"""A page of another origin cannot set it without being asked first (CORS), and is always told no."""
COOKIES = ("__Host-gswarm_login", "gswarm_login")
"""Over HTTPS, and over HTTP on loopback."""
KNOWN_MAX = 1_000
"""Tokens that were right lately; they do not wait because somebody else was wrong."""
STRANGERS_MAX = 100
"""Other tokens that wait to be looked at, which takes a slow hash each, in threads of their own."""
STRANGERS_AT_ONCE = 2
ENDED_MAX = 1_000
"""Tokens that were revoked lately; remembered for requests that were let in at that moment."""


class Role(IntEnum):
    """Each may do what the ones before it may."""

    ANYONE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class PrincipalLike(Protocol):
    @property
    def token_id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def expires_at_s(self) -> float: ...


class Tokens(Protocol):
    """What the gate asks of the host's tokens; both may block and raise UnauthenticatedError."""

    def authenticate(self, bearer: str) -> PrincipalLike: ...

    def principal(self, token_id: str) -> PrincipalLike:
        """Whom the token of that id speaks for, unless it has ended."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``login`` is the digest of the login's id, for those that came with a cookie."""

    token_id: str
    role: str
    login: str | None = None
    expires_at_s: float = math.inf
    """When its token ends; seconds since the epoch."""

    @property
    def who(self) -> str:
        """As it stands in the journal and in the audit log."""
        return f"{self.role}:{self.token_id}"


class Gate:
    """Lets callers in, or not. Wrong tokens are counted by address; a cookie's id is too long to be guessed and is not."""

    def __init__(self, tokens: Tokens, logins: Logins, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._logins = logins
        self.throttle = FailureThrottle(clock)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._visits = Visits(SystemClock())
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._threads = ThreadPoolExecutor(STRANGERS_AT_ONCE, thread_name_prefix="login")
        self._strangers = 0

    async def admit(self, method: str, headers: Headers, address: str) -> Caller:
        """Raises:
        UnauthenticatedError: no credential, or one that is wrong or has ended.
        TooManyAttemptsError: too many from that address were wrong.
        ForbiddenError: a cookie without what shows that this host's own page sent the request.
        """
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and bearer.strip():
            return await self._by_token(bearer.strip(), address)
        login_id = self.login_id(headers)
        if login_id is None:
            raise UnauthenticatedError(
                "this needs a token", "send 'Authorization: Bearer ...'; 'gswarm login' sets it for the command line"
            )
        if method not in SAFE_METHODS and ("origin" not in headers or CSRF_HEADER not in headers):
            raise ForbiddenError("a change with a login's cookie needs Origin and X-Gswarm-Csrf", "programs use a token instead")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ForbiddenError("another site's page may not use this host's login", "open the page itself")
        digest = digest_of(login_id)
        return await self._by_login(digest)

    async def log_in(self, bearer: str, address: str) -> tuple[str, Caller]:
        """A new login with a token: its id for the cookie, and who it is. Raises like ``admit``, and LimitError."""
        caller = await self._by_token(bearer, address)
        login_id = await asyncio.to_thread(self._logins.begin, caller.token_id)
        return login_id, replace(caller, login=digest_of(login_id))

    async def log_out(self, caller: Caller) -> bool:
        """Ends the login that the caller came with, if there is one, and says whether. Its token is not ended by this."""
        return caller.login is not None and await asyncio.to_thread(self._logins.end, caller.login)

    @contextmanager
    def inside(self, caller: Caller) -> Iterator[Visit]:
        """Encloses what is done for a caller. Raises UnauthenticatedError, also later, when its token is revoked or ends."""
        if caller.token_id in self._ended:
            raise _token_ended(caller.token_id, "was revoked")
        with self._visits.inside(caller.token_id, caller.expires_at_s, lambda: _token_ended(caller.token_id, "has expired")) as visit:
            yield visit

    def end_of_token(self, token_id: str) -> None:
        """It was revoked: its logins end, and what is being done for it."""
        self._ended[token_id] = None
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        self._logins.end_of_token(token_id)
        self._visits.show_out(token_id, lambda: _token_ended(token_id, "was revoked"))

    async def still_stands(self, caller: Caller) -> bool:
        """Whether who was let in would be let in again: its token and its login have not ended."""
        try:
            if caller.login is not None:
                await self._by_login(caller.login)
            else:
                await asyncio.to_thread(self._tokens.principal, caller.token_id)
        except UnauthenticatedError:
            return False
        return True

    async def _by_token(self, bearer: str, address: str) -> Caller:
        digest = hashlib.sha256(bearer.encode(errors="replace")).digest()
        if digest in self._known:
            try:
                principal = await asyncio.to_thread(self._tokens.authenticate, bearer)
            except UnauthenticatedError:
                self._known.pop(digest, None)
                self.throttle.failed(address)
                raise
        else:
            principal = await self._look_at_stranger(bearer, address)
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return _caller(principal)

    async def _look_at_stranger(self, bearer: str, address: str) -> PrincipalLike:
        """Away from the threads that everything else shares, the journal above all."""
        self.throttle.check(address)
        if self._strangers >= STRANGERS_MAX:
            raise UnavailableError(f"{STRANGERS_MAX} others wait for their tokens to be looked at", "try again in a moment")
        self._strangers += 1
        try:
            async with self.throttle.look(address):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._tokens.authenticate, bearer)
        finally:
            self._strangers -= 1

    async def _by_login(self, digest: str) -> Caller:
        token_id = await asyncio.to_thread(self._logins.token_of, digest)
        try:
            principal = await asyncio.to_thread(self._tokens.principal, token_id)
        except UnauthenticatedError:
            self._logins.end_of_token(token_id)
            raise
        return _caller(principal, digest)

    @staticmethod
    def login_id(headers: Headers) -> str | None:
        """The id in the cookie, if there is one."""
        cookies = cookie_parser(headers.get("cookie", ""))
        return next((cookies[name] for name in COOKIES if cookies.get(name)), None)


def _caller(principal: PrincipalLike, login: str | None = None) -> Caller:
    return Caller(principal.token_id, str(principal.role), login, principal.expires_at_s)


def _token_ended(token_id: str, how: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"the API token {token_id} {how}", "make another with 'gswarm token create'")


def role_of(name: str) -> Role:
    """Roles that speak to the API; any other one (a client's) may do nothing here."""
    return Role.__members__.get(name.upper(), Role.ANYONE)
