"""Writes ``docs/security-routes.md``, who may call what, from the code's own tables; ``--check`` only says whether it is fresh."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from gswarm.client import data_server
from gswarm.host import pool
from gswarm.host.api import web
from gswarm.host.api.app import PREFIX, ROUTES
from gswarm.host.api.gate import Role
from gswarm.wire.methods import METHODS

TARGET = Path(__file__).resolve().parent.parent / "docs" / "security-routes.md"
INTRODUCTION = """# Who may call what

Written by `scripts/security_routes.py` (`make docs`) from the tables that the servers themselves go by. What is in no table is
not served, and answers strangers like everything else: 401, or no connection at all. Only a browser that asks the HTTP port for a page
(`Accept: text/html`, outside `/api/`) is told 404 there, with or without a login. A route of the API without a line here is 404 to
everybody else, too. `tests/integration/test_every_door.py` calls every line without credentials, and with wrong, expired and revoked ones.

A role may do what the ones above it may: viewer, operator, admin. The role client is apart: it opens no route of the API.
"""
OTHER_PAGES = (("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs.css"), ("GET", "/metrics"))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def api() -> str:
    roles = {Role.ANYONE: "anyone"}
    rows = [(route.method, f"`{PREFIX}{route.path}`", roles.get(route.role, route.role.name.lower())) for route in ROUTES]
    rows += [(method, f"`{path}`", "viewer") for method, path in OTHER_PAGES]
    rows += [("GET", f"`{path}`", "anyone") for path in (*web.PAGES, web.ASSETS)]
    return table(("method", "path", "least role"), rows)


def port(routes: Mapping[tuple[str, str], str]) -> str:
    return table(("method", "path", "who"), [(method, f"`{path}`", who) for (method, path), who in routes.items()])


def render() -> str:
    rpcs = table(("method", "who", "what for"), [(f"`{path}`", "client", what) for path, what in METHODS.items()])
    sections = {
        "The REST API (HTTP port)": api(),
        "The control session (gRPC port)": rpcs,
        "The host's pool (pool port)": port(pool.ROUTES),
        "A client's pool (its own port)": port(data_server.ROUTES),
    }
    return INTRODUCTION + "".join(f"\n## {title}\n\n{body}" for title, body in sections.items())


if __name__ == "__main__":
    from generated import write_or_check

    sys.exit(write_or_check(__doc__, {TARGET: render()}, "make docs"))
