"""An admin's consent to models' own code travels from the host's configuration to whoever loads a model; without it there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gswarm.client.agent_events import InputDirs, TrainGrant
from gswarm.client.jobs import _ORDERS
from gswarm.client.loop import ClientLoop
from gswarm.domain.config import load
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import TRUSTED_CODE_MAX, GrantOrder, HostMessage, JobOrder
from gswarm.domain.plan import JobKind
from gswarm.host.effects import EffectRunner
from gswarm.scheduler.effects import Effect, SendGrant, SendJob
from gswarm.wire import convert
from scheduler_kit import Cluster, only

TRUSTED = (Digest("a" * 64), Digest("b" * 64))


def delivered(cluster: Cluster, effects: list[Effect], trusted_code: tuple[str, ...]) -> list[HostMessage]:
    """What clients get, after its way over the wire."""
    sent: list[HostMessage] = []
    outbox = SimpleNamespace(deliver=lambda _client, message: sent.append(convert.decode_host_message(convert.encode(message))))
    nothing: Any = None
    EffectRunner(cluster.state, nothing, outbox, nothing, nothing, trusted_code).run(effects)
    return sent


@pytest.fixture
def grants_and_jobs() -> tuple[Cluster, list[Effect]]:
    """A cluster, and the effects that a client hears of: a grant and a job of each kind."""
    cluster = Cluster()
    cluster.client("a")
    grants = only(cluster.prepare(cluster.submit()), SendGrant)
    cluster.chunk("a/0")
    cluster.submit("unprepared")
    for kind in (JobKind.VERIFY, JobKind.EXPORT):
        cluster.ask_job(kind, "r1", '{"format": "adapter"}' if kind is JobKind.EXPORT else "{}")
    return cluster, [*grants, *(SendJob(ClientName("a"), job.id) for job in cluster.state.jobs.values() if job.result_json is None)]


@pytest.mark.parametrize("trusted", [(), TRUSTED], ids=["none", "two"])
def test_every_order_carries_the_consent(grants_and_jobs: tuple[Cluster, list[Effect]], trusted: tuple[Digest, ...]) -> None:
    cluster, effects = grants_and_jobs
    messages = delivered(cluster, effects, trusted)
    assert len(messages) == len(effects)
    grants = [message for message in messages if isinstance(message, GrantOrder)]
    assert grants
    assert {grant.trusted_code for grant in grants} == {trusted}
    jobs = [message for message in messages if isinstance(message, JobOrder)]
    assert {job.kind for job in jobs} == {JobKind.PREPARE, JobKind.VERIFY, JobKind.EXPORT}
    for job in jobs:
        assert _ORDERS[job.kind].validate_json(job.request_json).trusted_code == trusted


async def test_the_trainer_process_gets_the_grants_consent(grants_and_jobs: tuple[Cluster, list[Effect]], tmp_path: Path) -> None:
    cluster, effects = grants_and_jobs
    order = next(message for message in delivered(cluster, effects, TRUSTED) if isinstance(message, GrantOrder))
    sent: list[Any] = []
    loop = ClientLoop(None, 0.0)  # type: ignore[arg-type]
    parts: Any = SimpleNamespace(
        snapshots=SimpleNamespace(make=lambda *_: tmp_path),
        trainers=SimpleNamespace(send=lambda _slot, _epoch, command: sent.append(command)),
    )
    loop.attach(parts)
    loop._train(TrainGrant(0, 1, order, InputDirs("base", "data", None)))
    loop._train(TrainGrant(0, 1, replace(order, trusted_code=()), InputDirs("base", "data", None)))
    assert [command.trusted_code for command in sent] == [TRUSTED, ()]


def test_the_configuration_takes_digests_only() -> None:
    def trusted(value: object) -> tuple[str, ...]:
        return load({"host": {"trusted_code": value}}).host.trusted_code

    assert load().host.trusted_code == ()
    assert trusted(list(TRUSTED)) == TRUSTED
    for wrong in (["meta-llama/Llama-3"], ["A" * 64], ["*"], [True], "all", [f"{number:064x}" for number in range(TRUSTED_CODE_MAX + 1)]):
        with pytest.raises(InvalidInputError, match="trusted_code"):
            trusted(wrong)
