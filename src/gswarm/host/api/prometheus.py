"""``GET /metrics``: everything that is known now, for Prometheus."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from gswarm.domain.ids import ClientName
from gswarm.host.profiling.host_families import active_runs, host_families, loss_families
from gswarm.host.services import HostServices
from gswarm.profiler.exposition import Family, Samples, content_type, render

PATH = "/metrics"
KEPT_S = 1.0
"""Whoever asks within this time of another gets the same answer: many scrapers cost no more than one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    made_at_s: float
    plain: bytes
    zipped: bytes


class Scrapes:
    """Answers scrapers, one answer of each format at a time."""

    def __init__(self, services: HostServices) -> None:
        self._services = services
        self._making = asyncio.Lock()
        self._kept: dict[bool, _Answer] = {}

    async def answer(self, request: Request) -> Response:
        is_openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        async with self._making:
            answer = self._kept.get(is_openmetrics)
            if answer is None or not 0 <= self._services.clock() - answer.made_at_s < KEPT_S:
                answer = self._kept[is_openmetrics] = await self._make(is_openmetrics)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        body = answer.zipped if "Content-Encoding" in headers else answer.plain
        return Response(body, media_type=content_type(is_openmetrics=is_openmetrics), headers=headers)

    async def _make(self, is_openmetrics: bool) -> _Answer:
        families = await host_families(self._services)
        runs = [(run.id, run.name, run.experiment) for run in active_runs(self._services)]
        return await asyncio.to_thread(self._render, families, runs, is_openmetrics)

    def _render(self, families: list[Family], runs: Sequence[tuple[str, str, str]], is_openmetrics: bool) -> _Answer:
        services = self._services
        now_s = services.clock()
        store = services.profiler.samples
        samples = Samples(store.latest(), store.devices(), now_s, self._intervals)
        text = render([*families, *loss_families(services.series, runs)], samples, is_openmetrics=is_openmetrics)
        return _Answer(now_s, text, gzip.compress(text, compresslevel=1))

    def _intervals(self, client: ClientName) -> dict[str, float]:
        return dict(self._services.profiler.sessions.intervals(client))
