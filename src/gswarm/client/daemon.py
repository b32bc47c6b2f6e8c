"""A client from start to end: identity, locks, parts, signals. The only place that puts the client's parts together."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import secrets
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gswarm import __version__
from gswarm.client.agent import AgentState
from gswarm.client.data_server import DataServer, address_towards
from gswarm.client.devices import Devices
from gswarm.client.enroll import enrol, renew
from gswarm.client.jobs import JOB_COMMAND, JobRunner
from gswarm.client.loop import ClientLoop, Parts
from gswarm.client.metrics import MetricStream
from gswarm.client.peer_rights import PeerRights
from gswarm.client.pool import ClientPool, OnDamaged
from gswarm.client.renewal import Renewal
from gswarm.client.sampling.owners import outsiders_on, own_processes
from gswarm.client.sampling.process import SAMPLER_COMMAND
from gswarm.client.sampling.station import Station
from gswarm.client.session import HostSession, Patience
from gswarm.client.slots import make_slots, sampled_devices, this_machine
from gswarm.client.snapshots import SnapshotDirs
from gswarm.client.trainer_process import TRAINER_COMMAND, Deadlines
from gswarm.client.trainers import Trainers
from gswarm.datapool.transfer import PoolClient, Source
from gswarm.domain.config import ClientConfig, HostConfig
from gswarm.domain.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import Register, Registered
from gswarm.domain.plan import SlotSpec
from gswarm.runtime.locks import FileLock
from gswarm.runtime.logs import configure_logging
from gswarm.wire.client import HostConnection
from gswarm.wire.server import is_loopback
from gswarm.wire.tls import HOST_SERVER_NAME, ClientTls, check_client_name, client_ssl_context, show_certificate

logger = logging.getLogger(__name__)

GRACE_S = 15.0
METRICS_GRACE_S = 2.0
GIVE_UP_S = 60.0
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound to
TRAINING_PACKAGES = ("torch", "transformers", "peft", "trl", "datasets")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What differs between a client in production and one in a test."""

    deadlines: Deadlines | None = None
    """``None``: as the config's ``step_deadline_s`` says."""
    grace_s: float = GRACE_S
    give_up_s: float = GIVE_UP_S
    trainer_command: tuple[str, ...] = TRAINER_COMMAND
    job_command: tuple[str, ...] = JOB_COMMAND
    sampler_command: tuple[str, ...] | None = SAMPLER_COMMAND
    """``None``: nothing is measured."""
    pool_port: int | None = None
    """Of the host, where no token told it (plaintext)."""


@dataclass(slots=True)
class _Identity:
    name: ClientName
    host: str
    port: int
    directory: Path
    tls: ClientTls | None = None
    pool_port: int = 0
    is_known: bool = False


class Client:
    """One client, for the command line and for tests.

    Args:
        config: where the host is, the name, the slots, the data directory.
        token: a join token; needed once a machine.
        insecure: plaintext, to a host on this machine only.
    """

    def __init__(
        self, config: ClientConfig, *, token: str | None = None, insecure: bool = False, settings: ClientSettings = ClientSettings()
    ) -> None:
        self._config = config
        self._token = token
        self._settings = settings
        host, port = _split(config.host)
        if insecure and not is_loopback(host):
            raise ForbiddenError(f"--insecure does not speak to {host}", "plaintext is for a host on this machine only")
        self._insecure = insecure
        name = check_client_name(config.name or socket.gethostname())
        directory = Path(config.data_dir).expanduser().resolve() / "clients" / name
        self._identity = _Identity(name, host, port, directory)
        self._loop: ClientLoop | None = None
        self._stop_reason: str | None = None
        self.incarnation = secrets.token_hex(8)

    @property
    def name(self) -> ClientName:
        return self._identity.name

    @property
    def loop(self) -> ClientLoop | None:
        """The running loop, for tests and the curious."""
        return self._loop

    def stop(self, reason: str = "stopped by its user") -> None:
        """Asks the client to leave in good order; asking twice ends it at once. Callable from a signal handler of the loop."""
        self._stop_reason = reason
        if self._loop is not None:
            self._loop.shut_down(reason)

    async def run(self) -> None:
        """Until the client leaves.

        Raises:
            ConflictError: another client of that name runs here or is connected.
            UnauthenticatedError, ForbiddenError, IncompatibleVersionError: the host refuses this client.
            UnavailableError: the host was away for too long.
            StorageError: the data directory cannot be used.
        """
        identity, config = self._identity, self._config
        machine = this_machine()
        slots = make_slots(config.slots, identity.name, machine, config.slots_per_gpu)
        slot_devices = sampled_devices(slots, machine)
        lock = _lock(identity)
        try:
            if self._insecure:
                identity.pool_port = self._settings.pool_port or _local_pool_port(self._config.data_dir)
            else:
                enrolment = await enrol(identity.host, self._token, identity.name, identity.directory / "tls")
                identity.tls, identity.pool_port, identity.is_known = enrolment.tls, enrolment.pool_port, not enrolment.is_new
            await self._run(slots, slot_devices)
        finally:
            lock.release()

    async def _run(self, slots: tuple[SlotSpec, ...], slot_devices: tuple[str, ...]) -> None:
        identity, settings = self._identity, self._settings
        async with contextlib.AsyncExitStack() as stack:
            connection = HostConnection(_join_address(identity.host, identity.port), identity.tls, identity.name)
            stack.push_async_callback(connection.close)
            context = client_ssl_context(identity.tls) if identity.tls is not None else None
            pool = self._make_pool(connection, context, lambda owner, digest: loop.on_damaged(owner, digest))
            stack.push_async_callback(pool.close)
            snapshots = await asyncio.to_thread(SnapshotDirs, identity.directory)
            stack.callback(snapshots.close)
            server = DataServer(pool.store, identity.tls, PeerRights(connection.reach, pool.store))
            await server.start(*self._data_address())
            stack.push_async_callback(server.stop)
            loop = ClientLoop(AgentState(len(slots)), settings.grace_s)
            stack.push_async_callback(loop.close)
            logs = identity.directory / "logs"
            deadlines = settings.deadlines or Deadlines(step_min_s=self._config.step_deadline_s)
            devices = Devices(identity.directory / "devices")
            station = await self._open_station(
                connection, slots, slot_devices, lambda: own_processes(station, trainers, jobs), lambda: tell_outsiders()
            )
            listener = station.collector if station is not None else None
            trainers = Trainers(
                slots, logs, loop.on_trainer_event, loop.on_trainer_exit, deadlines, devices, settings.trainer_command, listener
            )
            stack.push_async_callback(trainers.close)

            def tell_outsiders() -> None:
                if station is not None and self._config.outsider_policy == "avoid":
                    session.send(outsiders_on(slot_devices, station.collector.outsiders))

            def registered(message: Registered) -> None:
                loop.on_registered(message)
                tell_outsiders()

            patience = Patience(None if self._config.resilient else settings.give_up_s, identity.is_known)
            session = HostSession(
                connection.session,
                self._registration(loop, slots, server),
                registered,
                loop.on_message,
                loop.on_lost,
                patience,
                prepare=lambda: self._follow_address(server),
            )
            jobs = JobRunner(pool, identity.directory, slots[0], logs / "jobs.log", devices, settings.job_command)
            metrics = MetricStream(connection.metrics)
            loop.attach(Parts(session, trainers, pool, jobs, metrics, snapshots))
            self._loop = loop
            if self._stop_reason is not None:
                loop.shut_down(self._stop_reason)
            if identity.tls is not None and context is not None:
                renewal = self._make_renewal(identity.tls, connection, context, server)
                stack.push_async_callback(_cancelled, asyncio.create_task(renewal.run(), name="renewal"))
            if station is not None:
                stack.push_async_callback(_cancelled, asyncio.create_task(_measure(station), name="station"))
            await _live(loop, session, metrics, station)

    async def _open_station(
        self,
        connection: HostConnection,
        slots: tuple[SlotSpec, ...],
        slot_devices: tuple[str, ...],
        ours: Callable[[], dict[int, str]],
        on_outsiders: Callable[[], None],
    ) -> Station | None:
        """Where its disk refuses, the client trains and measures nothing."""
        if self._settings.sampler_command is None:
            return None
        try:
            return await asyncio.to_thread(
                Station,
                self._identity.directory,
                self._config.spool_budget_bytes,
                connection.samples,
                slots,
                slot_devices,
                ours,
                on_outsiders,
                self._settings.sampler_command,
            )
        except StorageError as error:
            logger.warning("nothing is measured until this client starts again: %s", error)
            return None

    def _make_renewal(self, tls: ClientTls, connection: HostConnection, context: ssl.SSLContext, server: DataServer) -> Renewal:
        identity = self._identity

        async def ask(before: ClientTls) -> ClientTls:
            return await renew(identity.host, identity.pool_port, before, identity.directory / "tls")

        async def show(renewed: ClientTls) -> None:
            show_certificate(context, renewed)
            server.renew(renewed)
            await connection.renew(renewed)

        return Renewal(tls, ask, show)

    def _make_pool(self, connection: HostConnection, context: ssl.SSLContext | None, on_damaged: OnDamaged) -> ClientPool:
        identity = self._identity
        scheme = "http" if identity.tls is None else "https"
        host = Source(f"{scheme}://{_join_address(identity.host, identity.pool_port)}", HOST_SERVER_NAME)
        remote = PoolClient(context)
        budget_bytes = self._config.cache_budget_bytes
        return ClientPool(identity.directory, identity.name, remote, host, connection.locate, budget_bytes, on_damaged)

    def _registration(self, loop: ClientLoop, slots: tuple[SlotSpec, ...], server: DataServer) -> Callable[[], Register]:
        def register() -> Register:
            agent = loop.agent
            return Register(
                client=self._identity.name,
                incarnation=self.incarnation,
                version=__version__,
                data_url=server.url,
                slots=slots,
                held=agent.held(),
                jobs=agent.jobs(),
                labels=self._config.labels,
            )

        return register

    async def _follow_address(self, server: DataServer) -> None:
        """Serves blobs where this machine is now: it may have got another address."""
        try:
            await server.start(*await asyncio.to_thread(self._data_address))
        except StorageError as error:
            logger.info("blobs are served as %s as before: %s", server.url, error)

    def _data_address(self) -> tuple[str, int, str]:
        """Where the pool listens, and the address under which others find it."""
        bind, port = self._config.pool_bind, self._config.pool_port
        if self._insecure:
            return "127.0.0.1", port, "127.0.0.1"
        if bind is not None and bind not in WILDCARDS:
            return bind, port, bind
        reached_as = address_towards(self._identity.host, self._identity.port)
        return bind or reached_as, port, reached_as


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _measure(station: Station) -> None:
    """Until cancelled. Training goes on without what is measured."""
    try:
        await station.run()
    except Exception:
        logger.exception("nothing is measured any more until this client starts again")


async def _live(loop: ClientLoop, session: HostSession, metrics: MetricStream, station: Station | None) -> None:
    """Runs until the agent has left, the session is hopeless, or something broke."""
    talking = asyncio.create_task(session.run(), name="session")
    measuring = asyncio.create_task(metrics.run(), name="metrics")
    leaving = asyncio.create_task(loop.left.wait(), name="leaving")
    try:
        await asyncio.wait((talking, leaving, measuring, loop.failed), return_when=asyncio.FIRST_COMPLETED)
        for future in (loop.failed, talking, measuring):
            if future.done():
                future.result()
        if leaving.done():
            await metrics.drained(METRICS_GRACE_S)
            if station is not None:
                await station.drained()
            await session.goodbye(loop.agent.leave_reason)
    finally:
        for task in (talking, measuring, leaving):
            task.cancel()
        await asyncio.gather(talking, measuring, leaving, return_exceptions=True)


def run_client(
    config: ClientConfig, *, token: str | None = None, insecure: bool = False, settings: ClientSettings = ClientSettings()
) -> int:
    """``gswarm client connect``: trains for a host until SIGTERM, Ctrl-C or the host's wish. The exit code.

    Raises:
        GswarmError: as ``Client.run``; its ``exit_code`` is the command's.
    """
    if settings.trainer_command == TRAINER_COMMAND:
        check_training_packages()
    client = Client(config, token=token, insecure=insecure, settings=settings)
    log = configure_logging(config.log_format, config.log_level, client=client.name)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, client.stop, f"it got {number.name}")
        await client.run()

    try:
        asyncio.run(main())
    finally:
        log.finish()
    return 0


def check_training_packages() -> None:
    """Raises NotFoundError when a trainer process could not start here. Imports none of them."""
    lacking = [name for name in TRAINING_PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        raise NotFoundError(f"{', '.join(lacking)} not installed here, so nothing can be trained", "pip install 'gswarm[train]'")


def _lock(identity: _Identity) -> FileLock:
    """Makes the client's directory and holds it. Two clients of one name on one machine would share a pool and a certificate."""
    lock = FileLock(identity.directory / "lock")
    try:
        identity.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = lock.acquire(f"pid {os.getpid()}")
    except OSError as error:
        raise StorageError(
            f"the data directory {identity.directory} cannot be used: {error.strerror}", "choose another --data-dir"
        ) from error
    if not is_ours:
        raise ConflictError(f"a client named {identity.name} runs on this machine already", "give this one another --name")
    return lock


def _local_pool_port(data_dir: str) -> int:
    """The pool's port of the plaintext host on this machine, which no token tells: as that host wrote it down, else the default."""
    try:
        return int(json.loads((Path(data_dir).expanduser() / "host" / "endpoint.json").read_text())["pool_port"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return HostConfig().pool_port


def _split(address: str | None) -> tuple[str, int]:
    host, colon, port = (address or "").rpartition(":")
    if not colon:
        host, port = address or "", str(HostConfig().port)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInputError(f"{address!r} is no address of a host", "write it as 10.0.0.1:8090")
    return host.strip("[]"), int(port)


def _join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
