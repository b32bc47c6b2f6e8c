"""What a row of a data set may look like, and the two shapes that training knows: a chat and a text.

The formats and their column names are LLaMA-Factory's and TRL's: alpaca, sharegpt, messages, prompt-completion, text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gswarm.domain.errors import InvalidInputError

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "tool": "tool"}
"""Role names of the chat and sharegpt formats, and what the tokenizers' templates call them."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation. The assistant's turns from ``learn_from`` on are what is learned."""

    messages: tuple[tuple[str, str], ...]
    """(role, content)."""
    learn_from: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text without a template; ``completion`` is what is learned."""

    prompt: str
    completion: str


Example = Chat | Text


class RowError(Exception):
    """A row has another shape than its format asks for; the message says what was found."""


def parse_row(row: object, dataset: str, number: int) -> Example:
    """The row as an example.

    Args:
        dataset: its name, for the error.
        number: the row's number, from 1 on, for the error.

    Raises:
        InvalidInputError: with the data set's name, the row's number and what was found there.
    """
    try:
        return _parse(row)
    except RowError as error:
        raise InvalidInputError(
            f"dataset {dataset}, row {number}: {error}",
            "use alpaca, sharegpt, messages, prompt-completion or text rows (docs: experiment file)",
        ) from error


def _parse(row: object) -> Example:
    if not isinstance(row, Mapping):
        raise RowError(f"expected an object, found {_kind(row)}")
    if _present(row, "messages"):
        return _chat(_turns(row["messages"], "messages", "role", "content"))
    if _present(row, "conversations"):
        return _chat(_system(row) + _turns(row["conversations"], "conversations", "from", "value"))
    if _present(row, "prompt") or _present(row, "completion"):
        return _prompt_completion(row)
    if _present(row, "instruction"):
        return _alpaca(row)
    if _present(row, "text"):
        return Text(prompt="", completion=_text(row, "text"))
    raise RowError(f"found the columns {', '.join(sorted(map(str, row))) or 'none'}; none of them names a known format")


def _alpaca(row: Mapping[str, Any]) -> Chat:
    question = _text(row, "instruction")
    if _present(row, "input"):
        question += "\n" + _text(row, "input")
    past: list[tuple[str, str]] = []
    for turn in row.get("history") or ():
        if not isinstance(turn, list | tuple) or len(turn) != 2 or not all(isinstance(part, str) for part in turn):
            raise RowError(f"an entry of history must be a pair of texts, found {_kind(turn)}")
        past += [("user", turn[0]), ("assistant", turn[1])]
    return _chat((*_system(row), *past, ("user", question), ("assistant", _text(row, "output"))))


def _prompt_completion(row: Mapping[str, Any]) -> Example:
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return Text(prompt=row["prompt"], completion=_text(row, "completion"))
    prompt = _turns(row.get("prompt"), "prompt", "role", "content")
    completion = _turns(row.get("completion"), "completion", "role", "content")
    return _chat(prompt + completion, learn_from=len(prompt))


def _chat(messages: tuple[tuple[str, str], ...], learn_from: int = 0) -> Chat:
    if not any(role == "assistant" for role, _ in messages[learn_from:]):
        raise RowError("the conversation has no assistant turn to learn")
    return Chat(messages, learn_from)


def _turns(value: object, column: str, role_key: str, content_key: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list | tuple) or not value:
        raise RowError(f"{column} must be a list of turns, found {_kind(value)}")
    turns: list[tuple[str, str]] = []
    for place, turn in enumerate(value, start=1):
        if not isinstance(turn, Mapping) or role_key not in turn or content_key not in turn:
            raise RowError(f"turn {place} of {column} must have {role_key} and {content_key}, found {_kind(turn)}")
        role, content = turn[role_key], turn[content_key]
        if role not in ROLES:
            raise RowError(f"turn {place} of {column} has the unknown {role_key} {role!r}")
        if not isinstance(content, str):
            raise RowError(f"{content_key} of turn {place} of {column} must be text, found {_kind(content)}")
        turns.append((ROLES[role], content))
    return tuple(turns)


def _system(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("system", _text(row, "system")),) if _present(row, "system") else ()


def _present(row: Mapping[str, Any], column: str) -> bool:
    """Tables have every column in every row: one without a value is as good as missing."""
    return row.get(column) not in (None, "")


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value:
        raise RowError(f"{column} must be text, found {_kind(value)}")
    return value


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case str():
            return f"the text {value[:40]!r}" if value else "an empty text"
        case bool() | int() | float():
            return f"the value {value!r}"
        case Mapping():
            return f"an object with {', '.join(sorted(map(str, value))) or 'no keys'}"
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return f"a {type(value).__name__}"
