"""The dashboard: the files that ``make web`` built, served as they are. They say nothing about this cluster, so they need no login."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from gswarm.host.api.problem import PAGE_POLICY, problem

FOLDER = Path(__file__).parent.parent / "web_dist"
"""Where the build puts it; part of the wheel, not of the repository."""
PAGES = (
    "/",
    "/experiments",
    "/experiments/{name}",
    "/runs/{name}",
    "/timeline",
    "/profiler",
    "/clients",
    "/clients/{name}",
    "/pool",
    "/events",
    "/logs",
    "/settings",
)
"""Addresses that the dashboard's own router knows. All of them answer the same document."""
ASSETS = "/assets/{name}"
TOTAL_BYTES_MAX = 16 * 1024 * 1024
"""Of all files together, which are kept in memory."""
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_SQUEEZABLE = frozenset({".css", ".js", ".svg"})
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gswarm</title>
<h1>gswarm</h1><p>The host is up. Its dashboard was not built: run <code>make web</code>, which needs Node, and start the host again.</p>
<p>Everything else works: <a href="/docs">the REST API</a>, and <code>gswarm</code> on the command line.</p></html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent. ``squeezed`` is its content as gzip, ``None`` where that does not help."""

    media_type: str
    content: bytes
    squeezed: bytes | None


class Dashboard:
    """Routes of the built dashboard, or of a page that says how to build it.

    Args:
        folder: ``index.html`` and ``assets/``, read once.

    Raises:
        ValueError: the folder holds more than TOTAL_BYTES_MAX.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        index = folder / "index.html"
        self._page = index.read_text(encoding="utf-8") if index.is_file() else _MISSING
        self._assets = _read_assets(folder / "assets")

    def install(self, app: FastAPI) -> None:
        """Adds the page and its files to an app."""
        for path in PAGES:
            app.add_route(path, self._answer_page, methods=["GET"], include_in_schema=False)
        app.add_route(ASSETS, self._answer_asset, methods=["GET"], include_in_schema=False)

    def nothing_there(self) -> Response:
        """For a browser that asked for an address which nobody knows: the dashboard says so in its own words."""
        return HTMLResponse(self._page, 404, headers={"Content-Security-Policy": PAGE_POLICY})

    async def _answer_page(self, _request: Request) -> Response:
        return HTMLResponse(self._page, headers={"Content-Security-Policy": PAGE_POLICY})

    async def _answer_asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return problem(404, "not_found", f"there is no file {request.url.path[:200]}", "load the page again: it was built anew")
        # Their names carry a digest of their content, so one that a browser has is never stale.
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        if asset.squeezed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.squeezed, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(asset.content, media_type=asset.media_type, headers=headers)


def _read_assets(folder: Path) -> Mapping[str, Asset]:
    """By name. What is of no known kind is not served."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in _TYPES and path.is_file())
    if sum(path.stat().st_size for path in paths) > TOTAL_BYTES_MAX:
        raise ValueError(f"{folder} holds more than {TOTAL_BYTES_MAX} bytes")
    return {path.name: _read(path) for path in paths}


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    squeezed = gzip.compress(content, 6, mtime=0) if path.suffix in _SQUEEZABLE else None
    return Asset(_TYPES[path.suffix], content, squeezed)
