"""Server-sent events: resumable, with ids; followed logs; clients, jobs and files of the pool."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_host import CLIENT, EXPERIMENT, ApiHost, api_host, with_runs

from gswarm.datapool.manifest import Entry, Manifest, save_manifest
from gswarm.domain.errors import ConflictError, CorruptDataError, InvalidInputError, NotFoundError, UnavailableError
from gswarm.domain.ids import Digest, JobId, RunId
from gswarm.domain.messages import LogLine
from gswarm.domain.plan import RunState
from gswarm.host import loop
from gswarm.host.api import events, sse
from gswarm.host.api.events import event_kind
from gswarm.scheduler.events import ClientDrainRequested
from gswarm.sdk import Host


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as running:
        yield running


@pytest.fixture
def host(api: ApiHost) -> Iterator[Host]:
    with api.host() as connected:
        yield connected


def test_events_replay_from_any_id_and_go_on_live(api: ApiHost, host: Host) -> None:
    host.submit(EXPERIMENT)
    api.join()
    past = list(itertools.islice(host.events(0), 2))
    assert [(event["id"], event["type"]) for event in past] == [(1, "experiment_submitted"), (2, "client_registered")]
    assert past[0]["ids"] == {"experiment": "e1"}
    assert past[1]["ids"] == {"client": CLIENT}
    assert "tiny" in past[0]["text"]
    assert past[0]["at"] <= past[1]["at"]
    live = host.events(2)
    threading.Timer(0.05, api.prepare).start()
    event = next(live)
    assert (event["id"], event["type"], event["ids"]) == (3, "job_finished", {"client": CLIENT, "job": "j1", "experiment": "e1"})


def test_events_without_an_id_begin_now(api: ApiHost, host: Host) -> None:
    with_runs(api)
    live = host.events()
    host.stop_run("r1")
    event = next(live)
    assert (event["type"], event["ids"]) == ("run_op_requested", {"run": "r1", "experiment": "e1"})
    assert "admin" in event["text"]


def test_the_end_of_an_undo_window_is_about_its_run(api: ApiHost, host: Host) -> None:
    _, _, run = with_runs(api)
    api.bring_to(run, RunState.DELETED)
    [event] = host.past_events(1)
    assert (event["type"], event["ids"]) == ("timer_fired", {"run": run, "experiment": "e1"})


def test_what_is_past_comes_in_pages_of_what_is_asked_for(api: ApiHost, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other, _ = with_runs(api)
    host.stop_run(run)
    made = host.clone_run(run, {})["id"]
    host.stop_run(other)
    kinds = [event["type"] for event in host.past_events(100)]
    assert kinds == [
        "run_op_requested", "run_clone_requested", "run_op_requested", "job_finished", "client_registered", "experiment_submitted",
    ]  # fmt: skip
    assert [event["id"] for event in host.past_events(2)] == [6, 5]
    assert host.past_events(0) == []

    def ids(**about: str) -> list[int]:
        return [event["id"] for event in host.past_events(100, about)]

    assert (ids(run=run), ids(run=made), ids(run=other)) == ([5, 4], [5], [6])
    assert ids(client=CLIENT) == [3, 2]
    assert ids(experiment="tiny") == ids(experiment="e1") == [6, 5, 4, 3, 1]
    assert ids(experiment="e1", client=CLIENT) == [3]
    assert ids(run="r99") == []
    # One call looks through so many events only, and says where to go on.
    monkeypatch.setattr(events, "LOOKS_MAX", 1)
    monkeypatch.setattr(loop, "READ_PAGE_ENTRIES", 1)
    page = host._get("/events/past", run=run)
    assert (page["items"], page["next_cursor"]) == ([], "6")
    assert (ids(run=run), ids(client=CLIENT)) == ([5, 4], [3, 2])
    assert [one["id"] for one in host._get("/events/past", kind=["job_finished", "client_registered"], cursor="4")["items"]] == [3]
    with pytest.raises(InvalidInputError, match="not of this list"):
        host._get("/events/past", cursor="-1")


def test_what_the_journal_keeps_no_more_is_the_end(api: ApiHost, host: Host) -> None:
    with_runs(api)
    host.stop_run("r1")
    api.journal._entries_kept = 2
    for seq in (2, 3):
        api.journal.save_snapshot(seq, b"a state")
    page = host._get("/events/past", limit=1)
    assert ([one["id"] for one in page["items"]], page["next_cursor"]) == ([4], "4")
    page = host._get("/events/past", limit=1, cursor="4")
    assert ([one["id"] for one in page["items"]], page["next_cursor"]) == ([3], None)
    for cursor in ("2", "0"):
        assert host._get("/events/past", cursor=cursor) == {"items": [], "next_cursor": None}
    assert [one["id"] for one in host._get("/events/past", cursor="9" * 18)["items"]] == [4, 3]


def test_only_events_that_are_asked_for_are_followed(api: ApiHost, host: Host) -> None:
    with_runs(api)
    host.stop_run("r1")
    assert [event["id"] for event in itertools.islice(host.events(0, about={"experiment": "e1"}), 3)] == [1, 3, 4]
    assert next(host.events(0, about={"run": "r1"}))["id"] == 4


def test_an_id_of_the_future_is_a_problem_and_not_a_broken_stream(host: Host) -> None:
    with pytest.raises(InvalidInputError, match="no event 99"):
        next(host.events(99))


def test_the_raw_stream_is_well_formed(api: ApiHost, host: Host) -> None:
    with_runs(api)
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}", "Last-Event-ID": "1"}
    with httpx.stream("GET", f"{api.url}/api/v1/events", headers=headers, timeout=5) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(itertools.islice(response.iter_lines(), 6))
    assert lines[0].startswith(":")
    assert lines[2:4] == ["id: 2", "event: client_registered"]
    assert json.loads(lines[4].removeprefix("data: "))["id"] == 2


def test_a_silent_stream_is_kept_alive(api: ApiHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_S", 0.02)
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    with httpx.stream("GET", f"{api.url}/api/v1/events", headers=headers, timeout=5) as response:
        lines = [line for line in itertools.islice(response.iter_lines(), 6) if line]
    assert lines == [": gswarm", ": still here", ": still here"]


def test_so_many_streams_and_no_more(api: ApiHost, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    api.join()
    monkeypatch.setattr("gswarm.host.api.sse.STREAMS_MAX", 2)
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    url = f"{api.url}/api/v1/events"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(httpx.stream("GET", url, headers=headers, timeout=5)).iter_lines() for _ in range(2)]
        assert [next(lines) for lines in held] == [": gswarm"] * 2
        refused = httpx.get(url, headers=headers, timeout=5)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    monkeypatch.setattr("gswarm.sdk.transport.RECONNECT_DELAY_MAX_S", 0.1)
    with contextlib.closing(host.events(0)) as again:
        assert next(again)["id"] == 1, "a place is free again, and the reader that was refused takes it"


def test_followers_that_leave_are_forgotten(api: ApiHost, host: Host) -> None:
    api.join()
    own = api.plan._subscribers
    for _ in range(3):
        headers = {"Authorization": f"Bearer {api.bearer['viewer']}", "Last-Event-ID": "0"}
        with httpx.stream("GET", f"{api.url}/api/v1/events", headers=headers, timeout=5) as response:
            next(response.iter_lines())
    for _ in range(100):
        host.health()
        if api.plan._subscribers == own:
            break
    assert api.plan._subscribers == own


def test_the_sdk_takes_up_a_stream_again_where_it_broke(api: ApiHost) -> None:
    api.join()
    for drain in (True, False):
        api.submit(ClientDrainRequested(CLIENT, drain))
    asked: list[str] = []

    class Breaking(httpx.BaseTransport):
        """Cuts every stream after its first event."""

        def __init__(self) -> None:
            self.real = httpx.HTTPTransport()

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = self.real.handle_request(request)
            if "events" not in request.url.path:
                return response
            asked.append(request.headers["last-event-id"])

            def cut() -> Iterator[bytes]:
                seen = b""
                for piece in response.iter_raw():
                    seen += piece
                    if seen.count(b"data:") and seen.endswith(b"\n\n"):
                        break
                response.close()
                yield seen[: seen.index(b"\n\n", seen.index(b"data:")) + 2]
                raise httpx.ReadError("cut")

            return httpx.Response(response.status_code, headers=response.headers, stream=_Stream(cut()))

    with Host(api.url, api.bearer["viewer"], http=Breaking()) as host:
        found = list(itertools.islice(host.events(0), 3))
    assert [event["id"] for event in found] == [1, 2, 3]
    assert asked == ["0", "1", "2"]


class _Stream(httpx.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def test_a_host_that_stays_away_is_unavailable(tmp_path: Path) -> None:
    with api_host(tmp_path) as api:
        connected = api.host()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        connected.health()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        next(connected.events(0, give_up_after_s=0.0))


def test_event_kinds_are_snake_case() -> None:
    assert event_kind(ClientDrainRequested(CLIENT, True)) == "client_drain_requested"


# ---- logs --------------------------------------------------------------------------------------------------------------------


def test_logs_come_in_pages_and_can_be_followed(api: ApiHost, host: Host) -> None:
    run = RunId(with_runs(api)[0])
    api.run_logs.append([LogLine(run, 10.0 + number, "info", f"line {number}") for number in range(1, 6)])
    first = host.logs(run, limit=2)
    assert ([line["text"] for line in first["lines"]], first["next_line"]) == (["line 1", "line 2"], 2)
    rest = host.logs(run, after_line=first["next_line"])
    assert [line["line"] for line in rest["lines"]] == [3, 4, 5]
    assert host.logs(run, after_line=5) == {"run": run, "lines": [], "next_line": 5}
    followed = host.follow_logs(run, after_line=4)
    assert next(followed)["text"] == "line 5"
    threading.Timer(0.05, api.run_logs.append, [[LogLine(run, 20.0, "warning", "line 6")]]).start()
    line = next(followed)
    assert (line["line"], line["level"], line["text"]) == (6, "warning", "line 6")


# ---- clients -----------------------------------------------------------------------------------------------------------------


def test_clients_are_shown_drained_and_asked_to_leave(api: ApiHost, host: Host) -> None:
    run = with_runs(api)[0]
    client = host.clients()[0]
    assert (client["name"], client["state"], client["connected"]) == ("left", "ready", True)
    assert client["slots"][0]["runs"][0] == run
    assert host.drain_client("left")["state"] == "draining"
    assert host.resume_client("left")["state"] == "ready"
    host.disconnect_client("left")
    assert "admin" in api.sessions.asked_to_leave[0]
    api.sessions.connected = frozenset()
    assert host.client("left")["connected"] is False
    with pytest.raises(NotFoundError, match="not connected"):
        host.disconnect_client("left")


def test_ready_counts_what_is_there(api: ApiHost, host: Host) -> None:
    before = host.ready()
    assert (before["clients"], before["slots"], before["seq"]) == (0, 0, 0)
    with_runs(api, slots=2)
    after = host.ready()
    assert (after["clients"], after["slots"], after["refused_reports"], after["refused_metrics"]) == (1, 2, 3, 5)


# ---- files -------------------------------------------------------------------------------------------------------------------


def put(api: ApiHost, data: bytes) -> Digest:
    with api.store.ingest() as ingest:
        ingest.write(data)
        return ingest.commit()


def test_files_of_a_manifest_are_downloaded_and_checked(api: ApiHost, host: Host, tmp_path: Path) -> None:
    weights = b"w" * 3_000_000
    entries = (Entry("model.safetensors", put(api, weights), len(weights)), Entry("sub dir/confíg.json", put(api, b"{}"), 2))
    manifest = save_manifest(api.store, Manifest("export", entries))
    written = host.download(manifest, tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")) for path in written} == {"model.safetensors", "sub dir/confíg.json"}
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    with pytest.raises(NotFoundError):
        host.files("0" * 64)
    with pytest.raises(InvalidInputError):
        host.files("no-digest")
    with pytest.raises(NotFoundError):
        host.files("../../etc/passwd")
    with pytest.raises(NotFoundError):
        list(host._transport.download(f"/pool/{manifest}/files/..%2F..%2Fetc%2Fpasswd"))


def test_damaged_and_escaping_files_are_not_written(api: ApiHost, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = save_manifest(api.store, Manifest("export", (Entry("a.bin", put(api, b"good"), 4),)))
    monkeypatch.setattr(Host, "files", lambda self, manifest: [{"name": "a.bin", "digest": "0" * 64, "size_bytes": 4}])
    with pytest.raises(CorruptDataError):
        host.download(manifest, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(Host, "files", lambda self, manifest: [{"name": "../evil", "digest": "0" * 64, "size_bytes": 4}])
    with pytest.raises(InvalidInputError, match="cannot be a file name"):
        host.download(manifest, tmp_path / "out")


def test_waiting_for_a_job_ends_with_its_result(api: ApiHost, host: Host) -> None:
    run = with_runs(api)[0]
    api.train(run)
    job = host.verify_run(run)["id"]
    threading.Timer(0.05, api.finish_job, [JobId(job), '{"identical": true}']).start()
    ended = host.wait_for_job(job)
    assert (ended["state"], ended["result"]) == ("done", {"identical": True})
    assert host.wait_for_job(job) == ended
    with pytest.raises(ConflictError):
        host.restore_run(run)
