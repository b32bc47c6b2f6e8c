"""Grants, their reports, and clients that come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gswarm.domain.errors import ConflictError, FencedError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import ClientState, GrantPhase, RunOp, RunState, SlotSpec
from gswarm.domain.spec import CheckpointPolicy
from gswarm.scheduler.effects import SendDrop, SendGrant, SendRevoke, SendStop, StartTimer, SweepBlobs
from gswarm.scheduler.events import ClientDrainRequested, ClientLost, ClientRegistered, GrantReturned
from scheduler_kit import FATAL, SUSPECT, Cluster, only


@pytest.fixture
def one() -> Cluster:
    """One slot, one run of four chunks of ten steps: the first trains, the second is ahead."""
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    return cluster


def ranges(cluster: Cluster, run: str = "r1") -> list[tuple[int, int]]:
    return [(grant.from_step, grant.to_step) for grant in cluster.run(run).grants]


def test_a_slot_gets_a_grant_to_train_and_one_ahead(one: Cluster) -> None:
    assert ranges(one) == [(0, 10), (10, 20)]
    assert one.queue("a/0") == ["r1", "r1"]
    assert one.run("r1").generation == 2


def test_the_next_grant_goes_out_before_the_commit_but_not_without_end(one: Cluster) -> None:
    one.train(one.grant("r1"))
    assert ranges(one) == [(0, 10), (10, 20), (20, 30)]
    one.train(one.grant("r1", 1))
    assert ranges(one) == [(0, 10), (10, 20), (20, 30)], "two checkpoints on their way are enough"
    one.commit(one.grant("r1"))
    assert ranges(one) == [(10, 20), (20, 30), (30, 40)]
    assert one.run("r1").position == 10


def test_an_effect_does_not_change_after_it_was_sent(one: Cluster) -> None:
    sent = only(one.effects, SendGrant)[0].grant
    one.op("r1", RunOp.STOP)
    assert one.grant("r1").phase is GrantPhase.STOPPING
    assert sent.phase is GrantPhase.OPEN


def test_commits_count_in_order(one: Cluster) -> None:
    one.train(one.grant("r1"))
    one.train(one.grant("r1", 1))
    one.refused(one.committed_event(one.grant("r1", 1)), FencedError)
    one.commit(one.grant("r1"))
    one.commit(one.grant("r1"))
    assert one.run("r1").position == 20


def test_a_commit_implies_that_the_steps_were_trained(one: Cluster) -> None:
    one.commit(one.grant("r1"))
    assert one.run("r1").position == 10
    assert ranges(one) == [(10, 20), (20, 30)]


def test_a_result_counts_once(one: Cluster) -> None:
    event = one.committed_event(one.grant("r1"))
    one.step(event)
    one.refused(event, FencedError)


def test_a_report_of_another_client_is_fenced(one: Cluster) -> None:
    one.client("b")
    one.refused(replace(one.committed_event(one.grant("r1")), client=ClientName("b")), FencedError)


def test_a_report_outside_the_grant_is_refused(one: Cluster) -> None:
    grant = one.grant("r1")
    one.refused(one.committed_event(grant, 11), FencedError)
    one.refused(one.trained_event(grant, 11), InvalidInputError)
    one.refused(one.trained_event(grant, 0), InvalidInputError)
    one.refused(one.trained_event(one.grant("r1", 1)), FencedError)


def test_trained_said_twice_is_one(one: Cluster) -> None:
    event = one.trained_event(one.grant("r1"))
    one.step(event)
    before = one.dump()
    assert one.step(event) == []
    assert one.dump() == before


def test_a_stop_ends_at_a_step_and_resume_goes_on_from_there(one: Cluster) -> None:
    first, second = one.run("r1").grants
    assert only(one.op("r1", RunOp.STOP), SendStop) == [SendStop(ClientName("a"), RunId("r1"), generation) for generation in (1, 2)]
    one.train(first, 7)
    assert one.run("r1").state is RunState.STOPPING
    one.commit(first, 7)
    assert (one.run("r1").state, one.run("r1").position) == (RunState.STOPPED, 7)
    one.refused(GrantReturned(second.client, second.run, second.generation), FencedError)
    one.op("r1", RunOp.RESUME)
    assert ranges(one) == [(7, 10), (10, 20)], "chunk borders do not move"


def test_a_stop_before_the_first_step_returns_the_grants(one: Cluster) -> None:
    first, second = one.run("r1").grants
    one.op("r1", RunOp.STOP)
    one.give_back(second)
    assert one.run("r1").state is RunState.STOPPING
    one.give_back(first)
    assert (one.run("r1").state, one.run("r1").position) == (RunState.STOPPED, 0)


def test_resume_while_stopping_waits_for_the_old_grant(one: Cluster) -> None:
    first = one.grant("r1")
    one.op("r1", RunOp.STOP)
    one.op("r1", RunOp.RESUME)
    assert one.run("r1").state is RunState.QUEUED
    assert not only(one.effects, SendGrant)
    one.train(first, 4)
    assert not only(one.effects, SendGrant)
    one.commit(first, 4)
    assert ranges(one) == [(4, 10), (10, 20)]
    assert one.run("r1").state is RunState.RUNNING


def test_a_stopped_run_whose_chunk_was_trained_keeps_the_chunk(one: Cluster) -> None:
    first, second = one.run("r1").grants
    one.train(first)
    one.op("r1", RunOp.STOP)
    one.commit(first)
    for grant in list(one.run("r1").grants):
        one.give_back(grant)
        break
    assert (one.run("r1").state, one.run("r1").position) == (RunState.STOPPED, 10)
    assert second.phase is GrantPhase.STOPPING


def test_a_trained_grant_cannot_be_returned(one: Cluster) -> None:
    grant = one.grant("r1")
    one.train(grant)
    one.refused(GrantReturned(grant.client, grant.run, grant.generation), FencedError)


def test_a_run_ends_after_its_last_step_and_its_memory_is_freed(one: Cluster) -> None:
    one.finish_everything()
    run = one.run("r1")
    assert (run.state, run.position, run.home) == (RunState.COMPLETED, 40, None)
    assert only(one.effects, SendDrop) == [SendDrop(ClientName("a"), RunId("r1"))]
    assert [step for step, _ in run.history] == [10, 20, 30, 40]
    assert one.state.counters["committed_steps"] == 40


def test_a_suspect_machine_is_tried_twice_elsewhere() -> None:
    cluster = Cluster()
    cluster.client("a", 3)
    cluster.experiment(runs=1)
    slots = []
    for _ in range(2):
        slots.append(cluster.grant("r1").slots[0])
        cluster.fail(cluster.grant("r1"), SUSPECT)
        assert cluster.run("r1").state is RunState.RUNNING
    slots.append(cluster.grant("r1").slots[0])
    assert len(set(slots)) == 3
    cluster.fail(cluster.grant("r1"), SUSPECT)
    assert cluster.run("r1").state is RunState.FAILED
    assert cluster.run("r1").failure == replace(SUSPECT, message=f"client a: {SUSPECT.message}")


def test_the_only_slot_is_tried_again(one: Cluster) -> None:
    one.fail(one.grant("r1"), SUSPECT)
    assert one.grant("r1").slots == (SlotId("a/0"),)


def test_a_success_forgets_the_failures(one: Cluster) -> None:
    one.fail(one.grant("r1"), SUSPECT)
    one.chunk("a/0")
    assert (one.run("r1").attempts, one.run("r1").avoid_slots) == (0, ())


def test_a_failure_of_the_run_is_final_and_resume_tries_again(one: Cluster) -> None:
    one.chunk("a/0")
    effects = one.fail(one.active("a/0"), FATAL)
    assert only(effects, SendRevoke), "the grant ahead is over as well"
    assert (one.run("r1").state, one.run("r1").position) == (RunState.FAILED, 10)
    one.op("r1", RunOp.RESUME)
    assert ranges(one) == [(10, 20), (20, 30)]
    assert one.run("r1").failure is None


def test_a_lost_client_gives_its_work_to_another() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.chunk("a/0")
    late = cluster.committed_event(cluster.active("a/0"))
    cluster.client("b")
    cluster.lose("a")
    assert cluster.grant("r1").slots == (SlotId("b/0"),)
    assert ranges(cluster) == [(10, 20), (20, 30)]
    cluster.refused(late, FencedError)
    assert cluster.lose("a") == []
    cluster.refused(ClientDrainRequested(ClientName("a"), True), ConflictError)
    cluster.refused(ClientLost(ClientName("zz"), ""), NotFoundError)


def test_a_client_that_comes_back_keeps_what_it_holds(one: Cluster) -> None:
    first, second = one.run("r1").grants
    effects = one.client("a", held=[("r1", 1), ("r9", 4)])
    assert only(effects, SendRevoke) == [SendRevoke(ClientName("a"), RunId("r9"), 4)]
    assert one.run("r1").grants[0] is first
    assert one.run("r1").grants[1].generation > second.generation
    one.commit(first)
    assert one.run("r1").position == 10


def test_a_grant_behind_one_that_is_over_is_over_too(one: Cluster) -> None:
    effects = one.client("a", held=[("r1", 2)])
    assert only(effects, SendRevoke) == [SendRevoke(ClientName("a"), RunId("r1"), 2)]
    assert ranges(one) == [(0, 10), (10, 20)]
    assert [grant.generation for grant in one.run("r1").grants] == [3, 4]


def test_a_restarted_client_has_nothing_hot() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=2)
    cluster.op("r2", RunOp.STOP)
    cluster.chunk("a/0")
    cluster.op("r1", RunOp.STOP)
    cluster.commit(cluster.grant("r1"), 12)
    assert cluster.run("r1").home == "a/0"
    cluster.client("a", incarnation="i2")
    assert cluster.run("r1").home is None


def test_a_slot_that_is_gone_loses_its_grants() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment(runs=2)
    held = [(run, grant.generation) for run in ("r1", "r2") for grant in cluster.run(run).grants]
    effects = cluster.client("a", 1, held=held)
    assert {effect.run for effect in only(effects, SendRevoke)} == {"r2"}
    assert "a/1" not in cluster.state.slots


def test_a_draining_client_finishes_what_it_holds(one: Cluster) -> None:
    first, second = one.run("r1").grants
    one.step(ClientDrainRequested(ClientName("a"), True))
    one.train(first)
    one.commit(first)
    assert one.run("r1").grants == [second]
    one.train(second)
    one.commit(second)
    assert (one.run("r1").state, one.run("r1").position) == (RunState.QUEUED, 20)
    one.client("a")
    assert one.state.clients[ClientName("a")].state is ClientState.DRAINING
    one.refused(ClientDrainRequested(ClientName("zz"), True), NotFoundError)
    assert only(one.step(ClientDrainRequested(ClientName("a"), False)), SendGrant)


def test_a_registration_that_makes_no_sense_is_refused(one: Cluster) -> None:
    slot = SlotSpec(SlotId("b/0"), "cpu")
    one.refused(ClientRegistered(ClientName("b"), "i", "1", "", (slot, slot)), InvalidInputError)
    one.refused(ClientRegistered(ClientName("b"), "i", "1", "", (SlotSpec(SlotId("a/0"), "cpu"),)), InvalidInputError)
    many = tuple(SlotSpec(SlotId(f"b/{index}"), "cpu") for index in range(257))
    one.refused(ClientRegistered(ClientName("b"), "i", "1", "", many), LimitError)


def test_deleting_fences_at_once(one: Cluster) -> None:
    grant = one.grant("r1")
    effects = one.op("r1", RunOp.DELETE)
    assert [effect.generation for effect in only(effects, SendRevoke)] == [2, 1]
    assert only(effects, SendDrop)
    one.refused(one.committed_event(grant), FencedError)


def test_only_the_newest_timer_of_a_deletion_counts(one: Cluster) -> None:
    one.chunk("a/0")
    one.op("r1", RunOp.DELETE)
    one.op("r1", RunOp.RESTORE)
    one.now_s += 300
    one.op("r1", RunOp.DELETE)
    one.now_s += 300
    assert one.sweep("r1") == [StartTimer("sweep:r1", one.now_s + 300)]
    assert one.run("r1").state is RunState.DELETING
    one.now_s += 300
    assert one.sweep("r1") == [SweepBlobs()]
    assert (one.run("r1").state, one.run("r1").checkpoints) == (RunState.DELETED, [])
    assert one.sweep("r1") == []


def test_kept_checkpoints_are_the_last_and_the_best() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    for loss in (3.0, 1.0, 2.0, 4.0):
        cluster.chunk("a/0", [("eval_loss", loss)])
    run = cluster.run("r1")
    assert [checkpoint.step for checkpoint in run.checkpoints] == [20, 40]
    assert [metrics for _, metrics in run.history] == [(("eval_loss", loss),) for loss in (3.0, 1.0, 2.0, 4.0)]


@pytest.mark.parametrize(
    ("limit", "keep", "kept"), [(1, ("last",), [40]), (1, ("best", "last"), [20, 40]), (3, ("best", "last"), [20, 30, 40])]
)
def test_retention_follows_the_policy(limit: int, keep: tuple[str, ...], kept: list[int]) -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1, checkpoints=CheckpointPolicy(limit, keep))
    for loss in (3.0, 1.0, 2.0, 4.0):
        cluster.chunk("a/0", [("eval_loss", loss)])
    assert [checkpoint.step for checkpoint in cluster.run("r1").checkpoints] == kept


def test_a_commit_without_progress_keeps_nothing(one: Cluster) -> None:
    one.chunk("a/0")
    one.op("r1", RunOp.STOP)
    one.commit(one.active("a/0"), 10)
    run = one.run("r1")
    assert (run.state, run.position, len(run.checkpoints), len(run.history)) == (RunState.STOPPED, 10, 1, 1)
