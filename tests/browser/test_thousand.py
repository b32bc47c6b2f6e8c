"""A thousand GPUs on the overview and on the timeline: all there, and they answer. How fast is measured by benchmarks/dashboard.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from api_host import ApiHost, api_host
from big_cluster import CLIENTS, GPUS, fill_timeline, join_gpus, measure_gpus
from dashboard import Dashboard
from playwright.sync_api import Browser, expect

from gswarm.domain.ids import ClientName

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiHost, list[ClientName]]]:
    with api_host(tmp_path_factory.mktemp("big")) as api:
        names = join_gpus(api)
        fill_timeline(api, names)
        yield api, names


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 860)])
def test_the_overview_shows_all_of_them_and_answers(
    browser: Browser, big: tuple[ApiHost, list[ClientName]], width: int, height: int
) -> None:
    api, names = big
    measure_gpus(api, names, seq=width)
    seen = Dashboard.open(browser, api.url, api.bearer["operator"], viewport={"width": width, "height": height})
    seen.log_in("/")
    page = seen.page
    heat = page.get_by_role("application", name=re.compile(r"^Utilisation of 1,000 GPUs"))
    expect(heat).to_be_visible()
    expect(page.get_by_text(f"{CLIENTS} clients ready")).to_be_visible()
    heat.focus()
    page.keyboard.press("End")
    status = page.get_by_role("region", name="GPUs").get_by_role("status")
    expect(status).to_contain_text(f"node-124 gpu:{GPUS - 1}")
    expect(status).to_contain_text("trains r")
    alerts = page.get_by_role("region", name="Alerts").bounding_box()
    place = heat.bounding_box()
    assert alerts is not None
    assert place is not None
    assert alerts["y"] < place["y"] or alerts["x"] > place["x"] + place["width"], "alerts are below the map"
    assert seen.overflow_px() <= 0
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/clients/node-124"))
    page.context.close()
    seen.assert_quiet()


def test_the_timeline_shows_all_slots(browser: Browser, big: tuple[ApiHost, list[ClientName]]) -> None:
    api, _names = big
    seen = Dashboard.open(browser, api.url, api.bearer["operator"])
    seen.log_in("/timeline?range=1h")
    slots = seen.page.get_by_role("application")
    expect(slots).to_be_visible()
    slots.focus()
    seen.page.keyboard.press("ArrowDown")
    seen.page.wait_for_url(re.compile("chunk="))
    seen.page.context.close()
    seen.assert_quiet()
