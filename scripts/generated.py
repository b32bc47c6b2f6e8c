"""What scripts that generate committed files have in common: they write them, or with ``--check`` say which are not fresh."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def write_or_check(description: str | None, wanted: Mapping[Path, str], how: str) -> int:
    """The exit code of such a script.

    Args:
        wanted: what each file should hold.
        how: the command that writes them, for whoever only checked.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not fresh")
    check: bool = parser.parse_args().check
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if check and stale:
        sys.stderr.write(f"error: {', '.join(path.name for path in stale)} not fresh; run {how} and commit the result\n")
        return 1
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0
