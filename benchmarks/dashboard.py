"""How fast the dashboard is in a real Chromium: an experiment of 200 runs x 10,000 points, the overview of 1,000 GPUs, and the
timeline of 1,000 slots, pointed at, zoomed, moved and scrolled.

    python benchmarks/dashboard.py [--runs 200] [--points 10000] [--json]

The host is the real one with pretended clients; it and the browser share this machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "integration"), str(TESTS / "training"), str(TESTS / "browser")]

import api_host as pretended  # noqa: E402  the folders of the tests must be known before
from big_cluster import fill_timeline, join_gpus, measure_gpus  # noqa: E402
from dashboard import ARGUMENTS, Dashboard  # noqa: E402

from gswarm.domain.ids import ClientName, RunId  # noqa: E402
from gswarm.domain.messages import StepMetrics  # noqa: E402

FRAMES = """() => {
  const watch = { on: true, frames: 0, began: performance.now() };
  window.watchedFrames = watch;
  const next = () => { watch.frames += 1; if (watch.on) requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""
RATE = "() => { const w = window.watchedFrames; w.on = false; return w.frames * 1000 / (performance.now() - w.began); }"


@dataclass(frozen=True, slots=True)
class Result:
    metric: str
    value: float
    unit: str
    target: str
    ok: bool


def prepare(api: pretended.ApiHost, runs: int, points: int) -> str:
    """An experiment whose runs have trained to the end; its id."""
    document = dict(pretended.EXPERIMENT)
    document["search"] = {"parameters": {"learning_rate": {"values": [1e-5 * 1.01**index for index in range(runs)]}}}
    pretended.TOTAL_STEPS = points
    with api.host() as host:
        experiment = host.submit(document)["id"]
        api.join(8)
        api.prepare()
        ids = [run["id"] for run in host.experiment_runs(experiment)]
    noise = random.Random(1)
    for index, run in enumerate(ids):
        decay = points * (0.15 + 0.01 * (index % 17))
        rows = range(1, points + 1)
        api.series.append(
            [
                StepMetrics(RunId(run), 1, step, 1.7e9 + step, (("loss", 1 + 2 * math.exp(-step / decay) + noise.gauss(0, 0.05)),))
                for step in rows
            ]
        )
    for _ in range(4):
        for slot in list(api.state.slots.values()):
            if slot.queue:
                api._commit(api.state.runs[slot.queue[0][0]], 2.0)
    return str(experiment)


def rate(page: Page, act: Callable[[], None]) -> float:
    """Frames a second while it is done."""
    page.evaluate(FRAMES)
    act()
    return round(float(page.evaluate(RATE)), 1)


def measure(seen: Dashboard, path: str, runs: int) -> list[Result]:
    page = seen.page
    seen.log_in(path)
    began_s = time.perf_counter()
    paint_s, chart_s = opened(seen, path, page.locator(".u-over").first)
    page.get_by_role("img", name=f"loss of {runs} runs by step", exact=True).wait_for()
    all_s = round(time.perf_counter() - began_s, 2)
    left, top = corner(page.locator(".u-over").first)

    def point() -> None:
        for index in range(150):
            page.mouse.move(left + 10 + index * 2.5, top + 40 + index % 60)

    def zoom() -> None:
        page.mouse.move(left + 60, top + 80)
        page.mouse.down()
        page.mouse.move(left + 300, top + 90, steps=60)
        page.mouse.up()

    rates = {"pointing at lines": point, "dragging a zoom": zoom, "scrolling": lambda: scroll(page)}
    return [
        Result("first paint", paint_s, "s", "< 2", paint_s < 2),
        Result("first curves", chart_s, "s", "< 2", chart_s < 2),
        Result("all curves", all_s, "s", "", True),
        *rated(page, "", rates),
    ]


def opened(seen: Dashboard, path: str, what: Locator) -> tuple[float, float]:
    """Seconds from the address to the first paint, and until ``what`` is there."""
    began_s = time.perf_counter()
    seen.page.goto(seen.url + path, wait_until="commit")
    what.wait_for()
    there_s = round(time.perf_counter() - began_s, 2)
    paint_s = round(float(seen.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")) / 1000, 2)
    return paint_s, there_s


def corner(what: Locator) -> tuple[float, float]:
    box = what.bounding_box()
    assert box is not None
    return box["x"], box["y"]


def scroll(page: Page) -> None:
    for _ in range(60):
        page.mouse.wheel(0, 60)
        page.evaluate("() => new Promise(requestAnimationFrame)")


def rated(page: Page, prefix: str, acts: dict[str, Callable[[], None]]) -> Iterator[Result]:
    for name, act in acts.items():
        found = rate(page, act)
        yield Result(prefix + name, found, "frames/s", ">= 30", found >= 30)


@contextmanager
def measured(api: pretended.ApiHost, names: list[ClientName]) -> Iterator[None]:
    """The clients send what their GPUs measure, as clients do."""
    over = threading.Event()

    def send() -> None:
        seq = 1
        while not over.wait(5):
            seq += 1
            measure_gpus(api, names, seq)

    measure_gpus(api, names, 1)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def measure_overview(seen: Dashboard) -> list[Result]:
    page = seen.page
    seen.log_in("/")
    heat = page.locator("canvas[aria-label^='Utilisation of 1,000 GPUs']")
    paint_s, heat_s = opened(seen, "/", heat)
    left, top = corner(heat)

    def point() -> None:
        for index in range(150):
            page.mouse.move(left + 5 + index * 3, top + 20 + index)

    return [
        Result("1,000 GPUs: first paint", paint_s, "s", "< 2", paint_s < 2),
        Result("1,000 GPUs: heat map", heat_s, "s", "< 2", heat_s < 2),
        *rated(page, "1,000 GPUs: ", {"pointing at cells": point, "scrolling": lambda: scroll(page)}),
    ]


def measure_timeline(seen: Dashboard, chunks: int) -> list[Result]:
    page = seen.page
    seen.log_in("/timeline?range=1h")
    slots = page.locator("canvas[role=application]")
    paint_s, bars_s = opened(seen, "/timeline?range=1h", slots)
    left, top = corner(slots)

    def pan() -> None:
        page.mouse.move(left + 700, top + 100)
        page.mouse.down()
        page.mouse.move(left + 400, top + 110, steps=60)
        page.mouse.up()

    def zoom() -> None:
        page.keyboard.down("Control")
        for index in range(60):
            page.mouse.wheel(0, -20 if index < 30 else 20)
            page.evaluate("() => new Promise(requestAnimationFrame)")
        page.keyboard.up("Control")

    prefix = f"timeline of 1,000 slots, {chunks:,} chunks: "
    return [
        Result(f"{prefix}first paint", paint_s, "s", "< 2", paint_s < 2),
        Result(f"{prefix}chunks", bars_s, "s", "< 2", bars_s < 2),
        *rated(page, prefix, {"moving": pan, "zooming": zoom, "scrolling": lambda: scroll(page)}),
    ]


def measure_thousand(browser: Browser, folder: Path) -> list[Result]:
    with pretended.api_host(folder) as api:
        names = join_gpus(api)
        chunks = fill_timeline(api, names)
        with measured(api, names):
            overview = measure_overview(Dashboard.open(browser, api.url, api.bearer["operator"]))
            return [*overview, *measure_timeline(Dashboard.open(browser, api.url, api.bearer["operator"]), chunks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("error: there is no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        options: dict[str, Any] = {"executable_path": chromium, "args": list(ARGUMENTS)}
        browser = playwright.chromium.launch(**options)
        (Path(folder) / "thousand").mkdir()
        results = measure_thousand(browser, Path(folder) / "thousand")
        (Path(folder) / "runs").mkdir()
        with pretended.api_host(Path(folder) / "runs") as api:
            experiment = prepare(api, args.runs, args.points)
            results += measure(Dashboard.open(browser, api.url, api.bearer["operator"]), f"/experiments/{experiment}", args.runs)
        browser.close()
    if args.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    for result in results:
        print(f"{result.metric:56} {result.value:>12} {result.unit:12} {result.target:8} {'ok' if result.ok else 'MISSED'}")


if __name__ == "__main__":
    main()
