"""Whose turn it is: between experiments, inside one, for gangs, and when things are called back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gswarm.domain.ids import ClientName, Digest, RunId
from gswarm.domain.plan import Grant, GrantPhase, RunOp, RunState
from gswarm.domain.steps import chunks_done
from gswarm.scheduler.effects import SendDrop, SendGrant, SendStop
from gswarm.scheduler.events import ClientDrainRequested
from scheduler_kit import BASE, SPEC, Cluster, only

SEQUENTIAL = "r1 r2 r2 r2 r2 r1 r1 r1"


def order_of(cluster: Cluster, slot: str, chunks: int) -> list[str]:
    """The runs that the slot trains, chunk by chunk."""
    return [cluster.chunk(slot).run for _ in range(chunks)]


def test_all_free_slots_are_filled_in_one_step() -> None:
    cluster = Cluster()
    cluster.client("a", 8)
    cluster.experiment(runs=8)
    assert Counter(grant.slots[0] for grant in (effect.grant for effect in only(cluster.effects, SendGrant))) == {
        f"a/{index}": 2 for index in range(8)
    }


def test_every_run_gets_its_first_chunk_the_longest_first() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(specs=[SPEC, replace(SPEC, num_train_epochs=3.0), replace(SPEC, num_train_epochs=2.0)], max_skew=2)
    assert order_of(cluster, "a/0", 3) == ["r2", "r3", "r1"]


@pytest.mark.parametrize(("skew", "expected"), [(1, "r1 r2 r2 r1 r1 r2 r2 r1"), (2, "r1 r2 r2 r2 r1 r1 r1 r2"), (4, SEQUENTIAL)])
def test_a_slot_stays_with_its_run_until_that_leads_by_max_skew(skew: int, expected: str) -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=2, max_skew=skew)
    assert " ".join(order_of(cluster, "a/0", 8)) == expected


@pytest.mark.parametrize("skew", [1, 2, 3])
def test_no_waiting_run_falls_behind_by_more_than_max_skew(skew: int) -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment(runs=5, rows=80, max_skew=skew)
    chunks = cluster.state.experiments[cluster.run("r1").experiment].spec.chunks
    while any(slot.queue for slot in cluster.state.slots.values()):
        for slot in ("a/0", "a/1"):
            if cluster.queue(slot):
                cluster.chunk(slot)
        waiting = [run for run in cluster.state.runs.values() if run.state is RunState.QUEUED]
        training = [run for run in cluster.state.runs.values() if run.state is RunState.RUNNING]
        for run in training:
            done = chunks_done(run.position, chunks, run.steps_per_epoch, run.total_steps)
            slowest = min((chunks_done(one.position, chunks, one.steps_per_epoch, one.total_steps) for one in waiting), default=done)
            assert done - slowest <= skew + 1


def test_higher_priority_goes_first_and_takes_over_at_the_next_chunk() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("low", runs=1)
    cluster.experiment("high", runs=1, priority=8)
    ahead = cluster.run("r1").grants[1]
    assert only(cluster.effects, SendStop) == [SendStop(ClientName("a"), RunId("r1"), ahead.generation)]
    assert cluster.run("r1").state is RunState.RUNNING
    cluster.give_back(ahead)
    assert cluster.queue("a/0") == ["r1", "r2"]
    assert order_of(cluster, "a/0", 6) == ["r1", "r2", "r2", "r2", "r2", "r1"]


def test_a_called_back_grant_that_had_begun_loses_no_step() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("low", runs=1)
    cluster.experiment("high", runs=1, priority=8)
    first, ahead = cluster.run("r1").grants
    cluster.train(first)
    cluster.train(ahead, 13)
    cluster.commit(first)
    cluster.commit(ahead, 13)
    assert (cluster.run("r1").position, cluster.run("r1").state) == (13, RunState.QUEUED)
    assert cluster.queue("a/0") == ["r2", "r2"]


def test_equal_priorities_share_by_weight() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("one", runs=8, rows=400, weight=3.0)
    cluster.experiment("two", runs=8, rows=400, weight=1.0)
    trained: Counter[str] = Counter()
    for _ in range(100):
        for slot in ("a/0", "a/1"):
            trained[cluster.run(cluster.chunk(slot).run).experiment] += 1
    assert 2.4 < trained["e1"] / trained["e2"] < 3.6


def test_a_newcomer_cannot_claim_the_past() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one", runs=2, rows=400)
    for _ in range(20):
        cluster.chunk("a/0")
    cluster.experiment("two", runs=2, rows=400)
    trained = Counter(cluster.run(run).experiment for run in order_of(cluster, "a/0", 12))
    assert trained["e1"] >= 4


def test_a_slot_prefers_an_experiment_of_the_same_base() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("one", runs=1, rows=10)
    cluster.experiment("other", runs=1, rows=10)
    cluster.experiment("same", runs=1, rows=10)
    for run in ("r2", "r3"):
        for grant in list(cluster.run(run).grants):
            cluster.give_back(grant)
    cluster.lose("a")
    for run in cluster.state.runs.values():
        run.base = Digest("f" * 64) if run.id == "r2" else BASE
    cluster.reload()
    cluster.client("a")
    order = order_of(cluster, "a/0", 3)
    assert order.index("r3") == order.index("r1") + 1 or order.index("r1") == order.index("r3") + 1


def test_a_run_stays_where_it_is_hot() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment(runs=4, rows=80, max_skew=2)
    homes: dict[str, set[str]] = {}
    moves = 0
    for _ in range(12):
        for slot in ("a/0", "a/1"):
            grant = cluster.chunk(slot)
            homes.setdefault(grant.run, set()).add(slot)
            moves += len(only(cluster.effects, SendDrop))
    assert all(len(slots) == 1 for slots in homes.values())
    assert moves == 0


def test_a_slot_that_would_idle_takes_a_run_from_another() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=2, max_skew=1)
    waiting = cluster.run("r2").grants[0]
    cluster.client("b")
    assert only(cluster.effects, SendStop) == [SendStop(ClientName("a"), RunId("r2"), waiting.generation)]
    assert waiting.phase is GrantPhase.STOPPING
    effects = cluster.give_back(waiting)
    assert only(effects, SendDrop) == [SendDrop(ClientName("a"), RunId("r2"))]
    assert cluster.queue("b/0") == ["r2", "r2"]
    assert cluster.queue("a/0") == ["r1", "r1"]


def test_nobody_is_called_back_for_a_slot_that_is_taken() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=3)
    cluster.client("b")
    assert not only(cluster.effects, SendStop)
    assert cluster.queue("b/0")[0] == "r3"


def gang(grant: Grant) -> set[str]:
    return set(grant.slots)


def test_a_gang_takes_all_its_slots_or_none() -> None:
    cluster = Cluster()
    cluster.client("a", 3)
    cluster.experiment("singles", runs=6, rows=200)
    cluster.experiment("gang", runs=1, gpus_per_run=2)
    for _ in range(6):
        for slot in ("a/0", "a/1", "a/2"):
            if cluster.queue(slot) and not cluster.run("r7").grants:
                cluster.chunk(slot)
    grant = cluster.grant("r7")
    assert len(gang(grant)) == 2
    assert all(cluster.queue(slot) == ["r7"] for slot in grant.slots), "nothing waits behind a gang"
    cluster.train(grant)
    cluster.commit(grant)
    cluster.finish_everything()
    assert cluster.run("r7").state is RunState.COMPLETED


def test_freed_slots_are_kept_for_the_gang_whose_turn_it_is() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("singles", runs=4, rows=200)
    cluster.experiment("gang", runs=1, gpus_per_run=2, priority=8)
    for slot in ("a/0", "a/1"):
        ahead = cluster.state.slots[cluster.active(slot).slots[0]].queue[1]
        cluster.give_back(next(grant for grant in cluster.run(ahead[0]).grants if grant.generation == ahead[1]))
    cluster.chunk("a/0")
    assert cluster.queue("a/0") == [], "kept free"
    cluster.chunk("a/1")
    assert cluster.queue("a/0") == cluster.queue("a/1") == ["r5"]


def test_a_gang_that_has_failed_on_the_only_client_large_enough_is_tried_there_again() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.client("b", 1)
    [run] = cluster.experiment(gpus_per_run=2)
    cluster.fail(cluster.grant(run.id))
    assert run.state is RunState.RUNNING, "it waits for another client, and none is large enough"
    assert gang(cluster.grant(run.id)) == {"a/0", "a/1"}


def test_a_gang_whose_run_avoids_the_free_slots_has_them_kept_all_the_same() -> None:
    """What ran ahead there would be called back for it at once, and given again, without end."""
    cluster = Cluster()
    cluster.client("a", 2)
    [run] = cluster.experiment("gang", gpus_per_run=2, priority=8)
    cluster.client("a", 3, held=[(run.id, 1)])
    cluster.experiment("low", runs=4)
    cluster.fail(cluster.grant(run.id))
    assert only(cluster.effects, SendGrant) == []
    [stop] = only(cluster.effects, SendStop)
    cluster.give_back(cluster.grant(stop.run, -1))
    assert only(cluster.effects, SendGrant) == []
    cluster.train(cluster.active("a/2"))
    assert "a/2" in gang(cluster.grant(run.id))


def test_nothing_is_called_back_for_a_run_that_avoids_the_slot() -> None:
    """It would be given again at once, and called back again, without end."""
    cluster = Cluster()
    cluster.client("a", 1)
    cluster.client("b", 1)
    low = cluster.experiment("low", runs=4)
    [urgent] = cluster.experiment("urgent", priority=8)
    for run in low:
        for grant in [one for one in run.grants if one.phase is GrantPhase.STOPPING]:
            cluster.give_back(grant)
    cluster.fail(cluster.grant(urgent.id))
    assert urgent.avoid_slots
    for _ in range(20):
        called_back = [one for run in low for one in run.grants if one.phase is GrantPhase.STOPPING]
        if not called_back:
            return
        cluster.give_back(called_back[0])
    raise AssertionError("grants are given and called back without end")


def test_a_gang_too_large_for_any_client_holds_nothing_back() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("gang", runs=1, gpus_per_run=3, priority=9)
    cluster.experiment("singles", runs=2)
    cluster.finish_everything()
    assert [run.state for run in cluster.state.runs.values()] == [RunState.QUEUED, RunState.COMPLETED, RunState.COMPLETED]
    cluster.client("b", 3)
    cluster.finish_everything()
    assert cluster.run("r1").state is RunState.COMPLETED


def test_two_gangs_do_not_wait_for_each_other() -> None:
    cluster = Cluster()
    cluster.client("a", 4)
    cluster.experiment("one", runs=2, gpus_per_run=3)
    cluster.experiment("two", runs=2, gpus_per_run=3)
    cluster.experiment("singles", runs=3)
    cluster.finish_everything()
    assert {run.state for run in cluster.state.runs.values()} == {RunState.COMPLETED}


def test_a_hot_gang_goes_on_before_its_commit() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("gang", runs=1, gpus_per_run=2)
    first = cluster.grant("r1")
    effects = cluster.train(first)
    assert [effect.grant.slots for effect in only(effects, SendGrant)] == [first.slots]


def test_gangs_share_with_singles() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("gang", runs=1, rows=200, gpus_per_run=2)
    cluster.experiment("singles", runs=2, rows=200)
    served: Counter[str] = Counter()
    for _ in range(40):
        slot = next(slot for slot in ("a/0", "a/1") if cluster.queue(slot))
        served[cluster.run(cluster.chunk(slot).run).experiment] += 1
    assert served["e1"] >= 8
    assert served["e2"] >= 8


def test_a_draining_slot_gives_its_waiting_runs_away() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.step(ClientDrainRequested(ClientName("a"), True))
    cluster.client("b")
    for grant in list(cluster.run("r1").grants):
        cluster.train(grant)
        cluster.commit(grant)
    assert cluster.grant("r1").slots == ("b/0",)
    cluster.op("r1", RunOp.STOP)
    assert cluster.run("r1").state is RunState.STOPPING
