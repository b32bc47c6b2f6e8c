"""The profiler's panels and the timeline, before a host whose clients are the test."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs
from dashboard import Dashboard
from playwright.sync_api import Browser, Locator, expect

from gswarm.domain.plan import RunState
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns

pytestmark = pytest.mark.e2e
Open = Callable[..., Dashboard]
METRICS = ("gpu_utilization", "gpu_power", "gpu_fan")
SECONDS = 600


def measure(api: ApiHost) -> None:
    """Ten minutes of two GPUs, whose fans cannot be read."""
    times = np.arange(SECONDS) + math.floor(time.time()) - SECONDS
    values = np.array([0.5 + 0.4 * np.sin(times / 30), 400 + 200 * np.sin(times / 30), np.full(SECONDS, np.nan)], "<f8").tobytes()
    stamps = (times * 1_000_000).astype("<i8").tobytes()
    columns = tuple(SampleColumns(f"gpu:{index}", "", METRICS, stamps, values) for index in range(2))
    devices = tuple(DeviceInfo(f"gpu:{index}", "gpu", "NVIDIA H200", f"GPU-{index}", 141 * 2**30) for index in range(2))
    api.profiler.samples.append(CLIENT, SampleBatch("0123456789abcdef", 1, columns, devices))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    with api_host(tmp_path_factory.mktemp("host")) as api:
        runs = with_runs(api, slots=2)
        for _ in range(3):
            api.train(runs[0])
        measure(api)
        yield api


@pytest.fixture
def visit(browser: Browser, api: ApiHost) -> Iterator[Open]:
    opened: list[Dashboard] = []

    def visitor(path: str, **options: object) -> Dashboard:
        made = Dashboard.open(browser, api.url, api.bearer["operator"], **options)
        opened.append(made)
        made.log_in(path)
        return made

    yield visitor
    for dashboard in opened:
        dashboard.page.context.close()
        dashboard.assert_quiet()


def plot_of(seen: Dashboard, metric: str) -> Locator:
    return seen.page.locator(f'[data-panel="{metric}"] .u-over')


def test_a_panel_is_zoomed_by_dragging_and_the_way_back_is_the_browsers(visit: Open) -> None:
    seen = visit("/profiler?refresh=off")
    page = seen.page
    plot = plot_of(seen, "gpu_utilization")
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 50, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(r"range=\d+[.\d]*(~|%7E)"))
    expect(page.get_by_role("button", name="Last 15 minutes")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("button", name="Last 15 minutes")).to_be_visible()
    page.get_by_role("button", name="Last 15 minutes").click()
    page.get_by_role("button", name="Last 6 hours").click()
    page.wait_for_url(re.compile("range=6h"))
    expect(plot).to_be_visible()


def test_a_line_alone_a_panel_alone_and_its_values_as_a_file(visit: Open) -> None:
    seen = visit("/profiler?refresh=off&panel=gpu_power")
    page = seen.page
    legend = page.get_by_role("button", name="left/gpu:1")
    legend.click()
    page.wait_for_url(re.compile("only=left"))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download Power").click()
        page.get_by_role("menuitem", name="Values as CSV").click()
    lines = saved.value.path().read_text().splitlines()
    assert lines[0].startswith("time,at,client,device")
    assert len(lines) > 100
    assert all(",gpu:1," in line for line in lines[1:])
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download Power").click()
        page.get_by_role("menuitem", name="Picture as PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    page.keyboard.press("Escape")
    fan = page.locator('[data-panel="gpu_fan"]')
    fan.scroll_into_view_if_needed()
    expect(fan).to_contain_text("n/a: no sensor here has an answer")


def test_a_chart_is_read_and_zoomed_by_keys(visit: Open) -> None:
    page = visit("/profiler?refresh=off").page
    chart = page.locator('[data-panel="gpu_power"] [role=application]')
    chart.focus()
    page.keyboard.press("End")
    reading = chart.get_by_role("status")
    expect(reading).to_contain_text(re.compile(r"left/gpu:0 \d+ W, left/gpu:1 \d+ W"))
    last = reading.inner_text()
    page.keyboard.press("Shift+ArrowLeft")
    expect(reading).not_to_have_text(last)
    page.keyboard.press("+")
    page.wait_for_url(re.compile(r"range=\d+[.\d]*(~|%7E)"))
    page.keyboard.press("Tab")
    expect(reading).to_be_empty()


def test_a_panel_fills_the_screen_until_escape(visit: Open) -> None:
    page = visit("/profiler?refresh=off").page
    page.get_by_role("button", name="Power over the whole screen").click()
    page.wait_for_function("document.fullscreenElement !== null")
    panel = page.locator('[data-panel="gpu_power"]')
    expect(panel).to_have_css("position", "fixed")
    expect(panel.locator(".u-over")).to_be_visible()
    box = panel.bounding_box()
    assert box is not None
    assert (box["x"], box["y"], box["width"]) == (0, 0, page.evaluate("window.innerWidth"))
    page.keyboard.press("Escape")
    page.wait_for_function("document.fullscreenElement === null")
    expect(page.locator('[data-panel="gpu_fan"]')).to_be_attached()


def test_a_host_that_is_away_takes_no_data_from_the_page(visit: Open) -> None:
    seen = visit("/profiler?refresh=1")
    page = seen.page
    expect(plot_of(seen, "gpu_power")).to_be_visible()
    place = page.locator('[data-panel="gpu_power"]').bounding_box()
    page.route(
        "**/api/v1/profiler/query*",
        lambda route: route.fulfill(status=503, json={"title": "the store is busy", "detail": "the store is busy"}),
    )
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("the store is busy")
    expect(notice).to_have_count(1)
    expect(plot_of(seen, "gpu_power")).to_be_visible()
    assert page.locator('[data-panel="gpu_power"]').bounding_box() == place
    page.unroute("**/api/v1/profiler/query*")
    expect(notice).to_have_count(0)


def test_a_run_that_is_over_can_be_chosen(visit: Open, api: ApiHost) -> None:
    for run in list(api.state.runs):
        if api.state.runs[run].state is RunState.RUNNING and api.state.runs[run].position > 0:
            while api.state.runs[run].position < api.state.runs[run].total_steps:
                api.train(run)
    over = next(run.id for run in api.state.runs.values() if run.state is RunState.COMPLETED)
    page = visit("/profiler?refresh=off").page
    page.get_by_role("button", name="Run all").click()
    page.get_by_role("checkbox", name=re.compile(rf"^{over}\b")).click()
    page.wait_for_url(re.compile(f"run={over}"))


def test_a_session_is_begun_looked_at_and_forgotten(visit: Open) -> None:
    page = visit("/profiler?view=sessions").page
    page.get_by_role("button", name="Start a session").click()
    page.get_by_label("Name").fill("night-1")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("link", name="night-1").click()
    expect(page.get_by_role("table", name="Runs of night-1")).to_be_visible()
    page.get_by_role("button", name="Stop night-1").click()
    expect(page.get_by_role("table", name="Sessions")).to_contain_text("stopped")
    page.get_by_role("button", name="Delete night-1").click()
    expect(page.get_by_role("link", name="night-1")).to_have_count(0)


def test_the_timeline_is_walked_over_with_keys_and_leads_to_the_run(visit: Open) -> None:
    seen = visit("/timeline?range=1h")
    page = seen.page
    slots = page.get_by_role("application")
    expect(slots).to_be_visible()
    slots.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_url(re.compile("chunk="))
    page.keyboard.press("Home")
    expect(page.get_by_role("region", name="Chunk of")).to_contain_text(re.compile(r"0 . 4"))
    for name in ("Loss", "Log", "Sensors"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    slots.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/runs/r"))


@pytest.mark.parametrize(
    ("path", "what"), [("/profiler", '[data-panel="gpu_power"] .u-over'), ("/timeline?range=1h", "[role=application]")]
)
def test_nobody_is_kept_out_and_a_phone_shows_it_whole(visit: Open, path: str, what: str) -> None:
    seen = visit(path, viewport={"width": 390, "height": 860})
    expect(seen.page.locator(what).first).to_be_visible()
    assert seen.overflow_px() <= 0
    assert seen.serious_faults() == []
