"""Text of strangers, made safe for terminals and logs: names, messages and log lines may hold anything."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Format characters that scripts and emoji need."""


def printable(text: str, keep: str = "\t") -> str:
    """Without control characters (but those in ``keep``), marks of text direction, line separators and lone surrogates.

    What is left cannot move the cursor, colour, reorder or forge lines; the rest of an escape sequence stays as plain characters.
    """
    if text.isprintable():
        return text
    return "".join(char for char in text if char in keep or char in _JOINERS or unicodedata.category(char) not in _UNPRINTABLE)
