"""What the API says about the data pool: totals by kind, manifests in pages, refused transfers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs

from gswarm.datapool.manifest import Entry, Manifest, save_manifest
from gswarm.domain.errors import ForbiddenError
from gswarm.domain.ids import Digest, JobId
from gswarm.host.api.pool_overview import REFUSED_SHOWN_MAX


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as api:
        yield api


def get(api: ApiHost, path: str, **query: Any) -> Any:
    answer = httpx.get(f"{api.url}/api/v1/{path}", params=query, headers={"Authorization": f"Bearer {api.bearer['viewer']}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def exported(api: ApiHost, run: str, manifest: Digest) -> None:
    with api.host() as host:
        job = host.export_run(run)["id"]
    api.finish_job(JobId(job), json.dumps({"manifest": manifest}))


def test_totals_and_manifests_name_what_the_plan_refers_to(api: ApiHost) -> None:
    assert [total["manifests"] for total in get(api, "pool")["totals"]] == [0, 0, 0, 0]
    run = with_runs(api)[0]
    api.train(run)
    with api.store.ingest() as ingest:
        ingest.write(b"weights")
        blob = ingest.commit()
    manifest = save_manifest(api.store, Manifest("export", (Entry("a.bin", blob, 7), Entry("b.bin", blob, 7))))
    exported(api, run, manifest)
    totals = {total["kind"]: total for total in get(api, "pool")["totals"]}
    assert totals["base"] == {"kind": "base", "manifests": 1, "size_bytes": 0, "unknown": 1}
    assert totals["checkpoint"]["manifests"] >= 1
    assert totals["checkpoint"]["size_bytes"] == 1000 * totals["checkpoint"]["manifests"]
    assert totals["export"] == {"kind": "export", "manifests": 1, "size_bytes": 14, "unknown": 0}
    found = {item["manifest"]: item for item in get(api, "pool/manifests")["items"]}
    assert (found["a" * 64]["kind"], found["a" * 64]["holders"], found["a" * 64]["runs"]) == ("base", [], 3)
    assert (found[manifest]["run"], found[manifest]["holders"]) == (run, ["host"])
    checkpoint = next(item for item in found.values() if item["kind"] == "checkpoint")
    assert (checkpoint["step"], checkpoint["size_bytes"], checkpoint["holders"]) == (4, 1000, ["host"])


def test_an_export_of_a_journal_of_before_that_names_no_digest_shuts_no_page(api: ApiHost) -> None:
    run = with_runs(api)[0]
    api.train(run)
    exported(api, run, Digest("../../x"))
    assert {total["kind"]: total["manifests"] for total in get(api, "pool")["totals"]}["export"] == 0
    assert get(api, "pool/manifests", kind="export")["items"] == []


def test_manifests_come_in_pages_and_by_kind(api: ApiHost) -> None:
    api.train(with_runs(api)[0])
    everything = get(api, "pool/manifests")["items"]
    first = get(api, "pool/manifests", limit=2)
    rest = get(api, "pool/manifests", limit=100, cursor=first["next_cursor"])
    assert first["items"] + rest["items"] == everything
    assert rest["next_cursor"] is None
    assert {item["kind"] for item in get(api, "pool/manifests", kind="data")["items"]} == {"data"}


def test_a_damaged_manifest_has_no_size(api: ApiHost) -> None:
    run = with_runs(api)[0]
    api.train(run)
    with api.store.ingest() as ingest:
        ingest.write(b"this is no manifest")
        blob = ingest.commit()
    exported(api, run, blob)
    (item,) = get(api, "pool/manifests", kind="export")["items"]
    assert (item["size_bytes"], item["holders"]) == (None, ["host"])


def test_refused_transfers_are_listed_the_newest_first_and_bounded(api: ApiHost) -> None:
    async def refuse(number: int) -> None:
        with pytest.raises(ForbiddenError):
            await api.rights.check_fetch(CLIENT, Digest(f"{number:064x}"))

    for number in range(REFUSED_SHOWN_MAX + 1):
        api.call(refuse(number))
    pool = get(api, "pool")
    assert pool["refused_transfers"] == REFUSED_SHOWN_MAX + 1
    assert len(pool["refused"]) == REFUSED_SHOWN_MAX
    assert pool["refused"][0]["digest"] == f"{REFUSED_SHOWN_MAX:064x}"
    assert (pool["refused"][0]["client"], pool["refused"][0]["action"]) == (CLIENT, "fetch")
