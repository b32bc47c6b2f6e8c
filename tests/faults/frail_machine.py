"""A cluster of one client whose disks can be filled or broken and whose trainer can be made to hang."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from experiments import experiment
from faults_rig import FrailCluster, TinyDisk, check_ledger, tiny_disk
from steering import until
from tiny import write_dataset, write_model

from gswarm.sdk import Host

STEP_DEADLINE_S = 3.0
NAME = "frail"


@dataclass
class FrailMachine:
    cluster: FrailCluster
    client_disk: TinyDisk
    host_disk: TinyDisk
    document: dict[str, Any]
    """The experiment that was prepared; its only run is stopped."""
    template: str
    exact: set[str] = field(default_factory=set)
    """Digests of the last weights that ``run verify`` has found by uninterrupted training."""

    def new_run(self, host: Host) -> str:
        """A run of its own for a test; a cold clone needs no preparation."""
        return str(host.clone_run(self.template)["id"])

    def hang_trainer(self, host: Host, run: str) -> list[int]:
        """Stops the trainer process in the middle of the run's steps and returns its id once the client has ended it."""
        while True:
            until(host, run, lambda document: (document["current_step"] or 0) > document["position"])
            processes = [psutil.Process(pid) for pid in self.cluster.trainer_pids(NAME)]
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            gone, alive = psutil.wait_procs(processes, timeout=2 * STEP_DEADLINE_S)
            for process in alive:
                # It stood still in an evaluation, which may take longer than a step: once more.
                process.send_signal(signal.SIGCONT)
            if not alive:
                return [process.pid for process in gone]

    def check_complete(self, host: Host, run: str) -> None:
        """Waits for the end of the run. Every step counted once, and its weights are those of uninterrupted training.

        All runs are of one configuration, and so end with the same weights: one digest is proven once.
        """
        done = until(host, run, lambda document: document["state"] in ("completed", "failed"))
        assert (done["state"], done["position"]) == ("completed", done["total_steps"]), done
        check_ledger(host, NAME, run)
        (digest,) = (kept["weights_digest"] for kept in host.checkpoints(run) if kept["step"] == done["total_steps"])
        if digest not in self.exact:
            verified = self.cluster.cli_json("run", "verify", run)
            assert (verified["identical"], verified["digest"]) == (True, digest), verified
            self.exact.add(digest)
        assert self.exact == {digest}, "runs of one configuration ended with different weights"


@contextmanager
def frail_machine(root: Path) -> Iterator[FrailMachine]:
    """A host whose pool, and a client whose data directory, lie on small disks; the client allows a step 3 seconds."""
    write_model(root / "model", "llama")
    write_dataset(root / "chat.jsonl", 1000)
    document = experiment(root, NAME, num_train_epochs=2, gradient_accumulation_steps=4, chunks={"num_chunks": 3})
    config = root / "client.yaml"
    config.write_text(f"client: {{step_deadline_s: {STEP_DEADLINE_S}}}\n")
    with ExitStack() as stack:
        cluster = FrailCluster(root / "cluster", breaks="eio-files")
        host_disk = stack.enter_context(tiny_disk(cluster.data_dir / "pool"))
        client_disk = stack.enter_context(tiny_disk(cluster.root / f"client-{NAME}"))
        stack.callback(cluster.close)
        cluster.start_host()
        cluster.start_client(NAME, "--config", str(config))
        cluster.wait_for_clients(1)
        with cluster.api() as host:
            host.submit(document)
            cluster.wait_for(host, lambda: host.experiment(NAME)["state"] != "preparing")
            template = host.experiment_runs(NAME)[0]["id"]
            host.stop_run(template)
            cluster.wait_for(host, lambda: host.run(template)["state"] == "stopped")
        yield FrailMachine(cluster, client_disk, host_disk, document, template)
