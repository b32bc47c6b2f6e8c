"""The file of a backup: a plain tar whose last member lists every other one with its size and BLAKE3 digest.

The list's own digest is part of its name, so a file that was cut off or changed anywhere is refused. Reading trusts nothing: only the
members that the list names, only regular files, only names that lead into known places.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gswarm.datapool.layout import CHUNK_BYTES, open_regular, storage_errors, sync_folder
from gswarm.domain.errors import CorruptDataError, IncompatibleVersionError, InvalidInputError, NotFoundError, StorageError

FORMAT = 1
"""Of ``Contents``."""
LIST_BYTES_MAX = 512 * 1024 * 1024
FILES_MAX = 2_000_000
_LIST = re.compile(r"gswarm-backup-([0-9a-f]{64})\.json")
PLACE = r"(host|series|logs|pool)(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}){1,8}"
_NOT_ONE = "it is no backup of a gswarm host, or was cut off or changed"


class Member(BaseModel):
    """One file of the backup; ``name`` is its place below the data directory, or ``pool/<digest>`` for a blob."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Annotated[str, Field(pattern=f"^{PLACE}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Contents(BaseModel):
    """What a backup says about itself. Times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    gswarm: str
    cluster_id: str
    taken_at_s: float
    events: int
    """The journal's newest event."""
    members: Annotated[tuple[Member, ...], Field(max_length=FILES_MAX)] = ()
    missing_blobs: int = 0
    """Blobs that the plan refers to and the host's pool did not have, or had damaged."""


class Writer:
    """Takes files into a backup that is being written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members: list[Member] = []

    def add(self, name: str, path: Path) -> Member:
        """Takes a file as it is at this moment; of one that grows meanwhile, what was there first. Raises StorageError."""
        with storage_errors(f"read {path}"), path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            source = _Hashing(file, size_bytes)
            self._tar.addfile(_info(name, size_bytes), source)
        member = Member(name=name, size_bytes=size_bytes, digest=source.hash.hexdigest())
        self.members.append(member)
        return member

    def finish(self, contents: Contents) -> None:
        """Writes the list; nothing is added afterwards."""
        text = contents.model_dump_json().encode()
        self._tar.addfile(_info(f"gswarm-backup-{blake3(text).hexdigest()}.json", len(text)), io.BytesIO(text))


class _Hashing(io.RawIOBase):
    """The first ``size_bytes`` of a file, hashed while they are read; a file that became shorter is an error."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file = file
        self._left_bytes = size_bytes
        self.hash = blake3()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left_bytes if size < 0 else min(size, self._left_bytes))
        self._left_bytes -= len(data)
        self.hash.update(data)
        return data


def _info(name: str, size_bytes: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o600
    return info


@contextmanager
def new_archive(path: Path) -> Iterator[Writer]:
    """A backup that appears under ``path`` (mode 0600) complete, in place of an older one, or not at all. Raises StorageError."""
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    with storage_errors(f"write {path}"):
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    yield Writer(tar)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def read_archive(path: Path, place: Callable[[Member, IO[bytes]], None]) -> Contents:
    """Hands every file of a backup to ``place``, each checked against its digest once it was read to its end.

    Args:
        place: reads the file to its end and puts it somewhere; what it put must be forgotten when this raises.

    Raises:
        NotFoundError: there is no such file.
        CorruptDataError: it is no backup, or not as it was written.
        IncompatibleVersionError: a newer gswarm wrote it.
        StorageError: it cannot be read.
    """
    try:
        with storage_errors(f"read {path}"), open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            contents = _contents(tar, path)
            listed = {member.name: member for member in contents.members}
            found = [info for info in tar.getmembers() if not _LIST.fullmatch(info.name)]
            if [info.name for info in found] != [member.name for member in contents.members] or len(listed) != len(found):
                raise CorruptDataError(f"the files in {path} are not those that its list names", _NOT_ONE)
            for info in found:
                _place(tar, info, listed[info.name], place)
    except (tarfile.TarError, EOFError) as error:
        raise CorruptDataError(f"{path} cannot be read: {error}", _NOT_ONE) from error
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise NotFoundError(f"there is no file {path}", "check the path") from error
        raise
    return contents


def _contents(tar: tarfile.TarFile, path: Path) -> Contents:
    info = tar.getmembers()[-1] if tar.getmembers() else None
    named = _LIST.fullmatch(info.name) if info is not None else None
    if info is None or named is None or not info.isreg() or info.size > LIST_BYTES_MAX:
        raise CorruptDataError(f"{path} has no list of its files at its end", _NOT_ONE)
    stream = tar.extractfile(info)
    text = stream.read() if stream is not None else b""
    if blake3(text).hexdigest() != named[1]:
        raise CorruptDataError(f"the list of the files in {path} is damaged", _NOT_ONE)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"the list of the files in {path} is none", _NOT_ONE) from error
    if isinstance(document, dict) and isinstance(document.get("format"), int) and document["format"] > FORMAT:
        raise IncompatibleVersionError(f"{path} was written by gswarm {str(document.get('gswarm'))[:40]}", "restore it with that version")
    try:
        return Contents.model_validate(document)
    except ValidationError as error:
        raise CorruptDataError(f"the list of the files in {path} is none: {error.errors()[0]['msg']}", _NOT_ONE) from error


def _place(tar: tarfile.TarFile, info: tarfile.TarInfo, member: Member, place: Callable[[Member, IO[bytes]], None]) -> None:
    stream = tar.extractfile(info) if info.isreg() else None
    if stream is None or info.size != member.size_bytes:
        raise CorruptDataError(f"{info.name} in the backup is not what its list says", _NOT_ONE)
    source = _Hashing(stream, member.size_bytes)
    place(member, source)  # type: ignore[arg-type]  # it has read(), which is all that is used
    if source.hash.hexdigest() != member.digest:
        raise CorruptDataError(f"{info.name} in the backup is damaged", "use another backup")


def copy_private(source: IO[bytes], target: Path) -> None:
    """Writes a new file (mode 0600) and flushes it. Raises StorageError, or InvalidInputError when it exists."""
    with storage_errors(f"write {target}"):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError as error:
            raise InvalidInputError(f"{target} exists already", "restore into an empty folder") from error
        with os.fdopen(descriptor, "wb") as file:
            while piece := source.read(CHUNK_BYTES):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
