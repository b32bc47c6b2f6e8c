"""Puts the host's parts together, and takes them apart again."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from gswarm import __version__
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.refs import Pins
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import HostMessage
from gswarm.host import identity
from gswarm.host.auth import TokenStore
from gswarm.host.clock import Clock, SystemClock
from gswarm.host.effects import EffectRunner
from gswarm.host.http import HttpServer
from gswarm.host.intake import MetricIntake
from gswarm.host.journal.snapshot import open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.keeper import PoolKeeper
from gswarm.host.locate import Locator
from gswarm.host.locks import DirectoryLock
from gswarm.host.loop import PlanLoop
from gswarm.host.pool import PoolServer
from gswarm.host.reports import ReportDesk
from gswarm.host.services import HostServices
from gswarm.host.sessions import SessionManager
from gswarm.profiler.run_logs import RunLogStore
from gswarm.profiler.sqlite_series import SqliteSeriesStore
from gswarm.runtime.logs import configure_logging
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect
from gswarm.wire.server import RunningServer, is_loopback, start_server

POOL_RESERVE_BYTES = 256 * 1024 * 1024
"""What clients' uploads leave free, so that a full pool does not stop the journal and the host with it."""

_log = logging.getLogger("gswarm.host")


@dataclass(frozen=True, slots=True)
class _Paths:
    """Where things are under the data directory."""

    data_dir: Path

    @property
    def host(self) -> Path:
        return self.data_dir / "host"

    @property
    def tls(self) -> Path:
        return self.host / "tls"

    @property
    def journal(self) -> Path:
        return self.host / "journal.db"

    @property
    def endpoint(self) -> Path:
        return self.host / "endpoint.json"


class _Core:
    """The plan with what feeds it and what it drives; these refer to each other in a circle that is closed here."""

    def __init__(
        self,
        journal: SqliteJournal,
        state: ClusterState,
        clock: Clock,
        config: HostConfig,
        store: DiskStore,
        series: SqliteSeriesStore,
        run_logs: RunLogStore,
        pool_url: str,
    ) -> None:
        self.effects = EffectRunner(state, clock, self, lambda event: self.loop.submit_own(event), lambda: self.keeper.request_sweep())
        self.loop = PlanLoop(
            journal,
            state,
            clock.now_s,
            self._run_effects,
            queue_max=config.limits.max_queued_events,
            snapshot_every_events=config.snapshot_every_events,
        )
        self.pool_url = pool_url
        self.keeper = PoolKeeper(store, Pins(), clock, self._roots, lambda roots: self.sessions.broadcast_sweep(roots))
        self.sessions = SessionManager(
            self.loop,
            self.effects,
            ReportDesk(self.loop, self.keeper, clock),
            MetricIntake(state, series, run_logs),
            Locator(state, store, lambda: self.pool_url),
            clock,
            lease_timeout_s=config.lease_timeout_s,
            cluster_id=journal.cluster_id,
            version=__version__,
            clients_max=config.limits.max_clients,
        )

    def deliver(self, client: ClientName, message: HostMessage) -> None:
        self.sessions.deliver(client, message)

    def _run_effects(self, effects: Sequence[Effect]) -> None:
        self.effects.run(effects)

    async def _roots(self) -> Sequence[Digest]:
        return await self.loop.at_rest(self.loop.state.live_roots)

    def start(self) -> None:
        """Timers start again, and what the last process left is swept; clients are told what is outstanding when they register."""
        self.loop.start()
        self.sessions.start()
        self.effects.run(self.loop.state.outstanding_effects())
        self.keeper.request_sweep()

    async def stop(self) -> None:
        await self.sessions.stop()
        self.effects.close()
        await self.keeper.close()
        await self.loop.close()


class Host:
    """A running host. ``await Host.start(config)``, then ``await host.stop()``."""

    def __init__(self, services: HostServices, endpoint: identity.Endpoint, core: _Core, stack: AsyncExitStack) -> None:
        self.services = services
        self.endpoint = endpoint
        self._core = core
        self._stack = stack

    @classmethod
    async def start(cls, config: HostConfig, *, insecure: bool = False, clock: Clock | None = None) -> Host:
        """Opens the data directory, replays the journal and listens.

        Args:
            insecure: plaintext instead of TLS, on loopback only.

        Raises:
            ConflictError: a port or the data directory is in use, or the directory belongs to another cluster.
            StorageError: the data directory cannot be written.
            CorruptDataError: the journal is damaged.
            InvalidInputError: ``insecure`` on an address that other machines reach.
        """
        if insecure and not is_loopback(config.bind):
            raise InvalidInputError(
                f"--insecure is refused on {config.bind}: other machines could connect", "bind to 127.0.0.1, or leave --insecure away"
            )
        async with AsyncExitStack() as stack:
            host = await _start(cls, config, insecure, clock or SystemClock(), stack)
            stack.pop_all()
        return host

    async def stop(self) -> None:
        """Takes no more, finishes what was accepted, saves a snapshot and closes everything. Idempotent."""
        await self._stack.aclose()

    async def failed(self) -> GswarmError:
        """Returns when the plan cannot go on (its disk failed); the host must be stopped then."""
        return await asyncio.shield(self._core.loop.failed)


async def _start(cls: type[Host], config: HostConfig, insecure: bool, clock: Clock, stack: AsyncExitStack) -> Host:
    paths = _Paths(Path(config.data_dir).expanduser().absolute())
    await asyncio.to_thread(identity.make_directory, paths.data_dir)
    stack.callback(DirectoryLock(paths.host).release)
    authority = await asyncio.to_thread(identity.open_authority, paths.tls, paths.journal, uuid.uuid4().hex)
    journal = SqliteJournal(paths.journal, authority.cluster_id, {"undo_window_s": repr(config.undo_window_s)})
    stack.callback(journal.close)
    state, seq = await asyncio.to_thread(open_state, journal)
    gc.freeze()  # the plan lives as long as the process: the collector need not look at it again
    _log.info(
        "the plan is at event %d: %d experiments, %d runs, %d clients", seq, len(state.experiments), len(state.runs), len(state.clients)
    )
    store = await asyncio.to_thread(DiskStore, paths.data_dir / "pool", POOL_RESERVE_BYTES)
    stack.callback(store.close)
    series = await asyncio.to_thread(_open_series, paths.data_dir)
    stack.callback(series.close)
    run_logs = RunLogStore(paths.data_dir / "logs")

    core = _Core(journal, state, clock, config, store, series, run_logs, "")
    stack.push_async_callback(core.stop)
    tokens = TokenStore(paths.host / "auth.db", authority, lambda: pool_server.port, time.time)
    stack.callback(tokens.close)
    tls = None if insecure else await asyncio.to_thread(identity.issue_host_certificate, authority, paths.tls, config.bind)
    pool_server = PoolServer(store, authority, tokens, tls, core.sessions.is_alive, clock.now_s)
    await _listen_for_blobs(pool_server, config, paths.host / "pool_port")
    stack.push_async_callback(pool_server.stop)
    core.pool_url = f"{'http' if insecure else 'https'}://{_netloc(_reachable(config.bind), pool_server.port)}"

    core.start()
    grpc_server: RunningServer = await start_server(core.sessions, config.bind, config.port, tls)
    stack.push_async_callback(grpc_server.stop)
    services = HostServices(
        loop=core.loop,
        tokens=tokens,
        series=series,
        run_logs=run_logs,
        store=store,
        sessions=core.sessions,
        config=config,
        clock=clock.now_s,
        version=__version__,
        cluster_id=journal.cluster_id,
        started_at_s=clock.now_s(),
    )
    http = HttpServer(services, config, paths.tls / "host")
    await http.start()
    stack.push_async_callback(http.stop)
    await asyncio.to_thread(identity.ensure_admin_token, tokens, paths.host / "admin.token")
    endpoint = _endpoint(config, http, grpc_server.port, pool_server.port, paths, insecure)
    identity.write_endpoint(paths.endpoint, endpoint)
    stack.callback(lambda: paths.endpoint.unlink(missing_ok=True))
    # First of all the plan ends: sessions are told why, and followers of the events reach their end.
    stack.push_async_callback(core.stop)
    kept = AsyncExitStack()
    kept.push_async_callback(stack.pop_all().aclose)
    return cls(services, endpoint, core, kept)


async def _listen_for_blobs(server: PoolServer, config: HostConfig, remembered: Path) -> None:
    """Clients keep the pool's port: where any free one will do, it is the same as last time if that is free."""
    try:
        await server.start(config.bind, config.pool_port or identity.remembered_port(remembered))
    except ConflictError:
        if config.pool_port:
            raise
        await server.start(config.bind, 0)
    identity.write_private(remembered, str(server.port))


def _endpoint(config: HostConfig, http: HttpServer, grpc_port: int, pool_port: int, paths: _Paths, insecure: bool) -> identity.Endpoint:
    return identity.Endpoint(
        http_url=f"{http.scheme}://{_netloc(_reachable(config.bind), http.port)}",
        grpc_address=_netloc(_reachable(config.bind), grpc_port),
        pool_port=pool_port,
        pid=os.getpid(),
        ca_path=str(paths.tls / "ca.pem"),
        insecure=insecure,
    )


def _open_series(data_dir: Path) -> SqliteSeriesStore:
    identity.make_directory(data_dir / "series")
    return SqliteSeriesStore(data_dir / "series" / "series.db")


def _reachable(bind: str) -> str:
    """An address under which others find what listens on ``bind``."""
    return socket.gethostname() if bind in identity.WILDCARDS else bind


def _netloc(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def run_host(config: HostConfig, *, insecure: bool = False) -> int:
    """Runs a host until SIGTERM or SIGINT, or until its disk fails. Returns the exit code."""
    log = configure_logging(config.log_format, config.log_level)
    try:
        return asyncio.run(_run(config, insecure))
    except GswarmError as error:
        failure = error
    finally:
        log.finish()
    print(f"error: {failure}", file=sys.stderr)  # noqa: T201 - the command's answer
    return failure.exit_code


async def _run(config: HostConfig, insecure: bool) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    host = await Host.start(config, insecure=insecure)
    _announce(host)
    failing = loop.create_task(host.failed())
    stopping = loop.create_task(stopped.wait())
    await asyncio.wait((failing, stopping), return_when=asyncio.FIRST_COMPLETED)
    error = failing.result() if failing.done() else None
    failing.cancel()
    stopping.cancel()
    await host.stop()
    if error is not None:
        raise error
    return 0


def _announce(host: Host) -> None:
    endpoint = host.endpoint
    _log.info("clients connect to %s; the REST API is at %s", endpoint.grpc_address, endpoint.http_url)
    if endpoint.insecure:
        _log.warning("connections are neither encrypted nor authenticated (--insecure)")
    else:
        _log.info(
            "a machine joins with: gswarm client connect %s --token T, where 'gswarm token create --role client' makes T",
            endpoint.grpc_address,
        )
