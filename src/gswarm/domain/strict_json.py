"""JSON of strangers that everything behind can work with."""

from __future__ import annotations

import json
import re
from typing import Any

from gswarm.domain.errors import InvalidInputError

DEPTH_MAX = 64
INTEGER_DIGITS_MAX = 100
_PLAIN = re.compile(r'[^\[\]{}"]+')
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def load_json(data: str | bytes, *, with_gaps: bool = False) -> Any:
    """JSON that is not too deep and has no NaN, no infinity, no lone surrogate, no endless number and no key twice.

    Args:
        with_gaps: numbers that are not finite become ``None`` instead of a refusal.

    Raises:
        InvalidInputError: it is something else.
    """
    not_finite = _gap if with_gaps else _refuse_number
    try:
        text = data.decode() if isinstance(data, bytes) else data
        _check_depth(text)
        document = json.loads(
            text,
            parse_constant=not_finite,
            parse_int=_integer,
            parse_float=lambda digits: value if abs(value := float(digits)) != float("inf") else not_finite(digits),
            object_pairs_hook=_pairs,
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"this is not JSON: {error}", "send one valid document") from error
    if "\\u" in text or not text.isascii():
        check_text(document)
    return document


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = at = 0
    while at < len(text):
        if found := _PLAIN.match(text, at) or _STRING.match(text, at):
            at = found.end()
            continue
        if text[at] == '"':
            # A text without an end: the parser says so. Looking at its rest quote by quote would take for ever.
            return
        depth += 1 if text[at] in "[{" else -1
        if depth > DEPTH_MAX:
            raise InvalidInputError(f"the JSON is nested deeper than {DEPTH_MAX} levels", "nothing that is sent here needs that")
        at += 1


def check_text(value: Any) -> None:
    """Raises:
    InvalidInputError: a text in the document is no text: it has half of a character that has two halves.
    """
    match value:
        case str():
            if _SURROGATE.search(value):
                raise InvalidInputError("there is a lone surrogate, which is no character", "send valid Unicode")
        case dict():
            for key, item in value.items():
                check_text(key)
                check_text(item)
        case list():
            for item in value:
                check_text(item)
        case _:
            pass


def _gap(_digits: str) -> None:
    return None


def _refuse_number(digits: str) -> None:
    raise InvalidInputError(f"there is the number {digits[:40]}", "JSON knows finite numbers only")


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise InvalidInputError(f"there is a number of {len(digits)} digits", f"at most {INTEGER_DIGITS_MAX} are read")
    return int(digits)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise InvalidInputError("there is an object with a key twice", "leave one of them out")
    return document
