"""The chronicle beside a real plan: exact over restarts, complete in what it answers, and never in the plan's way."""

from __future__ import annotations

import asyncio
import itertools
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from typer.testing import CliRunner

from gswarm.cli.main import app
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, Digest, RunId, SlotId
from gswarm.domain.plan import SILENT, Checkpoint, Failure
from gswarm.host.journal.protocol import JournalEntry
from gswarm.host.profiling import session_summary
from gswarm.host.timeline import chronicle as chronicle_module
from gswarm.host.timeline.chronicle import Chronicle, NoteKind
from gswarm.host.timeline.idle_causes import Cause
from gswarm.host.timeline.slot_book import IdleSpan, write_spans
from gswarm.scheduler.events import ChunkCommitted, ChunkFailed, ClientDrainRequested, ClientLost

Told = list[tuple[str, float, float | None]]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as made:
        yield made


async def settled(api: ApiHost, chronicle: Chronicle) -> None:
    """It has seen all that was submitted, and the slots as they are."""
    while chronicle._seen < api.plan.seq:
        await asyncio.sleep(0)
    chronicle._look_at_slots(time.time())


def told(chronicle: Chronicle, slot: str = f"{CLIENT}/0") -> Told:
    """Run or cause, from and to; without a gap."""
    with chronicle.reading() as database:
        query = "SELECT coalesce(cause, run), from_s, to_s FROM spans WHERE slot = ? ORDER BY from_s"
        rows: Told = database.execute(query, (slot,)).fetchall()
    assert all(before[2] == after[1] for before, after in itertools.pairwise(rows))
    return rows


def other(api: ApiHost, **clock: Any) -> Chronicle:
    """A new one on the same file, as after a restart of the host."""

    async def again() -> Chronicle:
        await api.profiler.chronicle.close()
        made = Chronicle(api.root / "chronicle.db", api.plan, clock.get("clock", time.time))
        made.start()
        await settled(api, made)
        return made

    made: Chronicle = api.call(again())
    return made


def test_what_changed_without_it_changed_when_the_plan_did(api: ApiHost) -> None:
    run, *_ = with_runs(api)
    api.call(settled(api, api.profiler.chronicle))
    before = told(api.profiler.chronicle)
    api.call(api.profiler.chronicle.close())
    api.submit(ClientLost(CLIENT, f"{SILENT} 30 s"))
    lost_s = next(iter(api.journal.read(api.plan.seq - 1))).now_s
    hours_later = Chronicle(api.root / "chronicle.db", api.plan, lambda: time.time() + 7200)

    async def started() -> None:
        hours_later.start()
        await settled(api, hours_later)

    api.call(started())
    assert told(hours_later) == [*before[:-1], (run, before[-1][1], lost_s), ("client_lost", lost_s, None)]
    api.call(hours_later.close())


def test_nothing_changes_over_a_restart_and_what_is_heard_late_cuts_nothing(api: ApiHost) -> None:
    with_runs(api)
    api.submit(ClientDrainRequested(CLIENT, True))
    api.call(settled(api, api.profiler.chronicle))
    before = told(api.profiler.chronicle)
    again = other(api)
    assert told(again) == before

    async def heard_late() -> float:
        assert again._task is not None
        again._task.cancel()
        looked_s = time.time()
        again._look_at_slots(looked_s)
        await api.plan.submit(ClientLost(CLIENT, "it said good-bye"))
        # An entry of long ago, while the plan is ahead already.
        again.take(JournalEntry(1, looked_s - 3600, ClientDrainRequested(CLIENT, True), ""))
        return looked_s

    looked_s = api.call(heard_late())
    run, begun_s, _ = before[-1]
    assert told(again) == [*before[:-1], (run, begun_s, looked_s), ("client_left", looked_s, None)]
    api.call(again.close())


def test_a_file_of_before_gets_its_gaps_filled(api: ApiHost, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE spans (slot TEXT NOT NULL, from_s REAL NOT NULL, to_s REAL, client TEXT NOT NULL, run TEXT NOT NULL, "
        "PRIMARY KEY (slot, from_s)) WITHOUT ROWID;"
    )
    rows = [(f"{CLIENT}/0", 10.0, 20.0, CLIENT, "r1"), (f"{CLIENT}/0", 30.0, 40.0, CLIENT, "r2")]
    old.executemany("INSERT INTO spans VALUES (?, ?, ?, ?, ?)", rows)
    old.commit()
    old.close()
    api.join()

    async def opened() -> Told:
        chronicle = Chronicle(path, api.plan, time.time)
        chronicle.start()
        found = told(chronicle)
        await chronicle.close()
        return found

    assert [(what, to_s) for what, _, to_s in api.call(opened())][:-2] == [("r1", 20.0), ("unknown", 30.0), ("r2", 40.0)]
    assert [what for what, _, _ in api.call(opened())][-2:] == ["unknown", "no_work"]


def test_the_plan_never_waits_for_its_disk_or_its_readers(api: ApiHost) -> None:
    chronicle = api.profiler.chronicle
    run, *_ = with_runs(api)
    with chronicle.reading() as database:
        first = database.execute("SELECT count(*) FROM spans").fetchone()
        api.train(run)
        api.call(settled(api, chronicle))
        assert [what for what, _, _ in told(chronicle)].count(run) == 1
        assert database.execute("SELECT count(*) FROM spans").fetchone() == first, "a reader sees one moment"
    with chronicle._mutex:
        api.train(run)
        api.call(settled(api, chronicle))


def test_idle_slots_are_shown_with_their_causes(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSWARM_HOST", api.url)
    monkeypatch.setenv("GSWARM_TOKEN", api.bearer["operator"])
    monkeypatch.setattr(session_summary, "BUBBLES_MAX", 2)
    chronicle = api.profiler.chronicle
    with api.host() as host:
        host.start_profiler("night")
        begin_s = api.profiler.sessions.get("night").started_s
        spans = [
            IdleSpan(SlotId(f"a/{slot}"), ClientName("a"), cause, begin_s - 9, begin_s + 0.001 + length)
            for slot, cause, length in ((0, Cause.DRAINED, 300), (1, Cause.DRAINED, 200), (2, Cause.NONE_FITS, 100))
        ]
        with chronicle._mutex, chronicle._database:
            write_spans(chronicle._database, spans)
        stopped = replace(api.profiler.sessions.stop("night"), stopped_s=begin_s + 400)
        api.profiler.sessions._keep({"night": stopped})
        summary = host.profiler_summary("night")
        assert [(one["device"], one["cause"]) for one in summary["bubbles"]] == [("slot:0", "drained"), ("slot:1", "drained")]
        assert [(one["cause"], one["count"], round(one["total_s"])) for one in summary["causes"]] == [
            ("drained", 2, 500),
            ("none_fits", 1, 100),
        ]
        assert summary["left_out"] == 1
        report = b"".join(host.export_profiler_session("night", "html")).decode()
        assert "none fits" in report
    shown = CliRunner().invoke(app, ["profiler", "show", "night"]).stdout
    assert re.search(r"none fits +1m 40s +1 +1m 40s", shown)
    assert "and 1 shorter ones" in shown


# ---- marks --------------------------------------------------------------------------------------------------------------


def entries(count: int, first_seq: int, begin_s: float) -> Iterator[JournalEntry]:
    """Commits with an evaluation each, and at the very beginning a failure and a drained client."""
    client = ClientName("a")
    yield JournalEntry(first_seq, begin_s, ChunkFailed(client, RunId("r1"), 1, Failure("oom", "too large")), "")
    yield JournalEntry(first_seq + 1, begin_s, ClientDrainRequested(client, True, "ann"), "")
    for number in range(count):
        kept = Checkpoint(Digest("a" * 64), number + 1, Digest("b" * 64), 10, (("eval_loss", 1.0),))
        yield JournalEntry(first_seq + 2 + number, begin_s + 1 + number / 1e4, ChunkCommitted(client, RunId("r1"), 1, kept), "")


def test_checkpoints_do_not_crowd_out_what_people_did(api: ApiHost) -> None:
    begin_s = time.time() - 60

    async def take() -> None:
        for entry in entries(6_000, api.plan.seq + 1, begin_s):
            api.profiler.chronicle.take(entry)

    api.call(take())
    notes = api.profiler.chronicle.notes(begin_s - 1, time.time())
    kinds = [note.kind for note in notes.items]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        NoteKind.FAILURE: 1,
        NoteKind.OP: 1,
        NoteKind.CHECKPOINT: 2_499,
        NoteKind.EVAL: 2_499,
    }
    assert notes.left_out == 2 * (6_000 - 2_499)
    assert [note.at_s for note in notes.items] == sorted(note.at_s for note in notes.items)
    assert notes.items[-1].text.endswith("at step 6000"), "the newest of each kind"
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    answer = httpx.get(f"{api.url}/api/v1/profiler/annotations?from={begin_s - 1}", headers=headers, timeout=20).json()
    assert (len(answer["items"]), answer["left_out"]) == (5_000, notes.left_out)
    few = api.profiler.chronicle.notes(begin_s - 1, begin_s + 0.5)
    assert (len(few.items), few.left_out) == (2, 0)


def test_charts_of_runs_that_took_too_many_turns_are_refused_and_not_cut(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    run, *_ = with_runs(api)
    api.call(settled(api, api.profiler.chronicle))
    assert [span.run for span in api.profiler.chronicle.spans(0, time.time(), [RunId(run)])] == [run]
    assert api.profiler.chronicle.spans(0, time.time(), [RunId("r99")]) == []
    monkeypatch.setattr(chronicle_module, "SPANS_ANSWER_MAX", 0)
    with pytest.raises(InvalidInputError, match="choose a shorter time"):
        api.profiler.chronicle.spans(0, time.time(), [RunId(run)])
