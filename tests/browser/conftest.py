"""A cluster of real processes that trains a tiny model, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from dashboard import ARGUMENTS, Dashboard
from playwright.sync_api import Browser, sync_playwright
from real_cluster import RealCluster

from gswarm.host.api.web import FOLDER


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert (FOLDER / "index.html").is_file(), "the dashboard is not built: make web"
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """One host, which keeps its port when it is started again, and two clients."""
    shared = RealCluster(tmp_path_factory.mktemp("watched"))
    try:
        shared.start_host()
        with shared.api() as host:
            shared.http_port = urlsplit(host.url).port or 0
        shared.start_client("left")
        shared.start_client("right")
        shared.wait_for_clients(2)
        yield shared
    finally:
        shared.close()


@pytest.fixture
def visit(browser: Browser, cluster: RealCluster) -> Iterator[Callable[..., Dashboard]]:
    """Opens the dashboard with a new operator's token, or another role's; at the end nobody may have complained."""
    opened: list[Dashboard] = []

    def visitor(role: str = "operator", **options: Any) -> Dashboard:
        with cluster.api() as host:
            token = str(host.create_token(role)["token"])
            made = Dashboard.open(browser, host.url, token, **options)
        opened.append(made)
        return made

    yield visitor
    for dashboard in opened:
        dashboard.page.context.close()
    for dashboard in opened:
        dashboard.assert_quiet()
