"""A host's REST API over the real plan and journal, on a port of its own, with the test in the place of clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from argon2 import PasswordHasher

from gswarm.datapool.disk import DiskStore
from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import ClientName, Digest, JobId, RunId, SlotId
from gswarm.domain.plan import Checkpoint, Job, Run, RunSize, RunState, Slot, SlotSpec
from gswarm.host.access import auth
from gswarm.host.access.audit import AuditLog
from gswarm.host.access.auth import TokenStore
from gswarm.host.access.logins import Logins
from gswarm.host.access.rights import PoolRights
from gswarm.host.alerting.desk import AlertDesk
from gswarm.host.api.throttle import FailureThrottle
from gswarm.host.clock import SystemClock
from gswarm.host.http import HttpServer
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.loop import PlanLoop, Submitted
from gswarm.host.profiling.services import ProfilerServices, open_profiler
from gswarm.host.profiling.sessions import ProfilerSessions
from gswarm.host.services import HostServices
from gswarm.host.sessions import SessionManager
from gswarm.profiler.alert_rules import Readings
from gswarm.profiler.run_logs import RunLogStore
from gswarm.profiler.sqlite_series import SqliteSeriesStore
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import ChunkCommitted, ChunkTrained, ClientRegistered, Event, GrantReturned, JobFinished, TimerFired
from gswarm.sdk import Host
from gswarm.wire.tls import CertificateAuthority

CLIENT = ClientName("left")
EXPERIMENT: dict[str, Any] = {
    "experiment": "tiny",
    "base": {"model_name_or_path": "tiny-model", "dataset": "tiny-data", "num_train_epochs": 1},
    "search": {"parameters": {"learning_rate": {"values": [1.0e-5, 1.0e-4, 1.0e-3]}}},
    "chunks": {"num_chunks": 4},
}
TOTAL_STEPS = 16


def memory_profiler(root: Path, plan: PlanLoop) -> ProfilerServices:
    """The profiler's parts in a folder, without a thread of their own."""
    root.mkdir(exist_ok=True)
    samples = ParquetSampleStore(root / "samples", fold_in_background=False)
    return open_profiler(root, samples, ProfilerSessions(root / "sessions.json", time.time), plan, time.time)


def quiet_alerts(root: Path) -> AlertDesk:
    """A desk that nobody has opened: it finds nothing and tells nobody."""
    return AlertDesk(AlertConfig(), SystemClock(), lambda broken: Readings, (), root / "alerts.json")


@dataclass
class FakeSessions:
    """Stands in for connected clients."""

    connected: frozenset[str] = frozenset({CLIENT})
    refused_reports: int = 3
    refused_metrics: int = 5
    asked_to_leave: list[str] = field(default_factory=list)

    def certificate_ends_s(self, client: ClientName) -> float | None:
        return 2e9 if client in self.connected else None

    async def disconnect(self, client: ClientName, reason: str) -> None:
        if client not in self.connected:
            raise NotFoundError(f"client {client} is not connected")
        self.asked_to_leave.append(f"{client}: {reason}")


class ApiHost:
    """The parts behind the API, on an event loop in a thread. Events of clients are submitted by the test."""

    def __init__(self, root: Path, config: HostConfig, failures_max: int) -> None:
        self.root = root
        config = replace(config, data_dir=str(root))
        self.sessions = FakeSessions()
        self.store = DiskStore(root / "pool")
        self.series = SqliteSeriesStore(root / "series.db")
        self.run_logs = RunLogStore(root / "logs")
        self._hasher, auth.HASHER = auth.HASHER, PasswordHasher(1, 8, 1)  # its cost is not what is tested here
        self.tokens = TokenStore(root / "auth.db", CertificateAuthority.create("c" * 32), lambda: 8092, time.time)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.call(self._open(config))
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.gate = self._server._gate
        self.gate.throttle = FailureThrottle(time.time, failures_max=failures_max)
        self.bearer = {role: self.tokens.create(role).text for role in ("viewer", "operator", "admin")}

    async def _open(self, config: HostConfig) -> None:
        self.journal = SqliteJournal(self.root / "journal.db", "c" * 32, {})
        self.state = ClusterState(undo_window_s=0.0)
        self.plan = PlanLoop(self.journal, self.state, time.time, lambda effects: None)
        self.plan.start()
        self.audit = AuditLog(self.root / "audit", time.time)
        self.profiler = memory_profiler(self.root, self.plan)
        self.profiler.chronicle.start()
        self.rights = PoolRights(self.state, self.store, SystemClock())
        self.alerts = quiet_alerts(self.root)
        self.logins = Logins(time.time)
        services = HostServices(
            loop=self.plan,
            tokens=self.tokens,
            logins=self.logins,
            series=self.series,
            run_logs=self.run_logs,
            profiler=self.profiler,
            alerts=self.alerts,
            store=self.store,
            sessions=cast(SessionManager, self.sessions),
            rights=self.rights,
            audit=self.audit,
            config=config,
            clock=time.time,
            version="0.0.test",
            cluster_id="c" * 32,
            started_at_s=time.time(),
        )
        self._server = HttpServer(services, config, self.root)
        await self._server.start()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def submit(self, event: Event) -> Submitted:
        return cast(Submitted, self.call(self.plan.submit(event)))

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._server._server.config.app.state.streams.close)
        self.call(self._server.stop())
        self.call(self.plan.close())
        self.call(self.profiler.chronicle.close())
        self.profiler.samples.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        auth.HASHER = self._hasher
        self.loop.close()
        for part in (self.audit, self.journal, self.series, self.tokens, self.store):
            part.close()

    def host(self, role: str = "admin") -> Host:
        return Host(self.url, self.bearer[role], grpc_address="127.0.0.1:8090")

    def once(self, job: str, action: Callable[[], object]) -> None:
        """Does something, in a thread, as soon as the plan has that job."""

        def follow() -> None:
            with self.host() as host:
                for _event in host.events(after=0):
                    if job in self.state.jobs:
                        break
            action()

        threading.Thread(target=follow, daemon=True).start()

    # ---- what clients would do -----------------------------------------------------------------------------------

    def join(self, slots: int = 1) -> None:
        specs = tuple(SlotSpec(SlotId(f"{CLIENT}/{index}"), "cpu") for index in range(slots))
        self.submit(ClientRegistered(CLIENT, "i1", "0.0.test", "https://127.0.0.1:1", specs))

    def prepare(self) -> None:
        """Ends the open prepare job well, as soon as there is one."""
        job = self.call(self._open_job())
        assert job.experiment is not None
        size = RunSize(TOTAL_STEPS, TOTAL_STEPS, 16, 4, Digest("a" * 64), Digest("b" * 64))
        planned = len(self.state.experiments[job.experiment].planned)
        self.submit(JobFinished(CLIENT, job.id, result_json="{}", sizes=(size,) * planned))

    async def _open_job(self) -> Job:
        async for _ in self.plan.subscribe(0):
            for job in self.state.jobs.values():
                if job.result_json is None and job.failure is None:
                    return job
        raise AssertionError("the plan ended")

    def finish_job(self, job: JobId, result_json: str) -> None:
        self.submit(JobFinished(CLIENT, job, result_json=result_json))

    def train(self, run: str, eval_loss: float = 2.0) -> int:
        """Trains and commits chunk after chunk as the plan has them, until one is the run's; its new position."""
        while True:
            head = next(slot.queue[0] for slot in self.state.slots.values() if slot.queue and self._is_next(slot, run))
            self._commit(self.state.runs[head[0]], eval_loss if head[0] == run else 9.0)
            if head[0] == run:
                return self.state.runs[RunId(run)].position

    def _is_next(self, slot: Slot, run: str) -> bool:
        """Whether the slot trains the run now, or trains at all while the run is on no slot."""
        trains_it = [other for other in self.state.slots.values() if other.queue and other.queue[0][0] == run]
        return slot in trains_it if trains_it else True

    def _commit(self, record: Run, eval_loss: float) -> None:
        grant = record.grants[0]
        reached = grant.to_step
        self.submit(ChunkTrained(grant.client, record.id, grant.generation, reached, 0.5))
        checkpoint = Checkpoint(
            Digest(f"{reached:064x}"), reached, Digest(f"{reached + 1:064x}"), 1000, (("eval_loss", eval_loss), ("loss", 1.5)), ("host",)
        )
        self.submit(ChunkCommitted(grant.client, record.id, grant.generation, checkpoint))

    def give_back(self, run: str) -> None:
        """The client returns every grant of the run untouched."""
        record = self.state.runs[RunId(run)]
        while record.grants:
            grant = record.grants[-1]
            self.submit(GrantReturned(grant.client, record.id, grant.generation))

    def bring_to(self, run: str, state: RunState) -> None:
        """Leads a queued or running run to a state by what people and clients do."""
        host = self.host()
        record = self.state.runs[RunId(run)]
        if state in (RunState.STOPPING, RunState.STOPPED):
            host.stop_run(run)
            if state is RunState.STOPPED:
                self.give_back(run)
        elif state in (RunState.DELETING, RunState.DELETED):
            host.delete_run(run)
            if state is RunState.DELETED:
                self.submit(TimerFired(f"sweep:{run}"))
        elif state is RunState.COMPLETED:
            while record.position < record.total_steps:
                self.train(run)
        assert record.state is state, record.state


@contextmanager
def api_host(root: Path, config: HostConfig | None = None, failures_max: int = 10_000) -> Iterator[ApiHost]:
    """``failures_max``: how many wrong tokens it takes before an address has to wait."""
    api = ApiHost(root, config or HostConfig(http_port=0), failures_max)
    try:
        yield api
    finally:
        api.close()


def with_runs(api: ApiHost, slots: int = 1) -> list[str]:
    """An experiment of three runs on a client with that many slots: on one, the first trains, the second is ahead, the third queued."""
    with api.host() as host:
        experiment = host.submit(EXPERIMENT)
        if slots:
            api.join(slots)
        api.prepare()
        return [run["id"] for run in host.experiment_runs(experiment["id"])]
