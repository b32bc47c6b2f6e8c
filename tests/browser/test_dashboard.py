"""The dashboard before a real host: log in, watch, steer, and go on after the host was started again."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dashboard import Dashboard
from experiments import experiment, write_experiment
from playwright.sync_api import expect
from real_cluster import RealCluster

pytestmark = [pytest.mark.e2e, pytest.mark.train]
Visit = Callable[..., Dashboard]
TRIES = 3
"""Of the page, before it says that something cannot be read."""


@pytest.fixture(scope="module")
def watched(cluster: RealCluster, assets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An experiment of two runs that train for long, on one slot each: its id and theirs."""
    search = {"parameters": {"learning_rate": {"values": [5e-4, 2e-3]}}}
    document = experiment(assets, "watched", search=search, num_train_epochs=400, chunks={"num_chunks": 2})
    cluster.cli("experiment", "submit", str(write_experiment(tmp_path_factory.mktemp("files") / "w.yaml", document)), "-o", "quiet")
    with cluster.api() as host:
        cluster.wait_for(host, lambda: any(run["position"] > 0 for run in host.experiment_runs("watched")))
        return {"id": host.experiment("watched")["id"], "runs": [run["id"] for run in host.experiment_runs("watched")]}


def test_a_wrong_token_is_told_so_and_the_right_one_shows_the_cluster(visit: Visit, watched: dict[str, Any]) -> None:
    seen = visit()
    page = seen.page
    seen.go("/experiments?filter=watched")
    page.get_by_label("Token", exact=True).fill("gswt-wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    seen.give_token()
    # The address that was asked for, not the front page.
    expect(page.get_by_role("link", name="watched")).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("2 clients ready")).to_be_visible()
    for run in watched["runs"]:
        expect(page.get_by_role("table", name="What runs where").get_by_role("link", name=run)).to_be_visible()


def test_a_curve_grows_by_itself(visit: Visit, watched: dict[str, Any]) -> None:
    seen = visit("viewer")
    seen.log_in(f"/experiments/{watched['id']}")
    loss = seen.page.get_by_role("img", name="loss of 2 runs by step", exact=True)
    newest = int(loss.get_attribute("data-until") or 0)
    seen.page.wait_for_function(
        "([label, newest]) => Number(document.querySelector(`[aria-label='${label}']`)?.dataset.until) > newest",
        arg=["loss of 2 runs by step", newest],
    )
    expect(seen.page.get_by_role("img", name=re.compile("^eval_loss of 2 runs"))).to_be_visible()
    expect(seen.page.get_by_test_id("best")).to_contain_text("eval_loss")
    # A viewer sees why nothing can be done.
    seen.choose(watched["runs"][0])
    expect(seen.operation("Stop")).to_have_attribute("aria-disabled", "true")
    expect(seen.operation("Stop")).to_have_accessible_description(re.compile("may only look"))


def test_what_a_view_shows_stands_in_its_address(visit: Visit, watched: dict[str, Any]) -> None:
    first, second = watched["runs"]
    seen = visit()
    seen.log_in(f"/experiments/{watched['id']}?x=time&smooth=0.5&log=1&only={second}&sort=-id&sel={first}")
    page = seen.page
    expect(page.get_by_role("img", name="loss of 1 run by time", exact=True)).to_be_visible()
    expect(page.get_by_role("checkbox", name="Log scale")).to_be_checked()
    expect(page.get_by_role("checkbox", name=f"Choose {first}")).to_be_checked()
    rows = page.get_by_role("table", name="Runs", exact=True).locator("tbody tr[data-row]")
    assert [row.get_attribute("data-row") for row in rows.all()] == [second, first]
    # Beside what it takes back.
    page.get_by_role("region", name="Curves", exact=True).get_by_role("button", name="Show all in charts").click()
    page.get_by_label("Filter runs").fill(f"id={first}")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"x=time&smooth=0\.5&log=1&sort=-id&sel=\w+&filter=id"))
    chart = page.get_by_role("img", name="loss of 1 run by time", exact=True).locator(".u-over")
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 90, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("zoom="))
    page.get_by_role("button", name="Reset zoom").click()
    expect(page).not_to_have_url(re.compile("zoom="))


def test_drawing_along_an_axis_filters_the_runs(visit: Visit, cluster: RealCluster, watched: dict[str, Any]) -> None:
    first, second = watched["runs"]
    with cluster.api() as host:
        cluster.wait_for(host, lambda: all(host.run(run)["best"] for run in watched["runs"]))
    seen = visit()
    seen.log_in(f"/experiments/{watched['id']}?filter=state:running")
    page = seen.page
    panel = page.get_by_role("region", name="Parallel coordinates", exact=True)
    axis = panel.locator("[data-axis=learning_rate]")
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.get_by_label("Filter runs")).to_have_value(re.compile(r"^state:running learning_rate<=0\.001\d*$"))
    rows = page.get_by_role("table", name="Runs", exact=True).locator("tbody tr[data-row]")
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("data-row", first)
    expect(panel).to_contain_text("1 of 2 runs")
    axis.click()
    expect(page.get_by_label("Filter runs")).to_have_value("state:running")
    expect(seen.row(second)).to_be_visible()


def test_runs_are_stopped_resumed_cloned_deleted_and_restored_from_the_page(
    visit: Visit, cluster: RealCluster, watched: dict[str, Any]
) -> None:
    run = watched["runs"][0]
    seen = visit()
    seen.log_in(f"/experiments/{watched['id']}")
    page = seen.page
    with cluster.api() as host:
        seen.choose(run)
        expect(seen.operation("Resume")).to_have_accessible_description(re.compile(f"{run}: it is (running|queued) already"))
        seen.operation("Stop").click()
        expect(seen.strip("stop", run)).to_have_attribute("data-phase", "effective")
        expect(seen.row(run)).to_contain_text("stopped")
        stopped = host.run(run)
        assert stopped["state"] == "stopped"

        seen.operation("Clone").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("learning_rate").fill("much")
        expect(dialog.get_by_role("alert")).to_contain_text("learning_rate")
        expect(dialog.get_by_role("button", name="Make the clone")).to_have_attribute("aria-disabled", "true")
        dialog.get_by_label("learning_rate").fill("4e-4")
        dialog.get_by_label("Start from").select_option("latest")
        expect(dialog.get_by_role("region", name="Changes against the parent")).to_contain_text("+ learning_rate: 4e-4")
        expect(dialog.get_by_role("status")).to_contain_text(f"warm from step {stopped['position']}")
        dialog.get_by_role("button", name="Make the clone").click()
        expect(dialog).to_be_hidden()
        clone = next(one["id"] for one in host.experiment_runs("watched") if one["parent"] == run)
        assert host.run(clone)["changes"] == {"learning_rate": "4e-4"}
        expect(seen.row(clone)).to_be_visible()
        expect(seen.strip("clone", clone)).to_have_attribute("data-phase", "effective")

        seen.choose(run)
        seen.operation("Resume").click()
        expect(seen.strip("resume", run)).to_have_attribute("data-phase", "effective")
        seen.choose(clone)
        seen.operation("Delete").click()
        expect(seen.row(clone)).to_contain_text("deleting")
        assert host.run(clone)["state"] == "deleting"
        page.get_by_role("button", name="Undo").click()
        expect(seen.row(clone)).to_contain_text("stopped")
        assert host.run(clone)["state"] == "stopped"
        seen.operation("Delete").click()
        expect(seen.row(clone)).to_contain_text("deleting")


def test_a_mark_on_the_curve_leads_to_a_clone_from_its_checkpoint(visit: Visit, cluster: RealCluster, watched: dict[str, Any]) -> None:
    run = watched["runs"][1]
    seen = visit()
    page = seen.page
    seen.log_in("/experiments")
    for axis in ("step", "time"):
        seen.go(f"/experiments/{watched['id']}?only={run}&x={axis}")
        steps = page.get_by_role("button", name=re.compile(r"^Step [\d,]+"))
        expect(steps.first).to_be_visible()
        chart = page.get_by_role("img", name=re.compile(f"^loss of 1 run by {axis}")).locator(".u-over")
        box = chart.bounding_box()
        assert box is not None
        dialog = page.get_by_role("dialog", name=f"Clone {run}")
        # The newest checkpoint is near the end of the line, wherever that has got to.
        for pixel in range(int(box["width"]) - 2, 0, -4):
            page.mouse.click(box["x"] + pixel, box["y"] + 4)
            if dialog.is_visible():
                break
        expect(dialog.get_by_label("Start from")).to_have_value(re.compile(r"^\d+$"))
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()


def test_an_experiment_is_stopped_deleted_and_restored_as_a_whole(visit: Visit, cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    document = experiment(assets, "whole", num_train_epochs=400)
    cluster.cli("experiment", "submit", str(write_experiment(tmp_path / "w.yaml", document)), "-o", "quiet")
    with cluster.api() as host:
        cluster.wait_for(host, lambda: bool(host.experiment_runs("whole")))
        whole = host.experiment("whole")["id"]
        seen = visit()
        page = seen.page
        seen.log_in(f"/experiments/{whole}")
        strip = page.get_by_role("region", name="Operations", exact=True)
        above = page.get_by_role("img", name=re.compile("^loss of|^eval_loss of")).or_(page.get_by_text("No values of loss yet"))
        expect(above.first).to_be_visible()
        page.get_by_role("button", name="Stop all").click()
        expect(strip.locator(f'[data-op="stop"][data-experiment="{whole}"]')).to_have_attribute("data-phase", "effective")
        expect(page.get_by_role("heading", name="whole").locator("..")).to_contain_text("stopped")
        page.get_by_role("button", name="Delete", exact=True).first.click()
        expect(strip.locator(f'[data-op="delete"][data-experiment="{whole}"]')).to_have_attribute("data-phase", "effective")
        expect(page.get_by_role("button", name="Restore", exact=True)).to_be_visible()
        seen.go("/experiments")
        deleted = page.get_by_role("region", name="Deleted", exact=True)
        deleted.get_by_role("button", name="Restore whole").click()
        expect(deleted).to_be_hidden()
        expect(page.get_by_role("table", name="Experiments").get_by_role("link", name="whole")).to_be_visible()
        expect(page.locator(f'[data-op="restore"][data-experiment="{whole}"]')).to_have_attribute("data-phase", "effective")
        assert host.experiment("whole")["state"] == "idle"
        host.delete_experiment("whole")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(visit: Visit, watched: dict[str, Any], scheme: str) -> None:
    seen = visit(color_scheme=scheme)
    seen.go("/")
    expect(seen.page.get_by_role("button", name="Log in")).to_be_visible()
    assert seen.serious_faults() == []
    seen.give_token()
    for path, shown in (
        ("/", "What runs where"),
        ("/experiments", "All experiments"),
        (f"/experiments/{watched['id']}", "Parallel coordinates"),
    ):
        seen.go(path)
        expect(seen.page.get_by_role("region", name=shown, exact=True)).to_be_visible()
        seen.wait_live()
        assert seen.serious_faults() == [], path


def test_everything_fits_on_a_phone(visit: Visit, watched: dict[str, Any]) -> None:
    seen = visit(viewport={"width": 390, "height": 800}, has_touch=True)
    seen.log_in("/")
    for path, shown in (("/", "Queue"), ("/experiments", "All experiments"), (f"/experiments/{watched['id']}", "Chunk grid")):
        seen.go(path)
        expect(seen.page.get_by_role("region", name=shown, exact=True)).to_be_visible()
        assert seen.overflow_px() <= 0, path
    seen.page.get_by_role("button", name="Pages").click()
    seen.page.get_by_role("dialog").get_by_role("link", name="Overview").click()
    expect(seen.page.get_by_role("heading", name="Overview")).to_be_visible()


def test_the_page_goes_on_after_the_host_was_started_again(visit: Visit, cluster: RealCluster, watched: dict[str, Any]) -> None:
    seen = visit()
    seen.log_in(f"/experiments/{watched['id']}?only={watched['runs'][1]}")
    page = seen.page
    page.evaluate("window.neverReloaded = true")
    expect(seen.row(watched["runs"][0])).to_be_visible()
    # A query that has failed for good, as one does that is sent while the host goes away.
    tries: list[str] = []
    page.on("requestfailed", lambda request: tries.append(request.url))
    page.route(re.compile(rf"/experiments/{watched['id']}$"), lambda route: route.abort("connectionrefused"))
    with cluster.api() as host:
        host.stop_run(watched["runs"][0])
    while sum(url.endswith(watched["id"]) for url in tries) < TRIES:
        page.wait_for_event("requestfailed")
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("the host does not answer")
    expect(seen.row(watched["runs"][0])).to_be_visible()
    expect(page.get_by_role("heading", name="watched")).to_be_visible()
    page.unroute_all()
    cluster.kill_host(signal.SIGKILL)
    expect(page.get_by_test_id("link")).to_have_text("Reconnecting")
    # What was known stays in sight.
    expect(seen.row(watched["runs"][0])).to_be_visible()
    cluster.start_host()
    # The login lasts.
    seen.wait_live()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(notice).to_have_count(0)
    with cluster.api() as host:
        reached = int(host.run(watched["runs"][1])["current_step"])
    page.wait_for_function(
        "([run, reached]) => parseInt(document.querySelector(`tr[data-row='${run}'] [role=progressbar]`)"
        ".parentElement.textContent.replaceAll(',', '')) > reached",
        arg=[watched["runs"][1], reached],
    )
    assert page.evaluate("window.neverReloaded") is True
    assert f"only={watched['runs'][1]}" in page.url
