"""A slot's time is told without a gap: which run it had, or why it had none, as the plan knew it then."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import dataclass, field, replace

import pytest

from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.plan import SILENT, RunOp, SlotSpec
from gswarm.host.timeline import slot_book
from gswarm.host.timeline.idle_causes import Cause
from gswarm.host.timeline.slot_book import Asked, IdleSpan, SlotBook, SlotSpan, fill_old_gaps, prepare, read_spans, write_spans
from gswarm.scheduler.events import ClientDrainRequested, ClientLost, ClientRegistered, PlanRestored, SlotsOccupied
from gswarm.scheduler.explain import explain_slot
from scheduler_kit import FATAL, SUSPECT, Cluster

A = ClientName("a")


def database() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    prepare(made)
    return made


@dataclass
class Watched:
    """A cluster, and a book that looks at it once a second."""

    cluster: Cluster = field(default_factory=Cluster)
    database: sqlite3.Connection = field(default_factory=database)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.book = SlotBook(self.database)

    def look(self) -> Watched:
        self.now_s += 1
        self.book.look_at(self.cluster.state, self.cluster.state.slots, self.now_s)
        self.book.close_gone(self.cluster.state, self.now_s)
        write_spans(self.database, self.book.take_changed())
        return self

    def restart(self) -> None:
        """Of the host."""
        self.cluster.reload()
        self.book = SlotBook(self.database)

    def told(self, slot: str = "a/0") -> list[str]:
        """What the slot did, second by second; it is one span behind the other."""
        rows = self.database.execute("SELECT run, cause, from_s, to_s FROM spans WHERE slot = ? ORDER BY from_s", (slot,)).fetchall()
        assert all(before[3] == after[2] for before, after in itertools.pairwise(rows))
        return [cause or run for run, cause, _from_s, _to_s in rows]

    def agrees(self, code: str, slot: str = "a/0") -> None:
        """With what people are told when they ask."""
        assert explain_slot(self.cluster.state, SlotId(slot), self.cluster.now_s).code == code


def test_nothing_is_queued_before_and_after_a_run() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.look().look()
    watched.agrees("nothing_waits")
    watched.cluster.experiment(runs=1)
    watched.look()
    watched.cluster.finish_everything()
    watched.look()
    assert watched.told() == ["no_work", "r1", "no_work"]
    assert list(read_spans(watched.database, Asked(0, 9))) == [SlotSpan(SlotId("a/0"), A, RunId("r1"), 3.0, 4.0)]


def test_a_drained_client_has_no_lack_of_work() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.look().cluster.step(ClientDrainRequested(A, True))
    watched.cluster.client("b")
    watched.cluster.experiment(runs=3)
    watched.look()
    watched.agrees("client_draining")
    watched.cluster.step(ClientDrainRequested(A, False))
    watched.look()
    assert watched.told() == ["no_work", "drained", str(watched.cluster.active("a/0").run)]


def test_a_client_is_lost_or_leaves_or_is_unknown_after_a_restore() -> None:
    watched = Watched()
    watched.cluster.client("a")
    for lost in (
        ClientLost(A, f"{SILENT} 30 s"),
        ClientLost(A, "it said good-bye"),
        ClientLost(A, "its certificate was revoked"),
        PlanRestored(2_000_000_000),
    ):
        watched.look().cluster.step(lost)
        watched.look()
        watched.agrees("client_lost")
        watched.restart()
        watched.look().cluster.client("a", incarnation=f"after {lost}")
    assert watched.look().told() == [
        *("no_work", "client_lost", "no_work", "client_left", "no_work", "client_left", "no_work", "client_lost", "no_work")
    ]


def test_outsiders_keep_a_slot() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.cluster.step(SlotsOccupied(A, ((SlotId("a/0"), "anna"),)))
    watched.cluster.experiment(runs=1)
    watched.look()
    watched.agrees("outsiders")
    assert watched.told() == ["outsiders"]


@pytest.mark.parametrize("op", [RunOp.STOP, RunOp.DELETE])
def test_a_person_ends_the_run_that_was_there(op: RunOp) -> None:
    watched = Watched()
    watched.cluster.client("a", 2)
    watched.cluster.experiment(runs=1)
    slot = str(watched.cluster.grant("r1").slots[0])
    watched.look().cluster.op("r1", op)
    while watched.cluster.run("r1").grants:
        watched.cluster.give_back(watched.cluster.run("r1").grants[-1])
    watched.look()
    watched.restart()
    watched.look()
    assert watched.told(slot) == ["r1", "stopped"]
    other = "a/1" if slot == "a/0" else "a/0"
    assert watched.told(other) == ["no_work"], "that slot never had it"
    watched.cluster.op("r1", RunOp.RESUME if op is RunOp.STOP else RunOp.RESTORE)
    watched.cluster.finish_everything()
    assert watched.look().told(slot)[:2] == ["r1", "stopped"]


def test_runs_wait_that_the_slot_cannot_take() -> None:
    watched = Watched()
    for client in ("a", "b"):
        watched.cluster.client(client)
    watched.cluster.experiment("one", runs=1)
    watched.cluster.experiment("two", runs=1)
    watched.look()
    slot = str(watched.cluster.grant("r1").slots[0])
    watched.cluster.fail(watched.cluster.grant("r1"), SUSPECT)
    watched.look()
    watched.agrees("none_fits", slot)
    assert watched.told(slot) == ["r1", "none_fits"]


def test_the_only_run_waits_for_a_client_that_has_its_checkpoint() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.cluster.experiment(runs=1)
    watched.cluster.chunk("a/0")
    kept = watched.cluster.run("r1").checkpoints
    kept[-1] = replace(kept[-1], holders=("a",))
    watched.cluster.lose("a")
    watched.cluster.client("b")
    assert watched.look().told("b/0") == ["none_fits"]


def test_a_slot_is_kept_for_a_gang() -> None:
    watched = Watched()
    watched.cluster.client("a", 2)
    watched.cluster.experiment("singles", runs=1, rows=200)
    watched.cluster.experiment("gang", runs=1, gpus_per_run=2, priority=8)
    free = "a/1" if watched.cluster.queue("a/0") else "a/0"
    watched.look()
    watched.agrees("kept_for_gang", free)
    assert watched.told(free) == ["kept_for_gang"]


def test_a_run_waits_for_its_checkpoints() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.cluster.experiment(runs=1, rows=100)
    watched.look()
    while watched.cluster.queue("a/0"):
        watched.cluster.train(watched.cluster.active("a/0"))
    watched.look()
    assert watched.told() == ["r1", "waiting"]
    watched.cluster.commit(watched.cluster.grant("r1"))
    watched.look()
    while watched.cluster.queue("a/0"):
        watched.cluster.train(watched.cluster.active("a/0"))
    watched.look().cluster.op("r1", RunOp.STOP)
    watched.look()
    assert watched.told() == ["r1", "waiting", "r1", "waiting", "stopped"]


def test_a_failed_run_leaves_no_work() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.cluster.experiment(runs=1)
    watched.look().cluster.fail(watched.cluster.grant("r1"), FATAL)
    assert watched.look().told() == ["r1", "no_work"]


def test_time_before_a_slot_and_after_it_is_nobody_s() -> None:
    watched = Watched()
    watched.look().look()
    watched.cluster.client("a", 2)
    watched.look().look()
    watched.cluster.step(ClientRegistered(A, "i2", "1", "https://a", (SlotSpec(SlotId("a/0"), "cpu"),)))
    watched.look().look()
    rows = watched.database.execute("SELECT slot, from_s, to_s FROM spans ORDER BY slot").fetchall()
    assert rows == [("a/0", 3.0, None), ("a/1", 3.0, 5.0)]
    watched.cluster.client("a", 2, incarnation="i3")
    watched.look()
    assert watched.database.execute("SELECT from_s, to_s FROM spans WHERE slot = 'a/1'").fetchall() == [(3.0, 5.0), (7.0, None)]


def test_looks_that_come_in_the_wrong_order_make_no_overlap() -> None:
    watched = Watched(now_s=100.0)
    watched.cluster.client("a")
    watched.look().cluster.experiment(runs=1)
    watched.now_s = 50.0
    watched.look()
    assert watched.told() == ["r1"], "the time before it has no length"
    assert [span.from_s for span in read_spans(watched.database, Asked(0, 200))] == [101.0]


def test_a_look_without_a_change_writes_nothing() -> None:
    watched = Watched()
    watched.cluster.client("a", 3)
    watched.cluster.experiment(runs=2)
    watched.look()
    watched.book.look_at(watched.cluster.state, watched.cluster.state.slots, 99.0)
    assert watched.book.take_changed() == []


# ---- databases of before ------------------------------------------------------------------------------------------------

_OLD = """
CREATE TABLE spans (
    slot TEXT NOT NULL, from_s REAL NOT NULL, to_s REAL, client TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (slot, from_s)
) WITHOUT ROWID;
CREATE INDEX spans_by_time ON spans (from_s);
"""


def test_gaps_of_before_have_no_known_cause() -> None:
    old = sqlite3.connect(":memory:")
    old.executescript(_OLD)
    rows = [("a/0", 10.0, 20.0), ("a/0", 20.0, 30.0), ("a/0", 50.0, 60.0), ("b/0", 5.0, 6.0)]
    old.executemany("INSERT INTO spans VALUES (?, ?, ?, 'a', 'r1')", rows)
    prepare(old)
    watched = Watched(database=old, now_s=79.0)
    watched.cluster.client("a")
    watched.look()
    for _ in range(2):
        fill_old_gaps(old)
        assert watched.told() == ["r1", "r1", "unknown", "r1", "unknown", "no_work"]
    assert watched.told("b/0") == ["r1"]
    prepare(old)
    assert len(list(read_spans(old, Asked(0, 100)))) == 4


def test_a_span_whose_end_was_not_kept_ends_where_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = database()
    spans = [SlotSpan(SlotId("a/0"), A, RunId(f"r{begin}"), float(begin), None) for begin in (1, 5)]
    write_spans(kept, spans)
    prepare(kept)
    assert [(span.from_s, span.to_s) for span in read_spans(kept, Asked(0, 9))] == [(1.0, 5.0), (5.0, None)]
    monkeypatch.setattr(slot_book, "SPANS_MAX", 1)
    later = [IdleSpan(SlotId("b/0"), A, Cause.NO_WORK, float(begin), begin + 1.0) for begin in (7, 8)]
    write_spans(kept, later)
    prepare(kept)
    left = kept.execute("SELECT slot, from_s FROM spans ORDER BY from_s").fetchall()
    assert left == [("a/0", 5.0), ("b/0", 7.0), ("b/0", 8.0)], "what lasts still stays"


def test_a_run_s_experiment_is_stopped_as_a_whole() -> None:
    watched = Watched()
    watched.cluster.client("a")
    watched.cluster.experiment(runs=3)
    watched.look().cluster.experiment_op(ExperimentId("e1"), RunOp.STOP)
    watched.cluster.finish_everything()
    assert watched.look().told() == ["r1", "stopped"]
