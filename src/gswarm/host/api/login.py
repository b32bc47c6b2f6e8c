"""Logging in with a browser: a token in, a cookie out."""

from __future__ import annotations

from fastapi import Request, Response

from gswarm.host.access.logins import LIFE_MAX_S
from gswarm.host.api import host_models as models
from gswarm.host.api.deps import CallerDep, GateDep, Note, StreamsDep
from gswarm.host.api.gate import COOKIES, Caller
from gswarm.host.api.shield import address_of


async def log_in(request: Request, response: Response, gate: GateDep, note: Note, body: models.LoginRequest) -> models.PrincipalView:
    """Exchange a token for a cookie. It ends after 12 hours without use, after 7 days, and with the token."""
    login_id, caller = await gate.log_in(body.token, address_of(request.scope))
    note.caller = caller
    is_secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        COOKIES[0] if is_secure else COOKIES[1], login_id, max_age=int(LIFE_MAX_S), secure=is_secure, httponly=True, samesite="strict"
    )
    return _view(caller)


async def log_out(response: Response, gate: GateDep, streams: StreamsDep, note: Note, caller: CallerDep) -> models.PrincipalView:
    """End the login that the cookie names, and its event streams. A token is not ended by this."""
    note.changed_nothing = not await gate.log_out(caller)
    streams.look_again(caller.token_id)
    for name in COOKIES:
        response.delete_cookie(name, secure=name == COOKIES[0], httponly=True, samesite="strict")
    return _view(caller)


async def whoami(caller: CallerDep) -> models.PrincipalView:
    """The token that this request came with, or that its login was made with."""
    return _view(caller)


def _view(caller: Caller) -> models.PrincipalView:
    return models.PrincipalView(token_id=caller.token_id, role=caller.role)
