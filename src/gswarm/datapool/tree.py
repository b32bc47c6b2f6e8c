"""A manifest: a small tree of named blobs. It is itself a blob, so one digest names a whole checkpoint, model or data set.

Equal content has equal bytes: entries and meta are sorted, the JSON has one form, and bytes in any other form are refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gswarm.datapool.layout import checked_digest
from gswarm.domain.errors import CorruptDataError, GswarmError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import Digest

ENTRIES_MAX = 100_000
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
PART_BYTES_MAX = 255
NAME_BYTES_MAX = 1024
DEPTH_MAX = 32
META_MAX = 64
META_CHARS_MAX = 4096
SIZE_BYTES_MAX = 1 << 50

PREFIX = b'{"gswarm_manifest":1,'
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9])(?:[ .].*)?")
"""Names that mean a device in every folder there, whatever their ending. Superscript digits count: NFKC makes them plain ones."""
_BAD_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Control characters, invisible ones and text direction marks, line separators."""
_JOINERS = "\u200c\u200d"
"""Invisible characters that scripts and emoji need."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One named blob. ``name`` is a relative POSIX path."""

    name: str
    digest: Digest
    size_bytes: int

    def __post_init__(self) -> None:
        check_name(self.name)
        checked_digest(self.digest)
        if type(self.size_bytes) is not int or not 0 <= self.size_bytes <= SIZE_BYTES_MAX:
            raise InvalidInputError(
                f"{self.name!r} cannot have {self.size_bytes!r} bytes", f"a size is a number from 0 to {SIZE_BYTES_MAX}"
            )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in the tree, sorted by name. ``kind`` is one lower-case word such as ``checkpoint``.

    Raises:
        InvalidInputError: a name that is no safe relative path or that another one hides, a bad kind, digest, size or meta.
        LimitError: too many entries or meta.
    """

    kind: str
    entries: tuple[Entry, ...]
    meta: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.kind):
            raise InvalidInputError(f"{self.kind[:80]!r} is no kind of manifest", "use lower-case letters, digits, '-', '_' and '.'")
        if len(self.entries) > ENTRIES_MAX:
            raise LimitError(f"a manifest of {len(self.entries)} files", f"the limit is {ENTRIES_MAX}: pack them into fewer")
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.name)))
        object.__setattr__(self, "meta", tuple(sorted(self.meta)))
        _check_meta(self.meta)
        _check_apart([entry.name for entry in self.entries])

    @property
    def total_bytes(self) -> int:
        """The sum of the entries' sizes."""
        return sum(entry.size_bytes for entry in self.entries)

    def entry(self, name: str) -> Entry:
        """Raises NotFoundError."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise NotFoundError(f"there is no {name!r} in this {self.kind}")

    def to_bytes(self) -> bytes:
        """The canonical JSON, in UTF-8."""
        document = {
            "gswarm_manifest": 1,
            "kind": self.kind,
            "meta": dict(self.meta),
            "entries": [[entry.name, entry.digest, entry.size_bytes] for entry in self.entries],
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    @staticmethod
    def from_bytes(data: bytes) -> Manifest:
        """The manifest with these bytes.

        Raises:
            CorruptDataError: the bytes are not exactly what ``to_bytes`` writes for a valid manifest.
        """
        try:
            if len(data) > MANIFEST_BYTES_MAX or not data.startswith(PREFIX):
                raise CorruptDataError("the blob is no manifest", "check the digest")
            document = json.loads(data)
            entries = tuple(Entry(name, digest, size_bytes) for name, digest, size_bytes in document["entries"])
            manifest = Manifest(document["kind"], entries, tuple(document["meta"].items()))
            if manifest.to_bytes() == data:
                return manifest
            reason = "it is not in canonical form"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidInputError, LimitError) as error:
            reason = error.message if isinstance(error, GswarmError) else "its form is wrong"
        raise CorruptDataError(f"the manifest cannot be used: {reason}", "fetch or make it again")


def check_name(name: object) -> None:
    """Whether a name can be written below a folder on any machine without leaving it.

    The same is asked of what Unicode normalisation makes of it: a filesystem or a program may normalise, and then two full-width
    dots and a full-width slash are a ``../``. Percent signs are plain characters here; nothing decodes a name after this.

    Raises:
        InvalidInputError: it cannot.
    """
    if not isinstance(name, str):
        raise InvalidInputError("a file name must be text")
    if not _encodes(name):
        raise InvalidInputError(f"the file name {name[:200]!r} is not valid UTF-8", "rename the file")
    plain = unicodedata.normalize("NFKC", name[: NAME_BYTES_MAX + 1])
    if _is_bad(name) or _is_bad(plain) or plain.count("/") != name.count("/"):
        hint = f"names are relative paths with '/', without '..', '\\', ':' and control characters, at most {PART_BYTES_MAX} bytes a part"
        raise InvalidInputError(f"{name[:200]!r} cannot be a file name", hint)


def check_names(names: Sequence[str]) -> None:
    """Whether files of these names can lie below one folder: each as in ``check_name``, and none in the place of another.

    Raises:
        InvalidInputError: they cannot.
    """
    for name in names:
        check_name(name)
    _check_apart(names)


def path_below(folder: Path, name: str) -> Path:
    """``folder / name`` for a name from outside: it cannot leave the folder, nor can a link that is there lead it out.

    Raises:
        InvalidInputError: as ``check_name``, or a link on the way leads out of the folder.
    """
    check_name(name)
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidInputError(f"the file name {name!r} leads out of {folder}", "remove the link that is in the way")
    return path


def _is_bad(name: str) -> bool:
    parts = name.split("/")
    return (
        len(name.encode()) > NAME_BYTES_MAX
        or len(parts) > DEPTH_MAX
        or any(_is_bad_part(part) for part in parts)
        or any(char in "\\:" or (unicodedata.category(char) in _BAD_CATEGORIES and char not in _JOINERS) for char in name)
    )


def _is_bad_part(part: str) -> bool:
    """Windows drops dots and spaces at a name's end, so such names could be another file's."""
    is_empty = part.rstrip(". ") != part or not part
    return is_empty or len(part.encode()) > PART_BYTES_MAX or _WINDOWS_DEVICE.fullmatch(part.casefold()) is not None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _check_apart(names: Sequence[str]) -> None:
    """No two names may be one file, and no file a folder, even where the filesystem ignores case."""
    files: set[str] = set()
    for name in names:
        folded = _folded(name)
        if folded in files:
            raise InvalidInputError(f"two files are named {name!r}", "names must differ in more than case")
        files.add(folded)
    for name in names:
        parts = _folded(name).split("/")
        if any("/".join(parts[:depth]) in files for depth in range(1, len(parts))):
            raise InvalidInputError(f"{name!r} lies below a file", "a name cannot be a file and a folder")


def _check_meta(meta: tuple[tuple[str, str], ...]) -> None:
    if len(meta) > META_MAX or any(len(value) > META_CHARS_MAX for _, value in meta):
        raise LimitError("too much meta in a manifest", f"at most {META_MAX} values of {META_CHARS_MAX} characters: put more into a file")
    if len({key for key, _ in meta}) != len(meta) or not all(_WORD.fullmatch(key) for key, _ in meta):
        raise InvalidInputError("the meta of a manifest has a bad or repeated key", "use lower-case letters, digits, '-', '_' and '.'")
    if not all(isinstance(value, str) and _encodes(value) for _, value in meta):
        raise InvalidInputError("a meta value of a manifest is not valid text")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
