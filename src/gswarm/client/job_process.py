"""A job's process: ``gswarm.training.jobs``, ended by the kernel when its client ends."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    client_pid = int(sys.argv.pop(1))
    if os.getppid() != client_pid:
        # The client ended before the kernel was asked to tell.
        return 1
    gc.disable()  # while modules are imported, as in a trainer process
    runpy.run_module("gswarm.training.jobs", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
