"""Lists in pages: ``limit`` items after ``cursor``, which is opaque to callers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from gswarm.domain.errors import InvalidInputError

LIMIT_MAX = 1000

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Most items of one page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="``next_cursor`` of the page before.")]

T = TypeVar("T")


def page(items: Sequence[T], key: Callable[[T], str], limit: int, cursor: str | None) -> tuple[Sequence[T], str | None]:
    """The items after ``cursor`` and the cursor of the page behind them, ``None`` at the end.

    Raises:
        InvalidInputError: no item has that cursor.
    """
    start = 0
    if cursor is not None:
        start = next((index + 1 for index, item in enumerate(items) if key(item) == cursor), -1)
        if start < 0:
            raise InvalidInputError(f"the cursor {cursor!r} is not of this list", "start again without a cursor")
    chosen = items[start : start + limit]
    return chosen, key(chosen[-1]) if chosen and start + limit < len(items) else None


def before(cursor: str | None) -> int | None:
    """What stands in the cursor of a list whose items have growing numbers, the newest first.

    Raises:
        InvalidInputError: it is no number.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise InvalidInputError(f"the cursor {cursor!r} is not of this list", "start again without a cursor")
    return int(cursor)
