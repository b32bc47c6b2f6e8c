"""A gswarm command whose disk breaks when it gets SIGUSR1: ``python frail_process.py eio|erofs|eio-files ARGUMENTS``.

From then on the kernel itself answers its system calls with the error, by a seccomp filter on all its threads: nothing is compiled,
nothing is mounted, and what the process does about it is what it would do on a broken disk.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
import threading

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, FIRST_ARGUMENT_AT, THIRD_ARGUMENT_AT = 0, 16, 32
FILES_FROM = 3
"""What is written to standard output and error still comes out."""
SIGNAL_BYTES = 8
"""What is no larger wakes another thread: through a pipe or an eventfd."""
NUMBERS = {
    "x86_64": {"write": 1, "pwrite64": 18, "fsync": 74, "fdatasync": 75, "rename": 82, "openat": 257, "seccomp": 317},
    "aarch64": {"write": 64, "pwrite64": 68, "fsync": 82, "fdatasync": 83, "rename": 276, "openat": 56, "seccomp": 277},
}


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction))]


def instructions(kind: str) -> list[tuple[int, int, int, int]]:
    """``eio``: flushes fail. ``erofs``: what writes fails, as on a disk that the kernel has made read-only under open files.
    ``eio-files``: whatever is no database cannot be written: blobs, logs, snapshots. SQLite uses another call, connections too."""
    numbers = NUMBERS[platform.machine()]
    if kind == "eio-files":
        return [
            (LOAD, 0, 0, NUMBER_AT),
            (JUMP_EQUAL, 0, 5, numbers["write"]),
            (LOAD, 0, 0, FIRST_ARGUMENT_AT),
            (JUMP_AT_LEAST, 0, 3, FILES_FROM),
            (LOAD, 0, 0, THIRD_ARGUMENT_AT),
            (JUMP_AT_LEAST, 0, 1, SIGNAL_BYTES + 1),
            (RETURN, 0, 0, RET_ERRNO | errno.EIO),
            (RETURN, 0, 0, RET_ALLOW),
        ]
    if kind == "eio":
        fails = RET_ERRNO | errno.EIO
        calls = [(JUMP_EQUAL, 0, 1, numbers[name]) for name in ("fsync", "fdatasync")]
        return [(LOAD, 0, 0, NUMBER_AT), *(step for call in calls for step in (call, (RETURN, 0, 0, fails))), (RETURN, 0, 0, RET_ALLOW)]
    fails = RET_ERRNO | errno.EROFS
    calls = [(JUMP_EQUAL, 0, 1, numbers[name]) for name in ("pwrite64", "rename")]
    writes = [
        (JUMP_EQUAL, 0, 3, numbers["openat"]),
        (LOAD, 0, 0, THIRD_ARGUMENT_AT),
        (JUMP_SET, 0, 1, os.O_WRONLY | os.O_RDWR | os.O_CREAT),
        (RETURN, 0, 0, fails),
    ]
    return [
        (LOAD, 0, 0, NUMBER_AT),
        *(step for call in calls for step in (call, (RETURN, 0, 0, fails))),
        *writes,
        (RETURN, 0, 0, RET_ALLOW),
    ]


def break_disk(kind: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [Instruction(*step) for step in instructions(kind)]
    program = Program(len(steps), (Instruction * len(steps))(*steps))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    number = NUMBERS[platform.machine()]["seccomp"]
    if libc.syscall(number, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "seccomp: this machine lets no process filter its own system calls")


def main() -> None:
    kind = sys.argv.pop(1)
    ordered = threading.Event()

    def wait() -> None:
        ordered.wait()
        break_disk(kind)
        os.write(2, b"the disk is broken now\n")

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(signal.SIGUSR1, lambda _number, _frame: ordered.set())
    from gswarm.cli.main import main as gswarm

    gswarm()


if __name__ == "__main__":
    main()
