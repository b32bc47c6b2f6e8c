"""The dashboard's files as the host serves them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_host import ApiHost, api_host

from gswarm.domain.config import HostConfig
from gswarm.host.api import web
from gswarm.host.api.problem import PAGE_POLICY


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``make web`` leaves it, with things beside it that are no part of the page."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "assets" / "index-1a2b.js").write_text("let gswarm = 1;" * 100)
    (folder / "assets" / "inter-3c4d.woff2").write_bytes(b"wOF2")
    (folder / "assets" / "notes.txt").write_text("not served")
    (folder / "secret.js").write_text("not served")
    return folder


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Iterator[ApiHost]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web.Dashboard.__init__, "__defaults__", (built,))
        with api_host(tmp_path_factory.mktemp("host"), HostConfig(http_port=0)) as running:
            yield running


@pytest.mark.parametrize("path", [path.replace("{name}", "zz") for path in web.PAGES])
def test_every_page_is_the_same_document_under_the_strict_policy(api: ApiHost, path: str) -> None:
    answer = httpx.get(api.url + path)
    assert (answer.status_code, answer.text) == (200, "<!doctype html><title>the page</title>")
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert "data:" not in PAGE_POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_assets_are_kept_by_browsers_and_squeezed_for_those_that_can(api: ApiHost) -> None:
    plain = httpx.get(f"{api.url}/assets/index-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert plain.headers["content-type"].startswith("text/javascript")
    assert "immutable" in plain.headers["cache-control"]
    with httpx.stream("GET", f"{api.url}/assets/index-1a2b.js", headers={"Accept-Encoding": "gzip"}) as squeezed:
        raw = b"".join(squeezed.iter_raw())
    assert squeezed.headers["content-encoding"] == "gzip"
    assert len(raw) < len(plain.content)
    assert gzip.decompress(raw) == plain.content
    assert httpx.get(f"{api.url}/assets/inter-3c4d.woff2").headers["content-type"] == "font/woff2"


@pytest.mark.parametrize("name", ["notes.txt", "missing.js", "..%2Fsecret.js", "..%2findex.html", "%2e%2e%2fsecret.js"])
def test_nothing_else_is_served(api: ApiHost, name: str) -> None:
    answer = httpx.get(f"{api.url}/assets/{name}")
    assert answer.status_code in (401, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_browser_at_a_wrong_address_gets_the_page_and_programs_a_problem(api: ApiHost) -> None:
    seen = httpx.get(f"{api.url}/nowhere", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (seen.status_code, seen.text) == (404, "<!doctype html><title>the page</title>")
    assert seen.headers["content-security-policy"] == PAGE_POLICY
    for path, accept in (("/nowhere", "*/*"), ("/api/v1/nowhere", "text/html")):
        assert httpx.get(api.url + path, headers={"Accept": accept}).status_code == 401
    assert httpx.post(f"{api.url}/nowhere", headers={"Accept": "text/html"}).status_code == 401


def test_a_host_without_the_build_says_how_to_make_it(tmp_path: Path) -> None:
    dashboard = web.Dashboard(tmp_path)
    assert "make web" in dashboard._page


def test_a_folder_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: Path) -> None:
    monkeypatch.setattr(web, "TOTAL_BYTES_MAX", 1503)
    with pytest.raises(ValueError, match="1503"):
        web.Dashboard(built)
    monkeypatch.setattr(web, "TOTAL_BYTES_MAX", 1504)
    web.Dashboard(built)
