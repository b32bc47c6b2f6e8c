"""Looks at the headers of tensor files before a library does: what they claim must fit into the file. Time and memory go with its size.

Formats: https://github.com/huggingface/safetensors#format and https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from gswarm.datapool.layout import open_regular
from gswarm.domain.errors import CorruptDataError

HEADER_BYTES_MAX = 16 * 1024 * 1024
TENSORS_MAX = 100_000
KEYS_MAX = 10_000
NAME_BYTES_MAX = 4096
ARRAYS_DEEP_MAX = 4
DIMENSIONS_MAX = 8
ELEMENTS_PER_BYTE_MAX = 8
"""No quantisation stores an element in less than a bit."""

_GGUF_VERSIONS = (2, 3)
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_ARRAY_HEAD = struct.Struct("<IQ")
_UINT32, _UINT64 = struct.Struct("<I"), struct.Struct("<Q")


def check_safetensors(path: Path) -> None:
    """Refuses a header that is too large, repeats a name or has too many tensors. Offsets, types and shapes the library checks itself.

    Raises:
        CorruptDataError: the file is no safetensors file that should be read.
        InvalidInputError: it is no regular file.
    """
    with open_regular(path) as file:
        rest_bytes = os.fstat(file.fileno()).st_size - 8
        size_bytes = int.from_bytes(file.read(8), "little")
        if size_bytes > min(rest_bytes, HEADER_BYTES_MAX):
            raise _lie(path, f"it claims a header of {size_bytes} bytes")
        text = file.read(size_bytes)
    try:
        header = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise _lie(path, f"its header cannot be read ({error})") from error
    if not isinstance(header, dict) or len(header) > TENSORS_MAX:
        raise _lie(path, f"its header is no object with at most {TENSORS_MAX} tensors")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name is there twice")
    return made


def check_gguf(path: Path) -> None:
    """Walks keys and tensors of a GGUF file.

    Raises:
        CorruptDataError: a count, length, offset or shape does not fit into the file, or a name is there twice.
        InvalidInputError: it is no regular file.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size < 24:
            raise _lie(path, "it is too short")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                _Gguf(content).check()
            except (struct.error, ValueError) as error:
                raise _lie(path, str(error)) from error


class _Gguf:
    """One pass over a header; ``_at`` is never beyond the file. Raises ValueError or struct.error."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 4

    def check(self) -> None:
        if self._content[:4] != b"GGUF" or self._number(_UINT32) not in _GGUF_VERSIONS:
            raise ValueError("it is no GGUF file of a known version")
        tensors, keys = self._number(_UINT64), self._number(_UINT64)
        if tensors > TENSORS_MAX or keys > KEYS_MAX:
            raise ValueError(f"it claims {tensors} tensors and {keys} keys")
        self._each_once(keys, lambda: self._value(self._number(_UINT32), 0))
        elements = self._each_once(tensors, self._tensor)
        if elements > ELEMENTS_PER_BYTE_MAX * len(self._content):
            raise ValueError(f"its tensors claim {elements} elements")

    def _each_once(self, count: int, read: Callable[[], int]) -> int:
        """Reads ``count`` entries that begin with a name of their own; the sum of what ``read`` says."""
        names: set[bytes] = set()
        total = 0
        for _ in range(count):
            size_bytes = self._number(_UINT64)
            if size_bytes > NAME_BYTES_MAX:
                raise ValueError("a name is too long")
            start = self._at
            self._skip(size_bytes)
            name = self._content[start : self._at]
            if name in names:
                raise ValueError(f"the name {name[:100]!r} is there twice")
            names.add(name)
            total += read()
        return total

    def _value(self, kind: int, depth: int) -> int:
        if kind in _SCALAR_BYTES:
            self._skip(_SCALAR_BYTES[kind])
        elif kind == _STRING:
            self._skip(self._number(_UINT64))
        elif kind == _ARRAY and depth < ARRAYS_DEEP_MAX:
            item, count = _ARRAY_HEAD.unpack_from(self._content, self._at)
            self._at += _ARRAY_HEAD.size
            if item in _SCALAR_BYTES:
                self._skip(count * _SCALAR_BYTES[item])
            else:
                for _ in range(count):  # every item takes at least its length's bytes, so this ends with the file
                    self._value(item, depth + 1)
        else:
            raise ValueError(f"a value has the unknown type {kind}")
        return 0

    def _tensor(self) -> int:
        """The number of elements."""
        dimensions = self._number(_UINT32)
        if dimensions > DIMENSIONS_MAX:
            raise ValueError(f"a tensor claims {dimensions} dimensions")
        shape = [self._number(_UINT64) for _ in range(dimensions)]
        self._skip(4)  # the type: the library knows which there are
        if self._number(_UINT64) > len(self._content):
            raise ValueError("a tensor begins behind the file's end")
        return prod(shape)

    def _number(self, form: struct.Struct) -> int:
        number: int = form.unpack_from(self._content, self._at)[0]
        self._at += form.size
        return number

    def _skip(self, size_bytes: int) -> None:
        self._at += size_bytes
        if self._at > len(self._content):
            raise ValueError("something in it is longer than the file")


def _lie(path: Path, reason: str) -> CorruptDataError:
    return CorruptDataError(f"{path.name} cannot be used: {reason}", "make or download it again")
