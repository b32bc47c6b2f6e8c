"""What an agent keeps, lets go of and says when the host has ended grants that it holds."""

from __future__ import annotations

from dataclasses import replace

from test_agent_rules import R1, R2, Bench, checkpoint, kinds, order, reports, trained

from gswarm.client import agent_events as ev
from gswarm.domain.messages import Ack, ChunkCommittedReport, ChunkTrainedReport, GrantReturnedReport
from gswarm.domain.plan import Failure
from gswarm.training.protocol import DropRun


def sent(effects: list[ev.AgentEffect]) -> list[object]:
    return [effect.command for effect in effects if isinstance(effect, ev.SendToTrainer)]


def test_a_commit_that_counted_before_its_answer_was_lost_takes_nothing_along() -> None:
    """On a new session the host revokes what is no open grant of it, also what its last report ended."""
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    bench.say(trained(R1, 1, 10))
    bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
    bench.feed(ev.Disconnected())
    assert [type(one) for one in reports(bench.feed(ev.Connected()))] == [ChunkTrainedReport, ChunkCommittedReport]
    assert bench.feed(ev.RevokeReceived(R1, 1)) == []
    bench.ack(), bench.ack()
    assert [info.generation for info in bench.agent.held()] == [2]
    assert reports(bench.say(trained(R1, 2, 20))) == [ChunkTrainedReport(3, R1, 2, 20, 0.5)]


def test_a_return_that_counted_before_its_answer_was_lost_takes_nothing_along() -> None:
    bench = Bench()
    bench.feed(ev.GrantReceived(order(generation=1, start=10, end=20)))
    bench.feed(ev.StopReceived(R1, 1))
    bench.feed(ev.GrantReceived(order(generation=2, start=10, end=20, checkpoint=checkpoint(0))))
    bench.feed(ev.RevokeReceived(R1, 1))
    assert [info.generation for info in bench.agent.held()] == [1, 2]


def test_a_commit_that_did_not_count_takes_what_follows_along() -> None:
    bench = Bench()
    bench.training(order(), order(generation=2, start=10, end=20))
    bench.say(trained(R1, 1, 10))
    bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
    bench.feed(ev.RevokeReceived(R1, 1))
    bench.feed(ev.Acked(Ack(1, accepted=True)))
    effects = bench.feed(ev.Acked(Ack(2, accepted=False, error_code="fenced")))
    assert reports(effects) == [GrantReturnedReport(3, R1, 2)]
    assert bench.agent.book.slots[0].hot == {}


def test_steps_whose_grant_is_over_are_not_what_the_run_goes_on_from() -> None:
    """Another client trains them anew and commits; on another device its bits may be others."""
    bench = Bench()
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    assert sent(bench.feed(ev.RevokeReceived(R1, 1))) == [DropRun(R1)]
    bench.training(order(generation=3, start=10, end=20, checkpoint=checkpoint(10)))
    assert bench.agent.book.slots[0].hot == {R1: 20}


def test_a_grant_before_the_place_reached_lets_go_of_what_lies_behind_it() -> None:
    bench = Bench(slots=2)
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    bench.feed(ev.CheckpointStored(R1, 1, checkpoint(10)))
    assert bench.agent.book.latest == {R1: checkpoint(10)}
    effects = bench.feed(ev.GrantReceived(order(generation=2, start=0, end=5, slot_index=1)))
    assert sent(effects) == [DropRun(R1)]
    assert bench.agent.book.latest == {}


def test_a_client_that_leaves_takes_no_grant_and_does_not_give_it_back() -> None:
    """Given back it would be granted again at once, so that the client never came to its end."""
    bench = Bench()
    bench.training(order())
    bench.feed(ev.ShutdownRequested("bye"))
    assert bench.feed(ev.GrantReceived(order(R2))) == []
    bench.say(trained(R1, 1, 3))
    bench.feed(ev.CheckpointStored(R1, 1, replace(checkpoint(3))))
    bench.ack()
    assert kinds(bench.ack()) == ["Release", "Leave"]


def test_an_unstorable_checkpoint_is_not_gone_on_from() -> None:
    bench = Bench()
    bench.training(order())
    bench.say(trained(R1, 1, 10))
    effects = bench.feed(ev.CheckpointStoreFailed(R1, 1, Failure("storage", "full", machine_suspect=True)))
    assert sent(effects) == [DropRun(R1)]


def test_a_generation_that_was_there_before_is_given_back() -> None:
    """Only a host that was set back to a backup gives it; without a word it would wait for ever."""
    bench = Bench()
    given = order(generation=3)
    bench.feed(ev.GrantReceived(given))
    assert bench.feed(ev.GrantReceived(given)) == []
    bench.feed(ev.RevokeReceived(R1, 3))
    assert reports(bench.feed(ev.GrantReceived(order(generation=2)))) == [GrantReturnedReport(1, R1, 2)]
    assert bench.agent.held() == ()
    bench.ack()
    assert kinds(bench.feed(ev.GrantReceived(order(generation=4)))) == ["FetchInputs"]


def test_a_revoked_grant_takes_none_along_that_begins_where_it_began() -> None:
    """A registration that was overtaken on its way made the host end the first and give its steps anew."""
    bench = Bench()
    bench.training(order(generation=1), order(generation=2))
    bench.feed(ev.RevokeReceived(R1, 1))
    assert [info.generation for info in bench.agent.held()] == [2]
