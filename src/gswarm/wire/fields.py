"""Checks of single fields, the same in both directions: what may not be received is not sent either.

Names, digests, numbers and lists are refused when they are out of bounds. Text for people is cut instead when it is
sent, so that a trainer's odd last words can never stop a report from going out.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.ids import Digest
from gswarm.domain.spec import RunSpec

NAME_CHARS_MAX = 256
URL_CHARS_MAX = 2048
TEXT_CHARS_MAX = 16 * 1024
LOG_TAIL_CHARS_MAX = 64 * 1024
JSON_BYTES_MAX = 3 * 1024 * 1024
SPEC_BYTES_MAX = 64 * 1024
SLOTS_MAX = 1024
HELD_MAX = 4096
PAIRS_MAX = 1024
HOLDERS_MAX = 4096
SIZES_MAX = 40_000
ROOTS_MAX = 100_000
ROWS_MAX = 65_536
LOG_LINES_MAX = 16_384
LOCATE_MAX = 16_384

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_SPEC = TypeAdapter(RunSpec)
_SPEC_KEYS = frozenset(spec_field.name for spec_field in dataclasses.fields(RunSpec))

T = TypeVar("T")
U = TypeVar("U")


def name(value: str, field: str, *, may_be_empty: bool = False, chars_max: int = NAME_CHARS_MAX) -> str:
    """A short identifier: printable, at most ``chars_max`` characters."""
    if not value and not may_be_empty:
        raise InvalidInputError(f"{field} is missing")
    if len(value) > chars_max:
        raise InvalidInputError(f"{field} has {len(value)} characters; at most {chars_max} are allowed")
    if not value.isprintable():
        raise InvalidInputError(f"{field} has characters that cannot be printed")
    return value


def clip(value: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """The beginning of a text for people, as valid Unicode."""
    return value[:chars_max].encode(errors="replace").decode()


def clip_tail(value: str, chars_max: int = LOG_TAIL_CHARS_MAX) -> str:
    """The end of a log, as valid Unicode."""
    return value[-chars_max:].encode(errors="replace").decode()


def text(value: str, field: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A received text for people."""
    if len(value) > chars_max:
        raise InvalidInputError(f"{field} has {len(value)} characters; at most {chars_max} are allowed")
    return value


def json_text(value: str, field: str) -> str:
    """JSON that its receiver parses; only the size is checked here."""
    if len(value) > JSON_BYTES_MAX or len(value.encode(errors="replace")) > JSON_BYTES_MAX:
        raise LimitError(f"{field} is larger than {JSON_BYTES_MAX >> 20} MiB", "split the experiment")
    return value


def finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise InvalidInputError(f"{field} is {value}; a finite number is needed")
    return value


def duration(value: float, field: str) -> float:
    """Seconds, not negative."""
    if finite(value, field) < 0:
        raise InvalidInputError(f"{field} is {value}; a duration is not negative")
    return value


def limited(items: Collection[T], field: str, count_max: int) -> Collection[T]:
    if len(items) > count_max:
        raise InvalidInputError(f"{field} has {len(items)} entries; at most {count_max} are allowed")
    return items


def each(items: Collection[T], field: str, count_max: int, convert: Callable[[T], U]) -> tuple[U, ...]:
    """All entries converted, if there are not too many."""
    return tuple(convert(item) for item in limited(items, field, count_max))


def names(items: Collection[str], field: str, count_max: int) -> tuple[str, ...]:
    return each(items, field, count_max, lambda item: name(item, field))


def digest_to_bytes(digest: Digest, field: str) -> bytes:
    if not _HEX_DIGEST.fullmatch(digest):
        raise InvalidInputError(f"{field} is not a digest: 64 lower-case hexadecimal digits are needed")
    return bytes.fromhex(digest)


def digest_from_bytes(data: bytes, field: str) -> Digest:
    if len(data) != 32:
        raise InvalidInputError(f"{field} has {len(data)} bytes; a digest has 32")
    return Digest(data.hex())


def spec_to_json(spec: RunSpec) -> bytes:
    """Every key in the order of ``RunSpec``: equal specs give equal bytes."""
    for spec_field in dataclasses.fields(spec):
        value = getattr(spec, spec_field.name)
        if isinstance(value, float):
            finite(value, f"spec.{spec_field.name}")
    try:
        data = _SPEC.dump_json(spec)
    except PydanticSerializationError as error:
        raise InvalidInputError(f"the run's spec cannot be sent: {error}") from None
    if len(data) > SPEC_BYTES_MAX:
        raise InvalidInputError(f"the run's spec has {len(data)} bytes; at most {SPEC_BYTES_MAX} are allowed")
    return data


def spec_from_json(data: bytes) -> RunSpec:
    """Raises:
    InvalidInputError: not JSON, an unknown key, a missing one or a value of another type.
    """
    if len(data) > SPEC_BYTES_MAX:
        raise InvalidInputError(f"spec_json has {len(data)} bytes; at most {SPEC_BYTES_MAX} are allowed")
    try:
        spec = _SPEC.validate_json(data, strict=True)
        unknown = sorted(json.loads(data).keys() - _SPEC_KEYS)
    except (ValidationError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"spec_json is not a run's configuration: {_first_line(error)}") from None
    if unknown:
        raise InvalidInputError(f"spec_json has unknown keys: {', '.join(unknown)[:200]}", "host and client must have the same version")
    for spec_field in dataclasses.fields(spec):
        value = getattr(spec, spec_field.name)
        if isinstance(value, float):
            finite(value, f"spec.{spec_field.name}")
    return spec


def total(counts: Iterable[int], field: str, count_max: int) -> None:
    """Limits what several lists hold together."""
    count = sum(counts)
    if count > count_max:
        raise InvalidInputError(f"{field} has {count} entries; at most {count_max} are allowed")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])[:100]}: {first['msg'][:200]}"
    return str(error)[:200]
