"""Writes ``web/openapi.json``, what the dashboard's typed client is made from; ``--check`` only says whether it is fresh."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gswarm.host.api.app import bare_app

TARGET = Path(__file__).resolve().parent.parent / "web" / "openapi.json"


def render() -> str:
    """The document of the routes alone: it needs no host, and its version is not that of a build."""
    return json.dumps(bare_app("1").openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    from generated import write_or_check

    sys.exit(write_or_check(__doc__, {TARGET: render()}, "make openapi"))
