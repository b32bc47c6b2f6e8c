"""Every route with whatever the OpenAPI document allows and forbids: never an error of the host's own, always a problem document.

``make fuzz`` asks more often (``GSWARM_FUZZ_EXAMPLES`` a route and mode) from another seed, and forbidden things of every route; here
these come from the lists of ``test_api_hostile.py``, because to find what breaks a schema takes Hypothesis much longer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from api_host import ApiHost, api_host, with_runs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics
from gswarm.host.api.app import PREFIX, ROUTES, ApiRoute

EXAMPLES = int(os.environ.get("GSWARM_FUZZ_EXAMPLES", "4"))
IS_LONG = "GSWARM_FUZZ_EXAMPLES" in os.environ
SEED = int(os.environ.get("GSWARM_FUZZ_SEED", "0"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHost]:
    with api_host(tmp_path_factory.mktemp("fuzz")) as running:
        for run in with_runs(running, slots=2)[:2]:
            running.train(run)
            running.series.append([StepMetrics(RunId(run), 1, 1, 1.0, (("loss", 1.0),))])
        yield running


@pytest.fixture(scope="module")
def schema(api: ApiHost) -> Any:
    answer = requests.get(f"{api.url}/openapi.json", headers=authorization(api), timeout=10)
    return schemathesis.openapi.from_dict(answer.json())


def authorization(api: ApiHost) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.bearer['admin']}"}


def check(answer: requests.Response) -> None:
    """No answer of the host's own failure, and every refusal explains itself."""
    said = f"{answer.request.method} {answer.request.url} {answer.request.body!r}: {answer.status_code}"
    assert answer.status_code < 500, said
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        answer.close()
        return
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", said
        assert answer.json()["status"] == answer.status_code, said
    assert answer.headers["x-content-type-options"] == "nosniff", said


WITH_BODY = ("/tokens", "/runs/{run}/clone", "/runs/{run}/export", "/auth/login")
CASES = [
    pytest.param(route, mode, id=f"{route.method} {route.path} {mode.value}")
    for route in ROUTES
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or IS_LONG or (route.method == "POST" and route.path in WITH_BODY)
]


@pytest.mark.parametrize(("route", "mode"), CASES)
def test_no_request_makes_the_host_fail(api: ApiHost, schema: Any, route: ApiRoute, mode: GenerationMode) -> None:
    operation = schema[(PREFIX + route.path).replace(":path", "")][route.method]
    with requests.Session() as session:

        @seed(SEED)
        @FUZZ
        @given(operation.as_strategy(generation_mode=mode), st.sampled_from(["r1", "e1", "left", "j1", None]))
        def never_fails(case: schemathesis.Case, known: str | None) -> None:
            if known is not None:
                case.path_parameters = dict.fromkeys(case.path_parameters or {}, known)
            options = case.as_transport_kwargs(base_url=api.url, headers=authorization(api))
            check(session.request(**options, timeout=20, stream=True))

        with contextlib.suppress(*((Unsatisfiable,) if mode is GenerationMode.NEGATIVE else ())):  # nothing to be wrong about
            never_fails()
    assert not api.plan.failed.done()


def test_the_host_is_whole_afterwards(api: ApiHost) -> None:
    """Runs behind the others: what all of that left in the plan can be shown, and replayed."""
    for path in ("runs?limit=1000", "experiments", "clients", "queue", "tokens", "audit", "audit?kind=refusals", "experiments/e1/timeline"):
        answer = requests.get(f"{api.url}{PREFIX}/{path}", headers=authorization(api), timeout=20)
        assert answer.status_code == 200, answer.text
