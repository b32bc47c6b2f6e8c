"""Every client comes back at once after the host was away.

Host and clients are one process here, without TLS. ``benchmarks/storm.py`` has a host of its own, killed by SIGKILL, and mTLS.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from test_host_daemon import config

from gswarm import __version__
from gswarm.domain.config import HostLimits
from gswarm.domain.errors import GswarmError, LimitError
from gswarm.domain.ids import ClientName, SlotId
from gswarm.domain.messages import ClientMessage, Register, Registered
from gswarm.domain.plan import ClientState, SlotSpec
from gswarm.host.daemon import Host
from gswarm.scheduler.events import ClientLost, ClientRegistered
from gswarm.wire.client import Backoff, HostConnection

CLIENTS = 1_000
PLACES = 40
TIMEOUT_S = 180
BYTES_PER_CLIENT_MAX = 1024 * 1024
"""Of both ends; it was 170 KiB."""


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Both ends of every connection are open files of this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Caller:
    """Asks the host whether it is ready, again and again: how long each answer took, and the most memory that this process had."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._process = psutil.Process()
        self.times_ms: list[float] = []
        self.memory_bytes = 0

    async def call(self) -> None:
        began_s = time.perf_counter()
        assert (await self._http.get("/api/v1/ready", timeout=TIMEOUT_S)).status_code == 200
        self.times_ms.append(1_000 * (time.perf_counter() - began_s))
        self.memory_bytes = max(self.memory_bytes, self._process.memory_info().rss)


class Comer:
    """A client that registers and comes again after every loss, until it is refused for good."""

    def __init__(self, name: str, address: str) -> None:
        self.name = ClientName(name)
        self._address = address
        self.is_here = asyncio.Event()
        self.refused: asyncio.Future[GswarmError] = asyncio.get_running_loop().create_future()

    async def stay(self) -> None:
        backoff = Backoff(initial_s=0.05, max_s=1.0)
        async with HostConnection(self._address, None, self.name) as connection:
            while not self.refused.done():
                try:
                    async for message in connection.session(self._messages()):
                        if isinstance(message, Registered):
                            self.is_here.set()
                except LimitError as error:
                    self.refused.set_result(error)
                except GswarmError:
                    self.is_here.clear()
                await asyncio.sleep(next(backoff))

    async def _messages(self) -> AsyncIterator[ClientMessage]:
        yield Register(self.name, "i1", __version__, "", (SlotSpec(SlotId(f"{self.name}/0"), "cpu"),))
        await asyncio.Event().wait()


def storm_config(data_dir: Path, port: int = 0, **changes: Any) -> Any:
    return config(data_dir, port=port, lease_timeout_s=600.0, **changes)


async def gone(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.timeout(3 * TIMEOUT_S)
async def test_all_come_back_once_and_the_host_answers_meanwhile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = await Host.start(storm_config(tmp_path), insecure=True)
    empty_bytes = psutil.Process().memory_info().rss
    address = host.endpoint.grpc_address
    comers = [Comer(f"c{number}", address) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(one.stay()) for one in comers]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(one.is_here.wait() for one in comers))
            await host.stop()
            for one in comers:
                one.is_here.clear()
            host = await Host.start(storm_config(tmp_path, int(address.rpartition(":")[2])), insecure=True)
            token = (tmp_path / "host" / "admin.token").read_text().strip()
            async with httpx.AsyncClient(base_url=host.endpoint.http_url, headers={"Authorization": f"Bearer {token}"}) as http:
                back = asyncio.gather(*(one.is_here.wait() for one in comers))
                caller = Caller(http)
                while not back.done() or len(caller.times_ms) < 2:
                    await caller.call()
                status = (await http.get("/api/v1/host", timeout=TIMEOUT_S)).json()
        p99_ms = statistics.quantiles(caller.times_ms, n=100, method="inclusive")[-1]
        a_client_bytes = (caller.memory_bytes - empty_bytes) / CLIENTS
        with capsys.disabled():
            print(f"\n{len(caller.times_ms)} control calls during the storm: p99 {p99_ms:.0f} ms; {a_client_bytes / 1024:.0f} KiB a client")
        assert a_client_bytes < BYTES_PER_CLIENT_MAX
        assert (status["connected"], status["clients"]) == (CLIENTS, CLIENTS)
        assert status["journal"]["waiting_events"] == 0
        events = [entry.event for entry in host.services.loop.journal.read()]
        registered = [event.client for event in events if isinstance(event, ClientRegistered)]
        assert sorted(registered) == sorted([one.name for one in comers] * 2), "each was let in once before the storm and once after it"
        assert not any(isinstance(event, ClientLost) for event in events), "no lease was lost by it"
        assert all(client.state is ClientState.READY for client in host.services.state.clients.values())
    finally:
        await gone(tasks)
        await host.stop()


async def test_beyond_the_limit_they_are_refused_and_the_others_stay(tmp_path: Path) -> None:
    host = await Host.start(storm_config(tmp_path, limits=HostLimits(max_clients=PLACES)), insecure=True)
    comers = [Comer(f"c{number}", host.endpoint.grpc_address) for number in range(2 * PLACES)]
    tasks = [asyncio.create_task(one.stay()) for one in comers]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            ends = [asyncio.create_task(one.is_here.wait()) for one in comers]
            refusals = [one.refused for one in comers]
            await asyncio.gather(*(asyncio.wait(pair, return_when=asyncio.FIRST_COMPLETED) for pair in zip(ends, refusals, strict=True)))
        assert sum(one.is_here.is_set() for one in comers) == PLACES == len(host.services.sessions.connected)
        said = [future.result() for future in refusals if future.done()]
        assert len(said) == PLACES
        assert all(f"{PLACES} clients are connected" in error.message and error.hint for error in said)
    finally:
        await gone([*tasks, *ends])
        await host.stop()
