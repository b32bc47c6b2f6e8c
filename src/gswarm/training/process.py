"""The trainer process of one slot: ``python -m gswarm.training.process --fd N``.

It speaks ``gswarm.training.protocol`` over the inherited socket ``N``, one JSON object a line. It ends on ``Quit``, on SIGTERM (after a
snapshot of what is training), and at once when the other end of the socket closes, so that no orphan keeps a device.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO

from gswarm.domain.errors import CorruptDataError
from gswarm.runtime.parent import die_with_parent
from gswarm.training.memory import keep_freed_memory
from gswarm.training.protocol import Ready, TrainerEvent
from gswarm.training.protocol_codec import MAX_LINE_BYTES, decode_command, encode
from gswarm.training.run_log import keep_run_logs

if TYPE_CHECKING:
    from gswarm.training.conductor import Conductor

DEVICE_LOST_EXIT_CODE = 3
SWITCH_INTERVAL_S = 0.0001
"""The thread that trains waits this long at most for one that writes a snapshot; Python's default is fifty times that."""

logger = logging.getLogger("gswarm.training.process")


class Channel:
    """The socket to the client. ``emit`` may be called from any thread; without a listener the process ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def emit(self, event: TrainerEvent) -> None:
        line = encode(event)
        with self._lock:
            try:
                self._connection.sendall(line)
            except OSError:
                end_as_orphan()

    def reader(self) -> BinaryIO:
        return self._connection.makefile("rb")


def end_as_orphan() -> None:
    """Nobody listens any more: nothing that could still be done would count."""
    logger.error("the client is gone")
    os._exit(1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gswarm.training.process", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda:0"), help="auto: the visible GPU, else the CPU")
    parser.add_argument("--hot-runs", type=int, default=None, help="runs held in memory at once")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    channel = Channel(socket.socket(fileno=options.fd))
    keep_run_logs(channel.emit)
    conductor = _make_conductor(channel, options.device, options.hot_runs)
    threading.Thread(target=_read_commands, args=(channel.reader(), conductor), name="commands", daemon=True).start()
    threading.Thread(target=_await_sigterm, args=(conductor,), name="sigterm", daemon=True).start()
    conductor.run()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own way out would wait for threads that wait for commands, and take torch apart under them.
    os._exit(DEVICE_LOST_EXIT_CODE if conductor.is_device_lost else 0)


def _make_conductor(channel: Channel, device: str, hot_runs: int | None) -> Conductor:
    """Imports torch and its friends, which takes seconds, and says ``Ready``."""
    import gc

    keep_freed_memory()
    gc.disable()  # there is nothing to collect while modules are imported, and looking for it takes a sixth of the time
    from transformers.utils import logging as transformers_logging

    from gswarm.training.build import Workshop, best_device, make_deterministic
    from gswarm.training.conductor import HOT_RUNS_LIMIT, Conductor

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    make_deterministic()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    device = best_device() if device == "auto" else device
    conductor = Conductor(Workshop(device), channel.emit, hot_runs or HOT_RUNS_LIMIT)
    # Everything imported stays for ever: the collector need not look at it again when a run ends.
    gc.collect()
    gc.freeze()
    gc.enable()
    channel.emit(Ready(os.getpid(), device))
    return conductor


def _read_commands(lines: BinaryIO, conductor: Conductor) -> None:
    """Takes commands until the client is gone. A line that is none means that it cannot be understood: as good as gone."""
    try:
        while line := lines.readline(MAX_LINE_BYTES + 1):
            conductor.handle(decode_command(line))
    except (CorruptDataError, OSError):
        logger.exception("the client cannot be understood")
    end_as_orphan()


def _await_sigterm(conductor: Conductor) -> None:
    signal.sigwait({signal.SIGTERM})
    logger.info("SIGTERM: finishing the step")
    conductor.drain()


if __name__ == "__main__":
    sys.exit(main())
