"""How long ``gswarm --help`` takes, beside the libraries that it is made with.

``python benchmarks/cli.py [--json] [--tries 7]``. Processor time of a whole process, the best of some tries by turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

HELP = [sys.executable, "-m", "gswarm", "--help"]
LIBRARIES = [sys.executable, "-c", "import typer, typer.rich_utils"]
TARGET_S = 0.5


def processor_s(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(tries: int) -> list[dict[str, Any]]:
    times_s = [(processor_s(HELP), processor_s(LIBRARIES)) for _ in range(tries)]
    ours_s, theirs_s = (min(column) for column in zip(*times_s, strict=True))
    return [
        {
            "metric": "gswarm --help",
            "value": ours_s,
            "unit": "s of a core",
            "target": f"<= {TARGET_S}",
            "peer": "",
            "ok": ours_s <= TARGET_S,
        },
        {
            "metric": "gswarm --help / typer and rich alone",
            "value": ours_s / theirs_s,
            "unit": "ratio",
            "target": "",
            "peer": "",
            "ok": True,
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tries", type=int, default=7)
    options = parser.parse_args()
    rows = measure(options.tries)
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        verdict = ("ok" if row["ok"] else "MISSED") if row["target"] else ""
        print(f"{row['metric']:40} {row['value']:.3g} {row['unit']:12} {row['target']:8} {verdict}")


if __name__ == "__main__":
    main()
