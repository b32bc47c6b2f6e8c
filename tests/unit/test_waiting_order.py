"""The order that people are shown is the one in which the policy grants."""

from __future__ import annotations

from gswarm.domain.ids import RunId
from gswarm.domain.plan import RunOp
from gswarm.scheduler import waiting
from gswarm.scheduler.state import Plan
from scheduler_kit import Cluster


def waiting_order(plan: Plan) -> list[RunId]:
    order = waiting.waiting_order(plan, 100)
    for limit in range(1, len(order) + 1):
        assert waiting.waiting_order(plan, limit) == order[:limit]
    return order


def test_the_first_is_what_the_slot_gets_next() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=6)
    assert waiting_order(cluster.state) == ["r3", "r4", "r5", "r6"]
    granted = []
    while cluster.queue("a/0"):
        grant = cluster.active("a/0")
        for step in (cluster.train, cluster.commit):
            order = waiting_order(cluster.state)
            step(grant)
            taken = [run for run in order if cluster.run(run).grants]
            assert taken == order[: len(taken)]
            granted += taken
    assert granted[:4] == ["r3", "r4", "r5", "r6"]
    assert len(granted) > 12


def test_a_later_experiment_of_higher_priority_comes_first() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=4)
    cluster.experiment("urgent", runs=3, priority=9)
    assert waiting_order(cluster.state) == ["r5", "r6", "r7", "r3", "r4"]


def test_what_is_stopped_does_not_wait_and_what_no_slot_can_take_is_last() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=4)
    cluster.op("r3", RunOp.STOP)
    assert waiting_order(cluster.state) == ["r4"]
    cluster.op("r2", RunOp.STOP)
    cluster.op("r2", RunOp.RESUME)
    assert cluster.run("r2").grants
    assert waiting_order(cluster.state)[-1] == "r2"
