"""A client with a valid certificate that sends whatever the wire lets through: it harms its own work, never the host or its views."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, cast

import httpx
import pytest
from api_host import memory_profiler, quiet_alerts
from host_rig import FakeClient, Rig, rig
from host_support import submitted
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gswarm.domain import messages as m
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import ClientName, Digest, JobId, RunId
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunSize
from gswarm.domain.spec import Durability
from gswarm.domain.steps import COUNT_MAX
from gswarm.host.access.audit import AuditLog
from gswarm.host.access.auth import Principal, TokenStore
from gswarm.host.access.logins import Logins
from gswarm.host.access.rights import PoolRights
from gswarm.host.api.app import PREFIX, ROUTES, create_app
from gswarm.host.services import HostServices
from gswarm.profiler.run_logs import RunLogStore
from gswarm.scheduler.invariants import check
from gswarm.wire import convert

HUGE = 2**64 - 1
DIGEST = Digest("ab" * 32)
NAMES = st.sampled_from(["loss", "eval_loss", "\u202eevil", "x" * 256, "<b>", "a b", "é"])
TEXTS = st.sampled_from(["", "\x1b[2J\x07", "line\nline", "x" * 16_000, "<script>", "\x00"]) | st.text(
    st.characters(exclude_categories=["Cs"])
)
COUNTS = st.sampled_from([0, 1, 2, 5, 10, 20, 2**31, 2**53 + 1, 2**63 - 1, 2**63, HUGE])
DURATIONS = st.sampled_from([None, 0.0, 5e-324, 1.0, 1e300, 1.7976931348623157e308])
FINITE = st.sampled_from([0.0, -0.0, 5e-324, -1e308, 1.7976931348623157e308, 1.5])
ANY_FLOAT = FINITE | st.sampled_from([math.nan, math.inf, -math.inf])
RESULTS_OF_JOBS = (
    "{}",
    "",
    "null",
    "[]",
    "NaN",
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    "[" * 100_000,
    '{"a":' * 90 + "1" + "}" * 90,
    '{"n": ' + "9" * 5000 + "}",
    '{"identical": "yes", "digest": 5}',
    '{"manifest": "../../x"}',
    '"text"',
    '{"a": 1, "a": 2}',
)
RESULTS = st.sampled_from(RESULTS_OF_JOBS)
SIZES = st.builds(RunSize, COUNTS, COUNTS, COUNTS, COUNTS, st.just(DIGEST), st.just(DIGEST))
METRICS = st.lists(st.tuples(NAMES, FINITE), max_size=4).map(tuple)
ACTIONS = st.one_of(
    st.tuples(st.just("trained"), st.booleans(), COUNTS, DURATIONS),
    st.tuples(st.just("committed"), st.booleans(), COUNTS, METRICS),
    st.tuples(st.just("failed"), st.booleans(), TEXTS, TEXTS),
    st.tuples(st.just("returned"), st.booleans()),
    st.tuples(st.just("job"), st.sampled_from(JobKind), RESULTS, st.lists(SIZES, max_size=3)),
    st.tuples(st.just("metrics"), st.booleans(), COUNTS, st.lists(st.tuples(NAMES, ANY_FLOAT), max_size=4), FINITE),
    st.tuples(st.just("say_lines"), FINITE, TEXTS),
    st.tuples(st.just("ask"), st.sampled_from((JobKind.VERIFY, JobKind.EXPORT))),
)


@settings(
    max_examples=12, deadline=None, derandomize=True, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
)
@given(st.booleans(), SIZES, st.lists(ACTIONS, min_size=8, max_size=25))
def test_whatever_a_client_says_the_host_goes_on_and_can_show_it(is_prepared: bool, size: RunSize, actions: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_scenario(Path(folder), is_prepared, size, actions))


async def _scenario(folder: Path, is_prepared: bool, size: RunSize, actions: list[Any]) -> None:
    async with rig(folder) as host:
        await host.loop.submit(submitted(runs=3, durability=Durability.LOCAL))
        hostile = Hostile(host, await host.connected("a", slots=2), RunLogStore(folder / "logs"))
        host.sessions._intake._run_logs = hostile.logs
        sizes = (RunSize(10, 20, 10, 2, DIGEST, DIGEST) if is_prepared else size,) * 3
        await hostile.do("job", JobKind.PREPARE, "{}", sizes)
        for action in actions:
            await hostile.do(*action)
        assert not host.loop.failed.done()
        check(host.state)
        await _look_at_everything(host, folder, hostile.logs)


class Hostile:
    """Sends through the wire's own bytes, and connects again whenever the host has had enough."""

    def __init__(self, host: Rig, client: FakeClient, logs: RunLogStore) -> None:
        self.host = host
        self.client = client
        self.logs = logs
        self.seq = 0

    async def do(self, kind: str, *args: Any) -> None:
        self.seq += 1
        with suppress(GswarmError):
            await getattr(self, kind)(*args)
        if self.client.running is None or self.client.running.done():
            self.client = await self.host.connected("a", slots=2)

    async def say(self, message: m.ClientMessage) -> None:
        self.client.send(convert.decode_client_message(convert.encode(message)))
        acks = len([one for one in self.client.received if isinstance(one, m.Ack)])
        await self.client.next(m.Ack, acks + 1)

    def grant(self, is_open: bool) -> tuple[RunId, int, int]:
        """An open grant with the step it ends at, or one that never was."""
        for run in self.host.state.runs.values():
            for grant in run.grants if is_open else ():
                return run.id, grant.generation, grant.to_step
        return RunId("r1"), 7, 3

    async def trained(self, is_open: bool, step: int, step_time_s: float | None) -> None:
        run, generation, to_step = self.grant(is_open)
        await self.say(m.ChunkTrainedReport(self.seq, run, generation, to_step if step == 5 else step, step_time_s))

    async def committed(self, is_open: bool, step: int, metrics: tuple[tuple[str, float], ...]) -> None:
        run, generation, to_step = self.grant(is_open)
        reached = to_step if step < 20 else step
        if is_open and step < 20:
            await self.say(m.ChunkTrainedReport(self.seq, run, generation, reached, 1e308))
        await self.say(m.ChunkCommittedReport(self.seq, run, generation, Checkpoint(DIGEST, reached, DIGEST, HUGE, metrics, ("x" * 256,))))

    async def failed(self, is_open: bool, code: str, text: str) -> None:
        run, generation, _ = self.grant(is_open)
        code = code if code.isprintable() and 0 < len(code) < 256 else "c"
        await self.say(m.ChunkFailedReport(self.seq, run, generation, Failure(code, text, False, text)))

    async def returned(self, is_open: bool) -> None:
        run, generation, _ = self.grant(is_open)
        await self.say(m.GrantReturnedReport(self.seq, run, generation))

    async def job(self, kind: JobKind, result: str, sizes: tuple[RunSize, ...]) -> None:
        jobs = [job.id for job in self.host.state.jobs.values() if job.kind is kind and job.result_json is None and job.failure is None]
        await self.say(m.JobReport(self.seq, jobs[0] if jobs else JobId("j99"), result, sizes=tuple(sizes)))

    async def ask(self, kind: JobKind) -> None:
        """What a person may ask for meanwhile, so that there is a job to answer."""
        from gswarm.domain.ids import RequestId
        from gswarm.scheduler.events import JobRequested

        await self.host.loop.submit(JobRequested(RequestId(f"v{self.seq}"), kind, RunId("r1"), "{}", "t"))

    async def metrics(self, is_open: bool, step: int, values: list[tuple[str, float]], at_s: float) -> None:
        run, generation, _ = self.grant(is_open)
        batch = m.MetricBatch(self.seq, (m.StepMetrics(run, generation, step, at_s, tuple(dict(values).items())),))
        await self.host.sessions._intake.store(ClientName("a"), convert.decode_metric_batch(convert.encode(batch)))

    async def say_lines(self, at_s: float, text: str) -> None:
        batch = m.MetricBatch(self.seq, (), (m.LogLine(RunId("r1"), at_s, "info", text),))
        await self.host.sessions._intake.store(ClientName("a"), convert.decode_metric_batch(convert.encode(batch)))


async def _look_at_everything(host: Rig, folder: Path, logs: RunLogStore) -> None:
    tokens = cast(TokenStore, _Anybody())
    audit = AuditLog(folder / "audit", host.clock.now_s)
    profiler = memory_profiler(folder, host.loop)
    profiler.chronicle.start()
    services = HostServices(
        loop=host.loop,
        tokens=tokens,
        logins=Logins(host.clock.now_s),
        series=host.series,
        run_logs=logs,
        profiler=profiler,
        alerts=quiet_alerts(folder),
        store=host.store,
        sessions=host.sessions,
        rights=PoolRights(host.state, host.store, host.clock),
        audit=audit,
        config=HostConfig(data_dir=str(folder)),
        clock=host.clock.now_s,
        version="0",
        cluster_id="c",
        started_at_s=0.0,
    )
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"Authorization": "Bearer x"}) as client:
        for route in ROUTES:
            if route.method != "GET" or route.path in ("/events", "/host") or "{manifest}" in route.path:
                continue
            for run in host.state.runs if "{run}" in route.path else ("",):
                path = route.path.format(run=run, experiment="e1", name="a", job="j1")
                answer = await client.get(PREFIX + path)
                assert answer.status_code in (200, 404), f"{path}: {answer.text}"
                json.loads(answer.text, parse_constant=_no_constant)
    audit.close()
    await profiler.chronicle.close()
    profiler.samples.close()


class _Anybody:
    """Tokens are not what is tested here."""

    def authenticate(self, _bearer: str) -> Any:
        return Principal("t", "admin")

    principal = authenticate

    def list(self) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: []


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("kind", [JobKind.VERIFY, JobKind.EXPORT])
async def test_results_that_are_no_results_break_no_view(tmp_path: Path, kind: JobKind) -> None:
    async with rig(tmp_path) as host:
        await host.loop.submit(submitted(runs=1, durability=Durability.LOCAL))
        hostile = Hostile(host, await host.connected("a", slots=2), RunLogStore(tmp_path / "logs"))
        await hostile.do("job", JobKind.PREPARE, "{}", (RunSize(10, 20, 10, 2, DIGEST, DIGEST),))
        await hostile.do("committed", True, 1, (("loss", 1.5),))
        for result in RESULTS_OF_JOBS:
            await hostile.do("ask", kind)
            await hostile.do("job", kind, result, ())
        assert len(host.state.jobs) == 1 + len(RESULTS_OF_JOBS)
        if kind is JobKind.EXPORT:
            assert all(job.failure is not None for job in host.state.jobs.values() if job.kind is kind), "none names a manifest"
        await _look_at_everything(host, tmp_path, hostile.logs)


@pytest.mark.parametrize("step_time_s", [0.0, 5e-324, 1.7976931348623157e308])
async def test_times_and_sizes_without_measure_break_no_view(tmp_path: Path, step_time_s: float) -> None:
    async with rig(tmp_path) as host:
        await host.loop.submit(submitted(runs=2, durability=Durability.LOCAL))
        hostile = Hostile(host, await host.connected("a", slots=2), RunLogStore(tmp_path / "logs"))
        size = RunSize(COUNT_MAX, COUNT_MAX, COUNT_MAX, COUNT_MAX, DIGEST, DIGEST)
        await hostile.do("job", JobKind.PREPARE, "{}", (size, size))
        await hostile.do("trained", True, 5, step_time_s)
        assert host.state.runs
        await _look_at_everything(host, tmp_path, hostile.logs)


async def test_sizes_that_nothing_could_keep_reject_the_experiment_and_harm_no_mark(tmp_path: Path) -> None:
    async with rig(tmp_path) as host:
        await host.loop.submit(submitted(runs=1, durability=Durability.LOCAL))
        hostile = Hostile(host, await host.connected("a", slots=2), RunLogStore(tmp_path / "logs"))
        await hostile.do("job", JobKind.PREPARE, "{}", (RunSize(HUGE, HUGE, HUGE, HUGE, DIGEST, DIGEST),))
        assert not host.state.runs
        await _look_at_everything(host, tmp_path, hostile.logs)
