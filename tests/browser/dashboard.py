"""A person in front of the dashboard: a real Chromium, and everything that it complained about."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
MOMENT_MS = 30_000
"""The most that one thing on the page may take; waiting ends as soon as it is there."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Dashboard:
    """One page in a profile of its own."""

    page: Page
    url: str
    token: str
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts, and what the content security policy held back."""
    elsewhere: list[str] = field(default_factory=list)
    """Addresses that are not the host's."""

    @classmethod
    def open(cls, browser: Browser, url: str, token: str, **options: Any) -> Dashboard:
        context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
        context.set_default_timeout(MOMENT_MS)
        expect.set_options(timeout=MOMENT_MS)
        made = cls(context.new_page(), url, token)
        made.page.on("console", made._heard)
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.on("request", made._requested)
        return made

    def _heard(self, message: ConsoleMessage) -> None:
        # Answers that are no success are told there, too; those are the page's business.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.elsewhere.append(request.url)

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def log_in(self, path: str = "/") -> None:
        self.go(path)
        self.give_token()

    def give_token(self) -> None:
        self.page.get_by_label("Token", exact=True).fill(self.token)
        self.page.get_by_role("button", name="Log in").click()
        self.wait_live()

    def wait_live(self) -> None:
        expect(self.page.get_by_test_id("link")).to_have_text("Live")

    def row(self, run: str) -> Locator:
        """The run's row in the table of runs."""
        return self.page.get_by_role("table", name="Runs", exact=True).locator(f'tr[data-row="{run}"]')

    def choose(self, *runs: str) -> None:
        """Exactly these rows are chosen afterwards."""
        for run in runs:
            expect(self.row(run)).to_be_visible()
        boxes = self.page.get_by_role("table", name="Runs", exact=True).get_by_role("checkbox", name=re.compile("^Choose r"))
        for box in boxes.all():
            box.set_checked((box.get_attribute("aria-label") or "").removeprefix("Choose ") in runs)

    def operation(self, name: str) -> Locator:
        return self.page.get_by_role("toolbar", name="Operations on runs").get_by_role("button", name=name)

    def strip(self, op: str, run: str) -> Locator:
        """The line about an operation, from its request to its effect."""
        return self.page.locator(f'[data-op="{op}"][data-run="{run}"]').first

    def serious_faults(self) -> list[str]:
        """What axe finds that keeps people out."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = self.page.evaluate(
            "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
        )
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {json.dumps([node['html'][:160] for node in one['nodes'][:4]])}" for one in serious]

    def overflow_px(self) -> int:
        """How much wider than the window the page is."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def cut_tables(self) -> list[str]:
        """Names of the tables that are wider than their place."""
        tables = "[...document.querySelectorAll('table')].filter(one => one.parentElement.scrollWidth > one.parentElement.clientWidth + 1)"
        return list(self.page.evaluate(f"{tables}.map(one => one.getAttribute('aria-label'))"))

    def cut_times(self) -> list[str]:
        """Dates with times that a table's column is too narrow for."""
        cells = "[...document.querySelectorAll('td')].filter(one => one.scrollWidth > one.clientWidth)"
        texts: list[str] = self.page.evaluate(f"{cells}.map(one => one.textContent)")
        return [text for text in texts if re.match(r"\d{4}-\d\d-\d\d \d\d:", text)]

    def assert_quiet(self) -> None:
        assert self.complaints == []
        assert self.elsewhere == []
