"""The agent's rules one by one, as short transcripts: an event in, the effects out."""

from __future__ import annotations

from typing import Any

import pytest

from gswarm.client import agent_events as ev
from gswarm.client.agent import JOBS_LIMIT, PUSHES_LIMIT, QUEUE_LIMIT, AgentState
from gswarm.domain.errors import InvariantError
from gswarm.domain.ids import Digest, JobId, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    GrantOrder,
    GrantReturnedReport,
    JobOrder,
    JobReport,
)
from gswarm.domain.plan import Checkpoint, Failure, JobKind
from gswarm.domain.spec import RunSpec
from gswarm.training.protocol import AbortRange, DropRun, RangeDropped, RangeFailed, RangeTrained, Ready, StopRange

R1, R2 = RunId("r1"), RunId("r2")
DIED = Failure("trainer_died", "killed", machine_suspect=True)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(Digest(f"{step:064x}"), step, Digest("a" * 64), 10)


def order(run: RunId = R1, generation: int = 1, start: int = 0, end: int = 10, **changes: Any) -> GrantOrder:
    values: dict[str, Any] = {
        "run": run, "generation": generation, "slot_index": 0, "from_step": start, "to_step": end, "total_steps": 100,
        "steps_per_epoch": 50, "spec": RunSpec("m", "d"), "base": Digest("b" * 64), "data": Digest("d" * 64),
        "checkpoint": None, "warm_start": False, "durability": "replicated",
    }  # fmt: skip
    return GrantOrder(**{**values, **changes})


def trained(run: RunId, generation: int, step: int) -> RangeTrained:
    return RangeTrained(run, generation, step, f"/snap/{run}-{generation}", Digest("a" * 64), (), 0.5, 0.0)


class Bench:
    """An agent that is connected and whose trainer process is up unless a test says otherwise."""

    def __init__(self, slots: int = 1) -> None:
        self.agent = AgentState(slots)
        self.agent.step(ev.Connected())

    def feed(self, event: ev.AgentEvent) -> list[ev.AgentEffect]:
        return self.agent.step(event)

    def say(self, event: Any, slot: int = 0) -> list[ev.AgentEffect]:
        return self.feed(ev.TrainerSaid(slot, self.agent.book.slots[slot].epoch, event))

    def ready(self, given: GrantOrder, place: str | None = None) -> list[ev.AgentEffect]:
        return self.feed(ev.InputsReady(given.run, given.generation, ev.InputDirs("/base", "/data", place)))

    def training(self, *orders: GrantOrder) -> None:
        """Every order is with the trainer process."""
        for given in orders:
            self.feed(ev.GrantReceived(given))
            self.ready(given, f"/{given.checkpoint.step}" if given.checkpoint else None)
        self.say(Ready(1, "cpu"))

    def ack(self, accepted: bool = True, code: str = "") -> list[ev.AgentEffect]:
        """The oldest report is answered."""
        return self.feed(ev.Acked(Ack(next(iter(self.agent.book.outbox)), accepted, code)))


def reports(effects: list[ev.AgentEffect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, ev.SendReport)]


def kinds(effects: list[ev.AgentEffect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def test_inputs_are_fetched_and_the_process_started_as_soon_as_a_grant_comes() -> None:
    bench = Bench()
    assert kinds(bench.feed(ev.GrantReceived(order()))) == ["FetchInputs", "StartTrainer"]
    lookahead = order(R2, 1)
    assert kinds(bench.feed(ev.GrantReceived(lookahead))) == ["FetchInputs"]
    assert bench.ready(lookahead) == []
    assert bench.say(Ready(1, "cpu")) == []
    assert [effect.order.run for effect in bench.ready(order()) if isinstance(effect, ev.TrainGrant)] == [R1, R2]


def test_a_repeated_order_is_ignored_and_an_overtaken_one_given_back() -> None:
    bench = Bench()
    bench.feed(ev.GrantReceived(order(generation=3)))
    assert bench.feed(ev.GrantReceived(order(generation=3))) == []
    assert reports(bench.feed(ev.GrantReceived(order(generation=2)))) == [GrantReturnedReport(1, R1, 2)]
    assert [info.generation for info in bench.agent.held()] == [3]


def test_what_a_process_may_still_hold_of_a_range_that_never_came_to_it_is_dropped() -> None:
    """There was no room for its snapshot: somebody else trains these steps, and the process must not go on from its own weights."""
    bench = Bench()
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    following = order(generation=2, start=10, end=20)
    bench.feed(ev.GrantReceived(following))
    assert "TrainGrant" in kinds(bench.ready(following))
    effects = bench.say(RangeFailed(R1, 2, Failure("storage", "no room", machine_suspect=True)))
    assert ev.SendToTrainer(0, 1, DropRun(R1)) in effects


def test_a_run_is_dropped_behind_the_range_that_ends_after_the_next_one_has_failed() -> None:
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    effects = bench.say(RangeFailed(R1, 2, Failure("storage", "no room", machine_suspect=True)))
    assert ev.SendToTrainer(0, 1, DropRun(R1)) not in effects
    assert ev.SendToTrainer(0, 1, DropRun(R1)) in bench.say(trained(R1, 1, 10))


def test_a_chunk_is_reported_at_once_and_committed_after_it_is_stored() -> None:
    bench = Bench()
    bench.training(order())
    effects = bench.say(trained(R1, 1, 10))
    assert kinds(effects) == ["SendReport", "StoreCheckpoint"]
    assert reports(effects) == [ChunkTrainedReport(1, R1, 1, 10, 0.5)]
    assert reports(bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))) == [ChunkCommittedReport(2, R1, 1, checkpoint(10))]
    bench.ack()
    assert kinds(bench.ack()) == ["Release"]
    assert bench.agent.held() == ()


def test_checkpoints_of_a_run_are_stored_one_after_another() -> None:
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    bench.say(trained(R1, 1, 10))
    assert kinds(bench.say(trained(R1, 2, 20))) == ["SendReport"]
    bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
    bench.ack(), bench.ack()
    assert kinds(bench.ack()) == ["Release", "StoreCheckpoint"]


def test_a_lookahead_of_the_same_run_goes_without_a_checkpoint_while_it_is_hot() -> None:
    bench = Bench()
    bench.training(order())
    lookahead = order(generation=2, start=10, end=20, checkpoint=checkpoint(0))
    bench.feed(ev.GrantReceived(lookahead))
    [sent] = bench.ready(lookahead)
    assert isinstance(sent, ev.TrainGrant)
    assert sent.dirs.checkpoint_dir is None


def test_a_stop_takes_the_lookahead_back_first() -> None:
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    commands = [effect.command for effect in bench.feed(ev.StopReceived(R1, 1)) if isinstance(effect, ev.SendToTrainer)]
    assert commands == [StopRange(R1, 2), StopRange(R1, 1)]
    assert reports(bench.say(RangeDropped(R1, 2))) == [GrantReturnedReport(1, R1, 2)]
    assert reports(bench.say(trained(R1, 1, 4))) == [ChunkTrainedReport(2, R1, 1, 4, 0.5)]
    assert bench.agent.book.slots[0].hot == {R1: 4}


def test_a_stop_before_the_inputs_are_here_returns_the_grant() -> None:
    bench = Bench()
    bench.feed(ev.GrantReceived(order()))
    effects = bench.feed(ev.StopReceived(R1, 1))
    assert kinds(effects) == ["Release", "SendReport"]
    assert bench.ready(order()) == []


def test_a_revoked_grant_is_aborted_and_its_reports_are_forgotten() -> None:
    bench = Bench()
    bench.training(order())
    effects = bench.feed(ev.RevokeReceived(R1, 1))
    assert [effect.command for effect in effects if isinstance(effect, ev.SendToTrainer)] == [AbortRange(R1, 1)]
    assert reports(effects) == []
    assert kinds(bench.say(trained(R1, 1, 10))) == ["DiscardSnapshot"]


def test_revoked_grants_are_over_without_a_word() -> None:
    bench = Bench()
    bench.training(order(), order(R1, 2, 10, 20, checkpoint=checkpoint(0)))
    effects = [*bench.feed(ev.RevokeReceived(R1, 2)), *bench.feed(ev.RevokeReceived(R1, 1))]
    assert reports(effects) == [], "the host would have to refuse a report about a grant that it has ended itself"
    assert bench.agent.held() == ()


def test_a_dead_process_fails_what_it_trained_and_the_rest_goes_to_a_new_one() -> None:
    bench = Bench()
    second = order(R2, 1, 10, 20, checkpoint=checkpoint(10))
    bench.training(order(), second)
    effects = bench.feed(ev.TrainerDied(0, 1, DIED))
    assert reports(effects) == [ChunkFailedReport(1, R1, 1, DIED)]
    assert [effect.epoch for effect in effects if isinstance(effect, ev.StartTrainer)] == [2]
    [sent] = bench.say(Ready(2, "cpu"))
    assert isinstance(sent, ev.TrainGrant)
    assert (sent.order, sent.dirs.checkpoint_dir) == (second, "/10")


def test_what_was_to_begin_in_the_lost_range_is_returned() -> None:
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    effects = bench.feed(ev.TrainerDied(0, 1, DIED))
    assert reports(effects) == [GrantReturnedReport(1, R1, 2), ChunkFailedReport(2, R1, 1, DIED)]
    assert "StartTrainer" not in kinds(effects)


def test_a_lost_hot_state_is_replaced_by_the_clients_own_checkpoint() -> None:
    bench = Bench()
    bench.training(order(), order(R2, 1), order(generation=2, start=10, end=20))
    bench.say(trained(R1, 1, 10))
    bench.feed(ev.TrainerDied(0, 1, DIED))
    assert bench.say(Ready(2, "cpu")) == [], "the checkpoint at step 10 is still on its way"
    effects = bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
    assert [effect.checkpoint for effect in effects if isinstance(effect, ev.FetchInputs)] == [checkpoint(10)]
    [sent] = bench.ready(order(generation=2), "/own")
    assert isinstance(sent, ev.TrainGrant)
    assert sent.dirs.checkpoint_dir == "/own"


def test_a_range_that_was_not_hot_any_more_waits_for_the_checkpoint() -> None:
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    bench.say(trained(R1, 1, 10))
    assert bench.say(RangeFailed(R1, 2, Failure("conflict", "not hot"))) == []
    assert "FetchInputs" in kinds(bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10))))


def test_a_process_that_accounted_for_its_ranges_blames_nobody_else() -> None:
    bench = Bench()
    bench.training(order(), order(R2, 1))
    bench.say(RangeFailed(R1, 1, Failure("training", "CUDA error", machine_suspect=True)))
    effects = bench.feed(ev.TrainerDied(0, 1, DIED, is_accounted_for=True))
    assert reports(effects) == []
    assert [effect.order.run for effect in bench.say(Ready(2, "cuda:0")) if isinstance(effect, ev.TrainGrant)] == [R2]


def test_a_process_that_never_came_up_fails_the_grant_that_waits() -> None:
    bench = Bench()
    bench.feed(ev.GrantReceived(order()))
    assert reports(bench.feed(ev.TrainerDied(0, 1, DIED))) == [ChunkFailedReport(1, R1, 1, DIED)]


def test_another_precision_gets_another_process_between_ranges() -> None:
    bench = Bench()
    half = order(R2, 1, spec=RunSpec("m", "d", bf16=True))
    bench.training(order(), half)
    assert bench.agent.book.slots[0].queue == [(R1, 1), (R2, 1)]
    effects = bench.say(trained(R1, 1, 10))
    assert kinds(effects)[-2:] == ["KillTrainer", "StartTrainer"]
    assert kinds(bench.say(Ready(2, "cpu"))) == ["TrainGrant"]


def test_an_incomplete_copy_is_pushed_again_a_few_times() -> None:
    bench = Bench()
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    bench.ack()
    for _ in range(PUSHES_LIMIT):
        bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
        assert kinds(bench.ack(accepted=False, code="incomplete")) == ["PushCheckpoint"]
    bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
    effects = bench.ack(accepted=False, code="incomplete")
    [failed] = reports(effects)
    assert (failed.failure.code, failed.failure.machine_suspect) == ("storage", True)
    assert DropRun(R1) in [effect.command for effect in effects if isinstance(effect, ev.SendToTrainer)], "another may commit these steps"


def test_a_fenced_report_drops_the_run() -> None:
    bench = Bench()
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    assert kinds(bench.ack(accepted=False, code="fenced")) == ["Release", "SendToTrainer"]
    assert bench.agent.held() == ()
    assert bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10))) == []


def test_reports_wait_for_the_host_and_keep_their_seq() -> None:
    bench = Bench()
    bench.training(order())
    bench.feed(ev.Disconnected())
    assert kinds(bench.say(trained(R1, 1, 10))) == ["StoreCheckpoint"]
    assert reports(bench.feed(ev.Connected())) == [ChunkTrainedReport(1, R1, 1, 10, 0.5)]
    bench.feed(ev.Disconnected())
    assert [report.seq for report in reports(bench.feed(ev.Connected()))] == [1]


def test_a_full_queue_and_an_unknown_slot_give_the_grant_back() -> None:
    bench = Bench()
    assert reports(bench.feed(ev.GrantReceived(order(slot_index=9)))) == [GrantReturnedReport(1, R1, 1)]
    for index in range(QUEUE_LIMIT):
        bench.feed(ev.GrantReceived(order(RunId(f"x{index}"))))
    assert len(reports(bench.feed(ev.GrantReceived(order(R2))))) == 1


def test_jobs_are_done_once_and_limited() -> None:
    bench = Bench()
    job = JobOrder(JobId("j1"), JobKind.VERIFY, "{}")
    assert kinds(bench.feed(ev.JobReceived(job))) == ["RunJob"]
    assert bench.feed(ev.JobReceived(job)) == []
    for index in range(2, JOBS_LIMIT + 1):
        bench.feed(ev.JobReceived(JobOrder(JobId(f"j{index}"), JobKind.VERIFY, "{}")))
    [refused] = reports(bench.feed(ev.JobReceived(JobOrder(JobId("one-more"), JobKind.VERIFY, "{}"))))
    assert refused.failure.code == "limit"
    assert reports(bench.feed(ev.JobDone(JobId("j1"), "{}"))) == [JobReport(2, JobId("j1"), "{}")]
    assert JobId("j1") in bench.agent.jobs(), "it is not over before the host has heard it"
    bench.ack(), bench.ack()
    assert JobId("j1") not in bench.agent.jobs()


def test_leaving_stops_what_trains_returns_the_rest_and_waits_for_the_acks() -> None:
    bench = Bench()
    bench.training(order())
    bench.feed(ev.GrantReceived(order(R2)))
    bench.feed(ev.JobReceived(JobOrder(JobId("j1"), JobKind.VERIFY, "{}")))
    effects = bench.feed(ev.ShutdownRequested("bye"))
    assert kinds(effects) == ["Release", "SendReport", "SendToTrainer", "CancelJob"]
    bench.say(trained(R1, 1, 3))
    bench.feed(ev.CheckpointStored(R1, 1, checkpoint(3)))
    bench.ack(), bench.ack()
    assert kinds(bench.ack()) == ["Release", "Leave"]


def test_when_the_grace_is_over_the_client_leaves_whatever_is_owed() -> None:
    bench = Bench()
    bench.training(order())
    bench.feed(ev.ShutdownRequested("bye"))
    assert kinds(bench.feed(ev.GraceOver())) == ["Leave"]
    assert bench.feed(ev.GraceOver()) == []


def test_an_impossible_state_is_an_error() -> None:
    bench = Bench()
    bench.training(order())
    bench.agent.book.slots[0].queue.clear()
    with pytest.raises(InvariantError):
        bench.feed(ev.Disconnected())
