"""The pages of one run, of logs, clients, the pool, events and settings, before a host whose clients are the test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from dashboard import Dashboard
from playwright.sync_api import Browser, expect

from gswarm.domain.ids import JobId, RunId
from gswarm.domain.messages import LogLine, StepMetrics
from gswarm.host import loop
from gswarm.host.api import events
from gswarm.scheduler.events import ClientLost

pytestmark = pytest.mark.e2e
Open = Callable[..., Dashboard]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    with api_host(tmp_path_factory.mktemp("host")) as api:
        runs = with_runs(api)
        api.train(runs[0])
        api.train(runs[0], eval_loss=1.5)
        values = (("loss", 2.0), ("learning_rate", 1e-4))
        api.series.append([StepMetrics(RunId(runs[0]), 1, step, at_s=1e9 + step, values=values) for step in range(1, 9)])
        yield api


@pytest.fixture
def run(api: ApiHost) -> str:
    return next(iter(api.state.runs))


@pytest.fixture
def visit(browser: Browser, api: ApiHost) -> Iterator[Open]:
    opened: list[Dashboard] = []

    def visitor(path: str, role: str = "operator", **options: object) -> Dashboard:
        made = Dashboard.open(browser, api.url, api.bearer[role], **options)
        opened.append(made)
        made.log_in(path)
        return made

    yield visitor
    for dashboard in opened:
        dashboard.page.context.close()
        dashboard.assert_quiet()


def test_a_run_says_where_it_is_and_is_verified_and_exported_from_its_page(api: ApiHost, run: str, visit: Open) -> None:
    seen = visit(f"/runs/{run}")
    page = seen.page
    expect(page.get_by_test_id("explain")).to_contain_text(f"{api.state.runs[RunId(run)].home}")
    expect(page.get_by_role("img", name=f"loss and eval_loss of {run} by step", exact=True)).to_be_visible()
    expect(page.get_by_role("table", name="Checkpoints").get_by_role("row", name=re.compile("best, latest"))).to_contain_text("8")
    expect(page.get_by_role("table", name="Chunks").get_by_role("row", name=re.compile("committed"))).to_have_count(2)
    expect(page.get_by_role("region", name="Configuration", exact=True)).to_contain_text("learning_rate")
    assert seen.serious_faults() == []
    proof = page.get_by_role("region", name="Proof and export")
    proof.get_by_role("button", name="Verify").click()
    expect(proof.get_by_text("verify of step 8: running")).to_be_visible()
    expect(proof.get_by_role("button", name="Verify")).to_have_attribute("aria-disabled", "true")
    api.finish_job(_open_job(api), json.dumps({"identical": True, "digest": "d" * 64, "steps": 8, "device": "cpu", "seconds": 1.0}))
    expect(proof.get_by_text("Identical to training without interruption")).to_be_visible()
    proof.get_by_role("button", name="Export").click()
    page.get_by_role("dialog").get_by_role("button", name="Merged model").click()
    page.get_by_role("dialog").get_by_role("button", name="Export", exact=True).click()
    expect(proof.get_by_text("export merged of step 8: running")).to_be_visible()
    api.finish_job(_open_job(api), json.dumps({"manifest": "e" * 64}))
    expect(proof.get_by_role("button", name="Files")).to_be_visible()


def _open_job(api: ApiHost) -> JobId:
    return next(job.id for job in api.state.jobs.values() if job.result_json is None)


def test_events_are_searched_back_to_the_oldest(api: ApiHost, run: str, visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call looks through few events and finds none; the page goes on until it has what was asked for."""
    with api.host() as host:
        host.stop_run(run)
        for _ in range(8):
            host.drain_client(CLIENT)
            host.resume_client(CLIENT)
    seen = visit("/", role="viewer")
    page = seen.page
    latest = page.get_by_role("region", name="Latest events")
    expect(latest.get_by_role("listitem")).to_have_count(8)
    expect(latest.get_by_role("listitem").first).to_contain_text("takes work again")
    monkeypatch.setattr(events, "LOOKS_MAX", 4)
    monkeypatch.setattr(loop, "READ_PAGE_ENTRIES", 2)
    seen.go(f"/events?filter=run%3D{run}")
    listed = page.get_by_role("region", name="Events, scrollable")
    expect(listed.get_by_text(f"{run}: stop requested by admin")).to_be_visible()
    page.get_by_role("button", name="Read older ones").click()
    expect(listed.get_by_text("trained").first).to_be_visible()
    page.get_by_label("Filter events").fill("run=r99")
    expect(page.get_by_text("No event matches", exact=True)).to_be_visible()
    page.get_by_label("Filter events").fill("")
    page.get_by_label("Kind").select_option("clients")
    expect(listed.get_by_text("drain").first).to_be_visible()
    with api.host() as host:
        host.drain_client(CLIENT)
        newest = api.plan.seq
    expect(listed.locator(f"[data-event='{newest}']")).to_be_visible()
    with api.host() as host:
        host.resume_client(CLIENT)
        host.resume_run(run)


def test_a_log_is_searched_paused_and_linked_to_and_goes_on_by_itself(api: ApiHost, run: str, visit: Open) -> None:
    def printed(*texts: str, level: str = "info") -> None:
        api.run_logs.append([LogLine(RunId(run), 1e9, level, text) for text in texts])

    printed(*(f"step {number}" for number in range(1, 301)))
    printed("\x1b[31mno room\x1b[0m <b>for it</b>", level="error")
    seen = visit(f"/logs?run={run}", role="viewer")
    page = seen.page
    lines = page.get_by_role("region", name="Log lines")
    expect(lines.get_by_text("no room <b>for it</b>")).to_be_visible()
    printed("and on")
    expect(lines.get_by_text("and on")).to_be_visible()
    page.get_by_label("Search the log").fill("step 10")
    expect(page.get_by_role("status").filter(has_text="11 found")).to_be_visible()
    page.get_by_label("Search the log").press("Enter")
    expect(lines.locator("mark").filter(has_text="step 10").first).to_be_visible()
    lines.get_by_role("link", name=f"Line 10 of {run}", exact=True).click()
    expect(page).to_have_url(re.compile(rf"q=step\+10&line={run}(:|%3A)10$"))
    page.get_by_role("button", name="Pause").click()
    printed("behind the pause")
    expect(page.get_by_role("button", name="Go on, 1 new")).to_be_visible()
    page.get_by_label("Search the log").fill("")
    page.get_by_label("Level").select_option("error")
    expect(lines.locator("[data-line]")).to_have_count(1)
    # The address alone brings another person to the same line.
    seen.go(f"/logs?run={run}&line={run}:10")
    expect(lines.locator(f"[data-line='{run}:10'] [aria-current]")).to_be_in_viewport()


def test_a_token_is_made_shown_once_used_and_revoked(api: ApiHost, visit: Open) -> None:
    seen = visit("/settings", role="admin")
    page = seen.page
    page.get_by_role("button", name="New token").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Operator").click()
    dialog.get_by_label("Good for").fill("soon")
    expect(dialog.get_by_role("button", name="Create token")).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label("Good for").fill("2h")
    dialog.get_by_role("button", name="Create token").click()
    secret = dialog.get_by_label("Token", exact=True).input_value()
    assert _status(api, secret) == 200
    dialog.get_by_role("button", name="Done").click()
    expect(page.get_by_text(secret)).to_have_count(0)
    made = next(info.id for info in api.tokens.list() if info.expires_at_s is not None)
    page.get_by_role("button", name=f"Revoke {made}").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text(f"Token {made} is revoked")).to_be_visible()
    assert _status(api, secret) == 401


def _status(api: ApiHost, bearer: str) -> int:
    return httpx.get(f"{api.url}/api/v1/ready", headers={"Authorization": f"Bearer {bearer}"}).status_code


def test_whose_token_ended_gives_another_and_goes_on_where_he_was(api: ApiHost, run: str, visit: Open) -> None:
    short = api.tokens.create("viewer")
    api.bearer["short"] = short.text
    seen = visit(f"/runs/{run}?chunks=step", role="short")
    api.tokens.revoke(short.id)
    dialog = seen.page.get_by_role("dialog", name="Log in again")
    expect(dialog).to_be_visible()
    expect(seen.page.get_by_text("learning_rate").first).to_be_attached()
    seen.token = api.bearer["viewer"]
    seen.give_token()
    expect(dialog).to_be_hidden()
    assert seen.page.url.endswith(f"/runs/{run}?chunks=step")


PHONE = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
LAPTOP = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}
DESK = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}


@pytest.mark.parametrize("options", [PHONE, LAPTOP, DESK], ids=["phone", "laptop", "desk"])
def test_nobody_is_kept_out_and_everything_fits(api: ApiHost, run: str, visit: Open, options: dict[str, Any]) -> None:
    pages = {
        "/": "Queue",
        "/experiments": "All experiments",
        f"/experiments/{api.state.runs[RunId(run)].experiment}": "Runs",
        "/timeline": "Slots by time",
        "/profiler": "",
        f"/runs/{run}": "Configuration",
        "/clients": "All clients",
        "/clients/left": "Slots",
        "/pool": "Manifests",
        f"/logs?run={run}": "Log",
        "/events": "Events",
        "/events?tab=audit": "Audit log",
        "/settings": "Tokens",
    }
    seen = visit("/", role="admin", **options)
    faults: dict[str, list[str]] = {}
    for path, shown in pages.items():
        seen.go(path)
        if shown:
            expect(seen.page.get_by_role("region", name=shown, exact=True)).to_be_visible()
        else:
            expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
        seen.wait_live()
        assert seen.overflow_px() <= 0, path
        faults[path] = seen.serious_faults()
        if options is not PHONE:
            # The runs have a column a parameter: their table scrolls, its first columns stay.
            faults[path] += [f"the table {name} is cut" for name in seen.cut_tables() if name != "Runs"]
            faults[path] += [f"{text} is cut" for text in seen.cut_times()]
    assert {path: found for path, found in faults.items() if found} == {}


def test_a_page_follows_runs_that_no_event_names(api: ApiHost, visit: Open) -> None:
    runs = [RunId(run) for run in list(api.state.runs)[:3]]
    seen = visit(f"/experiments/{api.state.runs[runs[0]].experiment}")

    def follows() -> RunId | None:
        """Whose slot it is."""
        holder = next((slot.queue[0][0] for slot in api.state.slots.values() if slot.queue), None)
        for run in runs:
            expect(seen.row(run)).to_contain_text(api.state.runs[run].state.value)
            expect(seen.row(run).get_by_text(f"{CLIENT}/0")).to_have_count(int(run == holder))
        return holder

    holder = follows()
    assert holder is not None
    step = api.state.runs[holder].position + 1
    api.series.append([StepMetrics(holder, 1, step, at_s=2e9, values=(("loss", 2.0),))])
    expect(seen.row(holder)).to_contain_text(f"{step} / ")

    seen.choose(holder)
    seen.operation("Stop").click()
    expect(seen.row(holder)).to_contain_text("stopping")
    expect(seen.strip("stop", holder)).to_have_attribute("data-phase", "acknowledged")
    api.give_back(holder)
    expect(seen.strip("stop", holder)).to_have_attribute("data-phase", "effective")
    following = follows()
    assert following not in (None, holder)
    api.submit(ClientLost(CLIENT, "its cable was pulled"))
    assert follows() is None
    api.join()


def test_a_choice_of_all_is_of_what_the_filter_showed(api: ApiHost, visit: Open) -> None:
    first, *others = list(api.state.runs)[:3]
    seen = visit(f"/experiments/{api.state.runs[RunId(first)].experiment}?filter=-id={first}")
    page = seen.page
    page.get_by_role("table", name="Runs", exact=True).get_by_label("Choose all rows").check()
    page.get_by_label("Filter runs").fill("")
    expect(seen.row(first)).to_have_attribute("aria-selected", "false")
    for run in others:
        expect(seen.row(run)).to_have_attribute("aria-selected", "true")
    page.get_by_label("Filter runs").fill("nosuch>1")
    expect(page.get_by_text("No run has a field nosuch").first).to_be_visible()
