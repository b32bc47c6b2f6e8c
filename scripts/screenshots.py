"""Pictures of every page of the dashboard for docs/dashboard.md, of a cluster that runs: first ``make demo KEEP=1``.

``python scripts/screenshots.py [DATA_DIR]``, the demo's ``.demo`` by default. Takes Debian's Chromium.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "browser"))

from dashboard import ARGUMENTS, Dashboard

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGES = {
    "overview": "/",
    "experiments": "/experiments",
    "experiment": "/experiments/e1",
    "timeline": "/timeline?range=5m",
    "profiler": "/profiler?range=5m",
    "run": "/runs/r6",
    "clients": "/clients",
    "client": "/clients/left",
    "pool": "/pool",
    "logs": "/logs?run=r6",
    "events": "/events",
    "settings": "/settings",
}
HEIGHT_MAX_PX = 1500
SETTLED_MS = 2500
"""Until charts are drawn; there is nothing else to wait for."""


def take(page: Page, name: str) -> None:
    page.wait_for_timeout(SETTLED_MS)
    height = min(HEIGHT_MAX_PX, page.evaluate("document.documentElement.scrollHeight"))
    path = IMAGES / f"dashboard-{name}.png"
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1280, "height": height}, full_page=True)
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size >> 10} KiB")  # noqa: T201 - the command's answer


def main() -> int:
    host = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo") / "host"
    url = json.loads((host / "endpoint.json").read_text(encoding="utf-8"))["http_url"]
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        dashboard = Dashboard.open(browser, url, (host / "admin.token").read_text(encoding="utf-8").strip(), color_scheme="light")
        dashboard.go("/")
        expect(dashboard.page.get_by_label("Token", exact=True)).to_be_visible()
        take(dashboard.page, "login")
        dashboard.give_token()
        for name, path in PAGES.items():
            dashboard.go(path)
            dashboard.wait_live()
            take(dashboard.page, name)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
