"""``python -m gswarm.simulator --seed N --count K``: plays seeds, and ends with 1 and the story of the first that fails."""

from __future__ import annotations

import argparse
import sys
import time

from gswarm.simulator.run import first_failure, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gswarm.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=200, help="how many seeds from there on")
    asked = parser.parse_args()
    began_s = time.monotonic()
    failed = first_failure(asked.seed, asked.count)
    if failed is not None:
        sys.stdout.write(report(failed) + "\n")
        return 1
    sys.stdout.write(f"{asked.count} seeds from {asked.seed} on are fine, in {time.monotonic() - began_s:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
