"""One JSON object a line for the messages of ``gswarm.training.protocol``; both ends of the socket use these functions.

This module imports no torch.
"""

from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from gswarm.domain.errors import CorruptDataError
from gswarm.training.protocol import TrainerCommand, TrainerEvent

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is refused; the largest message is a failure with its log tail."""

_COMMANDS: dict[str, TypeAdapter[Any]] = {cls.__name__: TypeAdapter(cls) for cls in get_args(TrainerCommand)}
_EVENTS: dict[str, TypeAdapter[Any]] = {cls.__name__: TypeAdapter(cls) for cls in get_args(TrainerEvent)}
_ALL = _COMMANDS | _EVENTS


def encode(message: TrainerCommand | TrainerEvent) -> bytes:
    """The message as one line, ending in a line feed. Floats must be finite."""
    name = type(message).__name__
    return json.dumps({"type": name, "body": _ALL[name].dump_python(message, mode="json")}, allow_nan=False).encode() + b"\n"


def decode_command(line: bytes) -> TrainerCommand:
    """Raises CorruptDataError when the line is no command."""
    command: TrainerCommand = _decode(line, _COMMANDS)
    return command


def decode_event(line: bytes) -> TrainerEvent:
    """Raises CorruptDataError when the line is no event."""
    event: TrainerEvent = _decode(line, _EVENTS)
    return event


def _decode(line: bytes, known: dict[str, TypeAdapter[Any]]) -> Any:
    if len(line) > MAX_LINE_BYTES:
        raise CorruptDataError(f"a message of {len(line)} bytes is longer than the limit of {MAX_LINE_BYTES}")
    try:
        envelope = json.loads(line)
        return known[envelope["type"]].validate_python(envelope["body"], strict=False)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptDataError(f"not a message of the trainer protocol: {line[:200]!r}", str(error).splitlines()[0]) from error
