"""Writes ``web/openapi.json``, what the dashboard's typed client is made from; ``--check`` only says whether it is fresh."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from gswarm.host.api.app import bare_app

TARGET = Path(__file__).resolve().parent.parent / "web" / "openapi.json"


def render() -> str:
    """The document of the routes alone: it needs no host, and its version is not that of a build."""
    return json.dumps(bare_app("1").openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the document is not fresh")
    check: bool = parser.parse_args().check
    wanted = render()
    if check:
        is_fresh = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted
        if not is_fresh:
            sys.stderr.write(f"error: web/{TARGET.name} is not fresh; run python scripts/openapi.py and commit the result\n")
        return 0 if is_fresh else 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
