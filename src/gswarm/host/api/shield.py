"""What stands before every route: the Host header, the login, the role, the size of the body. Closed by default."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gswarm.domain.errors import ForbiddenError, GswarmError, UnauthenticatedError
from gswarm.host.api.problem import SECURITY_HEADERS, problem, problem_of

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Role(IntEnum):
    """Each may do what the ones before it may."""

    ANYONE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class PrincipalLike(Protocol):
    @property
    def role(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method on a path."""

    method: str
    pattern: re.Pattern[str]
    role: Role


def rule(method: str, path: str, role: Role) -> Rule:
    return Rule(method, compile_path(path)[0], role)


class Shield:
    """ASGI middleware. Without a token only what the rules name as open answers; everything else, also what does not exist, needs one.

    Args:
        authenticate: who a bearer token speaks for; may block.
        body_bytes_max: larger bodies are refused before they are read in full.
        loopback: the host listens on loopback, so the Host header must name it.
    """

    def __init__(
        self, app: ASGIApp, rules: tuple[Rule, ...], authenticate: Callable[[str], PrincipalLike], body_bytes_max: int, loopback: bool
    ) -> None:
        self._app = app
        self._rules = rules
        self._authenticate = authenticate
        self._body_bytes_max = body_bytes_max
        self._loopback = loopback
        self._too_large = f"the body is larger than {body_bytes_max:,} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the API does not speak {scope['type']}")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        try:
            if self._loopback:
                check_host_header(headers.get("host", ""))
            await self._admit(scope, headers)
        except GswarmError as error:
            await problem_of(error)(scope, receive, send_guarded)
            return
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._body_bytes_max:
            await problem(413, "too_large", self._too_large, "send a smaller file")(scope, receive, send_guarded)
            return
        await self._app(scope, self._limited(receive), send_guarded)

    async def _admit(self, scope: Scope, headers: Headers) -> None:
        required = self._required_role(scope["method"], scope["path"])
        if required is Role.ANYONE:
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not bearer.strip():
            raise UnauthenticatedError(
                "this needs a token", "send 'Authorization: Bearer ...'; 'gswarm login' sets it for the command line"
            )
        principal = await asyncio.to_thread(self._authenticate, bearer.strip())
        role = Role.__members__.get(str(principal.role).upper(), Role.ANYONE)
        if role < required:
            raise ForbiddenError(
                f"a {principal.role} may not {scope['method']} {scope['path']}", f"use a token of role {required.name.lower()} or higher"
            )
        scope.setdefault("state", {})["principal"] = principal

    def _required_role(self, method: str, path: str) -> Role:
        roles = [rule.role for rule in self._rules if rule.method == method and rule.pattern.match(path)]
        return max(roles, default=Role.VIEWER)

    def _limited(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            if message["type"] == "http.request":
                received_bytes += len(message.get("body", b""))
                if received_bytes > self._body_bytes_max:
                    raise HTTPException(413, self._too_large)
            return message

        return receive_limited


def check_host_header(host: str) -> None:
    """Refuses other names than loopback's: a web page that rebinds its own name to 127.0.0.1 must not reach the host (DNS rebinding).

    Raises:
        ForbiddenError: the name is not this machine's loopback name.
    """
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name.lower() not in LOOPBACK_NAMES:
        raise ForbiddenError(f"the Host header {host!r} is not this machine's loopback name", "call it as localhost or 127.0.0.1")
