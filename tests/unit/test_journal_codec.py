"""Events as text: exact, versioned, and clear about what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gswarm.domain.errors import CorruptDataError, GswarmError, IncompatibleVersionError, InvalidInputError
from gswarm.domain.ids import ClientName, Digest, RequestId, RunId
from gswarm.domain.plan import Checkpoint, Failure
from gswarm.domain.spec import Choice, Distribution, ExperimentSpec, RunSpec, Search
from gswarm.host.event_text import describe
from gswarm.host.journal import codec
from gswarm.host.journal.codec import EVENT_TYPES, canonical, decode, encode
from gswarm.scheduler.events import ChunkCommitted, ChunkFailed, ChunkTrained, ClientLost, Event, ExperimentSubmitted

LOST = ClientLost(ClientName("a"), "silent")


def text_of(name: str = "ClientLost", version: int = 1, **data: Any) -> str:
    return json.dumps({"type": name, "v": version, "data": {"client": "a", "reason": "silent", **data}})


def test_the_form_on_disk_is_stable() -> None:
    assert encode(LOST) == '{"type":"ClientLost","v":1,"data":{"client":"a","reason":"silent"}}'
    assert decode(text_of()) == LOST


def strategy_of(cls: type[Event]) -> st.SearchStrategy[Event]:
    if cls is not ExperimentSubmitted:
        return st.from_type(cls)
    values = st.tuples(st.text(), st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
    together = st.lists(st.lists(values).map(tuple)).map(tuple)
    return st.builds(cls, spec=st.builds(ExperimentSpec, search=st.builds(Search, parameters=st.just(()), together=together)))


@pytest.mark.parametrize("cls", EVENT_TYPES.values())
@given(data=st.data())
def test_every_event_survives_the_way_to_disk_and_back(cls: type[Event], data: st.DataObject) -> None:
    event = data.draw(strategy_of(cls))
    try:
        there = canonical(event)
    except InvalidInputError:
        return
    assert canonical(there) == there
    assert encode(there) == encode(canonical(there))
    assert isinstance(describe(there), str)
    assert "\n" not in encode(there)


def test_values_of_a_search_space_come_back() -> None:
    search = Search(
        parameters=(("lr", Choice((1e-5, 1e-4))), ("rank", Distribution("int_uniform", 4, 32))), together=((("a", 1), ("b", "x")),)
    )
    base = RunSpec("m", "d", lora_target=("q", "v"))
    event = ExperimentSubmitted(RequestId("q"), ExperimentSpec("e", base, search), (base,), ((),))
    assert canonical(event) == event


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    kept = Checkpoint(Digest("0" * 64), 5, Digest("1" * 64), 10, (("eval_loss", value),))
    with pytest.raises(InvalidInputError, match="cannot be journaled"):
        canonical(ChunkCommitted(ClientName("a"), RunId("r1"), 1, kept))


def test_a_lone_surrogate_in_a_log_tail_is_refused_and_not_journaled() -> None:
    with pytest.raises(InvalidInputError):
        canonical(ChunkFailed(ClientName("a"), RunId("r1"), 1, Failure("x", "\ud800")))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", CorruptDataError, "no event"),
        ("[]", CorruptDataError, "no event"),
        ("{}", CorruptDataError, "no event"),
        (text_of("Nonsense"), IncompatibleVersionError, "Nonsense"),
        (text_of(version=2), IncompatibleVersionError, "version 2"),
        (text_of(version=0), IncompatibleVersionError, "no longer"),
        (text_of(extra=1), IncompatibleVersionError, "unknown fields extra"),
        (text_of(client=None), CorruptDataError, "client"),
        ('{"type":"ClientLost","v":"1","data":{}}', CorruptDataError, "no event"),
        ('{"type":"ClientLost","v":1,"data":[]}', CorruptDataError, "no event"),
        ('{"type":["x"],"v":1,"data":{}}', CorruptDataError, "no event"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, error: type[GswarmError], says: str) -> None:
    with pytest.raises(error, match=says):
        decode(text)


def test_an_old_version_is_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrades: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
        ("ClientLost", 1): lambda data: {**data, "why": data["reason"] + "!"},
        ("ClientLost", 2): lambda data: {"client": data["client"], "reason": data["why"].upper()},
    }
    monkeypatch.setattr(ClientLost, "VERSION", 3)
    monkeypatch.setattr(codec, "UPGRADES", upgrades)
    assert decode(text_of()) == ClientLost(ClientName("a"), "SILENT!")
    assert json.loads(encode(LOST))["v"] == 3
    assert decode(text_of(version=3)) == LOST


def test_lines_for_people() -> None:
    kept = Checkpoint(Digest("0" * 64), 40, Digest("1" * 64), 10, (("eval_loss", 1.23456), ("loss", 2.0)))
    assert describe(LOST) == "client a is gone: silent"
    assert describe(ChunkTrained(ClientName("a"), RunId("r1"), 1, 40)) == "r1: trained to step 40 on a"
    assert describe(ChunkCommitted(ClientName("a"), RunId("r1"), 1, kept)) == "r1: step 40 is committed, eval_loss 1.235"
