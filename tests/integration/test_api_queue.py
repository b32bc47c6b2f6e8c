"""What waits for a slot, as people are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_host import EXPERIMENT, ApiHost, api_host

from gswarm.domain.errors import InvalidInputError
from gswarm.sdk import Host


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as running:
        yield running


def waiting(host: Host, **params: object) -> dict[str, Any]:
    return dict(host._transport.call("GET", "/queue/runs", params=params))


def test_runs_wait_in_the_order_of_their_turns_since_and_why(api: ApiHost) -> None:
    with api.host() as host:
        host.submit(EXPERIMENT)
        api.join()
        api.prepare()
        urgent = host.submit({**EXPERIMENT, "experiment": "urgent", "resources": {"priority": 9}})["id"]
        api.prepare()
        answer = waiting(host)
        assert answer["total"] == len(answer["items"])
        assert [one["place"] for one in answer["items"]] == list(range(1, answer["total"] + 1))
        first = answer["items"][0]
        assert (first["experiment"], first["position"]) == (urgent, 0)
        assert first["since"] == host.run(first["run"])["created_at"]
        assert first["text"] == host.explain(first["run"])["text"]
        assert answer["items"][-1]["run"] == "r3"
        assert [one["run"] for one in waiting(host, limit=1)["items"]] == [first["run"]]
        assert waiting(host, limit=1)["total"] == answer["total"]
        with pytest.raises(InvalidInputError):
            waiting(host, limit=101)


def test_a_run_that_had_a_slot_waits_since_its_last_chunk_ended(api: ApiHost) -> None:
    with api.host() as host:
        host.submit(EXPERIMENT)
        api.join()
        api.prepare()
        for run in ("r1", "r2", "r3"):
            api.train(run)
        trained = [one for one in waiting(host)["items"] if one["position"] > 0]
        assert trained
        for one in trained:
            assert one["since"] is not None
            assert one["since"] >= host.run(one["run"])["created_at"]
            assert one["since"] in [chunk.ended_s for chunk in api.profiler.chronicle.chunks(0, 1e12, 100) if chunk.run == one["run"]]
