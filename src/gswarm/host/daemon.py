"""Puts the host's parts together, and takes them apart again."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gswarm import __version__
from gswarm.datapool.disk import DiskStore
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError
from gswarm.host import identity
from gswarm.host.access.audit import AuditLog
from gswarm.host.access.auth import Revoked, TokenStore
from gswarm.host.access.door import Door
from gswarm.host.access.logins import Logins
from gswarm.host.alerting.channels import open_channels
from gswarm.host.alerting.desk import AlertDesk
from gswarm.host.alerting.readings import Sources
from gswarm.host.clock import Clock, SystemClock
from gswarm.host.core import HostCore
from gswarm.host.http import HttpServer
from gswarm.host.journal.snapshot import open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.last_words import LastWords
from gswarm.host.locks import DirectoryLock
from gswarm.host.pool import PoolServer
from gswarm.host.profiling.samples import SampleIntake
from gswarm.host.profiling.services import open_profiler, open_samples
from gswarm.host.profiling.sessions import ProfilerSessions
from gswarm.host.services import HostServices
from gswarm.host.sessions import SessionManager
from gswarm.profiler.run_logs import RunLogStore
from gswarm.profiler.sqlite_series import SqliteSeriesStore
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.runtime.logs import configure_logging
from gswarm.scheduler.core import ClusterState
from gswarm.wire.server import OPEN_DOOR, RunningServer, is_loopback, start_server

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


class Host:
    """A running host. ``await Host.start(config)``, then ``await host.stop()``."""

    def __init__(self, services: HostServices, endpoint: identity.Endpoint, core: HostCore, stack: AsyncExitStack) -> None:
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
    journal, state = await _open_plan(paths, authority.cluster_id, config, stack)
    store, series, run_logs, samples = await _open_stores(paths, config, clock, stack)
    profiler_sessions = ProfilerSessions(paths.data_dir / "series" / "sessions.json", clock.now_s)
    intake = SampleIntake(samples, clock.now_s, profiler_sessions.intervals)
    profiler_sessions.on_change = _soon(intake.intervals_changed)

    core = HostCore(
        journal, state, clock, config, store, series, run_logs, "", journal.cluster_id, knows_clients=not insecure, samples=intake
    )
    profiler = open_profiler(paths.data_dir / "series", samples, profiler_sessions, core.loop, clock.now_s)
    stack.push_async_callback(profiler.chronicle.close)
    stack.push_async_callback(core.stop)
    client_ttl = timedelta(seconds=config.client_certificate_ttl_s)
    tokens = await asyncio.to_thread(TokenStore, paths.host / "auth.db", authority, lambda: pool_server.port, time.time, client_ttl)
    stack.callback(tokens.close)
    certificate = identity.HostCertificate(authority, paths.tls, config.bind, clock)
    stack.push_async_callback(certificate.close)
    tls = None if insecure else await asyncio.to_thread(certificate.issue)
    door = Door(tokens.check_client, clock)
    audit = await asyncio.to_thread(AuditLog, paths.host / "audit", time.time)
    stack.callback(audit.close)
    pool_server: PoolServer = PoolServer(store, tokens, tls, door, core.rights, core.sessions.is_alive, audit, clock.now_s)
    await _listen_for_blobs(pool_server, config, paths.host / "pool_port")
    stack.push_async_callback(pool_server.stop)
    core.pool_url = f"{'http' if insecure else 'https'}://{_netloc(_reachable(config.bind), pool_server.port)}"

    core.start()
    profiler.chronicle.start()
    grpc_server: RunningServer = await start_server(core.sessions, config.bind, config.port, tls, door=OPEN_DOOR if insecure else door)
    stack.push_async_callback(grpc_server.stop)
    tokens.watch(_expulsion(door, core.sessions))
    alerts = await _start_alerts(paths, config, clock, core, journal.cluster_id, state, samples, series)
    stack.push_async_callback(alerts.close)
    services = HostServices(
        loop=core.loop,
        tokens=tokens,
        logins=await asyncio.to_thread(Logins, time.time, paths.host / "logins.json"),
        series=series,
        run_logs=run_logs,
        profiler=profiler,
        alerts=alerts,
        store=store,
        sessions=core.sessions,
        rights=core.rights,
        audit=audit,
        config=config,
        clock=clock.now_s,
        version=__version__,
        cluster_id=journal.cluster_id,
        started_at_s=clock.now_s(),
    )
    http = HttpServer(services, config, paths.tls / "host")
    await http.start()
    stack.push_async_callback(http.stop)
    if tls is not None:
        certificate.keep_fresh(tls, (grpc_server, pool_server, http))
    await asyncio.to_thread(identity.ensure_admin_token, tokens, paths.host / "admin.token")
    endpoint = _endpoint(config, http, grpc_server.port, pool_server.port, paths, insecure)
    identity.write_endpoint(paths.endpoint, endpoint)
    stack.callback(_remove, paths.endpoint)
    # First of all the plan ends: sessions are told why, and followers of the events reach their end.
    stack.push_async_callback(core.stop)
    kept = AsyncExitStack()
    kept.push_async_callback(stack.pop_all().aclose)
    return cls(services, endpoint, core, kept)


async def _open_plan(paths: _Paths, cluster_id: str, config: HostConfig, stack: AsyncExitStack) -> tuple[SqliteJournal, ClusterState]:
    """The journal, closed with the stack, and what it says."""
    journal = SqliteJournal(paths.journal, cluster_id, {"undo_window_s": repr(config.undo_window_s)})
    stack.callback(journal.close)
    state, seq = await asyncio.to_thread(open_state, journal)
    gc.freeze()  # the plan lives as long as the process: the collector need not look at it again
    _log.info(
        "the plan is at event %d: %d experiments, %d runs, %d clients", seq, len(state.experiments), len(state.runs), len(state.clients)
    )
    return journal, state


async def _open_stores(
    paths: _Paths, config: HostConfig, clock: Clock, stack: AsyncExitStack
) -> tuple[DiskStore, SqliteSeriesStore, RunLogStore, ParquetSampleStore]:
    """What holds data beside the plan; closed with the stack."""
    store = await asyncio.to_thread(DiskStore, paths.data_dir / "pool", POOL_RESERVE_BYTES)
    stack.callback(store.close)
    series = await asyncio.to_thread(_open_series, paths.data_dir)
    stack.callback(series.close)
    run_logs = RunLogStore(paths.data_dir / "logs")
    samples = await asyncio.to_thread(open_samples, paths.data_dir / "series", config.profiler, clock.now_s)
    stack.callback(samples.close)
    return store, series, run_logs, samples


async def _start_alerts(
    paths: _Paths,
    config: HostConfig,
    clock: Clock,
    core: HostCore,
    cluster_id: str,
    state: ClusterState,
    samples: ParquetSampleStore,
    series: SqliteSeriesStore,
) -> AlertDesk:
    channels = await asyncio.to_thread(open_channels, config.alerts, cluster_id, clock.now_s)
    disks = {"data": paths.data_dir, "pool": paths.data_dir / "pool"}
    sources = Sources(state, lambda: core.sessions.connected, samples, series, config.alerts, disks, clock.now_s)
    alerts = AlertDesk(config.alerts, clock, sources, channels, paths.host / "alerts.json")
    await alerts.start()
    return alerts


def _expulsion(door: Door, sessions: SessionManager) -> Callable[[Revoked], None]:
    """What is to happen, on this event loop, when somebody's certificate is revoked in whatever thread."""
    loop = asyncio.get_running_loop()

    def expel(revoked: Revoked) -> None:
        for client in revoked.clients:
            door.show_out(client)
            sessions.expel(client, "its certificate was revoked")

    def tell(revoked: Revoked) -> None:
        loop.call_soon_threadsafe(expel, revoked)

    return tell


def _soon(call: Callable[[], None]) -> Callable[[], None]:
    """For any thread: ``call`` on this event loop."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        loop.call_soon_threadsafe(call)

    return ask


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


def _remove(path: Path) -> None:
    """As far as the disk lets us: a host that ends because of its disk must not end because of this."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


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


def _allow_many_files() -> None:
    """Every client holds connections; where the account's hard limit lets us, more of them than the usual 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(config: HostConfig, insecure: bool) -> int:
    _allow_many_files()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    host = await Host.start(config, insecure=insecure)
    words = await asyncio.to_thread(LastWords, Path(config.data_dir).expanduser() / "host")
    _announce(host)
    failing = loop.create_task(host.failed())
    stopping = loop.create_task(stopped.wait())
    await asyncio.wait((failing, stopping), return_when=asyncio.FIRST_COMPLETED)
    error = failing.result() if failing.done() else None
    failing.cancel()
    stopping.cancel()
    if error is not None:
        words.say(str(error))
        await host.stop()
        raise error
    await host.stop()
    words.discard()
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
