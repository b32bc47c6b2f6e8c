"""What people type behind ``gswarm profiler``: names of sessions, metrics and clients, times between samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from gswarm.cli.output import warn
from gswarm.cli.token import parse_duration
from gswarm.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from gswarm.sdk import Host

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MILLISECONDS = re.compile(r"(\d+(?:\.\d+)?)ms")


def session_name(text: str) -> str:
    """The same. Raises InvalidInputError where no session can be called so."""
    if _NAME.fullmatch(text) is None:
        raise InvalidInputError(
            f"no session can be called {text[:80]!r}",
            "up to 64 letters, digits, '.', '_' and '-' are a name, the first a letter or a digit",
        )
    return text


def interval_s(text: str) -> float:
    """Seconds of a duration, ``100ms`` too. Raises InvalidInputError."""
    milliseconds = _MILLISECONDS.fullmatch(text.strip())
    try:
        return float(milliseconds[1]) / 1000 if milliseconds is not None else parse_duration(text)
    except InvalidInputError as error:
        raise InvalidInputError(error.message, "write 100ms, 500ms or 1s") from error


def separate(texts: Sequence[str] | None) -> list[str]:
    """The names of an option that may repeat and take commas, each once."""
    parts = (part.strip() for text in texts or () for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def metrics(host: Host, texts: Sequence[str] | None) -> dict[str, float | None]:
    """Those that were named, and the interval of each that was named as ``M=100ms``. Raises InvalidInputError for one that is not there."""
    asked = {name: interval_s(text) if equals else None for name, equals, text in (one.partition("=") for one in separate(texts))}
    known = [metric["name"] for metric in host.profiler_metrics()] if asked else []
    for name in asked:
        if name not in known:
            close = [f"did you mean {other}?" for other in get_close_matches(name, known, 1)]
            raise InvalidInputError(f"there is no metric {name[:80]!r}", " ".join([*close, "'gswarm profiler metrics' lists them"]))
    return asked


def warn_of_strangers(host: Host, clients: Sequence[str]) -> None:
    """On stderr, of clients that the host does not know: they may yet come."""
    known = {client["name"] for client in host.clients()} if clients else set()
    for name in clients:
        if name not in known:
            warn(f"no client is called {name[:80]}; it is measured if it comes. 'gswarm client list' shows who is there")
