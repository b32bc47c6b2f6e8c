"""How every command prints: a table for people, one JSON document for programs, or bare ids."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from gswarm.domain.errors import ConflictError, GswarmError
from gswarm.domain.printable import printable

Json = dict[str, Any]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    QUIET = "quiet"


Output = Annotated[Format, typer.Option("--output", "-o", help="table for people, json for programs, quiet for ids only.")]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and the cell's text. Numbers stand at the right."""

    heading: str
    cell: Callable[[Json], str]
    right: bool = False


def column(heading: str, key: str) -> Column:
    return Column(heading, lambda row: text(row.get(key)))


def number(heading: str, key: str) -> Column:
    return Column(heading, lambda row: text(row.get(key)), right=True)


def text(value: object) -> str:
    """A value as a cell: floats with four significant digits, nothing as ``-``."""
    match value:
        case None:
            return "-"
        case str() | dict() | list() | tuple() if not value:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case dict():
            return " ".join(f"{clean(str(key))}={text(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(text(item) for item in value)
        case _:
            return clean(str(value))


def clean(text: str) -> str:
    """A name or message from anywhere on one line, without what would move the cursor, colour or reorder the terminal's text."""
    return printable(" ".join(text.splitlines()))


def put(line: str) -> None:
    """Prints a line with names or messages from anywhere in it."""
    print(clean(line), flush=True)


def duration(seconds: float | None) -> str:
    """``1h 02m``, ``3m 05s``, ``42s``, ``0.5s``."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def moment(at_s: float | None) -> str:
    return "-" if at_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))


def print_json(document: object) -> None:
    print(_exact(json.dumps(document, indent=2, ensure_ascii=False)))


def print_json_line(document: object) -> None:
    print(_exact(json.dumps(document, ensure_ascii=False)), flush=True)


def _exact(text: str) -> str:
    """The same document: what JSON allows but a terminal would obey stands as an escape."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")


def say(output: Format, line: str) -> None:
    """A sentence for people; the other formats stay bare."""
    if output is Format.TABLE:
        put(line)


def warn(line: str) -> None:
    print(clean(line), file=sys.stderr, flush=True)


def one_line(error: GswarmError) -> str:
    """What is wrong; what to do; what the state allows."""
    first, *others = [line.strip() for line in (error.message or error.code).splitlines()]
    message = " ".join([first, "; ".join(others)]) if first.endswith(":") else " ".join([first, *others])
    message = "; ".join(part for part in (message, error.hint) if part)
    if isinstance(error, ConflictError) and error.possible and not error.hint:
        message += f"; possible now: {', '.join(error.possible)}"
    return printable(" ".join(message.split()))


def show_rows(output: Format, rows: Sequence[Json], columns: Sequence[Column], *, key: str = "id", empty: str = "none") -> None:
    """A list of things. JSON gets the whole documents, quiet their ids."""
    match output:
        case Format.JSON:
            print_json(list(rows))
        case Format.QUIET:
            for row in rows:
                put(str(row[key]))
        case Format.TABLE if not rows:
            print(empty)
        case Format.TABLE:
            print_table(columns, [[clean(item.cell(row)) for item in columns] for row in rows])


def show_item(output: Format, item: Json, fields: Sequence[tuple[str, str]], *, key: str = "id") -> None:
    """One thing: names and values below each other."""
    match output:
        case Format.JSON:
            print_json(item)
        case Format.QUIET:
            put(str(item[key]))
        case Format.TABLE:
            width = max((len(name) for name, _ in fields), default=0)
            for name, value in fields:
                first, *rest = (value or "-").splitlines() or ["-"]
                put(f"{name:<{width}}  {first}")
                for line in rest:
                    put(f"{'':<{width}}  {line}")


def print_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    """With lines and colours on a terminal, aligned text elsewhere."""
    if sys.stdout.isatty():
        _print_rich(columns, cells)
        return
    widths = [max(len(item.heading), *(len(row[index]) for row in cells)) for index, item in enumerate(columns)]
    lines = [[clean(item.heading).upper() for item in columns], *cells]
    for line in lines:
        parts = [value.rjust(width) if item.right else value.ljust(width) for item, value, width in zip(columns, line, widths, strict=True)]
        print("  ".join(parts).rstrip())


def _print_rich(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for item in columns:
        table.add_column(Text(clean(item.heading)), justify="right" if item.right else "left", no_wrap=item.right)
    for row in cells:
        table.add_row(*(Text(value, style=STATE_STYLES.get(value, "")) for value in row))
    Console().print(table)


STATE_STYLES = {
    "running": "green",
    "active": "green",
    "ready": "green",
    "completed": "bold green",
    "done": "bold green",
    "queued": "cyan",
    "preparing": "cyan",
    "stopping": "yellow",
    "stopped": "yellow",
    "draining": "yellow",
    "pruned": "yellow",
    "failed": "bold red",
    "rejected": "bold red",
    "lost": "bold red",
    "deleted": "dim",
    "deleting": "dim",
}
