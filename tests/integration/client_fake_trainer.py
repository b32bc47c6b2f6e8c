"""A stand-in for ``gswarm.training.process`` that trains nothing: it speaks the same JSON lines and does what ``spec.dataset`` says.

Words in ``dataset``, separated by ``+``: ``die@N`` ends itself by SIGKILL after step N, ``hang@N`` falls silent after step N,
``nan@N`` fails after step N, ``slow`` takes 50 ms a step, ``child`` starts a process of its own, ``evict`` forgets all runs then.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from gswarm.domain.ids import Digest, RunId
from gswarm.domain.plan import Failure
from gswarm.training import protocol as p
from gswarm.training.protocol_codec import decode_command, encode


class FakeTrainer:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.queue: list[p.TrainRange] = []
        self.hot: dict[RunId, int] = {}
        self.over: set[tuple[RunId, int]] = set()
        self.stopped: set[tuple[RunId, int]] = set()
        self.buffer = b""

    def say(self, event: p.TrainerEvent) -> None:
        self.connection.sendall(encode(event))

    def read(self, timeout_s: float | None) -> None:
        ready, _, _ = select.select([self.connection], [], [], timeout_s)
        if not ready:
            return
        data = self.connection.recv(65536)
        if not data:
            os._exit(1)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.take(decode_command(line))

    def take(self, command: p.TrainerCommand) -> None:
        match command:
            case p.TrainRange():
                self.queue.append(command)
            case p.StopRange(run, generation):
                self.stopped.add((run, generation))
            case p.AbortRange(run, generation):
                self.over.add((run, generation))
                self.queue = [order for order in self.queue if (order.run, order.generation) != (run, generation)]
                self.hot.pop(run, None)
            case p.DropRun(run):
                self.hot.pop(run, None)
            case p.Quit():
                os._exit(0)

    def run(self) -> None:
        self.say(p.Ready(os.getpid(), "cpu"))
        while True:
            self.read(0 if self.queue else None)
            if self.queue:
                self.train(self.queue.pop(0))

    def train(self, order: p.TrainRange) -> None:
        key = (order.run, order.generation)
        words = dict(word.partition("@")[::2] for word in order.spec.dataset.split("+"))
        was_hot = self.hot.get(order.run) == order.from_step
        if key in self.stopped:
            self.say(p.RangeDropped(*key))
            return
        if not was_hot and order.from_step > 0 and not self.has_checkpoint(order):
            self.say(p.RangeFailed(*key, Failure("conflict", "not hot and no checkpoint")))
            return
        if "child" in words:
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"fake trainer: {order.run} {order.from_step}..{order.to_step}", flush=True)
        self.say(p.RangeStarted(*key, was_hot, 0.0))
        step = order.from_step
        while step < order.to_step:
            time.sleep(0.05 if "slow" in words else 0.001)
            step += 1
            self.say(p.StepDone(*key, step, time.time(), (("loss", 1.0 / step), ("step_time_s", 0.001))))
            self.misbehave(words, key, step)
            self.read(0)
            if key in self.over:
                return
            if key in self.stopped:
                break
        if words.get("nan") == str(step):
            return
        self.hot[order.run] = step
        if "evict" in words:
            self.hot.clear()
        Path(order.snapshot_dir, "weights.safetensors").write_bytes(f"{order.run}@{step}".encode() * 1000)
        Path(order.snapshot_dir, "state.json").write_text(f'{{"step": {step}}}')
        metrics = (("eval_loss", 1.0 / step), ("broken", float(0)))
        self.say(p.RangeTrained(*key, step, order.snapshot_dir, Digest("a" * 64), metrics, 0.001, 0.0))

    def has_checkpoint(self, order: p.TrainRange) -> bool:
        if order.checkpoint_dir is None:
            return False
        return order.warm_start or f'"step": {order.from_step}' in Path(order.checkpoint_dir, "state.json").read_text()

    def misbehave(self, words: dict[str, str], key: tuple[RunId, int], step: int) -> None:
        if words.get("die") == str(step):
            print("fake trainer: about to die", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if words.get("hang") == str(step):
            signal.pause()
        if words.get("nan") == str(step):
            self.over.add(key)
            self.say(p.RangeFailed(*key, Failure("nan_loss", f"the loss is NaN at step {step}")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    FakeTrainer(socket.socket(fileno=parser.parse_args().fd)).run()


if __name__ == "__main__":
    main()
