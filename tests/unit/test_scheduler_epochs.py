"""A plan that was taken back: rights from before it are worth nothing, and no number is given out twice."""

from __future__ import annotations

import pytest
from test_agent_fences import sent
from test_agent_rules import R1, Bench, order, trained

from gswarm.client import agent_events as ev
from gswarm.domain.epochs import COUNT_BITS, epoch_of, first_number
from gswarm.domain.errors import FencedError, InvalidInputError
from gswarm.domain.ids import ClientName, RunId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.plan import ClientState, JobKind, RunState
from gswarm.host.stints import Stints
from gswarm.scheduler.effects import SendGrant, SendJob, SendRevoke
from gswarm.scheduler.events import ChunkCommitted, ChunkTrained, ClientRegistered, HeldGrant, JobFinished, JobRequested, PlanRestored
from gswarm.training.protocol import DropRun
from scheduler_kit import Cluster, checkpoint, only

A, RUN = ClientName("a"), RunId("r1")
EPOCH = 1_800_000_000


@pytest.fixture
def cluster() -> Cluster:
    """One client, which trains the only run."""
    made = Cluster()
    made.client()
    made.prepare(made.submit())
    return made


def test_every_client_is_lost_until_it_comes_to_the_restored_host(cluster: Cluster) -> None:
    held = [(grant.run, grant.generation) for grant in cluster.state.runs[RUN].grants]
    assert cluster.step(PlanRestored(EPOCH)) == []
    assert cluster.state.clients[A].state is ClientState.LOST
    assert cluster.state.runs[RUN].state is RunState.QUEUED
    effects = cluster.client(held=held)
    assert [(one.run, one.generation) for one in reversed(only(effects, SendRevoke))] == held
    granted = [one.grant.generation for one in only(effects, SendGrant)]
    assert granted == [first_number(EPOCH) + 1, first_number(EPOCH) + 2]


def test_reports_from_after_the_backup_are_refused(cluster: Cluster) -> None:
    """Generations 3 and 4 were given out by the host that is gone; this plan counts its own from the epoch on."""
    cluster.step(PlanRestored(EPOCH))
    cluster.client(held=[(RUN, 3), (RUN, 4)])
    for generation in (1, 2, 3, 4):
        cluster.refused(ChunkTrained(A, RUN, generation, 10), FencedError)
        cluster.refused(ChunkCommitted(A, RUN, generation, checkpoint(RUN, 10)), FencedError)
    assert cluster.state.epoch == EPOCH, "the client is ahead of the backup, not of the epoch"


def test_a_plan_that_was_set_back_by_hand_notices_by_what_a_client_holds(cluster: Cluster) -> None:
    cluster.lose("a")
    effects = cluster.client(held=[(RUN, 9)])
    assert cluster.state.epoch == 1
    assert [one.grant.generation for one in only(effects, SendGrant)] == [first_number(1) + 1, first_number(1) + 2]
    cluster.client("b", held=[("r77", 1)])
    assert cluster.state.epoch == 1, "numbers of the epoch before are passed over already"
    cluster.client("b", held=[("r77", first_number(5) + 3)])
    assert cluster.state.epoch == 6, "it comes from a host that was restored later"


@pytest.mark.parametrize("generation", [first_number(2**32), 2**53, 2**64 - 1])
def test_a_client_cannot_use_the_numbers_up(cluster: Cluster, generation: int) -> None:
    """One message of a stolen certificate would otherwise leave no generation that fits the wire, for anybody."""
    event = ClientRegistered(ClientName("b"), "i1", "1", "", (), held=(HeldGrant(RUN, generation),))
    cluster.refused(event, InvalidInputError)
    assert cluster.state.epoch == 0
    assert "b" not in cluster.state.clients


def test_the_same_epoch_or_an_older_one_is_refused(cluster: Cluster) -> None:
    cluster.step(PlanRestored(EPOCH))
    for epoch in (EPOCH, EPOCH - 3600, 0):
        cluster.refused(PlanRestored(epoch), InvalidInputError)


def test_jobs_of_before_are_other_jobs(cluster: Cluster) -> None:
    grant = cluster.state.runs[RUN].grants[0]
    cluster.step(ChunkTrained(A, RUN, grant.generation, 10))
    cluster.step(ChunkCommitted(A, RUN, grant.generation, checkpoint(RUN, 10)))
    cluster.step(PlanRestored(EPOCH))
    cluster.client(jobs=["j2"])
    (job,) = only(cluster.step(JobRequested(cluster.request(), JobKind.VERIFY, RUN, "{}")), SendJob)
    assert int(job.job[1:]) == first_number(EPOCH) + 1
    cluster.refused(JobFinished(A, "j2", "{}"), FencedError)  # type: ignore[arg-type]


def test_numbers_stay_exact_where_json_is_read_and_grow_over_overflows() -> None:
    assert first_number(2**32 - 1) + 2**COUNT_BITS - 1 < 2**53
    assert epoch_of(first_number(EPOCH)) == epoch_of(first_number(EPOCH) + 2**COUNT_BITS - 1) == EPOCH
    assert first_number(EPOCH + 1) > first_number(EPOCH) + 2**COUNT_BITS - 1


def test_a_client_lets_go_of_a_run_that_comes_from_another_plan() -> None:
    """The id may be another run's now: even at the very step that it holds, nothing of it may be used."""
    bench = Bench()
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    bench.feed(ev.RevokeReceived(R1, 1))
    bench.training(order(generation=5, start=10, end=20, checkpoint=checkpoint("r1", 10)))
    bench.say(trained(R1, 5, 20))
    assert bench.agent.book.slots[0].hot == {R1: 20}
    effects = bench.feed(ev.GrantReceived(order(generation=first_number(EPOCH) + 1, start=20, end=30, checkpoint=checkpoint("r1", 20))))
    assert sent(effects) == [DropRun(R1)]
    assert bench.agent.book.slots[0].hot == {}


def test_metrics_of_before_are_not_taken_for_the_run_of_now(cluster: Cluster) -> None:
    def row(generation: int, step: int) -> StepMetrics:
        return StepMetrics(RUN, generation, step, 1.0, (("loss", 1.0),))

    before = cluster.active("a/0")
    stints = Stints(cluster.state, lambda: 0.0)
    assert stints.may_measure(A, row(before.generation, before.to_step))
    cluster.step(PlanRestored(EPOCH))
    cluster.client()
    now = cluster.active("a/0")
    assert (now.from_step, now.to_step) == (before.from_step, before.to_step)
    assert not stints.may_measure(A, row(before.generation, before.to_step))
    assert stints.may_measure(A, row(now.generation, now.to_step))
