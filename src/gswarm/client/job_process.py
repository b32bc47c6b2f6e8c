"""A job's process: ``gswarm.training.jobs``, ended by the kernel when its client ends."""

from __future__ import annotations

import gc
import os
import runpy
import sys

from gswarm.runtime.parent import die_with_parent


def main() -> int:
    die_with_parent()
    client_pid = int(sys.argv.pop(1))
    if os.getppid() != client_pid:
        # The client ended before the kernel was asked to tell.
        return 1
    gc.disable()  # while modules are imported, as in a trainer process
    runpy.run_module("gswarm.training.jobs", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
