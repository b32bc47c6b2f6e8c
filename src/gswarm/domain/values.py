"""Reading single values of files, variables and flags: what a key accepts, and problems collected instead of the first one raised."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, assert_never

from gswarm.domain.errors import InvalidInputError

MAX_TEXT_CHARS = 4096
MAX_LIST_ITEMS = 1024
MAX_PROBLEMS_SHOWN = 20
MAX_PAIRS = 32
MAX_PAIR_CHARS = 255
NAME_RULE = "1 to 63 letters, digits, dots, dashes and underscores, beginning with a letter or a digit"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")
_MAX_NUMBER_CHARS = 64
_MAX_SHOWN_CHARS = 60
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
_NULLS = ("null", "none", "~")


class Kind(StrEnum):
    INT = "integer"
    FLOAT = "number"
    BOOL = "true or false"
    TEXT = "text"
    TEXTS = "list of text"
    PAIRS = "mapping of text to text"


@dataclass(frozen=True, slots=True)
class Key:
    """What one key accepts. Its default is the default of the dataclass field of that name.

    ``low`` and ``high`` are inclusive, ``above`` and ``below`` exclusive. ``nothing`` lists values that mean "not set" on an optional
    key beside null. ``hints`` answers values that people try but that do not exist. ``available`` are the values that this version
    carries out (empty: all of them); ``instead`` says what to do about the others.
    """

    name: str
    kind: Kind
    about: str
    unit: str = ""
    optional: bool = False
    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    enum: type[StrEnum] | None = None
    may_be_empty: bool = False
    nothing: tuple[str | int, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()
    available: tuple[Any, ...] = ()
    instead: str = ""

    @property
    def allowed(self) -> tuple[str, ...]:
        """The texts it may be; empty where any text is fine."""
        return tuple(member.value for member in self.enum) if self.enum else self.choices


class Problems:
    """What is wrong with a file, collected so that a person can correct all of it at once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, path: str, message: str) -> None:
        self._lines.append(f"{path}: {message}")

    def add_error(self, path: str, error: InvalidInputError) -> None:
        self.add(path, str(error))

    @property
    def is_full(self) -> bool:
        """No further problem will be shown, so its message need not be worked out."""
        return len(self._lines) >= MAX_PROBLEMS_SHOWN

    def __len__(self) -> int:
        return len(self._lines)

    def raise_if_any(self) -> None:
        """Raises:
        InvalidInputError: listing the problems, the first 20 of them if there are more.
        """
        if not self._lines:
            return
        if len(self._lines) == 1:
            raise InvalidInputError(self._lines[0])
        shown = self._lines[:MAX_PROBLEMS_SHOWN]
        hidden = len(self._lines) - len(shown)
        more = [f"... and {hidden} more"] if hidden else []
        raise InvalidInputError("\n  ".join([f"{len(self._lines)} problems:", *shown, *more]))


def read_value(key: Key, raw: object) -> Any:
    """The value in canonical form; text is accepted where it says exactly one value of the kind.

    Raises:
        InvalidInputError: what is wrong, without the key's path.
    """
    if is_nothing(key, raw):
        value: Any = None
    else:
        match key.kind:
            case Kind.INT:
                value = _read_int(key, raw)
            case Kind.FLOAT:
                value = _read_float(key, raw)
            case Kind.BOOL:
                value = _read_bool(raw)
            case Kind.TEXT:
                value = _read_choice(key, _read_text(raw))
            case Kind.TEXTS:
                value = _read_texts(key, raw)
            case Kind.PAIRS:
                value = _read_pairs(raw)
            case _:
                assert_never(key.kind)
    if key.available and value not in key.available:
        raise InvalidInputError(f"{show(raw)} is not available in this version of gswarm", key.instead)
    return value


def read_mapping(keys: Mapping[str, Key], raw: object, path: str, problems: Problems) -> dict[str, Any]:
    """The values of one section; what is wrong goes to ``problems``. Keys that are null count as not given."""
    values: dict[str, Any] = {}
    for name, item in entries(raw, path, problems):
        place = join(path, name)
        if name not in keys:
            problems.add(place, unknown_key(name, keys, problems))
        elif item is not None:
            try:
                values[name] = read_value(keys[name], item)
            except InvalidInputError as error:
                problems.add_error(place, error)
    return values


def entries(raw: object, path: str, problems: Problems) -> list[tuple[str, object]]:
    """The items of a mapping whose keys are text; null is an empty mapping."""
    if raw is None:
        return []
    if not isinstance(raw, Mapping):
        problems.add(path or "the file", f"must be a mapping of keys to values, not {show(raw)}")
        return []
    found: list[tuple[str, object]] = []
    for name, item in raw.items():
        if isinstance(name, str):
            found.append((name, item))
        else:
            problems.add(path or "the file", f"a key must be text, not {show(name)}")
    return found


def unknown_key(name: str, known: Iterable[str], problems: Problems | None = None) -> str:
    """Why ``name`` is refused, with the nearest known name if one is near."""
    if len(name) > _MAX_SHOWN_CHARS or (problems is not None and problems.is_full):
        return "unknown key"
    near = nearest(name, known)
    return f"unknown key; did you mean {near}?" if near else "unknown key"


def nearest(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), list(known), n=1)
    return close[0] if close else None


def join(path: str, name: str) -> str:
    shown = name if len(name) <= _MAX_SHOWN_CHARS else name[:_MAX_SHOWN_CHARS] + "..."
    shown = shown if shown.isprintable() else repr(shown)
    return f"{path}.{shown}" if path else shown


def show(value: object) -> str:
    """A short form of what somebody wrote, for a message. Never long and never slow, whatever it is."""
    if isinstance(value, bool) or value is None:
        return value_text(value)
    if isinstance(value, str):
        text = value if len(value) <= _MAX_SHOWN_CHARS else value[:_MAX_SHOWN_CHARS] + "..."
        return text if text.isprintable() and text.strip() else repr(text)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else f"a number of {value.bit_length()} bits"
    if isinstance(value, float | Enum):
        return str(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    return f"a value of type {type(value).__name__}"


def value_text(value: object) -> str:
    """A canonical value as one text that ``read_value`` reads back: ``1e-05``, ``true``, ``q_proj,v_proj``, ``null``."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case tuple() | list():
            return ",".join(value_text(item) for item in value)
        case _:
            return str(value)


def to_plain(value: object) -> Any:
    """A canonical value as JSON and YAML know it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def is_nothing(key: Key, raw: object) -> bool:
    """Whether an optional key is set to "nothing"."""
    if not key.optional or isinstance(raw, bool):
        return False
    if isinstance(raw, str):
        text = raw.strip().lower()
        return text in _NULLS or text in {str(word) for word in key.nothing}
    return raw is None or (isinstance(raw, int) and raw in key.nothing)


def _read_int(key: Key, raw: object) -> int:
    value: int
    if isinstance(raw, bool):
        raise InvalidInputError(f"must be an integer, not {show(raw)}")
    if isinstance(raw, int):
        value = raw
    else:
        number = raw if isinstance(raw, float) else _number(raw)
        if number is None or not math.isfinite(number) or number != int(number):
            raise InvalidInputError(f"must be an integer, not {show(raw)}")
        # A text of digits alone is exact at any length; a float is not beyond 2**53.
        text = str(raw).strip() if isinstance(raw, str) else ""
        value = int(text) if re.fullmatch(r"[+-]?\d+", text, re.ASCII) else int(number)
    _check_range(key, value)
    return value


def _read_float(key: Key, raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise InvalidInputError(f"must be a number, not {show(raw)}")
    if isinstance(raw, int) and raw.bit_length() > 1000:
        raise InvalidInputError(f"is out of range: {show(raw)}")
    number = _number(raw) if isinstance(raw, str) else float(raw)
    if number is None:
        raise InvalidInputError(f"must be a number, not {show(raw)}")
    if not math.isfinite(number):
        raise InvalidInputError(f"must be a finite number, not {show(raw)}")
    _check_range(key, number)
    return number + 0.0  # -0.0 and 0.0 are one value


def _number(raw: object) -> float | None:
    """YAML 1.1 reads ``1e-5`` as text, so numbers are looked for in text too."""
    if not isinstance(raw, str) or len(raw) > _MAX_NUMBER_CHARS or not _NUMBER.fullmatch(raw.strip()):
        return None
    return float(raw)


def _read_bool(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    value = _BOOLEANS.get(raw.strip().lower()) if isinstance(raw, str) else None
    if value is None:
        raise InvalidInputError(f"must be true or false, not {show(raw)}")
    return value


def _read_text(raw: object) -> str:
    if isinstance(raw, bool):
        raise InvalidInputError(f"must be text, not {show(raw)}", 'put it in quotes if the text "yes", "no", "on" or "off" is meant')
    if not isinstance(raw, str):
        raise InvalidInputError(f"must be text, not {show(raw)}")
    text = raw.strip()
    if not text:
        raise InvalidInputError("must not be empty")
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidInputError(f"is longer than {MAX_TEXT_CHARS} characters")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise InvalidInputError("must not contain control characters")
    return text


def _read_choice(key: Key, text: str) -> str:
    allowed = key.allowed
    if not allowed or text in allowed:
        return key.enum(text) if key.enum else text
    hint = dict(key.hints).get(text)
    if hint is None:
        near = nearest(text, allowed)
        hint = f"did you mean {near}?" if near else ""
    raise InvalidInputError(f"{show(text)} is not one of {', '.join(allowed)}", hint)


def _read_texts(key: Key, raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        items: list[object] = [part for part in raw.split(",") if part.strip()]
    elif isinstance(raw, list | tuple):
        items = list(raw)
    else:
        raise InvalidInputError(f"must be a list of text, not {show(raw)}")
    if len(items) > MAX_LIST_ITEMS:
        raise InvalidInputError(f"has more than {MAX_LIST_ITEMS} items")
    texts = tuple(dict.fromkeys(_read_choice(key, _read_text(item)) for item in items))
    if not texts and not key.may_be_empty:
        raise InvalidInputError("must not be empty")
    return texts


def _read_pairs(raw: object) -> tuple[tuple[str, str], ...]:
    """From a mapping, or from text such as ``zone=a,disk=nvme``, or from a list of ``name=value``."""
    if isinstance(raw, Mapping):
        items: list[tuple[Any, Any]] = list(raw.items())
    elif isinstance(raw, str | list | tuple):
        texts = raw.split(",") if isinstance(raw, str) else raw
        items = [_pair(text) for text in texts]
    else:
        raise InvalidInputError(f"must be a mapping of names to text, not {show(raw)}")
    if len(items) > MAX_PAIRS:
        raise InvalidInputError(f"has more than {MAX_PAIRS} entries")
    pairs: dict[str, str] = {}
    for name, value in items:
        if not isinstance(name, str) or not is_name(name.strip()):
            raise InvalidInputError(f"{show(name)} is not a name", f"use {NAME_RULE}")
        if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_PAIR_CHARS:
            raise InvalidInputError(f"{name} must be one line of at most {MAX_PAIR_CHARS} characters, not {show(value)}")
        pairs[name.strip()] = value.strip()
    return tuple(pairs.items())


def _pair(text: object) -> tuple[object, str | None]:
    if not isinstance(text, str):
        return text, None
    name, equals, value = text.partition("=")
    return name, value if equals else None


def is_name(text: str) -> bool:
    """Whether it can name an experiment, a client or a label."""
    return _NAME.fullmatch(text) is not None


def _check_range(key: Key, value: float) -> None:
    if key.low is not None and value < key.low:
        raise InvalidInputError(f"must be at least {_bound(key.low)}, not {show(value)}")
    if key.above is not None and value <= key.above:
        raise InvalidInputError(f"must be more than {_bound(key.above)}, not {show(value)}")
    if key.high is not None and value > key.high:
        raise InvalidInputError(f"must be at most {_bound(key.high)}, not {show(value)}")
    if key.below is not None and value >= key.below:
        raise InvalidInputError(f"must be less than {_bound(key.below)}, not {show(value)}")


def _bound(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
