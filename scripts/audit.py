"""Asks for known vulnerabilities of every pinned package: ``pip-audit`` over ``constraints.txt``, with a time limit.

The databases are on the network only. Where none can be reached, or not in time, it says plainly that nothing was checked and is content:
only a known vulnerability fails. ``make audit`` waits as long as it takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TIME_LIMIT_S = 5.0
"""Of ``make check``: answers are cached, so a check that was not finished gets further the next time."""
ACCEPTED: dict[str, str] = {}
"""Ids of vulnerabilities that do not concern gswarm, and why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wait", action="store_true", help="no time limit")
    options = parser.parse_args()
    command = [sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603  a list of constants
            command, cwd=ROOT, capture_output=True, text=True, timeout=None if options.wait else TIME_LIMIT_S, check=False
        )
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _not_checked(f"no answer within {TIME_LIMIT_S:.0f} s; make audit waits longer")
    except (ValueError, KeyError, TypeError):
        return _not_checked((done.stderr.strip().splitlines() or ["no answer"])[-1][:200])
    answered = [package for package in packages if "skip_reason" not in package]
    if not answered:
        return _not_checked(f"the database knows none of {len(packages)} packages, so it is no real one")
    found = [
        f"{package['name']} {package['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'no version'}"
        for package in answered
        for known in package["vulns"]
        if not {known["id"], *known["aliases"]} & ACCEPTED.keys()
    ]
    sys.stdout.write("".join(f"audit: {line}\n" for line in found))
    sys.stdout.write(f"audit: {len(answered)} of {len(packages)} pinned packages checked, {len(found)} known vulnerabilities\n")
    return 1 if found else 0


def _not_checked(reason: str) -> int:
    sys.stdout.write(f"audit: NOT CHECKED, no vulnerability database could be asked ({reason})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
