"""What stands before every route: names, limits, the login, the role, the audit log. Closed by default."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gswarm.domain.errors import ForbiddenError, GswarmError
from gswarm.domain.ids import RequestId
from gswarm.domain.strict_json import load_json
from gswarm.host.access.audit import AuditLog, Outcome, Record
from gswarm.host.access.door import Visit
from gswarm.host.api.body import Disconnected, read_body, replayed, too_large
from gswarm.host.api.gate import SAFE_METHODS, Caller, Gate, Role, role_of
from gswarm.host.api.names import AllowedNames
from gswarm.host.api.problem import SECURITY_HEADERS, nothing_there, problem, problem_of
from gswarm.host.api.web import Dashboard

HEADERS_MAX = 100
HEADER_BYTES_MAX = 16 * 1024
TARGET_BYTES_MAX = 8 * 1024
OPEN_BODY_BYTES_MAX = 4096
"""Of a request that needs no login."""
INLINE_JSON_BYTES_MAX = 64 * 1024
"""Larger bodies are checked in a thread."""
ON_ADMITTED = "on_admitted"
"""Of a request's state, where the server has put it: called once somebody was let in."""
_log = logging.getLogger("gswarm.host.api")
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method on a path, and whether the audit log has it."""

    method: str
    pattern: re.Pattern[str]
    role: Role
    is_write: bool


def rule(method: str, path: str, role: Role, is_write: bool | None = None) -> Rule:
    """``is_write``: by the method, unless it says otherwise."""
    return Rule(method, compile_path(path)[0], role, method not in SAFE_METHODS if is_write is None else is_write)


_NO_RULE = {is_write: rule("-", "/", Role.VIEWER, is_write) for is_write in (False, True)}
"""For what has no rule. A login is asked for, so that strangers do not learn what there is; nobody gets any further."""


@dataclass(slots=True)
class RequestNote:
    """What becomes known while a request is answered, for the audit log; ``request.state.note``."""

    key: RequestId | None = None
    was_known: bool = False
    """The key had taken effect before."""
    changed_nothing: bool = False
    """By design: what was asked for was so already."""
    detail: str = ""
    caller: Caller | None = None
    visit: Visit | None = None
    has_begun: bool = False
    """The answer has."""


class Shield:
    """ASGI middleware. Without a login only what the rules name as open answers; everything else, also what does not exist, needs one. What
    has no rule does not reach the app. Reading ends with the token that it was begun with; a change that had arrived by then is made.

    Args:
        clock: seconds since the epoch.
        body_bytes_max: larger bodies are refused before they are read in full.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: tuple[Rule, ...],
        gate: Gate,
        dashboard: Dashboard,
        names: AllowedNames,
        audit: AuditLog,
        clock: Callable[[], float],
        body_bytes_max: int,
    ) -> None:
        self._app = app
        self._rules = rules
        self._gate = gate
        self._dashboard = dashboard
        self._names = names
        self._audit = audit
        self._clock = clock
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the API does not speak {scope['type']}")
        note = RequestNote()
        scope.setdefault("state", {})["note"] = note
        matching = self._rule_of(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                note.has_begun = True
                if note.visit is not None and headers.get("content-type", "").startswith("text/event-stream"):
                    note.visit.stay()  # it looks for itself whether its reader may go on, and ends in order
                await self._record(scope, matching, note, message["status"])
            await send(message)

        try:
            if (refusal := await self._admit(scope, matching, note)) is not None:
                await refusal(scope, receive, send_guarded)
                return
            with self._gate.inside(note.caller) if note.caller is not None else nullcontext() as note.visit:
                body = await self._take_in(scope, receive, matching, note)
                await self._app(scope, replayed(body, receive), send_guarded)
        except Disconnected:
            return
        except GswarmError as error:
            if note.has_begun:
                # To end here ends the connection, which is all that can still be said to the reader.
                _log.info("%s %s is broken off: %s", scope["method"], scope["path"][:200], error.message)
                return
            note.detail = error.message
            await problem_of(error)(scope, receive, send_guarded)
        except Exception:
            await self._record(scope, matching, note, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise

    def _rule_of(self, scope: Scope) -> Rule:
        """The strictest of the rules that match. HEAD is GET without the body."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        matching = [rule for rule in self._rules if rule.method == method and rule.pattern.match(scope["path"])]
        return max(matching, key=lambda rule: rule.role, default=_NO_RULE[method not in SAFE_METHODS])

    async def _admit(self, scope: Scope, matching: Rule, note: RequestNote) -> Response | None:
        """Whether what is known before the body is in order: ``None``, or why it is not.

        Raises:
            GswarmError: it is refused.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        self._names.check_host(host)
        self._names.check_origin(headers.get("origin"), host, scope["scheme"])
        if (refusal := _beyond_limits(scope)) is not None:
            return refusal
        if matching.role is Role.ANYONE:
            return None
        if matching is _NO_RULE[False] and headers.get("accept", "").startswith("text/html") and not scope["path"].startswith("/api/"):
            return self._dashboard.nothing_there()
        note.caller = caller = await self._gate.admit(scope["method"], headers, address_of(scope))
        if (on_admitted := scope["state"].get(ON_ADMITTED)) is not None:
            on_admitted()
        if role_of(caller.role) < matching.role:
            raise ForbiddenError(
                f"a {caller.role} may not {scope['method']} {scope['path'][:200]}",
                f"use a token of role {matching.role.name.lower()} or higher",
            )
        if matching in _NO_RULE.values():
            allowed = sorted({rule.method for rule in self._rules if rule.pattern.match(scope["path"])})
            return nothing_there(scope["method"], scope["path"], ", ".join(allowed))
        scope["state"]["principal"] = caller
        return None

    async def _take_in(self, scope: Scope, receive: Receive, matching: Rule, note: RequestNote) -> bytes:
        """The request's body, once that is in order, too.

        Raises:
            GswarmError: it is refused.
            Disconnected: the caller went away.
        """
        if matching.is_write and note.caller is not None:
            await self._audit.require_writable()
        headers = Headers(scope=scope)
        body_bytes_max = self._body_bytes_max if note.caller is not None else min(OPEN_BODY_BYTES_MAX, self._body_bytes_max)
        declared = headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdecimal()) or int(declared[:20]) > body_bytes_max:
            raise too_large(body_bytes_max)
        body = await read_body(receive, body_bytes_max)
        if body and _is_json(headers.get("content-type", "")):
            if len(body) > INLINE_JSON_BYTES_MAX:
                await asyncio.to_thread(load_json, body)
            else:
                load_json(body)
        if matching.is_write and note.visit is not None:
            note.visit.stay()
        return body

    async def _record(self, scope: Scope, matching: Rule, note: RequestNote, status: int) -> None:
        caller = note.caller
        is_write = matching.is_write and not note.changed_nothing
        # What was refused has a log of its own, whoever asked: nobody pushes out what people did without doing much.
        is_refusal = status in _REFUSALS or (is_write and (400 <= status < 500 or (caller is None and status >= 400)))
        if not is_refusal and not is_write:
            return
        record = Record(
            at_s=self._clock(),
            who=caller.who if caller is not None else "-",
            via="-" if caller is None else "login" if caller.login is not None else "token",
            address=address_of(scope),
            method=scope["method"],
            path=scope["path"],
            outcome=Outcome.of(status),
            status=status,
            detail=note.detail,
        )
        if is_refusal:
            await self._audit.refuse(record)
        else:
            await self._audit.write(record, note.key, note.was_known)


def address_of(scope: Scope) -> str:
    """Of the other end of the connection; what proxies claim in headers is not looked at."""
    client = scope.get("client")
    return str(client[0]) if client else "-"


def _beyond_limits(scope: Scope) -> Response | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > HEADERS_MAX or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES_MAX:
        return problem(
            431, "too_large", "the request has too many headers, or too large ones", f"at most {HEADERS_MAX}, {HEADER_BYTES_MAX} bytes"
        )
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > TARGET_BYTES_MAX:
        return problem(414, "too_large", f"the URL is longer than {TARGET_BYTES_MAX} bytes", "ask for less at once")
    encodings = [value for name, value in headers if name == b"content-encoding"]
    if any(value.strip().lower() not in (b"", b"identity") for value in encodings):
        return problem(415, "invalid_input", "compressed bodies are not taken", "send the body as it is, without Content-Encoding")
    return None


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media == "application/json" or media.endswith("+json")
