"""Events as JSON text ``{"type", "v", "data"}``. Old versions stay readable: ``UPGRADES`` brings them up one version at a time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from gswarm.domain.errors import CorruptDataError, IncompatibleVersionError, InvalidInputError
from gswarm.scheduler.events import Event

EVENT_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in get_args(Event)}

UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(type, version) -> what turns that version's data into the next version's."""


_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(cls) for name, cls in EVENT_TYPES.items()}


def encode(event: Event) -> str:
    """The event as one line of JSON."""
    name = type(event).__name__
    data = _ADAPTERS[name].dump_json(event, warnings=False).decode()
    return f'{{"type":"{name}","v":{event.VERSION},"data":{data}}}'


def decode(text: str) -> Event:
    """The event that ``text`` holds.

    Raises:
        CorruptDataError: the text is no event.
        IncompatibleVersionError: the type or its version is newer than this program.
    """
    name, version, data = _open(text)
    cls = EVENT_TYPES.get(name)
    if cls is None or version > cls.VERSION:
        raise IncompatibleVersionError(
            f"the journal holds an event {name} of version {version}, which this gswarm does not know",
            "start the gswarm version that wrote it, or a newer one",
        )
    while version < cls.VERSION:
        upgrade = UPGRADES.get((name, version))
        if upgrade is None:
            raise IncompatibleVersionError(
                f"this gswarm can no longer read events {name} of version {version}", "replay with an older release first"
            )
        data, version = upgrade(data), version + 1
    unknown = sorted(set(data) - {field.name for field in dataclasses.fields(cls)})
    if unknown:
        raise IncompatibleVersionError(
            f"the journal holds an event {name} with unknown fields {', '.join(unknown)}",
            "start the gswarm version that wrote it, or a newer one",
        )
    try:
        event: Event = _ADAPTERS[name].validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CorruptDataError(f"a journal entry {name} is damaged at {place}: {first['msg']}") from error
    return event


def _open(text: str) -> tuple[str, int, dict[str, Any]]:
    try:
        envelope = json.loads(text)
    except ValueError as error:
        raise CorruptDataError(f"a journal entry is no event: {text[:80]!r}") from error
    match envelope:
        case {"type": str(name), "v": int(version), "data": dict(data)}:
            return name, version, data
        case _:
            raise CorruptDataError(f"a journal entry is no event: {text[:80]!r}")


def canonical(event: Event) -> Event:
    """The event as it will be read back. The core is given this one, so that a replay sees what was decided on.

    Raises:
        InvalidInputError: the event would not survive the journal (a number that is not finite, a value of the wrong type).
    """
    try:
        return decode(encode(event))
    except (CorruptDataError, ValueError) as error:
        raise InvalidInputError(f"{type(event).__name__} cannot be journaled: {error}", "send finite numbers and plain values") from error
