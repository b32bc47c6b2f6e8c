"""Slots whose devices other people use get no work until these have left."""

from __future__ import annotations

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.scheduler.events import SlotsOccupied
from gswarm.scheduler.explain import explain_run, explain_slot
from scheduler_kit import Cluster


def occupied(client: str = "a", **accounts: str) -> SlotsOccupied:
    return SlotsOccupied(ClientName(client), tuple((SlotId(f"{client}/{slot[1:]}"), who) for slot, who in accounts.items()))


def test_an_occupied_slot_finishes_what_it_has_and_gets_nothing_new() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment(runs=2)
    cluster.step(occupied(_0="anna"))
    while cluster.queue("a/0"):
        cluster.chunk("a/0")
    assert cluster.queue("a/1"), "the other one goes on"
    assert explain_slot(cluster.state, SlotId("a/0"), cluster.now_s).code == "outsiders"
    assert "anna" in str(explain_slot(cluster.state, SlotId("a/0"), cluster.now_s))
    cluster.reload()
    cluster.finish_everything()
    assert {run.state for run in cluster.state.runs.values()} == {"completed"}, "all of it on the slot that is free"
    assert not cluster.queue("a/0")


def test_the_slot_is_used_again_once_they_have_left() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.step(occupied(_0="anna"))
    cluster.experiment(runs=1)
    assert not cluster.queue("a/0")
    found = explain_run(cluster.state, RunId("r1"), cluster.now_s)
    assert (found.code, "anna" in found.text) == ("outsiders", True)
    cluster.step(occupied())
    assert cluster.queue("a/0")


def test_a_client_that_registers_again_begins_with_free_slots() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.step(occupied(_0="anna"))
    cluster.client("a", incarnation="i2")
    cluster.experiment(runs=1)
    assert cluster.queue("a/0")


def test_no_gang_waits_for_a_client_whose_slots_are_occupied() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.step(occupied(_0="anna"))
    cluster.experiment(runs=1, gpus_per_run=2)
    assert explain_run(cluster.state, RunId("r1"), cluster.now_s).code == "no_client_for_gang"
    cluster.client("b", 2)
    assert cluster.grant("r1").client == "b"


def test_what_cannot_be_is_refused() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.refused(occupied("z"), NotFoundError)
    cluster.refused(SlotsOccupied(ClientName("a"), ((SlotId("b/0"), "anna"),)), InvalidInputError)
